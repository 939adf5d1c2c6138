"""Reliability, temperature and the runs that they are fitted on: against scikit-learn, brute force and known truths."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chances import NAMES, PROMPT, draw, entry_of, trained_on, write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from unsealed import unseal

from harness.analysis.calibration import (
    at_coverage,
    aurc,
    bins_of,
    calibration_error,
    confidence,
    mean_interval,
    reliability_of,
    scores_of,
)
from harness.analysis.related_runs import (
    chose_checkpoint,
    command_on,
    is_outdated,
    latency_command,
    matching_validation_run,
)
from harness.core.arrays import FloatArray, IntArray
from harness.core.errors import UserError
from harness.core.record import TRAINING_VERSION, Estimate, RunRecord
from harness.core.types import Decision, LabelKind
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.reports.text.calibration import caveats, of_one, of_several
from harness.running.calibration import decide
from harness.running.thresholds import RULE
from harness.statistics.temperature import RANGE, fit_temperature, negative_log_likelihood, scaled


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def sharpened(probabilities: FloatArray, by: float) -> FloatArray:
    powered = probabilities**by
    return np.asarray(powered / powered.sum(axis=1, keepdims=True))


def stated_and_right(n: int, seed: int = 0) -> tuple[FloatArray, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    probabilities, truth = draw(n, seed=seed)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == truth


@given(seed=st.integers(0, 1000), n=st.integers(1, 80), bins=st.integers(1, 20))
def test_bins_are_those_of_scikit_learn(seed: int, n: int, bins: int) -> None:
    stated, correct = stated_and_right(n, seed)
    found = bins_of(stated, correct, bins)
    accuracy, mean = calibration_curve(correct, stated, n_bins=bins, strategy="uniform")
    assert [b.accuracy.value for b in found] == pytest.approx(accuracy)
    assert [b.confidence for b in found] == pytest.approx(mean)
    assert sum(b.count for b in found) == n


def test_an_edge_belongs_to_the_bin_below_it() -> None:
    found = bins_of(np.array([0.0, 0.5, 0.5000001, 1.0]), np.array([True, False, True, True]), 2)
    assert [(b.low, b.high, b.count) for b in found] == [(0.0, 0.5, 2), (0.5, 1.0, 2)]


def test_scores_are_those_of_the_metrics(store: Store) -> None:
    probabilities, truth = draw(200)
    labels = [None if i % 10 == 0 else int(p.argmax()) for i, p in enumerate(probabilities)]
    name = write_run(store, truth, probabilities, labels, kind=LabelKind.ORDINAL)
    run, values = read_predictions(store, name), store.record(name).metrics.values
    found = scores_of(run)
    assert found.ece.value == pytest.approx(values["ece"].value)
    assert found.brier == pytest.approx(values["brier"].value)
    assert values["log_loss"].value is not None
    assert found.log_loss < values["log_loss"].value  # 20 rows without an answer: -log 5e-7 in place of -log epsilon
    whole = write_run(store, truth, probabilities, backend="whole")
    assert scores_of(read_predictions(store, whole)).log_loss == pytest.approx(log_loss(truth, probabilities), rel=1e-4)
    assert scores_of(read_predictions(store, whole)).brier == pytest.approx(
        brier_score_loss(truth, probabilities, labels=range(3), scale_by_half=False), rel=1e-4
    )


@pytest.mark.parametrize("n", [50, 400])
def test_the_bias_of_a_calibrated_model_is_what_simulation_shows(n: int) -> None:
    probabilities, _ = draw(n)
    stated, rng = probabilities.max(axis=1), np.random.default_rng(7)

    def plain_ece(correct: FloatArray) -> float:
        places = np.minimum((stated * 15).astype(int), 14)
        return float(sum(abs((correct - stated)[places == i].sum()) for i in range(15)) / n)

    simulated = [plain_ece((rng.random(n) < stated).astype(float)) for _ in range(2000)]
    found = calibration_error(stated, rng.random(n) < stated, 0, 15)
    assert found.calibrated == pytest.approx(np.mean(simulated), rel=0.03)
    assert found.calibrated_high == pytest.approx(np.quantile(simulated, 0.95), rel=0.06)


@pytest.mark.slow
def test_p_is_uniform_for_a_calibrated_model_and_small_for_another() -> None:
    rng = np.random.default_rng(3)
    p = []
    for _ in range(60):
        stated = rng.beta(4, 3, 150)
        p.append(calibration_error(stated, rng.random(150) < stated, 0, 15).p)
    assert np.mean(np.array(p) <= 0.05) <= 0.12
    assert 0.4 < np.mean(p) < 0.6
    assert calibration_error(stated, rng.random(150) < stated - 0.3, 0, 15).p < 0.01


@pytest.mark.slow
def test_the_debiased_error_is_nearer_to_the_truth() -> None:
    rng = np.random.default_rng(5)
    raw, debiased = [], []
    for _ in range(60):
        stated = rng.uniform(0.4, 0.9, 150)
        found = calibration_error(stated, rng.random(150) < stated - 0.05, 0, 15)
        raw.append(found.value)
        debiased.append(found.debiased)
    assert np.mean(raw) > 0.08  # the truth is 0.05
    assert abs(np.mean(debiased) - 0.05) < 0.7 * abs(np.mean(raw) - 0.05)


def test_a_row_without_an_answer_adds_the_largest_gap() -> None:
    stated, correct = stated_and_right(60)
    without, with_one = (calibration_error(stated, correct, missing, 15) for missing in (0, 20))
    assert with_one.value == pytest.approx((60 * without.value + 20) / 80)
    assert with_one.calibrated == pytest.approx((60 * without.calibrated + 20) / 80)


def test_coverage_takes_the_surest_and_does_not_part_equals() -> None:
    stated = np.array([0.9, 0.8, 0.8, 0.8, 0.5, 0.0])
    correct = np.array([True, True, False, False, True, False])
    assert [at_coverage(stated, correct, c).rows for c in (1.0, 5 / 6, 0.5, 1 / 6)] == [6, 5, 4, 1]
    half = at_coverage(stated, correct, 0.5)
    assert (half.threshold, half.accuracy.value) == (0.8, 0.5)


@given(seed=st.integers(0, 500), n=st.integers(1, 7))
@settings(max_examples=40)
def test_aurc_is_the_mean_over_all_orders(seed: int, n: int) -> None:
    from itertools import permutations

    rng = np.random.default_rng(seed)
    stated, correct = rng.integers(0, 3, n) / 2, rng.random(n) < 0.5
    areas = []
    for order in permutations(range(n)):
        kept = stated[list(order)]
        if all(kept[:-1] >= kept[1:]):
            areas.append(np.mean(np.cumsum(~correct[list(order)]) / np.arange(1, n + 1)))
    assert aurc(stated, correct) == pytest.approx(np.mean(areas))


def test_an_order_that_tells_nothing_has_the_error_rate() -> None:
    correct = np.array([True, False, False, True])
    assert aurc(np.full(4, 0.5), correct) == pytest.approx(0.5)
    assert aurc(correct.astype(float), correct) == pytest.approx((1 / 3 + 1 / 2) / 4)


@pytest.mark.parametrize("known", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found(known: float) -> None:
    probabilities, truth = draw(4000, k=5, sharpness=1.0, seed=1)
    found = fit_temperature(sharpened(probabilities, known), truth)
    assert found.low is not None
    assert found.high is not None
    assert found.low < known < found.high
    assert found.high / found.low < 1.2
    assert scaled(sharpened(probabilities, known), known) == pytest.approx(probabilities, abs=1e-3)


def test_the_temperature_is_the_best_of_all() -> None:
    probabilities, truth = draw(300, seed=2)
    found = fit_temperature(sharpened(probabilities, 2), truth)
    losses = {
        t: negative_log_likelihood(scaled(sharpened(probabilities, 2), t), truth).mean()
        for t in (found.value, *np.geomspace(*RANGE, 200))
    }
    assert min(losses, key=lambda t: float(losses[t])) == found.value


def test_the_interval_of_a_temperature_covers_it() -> None:
    covered = 0
    for seed in range(60):
        probabilities, truth = draw(200, seed=seed)
        found = fit_temperature(sharpened(probabilities, 1.5), truth)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.5 <= found.high
    assert covered >= 51


def test_rows_that_say_nothing_of_a_temperature() -> None:
    uniform = fit_temperature(np.full((5, 4), 0.25), np.zeros(5, dtype=np.int64))
    assert (uniform.value, uniform.low, uniform.at_bound) == (1.0, None, False)
    right = fit_temperature(np.tile([0.6, 0.4], (5, 1)), np.zeros(5, dtype=np.int64))
    assert right.at_bound
    assert right.value == pytest.approx(RANGE[0], rel=1e-2)


def test_a_probability_that_was_rounded_to_nothing_is_no_infinite_loss() -> None:
    loss = negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1]))
    assert loss[0] == pytest.approx(-math.log(5e-7), rel=1e-3)


def test_mean_interval_is_students() -> None:
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(0).normal(size=12)
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_interval(values)
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), interval.low, interval.high))
    assert mean_interval(np.array([3.0])) == Estimate(value=3.0, low=3.0, high=3.0)


def twins(store: Store, by: float = 3.0, **options: object) -> tuple[str, str]:
    """A model that is too sure by a known temperature, on test and on validation rows."""
    names = []
    for split, seed in (("test", 1), ("validation", 2)):
        probabilities, truth = draw(600, seed=seed)
        names.append(write_run(store, truth, sharpened(probabilities, by), split=split, **options))  # type: ignore[arg-type]
    return names[0], names[1]


@pytest.mark.slow
def test_a_temperature_comes_from_validation_rows_and_mends_the_test_rows(store: Store) -> None:
    test, validation = twins(store)
    found = reliability_of(store, test)
    assert found.scaling is not None
    assert found.scaling.run == validation
    assert found.scaling.labels == len(read_predictions(store, validation))  # none of them was in the training
    assert found.scaling.temperature.value == pytest.approx(3.0, rel=0.25)
    assert found.scaling.scores.log_loss < found.scores.log_loss
    assert found.scaling.scores.ece.value < found.scores.ece.value / 2
    assert found.scaling.saved.value == pytest.approx(found.scores.log_loss - found.scaling.scores.log_loss)
    assert found.gap.low is not None
    assert found.gap.low > 0
    said = of_one(found)
    assert "overconfident by" in said
    assert "fitted on 600 validation rows (600 labels that no training used), lowers log loss by" in said
    assert "bench run" not in said
    assert "another answer" not in said
    assert found.scaling.changed == 0
    assert "name its test run" in of_one(reliability_of(store, validation))


def test_without_validation_rows_the_command_is_named(store: Store) -> None:
    probabilities, truth = draw(400)
    said = of_one(reliability_of(store, write_run(store, truth, probabilities)))
    assert "not significantly different from a calibrated model at this n" in said
    assert "`bench run --backend toy --task toy --lang en --split validation --prompt strict --decoding score`" in said


@pytest.mark.slow
def test_of_several_runs_the_best_calibrated_is_named(store: Store) -> None:
    probabilities, truth = draw(400)
    good = write_run(store, truth, probabilities)
    bad = write_run(store, truth, sharpened(probabilities, 4), backend="sure")
    worse = write_run(store, truth, sharpened(probabilities, 9), backend="surest")
    found = [reliability_of(store, name) for name in (bad, good, worse)]
    assert "Of these 3 runs, toy (strict · score)" in of_several(found)
    assert "it is not significantly different from a calibrated model (" in of_several(found)
    assert "all of them are significantly different from a calibrated model" in of_several([found[0], found[2]])


@pytest.mark.slow
def test_a_twin_differs_in_its_rows_alone(store: Store) -> None:
    test, validation = twins(store)
    assert matching_validation_run(store, test) == validation
    for other in ({"seed": 1}, {"lang": "de"}, {"prompt": {**PROMPT, "sha256": "1"}}, {"backend": "other"}):
        name = write_run(store, [0, 1, 2], np.eye(3) * 0.7 + 0.1, **other)  # type: ignore[arg-type]
        assert matching_validation_run(store, name) is None
    for rows in (3, 2):  # two test runs of one model
        name = write_run(store, range(rows), (np.eye(3) * 0.7 + 0.1)[:rows], backend="tested twice")  # type: ignore[arg-type]
        assert matching_validation_run(store, name) is None
    fewer = write_run(store, [0, 1], np.eye(3)[:2] * 0.7 + 0.1, split="validation")
    assert matching_validation_run(store, test) == validation != fewer


def record_of(identity: dict[str, Any], **manifest: Any) -> RunRecord:
    return entry_of({"identity": identity, **manifest}).record


def test_the_commands_say_all_that_the_record_holds() -> None:
    train = {**trained_on(400), "langs": ["en", "fr"], "validation_langs": ["en"], "drawn": True}
    identity = {"lang": "fr", "backend": {"name": "b", "engine": "toy"}, "train": train, "seed": 3, "decision": "median"}
    settings = {"train.lr": 3e-5, "train.lora": {"rank": 8}, "train.schedule": "cosine"}
    record = record_of(identity, training={"validation_rows": 50}, settings=settings, limit=50)
    command = record.options.changed(split="validation", limit=None).command()
    assert command_on(record, "validation") == command
    for part in ("--split validation", "--train-limit 200", "--validation-limit 50", "--decision median", "--resample-train"):
        assert part in command
    assert "--set 'train.lora={" in command
    assert "--limit 50" not in command.replace("-limit", "")
    assert latency_command(record).startswith("bench analyze latency --backend b --task t --lang fr")
    assert "--decision" not in latency_command(record)
    assert latency_command(record, 200).endswith(" --validation-limit 50") or "--limit 200" in latency_command(record, 200)
    outdated = record_of({**identity, "train": {**train, "version": 1}}, training={"validation_rows": 50}, limit=50)
    assert command_on(outdated, "validation").startswith(f"{outdated.options.command()} && bench run ")
    assert latency_command(outdated).startswith(f"{outdated.options.command()} && bench analyze latency ")


def test_the_options_that_an_engine_has_today_tell_an_outdated_record() -> None:
    from backends.baseline import Baseline

    options = Baseline.Options(classifier="majority").model_dump()
    for recorded, old in ((options, False), ({**options, "of_old": 1}, True)):
        assert is_outdated(record_of({"backend": {"name": "b", "engine": "baseline", "options": recorded}})) is old


@pytest.mark.parametrize(
    ("thresholds", "given", "rule", "old"),
    [
        ([0.3, 0.5], None, None, True),
        ([0.3, 0.5], None, RULE, False),
        ([0.5, 0.5], 0.5, None, False),
        (None, None, None, False),
    ],
)
def test_thresholds_that_another_rule_tuned_tell_an_outdated_record(
    thresholds: list[float] | None, given: float | None, rule: str | None, old: bool
) -> None:
    from backends.encoder import Encoder

    options = {**Encoder.Options().model_dump(), "threshold": given}
    train = {**trained_on(4), "version": TRAINING_VERSION, **({"thresholds": rule} if rule else {})}
    identity = {"train": train, "backend": {"name": "b", "engine": "encoder", "options": options}}
    assert is_outdated(record_of(identity, training={"thresholds": thresholds})) is old


def test_what_the_commands_do_not_tell_is_told() -> None:
    new, old = record_of({}), record_of({"version": 0})
    assert caveats([new]) == ""
    assert caveats([record_of({}, rows_from={"source": "data"})]).startswith("DIR stands for")
    assert "record 1 is of an earlier version of bench" in caveats([new, old])
    assert "records 1 and 1 are of an earlier version" in caveats([old, old])


@pytest.mark.slow
@pytest.mark.parametrize("decision", [Decision.EXPECTED, Decision.MEDIAN])
@pytest.mark.parametrize("prompted", [True, False])
def test_what_is_decided_otherwise_than_by_the_likeliest_is_decided_anew(
    store: Store, decision: Decision, prompted: bool
) -> None:
    how = {"prompt": {**PROMPT, "decision": decision}} if prompted else {"train": trained_on(5)}
    names = {}
    for split, seed in (("test", 1), ("validation", 2)):
        probabilities, truth = draw(300, seed=seed)
        blunt = np.asarray(sharpened(probabilities, 0.3))
        labels: list[int | None] = [decide(row, decision) for row in blunt]
        labels[0] = None
        names[split] = write_run(store, truth, blunt, labels, split=split, kind=LabelKind.ORDINAL, **how)  # type: ignore[arg-type]
    if not prompted:  # a trained run tells its decision beside its prompt
        for name in names.values():
            unseal(store.root / name, lambda manifest: manifest["identity"].update(decision=decision))
    found = reliability_of(store, names["test"]).scaling
    assert found is not None
    run = read_predictions(store, names["test"])
    assert run.probabilities is not None
    at = scaled(run.probabilities, found.temperature.value)
    wanted = np.array([3 if i == 0 else decide(row, decision) for i, row in enumerate(at)])
    assert found.changed == (wanted != run.answers).sum() > 0
    assert found.accuracy == (wanted == run.truth).mean() != run.correct.mean()
    stated = at[np.arange(1, 300), wanted[1:]]
    assert found.scores.ece.value == pytest.approx(calibration_error(stated, wanted[1:] == run.truth[1:], 1, 15).value)
    assert f"of the scaled probabilities gives another answer in {found.changed} of 299 rows" in of_one(
        reliability_of(store, names["test"])
    )


def test_validation_rows_that_an_engine_never_looked_at_tell_no_models_apart(store: Store) -> None:
    found = {}
    for looked_at in ({}, {"validation_rows": 9}):
        told = {"training": {"seconds": 1.0, "train_rows": 5, **looked_at}}
        for split, rows in (("test", "v1"), ("validation", "v2")):
            train = {**trained_on(5), "validation_rows": rows}
            backend = f"engine{len(looked_at)}"
            p = np.eye(3) * 0.7 + 0.1
            found[split] = write_run(store, [0, 1, 2], p, backend=backend, split=split, train=train, **told)
        assert matching_validation_run(store, found["test"]) == (None if looked_at else found["validation"])


def test_rows_that_chose_the_checkpoint_are_known() -> None:
    for training, lang, seen in (
        ({"best": {"step": 1}, "validation_rows": 9}, "en", True),
        ({"best": {"step": 1}, "validation_rows": 9}, "fr", False),
        ({"best": None, "validation_rows": 0}, "en", False),
        ({"seconds": 1}, "en", False),
    ):
        assert chose_checkpoint(record_of({"train": trained_on(4), "lang": lang}, training=training)) is seen
    assert not chose_checkpoint(record_of({}))


def test_what_has_no_confidence_says_so(store: Store) -> None:
    name = write_run(store, [0, 1, 2], labels=[0, 1, None])
    with pytest.raises(UserError, match="no probabilities") as error:
        reliability_of(store, name)
    assert "--decoding score" in error.value.hint
    assert len(NAMES) == 3


def test_confidence_is_that_of_the_answer_given(store: Store) -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8]])
    truth: IntArray = np.array([0, 1, 2])
    run = read_predictions(store, write_run(store, truth, probabilities, [1, 2, None], train=trained_on(5)))
    assert confidence(run) == pytest.approx([0.3, 0.6, 0.0])


def test_shares_of_rows_in_groups_know_the_groups(store: Store) -> None:
    """All rows together have the interval of the record; a bin with rows of too few groups has none."""
    probabilities, truth = draw(120)
    run = write_run(store, truth, probabilities, groups=[f"g{i // 6}" for i in range(120)])
    found = reliability_of(store, run)
    recorded = store.record(run).metrics.values["accuracy"]
    assert found.coverage[0].accuracy == recorded
    assert recorded.method == "cluster_wilson"
    small = [one for one in found.bins if one.count < 10]
    assert small
    assert all(one.accuracy.low is None and one.accuracy.reason for one in small)
