"""Parsers turn a model's text into a label, or into a named failure. They never guess and never raise.

In doubt a parser refuses: a wrong reading corrupts a comparison without a trace, a refusal is counted and shown (`REASONS`).
docs/parsing.md has the rules. `integer`: `numbers`; `label`: `names`; `json` and `json_list`: `json_answers`. What none of
them looks at is removed before: `stripping`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.core.engine import Allowed, ListOf
from harness.core.errors import PromptError
from harness.core.types import Label, LabelKind, LabelSpace
from harness.parsing.folding import fold
from harness.parsing.json_answers import DuplicateKey, Numeral, json_spans, read_json
from harness.parsing.names import Names
from harness.parsing.numbers import Scale
from harness.parsing.stripping import before_next_example, without_control_tokens, without_markup, without_thinking
from harness.specs.parser_spec import ParserSpec

REASONS: dict[str, str] = {
    "empty": "there is no text, or nothing after the thinking",
    "unfinished_thinking": "the thinking was never closed: the answer was cut (raise max_new_tokens)",
    "no_answer": "nothing in the text can be read as an answer for sure",
    "ambiguous": "several answers, a range, second thoughts, or a label name in a text that does not state it as the answer",
    "out_of_range": "a number outside of the scale",
    "not_integer": "a number that is no plain whole one (3.5, ½, 1,000)",
    "wrong_scale": "a number on another scale than the one asked for (4/10, 80%)",
    "unknown_label": "an answer that is no label name",
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
        if answer is None:  # a turn after the answer's may open thinking, too
            answer = without_thinking(without_control_tokens(text))
        if answer is None:
            return Parsed(None, "unfinished_thinking")
        answer = without_markup(without_control_tokens(answer))
        if not answer.strip():
            return Parsed(None, "empty")
        own = before_next_example(answer)
        parsed = None if own is None else self._read(own)
        return self._read(answer) if parsed is None or parsed.label is None else parsed

    @abstractmethod
    def _read(self, text: str) -> Parsed:
        """`parse` for text that is not empty, without what `stripping` removes."""

    @abstractmethod
    def answer(self, label: Label) -> str:
        """The canonical answer of `label` (for few-shot examples): `parse(answer(label)).label == label`."""

    @abstractmethod
    def choices(self) -> list[str] | None:
        """The canonical answers of all labels in order; None where they are too many to list."""

    @abstractmethod
    def allowed(self) -> Allowed:
        """What `decoding: constrained` lets a model answer; `parse` reads each of these answers."""


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
    return _JsonList(spec.key, names, spec.most or len(labels))


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
        self.index = {folded: index for index, name in enumerate(labels.names) if (folded := fold(name))}

    def _read(self, text: str) -> Parsed:
        parsed = self.parsed(self.scale.read(text))
        return Parsed(None, "ambiguous") if self._named_otherwise(text, parsed.label) else parsed

    def _named_otherwise(self, text: str, label: Label | None) -> bool:
        """Whether the first line names another label beside its number: `1 (very good)` where 5 is very good."""
        first = next((line for line in fold(text.strip().partition("\n")[0]).split("\n") if line), "")
        named = self.index.get(first.strip(_BESIDE)) if first.strip(_BESIDE) != first else None
        return label is not None and named is not None and named != label

    def parsed(self, reading: int | str) -> Parsed:
        return Parsed(None, reading) if isinstance(reading, str) else Parsed(reading - self.scale.low)

    def answer(self, label: Label) -> str:
        return str(self.scale.low + _single(label))

    def choices(self) -> list[str]:
        return [self.answer(index) for index in range(self.count)]

    def allowed(self) -> Allowed:
        return self.choices()


_BESIDE = "0123456789 \t()[]{}-=:.,*\"'"


class _LabelName(Parser):
    def __init__(self, names: Names) -> None:
        self.names = names

    def parse(self, text: str) -> Parsed:
        exact = self.names.index.get(fold(text))  # first: a name may look like something that is stripped
        return super().parse(text) if exact is None else Parsed(exact)

    def _read(self, text: str) -> Parsed:
        reading = self.names.read(text)
        return Parsed(None, reading) if isinstance(reading, str) else Parsed(reading)

    def answer(self, label: Label) -> str:
        return self.names.original[_single(label)]

    def choices(self) -> list[str]:
        return list(self.names.original)

    def allowed(self) -> Allowed:
        return self.choices()


class _Json(Parser):
    def __init__(self, key: str, numbers: _Integer, names: Names) -> None:
        self.key = key
        self.numbers = numbers
        self.names = names

    def _read(self, text: str) -> Parsed:
        return _only(text, "{", self._in_value, self.names)

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
        if reading is None:
            if name is not None:
                return Parsed(name)
            return Parsed(None, "not_integer" if isinstance(value, Numeral) else "unknown_label")
        parsed = self.numbers.parsed(reading)
        if name is None or parsed.label == name:
            return parsed
        return Parsed(name) if parsed.label is None else Parsed(None, "ambiguous")  # a label named "two"

    def answer(self, label: Label) -> str:
        return json.dumps({self.key: self.numbers.scale.low + _single(label)}, ensure_ascii=False)

    def choices(self) -> list[str]:
        return [self.answer(index) for index in range(self.numbers.count)]

    def allowed(self) -> Allowed:
        return self.choices()


class _JsonList(Parser):
    def __init__(self, key: str, names: Names, most: int) -> None:
        self.key = key
        self.names = names
        self.most = most

    def _read(self, text: str) -> Parsed:
        return _only(text, "{[", self._in_value, self.names)

    def _in_value(self, value: Any) -> Parsed:
        if isinstance(value, list):
            return self._labels(value)
        if isinstance(value, str):  # a list of names without quotes
            return self._labels(value.split(","))
        field = _field(value, self.key)
        return field if isinstance(field, Parsed) else self._labels(field[0])

    def _labels(self, value: Any) -> Parsed:
        if isinstance(value, str) and not isinstance(value, Numeral):
            value = [value] if value.strip() else value
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return Parsed(None, "wrong_type")
        found = [self.names.exact(item) for item in value]
        known = {label for label in found if label is not None}
        return Parsed(None, "unknown_label") if None in found else Parsed(tuple(sorted(known)))

    def answer(self, label: Label) -> str:
        if isinstance(label, int):
            raise TypeError("a multilabel answer needs a tuple of label indices")
        return self.allowed().text([self.names.original[index] for index in label])

    def choices(self) -> None:
        return None

    def allowed(self) -> ListOf:
        return ListOf(self.names.original, self.most)


def _only(text: str, openers: str, read: Callable[[Any], Parsed], names: Names) -> Parsed:
    """What `read` makes of all JSON values in `text`, which must agree (those without the key don't count)."""
    found: set[Parsed] = set()
    places = list(json_spans(text, openers))
    for span in [place if place is None else text[place] for place in places]:
        try:
            found.add(Parsed(None, "bad_json") if span is None else read(read_json(span)))
        except DuplicateKey:
            found.add(Parsed(None, "ambiguous"))
        except (ValueError, RecursionError):
            bare = read(span[1:-1]) if span is not None and span[:1] == "[" else None
            found.add(bare if bare is not None and bare.label is not None else Parsed(None, "bad_json"))
    if len(found) > 1:
        found.discard(Parsed(None, "missing_key"))
    if not found:
        return Parsed(None, "no_answer")
    if Parsed(None, "bad_json") in found:
        return Parsed(None, "bad_json")
    stated = len(found) == 1 and _stated(text, [place for place in places if place is not None], names)
    return found.pop() if stated else Parsed(None, "ambiguous")


def _stated(text: str, places: list[slice], names: Names) -> bool:
    """Whether the lines around each value only announce or explain it, and no second thoughts follow."""
    end = 0
    for place, following in zip(places, [*places[1:], None], strict=True):
        before = text[end : place.start].rpartition("\n")[2]
        after = text[place.stop : None if following is None else following.start].partition("\n")[0]
        beside = following is not None and "\n" not in text[place.stop : following.start]  # it is looked at with the next one
        if not names.introduces(before, "" if beside else after):
            return False
        end = place.stop
    return not names.second_thoughts(text[end:])


def _field(value: Any, key: str) -> tuple[Any] | Parsed:
    """(value of the key,), or the refusal; a tuple, since the value may be anything. Of a key with markup, such as `$stars$`,
    the answer has lost the markup."""
    if isinstance(value, dict):
        for name in (fold(key), fold(without_markup(key))):
            if name in value:
                return (value[name],)
    return Parsed(None, "missing_key")


def _single(label: Label) -> int:
    if not isinstance(label, int):
        raise TypeError("a single-label answer needs one label index")
    return label
