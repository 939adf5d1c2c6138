"""Ranks: entries that are not significantly different from the best share its rank."""

from __future__ import annotations

from collections.abc import Sequence

import boards
import numpy as np
import pytest
from boards import entry, prompt, record, value
from scipy.stats import t

from harness.analysis.ranks import (
    Configuration,
    Hits,
    RankedEntry,
    better_of,
    fold_seeds,
    metric_family,
    ranked,
    read_correct,
    share_family,
)
from harness.core.arrays import BoolArray
from harness.core.errors import RunError
from harness.core.types import LabelKind
from harness.records.entries import read_entries
from harness.records.store import Store
from harness.statistics.contrast import share_differences


def ranks(places: Sequence[RankedEntry]) -> list[tuple[str, int, bool]]:
    return [(place.row.entry.backend, place.rank, place.tied) for place in places]


def rows(**values: float | None) -> list[Configuration]:
    return fold_seeds([entry(name, value) for name, value in values.items()])


def better(rows: Sequence[Configuration], *pairs: str) -> BoolArray:
    """`ab`: a is significantly better than b."""
    names = [row.entry.backend for row in rows]
    found = np.zeros((len(rows), len(rows)), dtype=bool)
    for one, other in pairs:
        found[names.index(one), names.index(other)] = True
    return found


def test_a_rank_is_one_more_than_the_number_that_is_better() -> None:
    made = rows(a=0.8, b=0.75, c=0.7, d=0.6)
    found = ranked(made, better(made, "ac", "ad", "bd"))
    assert ranks(found) == [("a", 1, True), ("b", 1, True), ("c", 2, False), ("d", 3, False)]
    assert [place.behind for place in found] == [False, False, True, True]


def test_nothing_apart_is_one_rank_and_all_apart_is_a_list() -> None:
    made = rows(a=0.8, b=0.7, c=0.6)
    assert ranks(ranked(made, better(made))) == [("a", 1, True), ("b", 1, True), ("c", 1, True)]
    assert ranks(ranked(made, better(made, "ab", "ac", "bc"))) == [("a", 1, False), ("b", 2, False), ("c", 3, False)]
    assert ranked([], np.zeros((0, 0), dtype=bool)) == []


def test_a_higher_value_may_have_a_lower_rank() -> None:
    n = 400
    best = np.arange(n) < 240
    nested = np.arange(n) < 222  # wrong wherever the best is, and on 18 rows more
    other = np.roll(best, 60)
    other[np.flatnonzero(other)[:20]] = False
    correct = {"run.best": best, "run.nested": nested, "run.other": other}
    made = fold_seeds([entry(name[4:], float(hits.mean())) for name, hits in correct.items()])
    assert [row.entry.backend for row in made] == ["best", "nested", "other"]
    family = share_family(made, Hits(correct, {made[0].entry.group[3]: None}))
    found = ranked(made, better_of(family, 3, "accuracy"))
    assert ranks(found) == [("best", 1, True), ("other", 1, True), ("nested", 2, False)]


def test_of_errors_the_smaller_one_is_better() -> None:
    family = share_differences([[np.arange(100) < 90], [np.arange(100) < 20]])
    assert better_of(family, 2, "accuracy").tolist() == [[False, True], [False, False]]
    assert better_of(family, 2, "mae").tolist() == [[False, False], [True, False]]


def test_rows_without_a_value_share_the_last_rank() -> None:
    made = rows(a=0.5, b=None, c=None)
    assert ranks(ranked(made, better(made))) == [("a", 1, False), ("b", 2, True), ("c", 2, True)]


def test_the_value_of_seeds_is_their_mean_with_an_interval_for_both() -> None:
    runs = [
        boards.renamed(entry("a", seed=s, metrics={"values": {"accuracy": value(v, v - 0.04, v + 0.04)}}), f"run.{s}")
        for s, v in enumerate((0.5, 0.6, 0.7))
    ]
    (row,) = fold_seeds(runs)
    found = row.estimate("accuracy")
    assert found.value == pytest.approx(0.6)
    error = np.hypot(0.04 / 1.96, 0.1 / np.sqrt(3))
    freedom = error**4 / ((0.01 / 3) ** 2 / 2)
    assert found.high == pytest.approx(0.6 + t.isf(0.025, freedom) * error, abs=1e-4)
    assert fold_seeds(runs[:1])[0].estimate("accuracy").high == pytest.approx(0.54)
    assert row.estimate("nothing").value is None
    assert (row.is_single, fold_seeds(runs[:1])[0].is_single) == (False, True)


def test_a_model_that_no_seed_changes_is_not_marked() -> None:
    prompted = fold_seeds([entry("llm", train=None, prompt=prompt(), backend={"name": "llm"})])
    shown = fold_seeds([entry("llm", train=None, prompt=prompt(shots=["a"]), backend={"name": "llm"})])
    assert (prompted[0].is_single, shown[0].is_single) == (False, True)


