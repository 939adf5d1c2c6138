"""From a prompt and a text to chat messages; few-shot examples are picked here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from harness.core.engine import Messages
from harness.core.errors import DataError, PromptError
from harness.core.types import Calibration, Decision, Decoding, Example, Label, LabelKind, LabelSpace
from harness.parsing.parsers import make_parser
from harness.specs.prompts import LANGUAGES, VARIABLES, Prompt
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
    by_class = [[row for row in ranked if _has(row.label, index)] for index in range(len(labels))]
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
        # Few-shot examples that the template does not show become earlier turns of the chat, as chat models expect.
        self._turns: Messages = []
        for shot in [] if "shots" in self._body.used else self._variables["shots"]:
            self._turns += [
                {"role": "user", "content": self._user(shot["text"])},
                {"role": "assistant", "content": shot["answer"]},
            ]
        self.render(PROBE)  # a template that alters texts is found now, not at row 4,000

    def render(self, text: str) -> Messages:
        """The chat for one text: system turn and few-shot examples where the prompt has them, then the user's turn."""
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
