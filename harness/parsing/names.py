"""Label names in an answer: alone, announced, or in one of a closed set of sentences. Anything else is no answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

from harness.core.errors import PromptError
from harness.core.types import LabelSpace
from harness.parsing import answer_words as words
from harness.parsing.folding import fold, fold_lines
from harness.parsing.stripping import without_control_tokens, without_markup, without_thinking

# Scripts written without spaces between words, or with particles glued to them: word boundaries say nothing there.
CJK = (
    r"\u0e00-\u0eff\u1100-\u11ff\u3005-\u30ff\u3131-\u318e\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f"
    r"\U00020000-\U0003ffff"
)
LETTER = rf"[^\W\d_{CJK}]"
WORD_CHARACTER = rf"[^\W_{CJK}]"

DECORATION = " \t\"'`*#>“”‘’«»„「」『』《》()[]{}<>.,:;!。、，！：【】"
_BULLET = r"(?:[-•·●▪◦–✅✔☑👉➡→*]+ |\d{1,2}[.)] )?+"
_OPEN = r"[ \"'“”„«»「」『』《》【】()\[{<>*#`]*+"
_CLOSE = r"(?: ?[»”])?+[\"'“”«»」』》】)\]}>*`]*+"
_WORD_END = rf"(?!{WORD_CHARACTER})"


def _words(of: Iterable[str]) -> str:
    """Any of these, ended where a word ends in a script that has words."""
    return rf"(?:{words.any_of(of)}){_WORD_END}"


MARKER = rf"(?<!{LETTER})(?:{words.any_of(words.MARKERS)})(?!{LETTER})"
_CJK_SUBJECT = (
    r"(?:(?:この|その|本|当)?(?:レビュー|文章|文|テキスト|コメント|投稿|商品|口コミ)|これ|それ"
    r"|(?:这|该|此|本)(?:条|篇|个|段|则|句)?(?:评论|文本|句子|文章|评价|留言|商品|产品|内容|话)?|(?:這|該)(?:條|篇|個|段|則)?(?:評論|文本|句子)?"
    r"|(?:이|해당|위) ?(?:리뷰|글|텍스트|문장|댓글|상품|평가|것))"
)
_BEFORE_NOUN = sorted({*words.DETERMINERS, *words.ADJECTIVES}, key=lambda word: (-len(word), word))
OPENING = (
    rf"{_OPEN}(?:{_words(words.OPENERS)}[ ,:、，]*+){{0,3}}(?:{_CJK_SUBJECT}(?:の|的|의)? ?)?"
    rf"(?:(?:{words.any_of(_BEFORE_NOUN)})(?!{LETTER}) ?){{0,4}}(?:l')?"
    rf"(?:{_words(words.JUDGED)} (?:{words.any_of(words.ADJECTIVES)} )?)?{_OPEN}"
)
"""What may precede a marker in its sentence."""

FILLER = rf"(?: {_words((*words.STATED, *words.ADJECTIVES))}){{0,6}}"
COLON = r"(?: ?[:=：]| ?(?:->|=>|→)| - )"
IS = rf"(?: {_words(words.COPULAS)}| ?(?:は|が|是|为|為|는|은|가|이|คือ|เป็น|ว่า))"
PARENTHESIS = r"(?: ?\([^()\n]{0,60}\)| ?（[^（）\n]{0,60}）)?+"

_COPULA_AFTER = f"(?:{words.COPULAS_AFTER})?"
_END = (
    rf" ?(?:$|[.!。！।…]+(?=[\s\"'”)]|$|[{CJK}])|[,;](?!\d)|[，、；]|[(（\[【]|-(?= )|[:：](?= |[{CJK}])"
    rf"|(?={_words(words.BECAUSE)})|(?<=\)) (?={WORD_CHARACTER}))"
)
_SENTENCE = re.compile(r"(?<=[.!?;])[\"'”)]*\s+|(?<=[。！？；।])[\"'”」)]*\s*|^")
_REVISION = re.compile(rf"(?<!{LETTER})(?:{words.REVISIONS})(?!{LETTER})")
_HEDGE = re.compile(rf"(?<!{LETTER})(?:{words.HEDGES})(?!{LETTER})")
_TURN = re.compile(rf"(?:{words.TURNS})(?!{WORD_CHARACTER})")
_BECAUSE = re.compile(_words(words.BECAUSE))
_THIRD_PERSON = re.compile(_words(words.THIRD_PERSON))
_OPENED = re.compile(rf"{OPENING}(?:{_words(words.OPENERS)})?[ ,]*")
_LISTED = re.compile(rf"{OPENING}{_words(words.PLURALS)}{FILLER}(?: are| sind| sont| son| sono| são|{IS})")
_SAID = re.compile(rf"(?:{_words(words.BECAUSE)}|(?:{words.COPULAS_AFTER})[.。]?$)")
_DETERMINED = re.compile(_words(words.DETERMINERS))
_INTENSIFIER = rf"(?:(?:{_words(words.INTENSIFIERS)}|{words.INTENSIFIERS_GLUED}) ?)??"
_SUBJECT = rf"(?:(?:{_words(words.DETERMINERS)} |l')(?:{_words(words.SUBJECTS)})|{_words(words.THAT)})"
_I_CHOOSE = (
    rf"i(?: would|'d|'ll| will)? (?:choose|pick|select|go with|go for|answer(?: with)?|say)(?: {_words(words.CHOICES)})? "
)
_HEADS = (
    r"i(?: would|'d|'ll| will)? (?:classify|label|rate|give|call|categorize|categorise|consider|say|mark|describe)"
    rf"(?: (?:this|it|the|that))?(?: {_words(words.SUBJECTS)})?(?: as| to be)? ",
    rf"ich würde (?:es|sie|das|{_words(words.DETERMINERS)} {_words(words.SUBJECTS)}) als ",
    rf"{_SUBJECT}(?: {_words(words.COPULAS)}| {_words(words.STATES)}) ",
    rf"(?:{_words(words.DETERMINERS)} {_words(words.SUBJECTS)}|{_words(words.UNARTICLED)})(?: -)? ",
    rf"{_words(words.THAT_IS)} ",
    rf"{_CJK_SUBJECT}(?:は|是|为|属于|表达了|는|은)? ?",
    "(?:รีวิวนี้|ข้อความนี้)(?:เป็น|คือ)",
)


@cache
def _announcing() -> re.Pattern[str]:
    """ "The sentiment of this review is": a marker, with what may stand around it."""
    return re.compile(rf"{_BULLET}{OPENING}{MARKER}{_CLOSE}{PARENTHESIS}{FILLER}{_CLOSE}({COLON}|{IS})")


@cache
def _sentence_head() -> re.Pattern[str]:
    """ "This review is", "I would rate it as": how the sentences begin that have no marker."""
    return re.compile(rf"{_OPEN}(?:{_words(words.OPENERS)}[ ,:]*+){{0,2}}(?:{'|'.join(_HEADS)})")


class Names:
    """Finds label names in answers."""

    def __init__(self, labels: LabelSpace) -> None:
        self.original = labels.names
        self.index: dict[str, int] = {}
        for index, name in enumerate(labels.names):
            folded = fold(name)
            if not folded or folded in self.index:
                problem = "is empty" if not folded else f"reads the same as {labels.names[self.index[folded]]!r}"
                raise PromptError(f"The label {name!r} {problem}.", "Give every label a name that can be told from the others.")
            if without_thinking(name) != name or without_markup(name) != name or without_control_tokens(name) != name:
                raise PromptError(
                    f"The label {name!r} holds what is stripped from answers.",
                    "Rename it: no <think>, no code fence, no control token, no LaTeX.",
                )
            self.index[folded] = index
        longest_first = sorted(self.index, key=lambda name: (-len(name), name))
        wordy = [name for name in longest_first if not _short(name)]
        # A look-ahead, so that a name that begins inside another one is seen as well.
        self._anywhere = re.compile(f"(?=({words.any_of(longest_first)}))")
        determiner = rf"(?:{_words(words.DETERMINERS)} )??"
        several = any(one != other and one in other for one in wordy for other in self.index)
        intensifier = "" if several else _INTENSIFIER  # "very positive" may be another step than "positive"
        name = rf"(?P<name>{words.any_of(longest_first)}){_CLOSE}{_COPULA_AFTER}{_CLOSE}(?P<end>{_END})"
        self._alone = re.compile(rf"{_BULLET}{_OPEN}{name}")
        self._with_noun = re.compile(
            rf"{_BULLET}{_OPEN}(?P<name>{words.any_of(wordy) or '(?!)'}){_CLOSE} {_words(words.NOUNS)}{_CLOSE}(?P<end>{_END})"
        )
        self._after_marker = re.compile(rf" ?{_OPEN}{determiner}{_OPEN}{name}")
        self._chosen = re.compile(
            rf"{_OPEN}(?:{_I_CHOOSE}|{_words(words.CHOICES)} ){_OPEN}(?P<name>{words.any_of(longest_first)}){_CLOSE}[.!]?$"
        )
        self._in_sentence = re.compile(
            rf"{determiner}{intensifier}{_OPEN}(?P<name>{words.any_of(wordy) or '(?!)'}){_CLOSE}(?: {_words(words.NOUNS)})?"
            rf"{_COPULA_AFTER}{_CLOSE}(?P<end>{_END})"
        )

    def exact(self, text: str) -> int | None:
        """The label whose name `text` is, decoration aside."""
        folded = fold(text)
        return self.index.get(folded, self.index.get(folded.strip(DECORATION)))

    def read(self, text: str) -> int | str:
        """The label that an answer (thinking and markup removed) states, or the reason why there is none."""
        lines = fold_lines(text)
        if not lines:
            return "empty"
        found = {reading for number, line in enumerate(lines) for reading in self._stated(line, first=number == 0)}
        if len(found) == 1:
            reading = next(iter(found))
            return "ambiguous" if self._revised(" ".join(lines), reading) else reading
        if found:
            return "ambiguous"
        return "ambiguous" if any(name for line in lines for name in self._mentioned(line)) else "unknown_label"

    def _stated(self, line: str, first: bool) -> Iterator[int | str]:
        """The labels that a folded line states; a reason where it states one without certainty, or one that is unknown."""
        bare = re.sub(rf"^{_BULLET}", "", line).strip(DECORATION)
        said = bare.removeprefix("i ")  # "I don't know", where that is a label
        forms = [line, bare, *([said] if " " in said else []), _in_digits(bare)]
        whole = next((self.index[form] for form in forms if form in self.index), None)
        if whole is not None and not line.endswith(("?", "？")):
            yield whole
            return
        if first and (match := self._alone.match(line) or self._with_noun.match(line)) is not None:
            yield self._judged(line, match["name"], match["end"], match.end("end"))
            return
        for start in (found.end() for found in _SENTENCE.finditer(line)):
            yield from self._stated_in_sentence(line, start)

    def _stated_in_sentence(self, line: str, start: int) -> Iterator[int | str]:
        if (chosen := self._chosen.match(line, start)) is not None:
            yield self.index[chosen["name"]]
            return
        announced = False
        while (marker := _announcing().match(line, start)) is not None:  # "Answer: the label is ..."
            announced, start = True, marker.end()
        if announced:
            match = self._after_marker.match(line, start)
        else:
            head = _sentence_head().match(line, start)
            match = None if head is None else self._in_sentence.match(line, head.end())
        if match is not None:
            yield self._judged(line, match["name"], match["end"], match.end("end"))
        elif announced and (rest := line[start:].strip(DECORATION)):
            yield from self._other_announced(rest)

    def _other_announced(self, rest: str) -> Iterator[str]:
        """What is announced and is no name alone: an answer of some words; a longer text may be a note of any kind."""
        if any(self._mentioned(rest)):
            yield "ambiguous"
        elif len(rest.split()) <= 3:
            yield "unknown_label"

    def _judged(self, line: str, name: str, end: str, at: int) -> int | str:
        """The label, where what follows it on its line only explains it."""
        label, tail = self.index[name], line[at:].strip(" \"'”)]}*")
        return label if self._explains(tail, name, end.strip()) else "ambiguous"

    def _explains(self, tail: str, name: str, end: str) -> bool:
        if not tail:
            return True
        because = _BECAUSE.match(tail) is not None
        next_name = self._alone.match(tail)
        if next_name is not None and next_name["name"] != name:  # "A, B"
            return False
        if _TURN.match(tail) or _HEDGE.search(tail) or _REVISION.search(tail) or "?" in tail or self._others_in(tail, name):
            return False
        about = _THIRD_PERSON.match(tail) is not None
        if name in words.INTERJECTIONS and not (because or end in ("(", "[") or about):
            return False
        if end[:1] in (",", "，", "、") and not (because or about or _DETERMINED.match(tail)):
            return False  # "Good, let me ..." answers nothing
        if end[:1] in (",", "，", "、", ";", "；", "-", ":", "："):
            enough = len(tail.split()) >= 2 or len(re.findall(rf"[{CJK}]", tail)) >= 4
            return because or ((enough or len(name) == 1) and not tail[0].isdigit())  # "B: sports"
        return True

    def _others_in(self, text: str, name: str) -> bool:
        """Whether `text` has another name, save the short ones that words of a language are too."""
        return any(other != name and not _short(other) for other in self._mentioned(text))

    def _mentioned(self, text: str) -> Iterator[str]:
        """The names that stand in `text` as words of their own, save those that are part of a longer one."""
        covered = 0
        for found in self._anywhere.finditer(text):
            if found.end(1) > covered and _is_word(text, found.start(1), found.end(1)):
                covered = found.end(1)
                yield found[1]

    def introduces(self, before: str, after: str) -> bool:
        """Whether JSON between two parts of its line is stated: announced or alone, and at most explained after it."""
        head, tail = fold(before).strip(" \"'`*(“「"), fold(after).strip(" \"'`*)”」")
        if _HEDGE.search(head) or _TURN.match(head) or _HEDGE.search(tail) or "?" in tail or "？" in tail:
            return False
        stated = not head or head[-1] in ":：=→>.。!！"
        stated = stated or any(form.fullmatch(head) for form in (_OPENED, _LISTED, _announcing()))
        return stated and (not tail or tail[0] in ".,;:。、，；(（-" or _SAID.match(tail) is not None)

    def second_thoughts(self, text: str) -> bool:
        """Whether `text`, which follows an answer, takes it back for another number or name."""
        folded = fold(text)
        rest = (folded[found.end() :] for found in _REVISION.finditer(folded))
        return any(re.search(r"\d", said) or any(self._mentioned(said)) for said in rest)

    def _revised(self, text: str, reading: int | str) -> bool:
        """Whether second thoughts lead to another label."""
        if isinstance(reading, str):
            return False
        name = next(name for name, index in self.index.items() if index == reading)
        return any(self._others_in(text[found.end() :], name) for found in _REVISION.finditer(text))


def _in_digits(name: str) -> str:
    """ "4 stars" for "four stars"."""
    first, blank, rest = name.partition(" ")
    return f"{words.SPELLED.get(first, first)}{blank}{rest}"


_OF_SENTENCES = frozenset((*words.DETERMINERS, *words.COPULAS, *words.STATED, *words.TURNS.split("|")))


def _short(name: str) -> bool:
    """Whether a word of a sentence may be meant, as a name is short or is such a word: `A`, `no`, `not`."""
    return (len(name) < 3 and re.search(rf"[{CJK}]", name) is None) or name in _OF_SENTENCES


_PART_OF_WORD_BEFORE = re.compile(rf"{WORD_CHARACTER}[-']?\Z")
_PART_OF_WORD_AFTER = re.compile(rf"[-']?{WORD_CHARACTER}")


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is no part of a longer word, where its script has words, and no part of a longer number."""
    first, last, before, after = text[start], text[end - 1], text[max(0, start - 2) : start], text[end : end + 3]
    if re.match(WORD_CHARACTER, first) and _PART_OF_WORD_BEFORE.search(before):
        return False
    if re.match(WORD_CHARACTER, last) and _PART_OF_WORD_AFTER.match(after):
        return False
    if first.isdigit() and before[-1:] in tuple("-+.,/:~$"):
        return False
    return not (last.isdigit() and re.match(r"[.,/:~-] ?\d| ?[%/]", after))
