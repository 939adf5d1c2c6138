"""Cascades from stored predictions: their ends, their costs, and a threshold that no test row has chosen."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chances import NAMES, draw, identity_of, trained_on, write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from unsealed import unseal

from harness.analysis.calibration import confidence
from harness.analysis.cascade import Cascade, cascade_of, combined, tuned
from harness.core.arrays import FloatArray, IntArray
from harness.core.errors import UserError
from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.reports.text.cascade import sentence
from harness.specs.prices import HardwarePrice, PriceFile, Prices
from harness.statistics.paired import mcnemar

FREE = PriceFile(hardware={}, models={})
PRICED = Prices(
    PriceFile(
        hardware={
            "toy": HardwarePrice.model_validate(
                {"cpu": "toy", "usd_per_core_hour": 3.6, "date": "2026-01-01", "source": "nowhere"}
            )
        },
        models={},
    ),
    FREE,
)
UNPRICED = Prices(FREE, FREE)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def columns(truth: IntArray, answers: IntArray, probabilities: FloatArray | None = None) -> Predictions:
    ids = np.array([f"{i:05}" for i in range(len(truth))], dtype=object)
    labels = LabelSpace(LabelKind.NOMINAL, NAMES)
    return Predictions("r", identity_of(), labels, ids, truth, answers, answers < 3, probabilities)


def pair_of(n: int, seed: int = 0, second_right: float = 0.8) -> tuple[Predictions, Predictions]:
    """A calibrated first one, and a second one that is right in the same share of rows whatever the first one does."""
    probabilities, truth = draw(n, sharpness=1.0, seed=seed)
    rng = np.random.default_rng(seed + 1)
    other = np.where(rng.random(n) < second_right, truth, (truth + 1) % 3)
    return columns(truth, probabilities.argmax(axis=1), probabilities), columns(truth, other)


def records(store: Store, n: int = 400, second_right: float = 0.8, **options: object) -> dict[str, str]:
    """Runs of both models on test and on validation rows."""
    names = {}
    for split, seed in (("test", 10), ("validation", 20)):
        first, second = pair_of(n, seed, second_right)
        told = {"split": split, "seconds": n / 1000, "train": trained_on(100), **options}
        names[f"first {split}"] = write_run(store, first.truth, first.probabilities, backend="small", **told)  # type: ignore[arg-type]
        names[f"second {split}"] = write_run(
            store, second.truth, labels=second.answers, backend="large", split=split, seconds=n / 10
        )
    return names


def cascade(store: Store, names: dict[str, str], prices: Prices = PRICED, **options: object) -> Cascade:
    return cascade_of(store, names["first test"], names["second test"], prices, **options)  # type: ignore[arg-type]


@given(seed=st.integers(0, 200), threshold=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_each_row_is_answered_by_the_one_it_belongs_to(seed: int, threshold: float) -> None:
    first, second = pair_of(40, seed)
    both = combined(first, second, threshold)
    for i, sure in enumerate(confidence(first)):
        assert both.answers[i] == (first.answers[i] if sure >= threshold else second.answers[i])


def test_at_0_the_first_answers_all_and_above_1_the_second() -> None:
    first, second = pair_of(30)
    first.answers[3], first.answered[3] = 3, False
    second.answers[5], second.answered[5] = 3, False
    assert combined(first, second, 0.0).answers.tolist() == first.answers.tolist()
    assert not combined(first, second, 0.0).answered[3]
    assert combined(first, second, math.nextafter(1, 2)).answers.tolist() == second.answers.tolist()
    assert combined(first, second, 0.01).answers[3] == second.answers[3]  # who has no answer is not sure of it
    assert not combined(first, second, math.inf).answered[5]


@pytest.mark.slow
def test_the_points_lead_from_one_model_to_the_other(store: Store) -> None:
    names = records(store)
    found = cascade(store, names)
    runs = [read_predictions(store, names[f"{which} test"]) for which in ("first", "second")]
    for point, run in zip((found.points[0], found.points[-1]), runs, strict=True):
        assert point.values["accuracy"].value == pytest.approx(accuracy_score(run.truth, run.answers))
        assert point.values["macro_f1"].value == pytest.approx(f1_score(run.truth, run.answers, average="macro"))
        low, value, high = (getattr(point.values["macro_f1"], key) for key in ("low", "value", "high"))
        assert low is not None
        assert value is not None
        assert high is not None
        assert low < value < high
    shares = [point.share for point in found.points]
    assert shares == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0], abs=0.005)


@pytest.mark.slow
def test_the_costs_are_those_of_what_is_used(store: Store) -> None:
    """$3.6 an hour is $0.001 a second: 1 ms a row is $0.001 per 1,000 rows, 100 ms are $0.1; training for 10 s is $0.01."""
    found = cascade(store, records(store), predictions=10_000, labelling=0.5)
    first, middle, last = found.points[0], found.points[2], found.points[-1]
    once = 0.01 / 10 + 100 * 0.5 / 10
    assert first.cost == pytest.approx(0.001 + once)
    assert last.cost == pytest.approx(0.1)
    assert middle.cost == pytest.approx(0.001 + (1 - middle.share) * 0.1 + once)
    assert (first.seconds, last.seconds) == (pytest.approx(0.001), pytest.approx(0.1))
    assert middle.seconds == pytest.approx(0.001 + (1 - middle.share) * 0.1)


@pytest.mark.slow
def test_labels_that_both_learnt_from_are_paid_once(store: Store) -> None:
    first, second = pair_of(50)
    names = [
        write_run(store, run.truth, first.probabilities, run.answers, backend=name, train=trained_on(count))
        for run, name, count in ((first, "small", 100), (second, "large", 100), (second, "larger", 70))
    ]
    costs = [cascade_of(store, names[0], other, PRICED, predictions=1000, labelling=1.0).points[5].cost for other in names[1:]]
    base = cascade_of(store, names[0], names[1], PRICED, predictions=1000).points[5].cost
    assert None not in (*costs, base)
    assert costs[0] == pytest.approx(base + 100)  # type: ignore[operator]
    assert costs[1] == pytest.approx(base + 170)  # type: ignore[operator]


@pytest.mark.slow
def test_labels_that_chose_the_threshold_are_paid(store: Store) -> None:
    """400 validation rows at $0.50, shared among 10,000 predictions: $20 per 1,000 rows."""
    names = records(store, 2000, 0.65)
    free, paid = (cascade(store, names, predictions=10_000, labelling=usd).choice for usd in (0.0, 0.5))
    assert free is not None
    assert paid is not None
    assert (free.labels, paid.labels) == (free.tuned_on, paid.tuned_on)
    trained = cascade(store, names, predictions=10_000, labelling=0.5, threshold=free.point.threshold)
    assert trained.choice is not None
    assert trained.choice.labels == 0
    assert None not in (paid.point.cost, trained.choice.point.cost)
    assert paid.point.cost == pytest.approx(trained.choice.point.cost + paid.labels * 0.5 / 10)  # type: ignore[operator]
    words = f"the threshold took {paid.labels:,} labels of validation rows that no training used (their price is included)"
    assert words in sentence(cascade(store, names, labelling=0.5))


@pytest.mark.slow
def test_without_prices_there_is_time(store: Store) -> None:
    found = cascade(store, records(store), UNPRICED)
    assert {point.cost for point in found.points} == {None}
    assert "s per 1,000 rows" in sentence(found)


@pytest.mark.slow
def test_the_threshold_comes_from_validation_rows(store: Store) -> None:
    names = records(store)
    found = cascade(store, names)
    held_out = [read_predictions(store, names[f"{which} validation"]) for which in ("first", "second")]
    limit, value = tuned(held_out[0], held_out[1], "accuracy")
    assert found.choice is not None
    assert found.choice.point.threshold == limit
    assert (found.choice.tuned_on, found.choice.tuned_value) == (400, value)
    test = [read_predictions(store, names[f"{which} test"]) for which in ("first", "second")]
    both = combined(test[0], test[1], limit)
    assert found.choice.point.values["accuracy"].value == both.correct.mean()
    assert found.choice.p == max(mcnemar(run.correct, both.correct) for run in test)
    assert found.choice.to_first.value == pytest.approx(both.correct.mean() - test[0].correct.mean())
    assert f"at least {limit:.1%} (chosen on 400 validation rows)" in sentence(found)


def test_the_tuned_threshold_is_the_best_and_asks_the_second_least() -> None:
    first, second = pair_of(60, seed=4)
    limit, value = tuned(first, second, "accuracy")
    limits = [0.0, *np.unique(confidence(first)), math.inf]
    values = [combined(first, second, each).correct.mean() for each in limits]
    assert value == max(values)
    assert limit == limits[int(np.argmax(values))]
    same = columns(first.truth, first.answers)
    assert tuned(first, same, "accuracy")[0] == 0.0


@pytest.mark.slow
def test_where_lower_is_better_the_lowest_is_chosen(store: Store) -> None:
    found = cascade(store, records(store, kind=LabelKind.NOMINAL), metric="macro_f1")
    assert found.metric == "macro_f1"
    first, second = pair_of(80)
    kind = LabelSpace(LabelKind.ORDINAL, NAMES)
    ordinal = [
        Predictions(r.run_id, r.identity, kind, r.ids, r.truth, r.answers, r.answered, r.probabilities) for r in (first, second)
    ]
    limit, value = tuned(ordinal[0], ordinal[1], "mae")
    errors = [np.abs(combined(first, second, each).answers - first.truth).mean() for each in (0.0, math.inf)]
    assert value <= min(errors)
    assert 0 < limit < math.inf


@pytest.mark.slow
def test_a_better_cascade_is_called_so_and_only_that(store: Store) -> None:
    better = cascade(store, records(store, 2000, 0.65))
    assert better.choice is not None
    assert better.choice.better
    assert "it is better than both alone (p < 0.0001)" in sentence(better)
    assert "instead of $" in sentence(better)


@pytest.mark.slow
def test_a_second_one_that_is_worse_is_left_out(store: Store) -> None:
    found = cascade(store, records(store, second_right=0.05))
    assert found.choice is not None
    assert found.choice.point.threshold == 0
    assert not found.choice.better
    assert "no threshold has a better accuracy than small alone" in sentence(found)


@pytest.mark.slow
def test_ones_own_threshold(store: Store) -> None:
    found = cascade(store, records(store), threshold=0.6)
    assert found.choice is not None
    assert (found.choice.point.threshold, found.choice.tuned_on) == (0.6, None)
    assert found.choice.point in found.points
    assert "at least 60.0% (your own threshold)" in sentence(found)
    assert not found.commands


@pytest.mark.slow
def test_without_validation_runs_nothing_is_chosen(store: Store) -> None:
    names = records(store)
    shutil.rmtree(store.root / names["second validation"])
    found = cascade(store, names)
    assert found.choice is None
    assert [command.split()[3] for command in found.commands] == ["large"]
    assert "no threshold is chosen" in sentence(found)
    assert found.commands[0] in sentence(found)
    identity = store.record(names["second test"]).identity.model_copy(update={"version": 0})
    folder = store.root / names["second test"]
    unseal(folder, lambda manifest: manifest.update(identity=identity.as_json(), run_id=identity.run_id))
    names["second test"] = folder.rename(store.root / identity.run_id).name
    assert "then name its new id" in sentence(cascade(store, names))


@pytest.mark.slow
def test_the_cheapest_that_may_do_alone_is_named(store: Store) -> None:
    found = cascade(store, records(store), threshold=0.6)
    assert found.choice is not None
    dear, cheap = (replace(found.points[i], cost=cost) for i, cost in ((0, 0.5), (-1, 0.1)))
    same = replace(found.choice.to_first, p=0.9)
    point = replace(found.choice.point, cost=1.0)
    choice = replace(found.choice, point=point, to_first=same, to_second=same, better=False)
    for first, second, name in ((dear, cheap, "large"), (cheap, dear, "small")):
        said = sentence(replace(found, points=[first, *found.points[1:-1], second], choice=choice))
        assert said.endswith(f"; so {name} alone may be enough.")


@pytest.mark.slow
def test_all_time_at_the_price_of_one_machine(store: Store) -> None:
    names = records(store)
    assert cascade(store, names, UNPRICED).points[-1].cost is None
    mine = HardwarePrice.model_validate({"cpu": "other", "usd_per_core_hour": 7.2, "date": "2026-01-01", "source": "nowhere"})
    prices = Prices(PriceFile(hardware={"mine": mine}, models={}), FREE)
    assert cascade(store, names, prices, hardware="mine").points[-1].cost == pytest.approx(0.2)


def test_mistakes_are_told(store: Store) -> None:
    names = records(store, 40)
    with pytest.raises(UserError, match="Both runs are"):
        cascade_of(store, names["first test"], names["first test"], UNPRICED)
    with pytest.raises(UserError, match="no probabilities"):
        cascade_of(store, names["second test"], names["first test"], UNPRICED)
    with pytest.raises(UserError, match="differ in their split"):
        cascade_of(store, names["first test"], names["second validation"], UNPRICED)
    with pytest.raises(UserError, match="--metric mae") as error:
        cascade(store, names, metric="mae")
    assert "accuracy, macro_f1" in error.value.hint
