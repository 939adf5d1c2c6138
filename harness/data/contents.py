"""What a file holds by its first bytes, where its name says something else."""

from __future__ import annotations

from pathlib import Path

from harness.core.errors import DataError

_BINARY = {
    b"PAR1": ("a parquet file", ".parquet"),
    b"ARROW1": ("an Arrow file", ".arrow"),
    b"PK\x03\x04": ("a zip file or a spreadsheet", ".xlsx or .zip"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("a spreadsheet of old Excel", ".xls"),
    b"\x1f\x8b\x08": ("packed by gzip", ".csv.gz or .jsonl.gz"),
    b"BZh": ("packed by bzip2", ".csv.bz2 or .jsonl.bz2"),
    b"\xfd7zXZ\x00": ("packed by xz", ".csv.xz or .jsonl.xz"),
}
"""First bytes -> what it is, and the suffix by which it is read."""
_PAGES = (b"<!doctype html", b"<html")
_POINTER = b"version https://git-lfs"
LONGEST = 32  # bytes of the longest beginning above, and space in front of it


def check_text(path: Path, data: bytes) -> None:
    """Raises `DataError` where a file that should be text begins as another format does, as a web page, or as a pointer of
    Git LFS. `data`: its beginning, unpacked."""
    _check_download(path, data)
    for start, (what, suffix) in _BINARY.items():
        if data.startswith(start):
            raise DataError(f"{path} is no text: it is {what}.", f"Give its name the suffix that it has: {suffix}.")


def check_binary(path: Path, data: bytes) -> None:
    """Raises `DataError` where a parquet, Arrow or packed file or a spreadsheet holds text. `data`: its beginning."""
    _check_download(path, data)
    own = [suffix for start, (_, suffix) in _BINARY.items() if data.startswith(start)]
    if not own and data and b"\x00" not in data and _is_text(data):
        raise DataError(
            f"{path} is no {path.suffix.lower()} file: it holds text.", "Give its name the suffix .csv, .tsv, .json or .jsonl."
        )


def _check_download(path: Path, data: bytes) -> None:
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_PAGES):
        raise DataError(
            f"{path} holds a web page, not a table.",
            "Get the file itself, or save the table as CSV in the program that shows it.",
        )
    if start.startswith(_POINTER):
        raise DataError(f"{path} is a pointer of Git LFS, without the rows.", "Get the file itself: git lfs pull.")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.end >= len(data)  # cut within a character
    return all(byte >= 32 or byte in b"\t\r\n" for byte in data)