def test_seeds_share_a_row_and_the_middle_one_stands_for_them() -> None:
    runs = [entry("a", v, seed=s) for s, v in enumerate((0.5, 0.9, 0.7))]
    runs = [boards.renamed(e, f"run.{e.seed}") for e in runs]
    (row,) = fold_seeds(runs)
    assert row.entry.run_id == "run.2"
    assert row.seeds == [0, 1, 2]
    assert row.spread("accuracy") == (0.5, 0.7, 0.9)
    assert row.share("unparsed") == pytest.approx(0.1)
    (even,) = fold_seeds(runs[:2])
    assert even.entry.run_id == "run.0"  # the worse of the two in the middle
    assert even.spread("accuracy") == (0.5, 0.5, 0.9)
    (single,) = fold_seeds(runs[:1])
    assert single.spread("accuracy") is None
    assert even.spread("nothing") is None


def test_another_metric_has_a_middle_of_its_own() -> None:
    runs = []
    for seed, (accuracy, error) in enumerate(((0.9, 0.1), (0.8, 0.9), (0.7, 0.5))):
        values = {"accuracy": value(accuracy), "mae": value(error)}
        made = entry("a", seed=seed, metrics={"values": values})
        runs.append(boards.renamed(made, f"run.{seed}"))
    (row,) = fold_seeds(runs)
    assert row.spread("accuracy") == (0.7, 0.8, 0.9)
    assert row.spread("mae") == (0.1, 0.5, 0.9)


def test_where_lower_is_better_the_middle_is_the_same() -> None:
    runs = []
    for seed, error in enumerate((1.0, 0.2, 0.5, 0.4)):
        metrics = {"headline": ["mae"], "values": {"mae": {"value": error, "low": None, "high": None}}}
        made = entry("a", seed=seed, metrics=metrics)
        runs.append(boards.renamed(made, f"run.{seed}"))
    (row,) = fold_seeds(runs)
    assert [run.run_id for run in row.runs] == ["run.1", "run.3", "run.2", "run.0"]
    assert row.entry.run_id == "run.2"
    assert row.spread("mae") == (0.2, 0.5, 1.0)


def test_one_seed_twice_is_no_configuration_of_seeds() -> None:
    shown = [entry(name, 0.5, train=None, prompt=prompt(shots=[name]), backend={"name": "llm"}) for name in "ab"]
    assert shown[0].configuration == shown[1].configuration
    assert len(fold_seeds(shown)) == 2


def test_correct_rows_are_read_in_one_order(store: Store) -> None:
    truth, answers = [0, 1, 2, 0], [0, 2, 2, None]  # null is stored like 0, and is no answer
    first = record(store, "a", answers, truth)
    path = store.root / first / "predictions.jsonl"
    turned = record(store, "b", answers, truth)
    lines = path.read_text().splitlines(keepends=True)
    (store.root / turned / "predictions.jsonl").write_text("".join(lines[::-1]))
    found = read_correct(store, read_entries(store)).correct
    for name in (first, turned):
        assert found[name].tolist() == [True, False, True, False]


def test_a_record_with_other_rows_is_named(store: Store) -> None:
    record(store, "a", [0, 1], [0, 1])
    other = record(store, "b", [0, 1], [0, 1], ids=["row-0", "row-9"])
    short = record(store, "c", [0, 1], [0, 1])
    entries = {entry.run_id: entry for entry in read_entries(store)}
    path = store.root / short / "predictions.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    for name in (other, short):
        first = next(e for e in entries.values() if e.backend == "a")
        with pytest.raises(RunError, match=name):
            read_correct(store, [first, entries[name]])


def test_other_metrics_are_compared_too(store: Store) -> None:
    rng = np.random.default_rng(0)
    truth = [(int(i),) for i in rng.integers(0, 3, 120)]
    wrong = [(int((t[0] + 1) % 3),) for t in truth]
    good = [t if rng.random() < 0.8 else w for t, w in zip(truth, wrong, strict=True)]
    same = [t if rng.random() < 0.8 else w for t, w in zip(truth, wrong, strict=True)]
    bad = [t if rng.random() < 0.4 else w for t, w in zip(truth, wrong, strict=True)]
    for name, answers in (("good", good), ("same", same), ("bad", bad)):
        record(store, name, answers, truth, kind=LabelKind.MULTILABEL)
    made = fold_seeds(read_entries(store))
    found = ranked(made, better_of(metric_family(store, made, "micro_f1"), 3, "micro_f1"))
    assert {(name, rank) for name, rank, _ in ranks(found)} == {("good", 1), ("same", 1), ("bad", 3)}
