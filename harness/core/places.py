"""A place that an option names: a folder of this machine, or a URL, of which the cache holds a copy.

    <cache>/shared/<digest of the URL>/url.txt     the URL
    <cache>/shared/<digest of the URL>/files/      the copy
    <cache>/shared/<digest of the URL>/known.jsonl the versions of its files that were fetched or uploaded
    <cache>/shared/<digest of the URL>/slurm/      job arrays of the SLURM executor, which are never uploaded

Everything works on the copy, as on any folder; `harness.storage` and `harness.records.shared` exchange its files with the URL.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from harness.core.cache_folder import cache_dir
from harness.core.errors import UserError
from harness.core.json_files import write_atomically

SHARED, URL_FILE, FILES, KNOWN = "shared", "url.txt", "files", "known.jsonl"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")
_SLIP = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")
"""A URL with one slash too few; `C:/` is a drive."""


def is_url(place: str) -> bool:
    return _URL.match(place) is not None


def folder_of(place: str | Path) -> Path:
    """The folder of this machine: that of a path or of `file://`, else the copy of what is at the URL.

    Raises `UserError` for a URL with a password, which messages and files would show, and for one that is not whole.
    """
    text = str(place)
    if isinstance(place, Path):
        return place
    if _SLIP.match(text) or (is_url(text) and not text.partition("://")[2].strip("/")):
        raise UserError(f"{text} is no whole URL.", "For example s3://my-bucket/results, or file:///mnt/nfs/results.")
    if not is_url(text):
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme in ("file", "local"):
        return Path(url2pathname(parts.netloc + parts.path))
    if parts.password is not None:
        hint = "Give it to the storage library in its environment variables or its file of settings."
        raise UserError(f"A password in the URL of {parts.hostname} would be shown in messages.", hint)
    url = text.rstrip("/")
    home = cache_dir() / SHARED / hashlib.sha256(url.encode()).hexdigest()[:20]
    if not (home / URL_FILE).exists():
        home.mkdir(parents=True, exist_ok=True)
        write_atomically(home / URL_FILE, url)
    return home / FILES


def shared_place(path: Path) -> tuple[Path, str] | None:
    """The copy in which `path` lies, and its URL; None for any other path."""
    shared = cache_dir() / SHARED
    path = path if path.is_absolute() else path.absolute()
    if not path.is_relative_to(shared):
        return None
    parts = path.relative_to(shared).parts
    if len(parts) < 2 or parts[1] != FILES:
        return None
    copy = shared / parts[0] / FILES
    url = _url_of(copy)
    return None if url is None else (copy, url)


@lru_cache(maxsize=64)
def _url_of(copy: Path) -> str | None:
    try:
        return (copy.parent / URL_FILE).read_text(encoding="utf-8")
    except OSError:
        return None


def not_shared(path: Path) -> Path:
    """Where to put beside the folder `path` what must not go to its URL: in a copy, the folder that holds the copy; elsewhere
    `path` itself."""
    found = shared_place(path)
    return path if found is None else found[0].parent


def place_of(path: Path) -> str:
    """As a user names it: the URL of a file or folder in a copy, any other path as it is."""
    found = shared_place(path)
    if found is None:
        return str(path)
    copy, url = found
    inner = path.absolute().relative_to(copy).as_posix()
    return url if inner == "." else f"{url}/{inner}"


def with_urls(text: str) -> str:
    """A message as a user reads it: paths in a copy become URLs."""
    start = f"{cache_dir() / SHARED}/" if f"/{SHARED}/" in text else ""
    if not start or start not in text:
        return text
    return re.sub(re.escape(start) + rf"[0-9a-f]{{20}}/{FILES}", lambda found: place_of(Path(found[0])), text)


def _read(value: Any) -> Any:
    """As text: pydantic takes no `Path` where it reads JSON."""
    return str(folder_of(value)) if isinstance(value, str) else value


class _FolderOrUrl:
    def __repr__(self) -> str:
        return "folder or URL"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        as_text = core_schema.plain_serializer_function_ser_schema(
            place_of, return_schema=core_schema.str_schema(), when_used="json"
        )
        return core_schema.no_info_before_validator_function(_read, handler(source), serialization=as_text)


Place = Annotated[Path, _FolderOrUrl()]
"""A folder, given as a path or as a URL. As JSON a copy is its URL, so that another machine finds the same place."""
