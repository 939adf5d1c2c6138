"""Prompts: one Jinja file with YAML front matter in, chat messages out.

A template belongs to whoever wrote it and runs in a sandbox; a row's text belongs to strangers and is only ever data.
Texts are handed to the template as values, so nothing in them is read as template code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from backends.base import Messages
from harness.errors import DataError, PromptError, SpecError
from harness.parsing.parsers import ParserSpec, make_parser
from harness.running.calibration import Calibration, Decision
from harness.specs.templates import SafeTemplate
from harness.specs.yamlspec import Spec, parse_yaml_spec, read_text
from harness.types import Example, Label, LabelKind, LabelSpace

VARIABLES = ("text", "lang", "language", "labels", "scale", "first", "last", "shots")
"""What a template can use; `system` can use all but `text`."""

LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "ga": "Irish", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian",
    "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "ms": "Malay",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak",
    "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip

_FILE_NAME = re.compile(r"(?P<name>[A-Za-z0-9_-]+)(\.(?P<lang>[a-z]{2,3}))?\.j2")


class Decoding(StrEnum):
    FREE = "free"
    CONSTRAINED = "constrained"
    SCORE = "score"


class PromptSpec(Spec):
    """The front matter of a prompt."""

    description: str = Field(min_length=1, description="what it asks for, in a sentence")
    parser: ParserSpec = Field(description="how the answer is read: integer, label, json or json_list, with options or without")
    decoding: Decoding = Field(
        default=Decoding.FREE,
        description="free (generate and parse), constrained (only valid answers), score (probabilities of the answers)",
    )
    calibration: Calibration = Field(default=Calibration.NONE, description="of the model's bias towards an answer; for `score`")
    decision: Decision = Field(
        default=Decision.ARGMAX,
        description="for `score`: the likeliest label (argmax), or (ordinal) the rounded expected value, or the median",
    )
    system: str | None = Field(default=None, description="template of the system turn; knows all variables but `text`")
    max_new_tokens: int = Field(default=16, ge=1, le=4096, description="of the answer, at most; what is longer is cut")
    shots: int = Field(
        default=0, ge=0, description="exemplars per class; earlier turns of the chat, unless the template itself shows `shots`"
    )
    kinds: tuple[LabelKind, ...] = Field(default=tuple(LabelKind), min_length=1, description="kinds of labels that it is for")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file. `lang` is set for a variant (`NAME.ja.j2`); the `*_line` fields say where a template starts in `path`."""

    name: str
    lang: str | None
    spec: PromptSpec
    body: str
    path: Path
    sha256: str
    body_line: int = 1
    system_line: int = 1


def load_prompt(path: Path) -> Prompt:
    """Read `NAME.j2` or `NAME.LANG.j2`; a variant is held against the `NAME.j2` beside it, where there is one.

    Raises `SpecError` for bad front matter, `PromptError` for a bad file name or a variant that differs in kind.
    The templates are compiled by `Renderer`, not here.
    """
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise PromptError(f"{path}: is not named like a prompt.", "Call it NAME.j2, or NAME.ja.j2 for the Japanese variant.")
    text = read_text(path, "utf-8-sig")
    front, body, body_line = _split(text, path)
    spec = parse_yaml_spec(front, path, PromptSpec, first_line=2)
    digest = hashlib.sha256(text.encode()).hexdigest()
    prompt = Prompt(match["name"], match["lang"], spec, body, path, digest, body_line, _system_line(front))
    base = path.with_name(f"{prompt.name}.j2")
    if prompt.lang is not None and base.is_file():
        require_same_kind(prompt, load_prompt(base))
    return prompt


def require_same_kind(variant: Prompt, base: Prompt) -> None:
    """Raise `PromptError` where a language's variant measures something else than its base does."""
    for field in ("parser", "decoding", "calibration", "decision", "shots", "kinds"):
        found, wanted = getattr(variant.spec, field), getattr(base.spec, field)
        if found != wanted:
            raise PromptError(
                f"{variant.path}: {field!r} differs from {base.path.name}: {_plain(found)} instead of {_plain(wanted)}.",
                "A variant may change the words, 'system' and 'max_new_tokens'; give another kind of prompt its own name.",
            )


def _plain(value: Any) -> str:
    return repr([str(item) for item in value]) if isinstance(value, tuple) else f"({value})"


def _split(text: str, path: Path) -> tuple[str, str, int]:
    """Front matter, body without blank lines around it, and the body's first line (1-based)."""
    lines = text.split("\n")
    hint = "A prompt starts with YAML between two lines of '---': description, parser, ..."
    if lines[0].rstrip() != "---":
        raise SpecError(path, 1, "has no front matter", hint)
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)
    if end is None:
        raise SpecError(path, 1, "has front matter without a closing '---'", hint)
    first = next((number for number, line in enumerate(lines[end + 1 :], start=end + 1) if line.strip()), end + 1)
    return "\n".join(lines[1:end]), "\n".join(lines[first:]).rstrip(), first + 1


def _system_line(front: str) -> int:
    """Line of the file where the text of `system` starts; the front matter itself starts at line 2."""
    node = yaml.compose(front, Loader=yaml.SafeLoader)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        if key.value == "system":
            return int(value.start_mark.line) + 2 + (value.style in ("|", ">"))
    return 1


