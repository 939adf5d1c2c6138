"""One batch: what each decoding hands to the engine, and what becomes of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from backends.base import FloatArray, Generation, Messages
from harness.plan import Plan
from harness.predicting import predict_batch
from harness.prompts import Decoding
from harness.types import Prediction, Status


def loaded(project: Path, **changes: Any) -> Plan:
    plan = toy.plan(project, **changes)
    toy.engine_of(plan).load()
    return plan


def rows_saying(plan: Plan, *words: str) -> list[Any]:
    return [replace(plan.rows[0], id=f"{word}-{n}", text=f"says {word}") for n, word in enumerate(words)]


class Watching(toy.ToyModel):
    """Keeps what it was asked with."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.engine.options, toy.engine_of(plan).model)
        self.load()
        self.asked: list[Any] = []

    def generate(self, chats: Sequence[Messages], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        self.asked.append((max_new_tokens, choices))
        return super().generate(chats, max_new_tokens, choices)

    def score(self, chats: Sequence[Messages], choices: Sequence[str]) -> FloatArray:
        self.asked.append(list(choices))
        return super().score(chats, choices)


@pytest.mark.parametrize(
    ("decoding", "asked"),
    [(Decoding.FREE, (16, None)), (Decoding.CONSTRAINED, (16, ["0", "1", "2"])), (Decoding.SCORE, ["0", "1", "2"])],
)
def test_each_decoding_asks_the_engine_in_its_own_way(project: Path, decoding: Decoding, asked: object) -> None:
    plan = toy.plan(project, decoding=decoding)
    engine = Watching(plan)
    predict_batch(replace(plan, engine=engine), plan.rows[:2])
    assert engine.asked == [asked]
    assert engine.batches == [[row.text for row in plan.rows[:2]]]


def test_generated_answers_are_parsed_and_kept_apart(project: Path) -> None:
    plan = loaded(project)
    batch = predict_batch(plan, rows_saying(plan, "2", "mumble", "fail"))
    assert batch.predictions == [
        Prediction("2-0", 2),
        Prediction("mumble-1", None, Status.UNPARSED, "no_answer"),
        Prediction("fail-2", None, Status.FAILED, "prompt_too_long"),
    ]
    assert batch.answers[0] == {"id": "2-0", "answer": f"2\n{toy.SECRET}", "complete": True}
    assert [answer["id"] for answer in batch.answers] == ["2-0", "mumble-1", "fail-2"]
    assert (batch.prompt_tokens, batch.new_tokens) == (21, 4)


def test_scores_become_probabilities(project: Path) -> None:
    plan = loaded(project, decoding=Decoding.SCORE)
    batch = predict_batch(plan, rows_saying(plan, "1", "fail"))
    weights = np.exp([-1.0, 0.0, -1.0 - 2 / 7])
    assert batch.predictions[0].label == 1
    assert batch.predictions[0].probabilities == pytest.approx(weights / weights.sum())
    assert batch.predictions[1] == Prediction("fail-1", None, Status.FAILED, "prompt_too_long")
    assert batch.answers == []


@pytest.mark.parametrize("shift", [-5000.0, 0.0])
def test_very_unlikely_choices_still_have_probabilities(project: Path, monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    scores = np.array([[0.0, -2.0, -np.inf]]) + shift
    monkeypatch.setattr(toy.ToyModel, "score", lambda self, chats, choices: scores)
    plan = loaded(project, decoding=Decoding.SCORE)
    found = predict_batch(plan, plan.rows[:1]).predictions[0]
    assert found.label == 0
    assert found.probabilities == pytest.approx((0.880797, 0.119203, 0.0), abs=1e-6)


def test_scores_that_exclude_every_choice_are_a_failure(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.ToyModel, "score", lambda self, chats, choices: np.full((1, 3), -np.inf))
    plan = loaded(project, decoding=Decoding.SCORE)
    with np.errstate(invalid="ignore"):
        found = predict_batch(plan, plan.rows[:1]).predictions[0]
    assert (found.label, found.status) == (None, Status.FAILED)


def test_a_classifier_gives_the_most_probable_class_and_fails_on_nan(project: Path) -> None:
    plan = toy.plan(project, "toy-classifier")
    engine = toy.engine_of(plan)
    engine.state = {"classes": 3}
    batch = predict_batch(plan, rows_saying(plan, "2", "fail", "0"))
    assert [prediction.label for prediction in batch.predictions] == [2, None, 0]
    assert batch.predictions[1] == Prediction("fail-1", None, Status.FAILED, "not_a_number")
    first = batch.predictions[0]
    assert first.probabilities is not None
    assert sum(first.probabilities) == pytest.approx(1)
    assert isinstance(first.label, int)
    assert engine.batches == [["says 2", "says fail", "says 0"]]  # the bare texts: no prompt


def test_an_engine_that_loses_a_row_is_found_out(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = loaded(project)
    generate = toy.ToyModel.generate
    monkeypatch.setattr(toy.ToyModel, "generate", lambda *args: generate(*args)[:-1])
    with pytest.raises(ValueError, match="zip"):
        predict_batch(plan, plan.rows[:3])
