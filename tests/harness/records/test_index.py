"""The index of runs: the same as the records, whatever happened to them or to it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from boards import record, write_json

from harness.core.record import Metrics
from harness.records import index as index_module
from harness.records.entries import Entry, read_records
from harness.records.index import FILE, FOLDER, RunIndex, read_index
from harness.records.store import MANIFEST, PREDICTIONS, Store

TRUTH = [0, 1, 2, 0, 1, 2]
RESULTS = Path(__file__).parents[3] / "results" / "runs"


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no record had been written just now."""
    monkeypatch.setattr(index_module, "SETTLED_SECONDS", -1e9)


@pytest.fixture
def names(store: Store) -> list[str]:
    answers = ([0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, None], [0, 0, 0, 0, 0, 0])
    return sorted(record(store, f"model-{number}", given, TRUTH) for number, given in enumerate(answers))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the records that are read."""
    found: list[str] = []
    known = index_module.read_entry

    def reading(store: Store, name: str) -> Entry:
        found.append(name)
        return known(store, name)

    monkeypatch.setattr(index_module, "read_entry", reading)
    return found


def assert_as_records(store: Store) -> RunIndex:
    index, (entries, damaged) = read_index(store), read_records(store)
    assert index.entries() == entries
    assert [row.run for row in index.rows] == [entry.run_id for entry in entries]
    assert [str(error) for error in index.damaged] == [str(error) for error in damaged]
    for row, entry in zip(index.rows, entries, strict=True):
        metric = entry.record.metrics.headline[0]
        estimate = entry.record.metrics.values[metric]
        assert (row.metric, row.value, row.low, row.high) == (metric, estimate.value, estimate.low, estimate.high)
        assert (row.task, row.split, row.lang, row.rows) == entry.group
    return index


def path_of(store: Store) -> Path:
    return store.root / FOLDER / FILE


def test_no_record_is_read_twice(store: Store, names: list[str], read: list[str]) -> None:
    assert_as_records(store)
    assert read == names
    before = path_of(store).stat().st_mtime_ns
    assert_as_records(store)
    assert read == names
    assert path_of(store).stat().st_mtime_ns == before, "nothing changed, so nothing is written"
    assert (store.root / FOLDER / ".gitignore").read_text() == "*\n"
    assert store.ids() == names, "the index is no run"


def test_what_is_new_changed_or_gone(store: Store, names: list[str], read: list[str]) -> None:
    assert_as_records(store)
    read.clear()
    values = store.metrics(names[1])
    values["values"]["accuracy"]["low"] = 0.01
    store.replace_metrics(names[1], Metrics.model_validate(values))
    shutil.rmtree(store.root / names[0])
    new = record(store, "new", TRUTH, TRUTH)
    index = assert_as_records(store)
    assert sorted(read) == sorted([names[1], new])
    assert [row.low for row in index.rows if row.run == names[1]] == [0.01]


def test_a_change_that_keeps_size_and_time_is_seen(store: Store, names: list[str]) -> None:
    assert_as_records(store)
    path = store.root / names[0] / MANIFEST
    about = path.stat()
    path.write_bytes(path.read_bytes().replace(b"toy", b"top"))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)
    assert [row.task for row in assert_as_records(store).rows] == ["top", "toy", "toy"]


def test_damaged_records_are_named_each_time(store: Store, names: list[str], read: list[str]) -> None:
    assert_as_records(store)
    (store.root / names[0] / PREDICTIONS).unlink()
    write_json(store.root / names[1] / MANIFEST, {})
    for _ in range(2):
        read.clear()
        assert len(assert_as_records(store).damaged) == 2
        assert read == names[:2]


def test_a_record_of_this_moment_is_read_again(
    store: Store, names: list[str], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "SETTLED_SECONDS", 1e9)
    for _ in range(2):
        read.clear()
        assert_as_records(store)
        assert read == names
    assert not path_of(store).exists()


@pytest.mark.parametrize("damage", [lambda found: b"", lambda found: found[:-20], lambda found: b"no index" * 9, None])
def test_a_damaged_index_is_made_again(
    store: Store, names: list[str], damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert_as_records(store)
    path = path_of(store)
    whole = path.read_bytes()
    path.write_bytes(damage(whole) if callable(damage) else whole[:90] + bytes([whole[90] ^ 255]) + whole[91:])
    assert_as_records(store)
    assert [str(path) in line.getMessage() for line in caplog.records] == [True]
    assert path.read_bytes() == whole


def test_what_other_code_made_is_not_used(
    store: Store, names: list[str], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_as_records(store)
    read.clear()
    monkeypatch.setattr(index_module, "made_by", lambda: "another version")
    assert_as_records(store)
    assert read == names


def test_a_folder_that_is_not_writable_is_read(store: Store, names: list[str], read: list[str]) -> None:
    (store.root / FOLDER).write_text("in the way")
    for _ in range(2):
        assert_as_records(store)
    assert read == [*names, *names]


def test_what_a_killed_command_left_is_deleted(store: Store, names: list[str]) -> None:
    (store.root / FOLDER).mkdir()
    old, new = (store.root / FOLDER / f"{FILE}.{name}.tmp" for name in ("old", "new"))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    assert_as_records(store)
    assert (old.exists(), new.exists()) == (False, True), "another command may be writing the new one"


def test_an_empty_store(store: Store) -> None:
    assert read_index(store).rows == []
    assert not store.root.exists()


def test_half_a_surrogate_pair(store: Store, names: list[str], read: list[str]) -> None:
    strange = record(store, "strange", TRUTH, TRUTH, manifest={"settings": {"a": "\ud800"}})
    for _ in range(2):
        read.clear()
        assert_as_records(store)
        assert set(read) >= {strange}
    assert set(read) == {strange}, "the others are in the index"


def test_a_backend_with_several_models(store: Store) -> None:
    for model in ("one", "other"):
        record(store, {"name": "served", "engine": "toy", "model": model}, TRUTH, TRUTH, task=model)
    assert [entry.by_model for entry in assert_as_records(store).entries()] == [True, True]
    (entry,) = read_index(store).entries([0])
    assert entry.by_model, "the models of all runs count, not of those that are asked for alone"


@pytest.mark.slow
def test_real_records(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path / "runs")
    store = Store(tmp_path / "runs")
    assert_as_records(store)
    assert_as_records(store)
