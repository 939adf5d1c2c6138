"""What every parser does to a model's text before it looks for an answer; all of it linear in the text's length."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Literal

MAX_JSON_DEPTH = 32
# UAX #15, "stream-safe text": normalizing is quadratic in the length of one run of combining marks.
_MAX_COMBINING_RUN = 30
_GRAPHEME_JOINER = "\u034f"

_THINKING_TAG = re.compile(r"[<\[](/?)(?:think|thinking|thought|reasoning)[>\]]", re.IGNORECASE)
_FENCE = re.compile(r"(?:```|~~~)(?:(?:jsonc?|json5|text|txt|plaintext|markdown|md|yaml|python)\b)?", re.IGNORECASE)
_SPACES = re.compile(r"\s+")
_STRUCTURE = re.compile(r'\\.|["{}\[\]]', re.DOTALL)

# Scripts written without spaces between words, or with particles glued to them: word boundaries say nothing there.
CJK = r"\u1100-\u11ff\u3005-\u30ff\u3131-\u318e\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
LETTER = rf"[^\W\d_{CJK}]"
WORD_CHARACTER = rf"[^\W_{CJK}]"

MARKERS = (
    "final score|final rating|final answer|score|rating|answer|grade|label|class|category|sentiment|topic|result|stars|verdict|"
    "prediction|classification|bewertung|note|punktzahl|punkte|sterne|antwort|ergebnis|wertung|stimmung|kategorie|klasse|"
    "réponse|étoiles|évaluation|catégorie|classe|sentimiento|"
    "puntuación|puntaje|calificación|nota|respuesta|estrellas|valoración|categoría|clase|etiqueta|"
    "punteggio|voto|valutazione|risposta|pontuação|avaliação|resposta|оценка|ответ|"
    "総合評価|評価|スコア|点数|得点|評点|回答|答え|感情|ラベル|カテゴリー|カテゴリ|分類|"
    "评分|评价|得分|分数|打分|答案|評分|評價|分數|星级|情感|标签|类别|分类|점수|평점|평가|별점|정답|답변|답|등급|감성|감정|분류|라벨"
)
"""Words that announce an answer when `:`, `=` or a form of "to be" follows (a regex alternation, lower case, NFC)."""

MARKER = rf"(?<!{LETTER})(?:{MARKERS})(?!{LETTER})"
_OTHER_SCORES = ("confidence ", "maximum ", "minimum ", "highest ", "lowest ", "average ", "max ", "min ", "mean ", "previous ")
_FILLERS = (
    "for|of|to|the|this|that|my|your|review|text|comment|product|item|sentence|would|should|will|"
    "für|die|diese|dieser|dieses|den|der|rezension|pour|cet|cette|ce|du|le|la|de|critique|avis|para|esta|este|reseña|texto"
)
FILLER = rf"(?: (?:{_FILLERS})(?!{LETTER})){{0,6}}+"
CONNECTOR = rf"(?: ?[:=]| (?:is|be|was|ist|lautet|beträgt|est|es|é|è)(?!{LETTER})| ?(?:は|が|是|为|為|는|은|가))"


def announces_other(marker: re.Match[str]) -> bool:
    """Whether the match of a `MARKER` announces something else than the answer, as in "confidence score: 4"."""
    return marker.string.endswith(_OTHER_SCORES, max(0, marker.start() - 12), marker.start())


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
    """The form in which label names are compared: NFKC, case-folded, runs of white space and underscores one blank."""
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    return _SPACES.sub(" ", folded.replace("_", " ")).strip()


def fold_lines(text: str) -> list[str]:
    """`fold` for each line of `text` that has something on it."""
    return [line for line in map(fold, text.splitlines()) if line]


def without_thinking(text: str) -> str | None:
    """`text` without its `<think>` parts; None where one was opened and never closed.

    A closing tag without an opening one ends thinking that the chat template opened in the prompt.
    """
    kept: list[str] = []
    depth, position = 0, 0
    for tag in _THINKING_TAG.finditer(text):
        if not tag[1]:
            if depth == 0:
                kept.append(text[position : tag.start()])
            depth += 1
        elif depth == 0:
            kept = []
        else:
            depth -= 1
        position = tag.end()
    return None if depth else "\n".join([*kept, text[position:]])


def without_fences(text: str) -> str:
    """`text` with each Markdown code fence, and the language it names, replaced by a line break."""
    return _FENCE.sub("\n", text)


class Numeral(str):
    """A JSON number as it was written: `int()` is slow on, or refuses, a long one."""

    __slots__ = ()


class DuplicateKey(ValueError):
    """One JSON object that holds a key twice."""


def json_spans(text: str, openers: str) -> Iterator[str | None]:
    """The outermost `{...}` (or, with openers `{[`, also `[...]`) parts of `text`; a last None where one is not closed."""
    depth, start, in_string = 0, 0, False
    for token in _STRUCTURE.finditer(text):
        mark = token[0]
        if depth == 0:
            if mark in openers:
                depth, start, in_string = 1, token.start(), False
        elif mark == '"':
            in_string = not in_string
        elif in_string or len(mark) > 1:
            continue
        elif mark in "{[":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                yield text[start : token.end()]
    if depth:
        yield None


def read_json(span: str) -> Any:
    """Parse one span; numbers come back as `Numeral`. Raises ValueError, also for deep nesting, NaN and duplicate keys."""
    if _depth(span) > MAX_JSON_DEPTH:
        raise ValueError("nested too deep")
    return json.loads(span, parse_int=Numeral, parse_float=Numeral, parse_constant=_reject, object_pairs_hook=_object)


def _depth(span: str) -> int:
    """An upper bound of the nesting: brackets within strings count as well, which no honest answer has many of."""
    depth = deepest = 0
    for token in _STRUCTURE.finditer(span):
        if token[0] in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "}]":
            depth -= 1
    return deepest


def _reject(constant: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = fold(key)
        if name in found:
            raise DuplicateKey
        found[name] = value
    return found
