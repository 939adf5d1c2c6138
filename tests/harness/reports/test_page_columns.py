"""Every column and term of the page: declared once, explained, and there in the payload."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from boards import entry, record, value

from harness.core.types import LabelKind
from harness.records.entries import Entry, read_entries
from harness.records.store import Store
from harness.reports.page.columns import columns_of, declared, uses_of
from harness.reports.page.model import Board, Column, Place
from harness.statistics.metrics import LOWER_IS_BETTER

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


def with_metric(name: str, method: str | None = "wilson", kind: str = "ordinal") -> Entry:
    values = {"values": {"accuracy": value(0.5), name: {**value(0.5, 0.4, 0.6), "method": method}}}
    return entry("a", metrics=values, label_kind=kind)


def column(name: str, *entries: Entry) -> Column:
    return next(found for found in columns_of(uses_of(entries), []) if found.key == name)


def test_every_metric_that_a_run_can_have_is_explained(store: Store) -> None:
    truth = [0, 1, 2] * 4
    for kind in (LabelKind.ORDINAL, LabelKind.NOMINAL):
        record(store, "a", truth, truth, kind=kind, probabilities=lambda i: (0.2, 0.3, 0.5))
    sets = [(0,), (0, 1), (2,)] * 4
    record(store, "a", sets, sets, kind=LabelKind.MULTILABEL, probabilities=lambda i: (0.2, 0.3, 0.5))
    entries = read_entries(store)
    names = {name for found in entries for name in found.record.metrics.values}
    metrics = declared().metrics
    assert names | {"binary_accuracy", "qwk_parsed"} == set(metrics) >= LOWER_IS_BETTER
    for name in names:
        found = column(name, *entries)
        assert found.better == ("lower" if name in LOWER_IS_BETTER else "higher")
        assert found.explain.startswith(metrics[name].explain)
        assert metrics[name].unparsed in found.explain
        assert found.explain.endswith("No interval.") == (name == "ece")


def test_the_interval_is_the_one_of_the_records() -> None:
    intervals = declared().intervals
    assert column("mae", with_metric("mae", "bc_bootstrap")).explain.endswith(f": {intervals['bc_bootstrap']}.")
    both = column("mae", with_metric("mae", "bc_bootstrap"), with_metric("mae", "bootstrap")).explain
    assert both.endswith(f"{intervals['bc_bootstrap']}; {intervals['bootstrap']}.")
    grouped = column("mae", with_metric("mae", "cluster_bc_bootstrap")).explain
    assert grouped.endswith(f": {intervals['bc_bootstrap']}, by group of rows.")
    assert column("mae", with_metric("mae", None)).explain.endswith("No interval.")
    assert column("mae", with_metric("mae", "one of tomorrow")).explain.endswith(": one of tomorrow.")


def test_a_metric_of_evaluate_says_what_is_not_known() -> None:
    found = column("evaluate/{x}/y", with_metric("evaluate/{x}/y", None))
    assert found.explain.startswith("What {x}/y of Hugging Face evaluate returns")
    assert (found.better, found.title) == (None, "evaluate/{x}/y")


@pytest.mark.parametrize(
    ("kinds", "counted"),
    [(["ordinal"], [True, False]), (["multilabel"], [False, True]), (["nominal", "multilabel"], [True, True])],
)
def test_an_unparsed_row_counts_by_the_kind_of_labels(kinds: Sequence[str], counted: Sequence[bool]) -> None:
    term = declared().metrics["macro_f1"]
    explain = column("macro_f1", *(with_metric("macro_f1", kind=kind) for kind in kinds)).explain
    assert [term.unparsed in explain, str(term.unparsed_multilabel) in explain] == counted


def test_the_methods_are_those_of_the_docs() -> None:
    about = DOCS.read_text(encoding="utf-8").partition("**Which label.**")[0]
    assert set(re.findall(r"\(`(\w+)`\)", about)) == set(declared().intervals)


def test_a_column_is_a_field_of_an_entry_or_of_its_table() -> None:
    fields = {*Place.model_fields, *Board.model_fields, "model"}
    columns = [*declared().before, *declared().after]
    assert [found.key for found in columns if found.key not in fields] == []
    keys = [term.key for term in [*columns, *declared().terms]]
    assert len(keys) == len(set(keys))


def test_a_column_of_figures_says_which_way_is_better() -> None:
    terms = {term.key: term.explain for term in [*declared().after, *declared().terms]}
    for name in ("rate", "cost", "p95_ms", "unparsed", "failed", "precision", "recall", "f1"):
        assert re.search(r"(Lower|Higher) is better", terms[name]), name
