"""Signs that a reader hardly sees: invisible characters, typographic hyphens and apostrophes, look-alike letters."""

from __future__ import annotations

import re
import unicodedata

from harness.parsing.folding import fold, invisible, plain_typography

_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\uff02", '"') | {"`": "'"})
_NEEDLESS = re.compile(r"[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+")
"""Those that no orthography and no emoji needs within a name, as Persian needs U+200C and a family of emoji U+200D."""
_TWINS = str.maketrans(
    "авекмнорстухіїјѕԁԛԝһԍьɑɡ"
    "αβεηικνορτυχγϲ"
    "يىكے",
    "abekmhopctyxiijsdqwhgbag"
    "abeniknoptuxyc"
    "ییکی",
)  # fmt: skip
"""Small letters of Cyrillic and Greek that look like a Latin one, small or as a capital; forms of ya and kaf in Arabic script
(Unicode TR 39, confusables)."""


def is_blank(text: str) -> bool:
    """Whether a reader sees nothing: white space and invisible characters only."""
    return all(sign.isspace() or invisible(sign) or sign == "\u2800" or unicodedata.category(sign) == "Cc" for sign in text)


def plain_signs(text: str) -> str:
    """Without invisible characters; hyphens, apostrophes and quotes as ASCII has them."""
    return plain_typography(unicodedata.normalize("NFC", text)).translate(_QUOTES)


def spelling_key(text: str) -> str:
    """`fold`, which joins what differs in case, width, spaces, invisible or typographic signs; of quotes too.

    A whole number has the same key with and without a zero after its point (`1`, `1.0`).
    """
    key = fold(plain_signs(text))
    return re.sub(r"[.,]0+$", "", key) if re.fullmatch(r"[-+]?\d+[.,]0+", key) else key


def without_needless(text: str) -> str:
    """Without the invisible characters that no orthography needs, without any at the ends, and with single spaces."""
    return " ".join(_NEEDLESS.sub("", text).split()).strip("\u200c\u200d")


def visible(text: str) -> str:
    """With an escape for each invisible or typographic sign, so that a reader sees what differs: `red\\u200b`."""
    return "".join(
        f"\\u{ord(sign):04x}"
        if not sign.isascii() and (plain_signs(sign) != unicodedata.normalize("NFC", sign) or sign.isspace())
        else sign
        for sign in text
    )


def quoted(text: str) -> str:
    """In quotes, as a sentence names a spelling."""
    return f"'{visible(text)}'"


def skeleton(text: str) -> str:
    """What is left where look-alike letters, accents, spaces and punctuation make no difference; empty where nothing is left.

    Signs that tell names apart stay (`C++`, `A+`, `<5`), and so does the punctuation of what holds digits.
    """
    key = unicodedata.normalize("NFD", spelling_key(text)).translate(_TWINS)
    key = re.sub(r"[\u0300-\u036f]", "", key)
    return key if any(sign.isdigit() for sign in key) else re.sub(r"[\s.,;:!?'\"\-_/()\[\]*。、！？]+", "", key)


def one_edit_apart(one: str, other: str) -> bool:
    """Whether one letter was put in, left out, changed, or swapped with its neighbour, after the first letter."""
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1 or short[:1] != long[:1] or one == other:
        return False
    start = next((place for place, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[start:] == long[start + 1 :]
    swapped = short[start : start + 2] == long[start : start + 2][::-1] and short[start + 2 :] == long[start + 2 :]
    return short[start + 1 :] == long[start + 1 :] or swapped
