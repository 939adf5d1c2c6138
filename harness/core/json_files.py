"""JSON as bench reads and writes it: canonical text, digests, sealed objects, files written whole."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.core.durable import sync_folder

_encoder = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    return canonical_bytes(value).decode()


def canonical_bytes(value: Any) -> bytes:
    """`canonical_json` in UTF-8."""
    # Half a surrogate pair is valid in JSON files but not in UTF-8; escaped it is the same JSON.
    return _encoder.encode(value).encode(errors="backslashreplace")


def digest(value: Any) -> str:
    """sha256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one step: a reader (or a crash) sees the old content or the new one.

    Text is written as UTF-8 with its own line ends. If several processes write the same file, the last one wins. The target of
    a link is written. The folder must exist. Raises `OSError` with the name of `path`.
    """
    write_parts_atomically(path, [content.encode() if isinstance(content, str) else content])


def write_parts_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> str:
    """As `write_atomically`, of content that is too large to be put together in memory. Returns its sha256."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")  # in the same file system
    written = hashlib.sha256()
    try:
        with temporary.open("xb") as file:
            for part in parts:
                file.write(part)
                written.update(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = str(path)  # not the temporary one
        raise
    return written.hexdigest()


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


_decoder = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)


def parse_object(content: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8. Raises `ValueError` for anything else, however deep or long."""
    return _object(_decoder.decode, content.decode())


def _object(decode: Callable[[str], Any], text: str) -> dict[str, Any]:
    try:
        value = decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    return value


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """With a digest of its content, so that `unsealed` detects a change."""
    content = json.loads(canonical_json(value))  # as it will be read again
    return {**content, "sha256": digest(content)}


def sealed_line(value: Mapping[str, Any]) -> str:
    """What `unsealed` reads as `sealed(value)`, in less time. For a value that has lists and no tuples, and texts as keys."""
    content = canonical_bytes(value)
    return f'{content.decode()[:-1]},"sha256":"{hashlib.sha256(content).hexdigest()}"}}'


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """`write_atomically`, for `read_sealed`."""
    write_atomically(path, json.dumps(sealed(value)))


def read_sealed(path: Path) -> dict[str, Any] | None:
    """What `write_sealed` wrote; None where the file is not there, or damaged."""
    try:
        return unsealed(path.read_bytes())[0]
    except (OSError, ValueError):
        return None


def unsealed(content: bytes) -> tuple[dict[str, Any], bool]:
    """The content, and whether it was sealed (earlier versions did not). Raises `ValueError` for damaged content."""
    value = parse_object(content)
    expected = value.pop("sha256", None)
    if expected is not None and expected != digest(value):
        raise ValueError("its content is not what was written")
    return value, expected is not None


def pretty_json(value: Any) -> str:
    """As in records: sorted keys, an indent, half a surrogate pair as its escape."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace").decode() + "\n"


def read_json(file: Path) -> dict[str, Any]:
    """Of a file that others wrote, so that NaN is allowed. Raises `ValueError` for anything but a JSON object."""
    return _object(json.loads, file.read_text(encoding="utf-8"))
