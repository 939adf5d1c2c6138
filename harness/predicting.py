"""One batch of rows through an engine: examples in, predictions (and a language model's raw answers) out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.base import Classifier, Generation, LanguageModel
from harness.parsers import Parser
from harness.plan import Plan, PromptPlan
from harness.prompts import Decoding
from harness.types import Example, Prediction, Status


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of one batch. `answers` hold generated text: they never go into a run record."""

    predictions: list[Prediction]
    answers: list[dict[str, Any]]
    prompt_tokens: int = 0
    new_tokens: int = 0


def predict_batch(plan: Plan, rows: Sequence[Example]) -> Batch:
    """Raises `OutOfMemory` where the batch was too large for the device."""
    if isinstance(plan.engine, Classifier):
        probabilities = plan.engine.predict([row.text for row in rows])
        return Batch([_most_probable(row, p) for row, p in zip(rows, probabilities, strict=True)], [])
    assert isinstance(plan.engine, LanguageModel)
    assert plan.prompt is not None
    if plan.prompt.prompt.spec.decoding is Decoding.SCORE:
        return _score(plan.engine, plan.prompt, rows)
    return _generate(plan.engine, plan.prompt, rows)


def _most_probable(row: Example, probabilities: Sequence[float]) -> Prediction:
    if not np.isfinite(probabilities).all():
        return Prediction(row.id, None, Status.FAILED, "not_a_number")  # weights that diverged, or overflow in half precision
    return Prediction(row.id, int(np.argmax(probabilities)), probabilities=tuple(float(p) for p in probabilities))


def _score(engine: LanguageModel, plan: PromptPlan, rows: Sequence[Example]) -> Batch:
    choices = plan.parser.choices()
    assert choices is not None  # the renderer refuses `score` without
    log_p = engine.score([plan.renderer.render(row.text) for row in rows], choices)
    predictions = []
    for row, scores in zip(rows, log_p, strict=True):
        if np.isnan(scores).any():
            predictions.append(Prediction(row.id, None, Status.FAILED, "prompt_too_long"))
        else:
            p = np.exp(scores - scores.max())
            predictions.append(_most_probable(row, p / p.sum()))
    return Batch(predictions, [])


def _generate(engine: LanguageModel, plan: PromptPlan, rows: Sequence[Example]) -> Batch:
    spec = plan.prompt.spec
    choices = plan.parser.choices() if spec.decoding is Decoding.CONSTRAINED else None
    generations = engine.generate([plan.renderer.render(row.text) for row in rows], spec.max_new_tokens, choices)
    return Batch(
        [_parsed(row, generation, plan.parser) for row, generation in zip(rows, generations, strict=True)],
        [{"id": row.id, "answer": g.text, "complete": g.complete} for row, g in zip(rows, generations, strict=True)],
        sum(g.prompt_tokens for g in generations),
        sum(g.new_tokens for g in generations),
    )


def _parsed(row: Example, generation: Generation, parser: Parser) -> Prediction:
    if generation.error is not None:
        return Prediction(row.id, None, Status.FAILED, generation.error)
    parsed = parser.parse(generation.text)
    if parsed.label is None:
        return Prediction(row.id, None, Status.UNPARSED, parsed.reason)
    return Prediction(row.id, parsed.label)
