"""A choice on validation rows and its test run; a choice on test rows and its correction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chances import draw, trained_on, write_run

from harness.analysis.candidates import pool_of
from harness.analysis.choice import confirmed_on_test, optimism_of
from harness.analysis.recommend import Question, Recommendation, changes_of, recommend
from harness.core.arrays import IntArray
from harness.core.record import Estimate
from harness.records.store import Store
from harness.reports.text.recommend import choice_told, sentence
from harness.specs.prices import PriceFile, Prices

FREE = PriceFile(hardware={}, models={})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def right(truth: IntArray, share: float, seed: int) -> IntArray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < share, truth, (truth + 1) % 3)


def found_on(store: Store, split: str, question: Question | None = None) -> Recommendation:
    return recommend(store, pool_of(store, "toy", "en", split, Prices(FREE, FREE), []), question or Question())


def test_the_test_run_of_what_was_chosen_on_validation_rows(store: Store) -> None:
    _, validation = draw(150, seed=1)
    _, test = draw(200, seed=2)
    for backend, on_validation, on_test in (("a", 0.9, 0.6), ("b", 0.6, 0.9)):
        write_run(store, validation, labels=right(validation, on_validation, 3), backend=backend, split="validation")
        name = write_run(store, test, labels=right(test, on_test, 4), backend=backend)
        if backend == "a":
            tested = name
    found = found_on(store, "validation")
    confirmed = confirmed_on_test(store, found)
    assert confirmed is not None
    assert (confirmed.configurations, confirmed.n, confirmed.test_n) == (2, 150, 200)
    assert confirmed.runs == (tested,)
    assert confirmed.value == store.record(tested).metrics.values["accuracy"]
    assert confirmed.commands == ()
    told = choice_told(found, None, confirmed)
    assert f"{confirmed.value.value:.3f} [" in told


def test_a_missing_test_run_has_its_command(store: Store) -> None:
    _, truth = draw(100)
    for seed in (0, 1):
        write_run(store, truth, labels=right(truth, 0.9, seed), backend="a", split="validation", seed=seed)
    confirmed = confirmed_on_test(store, found_on(store, "validation"))
    assert confirmed is not None
    assert (confirmed.runs, confirmed.value, confirmed.test_n) == ((), None, 0)
    assert len(confirmed.commands) == 2
    assert all(command.startswith("bench run --backend a") and "validation" not in command for command in confirmed.commands)


def test_several_seeds_are_reported_as_their_mean(store: Store) -> None:
    _, truth = draw(200)
    shares = {0: 0.9, 1: 0.8, 2: 0.7}
    for seed, share in shares.items():
        write_run(store, truth, labels=right(truth, share, seed), backend="a", split="validation", seed=seed)
        write_run(store, truth, labels=right(truth, share, 10 + seed), backend="a", seed=seed)
    confirmed = confirmed_on_test(store, found_on(store, "validation"))
    assert confirmed is not None
    assert confirmed.value is not None
    assert confirmed.value.low is not None
    values = [store.record(run).metrics.values["accuracy"].value or 0.0 for run in confirmed.runs]
    assert len(values) == 3
    assert confirmed.value.value == pytest.approx(np.mean(values))
    rows_and_seeds = np.std(values, ddof=1) / np.sqrt(3)  # what the seeds alone add
    assert confirmed.value.value - confirmed.value.low > 1.96 * rows_and_seeds


@pytest.mark.slow
def test_the_best_of_equal_ones_is_corrected(store: Store) -> None:
    _, truth = draw(300)
    for number in range(12):
        write_run(store, truth, labels=right(truth, 0.7, number), backend=f"m{number}")
    found = found_on(store, "test")
    optimism = optimism_of(store, found)
    assert optimism is not None
    assert (optimism.configurations, optimism.n) == (12, 300)
    assert optimism.observed == pytest.approx(found.recommended.quality.value if found.recommended else 0)
    assert optimism.bias > 0.02
    assert abs((optimism.corrected.value or 0) - 0.7) < 0.03
    assert optimism.corrected.low is not None
    assert optimism.again < 0.6
    assert f"{optimism.corrected.value:.3f}" in choice_told(found, optimism, None)


def test_a_clear_winner_is_hardly_corrected(store: Store) -> None:
    _, truth = draw(300)
    for number, share in enumerate((0.9, 0.5, 0.45, 0.4)):
        write_run(store, truth, labels=right(truth, share, number), backend=f"m{number}")
    optimism = optimism_of(store, found_on(store, "test"))
    assert optimism is not None
    assert abs(optimism.bias) < 0.002
    assert optimism.again == 1.0


def test_what_a_limit_rules_out_is_no_part_of_the_choice(store: Store) -> None:
    _, truth = draw(200)
    for number, share in enumerate((0.9, 0.88, 0.5)):
        write_run(store, truth, labels=right(truth, share, number), backend=f"m{number}")
    optimism = optimism_of(store, found_on(store, "test", Question(min_accuracy=0.7)))
    assert optimism is not None
    assert optimism.configurations == 2
    assert optimism_of(store, found_on(store, "test", Question(min_accuracy=0.99))) is None


@pytest.mark.slow
def test_groups_of_rows_widen_the_correction(store: Store) -> None:
    """Four equal rows a group: as if there were a quarter of the rows."""
    _, truth = draw(200)
    four = np.repeat(truth, 4)
    for number in range(4):
        labels = np.repeat(right(truth, 0.7, number), 4)
        groups = [str(i // 4) for i in range(800)]
        write_run(store, four, labels=labels, backend=f"m{number}", groups=groups)
    grouped = optimism_of(store, found_on(store, "test"))
    assert grouped is not None
    apart = Store(store.root.parent / "apart")
    for number in range(4):
        write_run(apart, truth, labels=right(truth, 0.7, number), backend=f"m{number}")
    separate = optimism_of(apart, found_on(apart, "test"))
    assert separate is not None
    assert grouped.corrected.value == pytest.approx(separate.corrected.value, abs=0.005)
    assert _width(grouped.corrected) == pytest.approx(_width(separate.corrected), rel=0.05)


def _width(estimate: Estimate) -> float:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.high - estimate.low


def test_checkpoints_chosen_on_these_rows_are_named(store: Store) -> None:
    _, truth = draw(100)
    trained = {"train": trained_on(9), "training": {"seconds": 1.0, "validation_rows": 100, "best": {"epoch": 1}}}
    write_run(store, truth, labels=right(truth, 0.8, 0), backend="e", split="validation", **trained)
    write_run(store, truth, labels=right(truth, 0.9, 1), backend="llm", split="validation")
    confirmed = confirmed_on_test(store, found_on(store, "validation"))
    assert confirmed is not None
    assert confirmed.chose_checkpoints == ("e",)


def test_validation_rows_are_said_to_be_such(store: Store) -> None:
    _, truth = draw(100)
    write_run(store, truth, labels=right(truth, 0.9, 0), backend="a", split="validation")
    found = found_on(store, "validation")
    assert "100 validation rows" in sentence(found, changes_of(found.pool.offered, found.question))
