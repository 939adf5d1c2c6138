"""The parts of the leaderboard that are kept: the same leaderboard with and without them, and no part made twice."""

from __future__ import annotations

import shutil

import pytest
from boards import SCORE, record

from harness.records import index as index_module
from harness.records.index import FOLDER, read_index
from harness.records.latency import LatencyRecord, write_latency
from harness.records.store import Store
from harness.reports.page.budget import WHOLE, budgets
from harness.reports.page.html import data_pieces
from harness.reports.parts import Board
from harness.specs.prices import load_prices

TRUTH = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0] * 6
GOOD = [0, 1, 2, 0, 1, 2, 0, 1, 0, None] * 6
BAD = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1] * 6
TASKS = ("first", "second", "third")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no record had been written just now."""
    monkeypatch.setattr(index_module, "SETTLED_SECONDS", -1e9)


@pytest.fixture(autouse=True)
def runs(store: Store) -> list[str]:
    found = []
    for task in TASKS:
        found += [record(store, "a", GOOD, TRUTH, task=task), record(store, "b", BAD, TRUTH, task=task)]
        for lang in ("en", "ja"):
            found += [record(store, "llm", GOOD, TRUTH, prompt={**SCORE, "name": name}, task=task, lang=lang) for name in "pq"]
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks whose parts are made."""
    found: list[str] = []
    known = Board._make

    def making(board: Board, unit: tuple[str, str]) -> object:
        found.append(unit[0])
        return known(board, unit)

    monkeypatch.setattr(Board, "_make", making)
    return found


def board(store: Store) -> Board:
    return Board(store, store.root.parent, load_prices(store.root.parent), (), "", read_index(store))


def whole(found: Board) -> list[object]:
    """All that a leaderboard consists of."""
    parts = [part.model_dump() for part in found.parts]
    return [found.texts, "".join(data_pieces(found.page, found.fragments)), parts, list(found.entries())]


def assert_as_without(store: Store) -> None:
    """With what is kept, then with nothing kept, in a copy: what is kept stays."""
    kept = whole(board(store))
    folder = store.root.parents[1] / "copy"
    shutil.copytree(store.root.parent, folder, ignore=shutil.ignore_patterns(FOLDER))
    assert whole(board(Store(folder / "runs"))) == kept
    shutil.rmtree(folder)


def test_a_part_is_made_again_where_something_changed(store: Store, runs: list[str], made: list[str]) -> None:
    first = whole(board(store))
    assert made == list(TASKS)
    made.clear()
    assert whole(board(store)) == first
    assert made == []
    record(store, "c", TRUTH, TRUTH, task="second")
    changed = whole(board(store))
    assert made == ["second"]
    assert changed[0] != first[0]
    made.clear()
    shutil.rmtree(store.root / runs[0])
    whole(board(store))
    assert made == ["first"]


def test_it_is_the_same_with_and_without_what_is_kept(store: Store, runs: list[str]) -> None:
    assert_as_without(store)
    record(store, "c", TRUTH, TRUTH, task="second")
    assert_as_without(store)
    shutil.rmtree(store.root / runs[0])
    assert_as_without(store)
    record(store, {"name": "a", "engine": "toy", "model": "m"}, TRUTH, TRUTH, task="fourth")
    assert_as_without(store)  # the backend has several models now, and is named by them in other tasks, too


def test_latencies_and_prices_count(store: Store, runs: list[str], made: list[str]) -> None:
    whole(board(store))
    made.clear()
    identity = {**store.record(runs[0]).identity.as_json(), "latency_key": "x"}
    entry = {
        "identity": identity,
        "machine": {"cores": 2},
        "threads": 1,
        "settings": {},
        "n": 9,
        "p50_ms": 1.5,
        "rows_per_second": 9.0,
    }
    speed = {"finished": "2026-01-01T00:00:00+00:00", "p95_ms": 2.5, "versions": {}, **entry}
    write_latency(store.root.parent, runs[0], LatencyRecord.model_validate(speed))
    whole(board(store))
    assert made == ["first"]
    made.clear()
    price = 'hardware: {desk: {cpu: "9000", usd_per_core_hour: 0.05, date: 2026-01-02, source: my invoice}}\n'
    (store.root.parent / "prices.yaml").write_text(price)
    whole(board(store))
    assert made == list(TASKS)


def test_a_damaged_part_is_made_again(store: Store, made: list[str], caplog: pytest.LogCaptureFixture) -> None:
    first = whole(board(store))
    for path in (store.root / FOLDER / "board").glob("*.gz"):
        path.write_bytes(path.read_bytes()[:-9])
    made.clear()
    assert whole(board(store)) == first
    assert made == list(TASKS)
    assert "damaged" in caplog.text


def test_a_record_of_this_moment_keeps_nothing(store: Store, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "SETTLED_SECONDS", 1e9)
    for _ in range(2):
        made.clear()
        assert len(board(store).parts) == len(made) == len(TASKS)


def test_parts_of_tasks_without_runs_are_deleted(store: Store, runs: list[str]) -> None:
    whole(board(store))
    kept = store.root / FOLDER / "board"
    assert len(list(kept.glob("*.gz"))) == 2 * len(TASKS)
    for name in store.ids():
        if name.startswith("first."):
            shutil.rmtree(store.root / name)
    found = board(store)
    whole(found)
    found.forget_others()
    assert len(list(kept.glob("*.gz"))) == 2 * (len(TASKS) - 1)


def test_what_fits_is_not_divided(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_index(store).rows
    assert set(budgets(rows).values()) == {WHOLE}
    monkeypatch.setattr("harness.reports.page.budget.WHOLE", type(WHOLE)(answers=600, ids=300, pairs=4, evaluations=1))
    found = budgets(rows)
    assert {(one.answers, one.ids, one.pairs, one.evaluations) for one in found.values()} == {(150, 75, 1, 1)}
    assert sum(one.answers for one in found.values()) <= 600
