"""In which encoding a text file is: told by its bytes, asked where letters depend on it."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from harness.core.errors import DataError, UserError

SAMPLE = 1 << 18
"""Bytes that tell the encoding: of the lines that are not plain ASCII."""
MOST_CHAOS = 0.1  # of charset-normalizer's measure, from 0: above it the letters make no words
MOST_FOREIGN = 0.1  # of the words with a letter beyond ASCII those that have more of these than of others
MOST_SHOWN = 4
LETTERS_SHOWN = 8
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WESTERN_LANGUAGES = "en de fr es pt it nl da sv no nb nn fi is fo ca gl eu af ga cy sq et lb oc br la id ms sw mul"
_LANGUAGES = {
    "cp1252 iso8859_15 mac_roman cp850 cp437": WESTERN_LANGUAGES,
    "cp1250 iso8859_2 cp852": "pl cs sk hu hr sl bs sr ro sq",
    "cp1254 iso8859_9": "tr az",
    "cp1257 iso8859_13": "lt lv et",
    "cp1251 koi8_r koi8_u iso8859_5 cp866": "ru uk bg sr mk be kk mn",
    "cp1253 iso8859_7": "el",
    "cp1255": "he",
    "cp1256": "ar fa ur",
    "tis_620": "th",
    "gb18030 big5": "zh",
    "cp932 euc_jp": "ja",
    "cp949": "ko",
}
LANGUAGES = {encoding: set(codes.split()) for encodings, codes in _LANGUAGES.items() for encoding in encodings.split()}
"""Encoding -> the languages that are usually written in it."""
WESTERN = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüÿßœªº" + "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŸŒ")
NORDIC = frozenset("ðýþÐÝÞ")  # in Turkish cp1254 these are ğ ı ş
_WITHIN_WORD = re.compile(r"[^\W\d_][¡¢£¤¥¦§¨©¬¯°±²³´µ¶¸¹»¼½¾¿×÷‰‹›†‡‚„ˆ˜][^\W\d_]|[a-zà-ÿ][À-ÖØ-ÞŠŽŸ](?![A-ZÀ-ÖØ-ÞŠŽŸ])")


def encoding_of(name: str, data: bytes) -> tuple[str, list[str]]:
    """The encoding of `data`, the file `name`, and sentences on what was not plain. Raises `UserError` where it must be asked.

    Only Western European text is taken as cp1252 by itself, with a sentence: any other encoding gives other letters.
    """
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding, [f"The file is in {encoding.upper()}."]
    if (wide := _wide(data)) is not None:
        return wide, [f"The file is in {wide.upper()}, without a byte order mark."]
    if re.search(rb"\x1b\$[@AB]", data[:SAMPLE]) and _decodes(data, "iso2022_jp"):
        return "iso2022_jp", ["The file is in ISO-2022-JP."]
    try:
        data.decode("utf-8")
        return "utf-8", []
    except UnicodeDecodeError as error:
        sample = _foreign(data)
        if b"\x00" not in data and _decodes(data, "cp1252") and _western(sample.decode("cp1252", "replace")):
            said = "read as cp1252 (Western European). If letters are wrong: --encoding NAME."
            return "cp1252", [f"The file is not in UTF-8; {said}"]
        raise _question(name, data, sample, error) from error


def check_encoding(path: Path, data: bytes, encoding: str) -> None:
    """Raises `DataError` where the file is not in the encoding that the user named."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(data, True)  # as a file is read: UTF-16 needs its mark
    except UnicodeError as error:
        reason = getattr(error, "reason", None) or str(error)
        raise DataError(
            f"{path} is not in {encoding} ({reason}).",
            "Give another one, such as --encoding cp1252; or leave --encoding out, and bench looks for itself.",
        ) from error


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: all zero bytes are the upper halves of ASCII characters."""
    if len(data) % 2 or b"\x00" not in data:
        return None
    for encoding, upper, newline in (("utf-16-le", 1, b"\n\x00"), ("utf-16-be", 0, b"\x00\n")):
        if b"\x00" not in data[1 - upper :: 2] and newline in data and _decodes(data, encoding):
            return encoding
    return None


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeError:
        return False
    return True


def _foreign(data: bytes) -> bytes:
    """The lines that are not plain ASCII, up to `SAMPLE` bytes."""
    found, size = [], 0
    for line in re.split(rb"[\r\n]+", data):
        if not line.isascii():
            found.append(line)
            size += len(line)
            if size > SAMPLE:
                break
    return b"\n".join(found)


def _western(text: str) -> bool:
    """Whether a text read as cp1252 is in a Western European language, and has no sign or capital letter inside of words."""
    from harness.data.guess.language import detected

    letters = [letter for letter in text if letter > "\x7f" and letter.isalpha()]
    if _broken(text):
        return False
    words = [word for word in re.findall(r"[^\W\d_]{4,}", text) if not word.isascii()]
    foreign = sum(sum(letter > "\x7f" for letter in word) > len(word) / 2 for word in words)
    if foreign > MOST_FOREIGN * len(words):  # another script
        return False
    languages = set(detected(text.splitlines()).rows) if letters else {"en"}
    allowed = WESTERN | NORDIC if languages & {"is", "fo"} else WESTERN
    return languages <= LANGUAGES["cp1252"] and sum(letter in allowed for letter in letters) >= 0.97 * len(letters)


def _broken(text: str) -> bool:
    """Whether signs, or capitals after small letters, stand inside of words."""
    return len(_WITHIN_WORD.findall(text)) > 0.02 * sum(letter > "\x7f" for letter in text)


def _question(name: str, data: bytes, sample: bytes, error: UnicodeDecodeError) -> UserError:
    """The encodings in which the bytes make words, the likeliest first, each with the letters that others read otherwise."""
    read: dict[str, str] = {}
    for encoding in _candidates(sample):
        if not _decodes(data, encoding):
            continue
        text = sample.decode(encoding, "replace")
        if text not in read.values() and not _broken(text):
            read[encoding.replace("_", "-")] = text
    shown = dict(list(read.items())[:MOST_SHOWN])
    lists = {encoding: _letters(text) for encoding, text in shown.items()}
    common = set.intersection(*map(set, lists.values())) if len(lists) > 1 else set()
    parts = [
        f"{encoding}: {' '.join([one for one in letters if one not in common][:LETTERS_SHOWN])}"
        for encoding, letters in lists.items()
    ]
    if not parts:
        return DataError(
            f"{name} is not in UTF-8 ({error.reason} at byte {error.start}).",
            "Say in what it is: --encoding cp1251 (Cyrillic), gb18030 (Chinese), cp932 (Japanese), cp949 (Korean), ...",
        )
    return DataError(
        f"{name} is not in UTF-8 ({error.reason} at byte {error.start}). Its letters would be, in {'; in '.join(parts)}.",
        f"Say in which encoding it is: --encoding {next(iter(shown))}.",
    )


def _candidates(sample: bytes) -> Iterable[str]:
    """The likeliest first; those that read the same letters one after another."""
    from charset_normalizer import from_bytes

    found = from_bytes(sample, cp_isolation=list(LANGUAGES), preemptive_behaviour=False, enable_fallback=False)
    good = {
        encoding: (not _in_its_language(encoding, str(match)), match.chaos > MOST_CHAOS / 2, -match.coherence)
        for match in found
        if match.chaos <= MOST_CHAOS
        for encoding in match.could_be_from_charset
        if encoding in LANGUAGES
    }
    order = list(LANGUAGES)
    return sorted(good, key=lambda encoding: (good[encoding], order.index(encoding)))


def _in_its_language(encoding: str, text: str) -> bool:
    from harness.data.guess.language import detected

    return bool(set(detected(text.splitlines()).rows) & LANGUAGES[encoding])


def _letters(text: str) -> list[str]:
    """The letters beyond ASCII, the most frequent first: in another order than in any text."""
    counts = Counter(letter for letter in text if letter > "\x7f" and letter.isalpha())
    return sorted(counts, key=lambda letter: (-counts[letter], letter))
