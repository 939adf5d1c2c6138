"""What a model said to lm-eval, as predictions of our task. Each way of reading must first read every target right.

`multiple_choice`: the label is that of the choice with the largest log-likelihood (the sum over its tokens, as in lm-eval's
`acc`), and the probabilities are the softmax of these sums. `generate_until`: a parser of bench reads the filtered response.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.core.errors import DataError, PromptError, UserError
from harness.core.types import Example, Label, LabelKind, LabelSpace, Prediction, Status
from harness.parsing.parsers import Parser, make_parser
from harness.records.lm_eval.files import Sample
from harness.records.lm_eval.rows import folded
from harness.specs.parser_spec import ParserSpec

Pairs = Sequence[tuple[Example, Sample]]


@dataclass(frozen=True)
class Answers:
    """Predictions in the order of the pairs, and how they were read: in `options` for the identity, and in words."""

    predictions: list[Prediction]
    options: dict[str, Any]
    words: str


def read_choices(pairs: Pairs, labels: LabelSpace) -> Answers:
    """Raises `DataError` for answers that are no log-likelihoods of as many choices, or a target that is not our label."""
    if labels.kind is LabelKind.MULTILABEL:
        raise UserError("A choice names one label, and the task may have several a row.", "Import a generate_until task.")
    k = len(labels)
    choices = [_choices(sample, k) for _, sample in pairs]
    order = _order(choices[0], labels)
    for (_, sample), own in zip(pairs, choices, strict=True):
        if own != choices[0]:
            raise DataError(f"{sample.where}: the choices are not those of the first sample.", "Such a task can't be imported.")
    _check_choice_targets(pairs, choices[0], order, labels)
    predictions = [_scored(row.id, _log_p(sample, k), order) for row, sample in pairs]
    named = ", ".join(f"{choice!r} is {labels.names[label]}" for choice, label in zip(choices[0], order, strict=True))
    return Answers(
        predictions,
        {"choices": [labels.names[label] for label in order]},
        f"{named}; probabilities are the softmax of the choices' summed log-likelihoods",
    )


def _choices(sample: Sample, k: int) -> tuple[str, ...]:
    """The choices' texts. With acc_mutual_info as many requests follow that score the choices without the text."""
    count = len(sample.answers)
    if count not in (k, 2 * k) or len(sample.choices) != count or sample.choices[k:] not in ((), sample.choices[:k]):
        raise DataError(
            f"{sample.where}: {count} answers to {len(sample.choices)} requests, but the task has {k} labels.",
            "Each label must be a choice of its own. Is it this task?",
        )
    return tuple(choice.strip() for choice in sample.choices[:k])


def _order(choices: Sequence[str], labels: LabelSpace) -> list[int]:
    """The label of each choice: by name where the choices are the labels' names, else in the same order."""
    index = {folded(name).casefold(): place for place, name in enumerate(labels.names)}
    named = [index.get(folded(choice).casefold()) for choice in choices]
    known = [place for place in named if place is not None]
    return known if sorted(known) == list(range(len(labels))) else list(range(len(labels)))


def _check_choice_targets(pairs: Pairs, choices: Sequence[str], order: Sequence[int], labels: LabelSpace) -> None:
    """A target is a choice's index, or its text: the same in all samples."""
    by_index = {str(place): label for place, label in enumerate(order)}
    by_text = dict(zip(choices, order, strict=True))
    disagreements = []
    for known in (by_index, by_text):
        wrong = [(row, sample, known.get(sample.target.strip())) for row, sample in pairs]
        wrong = [(row, sample, label) for row, sample, label in wrong if label != row.label]
        if not wrong:
            return
        disagreements.append(wrong)
    raise _disagreement(min(disagreements, key=len), len(pairs), labels)


def _disagreement(wrong: Sequence[tuple[Example, Sample, Label | None]], n: int, labels: LabelSpace) -> DataError:
    row, sample, label = wrong[0]
    read = "which is none of its labels" if label is None else f"that is {_named(label, labels)!r}"
    return DataError(
        f"{sample.where}: the target is {_short(sample.target)}, {read}, but the row {row.id!r} is "
        f"{_named(row.label, labels)!r}; {len(wrong)} of {n} disagree.",
        "The two must mean the same by every label: is it the same data, and the same order of labels?",
    )


def _named(label: Label, labels: LabelSpace) -> str:
    return ", ".join(labels.names[i] for i in (label if isinstance(label, tuple) else (label,))) or "no label"


def _short(text: str) -> str:
    """A target may be anything: no more of it than a label is long."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _log_p(sample: Sample, k: int) -> list[float]:
    try:
        return [float(answer[0]) for answer in sample.answers[:k]]
    except (TypeError, ValueError, LookupError) as error:
        raise DataError(f"{sample.where}: `filtered_resps` holds no log-likelihood for each choice.") from error


def _scored(row_id: str, log_p: Sequence[float], order: Sequence[int]) -> Prediction:
    best = max(log_p)
    if any(math.isnan(x) for x in log_p) or math.isinf(best):
        return Prediction(row_id, None, Status.FAILED, "not_a_number")
    odds = np.exp(np.array(log_p) - best)
    by_label = np.empty(len(order))
    by_label[list(order)] = odds / odds.sum()
    return Prediction(row_id, order[int(np.argmax(log_p))], probabilities=tuple(by_label.tolist()))


def read_texts(pairs: Pairs, labels: LabelSpace, candidates: Sequence[ParserSpec], *, chosen: bool) -> Answers:
    """By the first of the `candidates` that reads every target as its row's label. `chosen`: the user named the only one.

    Raises `DataError` where none does, or where a row has several answers.
    """
    wrongs = []
    for spec in candidates:
        try:
            parser = make_parser(spec, labels)
        except PromptError:
            if chosen:
                raise
            continue
        read = [(row, sample, parser.parse(sample.target).label) for row, sample in pairs]
        wrong = [found for found in read if found[2] != found[0].label]
        if not wrong:
            shown = spec.model_dump(include={"type", *({"first"} if spec.type in ("integer", "json") else ())})
            words = f"read by the parser {', '.join(f'{key}: {value}' for key, value in shown.items())}"
            return Answers([_parsed(row, sample, parser) for row, sample in pairs], {"parser": spec.model_dump()}, words)
        wrongs.append(wrong)
    if not wrongs:
        raise UserError("No parser can tell the labels of this task apart.", "Import a multiple_choice task, or rename them.")
    error = _disagreement(min(wrongs, key=len), len(pairs), labels)
    error.hint = "Answers are read as targets are: name the parser that reads both, as in --parser '{type: integer, first: 1}'."
    raise error


def _parsed(row: Example, sample: Sample, parser: Parser) -> Prediction:
    found = parser.parse(_response(sample))
    return Prediction(row.id, found.label) if found.reason is None else Prediction(row.id, None, Status.UNPARSED, found.reason)


def _response(sample: Sample) -> str:
    """The only one: a filter such as take_first or majority_vote makes one of several."""
    said = sample.answers[0]
    if isinstance(said, list) and len(said) == 1:
        said = said[0]
    if len(sample.answers) > 1 or not isinstance(said, str):
        raise DataError(
            f"{sample.where}: the filter leaves no single answer.", "Choose one that does (take_first): --filter NAME."
        )
    return said
