"""JSON as bench reads and writes it: canonical text, digests, sealed objects, files written whole."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.core.durable import sync_folder


def canonical_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Half a surrogate pair (JSON files may hold one) has no UTF-8; escaped it is still the same JSON.
    return text.encode(errors="backslashreplace").decode()


def digest(value: Any) -> str:
    """sha256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole: a reader (or a crash) sees the old content or the new, never a part.

    Text becomes UTF-8, its line ends stay. Of several processes that write the same file the last one wins. A link stays one:
    what it points to is written. The folder must be there. Raises `OSError` with the name of `path`.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")  # of this call alone; in the same file system
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = str(path)  # nobody asked for the temporary one
        raise


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


_decoder = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)


def parse_object(content: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8. Raises `ValueError` for anything else, however deep or long."""
    try:
        value = _decoder.decode(content.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    return value


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """With a digest of all of it, so that `unsealed` finds a change."""
    told = json.loads(canonical_json(value))  # as it will be read again
    return {**told, "sha256": digest(told)}


def unsealed(content: bytes) -> tuple[dict[str, Any], bool]:
    """What was sealed, and whether it was (earlier versions did not). Raises `ValueError` for what is damaged."""
    value = parse_object(content)
    told = value.pop("sha256", None)
    if told is not None and told != digest(value):
        raise ValueError("its content is not what was written")
    return value, told is not None


def pretty_json(value: Any) -> str:
    """As records hold it: sorted keys, an indent, and a lone half of a surrogate pair as its escape."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace").decode() + "\n"


def read_json(file: Path) -> dict[str, Any]:
    """Raises `ValueError`, in one line, for what is no JSON object."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("it holds no JSON object")
    return found
