"""The encoding of a file of text that nobody has described: told by its bytes, or asked about where letters depend on it."""

from __future__ import annotations

import codecs
import lzma
import re
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from harness.core.errors import DataError, UserError
from harness.data.contents import LONGEST, check_text
from harness.data.formats import class_folders, open_bytes, texts_of

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
    "cp1250": ("Central European", "pl cs sk hu hr sl bs sr ro sq"),
    "cp1252": ("Western European", "en de fr es pt it nl da sv no nb nn fi is fo ca gl eu af ga cy sq lb oc br id ms"),
    "cp1254": ("Turkish", "tr az"),
    "cp1257": ("Baltic", "lt lv et"),
    "cp1251": ("Cyrillic", "ru uk bg sr mk be kk mn"),
    "koi8_r": ("Cyrillic", "ru uk bg"),
    "cp866": ("Cyrillic", "ru uk bg be"),
    "iso8859_5": ("Cyrillic", "ru uk bg sr mk be"),
    "cp1253": ("Greek", "el"),
    "cp1255": ("Hebrew", "he"),
    "cp1256": ("Arabic", "ar fa ur"),
    "cp874": ("Thai", "th"),
    "tis_620": ("Thai", "th"),
    "gb18030": ("Chinese", "zh"),
    "big5": ("Chinese", "zh"),
    "cp932": ("Japanese", "ja"),
    "euc_jp": ("Japanese", "ja"),
    "cp949": ("Korean", "ko"),
    "iso8859_2": ("Central European", "pl cs sk hu hr sl bs sr ro sq"),
    "mac_roman": ("Western European of old Macs", "en de fr es pt it nl da sv no nb nn fi is ca gl"),
    "cp850": ("Western European of DOS", "en de fr es pt it nl da sv no nb nn fi ca gl"),
}
"""Encoding -> its name for people, and the languages that are usually written in it."""
MOST_CHAOS = 0.1  # of charset-normalizer's measure, from 0: above it the letters make no words
MOST_SHOWN = 3
_ESCAPES = {b"\x1b$)C": "iso2022_kr", b"\x1b$B": "iso2022_jp", b"\x1b$@": "iso2022_jp"}
"""Escape sequence -> the encoding of mails and old files that has it."""
_FEW, _FEW_OF = 3, 0.02  # words, and their share
_GOOD = 4  # words with letters in UTF-8 for each byte that is none; text in another encoding has hardly one
OTHERS = ("cp1250", "cp1251", "cp1253", "cp1254", "gb18030", "cp932", "cp949")


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


def encoding_of(*paths: Path) -> tuple[str, list[str]]:
    """The encoding of the files, by the first that is not ASCII, and what was not plain about it.

    A folder of texts in folders of classes is taken as one file. Raises `DataError` where letters would depend on a guess, or
    where some of the files are in UTF-8 and some are not.
    """
    rest = list(paths)
    path, data = rest[0], _bytes(rest.pop(0))
    while rest and data.isascii() and b"\x00" not in data and b"\x1b" not in data:
        path, data = rest[0], _bytes(rest.pop(0))
    encoding, notes = _encoding(path, data)
    other = next((file for file in rest if encoding != "utf-8" and _in_utf8(_bytes(file))), None)
    if other is not None:
        raise DataError(
            f"{other.name} is written in another way than {path.name} (in utf-8; {path.name}: in {encoding}).",
            "Save both alike, in UTF-8.",
        )
    return encoding, notes


def _in_utf8(data: bytes) -> bool:
    try:
        return not data.decode("utf-8").isascii()
    except UnicodeDecodeError:
        return False


def _encoding(path: Path, data: bytes) -> tuple[str, list[str]]:
    check_text(path, data[:LONGEST])
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        _check_all(path, data, "utf-32")
        return "utf-32", ["The file is in UTF-32."]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        _check_all(path, data, "utf-16")
        return "utf-16", ["The file is in UTF-16."]
    try:
        if b"\x00" not in data[:SAMPLE]:
            data.decode("utf-8")
            _check_escapes(path, data)
            return "utf-8", _twice_encoded(data[:SAMPLE])
    except UnicodeDecodeError as error:
        _check_damaged(path, data)
        if _western(data):
            return "cp1252", [
                "The file is not in UTF-8; read as cp1252 (Western European). If letters are wrong: --encoding NAME."
            ]
        raise DataError(
            f"{path} is not in UTF-8 ({error.reason} at byte {error.start}).", _suggestion(data[:SAMPLE])
        ) from error
    wide = _utf16(data)
    if wide is None:
        _check_all(path, data, "utf-8")
        return "utf-8", []
    return wide, [f"The file is in {wide.upper()}, without a mark that says so."]


def _check_all(path: Path, data: bytes, encoding: str) -> None:
    try:
        data.decode(encoding)
    except UnicodeError as error:
        hint = "Was it damaged or cut off? Get it again, or save it in UTF-8."
        raise DataError(f"{path} is no text: {error}.", hint) from error


