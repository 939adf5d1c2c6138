"""In which encoding a file of text is: as the user says, or as its bytes tell."""

from __future__ import annotations

import codecs
from pathlib import Path

from harness.core.errors import DataError, UserError

MOST_FOREIGN = 0.15  # of Western text in cp1252 far fewer bytes are no ASCII, of Cyrillic or Chinese text most are


def encoding_named(said: str) -> str:
    """Python's name of the encoding that the user names; raises `UserError` for what encodes no text (base64, rot13)."""
    try:
        "a".encode(said)
        return codecs.lookup(said).name
    except (LookupError, ValueError) as error:  # ValueError: a zero byte in the name, or an encoding that only fails
        raise UserError(
            f"--encoding {said}: no text encoding that Python knows.", "Such as utf-8, cp1252 or gb18030."
        ) from error


def check_encoding(path: Path, encoding: str) -> None:
    """Raises `DataError` where the file is not in the encoding that the user named."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(path.read_bytes(), True)  # as a file is read: UTF-16 needs its mark
    except UnicodeError as error:
        reason = getattr(error, "reason", None) or str(error)
        raise DataError(
            f"{path} is not in {encoding} ({reason}).",
            "Give another one, such as --encoding cp1252; or leave --encoding out, and bench looks for itself.",
        ) from error


def encoding_of(path: Path) -> tuple[str, list[str]]:
    """The encoding and what was not plain about it; raises `DataError` where it can't be told."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16", ["The file is in UTF-16."]
    try:
        data.decode("utf-8")
        return "utf-8", []
    except UnicodeDecodeError as error:
        foreign = sum(byte > 127 for byte in data) / len(data)
        if foreign <= MOST_FOREIGN and b"\x00" not in data:
            try:
                data.decode("cp1252")
            except UnicodeDecodeError:
                pass
            else:
                return "cp1252", [
                    "The file is not in UTF-8; read as cp1252 (Western European). If letters are wrong: --encoding NAME."
                ]
        raise DataError(
            f"{path} is not in UTF-8 ({error.reason} at byte {error.start}).",
            "Say in what it is: --encoding cp1251 (Cyrillic), gb18030 (Chinese), cp932 (Japanese), cp949 (Korean), ...",
        ) from error
