"""Read one whole number, on a known scale, out of a model's text; linear in the text's length.

The decision order stands in `harness.parsers`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from harness.parsing._answers import CONNECTOR, FILLER, LETTER, MARKER, announces_other, normalize

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
        """The number that an answer (thinking and fences removed) gives, or a reason; see `harness.parsers`."""
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
