"""Calibration and decision: the formulas by hand, and what becomes of them in a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from harness.core.arrays import FloatArray
from harness.core.engine import Encoded, Scores
from harness.core.errors import PromptError
from harness.core.types import Calibration, Decision, Decoding, Status
from harness.records.journal import read_journal
from harness.records.store import Store
from harness.running.calibration import CONTENT_FREE, IMPOSSIBLE, calibrated, decide
from harness.running.plan import Plan
from harness.running.runner import Result, run

NONE, CONTEXTUAL, BATCH = Calibration.NONE, Calibration.CONTEXTUAL, Calibration.BATCH
logs = st.floats(-30, 0)


def table(rows: int, columns: int) -> st.SearchStrategy[FloatArray]:
    row = st.lists(logs, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows).map(lambda found: np.array(found))


def normalised(weights: Any) -> FloatArray:
    return np.asarray(weights / np.sum(weights, axis=-1, keepdims=True))


P = np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
NOTHING = np.array([[0.6, 0.3, 0.1], [0.4, 0.4, 0.2], [0.5, 0.2, 0.3]])


def test_by_hand() -> None:
    log_p = np.log(P) + np.array([[-3.0], [-700.0]])  # the choices are never all that a model could say
    np.testing.assert_allclose(calibrated(log_p, NONE, None), P)
    prior = [(0.6 + 0.4 + 0.5) / 3, (0.3 + 0.4 + 0.2) / 3, (0.1 + 0.2 + 0.3) / 3]
    found = calibrated(log_p, CONTEXTUAL, np.log(NOTHING) - 5)
    np.testing.assert_allclose(found, normalised(P / prior))
    np.testing.assert_allclose(found[0], [14 / 25.66667, 6.66667 / 25.66667, 5 / 25.66667], rtol=1e-5)
    np.testing.assert_allclose(calibrated(log_p, BATCH, None), normalised(P / [0.6, 0.225, 0.175]))


def test_batch_of_one_row_knows_nothing() -> None:
    np.testing.assert_allclose(calibrated(np.log(P[:1]), BATCH, None), [[1 / 3] * 3])


@given(table(5, 4), st.sampled_from(Calibration), table(3, 4))
def test_rows_are_distributions(log_p: FloatArray, calibration: Calibration, content_free: FloatArray) -> None:
    found = calibrated(log_p, calibration, content_free)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert ((found >= 0) & (found <= 1)).all()


@given(table(5, 4), st.sampled_from(Calibration), table(3, 4), st.lists(logs, min_size=5, max_size=5))
def test_what_else_a_model_could_say_plays_no_part(
    log_p: FloatArray, calibration: Calibration, content_free: FloatArray, shift: list[float]
) -> None:
    moved = calibrated(log_p + np.array(shift)[:, None], calibration, content_free + np.array(shift[:3])[:, None])
    np.testing.assert_allclose(moved, calibrated(log_p, calibration, content_free), rtol=1e-6, atol=1e-12)


@given(table(5, 4), table(1, 4), st.lists(st.floats(-8, 8), min_size=4, max_size=4))
def test_a_bias_that_is_the_same_everywhere_vanishes_under_contextual(
    log_p: FloatArray, nothing: FloatArray, bias: list[float]
) -> None:
    """Exactly so where the content-free inputs agree: their mean is of probabilities, and each normalises for itself."""
    nothing = np.repeat(nothing, 3, axis=0)
    biased = calibrated(log_p + bias, CONTEXTUAL, nothing + bias)
    np.testing.assert_allclose(biased, calibrated(log_p, CONTEXTUAL, nothing), rtol=1e-6, atol=1e-12)


@given(st.floats(0.01, 8), st.integers(1, 5), st.floats(-8, 8))
def test_a_bias_changes_no_label_of_mirrored_rows_under_batch(strength: float, pairs: int, bias: float) -> None:
    """As many rows for the one label as for the other, equally strong: the threshold lies between them, wherever that is."""
    log_p = np.array([[strength, 0.0], [0.0, strength]] * pairs) + np.array([bias, 0.0])
    labels = [decide(row, Decision.ARGMAX) for row in calibrated(log_p, BATCH, None)]
    assert labels == [0, 1] * pairs


@given(table(1, 4), st.integers(1, 5))
def test_what_all_rows_say_alike_says_nothing(row: FloatArray, count: int) -> None:
    rows = np.repeat(row, count, axis=0)
    np.testing.assert_allclose(calibrated(rows, BATCH, None), 0.25, rtol=1e-6)
    np.testing.assert_allclose(calibrated(rows, CONTEXTUAL, np.repeat(row, 3, axis=0)), 0.25, rtol=1e-6)


@pytest.mark.parametrize("calibration", list(Calibration))
def test_a_choice_without_probability_keeps_none(calibration: Calibration) -> None:
    """It is divided neither by the probability that it has nowhere, nor by that of an input that says nothing."""
    log_p, nothing = np.log(P), np.log(NOTHING)
    log_p[:, 2] = nothing[:, 2] = IMPOSSIBLE
    found = calibrated(log_p, calibration, nothing)
    np.testing.assert_array_equal(found[:, 2], 0)
    np.testing.assert_allclose(found[:, :2], calibrated(log_p[:, :2], calibration, nothing[:, :2]))
    log_p[1] = np.log(P[1])  # where some rows give it one, it has one there
    np.testing.assert_allclose(calibrated(log_p, NONE, None), [normalised([0.7, 0.2, 0.0]), P[1]])
    assert np.isfinite(calibrated(log_p, calibration, nothing)).all()


def test_very_unlikely_choices_do_no_harm() -> None:
    found = calibrated(np.array([[0.0, -5000.0], [-5000.0, 0.0]]), BATCH, None)
    np.testing.assert_allclose(found, [[1, 0], [0, 1]], atol=1e-12)


@pytest.mark.parametrize(
    ("probabilities", "argmax", "expected"),
    [
        ((0.5, 0.0, 0.5), 0, 1),  # of equal ones the lowest; the mean is neither
        ((0.5, 0.5), 0, 1),  # 0.5 goes up
        ((0.0, 0.5, 0.5), 1, 2),  # and 1.5 too: no rounding to the even one
        ((0.0, 0.0, 0.5, 0.5), 2, 3),
        ((0.75, 0.25), 0, 0),
        ((0.4, 0.0, 0.0, 0.0, 0.6), 4, 2),  # 2.4
        ((0.34, 0.0, 0.0, 0.0, 0.66), 4, 3),  # 2.64
    ],
)
def test_decisions(probabilities: tuple[float, ...], argmax: int, expected: int) -> None:
    assert decide(probabilities, Decision.ARGMAX) == argmax
    assert decide(probabilities, Decision.EXPECTED) == expected


@given(st.integers(1, 11), st.data())
def test_a_sure_distribution_leaves_no_choice(count: int, data: st.DataObject) -> None:
    label = data.draw(st.integers(0, count - 1))
    sure = [float(value) for value in np.eye(count)[label]]
    assert decide(sure, Decision.ARGMAX) == decide(sure, Decision.EXPECTED) == label
    assert type(decide(sure, Decision.EXPECTED)) is int


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=11))
def test_the_expected_value_is_the_nearest_label(weights: list[float]) -> None:
    p = normalised(np.array(weights))
    mean = float(sum(k * value for k, value in enumerate(p)))
    label = decide(list(p), Decision.EXPECTED)
    assert 0 <= label < len(p)
    assert abs(label - mean) <= 0.5 + 1e-9


# In a run


def score_plan(project: Path, **changes: Any) -> Plan:
    return toy.plan(project, **{"decoding": Decoding.SCORE, **changes})


def go(plan: Plan, store: Store) -> Result:
    return run(plan, store, None, toy.quiet)


@pytest.fixture
def biased(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A model that likes the answer 2 in whatever it reads."""
    bias, score = [0.0, -0.3, 1.5], toy.ToyModel.score

    def leaning(self: toy.ToyModel, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        found = score(self, prompts, choices)
        return [row if row.log_p is None else Scores(row.log_p + bias, row.prompt_tokens) for row in found]

    monkeypatch.setattr(toy.ToyModel, "score", leaning)
    return bias


def toy_scores(said: str, bias: Sequence[float]) -> FloatArray:
    return np.array(toy._scores(said, 3)) + bias


DECIDED: dict[Decision, Any] = {
    Decision.ARGMAX: lambda p: int(np.argmax(p)),
    Decision.EXPECTED: lambda p: int(p @ [0, 1, 2] + 0.5),
    Decision.MEDIAN: lambda p: int(p[0] < 0.5) + int(p[0] + p[1] < 0.5),
}


@pytest.mark.parametrize("calibration", [NONE, CONTEXTUAL, BATCH])
@pytest.mark.parametrize("decision", list(Decision))
def test_a_run_calibrates_and_decides(
    project: Path, store: Store, biased: list[float], calibration: Calibration, decision: Decision
) -> None:
    plan = score_plan(project, calibration=calibration, decision=decision)
    result = go(plan, store)
    scored = [said for said in toy.SAID if said != "fail"]
    prior: Any = 1.0
    if calibration is CONTEXTUAL:  # the three inputs that say nothing are alike to the toy model
        prior = normalised(np.exp(toy_scores("mumble", biased)))
    if calibration is BATCH:
        prior = np.mean([normalised(np.exp(toy_scores(said, biased))) for said in scored], axis=0)
    for said, record in zip(toy.SAID, store.predictions(result.run_id), strict=True):
        assert "log_p" not in record
        if said == "fail":
            assert (record["label"], record["status"], record["reason"]) == (None, "failed", "prompt_too_long")
            assert "probabilities" not in record
            continue
        p = normalised(normalised(np.exp(toy_scores(said, biased))) / prior)
        np.testing.assert_allclose(record["probabilities"], p, atol=1e-6)
        assert record["label"] == (DECIDED[decision](p))
    labels = [record["label"] for record in store.predictions(result.run_id) if record["label"] is not None]
    wanted = [int(said) for said in toy.SAID if said.isdigit()]
    if decision is Decision.ARGMAX and calibration is NONE:
        assert set(labels) == {2}  # what the calibration is there to mend
    if decision is Decision.ARGMAX and calibration is CONTEXTUAL:
        assert [label for said, label in zip(scored, labels, strict=True) if said.isdigit()] == wanted


def test_content_free_inputs_are_scored_once_and_counted(project: Path, store: Store) -> None:
    plan = score_plan(project, calibration=CONTEXTUAL)
    result = go(plan, store)
    engine = toy.engine_of(plan)
    assert engine.batches[1] == list(CONTENT_FREE)  # after the warm-up
    assert [text for text in engine.counted if text in CONTENT_FREE] == list(CONTENT_FREE)
    made = store.record(result.run_id)
    words = sum(len(text.split()) for text in [*CONTENT_FREE, *(row.text for row in plan.rows)])
    assert (made.tokens.prompt, made.timing.smallest_batch) == (words, 2)
    assert len(store.predictions(result.run_id)) == len(plan.rows)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@pytest.mark.slow
@pytest.mark.parametrize("calibration", [NONE, CONTEXTUAL, BATCH])
def test_a_killed_run_settles_on_the_same_bytes(
    project: Path, tmp_path: Path, biased: list[float], calibration: Calibration
) -> None:
    def outcome(result: Result) -> list[bytes]:
        return [(result.folder / name).read_bytes() for name in ("predictions.jsonl", "metrics.json")]

    whole = outcome(go(score_plan(project, calibration=calibration), Store(tmp_path / "whole")))
    for count in range(5):
        store, plan = Store(tmp_path / str(count)), score_plan(project, calibration=calibration)
        engine = toy.engine_of(plan)

        def hook(texts: Sequence[str], engine: Any = engine, after: int = count) -> None:
            if len(engine.batches) == after + 1:
                raise Killed

        engine.hook = hook
        try:
            go(plan, store)
        except Killed:
            journal = read_journal(store.root / f"{plan.run_id}.partial" / "journal.jsonl")
            rows = [row for entry in journal for row in entry.rows]
            assert len(journal) == count
            assert all((row.log_p is not None) == (row.status is Status.OK) for row in rows)
            assert all(row.probabilities is None and row.label is None for row in rows)
        again = score_plan(project, calibration=calibration)
        assert outcome(go(again, store)) == whole
        counted = [*engine.counted, *toy.engine_of(again).counted]
        expected = [row.text for row in plan.rows] + (list(CONTENT_FREE) if calibration is CONTEXTUAL else [])
        assert sorted(counted) == sorted(expected)  # nothing is scored twice


@pytest.mark.slow
def test_the_record_of_a_run_names_them(project: Path, store: Store) -> None:
    names = {}
    for calibration in (NONE, CONTEXTUAL, BATCH):
        for decision in Decision:
            result = go(score_plan(project, calibration=calibration, decision=decision), store)
            names[result.run_id] = store.record(result.run_id).identity.as_json()["prompt"]
    assert len(names) == 9
    for name, prompt in names.items():
        words = [prompt[key] for key in ("calibration", "decision") if key in prompt]
        assert name.startswith(".".join(["toy.en.toy-model.echo.score", *words, "s0."]))
    found = {(prompt.get("calibration"), prompt.get("decision")) for prompt in names.values()}
    assert found == {(c, d) for c in (None, "contextual", "batch") for d in (None, "expected", "median")}


@pytest.mark.parametrize("decoding", [None, *Decoding])
def test_runs_without_keep_their_names(project: Path, decoding: Decoding | None) -> None:
    """A record made before there was a calibration is found again."""
    plain = toy.plan(project, decoding=decoding)
    said = toy.plan(project, decoding=decoding, calibration=NONE, decision=Decision.ARGMAX)
    assert said.identity == plain.identity
    keys = {"name", "variant", "sha256", "decoding", "shots", "shots_sha256"}
    assert set(plain.identity.as_json()["prompt"]) == keys
    assert "calibration" not in json.dumps(plain.identity.as_json())
    assert "decision" not in json.dumps(plain.identity.as_json())


def test_a_prompt_may_name_them(project: Path) -> None:
    (project / "prompts" / "even.j2").write_text(
        "---\ndescription: d\nparser: integer\ndecoding: score\ncalibration: batch\ndecision: expected\n---\n{{ text }}\n"
    )
    asked = toy.plan(project, prompt="even").identity.as_json()["prompt"]
    assert (asked["calibration"], asked["decision"]) == ("batch", "expected")
    other = toy.plan(project, prompt="even", calibration=CONTEXTUAL, decision=Decision.ARGMAX).identity.as_json()["prompt"]
    assert other["calibration"] == "contextual"
    assert "decision" not in other
    with pytest.raises(PromptError, match="no calibration and no decision in 'decoding: free'"):
        toy.plan(project, prompt="even", decoding=Decoding.FREE)
    (project / "prompts" / "even.en.j2").write_text(
        "---\ndescription: d\nparser: integer\ndecoding: score\ndecision: expected\n---\n{{ text }}\n"
    )
    with pytest.raises(PromptError, match=r"'calibration' differs from even\.j2"):
        toy.plan(project, prompt="even")


@pytest.mark.parametrize("decoding", [Decoding.FREE, Decoding.CONSTRAINED])
@pytest.mark.parametrize("asked", [{"calibration": BATCH}, {"decision": Decision.EXPECTED}])
def test_they_work_on_probabilities_only(project: Path, decoding: Decoding, asked: dict[str, Any]) -> None:
    with pytest.raises(PromptError, match=f"'decoding: {decoding}'") as caught:
        toy.plan(project, decoding=decoding, **asked)
    assert "use the decoding 'score'" in caught.value.hint


def test_no_expected_value_of_names(project: Path) -> None:
    task = project / "tasks" / "toy.yaml"
    task.write_text(task.read_text().replace("kind: ordinal", "kind: nominal"))
    assert score_plan(project, calibration=BATCH).run_id
    with pytest.raises(PromptError, match="'decision: expected' is for ordinal labels, and these are nominal"):
        score_plan(project, decision=Decision.EXPECTED)
