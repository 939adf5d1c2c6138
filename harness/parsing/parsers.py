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
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.core.errors import PromptError
from harness.core.types import Label, LabelKind, LabelSpace
from harness.parsing import _answers as answers
from harness.parsing._label_names import DECORATION, LABEL_MARKED, Names, denied
from harness.parsing._numbers import Scale
from harness.specs.parser_spec import ParserSpec

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
        answer = answers.without_thinking(text)
        if answer is None:
            return Parsed(None, "unfinished_thinking")
        answer = answers.without_fences(answer)
        return self._read(answer) if answer.strip() else Parsed(None, "empty")

    @abstractmethod
    def _read(self, text: str) -> Parsed:
        """`parse` for text that is not empty, without thinking and fences."""

    @abstractmethod
    def answer(self, label: Label) -> str:
        """The canonical answer of `label` (for exemplars): `parse(answer(label)).label == label`."""

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
        exact = self.names.index.get(answers.fold(text))  # first: a name may look like something that is stripped
        return super().parse(text) if exact is None else Parsed(exact)

    def _read(self, text: str) -> Parsed:
        lines = answers.fold_lines(text)
        if not lines:
            return Parsed(None, "empty")
        first = self.names.exact(lines[0])
        strong: set[Parsed] = set() if first is None else {Parsed(first)}
        for line in lines:
            marker = next((found for found in LABEL_MARKED.finditer(line) if not answers.announces_other(found)), None)
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
        name = None if isinstance(value, answers.Numeral) else self.names.exact(value)
        reading = self.numbers.scale.read_value(value)
        if reading is not None:
            return self.numbers.parsed(reading)
        if isinstance(value, answers.Numeral):
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
    for span in answers.json_spans(text, openers):
        try:
            found.add(Parsed(None, "bad_json") if span is None else read(answers.read_json(span)))
        except answers.DuplicateKey:
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
    name = answers.fold(key)
    return (value[name],) if isinstance(value, dict) and name in value else Parsed(None, "missing_key")


def _single(label: Label) -> int:
    if not isinstance(label, int):
        raise TypeError("a single-label answer needs one label index")
    return label
