"""One batch: what each decoding hands to the engine, and what becomes of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from harness.core.engine import Encoded, Generation, Scores
from harness.core.errors import RunError
from harness.core.token_use import ChargedTokens, TokenUse
from harness.core.types import Calibration, Decoding, Prediction, Status
from harness.records.store import Store
from harness.running.batching import Item, encode, most_new_tokens
from harness.running.plan import Plan
from harness.running.predicting import Batch, finalize_predictions, predict_batch
from harness.running.runner import run


def loaded(project: Path, **changes: Any) -> Plan:
    plan = toy.plan(project, **changes)
    toy.engine_of(plan).load()
    return plan


def rows_saying(plan: Plan, *words: str) -> list[Item]:
    """An item for each word, with one row."""
    rows = [replace(plan.rows[0], id=f"{word}-{n}", text=f"says {word}") for n, word in enumerate(words)]
    return [Item([row]) for row in rows]


def predicted(plan: Plan, items: Sequence[Item]) -> Batch:
    return predict_batch(plan, encode(plan, items))


def settled(plan: Plan, items: Sequence[Item]) -> list[Prediction]:
    return finalize_predictions(plan, predicted(plan, items).predictions, None)


class Watching(toy.ToyModel):
    """Keeps what it was asked with."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.engine.options, toy.engine_of(plan).model)
        self.load()
        self.asked: list[Any] = []

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        self.asked.append((max_new_tokens, choices))
        return super().generate(prompts, max_new_tokens, choices)

    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        self.asked.append(list(choices))
        return super().score(prompts, choices)


@pytest.mark.parametrize(
    ("decoding", "asked"),
    [
        (Decoding.FREE, (16, None)),
        (Decoding.CONSTRAINED, ("most_new_tokens", ["0", "1", "2"])),
        (Decoding.SCORE, ["0", "1", "2"]),
    ],
)
def test_each_decoding_asks_the_engine_in_its_own_way(project: Path, decoding: Decoding, asked: Any) -> None:
    plan = toy.plan(project, decoding=decoding)
    asked = (most_new_tokens(plan), asked[1]) if asked[0] == "most_new_tokens" else asked
    engine = Watching(plan)
    predicted(replace(plan, engine=engine), [Item([row]) for row in plan.rows[:2]])
    assert engine.asked == [asked]
    assert engine.batches == [[row.text for row in plan.rows[:2]]]


def test_generated_answers_are_parsed_and_kept_apart(project: Path) -> None:
    plan = loaded(project)
    batch = predicted(plan, rows_saying(plan, "2", "mumble", "fail"))
    assert batch.predictions == [
        Prediction("2-0", 2),
        Prediction("mumble-1", None, Status.UNPARSED, "no_answer"),
        Prediction("fail-2", None, Status.FAILED, "prompt_too_long"),
    ]
    assert batch.answers[0] == {"id": "2-0", "answer": f"2\n{toy.SECRET}", "complete": True}
    assert [answer["id"] for answer in batch.answers] == ["2-0", "mumble-1", "fail-2"]
    assert batch.charged == ChargedTokens(TokenUse(6, 4))


@pytest.mark.parametrize("decoding", [*Decoding, None])
def test_all_rows_of_a_text_get_its_answer_and_it_is_counted_once(project: Path, decoding: Decoding | None) -> None:
    plan = loaded(project, decoding=decoding) if decoding else toy.plan(project, "toy-classifier")
    toy.engine_of(plan).state = {"classes": 3}
    row = replace(plan.rows[0], text="says 2")
    items = [Item([row, replace(row, id="twin", label=1)]), *rows_saying(plan, "1")]
    batch = predict_batch(plan, encode(plan, items))
    found = finalize_predictions(plan, batch.predictions, None)
    assert [(prediction.id, prediction.label) for prediction in found] == [(row.id, 2), ("twin", 2), ("1-0", 1)]
    assert found[1] == replace(found[0], id="twin")
    assert batch.charged.total.prompt == (4 if decoding else 0)
    assert [answer["id"] for answer in batch.answers] == (
        [row.id, "twin", "1-0"] if decoding in (Decoding.FREE, Decoding.CONSTRAINED) else []
    )


