"""From a prompt and a text to chat messages; few-shot examples are picked here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.core.engine import Messages
from harness.core.errors import DataError, PromptError
from harness.core.types import Calibration, Decision, Decoding, Example, LabelKind, LabelSpace, ShotsBy
from harness.parsing.parsers import make_parser
from harness.specs.prompts import LANGUAGES, VARIABLES, Prompt, PromptSpec
from harness.specs.templates import SafeTemplate


def pick_shots(train: Sequence[Example], per_class: int, labels: LabelSpace, seed: int) -> list[Example]:
    """`per_class` random rows of each class, in random order; fixed by the seed and the rows, whatever their order.

    For a multilabel task each label gets `per_class` rows that have it, and no row is taken twice. Rows are ranked by
    a hash of seed and id rather than by a generator, so the pick does not depend on the version of Python.
    Raises `DataError` where a class has too few rows.
    """

    def rank(purpose: str) -> Callable[[Example], str]:
        return lambda row: hashlib.sha256(f"{purpose}\0{seed}\0{row.id}".encode(errors="surrogatepass")).hexdigest()

    ranked = sorted(train, key=rank("pick"))
    by_class = [[row for row in ranked if has_label(row, index)] for index in range(len(labels))]
    picked: dict[str, Example] = {}
    # The rarest class first: in a multilabel task the others can do without the rows that it needs.
    for index in sorted(range(len(labels)), key=lambda index: len(by_class[index])):
        free = [row for row in by_class[index] if row.id not in picked]
        if len(free) < per_class:
            raise DataError(
                f"The prompt needs {per_class} few-shot examples of {labels.names[index]!r}, "
                f"and the training rows have {len(free)}.",
                "Lower 'shots' in the prompt, or train on more rows.",
            )
        picked.update((row.id, row) for row in free[:per_class])
    # Ranked anew: by the first rank a frequent class would tend to come first.
    return sorted(picked.values(), key=rank("order"))


def has_label(row: Example, index: int) -> bool:
    return index in row.label if isinstance(row.label, tuple) else index == row.label


def some_shots(spec: PromptSpec, train: Sequence[Example], labels: LabelSpace, seed: int) -> list[Example]:
    """Examples to check the template with; of nearest ones any will do. Raises `DataError` where there are too few."""
    if spec.shots_by is ShotsBy.RANDOM:
        return pick_shots(train, spec.shots, labels, spec.seed_of_shots(seed))
    count = spec.shots * (len(labels) if spec.shots_by is ShotsBy.NEAREST_PER_CLASS else 1)
    if len(train) < count:
        raise DataError(f"The prompt needs {count} few-shot examples, and there are {len(train)} training rows.")
    return list(train[:count])


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
        if spec.decoding is Decoding.SCORE and parser.choices() is None:
            hint = "Use 'decoding: constrained' or 'free'."
            raise PromptError(f"{where}: 'decoding: score' needs a list of all answers, which are too many here.", hint)
        if spec.decoding is not Decoding.SCORE and (spec.calibration, spec.decision) != (Calibration.NONE, Decision.ARGMAX):
            hint = "They work on probabilities: use the decoding 'score', or leave them out."
            raise PromptError(f"{where}: there is no calibration and no decision in 'decoding: {spec.decoding}'.", hint)
        if spec.decision.needs_order and labels.kind is not LabelKind.ORDINAL:
            raise PromptError(
                f"{where}: 'decision: {spec.decision}' is for ordinal labels, and these are {labels.kind}.", "Use argmax."
            )
        if bool(shots) != bool(spec.shots):
            raise PromptError(f"{where}: 'shots' is {spec.shots}, but {len(shots)} few-shot examples were given.")
        values = [parser.answer((index,) if labels.kind is LabelKind.MULTILABEL else index) for index in range(len(labels))]
        self._variables: dict[str, Any] = {
            "lang": lang,
            "language": LANGUAGES.get(lang, lang),
            "labels": list(labels.names),
            "scale": [
                {"value": value, "name": name, "description": description}
                for value, (name, description) in zip(values, labels.described(), strict=True)
            ],
            "first": values[0],
            "last": values[-1],
        }
        self._parser, self._shots = parser, list(shots)
        self._where = where
        self._body = SafeTemplate(prompt.body, where, prompt.body_line, VARIABLES)
        system = SafeTemplate(spec.system or "", where, prompt.system_line, [name for name in VARIABLES if name != "text"])
        self._system_template = system
        self._used = self._body.used | system.used
        self._shared = self._with(self._shots)
        self._fixed = self._beginning(self._shots, self._shared)
        self.render(PROBE)  # a template that alters texts is found now, not at row 4,000

    def render(self, text: str, shots: Sequence[Example] | None = None) -> Messages:
        """The chat for one text: system turn and few-shot examples where the prompt has them, then the user's turn.

        `shots`: this text's own examples, in place of those that all texts share."""
        if shots is None:
            return [*self._fixed, {"role": "user", "content": self._user(text, self._shots, self._shared)}]
        variables = self._with(shots)
        return [*self._beginning(shots, variables), {"role": "user", "content": self._user(text, shots, variables)}]

    def shows_descriptions(self) -> bool:
        """Whether the descriptions of the labels change what the model reads."""
        bare = {**self._shared, "scale": [{**step, "description": ""} for step in self._shared["scale"]]}
        chat = [*self._beginning(self._shots, bare), {"role": "user", "content": self._user("x", self._shots, bare)}]
        return self.render("x") != chat

    def _beginning(self, shots: Sequence[Example], variables: Mapping[str, Any]) -> Messages:
        """What comes before the user's turn: of the few-shot examples those that the template does not show become earlier
        turns of the chat, as chat models expect."""
        system = self._system_template.render(variables, sum(len(shot.text) for shot in shots)).strip()
        turns: Messages = [{"role": "system", "content": system}] if system else []
        for shot in [] if "shots" in self._body.used else shots:
            turns += [
                {"role": "user", "content": self._user(shot.text, shots, variables)},
                {"role": "assistant", "content": self._parser.answer(shot.label)},
            ]
        return turns

    def _with(self, shots: Sequence[Example]) -> dict[str, Any]:
        """The variables of the templates for a text with these examples, but for the text."""
        shown = [{"text": shot.text, "answer": self._parser.answer(shot.label)} for shot in shots]
        return {**self._variables, "shots": shown}

    def _user(self, text: str, shots: Sequence[Example], variables: Mapping[str, Any]) -> str:
        given = sum(len(shot.text) for shot in shots) + len(text)
        content = self._body.render({**variables, "text": text}, given)
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
