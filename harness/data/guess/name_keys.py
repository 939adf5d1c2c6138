"""The form in which names of columns are compared with lists of words."""

from __future__ import annotations

import re
import unicodedata

from harness.parsing.folding import without_accents

_BETWEEN_WORDS = r"\s!-/:-@\[-`{-~\u00a0-\u00bf\u2010-\u2027\u3000-\u303f"
"""White space and punctuation, of `[]`; not `\\W`, to which the vowel signs of Thai and Hindi belong."""


def name_key(name: str) -> str:
    """A name in small letters without accents, its words joined by `_`: `Počet hvězd` is `pocet_hvezd`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", unicodedata.normalize("NFKC", name))
    return "_".join(re.findall(f"[^_{_BETWEEN_WORDS}]+", without_accents(spaced.lower())))