def test_scores_stay_as_they_are_until_all_rows_are_there(project: Path) -> None:
    plan = loaded(project, decoding=Decoding.SCORE)
    batch = predicted(plan, rows_saying(plan, "1", "fail"))
    assert batch.predictions == [
        Prediction("1-0", None, log_p=(-1.0, 0.0, -1.0 - 2 / 7)),
        Prediction("fail-1", None, Status.FAILED, "prompt_too_long"),
    ]
    assert batch.answers == []


def test_scores_become_probabilities(project: Path) -> None:
    plan = loaded(project, decoding=Decoding.SCORE)
    first, second = settled(plan, rows_saying(plan, "1", "fail"))
    weights = np.exp([-1.0, 0.0, -1.0 - 2 / 7])
    assert (first.label, first.status, first.log_p) == (1, Status.OK, None)
    assert first.probabilities == pytest.approx(weights / weights.sum())
    assert second == Prediction("fail-1", None, Status.FAILED, "prompt_too_long")


def score_alike(monkeypatch: pytest.MonkeyPatch, *log_p: float) -> None:
    monkeypatch.setattr(
        toy.ToyModel, "score", lambda self, prompts, choices: [Scores(np.array(log_p), 1) for prompt in prompts]
    )


@pytest.mark.parametrize("shift", [-5000.0, 0.0])
def test_very_unlikely_choices_still_have_probabilities(project: Path, monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    score_alike(monkeypatch, shift, shift - 2, shift - 900)
    plan = loaded(project, decoding=Decoding.SCORE)
    (found,) = settled(plan, rows_saying(plan, "0"))
    assert found.label == 0
    assert found.probabilities == pytest.approx((0.880797, 0.119203, 0.0), abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_a_failure(project: Path, monkeypatch: pytest.MonkeyPatch, bad: float) -> None:
    score_alike(monkeypatch, 0.0, bad, -1.0)
    plan = loaded(project, decoding=Decoding.SCORE)
    assert settled(plan, rows_saying(plan, "0")) == [Prediction("0-0", None, Status.FAILED, "not_a_number")]


def test_a_choice_without_probability_is_impossible(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score_alike(monkeypatch, 0.0, -np.inf, -1.0)
    plan = loaded(project, decoding=Decoding.SCORE)
    (found,) = settled(plan, rows_saying(plan, "0"))
    assert (found.label, found.status) == (0, Status.OK)
    assert found.probabilities == pytest.approx((0.731059, 0.0, 0.268941), abs=1e-6)
    score_alike(monkeypatch, -np.inf, -np.inf, -np.inf)
    assert settled(plan, rows_saying(plan, "0")) == [Prediction("0-0", None, Status.FAILED, "not_a_number")]


def test_a_content_free_input_without_scores_fails_the_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy.plan(project, decoding=Decoding.SCORE, calibration=Calibration.CONTEXTUAL)
    lost = [Scores(None, 1, error="timeout")]
    monkeypatch.setattr(toy.ToyModel, "score", lambda self, prompts, choices: lost * len(prompts))
    with pytest.raises(RunError, match="content-free input could not be scored: timeout"):
        run(plan, Store(project / "runs"))


def test_a_classifier_gives_the_most_probable_class_and_fails_on_nan(project: Path) -> None:
    plan = toy.plan(project, "toy-classifier")
    engine = toy.engine_of(plan)
    engine.state = {"classes": 3}
    batch = predicted(plan, rows_saying(plan, "2", "fail", "0"))
    assert [prediction.label for prediction in batch.predictions] == [2, None, 0]
    assert batch.predictions[1] == Prediction("fail-1", None, Status.FAILED, "not_a_number")
    first = batch.predictions[0]
    assert first.probabilities is not None
    assert sum(first.probabilities) == pytest.approx(1)
    assert isinstance(first.label, int)
    assert engine.batches == [["says 2", "says fail", "says 0"]]  # the bare texts: no prompt


@pytest.mark.parametrize(("method", "decoding"), [("generate", Decoding.FREE), ("score", Decoding.SCORE), ("encode", None)])
def test_an_engine_that_loses_a_row_is_found_out(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str, decoding: Decoding | None
) -> None:
    plan = loaded(project, decoding=decoding)
    whole = getattr(toy.ToyModel, method)
    monkeypatch.setattr(toy.ToyModel, method, lambda *args: whole(*args)[:-1])
    with pytest.raises(ValueError, match="zip"):
        predicted(plan, rows_saying(plan, "0", "1", "2"))