def _check_escapes(path: Path, data: bytes) -> None:
    """Raises `DataError` for ISO-2022, which writes letters as ASCII between escape sequences: as UTF-8 it is no text."""
    name = next((name for mark, name in _ESCAPES.items() if mark in data), None) if b"\x1b" in data else None
    if name is not None:
        raise DataError(f"{path} is in {name}, by its escape sequences.", f"If so: --encoding {name}.")


def _twice_encoded(data: bytes) -> list[str]:
    """A sentence on letters such as `Ã©`, where a program read UTF-8 as cp1252 and wrote that in UTF-8."""
    if data.isascii():
        return []
    words = [word for word in data.decode("utf-8", errors="ignore").split() if not word.isascii()]
    misread = sum(_is_misread(word) for word in words)
    if misread < max(_FEW, _FEW_OF * len(words)):
        return []
    return [
        f"{misread:,} of {len(words):,} words with letters beyond ASCII look like UTF-8 that a program read as cp1252 (such as"
        " Ã© for é). If so, make the file anew from its source: models read these signs as they stand."
    ]


def _is_misread(word: str) -> bool:
    try:
        return not word.encode("cp1252").decode("utf-8").isascii()
    except UnicodeError:
        return False


def _check_damaged(path: Path, data: bytes) -> None:
    """Raises `DataError` for UTF-8 in which a few bytes are none: no other encoding would make it readable."""
    text = data.decode("utf-8", errors="replace")
    bad = text.count("\ufffd") - data.count("\ufffd".encode())
    good = len(re.findall("[^\x00-\x7f\ufffd]+", text))
    if good < _GOOD * bad:
        return
    lines = [number for number, line in enumerate(text.split("\n"), start=1) if "\ufffd" in line]
    shown = ", ".join(map(str, lines[:MOST_SHOWN])) + (" and others" if len(lines) > MOST_SHOWN else "")
    raise DataError(
        f"{path} is in UTF-8, but not all of it: see line{'s' if len(lines) > 1 else ''} {shown}.",
        "Correct the letters there, or take these lines away.",
    )


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            return b"\n".join(file.read_bytes() for folder in class_folders(path) for file in texts_of(folder))
        with open_bytes(path) as file:
            return file.read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} can't be read: {error}.", "Was it damaged or cut off? Get it again.") from error


def _utf16(data: bytes) -> str | None:
    """UTF-16 without a mark, where all zero bytes are upper halves of characters; others are told when it is read."""
    for name, upper, newline in (("utf-16-le", 1, b"\n\x00"), ("utf-16-be", 0, b"\x00\n")):
        if len(data) % 2 == 0 and b"\x00" not in data[1 - upper :: 2] and newline in data:
            return name
    return None


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
    """What the bytes may be in, the likeliest first, with the letters that each would give."""
    read: dict[str, str] = {}
    for name in _candidates(data):
        text = data.decode(name, errors="ignore")
        if text not in read.values():
            read[name] = text
    likely = list(read)[:MOST_SHOWN]
    shown = [f"--encoding {name} ({KNOWN[name][0]}{_sample_letters(read[name])})" for name in likely]
    more = ", ".join(f"{name} ({KNOWN[name][0]})" for name in OTHERS if name not in likely)
    return (
        f"Say in what it is: {'; '.join(shown)}. Others: {more}." if shown else f"Say in what it is: --encoding NAME: {more}."
    )


def _candidates(data: bytes) -> list[str]:
    """Of the encodings above those in which the bytes make words, by charset-normalizer; first those whose language it is."""
    from charset_normalizer import from_bytes

    lines = b"\n".join(line for line in re.split(rb"[\r\n]+", data) if not line.isascii())
    found = from_bytes(lines, cp_isolation=list(KNOWN), preemptive_behaviour=False, enable_fallback=False)
    good = {
        name: (_language(str(match)) not in KNOWN[name][1].split(), match.chaos > MOST_CHAOS / 2, -match.coherence)
        for match in found
        if match.chaos <= MOST_CHAOS and not _capitals_within(str(match))
        for name in match.could_be_from_charset
        if name in KNOWN
    }
    order = list(KNOWN)
    return sorted(good, key=lambda name: (good[name], order.index(name)))


def _capitals_within(text: str) -> bool:
    """Whether capitals follow small letters within words, as where a text is read in a wrong encoding."""
    odd = re.findall(r"[a-zà-ÿ][À-ÖØ-ÞŠŽŸ](?![A-ZÀ-ÖØ-ÞŠŽŸ])", text)
    return len(odd) > 0.02 * sum(not letter.isascii() for letter in text)


def _sample_letters(text: str) -> str:
    """The most frequent letters beyond ASCII, those of the same number in the order of the alphabet: they are no text."""
    counts = Counter(letter for letter in text if not letter.isascii() and letter.isalpha())
    letters = sorted(counts, key=lambda letter: (-counts[letter], letter))
    return f": {' '.join(letters[:6])}" if letters else ""
