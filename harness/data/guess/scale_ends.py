"""What the numbers of a scale count, and which end is which, by the name of their column."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ends:
    """What a scale counts, and what its lowest and its highest step mean."""

    what: str
    low: str
    high: str


def _ends(what: str, low: str, high: str, words: str) -> dict[str, Ends]:
    return {word: Ends(what, low, high) for word in words.split()}


ENDS = {
    **_ends("stars", "worst", "best", "star stars sterne étoiles estrellas estrelas stelle bintang hvězd hvězdičky 星级 별점"),
    **_ends("toxicity", "not toxic", "most toxic", "toxicity"),
    **_ends("difficulty", "easiest", "hardest", "difficulty"),
    **_ends("severity", "least severe", "most severe", "severity"),
    **_ends("satisfaction", "least satisfied", "most satisfied", "satisfaction"),
    **_ends("sentiment", "most negative", "most positive", "sentiment polarity"),
    **_ends("quality", "worst", "best", "quality"),
    **_ends("urgency", "least urgent", "most urgent", "urgency"),
    **_ends("helpfulness", "least helpful", "most helpful", "helpfulness"),
    **_ends("relevance", "least relevant", "most relevant", "relevance"),
    **_ends("readability", "hardest to read", "easiest to read", "readability"),
    **_ends("intensity", "weakest", "strongest", "intensity"),
    **_ends("rating", "worst", "best", "rating ratings rated bewertung valoración calificación avaliação 评分 評価 평점"),
}
"""Word in the name of a column -> its scale. Not here: grade, note, score and priority, whose good end differs."""


def ends_of(name: str) -> Ends | None:
    """By the name of a column; None where it does not tell what is counted, or which end is which."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return next((ends for word, ends in ENDS.items() if word in words), None)
