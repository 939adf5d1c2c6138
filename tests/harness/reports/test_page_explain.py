"""Words for all that the page shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from boards import entry, prompt, record, value

from harness.core.types import LabelKind
from harness.records.entries import Entry, read_entries
from harness.records.store import Store
from harness.reports.page.explain import COLUMNS, EMPTY_SET, INTERVALS, METRICS, MISS, UNREAD, explanations
from harness.statistics.metrics import LOWER_IS_BETTER

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


def with_metric(name: str, method: str | None = "wilson", kind: str = "ordinal") -> Entry:
    values = {"values": {"accuracy": value(0.5), name: {**value(0.5, 0.4, 0.6), "method": method}}}
    return entry("a", metrics=values, label_kind=kind)


def words(*entries: Entry) -> dict[str, str]:
    return explanations(entries)


def test_every_metric_that_a_run_can_have_is_explained(store: Store) -> None:
    truth = [0, 1, 2] * 4
    for kind in (LabelKind.ORDINAL, LabelKind.NOMINAL):
        record(store, "a", truth, truth, kind=kind, probabilities=lambda i: (0.2, 0.3, 0.5))
    sets = [(0,), (0, 1), (2,)] * 4
    record(store, "a", sets, sets, kind=LabelKind.MULTILABEL, probabilities=lambda i: (0.2, 0.3, 0.5))
    entries = read_entries(store)
    names = {name for found in entries for name in found.metrics["values"]}
    said = explanations(entries)
    assert names | {"binary_accuracy"} == set(METRICS) == set(UNREAD) >= LOWER_IS_BETTER
    for name in names:
        direction = "Lower is better." if name in LOWER_IS_BETTER else "Higher is better."
        assert said[name].startswith(f"{METRICS[name]} {direction} A row without an answer that could be read counts as ")
        assert said[name].endswith("No interval." if name == "ece" else "."), said[name]
        assert ("95% interval of the sampling of rows: " in said[name]) == (name != "ece")


def test_the_interval_is_the_one_of_the_records() -> None:
    assert words(with_metric("mae", "bc_bootstrap"))["mae"].endswith(f"rows: {INTERVALS['bc_bootstrap']}.")
    both = words(with_metric("mae", "bc_bootstrap"), with_metric("mae", "bootstrap"))["mae"]
    assert both.endswith(f"{INTERVALS['bc_bootstrap']}; {INTERVALS['bootstrap']}.")
    assert words(with_metric("mae", None))["mae"].endswith("No interval.")
    assert words(with_metric("mae", "one of tomorrow"))["mae"].endswith("of the sampling of rows: one of tomorrow.")


def test_a_metric_of_evaluate_says_what_is_not_known() -> None:
    said = words(with_metric("evaluate/{x}/y", None))["evaluate/{x}/y"]
    assert said.startswith("What {x}/y of Hugging Face evaluate returns")
    assert "does not know which direction is better" in said


@pytest.mark.parametrize(
    ("kinds", "counts"),
    [
        (["ordinal"], f"{MISS}."),
        (["multilabel"], f"{EMPTY_SET}."),
        (["nominal", "multilabel"], f"{MISS}, or with several labels a row as {EMPTY_SET}."),
    ],
)
def test_an_unread_row_counts_by_the_kind_of_labels(kinds: Sequence[str], counts: str) -> None:
    said = words(*(with_metric("macro_f1", kind=kind) for kind in kinds))["macro_f1"]
    assert f"could be read counts as {counts}" in said


def test_the_methods_are_those_of_the_docs() -> None:
    about = DOCS.read_text(encoding="utf-8").partition("**Which label.**")[0]
    assert set(re.findall(r"\(`(\w+)`\)", about)) == set(INTERVALS)


def test_every_column_of_a_place_is_explained(store: Store) -> None:
    from harness.reports.page.data import payload
    from harness.reports.tables import read_tables
    from harness.specs.prices import load_prices

    record(store, "a", [0, 1], [0, 1], prompt=prompt())
    found = payload(store, store.root.parent, read_tables(store, read_entries(store)), load_prices(store.root))
    (place,), (run,) = found["tables"][0]["places"], found["runs"].values()
    inside = {"tied", "runs", "values", "by_seed", "busy", "finding_short"} | {"cost_parts", "cost_basis", "p95_basis"}
    assert set(place) - inside <= set(COLUMNS)
    parts = {"record", "mistakes", "mistakes_left_out", "evaluations_of", "best_step"}
    assert set(run) - parts <= set(COLUMNS)
    assert {"spreads", "matrices", "curves", "reported", "task", "split", "lang", "rows", "few"} <= set(COLUMNS)
    assert found["explain"].items() >= COLUMNS.items()


def test_the_words_of_a_column_say_which_way_is_better() -> None:
    for name in ("rate", "cost", "p50_ms", "p95_ms", "unparsed", "failed", "precision", "recall", "f1", "loss"):
        assert re.search(r"(Lower|Higher) is better", COLUMNS[name]), name
