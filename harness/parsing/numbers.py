"""One whole number on a scale, in an answer: alone, announced, or the only number of the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

from harness.parsing import answer_words as words
from harness.parsing.folding import normalize
from harness.parsing.names import LETTER, MARKER, OPENING

_ODD = "\x01"  # stands for ½, ², ① and their like: part of a number, but not one that we read
_TOO_LARGE = 10**9  # instead of int() on more digits than any scale has


class _Plain(dict[int, str]):
    """`str.translate` table: any script's decimal digits and full-width signs to ASCII, quotes and emphasis to `"`."""

    def __missing__(self, code: int) -> str:
        plain = self[code] = _plain(chr(code))
        return plain


def _plain(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    if character in "、，،":
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


def _quoted(pattern: str) -> str:
    """A pattern for folded text, for text in which all quotes are `"`."""
    return pattern.replace("'", '"')


# Digits inside a word (v2, mp3, iPhone12, GPT-4, 2nd, 3D) are no number: hence the looks at both neighbours. The
# quantifiers are possessive, so that "12th" is not read as "1".
_BODY = rf"(?P<body>[.,]?+[\d{_ODD}]++(?:[.,][\d{_ODD}]++)*+)"
_START = rf"(?<!{LETTER})(?<!{LETTER}-)(?<![\d{_ODD}.,])(?P<sign>(?<![\w{_ODD})\]%])[-+])?+"
_D = r'[" ]*+'  # decoration
_UNITS = (
    r"(?:(?:stars?|points?|sternen?|punkte?n?|étoiles?|estrellas?|puntos?|stelle|stella|punti|estrelas?|pontos?|балл\w{0,3}|зв[её]зд\w{0,2}|"
    r"sterren|ster|punten|stjärnor|stjerner|poäng|poeng|tähteä|tähti|pistettä|gwiazd\w{0,4}|punkt\w{0,3}|hvězd\w{0,5}|bod\w{0,2}|csillag|pont|stele|yildiz|puan|"
    r"bintang|poin|sao|điểm|نجوم|نجمة|نقاط|نقطة|सितारे|सितारा|स्टार|अंक)"
    rf"(?!{LETTER})|つ星|つ|点|點|分|颗星|顆星|星|점|개|คะแนน|ดาว|[★☆⭐🌟](?![★☆⭐🌟]))"
)
_OUT_OF = (
    r"(?:/|out of(?! the)|of(?= [\d\"]+ (?:stars?|points?))|von|sur|de|su|sobre|из|із|z|ze|av|af|van|uit|dari|trên|จาก|من|din"
    r"|από)"
    rf"(?!{LETTER})"
)
_ITEM = (
    rf"{_START}{_BODY}(?!{LETTER})(?P<percent> ?%)?+{_D}(?P<unit>{_UNITS})?+{_D}"
    rf"(?P<scale>\(? ?{_OUT_OF}{_D}(?P<top>\d++)(?![.,]\d){_D}{_UNITS}?+ ?\)?)?+"
)
_NUMBER = re.compile(_ITEM)
_COPULA = r"(?:です|だと思います|だ|となります|입니다|이에요|이다|ครับ|ค่ะ| है)?"
_BARE = re.compile(rf"[\"# ]*+(?:> )?[\" ]*+[(\[{{ \"]*+(?:[星별] ?)?{_ITEM}[)\]}}\" ]*+{_COPULA}[.。!।,;:]?[)\]}}\" ]*+")
_BECAUSE = (
    rf"(?:{words.any_of(words.BECAUSE)}|and|und|et|y)(?!{LETTER})"
    r"|です(?!か)|だ(?!っ|ろ)|と(?!は|も)|で(?![はもしす])|입니다|이며|이고|로"
)
_END = rf"(?=[\"\])}} ]*+(?:$|[\n.。!।;:,|<($}}]|- |(?:{_BECAUSE})))"
_JOINERS = (
    r"[-~/,&+…]|\.{2,3}|(?:or|to|and|vs|maybe|perhaps|possibly|oder|bis|und|vielleicht|ou|à|et|o|a|y|e|u|quizás|tot|eller|lub|veya|ile|atau|"
    rf"hoặc|หรือ|أو|या|или|до)(?!{LETTER})|か|から|または|もしくは|到|至|或者|或|또는|에서|와"
)
_JOINED = re.compile(rf"{_D}(?:(?:{_JOINERS}){_D}){{0,3}}[-+]?[\d{_ODD}]")
# "2-3", "2 or 3", "3+", "~3", "3?": not one certain number.
_VAGUE = re.compile(rf"{_D}[?+~]")
_FILLER = rf"(?: (?:{_quoted(words.any_of((*words.STATED, *words.ADJECTIVES)))})(?!{LETTER})){{0,6}}"
_IS = rf"(?: (?:{words.any_of(words.COPULAS)})(?!{LETTER})| ?(?:は|が|是|为|為|는|은|가|คือ|เป็น))"
_CONNECTOR = rf"(?:(?P<colon> ?(?:[:=→]|[-=]>))|(?P<dash> -(?= ))|(?P<of> of)|(?P<is>{_IS}))"
_TO_NUMBER = (
    rf"{MARKER}\"*+(?: ?\([^()\d\n]{{0,40}}\))?+{_FILLER}\"*+{_CONNECTOR}{_D}\n?+{_D}"
    rf"(?:(?:an?|eine?|une?|una)(?!{LETTER}) )?+[(\[{{\" ]*+"
)


@cache
def _marked() -> re.Pattern[str]:
    """A number that a marker announces. Compiled when it is needed, as are the others that hold all markers: it takes time."""
    return re.compile(rf"{_TO_NUMBER}{_ITEM}(?:{_END}|(?={_JOINED.pattern}|{_VAGUE.pattern}))")


@cache
def _spelled_marked() -> re.Pattern[str]:
    return re.compile(rf"(?P<before>{_TO_NUMBER})(?P<number>{_SPELLED})(?!{LETTER})")


_GIVEN = (
    r"(?:i(?: would| will|\"d|\"ll)? (?:give|assign|rate|award)(?: (?:it|this|the \w+|this \w+))?(?: at| with)?"
    r"|(?:it|this|the)(?: \w+)? (?:deserves|gets|receives|warrants|merits|has|is given)) "
)
_BEFORE_MARKER = re.compile(rf"(?:{_GIVEN})?{_quoted(OPENING)}")
_SENTENCE_START = re.compile(r".*(?:[.!?;,:] |[。！？；।、\n])[\" ]*", re.DOTALL)
_WINDOW = 160  # characters before a marker in which its sentence must begin: keeps the look back linear
_OTHER_SCORE = re.compile(
    r"(?:confidence|maximum|minimum|highest|lowest|average|max|min|mean|previous|wrong|no|not|not the|not a) \"*$"
)
# A number that opens the answer and is followed by its explanation. "1. The ..." may open a list instead: not here.
_LEAD = re.compile(rf"[\"( \[]*+{_ITEM}[\"\]) ]*+(?:(?(unit)[.:;,(]|[:;,(])|- |(?:{_BECAUSE}))")
_I_RATE = re.compile(
    r"(?:^|[.!\n,] ?)i(?: would|\"d|\"ll| will)? (?:rate|give|score)"
    rf"(?: (?:it|this|the|review|product|text|comment|a|an|as)(?!{LETTER})){{0,5}}+ "
    rf"\"*+{_ITEM}{_END}(?![^.\n]{{0,80}} (?:if|but|except|unless|had) )"
)
_SPELLED = rf"(?:{words.any_of(sorted(words.SPELLED, key=lambda word: -len(word)))})"
_SPELLED_ALONE = re.compile(
    rf"\A(?P<before>[\"#> (\[]*+)(?P<number>{_SPELLED})(?P<unit1> ?(?:{_UNITS})?)"
    rf"(?:(?P<out> {_OUT_OF} )(?P<most>{_SPELLED}|\d+)(?P<unit2> ?(?:{_UNITS})?))?"
    rf"(?P<rest>{_COPULA}[\"\]) ]*+[.。!।#]*[\" ]*+)(?=\n|\Z)"
)
_REVISION = re.compile(rf"(?<!{LETTER})(?:{_quoted(words.REVISIONS)})")

_TO = "-|~|to|bis|à|a|から|到|至|에서|through|and|do|hingga|sampai|đến|ถึง|إلى|से|до"
_RANGE = rf"(?<!\d)(?P<low>\d{{1,3}}){_D}(?:{_TO})[\" ]*+(?P<high>\d{{1,3}})(?!\d)"
_PARENS = re.compile(rf"[(\[] ?{_RANGE}(?: ?{_UNITS})? ?[)\]]")
_SCALE = re.compile(
    r"\(?(?:(?:on|using|auf|sur|en|su) )?(?:(?:a|an|the|einer|der|une|una) )?"
    rf"(?:scale|skala|échelle|escala|scala|スケール|尺度|범위)(?: (?:of|from|von|de|da|between))?"
    rf":? ?{_RANGE}(?: ?{_UNITS})?[) ]*,?"
    rf"|[(]?{_RANGE.replace('low', 'low2').replace('high', 'high2')} ?(?:の|的)?"
    r"(?:段階|スケール|尺度|分制)(?:評価)?(?:で|中)?[)]?"
    r"|[(]? ?(?P<top1>\d{1,3}) ?(?:点満点|段階評価|段階|点 ?만점|점 ?만점|点中|つ中|üzerinden|uzerinden|में से)"
    r"(?:中|のうち|で|の|에서|에|중)?,? ?[)]?"
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
        """The number that an answer (thinking and markup removed) states, or the reason why there is none."""
        plain = _with_digits(_tidy(_plain_text(text)))
        if not plain:
            return "empty"
        stated = self._without_scale(plain)
        if stated is None:
            return "wrong_scale"
        lines = stated.split("\n")
        first = self._alone(lines[0])
        strong = set() if first is None else {first}
        strong.update(self._value(match) for match in _marked().finditer(stated) if self._announces(match))
        if strong:
            strong.update(self._alone_values(lines[1:]))
            reading = strong.pop() if len(strong) == 1 else "ambiguous"
        else:
            reading = self._weak(stated, lines)
        return "ambiguous" if isinstance(reading, int) and self._revised(stated, reading) else reading

    def read_value(self, text: str) -> Reading | None:
        """The number that a text consists of, a reason why it isn't on the scale, or None where it is no number."""
        return self._alone(_with_digits(" ".join(_plain_text(text).split())))

    def _announces(self, match: re.Match[str]) -> bool:
        """Whether a marker announces the answer: its sentence begins with it, or a colon follows, and it is no other score."""
        before = match.string[max(0, match.start() - _WINDOW) : match.start()]
        if match["colon"] is not None:
            return _OTHER_SCORE.search(before) is None
        if match["dash"] is not None and self.low < 0:
            return False  # "Score - 1" may be minus one
        return _BEFORE_MARKER.fullmatch(_SENTENCE_START.sub("", before)) is not None

    def _revised(self, text: str, reading: int) -> bool:
        """Whether second thoughts lead to another number of the scale."""
        return any(
            isinstance(other := self._value(match), int) and other != reading
            for found in _REVISION.finditer(text)
            for match in islice(_NUMBER.finditer(text, found.end(), found.end() + _WINDOW), 3)
        )

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


def _plain_text(text: str) -> str:
    plain = normalize("NFKC", normalize("NFC", text).translate(_PLAIN)).lower()
    return plain.replace("i\u0307", "i").replace("ı", "i")  # as `fold` has it


def _with_digits(text: str) -> str:
    """`text` with digits for a spelled number that is the first line, or announced."""

    def alone(found: re.Match[str]) -> str:
        most = (
            "" if found["out"] is None else f"{found['out']}{words.SPELLED.get(found['most'], found['most'])}{found['unit2']}"
        )
        return f"{found['before']}{words.SPELLED[found['number']]}{found['unit1']}{most}{found['rest']}"

    text = _SPELLED_ALONE.sub(alone, text)
    return _spelled_marked().sub(lambda found: f"{found['before']}{words.SPELLED[found['number']]}", text)


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
