"""One batch through an engine: items in, predictions (and a language model's raw answers) out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn

import numpy as np

from harness.core.arrays import FloatArray
from harness.core.engine import Classifier, Engine, Generation, LanguageModel, Pending, Scores, ZeroShot, at_once, in_turn
from harness.core.errors import OutOfMemory
from harness.core.token_use import NOTHING_CHARGED, ChargedTokens
from harness.core.types import Decoding, Example, LabelKind, Prediction, Status
from harness.parsing.parsers import Parser
from harness.running.batching import Item, choices, encode, most_new_tokens
from harness.running.calibration import CONTENT_FREE, IMPOSSIBLE, calibrated, decide, decide_all
from harness.running.plan import Plan, PromptPlan
from harness.running.thresholds import labels_above


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of one batch. `answers` hold generated text: they never go into a run record. `ask_again`: ids of the rows
    whose failure is retryable. `sent_instead`: the engine's `replaced_fields`. `row_tokens`: row id -> tokens of its prompt and
    answer."""

    predictions: list[Prediction]
    answers: list[dict[str, Any]]
    charged: ChargedTokens = NOTHING_CHARGED
    ask_again: tuple[str, ...] = ()
    sent_instead: Mapping[str, str | None] = field(default_factory=dict)
    row_tokens: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def predict_batch(plan: Plan, items: Sequence[Item]) -> Batch:
    """Raises `OutOfMemory` if the batch is too large for the device."""
    return launch_batch(plan, items)()


def launched(plan: Plan, batches: Iterable[list[Item]], ahead: int) -> Iterator[tuple[list[Item], Pending[Batch]]]:
    """Each batch with what it was launched as; see `in_turn`."""
    return in_turn(((items, launch_batch(plan, items)) for items in batches), ahead)


def launch_batch(plan: Plan, items: Sequence[Item]) -> Pending[Batch]:
    """`OutOfMemory` is always raised by what is returned, so that earlier batches are not lost."""
    try:
        return _launch(plan, items)
    except OutOfMemory as error:
        message, hint = error.message, error.hint  # the error itself holds on to what fills the memory

    def fail() -> NoReturn:
        raise OutOfMemory(message, hint)

    return fail


def _launch(plan: Plan, items: Sequence[Item]) -> Pending[Batch]:
    forms = [item.encoded for item in items]
    if isinstance(plan.engine, Classifier):
        given = plan.engine.launch(forms)
        return lambda: _classified(plan, items, given())
    if isinstance(plan.engine, ZeroShot):
        return at_once(_scores_of(plan.engine, items, plan.engine.score(forms), partial(_of_labels, plan)))
    engine, prompt = plan.engine, plan.prompt
    assert isinstance(engine, LanguageModel)
    assert prompt is not None
    if prompt.prompt.spec.decoding is Decoding.SCORE:
        scores = engine.launch_score(forms, prompt.parser.choices() or [])
        return lambda: _scores_of(engine, items, scores(), _scored)
    answers = engine.launch_generate(forms, most_new_tokens(plan), choices(plan))
    return lambda: _generated(engine, prompt, items, answers())


def _classified(plan: Plan, items: Sequence[Item], probabilities: FloatArray) -> Batch:
    pairs = [(row, p) for item, p in zip(items, probabilities, strict=True) for row in item.rows]
    return Batch(_decided(plan, [row for row, _ in pairs], np.array([p for _, p in pairs])), [])


def _decided(plan: Plan, rows: Sequence[Example], probabilities: FloatArray) -> list[Prediction]:
    """`probabilities`: shape (rows, labels). The labels of a multilabel task are set in `finalize_predictions`, by the
    thresholds of the training."""
    several = plan.task.labels.kind is LabelKind.MULTILABEL
    labels: Sequence[int | None] = [None] * len(rows) if several else decide_all(probabilities, plan.decision)
    finite = np.asarray(np.isfinite(probabilities).all(axis=1)).tolist()
    return [
        Prediction(row.id, label, probabilities=tuple(given))
        if fine
        else Prediction(row.id, None, Status.FAILED, "not_a_number")  # diverged weights, or overflow in half precision
        for row, label, given, fine in zip(rows, labels, probabilities.tolist(), finite, strict=True)
    ]


