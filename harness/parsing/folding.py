"""The form in which label names and answers are compared: what looks alike, or differs by typography alone, is the same."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

# UAX #15, "stream-safe text": normalizing is quadratic in the length of one run of combining marks.
_MAX_COMBINING_RUN = 30
_GRAPHEME_JOINER = "\u034f"

_SPACES = re.compile(r"[\s_]+")
_HYPHEN_OF_WORD = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
_HYPHEN_OF_NUMBERS = re.compile(r"(?<=\d) ?- ?(?=\d)")
_APOSTROPHES = "\u2018\u2019\u201b\u02bc\u02b9\u2032\u00b4\uff07"


class _Typography(dict[int, str | None]):
    """`str.translate` table: hyphens to `-`, apostrophes to `'`, invisible characters to nothing."""

    def __missing__(self, code: int) -> str | None:
        plain = self[code] = _typed(chr(code))
        return plain


def _typed(character: str) -> str | None:
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    if character in "—―⸺⸻":
        return " - "
    if character == "−" or (unicodedata.category(character) == "Pd" and character not in "〜〰゠"):
        return "-"
    if character in _APOSTROPHES:
        return "'"
    return None if invisible(character) else character


_IGNORABLE = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
"""Default_Ignorable_Code_Point of Unicode (DerivedCoreProperties.txt), beside the format characters (Cf)."""


def invisible(character: str) -> bool:
    """Whether a character has no shape of its own: zero-width, a soft hyphen, a byte order mark, a variation selector."""
    return unicodedata.category(character) == "Cf" or _IGNORABLE.match(character) is not None


_TYPOGRAPHY = _Typography()


def plain_typography(text: str) -> str:
    """Without invisible characters; one form of hyphens and dashes, and one of apostrophes."""
    return text.translate(_TYPOGRAPHY)


def normalize(form: Literal["NFC", "NFKC"], text: str) -> str:
    """`unicodedata.normalize` in linear time, whatever the text."""
    if text.isascii():
        return text
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run > _MAX_COMBINING_RUN:
            return unicodedata.normalize(form, _break_runs(text))
    return unicodedata.normalize(form, text)


def _break_runs(text: str) -> str:
    pieces, run = [], 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run > _MAX_COMBINING_RUN:
            pieces.append(_GRAPHEME_JOINER)
            run = 1
        pieces.append(character)
    return "".join(pieces)


def fold(text: str) -> str:
    """NFKC and case-folded; each run of white space and underscores is one blank, a hyphen within a word too.

    Hyphens, apostrophes and digits have one form each, and invisible characters are left out. Dotted and dotless i are the
    same letter, as the case of a Turkish word can't be folded without knowing that it is Turkish.
    """
    folded = normalize("NFKC", normalize("NFKC", text.translate(_TYPOGRAPHY)).casefold())
    folded = _SPACES.sub(" ", folded.replace("i\u0307", "i").replace("ı", "i").translate(_TYPOGRAPHY))
    return _HYPHEN_OF_NUMBERS.sub("-", _HYPHEN_OF_WORD.sub(" ", folded)).strip()


def fold_lines(text: str) -> list[str]:
    """`fold` for each line of `text` that has something on it."""
    return [line for line in map(fold, text.splitlines()) if line]


_STROKES = str.maketrans({"ł": "l", "đ": "d", "ø": "o", "ı": "i", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"})


def without_accents(text: str) -> str:
    """Small letters of Latin, Greek and Cyrillic without the marks on them: `hvězd` is `hvezd`, `ł` is `l`.

    Signs that other scripts need for their vowels stay.
    """
    parts = normalize("NFC", "".join(part for part in unicodedata.normalize("NFD", text) if not "\u0300" <= part <= "\u036f"))
    return parts.translate(_STROKES)
