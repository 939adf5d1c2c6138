"""Parsers turn a model's text into a label, or into a named failure. They never guess and never raise.

In doubt a parser refuses: a wrong reading corrupts a comparison without a trace, a refusal is counted and shown
(`REASONS`). All parsers first drop `<think>...</think>` (an unclosed one is refused) and Markdown code fences.

`integer` reads one whole number on the scale `first` ... `first + number of labels - 1`, in this order:

1. A scale that the text states ("on a scale of 0-4", "5点満点", "满分5分") is dropped if it is ours, any other is refused.
2. Strong evidence: the first line is nothing but a number - digits of any script, or one spelled word ("three", "三") -,
   or a word such as Score, Note, Puntuación, 評価, 评分 announces one ("Score: 4", "the rating is 4", `{"score": 4}`,
   `<answer>4</answer>`). Units (stars, Punkte, 点), our own scale ("4/5" where 5 is the highest) and Markdown may
   stand around it. All of it, and all lines that are nothing but a number, must agree; other numbers don't matter then.
3. Otherwise all numbers of the text must be the same one, and it must stand alone on a line, or open the text
   ("4 - because ..."), or follow "I rate it". A number elsewhere in a sentence ("3 buttons broke") is no answer.

Not a number: digits inside words (v2, mp3, GPT-4), ★★★. Refused: 3.5, ½, 1,000, 2-3, "2 or 3", "4?", "-1" (out of range), 4/10.

`label` reads a label name (case, width, `_` don't matter; of names within names the longest):

1. The whole text, then its first line, is a name; or a word such as Label, Sentiment, 分類 announces one
   ("Label: positive"), and only one name stands on the rest of that line. All of these must agree.
2. Otherwise exactly one name occurs in the text, and no "not", "kein", "不", "ではない" ... stands with it.

`json` reads the value of `key` in the JSON objects of the text: a number as `integer` would read it, or a label name.
`json_list` reads a list of label names, bare or as the value of `key`; all names must be known, [] is a valid answer.
"""

from __future__ import annotations

import json
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from harness.core.errors import PromptError
from harness.core.types import Label, LabelKind, LabelSpace
from harness.specs.parser_spec import ParserSpec

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


_ODD = "\x01"  # stands for ½, ², ① and their like: part of a number, but not one that we read
_TOO_LARGE = 10**9  # instead of int() on more digits than any scale has

_WORDS = {
    word: value
    for words in (
        "zero one two three four five six seven eight nine ten",
        "〇 一 二 三 四 五 六 七 八 九 十",
        "零 壱 弐 参",
    )
    for value, word in enumerate(words.split())
}


class _Plain(dict[int, str]):
    """`str.translate` table: any script's decimal digits and full-width signs to ASCII, quotes and emphasis to `"`."""

    def __missing__(self, code: int) -> str:
        plain = self[code] = _plain(chr(code))
        return plain