def _scores_of(
    engine: Engine, items: Sequence[Item], scores: Sequence[Scores], read: Callable[[Example, Scores], Prediction]
) -> Batch:
    return Batch(
        [read(row, score) for item, score in zip(items, scores, strict=True) for row in item.rows],
        [],
        _charged(scores),
        tuple(row.id for item, score in zip(items, scores, strict=True) for row in item.rows if score.retryable),
        engine.replaced_fields(),
        _row_tokens(items, scores),
    )


def _of_labels(plan: Plan, row: Example, score: Scores) -> Prediction:
    """Of a zero-shot classifier: final but for the labels of a multilabel task, which `finalize_predictions` sets."""
    if score.log_p is None:
        return Prediction(row.id, None, Status.FAILED, score.error)
    return _decided(plan, [row], np.exp(np.asarray(score.log_p))[None])[0]


def _scored(row: Example, score: Scores) -> Prediction:
    """The label is set in `finalize_predictions`: a calibration may need all rows."""
    if score.log_p is None:
        return Prediction(row.id, None, Status.FAILED, score.error)
    if np.isnan(score.log_p).any() or not -np.inf < score.log_p.max() < np.inf:
        return Prediction(row.id, None, Status.FAILED, "not_a_number")
    return Prediction(row.id, None, log_p=tuple(max(float(p), IMPOSSIBLE) for p in score.log_p))


def content_free(plan: Plan) -> list[Item]:
    """The content-free inputs, whose scores `contextual` calibration needs."""
    return encode(plan, [Item([Example(f"content-free-{n}", text, 0, "")]) for n, text in enumerate(CONTENT_FREE)])


def finalize_predictions(
    plan: Plan, predictions: Sequence[Prediction], reference: FloatArray | None, thresholds: Sequence[float] | None = None
) -> list[Prediction]:
    """Turn the scores of all rows into probabilities and labels; other predictions stay unchanged.

    `reference`: log p of the choices for the inputs of `content_free`, shape (3, choices), for `contextual` calibration.
    `thresholds`: of a trained classifier on a multilabel task, shape (labels,).
    """
    if thresholds is not None:
        return [p if p.probabilities is None else _above(p, p.probabilities, thresholds) for p in predictions]
    scored = [prediction for prediction in predictions if prediction.log_p is not None]
    if not scored:
        return list(predictions)
    assert plan.prompt is not None
    spec = plan.prompt.prompt.spec
    log_p = np.array([prediction.log_p for prediction in scored])
    final = {
        prediction.id: replace(prediction, label=decide(p, spec.decision), probabilities=tuple(map(float, p)), log_p=None)
        for prediction, p in zip(scored, calibrated(log_p, spec.calibration, reference), strict=True)
    }
    return [final.get(prediction.id, prediction) for prediction in predictions]


def _above(prediction: Prediction, probabilities: Sequence[float], thresholds: Sequence[float]) -> Prediction:
    return replace(prediction, label=labels_above(probabilities, thresholds))


def _generated(engine: LanguageModel, prompt: PromptPlan, items: Sequence[Item], generations: Sequence[Generation]) -> Batch:
    pairs = [(row, g) for item, g in zip(items, generations, strict=True) for row in item.rows]
    return Batch(
        [_parsed(row, generation, prompt.parser) for row, generation in pairs],
        [{"id": row.id, "answer": g.text, "complete": g.complete} for row, g in pairs],
        _charged(generations),
        tuple(row.id for row, g in pairs if g.retryable),
        engine.replaced_fields(),
        _row_tokens(items, generations),
    )


def _charged(answers: Sequence[Generation] | Sequence[Scores]) -> ChargedTokens:
    return sum((answer.charged for answer in answers), NOTHING_CHARGED)


def _row_tokens(items: Sequence[Item], answers: Sequence[Generation | Scores]) -> dict[str, tuple[int, int]]:
    """A text is computed once: its tokens count for the first of its rows."""
    return {item.rows[0].id: (a.prompt_tokens, a.new_tokens) for item, a in zip(items, answers, strict=True)}


def _parsed(row: Example, generation: Generation, parser: Parser) -> Prediction:
    if generation.error is not None:
        return Prediction(row.id, None, Status.FAILED, generation.error)
    parsed = parser.parse(generation.text)
    if parsed.label is None:
        return Prediction(row.id, None, Status.UNPARSED, parsed.reason)
    return Prediction(row.id, parsed.label)
