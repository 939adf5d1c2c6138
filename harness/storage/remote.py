"""A folder at a URL, through fsspec: a file is read whole, written whole, or created only where there is none."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from harness.core.errors import RunError, UserError, install_command

T = TypeVar("T")

LIBRARIES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "hf": "huggingface_hub",
}
"""Protocol -> the library that fsspec needs for it."""
FOLDERS = {"sftp", "ssh", "ftp", "smb", "hdfs", "webhdfs", "dropbox", "webdav"}
"""Protocols of stores with folders, which must be there before a file is."""
AT_ONCE = 16
"""Files that are read at the same time."""
LARGE = 1 << 25
"""Bytes from which on a file is sent from the disk, in parts."""
SETTINGS = {"s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}}}
"""Of a library, unless fsspec's configuration has its own: a store that is away is noticed before SLURM kills the process."""
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "blob_id", "sha256")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class StorageError(RunError):
    """The store at a URL could not be reached, or refused a request."""


class Remote:
    """The folder at a URL. Names of files are relative to it, with slashes. All methods raise `StorageError`; any thread may
    call them."""

    def __init__(self, url: str) -> None:
        """Raises `UserError` for an unknown protocol, or one whose library is not installed."""
        self.url = url
        self._fs, root = _opened(url)
        self._root = str(root).rstrip("/")

    def listing(self, folder: str = "") -> dict[str, str]:
        """All files below the folder: name -> stamp. A file that is replaced by other content gets another stamp."""
        with self._asked("list"):
            self._fs.invalidate_cache()
            try:
                found: Mapping[str, Any] = self._fs.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        start = len(self._root) + 1
        return {path[start:]: _stamp(about) for path, about in found.items() if about.get("type", "file") == "file"}

    def stamp(self, name: str) -> str | None:
        """That of one file; None if it is not there."""
        about = self._info(name)
        return None if about is None else _stamp(about)

    def modified(self, name: str) -> float | None:
        """When it was last written, in seconds since the epoch by the store's clock. None where the store does not say, or
        the file is not there."""
        return _written(self._info(name) or {})

    def now(self, folder: str) -> float | None:
        """The time by the store's clock, which a file tells that is written and deleted again."""
        probe = f"{folder}/.probe-{secrets.token_hex(8)}"
        self.write(probe, b"")
        try:
            return self.modified(probe)
        finally:
            self.delete(probe)

    def read(self, name: str) -> bytes | None:
        """None if it is not there."""
        with self._asked("read", name):
            try:
                content: bytes = self._fs.cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return content

    def read_all(self, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        """Many small files; None for one that is not there."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from zip(names, pool.map(self.read, names), strict=True)

    def fetch(self, name: str, file: Path) -> bool:
        """Write it to `file`, whose folder must exist; False if it is not there."""
        with self._asked("read", name):
            try:
                self._fs.get_file(self._path(name), str(file))
            except FileNotFoundError:
                return False
        return True

    def write(self, name: str, content: bytes) -> None:
        with self._asked("write", name):
            self._make_folder(name)
            self._fs.pipe_file(self._path(name), content)

    def send(self, file: Path, name: str) -> None:
        """Write the content of a file of this machine."""
        if file.stat().st_size < LARGE:
            self.write(name, file.read_bytes())
            return
        with self._asked("write", name):
            self._make_folder(name)
            self._fs.put_file(str(file), self._path(name))

    def delete(self, name: str) -> None:
        with self._asked("delete", name), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def create(self, name: str, content: bytes) -> bool:
        """Write it if it is not there; False if it is. Only where `creates_alone`, one of two that ask at once is refused."""
        with self._asked("write", name):
            self._make_folder(name)
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if "ConditionalRequestConflict" in str(error):  # S3's answer to two that ask at the same time
                    return False
                raise
        return True

    @cached_property
    def creates_alone(self) -> bool:
        """Whether the store refuses to create what is there. Some servers ignore that condition, so it is tried."""
        probe = f".probe-{secrets.token_hex(8)}"
        try:
            self.create(probe, b"1")
            return not self.create(probe, b"2")
        except StorageError as error:
            if isinstance(error.__cause__, NotImplementedError | TypeError | ValueError):
                return False
            raise
        finally:
            self.delete(probe)

    def _make_folder(self, name: str) -> None:
        """Only where there are folders: object stores have none, and might take the first part of the path for a bucket."""
        if FOLDERS & {self._fs.protocol, *self._fs.protocol}:
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)

    def _info(self, name: str) -> Mapping[str, Any] | None:
        with self._asked("read", name):
            self._fs.invalidate_cache()
            try:
                found: Mapping[str, Any] = self._fs.info(self._path(name))
            except FileNotFoundError:
                return None
        return found if found.get("type", "file") == "file" else None

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _asked(self, what: str, name: str = "") -> Iterator[None]:
        """The libraries' own errors (network, permission, credentials) have no common base."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            place = f"{self.url}/{name}" if name else self.url
            said = " ".join(str(error).split()) or type(error).__name__
            hint = "Check the network, the address and the credentials, and repeat the command."
            raise StorageError(f"Can't {what} {place}: {said}", hint) from error


def _opened(url: str) -> tuple[Any, str]:
    protocol = url.partition("://")[0].rpartition("::")[2]
    library = LIBRARIES.get(protocol)
    pip = f"pip install {f'fsspec {library}' if library else 'fsspec and the library of this protocol'}"
    if library == "s3fs":
        pip = install_command("s3")
    try:
        from fsspec.config import conf
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UserError(f"{url}: a URL needs the library 'fsspec', which is not installed.", pip) from error
    try:
        settings = {key: one for key, one in SETTINGS.get(protocol, {}).items() if key not in conf.get(protocol, {})}
        fs, root = url_to_fs(url, use_listings_cache=False, **settings)
    except ImportError as error:
        raise UserError(
            f"{url}: {protocol}:// needs the library {library or protocol!r}, which is not installed.", pip
        ) from error
    except ValueError as error:
        known = ", ".join(f"{name}://" for name in ("s3", "gs", "abfs", "hf", "file"))
        raise UserError(f"{url}: {error}", f"Among the known ones are {known}.") from error
    except Exception as error:  # credentials, settings
        raise StorageError(f"Can't open {url}: {error}", "Check the address and the credentials.") from error
    return fs, root


def _stamp(about: Mapping[str, Any]) -> str:
    """Its version where the store has one, else size and time."""
    versions = [str(about[key]) for key in _VERSIONS if about.get(key)]
    return " ".join([str(about.get("size")), *(versions or [str(_written(about))])])


def _written(about: Mapping[str, Any]) -> float | None:
    when = next((about[key] for key in _TIMES if about.get(key)), None)
    if isinstance(when, str):
        with suppress(ValueError):
            when = datetime.fromisoformat(when)
    if isinstance(when, datetime):
        return when.timestamp()
    return float(when) if isinstance(when, int | float) else None


def with_patience(
    action: Callable[[], T],
    seconds: float,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Try again for so long where the store can't be reached, at growing intervals. Raises the last `StorageError`."""
    began, pause = clock(), 0.5
    while True:
        try:
            return action()
        except StorageError:
            if clock() + pause > began + seconds:
                raise
        sleep(pause)
        pause = min(2 * pause, 8.0)
