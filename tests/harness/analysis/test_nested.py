"""Runs on more rows, scored on those that a smaller run has too: which rows are chosen, and with what figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards import prompt, record

from harness.analysis.row_sets import RowSet, most_informative, row_sets
from harness.core.types import LabelKind
from harness.records.entries import Entry, read_entries
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.reports.page.data import payload
from harness.reports.tables import columns, lines_of, read_tables
from harness.specs.prices import load_prices
from harness.statistics.contrast import value_of

TRUTH = [i % 3 for i in range(600)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def answers(n: int, every: int) -> list[int]:
    """Each `every`-th one is wrong."""
    return [(label + 1) % 3 if i % every == 0 else label for i, label in enumerate(TRUTH[:n])]


def ran(store: Store, backend: str, n: int, every: int = 3, *, asked: bool = False, **identity: Any) -> str:
    given = {**identity, **({"prompt": prompt()} if asked else {})}
    return record(store, backend, answers(n, every), TRUTH[:n], manifest={"limit": n}, **given)


def chosen(store: Store) -> RowSet:
    return most_informative(store, [rows for rows in row_sets(read_entries(store)) if not rows.outdated])


def names(entries: Sequence[Entry]) -> dict[str, int | None]:
    return {entry.backend: entry.tested_on for entry in entries}


def test_a_slow_language_model_on_fewer_rows_is_compared_on_these(store: Store) -> None:
    encoder = ran(store, "encoder", 600, 5)
    record(store, "majority", [0] * 600, TRUTH)
    ran(store, "llm", 200, 4, asked=True)
    found = chosen(store)
    assert (found.n, names(found.entries)) == (200, {"llm": None, "encoder": 600, "majority": 600})
    entry = next(entry for entry in found.entries if entry.backend == "encoder")
    whole = read_predictions(store, encoder)
    ids = set(read_predictions(store, found.entries[0].run_id).ids)
    part = whole.take(np.flatnonzero([row in ids for row in whole.ids]).astype(np.int64))
    assert len(part) == 200
    for metric in ("accuracy", "macro_f1", "qwk", "mae"):
        assert entry.record.metrics.values[metric].value == pytest.approx(value_of(metric, part).value)
    assert entry.record.metrics.values["macro_f1"].low is not None
    assert entry.group == found.group


def test_what_majority_has_in_plenty_does_not_count(store: Store) -> None:
    """The set of most backends was that of a constant and one encoder, not that with the language model."""
    for backend in ("majority", "collapsed"):
        record(store, backend, [0] * 600, TRUTH)
    ran(store, "encoder", 600)
    ran(store, "encoder", 150)
    ran(store, "llm", 150, asked=True)
    assert chosen(store).n == 150


@pytest.mark.slow
def test_of_equal_kinds_most_models_and_then_most_rows(store: Store) -> None:
    ran(store, "one", 600)
    ran(store, "two", 600)
    ran(store, "one", 300)
    assert names(chosen(store).entries) == {"one": None, "two": None}
    assert chosen(store).n == 600
    ran(store, "three", 300)
    assert (chosen(store).n, names(chosen(store).entries)) == (300, {"one": None, "three": None, "two": 600})


def test_a_trial_on_few_rows_takes_nothing_away(store: Store) -> None:
    """Neither a third model of the same kind on 50 rows, nor a language model that is not shown to be better than chance."""
    ran(store, "one", 600)
    ran(store, "three", 50)
    assert chosen(store).n == 600
    record(store, "llm", [0, 1, 2, 1, 0], TRUTH[:5], prompt=prompt())
    assert chosen(store).n == 600


def test_the_same_run_on_both_sets_counts_once(store: Store) -> None:
    ran(store, "encoder", 600)
    small = ran(store, "encoder", 200)
    ran(store, "llm", 200, asked=True)
    assert [entry.run_id for entry in chosen(store).entries if entry.backend == "encoder"] == [small]


def test_rows_that_are_not_nested_and_other_labels_are_not_mixed(store: Store) -> None:
    ran(store, "encoder", 600)
    record(store, "llm", answers(200, 3), TRUTH[:200], prompt=prompt(), ids=[f"other-{i}" for i in range(200)])
    assert len(chosen(store).entries) == 1


def test_sets_of_labels(store: Store) -> None:
    truth = [(i % 3,) if i % 4 else () for i in range(300)]
    given = [((i + (i % 5 == 0)) % 3,) if i % 4 else () for i in range(300)]
    record(store, "encoder", given, truth, kind=LabelKind.MULTILABEL)
    record(store, "llm", given[:150], truth[:150], kind=LabelKind.MULTILABEL, prompt=prompt())
    found = chosen(store)
    one, other = (entry.record.metrics.values for entry in found.entries)
    assert found.n == 150
    assert {metric: one[metric] for metric in one} == {metric: other[metric] for metric in other}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LabelKind.ORDINAL, LabelKind.MULTILABEL])
def test_the_board_has_them_in_one_table_and_the_larger_one_stays(store: Store, kind: LabelKind) -> None:
    def labels(values: Sequence[int]) -> list[Any]:
        return [(value,) for value in values] if kind is LabelKind.MULTILABEL else list(values)

    record(store, "encoder", labels(answers(600, 9)), labels(TRUTH), kind=kind)
    record(store, "other", labels(answers(600, 2)), labels(TRUTH), kind=kind)
    record(store, "llm", labels(answers(200, 4)), labels(TRUTH[:200]), kind=kind, prompt=prompt())
    large, small = read_tables(store, read_entries(store))
    assert (large.main, small.main) == (False, True)
    assert [place.row.entry.backend for place in large.places] == ["encoder", "other"]
    assert [(p.rank, p.row.entry.backend, p.row.entry.tested_on) for p in small.places] == [
        (1, "encoder", 600),
        (2, "llm", None),
        (3, "other", 600),
    ]
    titles = columns(small)
    assert [line[titles.index("of")] for line in lines_of(titles, small.places)] == ["600 rows", "–", "600 rows"]
    assert "of" not in columns(large)
    shown = payload(store, store.root.parent, [large, small], load_prices(store.root))
    keys = [place.run for table in shown.tables for place in table.places]
    assert len(set(keys)) == 5
    assert set(keys) == set(shown.runs)
    if kind is LabelKind.ORDINAL:
        sizes = {place.run: table.n for table in shown.tables for place in table.places}
        assert {key: len(run.answers or "") for key, run in shown.runs.items()} == sizes
        assert {key: sum(map(sum, run.confusion or [])) for key, run in shown.runs.items()} == sizes
