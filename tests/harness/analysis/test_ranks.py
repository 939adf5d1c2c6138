"""Ranks: rows that can't be told apart from the best share its rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import boards
import numpy as np
import pytest
from boards import entry, prompt, record, value
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.ranks import (
    Configuration,
    RankedEntry,
    exact_p,
    fold_seeds,
    metric_test,
    ranked,
    read_correct,
    share_test,
)
from harness.core.errors import RunError
from harness.core.types import LabelKind
from harness.records.entries import Entry, read_entries
from harness.records.store import Store
from harness.statistics.paired import holm, mcnemar


def ranks(places: Sequence[RankedEntry]) -> list[tuple[str, int, bool]]:
    return [(place.row.entry.backend, place.rank, place.tied) for place in places]


def always(p: float) -> Any:
    return lambda best, others: [p] * len(others)


def rows(**values: float | None) -> list[Configuration]:
    return fold_seeds([entry(name, value) for name, value in values.items()])


def test_ranks_are_counted_as_in_sports() -> None:
    def test(best: Entry, others: Sequence[Entry]) -> list[float]:
        first, *rest = (e.record.metrics.values["accuracy"].value or 0 for e in (best, *others))
        return [1.0 if first - value < 0.15 else 0.0 for value in rest]

    found = ranked(rows(a=0.8, b=0.75, c=0.7, d=0.6, e=0.5, f=0.3), test)
    assert ranks(found) == [("a", 1, True), ("b", 1, True), ("c", 1, True), ("d", 4, True), ("e", 4, True), ("f", 6, False)]


def test_nothing_apart_is_one_rank_and_all_apart_is_a_list() -> None:
    made = rows(a=0.8, b=0.7, c=0.6)
    assert ranks(ranked(made, always(1.0))) == [("a", 1, True), ("b", 1, True), ("c", 1, True)]
    assert ranks(ranked(made, always(0.0))) == [("a", 1, False), ("b", 2, False), ("c", 3, False)]
    assert ranked([], always(1.0)) == []


def test_the_level_is_five_percent_after_holm() -> None:
    made = rows(a=0.8, b=0.7, c=0.6)
    at = {"b": 0.026, "c": 0.0}
    p = lambda best, others: [at[e.backend] for e in others]  # noqa: E731
    assert [rank for _, rank, _ in ranks(ranked(made, p))] == [1, 2, 3]
    at["c"] = 0.03  # each alone is below 5%, the two together are not
    assert [rank for _, rank, _ in ranks(ranked(made, p))] == [1, 1, 1]
    assert holm([0.026, 0.03]) == [0.052, 0.052]


def test_a_better_row_that_errs_on_the_same_rows_may_rank_lower() -> None:
    n = 400
    best = np.arange(n) < 240
    nested = np.arange(n) < 225  # wrong wherever the best is, and on 15 rows more
    other = np.roll(best, 60)
    other[np.flatnonzero(other)[:20]] = False
    correct = {"run.best": best, "run.nested": nested, "run.other": other}
    made = fold_seeds([entry(name[4:], float(hits.mean())) for name, hits in correct.items()])
    assert [row.entry.backend for row in made] == ["best", "nested", "other"]
    assert ranks(ranked(made, share_test(correct))) == [("best", 1, True), ("other", 1, True), ("nested", 3, False)]


def test_rows_without_a_value_share_the_last_rank() -> None:
    found = ranked(rows(a=0.5, b=None, c=None), always(1.0))
    assert ranks(found) == [("a", 1, False), ("b", 2, True), ("c", 2, True)]


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


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_exact_p_is_mcnemars(pairs: list[tuple[bool, bool]]) -> None:
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    found = exact_p(np.array([(a & ~b).sum()]), np.array([(b & ~a).sum()]))
    assert found[0] == pytest.approx(mcnemar(a, b), rel=1e-12)


def test_correct_rows_are_read_in_one_order(store: Store) -> None:
    truth, answers = [0, 1, 2, 0], [0, 2, 2, None]  # null is stored like 0, and is no answer
    first = record(store, "a", answers, truth)
    path = store.root / first / "predictions.jsonl"
    turned = record(store, "b", answers, truth)
    lines = path.read_text().splitlines(keepends=True)
    (store.root / turned / "predictions.jsonl").write_text("".join(lines[::-1]))
    found = read_correct(store, read_entries(store))
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


def test_other_metrics_have_the_permutation_test(store: Store) -> None:
    rng = np.random.default_rng(0)
    truth = [(int(i),) for i in rng.integers(0, 3, 120)]
    wrong = [(int((t[0] + 1) % 3),) for t in truth]
    good = [t if rng.random() < 0.8 else w for t, w in zip(truth, wrong, strict=True)]
    same = [t if rng.random() < 0.8 else w for t, w in zip(truth, wrong, strict=True)]
    bad = [t if rng.random() < 0.4 else w for t, w in zip(truth, wrong, strict=True)]
    for name, answers in (("good", good), ("same", same), ("bad", bad)):
        record(store, name, answers, truth, kind=LabelKind.MULTILABEL)
    found = ranked(fold_seeds(read_entries(store)), metric_test(store, "micro_f1"))
    assert {(name, rank) for name, rank, _ in ranks(found)} == {("good", 1), ("same", 1), ("bad", 3)}
