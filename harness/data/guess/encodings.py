"""The encoding of a file of text that nobody has described: told by its bytes, or asked about where letters depend on it."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from pathlib import Path

from harness.core.errors import DataError, UserError
from harness.data.formats import open_bytes

SAMPLE = 1 << 20
"""Bytes that decide on the encoding."""
MOST_LINES = 60
"""Lines whose language is looked at."""

_LETTERS = {
    "en": "éèêëïîñçöüâàæœ",
    "fr": "àâæçéèêëîïôœùûüÿ",
    "de": "äöüßéèà",
    "es": "áéíóúüñºª",
    "it": "àèéìíîòóùú",
    "pt": "áâãàçéêíóôõúüºª",
    "gl": "áéíóúüñ",
    "ca": "àçéèíïóòúüñ·",
    "nl": "éëïóöüèêáàâ",
    "sv": "åäöéüà",
    "da": "æøåéüö",
    "no": "æøåéèêóòôü",
    "nb": "æøåéèêóòôü",
    "nn": "æøåéèêóòôü",
    "fi": "äöåšžé",
    "is": "áðéíóúýþæö",
    "ga": "áéíóú",
    "id": "é",
    "ms": "é",
}
"""Small letters beyond ASCII of the languages that cp1252 was made for; those of borrowed words too."""

KNOWN = {
    "cp1250": "Central European",
    "cp1251": "Cyrillic",
    "cp1252": "Western European",
    "cp1253": "Greek",
    "cp1254": "Turkish",
    "cp1255": "Hebrew",
    "cp1256": "Arabic",
    "cp1257": "Baltic",
    "koi8_r": "Cyrillic",
    "gb18030": "Chinese",
    "big5": "Chinese",
    "cp932": "Japanese",
    "euc_jp": "Japanese",
    "cp949": "Korean",
    "cp874": "Thai",
}


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
        codecs.getincrementaldecoder(encoding)().decode(_bytes(path), True)  # as a file is read: UTF-16 needs its mark
    except UnicodeError as error:
        reason = getattr(error, "reason", None) or str(error)
        raise DataError(
            f"{path} is not in {encoding} ({reason}).",
            "Give another one, such as --encoding cp1252; or leave --encoding out, and bench looks for itself.",
        ) from error


def encoding_of(path: Path) -> tuple[str, list[str]]:
    """The encoding and what was not plain about it; raises `DataError` where letters would depend on a guess."""
    data = _bytes(path)
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32", ["The file is in UTF-32."]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", ["The file is in UTF-16."]
    try:
        if b"\x00" not in data[:SAMPLE]:
            data.decode("utf-8")
            return "utf-8", []
    except UnicodeDecodeError as error:
        if _western(data):
            return "cp1252", [
                "The file is not in UTF-8; read as cp1252 (Western European). If letters are wrong: --encoding NAME."
            ]
        raise DataError(
            f"{path} is not in UTF-8 ({error.reason} at byte {error.start}).", _suggestion(data[:SAMPLE])
        ) from error
    for name in ("utf-16-le", "utf-16-be"):
        if _utf16(data[:SAMPLE], name):
            return name, [f"The file is in {name.upper()}, without a mark that says so."]
    return "utf-8", []  # zero bytes, which are told when it is read


def _bytes(path: Path) -> bytes:
    try:
        with open_bytes(path) as file:
            return file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} can't be read: {error}") from error


def _utf16(data: bytes, name: str) -> bool:
    text = data[: len(data) // 2 * 2].decode(name, errors="replace")
    return (
        "\ufffd" not in text[:-1] and "\x00" not in text and "\n" in text and sum(map(str.isprintable, text)) > 0.8 * len(text)
    )


def _western(data: bytes) -> bool:
    """Whether the text reads well in cp1252: its language is one of the West, with the letters of that language; or no letter
    depends on the encoding, as with curly quotes."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    if b"\x00" in data:
        return False
    foreign = Counter(letter for letter in text.lower() if not letter.isascii() and (letter.isalpha() or letter in "¹²³ªº¿¡·"))
    within = re.findall(r"(?<=[^\W\d_])[^\w\s\x00-\x7f’‘–—…·]+(?=[^\W\d_])", text)  # a sign within a word is a letter misread
    if not foreign and not within:
        return True
    language = _language(text)
    known = sum(count for letter, count in foreign.items() if letter in _LETTERS.get(language, "") + "¿¡")
    return language in _LETTERS and known >= 0.99 * (foreign.total() + len(within))


def _language(text: str) -> str:
    from py3langid import classify

    lines = [line for line in text.splitlines() if not line.isascii()][:MOST_LINES]
    return str(Counter(classify(line)[0] for line in lines).most_common(1)[0][0]) if lines else ""


def _suggestion(data: bytes) -> str:
    """What charset-normalizer takes the bytes for, with the letters that each would give."""
    from charset_normalizer import from_bytes

    names = dict.fromkeys(
        match.encoding for match in sorted(from_bytes(data), key=lambda match: (-match.coherence, match.chaos))
    )
    likely = [name for name in names if name in KNOWN][:3]
    others = [name for name in ("cp1250", "cp1251", "cp1253", "cp1254", "gb18030", "cp932", "cp949") if name not in likely]
    shown = [f"--encoding {name} ({KNOWN[name]}{_sample_letters(data, name)})" for name in likely]
    more = ", ".join(f"{name} ({KNOWN[name]})" for name in others)
    return (
        f"Say in what it is: {'; '.join(shown)}. Others: {more}." if shown else f"Say in what it is: --encoding NAME: {more}."
    )


def _sample_letters(data: bytes, name: str) -> str:
    text = data.decode(name, errors="ignore")
    letters = Counter(letter for letter in text if not letter.isascii() and letter.isprintable() and not letter.isspace())
    return f": {' '.join(letter for letter, _ in letters.most_common(6))}" if letters else ""
