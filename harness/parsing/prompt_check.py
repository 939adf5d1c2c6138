"""Look for faults of a prompt before a model is loaded: render real rows, and report what is wrong or doubtful."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.core.engine import Messages
from harness.core.errors import UserError
from harness.core.types import Decoding, Example, Label, LabelKind, LabelSpace
from harness.parsing.parsers import make_parser
from harness.parsing.rendering import Renderer, some_shots
from harness.specs.prompts import Prompt

MAX_TAIL = 200
"""Characters that may follow the text; a cue such as "Score:" is fine, instructions there can't be cached."""

LONG_PROMPT = 8000
"""Characters; about 2,000 tokens of English, where small models and small contexts begin to suffer."""

_MARKER = "\x02text\x03"  # no template has it, so it is found where the text stands and nowhere else


class Severity(StrEnum):
    ERROR = "error"  # a run would fail, or measure something else than it says
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Problem:
    severity: Severity
    message: str


def check_prompt(
    prompt: Prompt, labels: LabelSpace, examples: Sequence[Example], train: Sequence[Example], seed: int = 0
) -> list[Problem]:
    """Problems of `prompt` on this label space, worst first, each once; an empty list is a clean bill.

    Every row of `examples` is rendered; few-shot examples come from rows of `train` in the same language. A variant
    looks only at rows of its own language. Raises nothing for a faulty prompt: that is what is reported.
    """
    langs = [prompt.lang] if prompt.lang else sorted({row.lang for row in examples}) or ["en"]
    problems: dict[Problem, None] = {}  # a set that keeps the order: languages share most of their problems
    for lang in langs:
        rows = [row for row in examples if row.lang == lang]
        try:
            shots = some_shots(prompt.spec, [row for row in train if row.lang == lang], labels, seed)
            renderer = Renderer(prompt, labels, lang, shots)
            problems.update(dict.fromkeys(_check_rendered(renderer, prompt, labels, shots, rows)))
        except UserError as error:
            problems[Problem(Severity.ERROR, str(error))] = None
    return sorted(problems, key=lambda problem: list(Severity).index(problem.severity))


def _check_rendered(
    renderer: Renderer, prompt: Prompt, labels: LabelSpace, shots: Sequence[Example], rows: Sequence[Example]
) -> Iterator[Problem]:
    yield from _check_answers(prompt, labels)
    yield from _check_layout(renderer, rows)
    shown = _joined(renderer.render(_MARKER))
    yield from _check_scale(prompt, labels, shown)
    if any(shot.text not in shown for shot in shots):
        problem = f"'shots' is {prompt.spec.shots}, but the template does not show the few-shot examples unchanged."
        yield Problem(Severity.ERROR, problem)
    if not shots and renderer.uses("shots"):
        yield Problem(Severity.WARNING, "The template uses 'shots', but the front matter asks for none ('shots: 0').")


def _check_answers(prompt: Prompt, labels: LabelSpace) -> Iterator[Problem]:
    """The parser must read back what it calls the right answers, and the answer needs room."""
    parser = make_parser(prompt.spec.parser, labels)
    answers = {label: parser.answer(label) for label in _sample_labels(labels)}
    for label, answer in answers.items():
        if parser.parse(answer).label != label:
            yield Problem(Severity.ERROR, f"The parser can't read back its own answer {answer!r}.")
    for choice in parser.choices() or []:
        if choice not in answers.values() and parser.parse(choice).label is None:
            yield Problem(Severity.ERROR, f"The parser offers {choice!r} as an answer and can't read it.")
    longest = max(answers.values(), key=lambda answer: len(answer.encode()))
    need = -(-len(longest.encode()) // 2)  # two bytes a token: no tokenizer is at hand, and this errs on the safe side
    if prompt.spec.decoding is not Decoding.SCORE and need > prompt.spec.max_new_tokens:
        message = f"'max_new_tokens: {prompt.spec.max_new_tokens}' may cut the answer {longest!r}; allow {need}."
        yield Problem(Severity.WARNING, message)


def _sample_labels(labels: LabelSpace) -> list[Label]:
    """Every label; for a multilabel task each alone, none, and all at once (the longest answer)."""
    indices = range(len(labels))
    if labels.kind is not LabelKind.MULTILABEL:
        return list(indices)
    return [(), *((index,) for index in indices), tuple(indices)]


def _check_layout(renderer: Renderer, rows: Sequence[Example]) -> Iterator[Problem]:
    """Instructions first, text last: what stands before the text is computed once for all rows, what follows is not."""
    pieces = renderer.render(_MARKER)[-1]["content"].split(_MARKER)
    head, tail = pieces[0], pieces[-1]
    if len(pieces) > 2:
        yield Problem(Severity.WARNING, f"The text stands in the prompt {len(pieces) - 1} times.")
    if len(tail) > MAX_TAIL:
        message = f"{len(tail)} characters follow the text; put instructions before it, so that prefix caches work."
        yield Problem(Severity.WARNING, message)
    longest = 0
    differs = False
    for row in rows:
        chat = renderer.render(row.text)
        longest = max(longest, len(_joined(chat)))
        differs = differs or not chat[-1]["content"].startswith(head + row.text)
    if differs:
        yield Problem(Severity.WARNING, "What stands before the text depends on the text, so prefix caches don't work.")
    if longest > LONG_PROMPT:
        yield Problem(Severity.INFO, f"The longest prompt has {longest:,} characters.")


def _check_scale(prompt: Prompt, labels: LabelSpace, shown: str) -> Iterator[Problem]:
    """The model can't know the answers unless it is told their names, or the ends of the scale."""
    parser = make_parser(prompt.spec.parser, labels)
    names = ", ".join(labels.names)
    if all(_mentions(shown, name) for name in labels.names):
        return
    if labels.kind is LabelKind.MULTILABEL:
        yield Problem(Severity.WARNING, f"The prompt does not mention all labels ({names}).")
        return
    first, last = parser.answer(0), parser.answer(len(labels) - 1)
    if not (_mentions(shown, first) and _mentions(shown, last)):
        message = f"The prompt mentions neither the answers, {first} to {last}, nor the labels ({names})."
        yield Problem(Severity.WARNING, message)


def _mentions(text: str, word: str) -> bool:
    # Not \b: Japanese and Chinese write a number next to a letter.
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", text) is not None


def _joined(chat: Messages) -> str:
    return "\n".join(message["content"] for message in chat)