def pick_shots(train: Sequence[Example], per_class: int, labels: LabelSpace, seed: int) -> list[Example]:
    """`per_class` random rows of each class, in random order; fixed by the seed and the rows, whatever their order.

    For a multilabel task each label gets `per_class` rows that have it, and no row is taken twice. Rows are ranked by
    a hash of seed and id rather than by a generator, so the pick does not depend on the version of Python.
    Raises `DataError` where a class has too few rows.
    """

    def rank(purpose: str) -> Callable[[Example], str]:
        return lambda row: hashlib.sha256(f"{purpose}\0{seed}\0{row.id}".encode(errors="surrogatepass")).hexdigest()

    ranked = sorted(train, key=rank("pick"))
    by_class = [[row for row in ranked if _has(row.label, index)] for index in range(len(labels))]
    picked: dict[str, Example] = {}
    # The rarest class first: in a multilabel task the others can do without the rows that it needs.
    for index in sorted(range(len(labels)), key=lambda index: len(by_class[index])):
        free = [row for row in by_class[index] if row.id not in picked]
        if len(free) < per_class:
            raise DataError(
                f"The prompt wants {per_class} exemplars of {labels.names[index]!r}, and the training rows have {len(free)}.",
                "Lower 'shots' in the prompt, or train on more rows.",
            )
        picked.update((row.id, row) for row in free[:per_class])
    # Ranked anew: by the first rank a frequent class would tend to come first.
    return sorted(picked.values(), key=rank("order"))


def _has(label: Label, index: int) -> bool:
    return index in label if isinstance(label, tuple) else index == label


class Renderer:
    """Turns texts into chats. Everything but the text is fixed, so all chats of a run share their beginning."""

    def __init__(self, prompt: Prompt, labels: LabelSpace, lang: str, shots: Sequence[Example] = ()) -> None:
        """`shots` come from `pick_shots`. Raises `PromptError` where the prompt can't serve this label space, asks for
        shots and gets none (or the reverse), has a faulty template, or does not show the text as it is."""
        spec = prompt.spec
        where = str(prompt.path)
        if labels.kind not in spec.kinds:
            kinds = ", ".join(spec.kinds)
            raise PromptError(f"{where}: is for {kinds} tasks, and this one is {labels.kind}.", "Choose another prompt.")
        parser = make_parser(spec.parser, labels)
        if spec.decoding is not Decoding.FREE and parser.choices() is None:
            hint = "Use 'decoding: free', or a parser with a finite list of answers."
            raise PromptError(f"{where}: 'decoding: {spec.decoding}' needs a list of answers, and the parser has none.", hint)
        if spec.decoding is not Decoding.SCORE and (spec.calibration, spec.decision) != (Calibration.NONE, Decision.ARGMAX):
            hint = "They work on probabilities: use the decoding 'score', or leave them out."
            raise PromptError(f"{where}: there is no calibration and no decision in 'decoding: {spec.decoding}'.", hint)
        if spec.decision.needs_order and labels.kind is not LabelKind.ORDINAL:
            raise PromptError(
                f"{where}: 'decision: {spec.decision}' is for ordinal labels, and these are {labels.kind}.", "Use argmax."
            )
        if bool(shots) != bool(spec.shots):
            raise PromptError(f"{where}: 'shots' is {spec.shots}, but {len(shots)} exemplars were given.")
        values = [parser.answer((index,) if labels.kind is LabelKind.MULTILABEL else index) for index in range(len(labels))]
        self._variables: dict[str, Any] = {
            "lang": lang,
            "language": LANGUAGES.get(lang, lang),
            "labels": list(labels.names),
            "scale": [{"value": value, "name": name} for value, name in zip(values, labels.names, strict=True)],
            "first": values[0],
            "last": values[-1],
            "shots": [{"text": shot.text, "answer": parser.answer(shot.label)} for shot in shots],
        }
        self._where = where
        self._body = SafeTemplate(prompt.body, where, prompt.body_line, VARIABLES)
        system = SafeTemplate(spec.system or "", where, prompt.system_line, [name for name in VARIABLES if name != "text"])
        self._given = sum(len(shot.text) for shot in shots)
        self._system = system.render(self._variables, self._given).strip()
        self._used = self._body.used | system.used
        # A template that does not show the exemplars itself gets them as earlier turns of the chat, as chat models expect.
        self._turns: Messages = []
        for shot in [] if "shots" in self._body.used else self._variables["shots"]:
            self._turns += [
                {"role": "user", "content": self._user(shot["text"])},
                {"role": "assistant", "content": shot["answer"]},
            ]
        self.render(PROBE)  # a template that alters texts is found now, not at row 4,000

    def render(self, text: str) -> Messages:
        """The chat for one text: system turn and exemplars where the prompt has them, then the user's turn."""
        system = [{"role": "system", "content": self._system}] if self._system else []
        return [*system, *self._turns, {"role": "user", "content": self._user(text)}]

    def _user(self, text: str) -> str:
        content = self._body.render({**self._variables, "text": text}, self._given + len(text))
        if text not in content:
            raise PromptError(
                f"{self._where}: the text is missing from the rendered prompt, or altered.",
                "Put {{ text }} into the template, with no filter such as truncate, trim or upper.",
            )
        return content

    def uses(self, variable: str) -> bool:
        """Whether the body or the system turn mentions this variable."""
        return variable in self._used


PROBE = "\t Zażółć GĘŚLĄ {{ 7*7 }} {% raw %} {# no #} | <b>&amp;</b> 星5つ\r\n\r\n  " + "long text, " * 4000 + "\x00 end \n"
"""A text that any filter changes: both cases, markup, line ends of both kinds, spaces around it, 44,000 characters."""