def _plain(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    if character in "、，":
        return ", "  # never a decimal comma
    if 0xFF01 <= code <= 0xFF5E:
        return _plain(chr(code - 0xFEE0))
    if character in "\n\r\x0b\x0c\x85\u2028\u2029":
        return "\n"
    if category in ("Zs", "Cc"):
        return " "
    if category == "Cf" or character in "\ufe0e\ufe0f\u20e3":  # invisible, or the frame of a keycap emoji
        return ""
    if category in ("No", "Nl"):
        return _ODD if character != "〇" else character
    if character in "*_`'" or category in ("Pi", "Pf") or character in "„「」『』《》":
        return '"'
    if category == "Pd" and character not in "〜〰゠":
        return "-"
    return {"−": "-", "〜": "~", "∼": "~", "٫": ".", "⁄": "/", "∕": "/", "【": "[", "】": "]"}.get(character, character)


_PLAIN = _Plain()
_BLANKS = re.compile(r" *\n[ \n]*| {2,}")

# Digits inside a word (v2, mp3, iPhone12, GPT-4, 2nd, 3D) are no number: hence the looks at both neighbours. The
# quantifiers are possessive, so that "12th" is not read as "1".
_BODY = rf"(?P<body>[.,]?+[\d{_ODD}]++(?:[.,][\d{_ODD}]++)*+)"
_START = rf"(?<!{LETTER})(?<!{LETTER}-)(?<![\d{_ODD}.,])(?P<sign>(?<![\w{_ODD})\]%])[-+])?+"
_D = r'[" ]*+'  # decoration
_UNITS = (
    rf"(?:(?:stars?|points?|sternen?|punkte?n?|étoiles?|estrellas?|puntos?|stelle|punti|estrelas?|pontos?|балл\w{{0,3}})(?!{LETTER})"
    r"|つ星|つ|点|點|分|颗星|顆星|星|점|개|[★☆⭐🌟](?![★☆⭐🌟]))"
)
_OUT_OF = rf"(?:/|out of(?! the)|of|von|sur|de|su|sobre|из)(?!{LETTER})"
_ITEM = (
    rf"{_START}{_BODY}(?!{LETTER})(?P<percent> ?%)?+{_D}(?P<unit>{_UNITS})?+{_D}"
    rf"(?P<scale>\(? ?{_OUT_OF}{_D}(?P<top>\d++)(?![.,]\d){_D}{_UNITS}?+ ?\)?)?+"
)
_NUMBER = re.compile(_ITEM)
_COPULA = r"(?:です|だと思います|だ|となります|입니다|이에요|이다)?"
_BARE = re.compile(rf"[\"#> ]*+[(\[{{ \"]*+(?:[星별] ?)?{_ITEM}[)\]}}\" ]*+{_COPULA}[.。!,;:]?[)\]}}\" ]*+")
_BECAUSE = (
    rf"(?:because|since|as|due|and|with|weil|da|denn|und|parce|car|et|porque|ya|pues|y|perché)(?!{LETTER})"
    r"|です(?!か)|だ(?!っ|ろ)|と(?!は|も)|で(?![はもしす])|なので|ため|因为|因為|입니다|이며|이고|로"
)
_END = rf"(?=[\"\])}} ]*+(?:$|[\n.。!;:,，|<($}}]|- |(?:{_BECAUSE})))"
_JOINERS = (
    rf"[-~/,&+…]|\.{{2,3}}|(?:or|to|and|vs|maybe|perhaps|possibly|oder|bis|und|vielleicht|ou|à|et|o|a|y|e|u|quizás)(?!{LETTER})"
    r"|か|から|または|もしくは|到|至|或者|或|또는|에서|와"
)
_JOINED = re.compile(rf"{_D}(?:(?:{_JOINERS}){_D}){{0,3}}[-+]?[\d{_ODD}]")
# "2-3", "2 or 3", "3+", "~3", "3?": not one certain number.
_VAGUE = re.compile(rf"{_D}[?+~]")
_MARKED = re.compile(
    rf"(?:{MARKER}\"*+(?: ?\([^()\d\n]{{0,40}}\))?+{FILLER}\"*+{CONNECTOR}{_D}\n?+{_D}"
    rf"(?:(?:an?|eine?|une?|una)(?!{LETTER}) )?+"
    rf"|<(?:answer|score|rating|label)>{_D}\n?+|\\boxed ?)[(\[{{\" ]*+{_ITEM}"
    rf"(?:{_END}|(?={_JOINED.pattern}|{_VAGUE.pattern}))"
)
# A number that opens the answer and is followed by its explanation. "1. The ..." may open a list instead: not here.
_LEAD = re.compile(rf"[\"( \[]*+{_ITEM}[\"\]) ]*+(?:(?(unit)[.:;,(]|[:;,(])|- |(?:{_BECAUSE}))")
_I_RATE = re.compile(
    r"(?:^|[.!\n,] ?)i(?: would|\"d|\"ll| will)? (?:rate|give|score)"
    rf"(?: (?:it|this|the|review|product|text|comment|a|an|as)(?!{LETTER})){{0,5}}+ "
    rf"\"*+{_ITEM}{_END}(?![^.\n]{{0,80}} (?:if|but|except|unless|had) )"
)

_RANGE = rf"(?<!\d)(?P<low>\d{{1,3}}){_D}(?:-|~|to|bis|à|a|から|到|至|에서|through|and)[\" ]*+(?P<high>\d{{1,3}})(?!\d)"
_PARENS = re.compile(rf"[(\[] ?{_RANGE}(?: ?{_UNITS})? ?[)\]]")
_SCALE = re.compile(
    r"\(?(?:(?:on|using|auf|sur|en|su) )?(?:(?:a|an|the|einer|der|une|una) )?"
    rf"(?:scale|skala|échelle|escala|scala|スケール|尺度|범위)(?: (?:of|from|von|de|da|between))?"
    rf":? ?{_RANGE}(?: ?{_UNITS})?[) ]*,?"
    rf"|[(]?{_RANGE.replace('low', 'low2').replace('high', 'high2')} ?(?:の|的)?"
    r"(?:段階|スケール|尺度|分制)(?:評価)?(?:で|中)?[)]?"
    r"|[(]? ?(?P<top1>\d{1,3}) ?(?:点満点|段階評価|段階|점 ?만점)(?:中|のうち|で|の|에서|에|중)?,? ?[)]?"
    r"|[(]? ?(?:满分|滿分)(?:为|是)? ?(?P<top2>\d{1,3}) ?分?,? ?[)]?"
)

Reading = int | str
"""A number on the scale, or the reason why there is none."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The whole numbers from `low` to `high`."""

    low: int
    high: int

    def read(self, text: str) -> Reading:
        """The number that an answer (thinking and fences removed) gives, or a reason; see the docstring above."""
        plain = _tidy(normalize("NFC", text).translate(_PLAIN).lower())
        if not plain:
            return "empty"
        stated = self._without_scale(plain)
        if stated is None:
            return "wrong_scale"
        lines = stated.split("\n")
        word = _WORDS.get(lines[0].strip('" .。!#'))
        first = self._alone(lines[0]) if word is None else self._in_range(word)
        strong = set() if first is None else {first}
        strong.update(self._value(match) for match in _MARKED.finditer(stated) if not announces_other(match))
        if strong:
            strong.update(self._alone_values(lines[1:]))
            return strong.pop() if len(strong) == 1 else "ambiguous"
        return self._weak(stated, lines)

    def read_value(self, text: str) -> Reading | None:
        """The number that a text consists of, a reason why it isn't on the scale, or None where it is no number."""
        return self._alone(" ".join(normalize("NFC", text).translate(_PLAIN).lower().split()))

    def _without_scale(self, text: str) -> str | None:
        """`text` without the parts that state our own scale; None where it states another one."""
        agrees = True

        def blank(match: re.Match[str]) -> str:
            nonlocal agrees
            groups = match.groupdict()
            low = groups["low"] or groups["low2"]
            high = groups["high"] or groups["high2"] or groups["top1"] or groups["top2"]
            agrees = agrees and int(high) == self.high and (low is None or int(low) == self.low)
            return " "

        def drop_own(match: re.Match[str]) -> str:
            return " " if (int(match["low"]), int(match["high"])) == (self.low, self.high) else match[0]

        text = _PARENS.sub(drop_own, _SCALE.sub(blank, text))
        return _tidy(text) if agrees else None

    def _alone(self, line: str) -> Reading | None:
        """The number of a line that holds nothing else (a unit, its scale and Markdown aside)."""
        match = _BARE.fullmatch(line)
        return None if match is None else self._value(match)

    def _alone_values(self, lines: list[str]) -> Iterator[Reading]:
        return (value for line in lines if (value := self._alone(line)) is not None)

    def _value(self, match: re.Match[str]) -> Reading:
        end = match.end("scale") if match["scale"] else max(match.end("body"), match.end("unit"), match.end("percent"))
        if _JOINED.match(match.string, end) or _VAGUE.match(match.string, end):
            return "ambiguous"
        whole, fraction = _split(match["body"])
        if fraction is None:
            return "not_integer"
        if match["percent"] or (match["top"] is not None and _to_int(match["top"]) != self.high):
            return "wrong_scale"
        return self._in_range(-whole if match["sign"] == "-" else whole)

    def _in_range(self, number: int) -> Reading:
        return number if self.low <= number <= self.high else "out_of_range"

    def _weak(self, text: str, lines: list[str]) -> Reading:
        """Nothing announces an answer: read one only where no other number could be meant."""
        evidence = set(self._alone_values(lines))
        evidence.update(self._value(match) for match in (_LEAD.match(text), _I_RATE.search(text)) if match)
        numbers = {_canonical(match) for match in _NUMBER.finditer(text)}
        if len(numbers) > 1:
            return "ambiguous"
        return evidence.pop() if len(evidence) == 1 else "no_answer"


def _tidy(text: str) -> str:
    """Single blanks, no blank lines, nothing around."""
    return _BLANKS.sub(lambda run: "\n" if "\n" in run[0] else " ", text).strip()


def _split(body: str) -> tuple[int, str | None]:
    """("3.0") -> (3, "0"); the fraction is None where the number isn't a plain whole one."""
    parts = re.split("[.,]", body)
    zeros = len(parts) == 1 or (len(parts) == 2 and parts[1] in ("0", "00"))  # "1,000" may be a thousand
    if _ODD in body or not parts[0] or not zeros:
        return 0, None
    return _to_int(parts[0]), parts[-1]


def _to_int(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= 9 else _TOO_LARGE


def _canonical(match: re.Match[str]) -> str:
    whole, fraction = _split(match["body"])
    return match["body"] if fraction is None else f"{'-' if match['sign'] == '-' else ''}{whole}"


_NEGATION_BEFORE = re.compile(
    rf"(?<!{LETTER})(?:not|no|non|never|neither|nor|without|cannot|hardly|[a-z]+n['’]t|nicht|kein\w{{0,2}}|nie|weder|pas|"
    rf"aucune?|jamais|ni|sin|nunca|não|sem|нет|не)(?!{LETTER})|不|没|沒|非(?!常)|無|无|未|안 |못 "
)
_NEGATION_AFTER = re.compile(r"[^.。!?\n]{0,8}?(?:ない|なく|ません|아니|아닌|않|없)|[^.。!?\n]{0,20}(?:とは言え|\?|？)")
_SENTENCE_END = re.compile(r"[.。!?！？;]")
_WINDOW = 60  # characters before a name in which a negation counts; keeps the look back linear
LABEL_MARKED = re.compile(rf"{MARKER}[\"*'`]*+{FILLER}[\"*'`]*+{CONNECTOR}")
DECORATION = " \t\"'`*#>“”‘’«»„「」『』()[]{}<>.,:;!。、"


class Names:
    """Finds label names in text that `fold` has folded."""

    def __init__(self, labels: LabelSpace) -> None:
        self.original = labels.names
        self.index: dict[str, int] = {}
        for index, name in enumerate(labels.names):
            folded = fold(name)
            if not folded or folded in self.index:
                problem = "is empty" if not folded else f"reads the same as {labels.names[self.index[folded]]!r}"
                raise PromptError(f"The label {name!r} {problem}.", "Give every label a name that can be told from the others.")
            if without_thinking(name) != name or without_fences(name) != name:
                raise PromptError(
                    f"The label {name!r} holds what is stripped from answers.", "Rename it: no <think>, no code fence."
                )
            self.index[folded] = index
        longest_first = sorted(self.index, key=len, reverse=True)
        # A look-ahead, so that a name that begins inside another one is seen as well.
        self.pattern = re.compile(f"(?=({'|'.join(map(_bounded, longest_first))}))")

    def exact(self, text: str) -> int | None:
        """The label whose name `text` is, decoration aside."""
        folded = fold(text)
        bare = folded.strip(DECORATION)
        return self.index.get(folded, self.index.get(bare))

    def within(self, line: str) -> Iterator[tuple[int, int, int]]:
        """(label, start, end) of each name in a folded line, save those that are part of a longer one."""
        covered = 0
        for match in self.pattern.finditer(line):
            if match.end(1) > covered:
                covered = match.end(1)
                yield self.index[match[1]], match.start(1), covered


def _bounded(name: str) -> str:
    """A pattern for `name` as a word of its own, where its script has words; digits must be no part of a number."""
    before, after = "", ""
    if re.match(WORD_CHARACTER, name):
        before = rf"(?<!{WORD_CHARACTER})(?<!{WORD_CHARACTER}[-'’])"
    if re.search(rf"{WORD_CHARACTER}\Z", name):
        after = rf"(?!{WORD_CHARACTER})(?![-'’]{WORD_CHARACTER})"
    if name[0].isdigit():
        before += r"(?<![-+−–.,/:~])"
    if name[-1].isdigit():
        after += r"(?![.,/:~–−-] ?\d)(?! ?[%/])"
    return f"{before}{re.escape(name)}{after}"


def denied(line: str, start: int, end: int) -> bool:
    """Whether line[start:end] is negated before it in its sentence or (Japanese, Korean) right after it, or is in question."""
    sentence = _SENTENCE_END.split(line[max(0, start - _WINDOW) : start])[-1]
    return bool(_NEGATION_BEFORE.search(sentence) or _NEGATION_AFTER.match(line, end))


REASONS: dict[str, str] = {
    "empty": "there is no text, or nothing after the thinking",
    "unfinished_thinking": "the thinking was never closed: the answer was cut (raise max_new_tokens)",
    "no_answer": "nothing in the text can be read as an answer for sure",
    "ambiguous": "several different answers, a range, or an uncertain one",
    "out_of_range": "a number outside of the scale",
    "not_integer": "a number that is no plain whole one (3.5, ½, 1,000)",
    "wrong_scale": "a number on another scale than the one asked for (4/10, 80%)",
    "unknown_label": "an answer that is no label name",
    "negated": "the only label name in the text seems to be denied or questioned (not positive)",
    "bad_json": "the JSON is broken, cut, or nested too deep",
    "missing_key": "the JSON holds no such key",
    "wrong_type": "the JSON value is of a type that can't be an answer (null, true, an object)",
}
"""Every reason of a refusal, with a line for the docs. A reason never quotes the model."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A label, or the reason (a key of `REASONS`) why there is none; exactly one of them is None."""

    label: Label | None
    reason: str | None = None


class Parser(ABC):
    """Reads the answers that one prompt asks for, in one label space."""

    def parse(self, text: str) -> Parsed:
        """The label that `text` gives. Never raises; takes time linear in the length of `text`."""
        answer = without_thinking(text)
        if answer is None:
            return Parsed(None, "unfinished_thinking")
        answer = without_fences(answer)
        return self._read(answer) if answer.strip() else Parsed(None, "empty")

    @abstractmethod
    def _read(self, text: str) -> Parsed:
        """`parse` for text that is not empty, without thinking and fences."""

    @abstractmethod
    def answer(self, label: Label) -> str:
        """The canonical answer of `label` (for few-shot examples): `parse(answer(label)).label == label`."""

    @abstractmethod
    def choices(self) -> list[str] | None:
        """The canonical answers of all labels in order; None where they are too many to list."""


def make_parser(spec: ParserSpec, labels: LabelSpace) -> Parser:
    """The parser that `spec` asks for; raises `PromptError` where it can't serve the label space."""
    if (spec.type == "json_list") != (labels.kind is LabelKind.MULTILABEL):
        fitting = "json_list" if labels.kind is LabelKind.MULTILABEL else "integer, label or json"
        raise PromptError(f"The parser {spec.type!r} can't give the labels of a {labels.kind} task.", f"Use {fitting}.")
    if not labels.names:
        raise PromptError(f"The parser {spec.type!r} needs at least one label name.")
    scale = Scale(spec.first, spec.first + len(labels) - 1)
    if spec.type == "integer":
        return _Integer(scale, _check_numbers(labels, scale))
    names = Names(labels)
    if spec.type == "label":
        return _LabelName(names)
    if spec.type == "json":
        return _Json(spec.key, _Integer(scale, _check_numbers(labels, scale)), names)
    return _JsonList(spec.key, names)


def _check_numbers(labels: LabelSpace, scale: Scale) -> LabelSpace:
    """Label names that are numbers must be the numbers of the answers, or every reading would be off unseen."""
    for index, name in enumerate(labels.names):
        number = Scale(-(10**6), 10**6).read_value(name) if name.strip("+-").isdigit() else None
        if isinstance(number, int) and number != scale.low + index:
            hint = f"Set `first: {number - index}` in the prompt, or give the labels names that are no numbers."
            raise PromptError(f"The label {name!r} would be answered with {scale.low + index}.", hint)
    return labels


class _Integer(Parser):
    def __init__(self, scale: Scale, labels: LabelSpace) -> None:
        self.scale = scale
        self.count = len(labels)

    def _read(self, text: str) -> Parsed:
        return self.parsed(self.scale.read(text))

    def parsed(self, reading: int | str) -> Parsed:
        return Parsed(None, reading) if isinstance(reading, str) else Parsed(reading - self.scale.low)

    def answer(self, label: Label) -> str:
        return str(self.scale.low + _single(label))

    def choices(self) -> list[str]:
        return [self.answer(index) for index in range(self.count)]


class _LabelName(Parser):
    def __init__(self, names: Names) -> None:
        self.names = names

    def parse(self, text: str) -> Parsed:
        exact = self.names.index.get(fold(text))  # first: a name may look like something that is stripped
        return super().parse(text) if exact is None else Parsed(exact)

    def _read(self, text: str) -> Parsed:
        lines = fold_lines(text)
        if not lines:
            return Parsed(None, "empty")
        first = self.names.exact(lines[0])
        strong: set[Parsed] = set() if first is None else {Parsed(first)}
        for line in lines:
            marker = next((found for found in LABEL_MARKED.finditer(line) if not announces_other(found)), None)
            if marker and line[marker.end() :].strip(DECORATION):
                strong.add(self._mentioned([line[marker.end() :]]))
        found = strong or {self._mentioned(lines)}
        return found.pop() if len(found) == 1 else Parsed(None, "ambiguous")

    def _mentioned(self, lines: list[str]) -> Parsed:
        """The only name in `lines`."""
        found: set[int] = set()
        doubtful = False
        for line in lines:
            for label, start, end in self.names.within(line):
                found.add(label)
                if len(found) > 1:
                    return Parsed(None, "ambiguous")
                doubtful = doubtful or denied(line, start, end)
        if not found:
            return Parsed(None, "unknown_label")
        return Parsed(None, "negated") if doubtful else Parsed(found.pop())

    def answer(self, label: Label) -> str:
        return self.names.original[_single(label)]

    def choices(self) -> list[str]:
        return list(self.names.original)


class _Json(Parser):
    def __init__(self, key: str, numbers: _Integer, names: Names) -> None:
        self.key = key
        self.numbers = numbers
        self.names = names

    def _read(self, text: str) -> Parsed:
        return _only(text, "{", self._in_value)

    def _in_value(self, value: Any) -> Parsed:
        field = _field(value, self.key)
        return field if isinstance(field, Parsed) else self._label(field[0])

    def _label(self, value: Any) -> Parsed:
        if not isinstance(value, str):
            return Parsed(None, "wrong_type")
        if not value.strip():
            return Parsed(None, "empty")
        name = None if isinstance(value, Numeral) else self.names.exact(value)
        reading = self.numbers.scale.read_value(value)
        if reading is not None:
            return self.numbers.parsed(reading)
        if isinstance(value, Numeral):
            return Parsed(None, "not_integer")
        return Parsed(None, "unknown_label") if name is None else Parsed(name)

    def answer(self, label: Label) -> str:
        return json.dumps({self.key: self.numbers.scale.low + _single(label)}, ensure_ascii=False)

    def choices(self) -> list[str]:
        return [self.answer(index) for index in range(self.numbers.count)]


class _JsonList(Parser):
    def __init__(self, key: str, names: Names) -> None:
        self.key = key
        self.names = names

    def _read(self, text: str) -> Parsed:
        return _only(text, "{[", self._in_value)

    def _in_value(self, value: Any) -> Parsed:
        if isinstance(value, list):
            return self._labels(value)
        field = _field(value, self.key)
        return field if isinstance(field, Parsed) else self._labels(field[0])

    def _labels(self, value: Any) -> Parsed:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return Parsed(None, "wrong_type")
        found = [self.names.exact(item) for item in value]
        known = {label for label in found if label is not None}
        return Parsed(None, "unknown_label") if None in found else Parsed(tuple(sorted(known)))

    def answer(self, label: Label) -> str:
        if isinstance(label, int):
            raise TypeError("a multilabel answer needs a tuple of label indices")
        return json.dumps([self.names.original[index] for index in label], ensure_ascii=False)

    def choices(self) -> None:
        return None


def _only(text: str, openers: str, read: Callable[[Any], Parsed]) -> Parsed:
    """What `read` makes of all JSON values in `text`, which must agree (those without the key don't count)."""
    found: set[Parsed] = set()
    for span in json_spans(text, openers):
        try:
            found.add(Parsed(None, "bad_json") if span is None else read(read_json(span)))
        except DuplicateKey:
            found.add(Parsed(None, "ambiguous"))
        except (ValueError, RecursionError):
            found.add(Parsed(None, "bad_json"))
    if len(found) > 1:
        found.discard(Parsed(None, "missing_key"))
    if not found:
        return Parsed(None, "no_answer")
    if Parsed(None, "bad_json") in found:
        return Parsed(None, "bad_json")
    return found.pop() if len(found) == 1 else Parsed(None, "ambiguous")


def _field(value: Any, key: str) -> tuple[Any] | Parsed:
    """(value of the key,), or the refusal; a tuple, since the value may be anything."""
    name = fold(key)
    return (value[name],) if isinstance(value, dict) and name in value else Parsed(None, "missing_key")


def _single(label: Label) -> int:
    if not isinstance(label, int):
        raise TypeError("a single-label answer needs one label index")
    return label
