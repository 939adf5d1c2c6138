"""Tested rows whose text or group a model learned from: the board, a comparison and a run say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boards
import pytest
from boards import record

from harness.analysis.compare import compare
from harness.records.entries import LEAK, leak_line, read_entries, read_entry
from harness.records.store import Store
from harness.reports.tables import columns, lines_of, read_tables

TRUTH = [0, 1, 2] * 20
CLEAN, TWINS, GROUPS = ({"threshold": 0.8, "exact": exact, "near": 0, **more, "by": {}} for exact, more in
                        ((0, {}), (7, {}), (0, {"groups": 1234})))  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def made(store: Store, backend: str, overlap: dict[str, Any] | None, **identity: Any) -> str:
    return record(store, backend, TRUTH, TRUTH, manifest={"overlap": overlap}, **identity)


@pytest.mark.parametrize(("overlap", "said"), [(None, ""), (CLEAN, ""), (TWINS, "7 the same text"), (GROUPS, "1,234 the same")])
def test_a_run_says_how_many_rows_leak(store: Store, overlap: dict[str, Any] | None, said: str) -> None:
    entry = read_entry(store, made(store, "a", overlap))
    line = leak_line([entry.record])
    assert (line is None) == (not said)
    assert said in (line or "")


def test_the_board_marks_the_runs_and_says_the_most_rows(store: Store) -> None:
    made(store, "clean", CLEAN)
    made(store, "twins", TWINS)
    made(store, "groups", GROUPS)
    (table,) = read_tables(store, read_entries(store))
    rows = {line[1]: line[2] for line in lines_of(columns(table), table.places)}
    assert {name: LEAK in how for name, how in rows.items()} == {"clean": False, "twins": True, "groups": True}
    (line,) = table.warnings
    assert line.startswith(LEAK)
    assert "7" in line
    assert "1,234" in line
    board = boards.board_text([table]).split("## How to read")[0]
    assert board.count(f"&nbsp;{LEAK}") == 2, "in the cells of the table of languages"


def test_one_seed_that_leaks_is_enough(store: Store) -> None:
    made(store, "a", CLEAN, seed=0)
    made(store, "a", TWINS, seed=1)
    (table,) = read_tables(store, read_entries(store))
    assert LEAK in lines_of(columns(table), table.places)[0][2]


def test_what_reads_no_text_leaks_nothing(store: Store) -> None:
    backend = {"name": "majority", "engine": "baseline", "options": {"classifier": "majority"}}
    entry = read_entry(store, record(store, backend, TRUTH, TRUTH, manifest={"overlap": TWINS}))
    assert entry.is_blind
    assert leak_line([entry.record]) is None


def test_a_comparison_says_it(store: Store) -> None:
    names = [made(store, "clean", CLEAN), made(store, "twins", TWINS)]
    assert [note for note in compare(store, names).notes if LEAK in note and note.startswith("twins")]
