"""Results at a URL: whole records or none at every step; runs that another machine continues; a store that goes away."""

from __future__ import annotations

import json
import pickle
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.errors import RunBusy
from harness.core.places import folder_of
from harness.core.shard import Shard
from harness.records import index, shared
from harness.records.entries import read_entries, read_entry
from harness.records.shards import shards_by_run
from harness.records.shared import NotUploaded, close_results, fetch_record, open_results
from harness.records.store import Store
from harness.running.merging import merge
from harness.running.plan import Plan
from harness.running.runner import EngineSlot, Result, run
from harness.running.sharding import run_shard
from harness.specs.catalog import Catalog
from harness.storage import leases
from harness.storage.copies import copy_of
from harness.storage.remote import Remote, StorageError

Machine = Callable[[str], Store]


class Killed(BaseException):
    """Stands for kill -9: nothing is done after it."""


@pytest.fixture
def url() -> str:
    return f"memory://bucket-{secrets.token_hex(4)}/results"


@pytest.fixture
def on(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """`on("a")`: from now on this process is the machine `a`, which has a cache of its own."""

    def machine(name: str) -> Store:
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "caches" / name))
        return Store(folder_of(url) / "runs")

    return machine


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MIXED_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(shared, "PATIENCE", 0.0)
    monkeypatch.setattr(shared, "PATIENCE_STOPPED", 0.0)
    monkeypatch.setattr(shared, "_is_down", False)
    monkeypatch.setattr(shared, "_unsent", {})


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


class Requests:
    """Notes what is written and deleted. `before` is called with each request, and may raise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.before: Callable[[str], None] = lambda what: None
        for name in ("write", "create", "delete", "listing", "read", "stamp", "fetch"):
            self._watch(monkeypatch, name, getattr(Remote, name))

    def _watch(self, monkeypatch: pytest.MonkeyPatch, method: str, real: Callable[..., Any]) -> None:
        def watched(remote: Remote, name: str = "", *arguments: Any) -> Any:
            self.before(f"{method} {name}")
            if method in ("write", "delete"):
                self.made.append(f"{method} {name}")
            return real(remote, name, *arguments)

        monkeypatch.setattr(Remote, method, watched)

    def of_records(self) -> list[str]:
        """The last part of their names."""
        kept = [one for one in self.made if ".lease-" not in one and ".probe" not in one and ".partial" not in one]
        return [f"{one.split()[0]} {one.rpartition('/')[2]}" for one in kept]


def away(what: str) -> None:
    raise StorageError("The store is away.")


def go(plan: Plan, store: Store, *, force: bool = False) -> Result:
    slot = EngineSlot()
    try:
        return run(plan, store, slot, toy.quiet, force=force)
    finally:
        slot.close()


def stopping(count: int, engine: Any) -> Callable[[Sequence[str]], None]:
    """Ctrl-C once the warm-up and `count` batches were answered."""

    def hook(texts: Sequence[str]) -> None:
        if len(engine.batches) == count + 1:
            raise KeyboardInterrupt

    return hook


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def stopped_after(count: int, project: Path, store: Store) -> str:
    plan = toy.plan(project)
    toy.engine_of(plan).hook = stopping(count, toy.engine_of(plan))
    with pytest.raises(KeyboardInterrupt):
        go(plan, store)
    return plan.run_id


# Two machines


def test_another_machine_lists_the_run_and_fetches_its_predictions_when_it_reads_them(project: Path, on: Machine) -> None:
    done = go(toy.plan(project), on("a"))
    expected = files_of(done.folder)
    store = on("b")
    assert store.ids() == []
    open_results(store.root.parent)
    (entry,) = read_entries(store)
    assert entry.record.metrics.as_json() == done.record.metrics.as_json()
    assert not (store.root / done.run_id / "predictions.jsonl").exists()
    assert len(store.predictions(done.run_id)) == 11
    assert files_of(store.root / done.run_id) == expected
    assert not go(toy.plan(project), store).computed


def test_a_record_is_uploaded_with_run_json_last(project: Path, on: Machine, requests: Requests) -> None:
    go(toy.plan(project), on("a"))
    assert requests.of_records() == ["write metrics.json", "write predictions.jsonl", "write run.json"]


def test_run_json_is_deleted_before_another_file_is_replaced(project: Path, on: Machine, requests: Requests) -> None:
    store = on("a")
    go(toy.plan(project), store)
    requests.made.clear()
    go(toy.plan(project, settings={"threads": 2}), store, force=True)
    made = requests.of_records()
    assert made[0] == "delete run.json"
    assert made[-1] == "write run.json"


def test_nothing_is_left_at_the_url_but_the_record(project: Path, on: Machine, url: str) -> None:
    stopped_after(1, project, on("a"))
    assert any("journal.jsonl" in name for name in Remote(url).listing())
    done = go(toy.plan(project), on("b"))
    assert set(Remote(url).listing()) == {
        f"runs/{done.run_id}/{name}" for name in ("run.json", "metrics.json", "predictions.jsonl")
    }


@pytest.mark.slow
@pytest.mark.parametrize("replaces", [False, True])
def test_a_kill_at_any_step_of_an_upload_leaves_a_whole_record_or_none(
    project: Path, on: Machine, requests: Requests, tmp_path: Path, replaces: bool
) -> None:
    """The same machine then completes it."""
    versions = []
    if replaces:
        versions.append(go(toy.plan(project), on("a")).record.finished)
    for step in range(100):
        store = on("a")
        steps = iter(range(100))

        def kill(what: str, steps: Iterator[int] = steps, step: int = step) -> None:
            if next(steps) == step:
                requests.before = dead
                raise Killed

        requests.before = kill
        try:
            versions.append(go(toy.plan(project), store, force=replaces).record.finished)
            break
        except Killed:
            pass
        finally:
            requests.before = lambda what: None
        reader = on(f"reader {step}")
        open_results(reader.root.parent)
        for name in reader.ids():
            entry = read_entry(reader, name)  # raises for a record that is not whole
            assert len(reader.predictions(name)) == entry.record.n
        shutil.rmtree(tmp_path / "caches" / f"reader {step}")
        if not replaces:
            shutil.rmtree(tmp_path / "caches" / "a", ignore_errors=True)
            for name in (remote := Remote(copy_url(reader))).listing():
                remote.delete(name)
    else:
        pytest.fail("it never came to an end")
    assert step > 5
    open_results(on("last").root.parent)
    assert len(on("last").ids()) == 1


def dead(what: str) -> None:
    raise Killed


def copy_url(store: Store) -> str:
    copy = copy_of(store.root)
    assert copy is not None
    return copy.remote.url


def test_a_machine_that_was_killed_completes_the_upload_when_it_opens_the_results(
    project: Path, on: Machine, requests: Requests
) -> None:
    def kill(what: str) -> None:
        if what.startswith("write") and what.endswith("run.json"):
            requests.before = dead
            raise Killed

    requests.before = kill
    with pytest.raises(Killed):
        go(toy.plan(project), store := on("a"))
    requests.before = lambda what: None
    open_results(on("b").root.parent)
    assert on("b").ids() == []
    open_results(on("a").root.parent)
    open_results(on("b").root.parent)
    assert on("b").ids() == store.ids()


def test_a_stopped_run_is_continued_by_another_machine(project: Path, on: Machine, tmp_path: Path) -> None:
    whole = go(toy.plan(project), Store(tmp_path / "whole")).folder
    stopped_after(2, project, on("a"))
    last = toy.plan(project)
    done = go(last, on("b"))
    assert len(toy.engine_of(last).counted) == 11 - 6
    for name in ("predictions.jsonl", "metrics.json"):
        assert (done.folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_journal_is_uploaded_at_intervals(project: Path, on: Machine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is lost altogether, with what its run did after the last upload."""
    monkeypatch.setattr(shared, "INTERVAL", 0.0)
    store, plan = on("a"), toy.plan(project)
    with store.journal(plan.run_id) as journal:
        lines = journal.folder / "journal.jsonl"
        lines.write_text('{"whole": 1}\n{"half')
        (session,) = shared._sessions.values()
        session.upload()
        assert Remote(url).read(f"runs/{plan.run_id}.partial/journal.jsonl") == b'{"whole": 1}\n'
        lines.unlink()


def test_lines_that_only_one_of_two_machines_has_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "run.partial" / "journal.jsonl"
    file.parent.mkdir()
    for ours, theirs, expected, is_theirs in [
        (b"", b"1\n2\n", b"1\n2\n", True),
        (b"1\n", b"1\n2\n", b"1\n2\n", True),
        (b"1\n", b"1\n", b"1\n", True),
        (b"1\n2\n3", b"1\n", b"1\n2\n3", False),
        (b"1\n2\n", b"1\n3\n", b"1\n3\n2\n", False),
        (b"1\n2\n", b"1\n3\n4", b"1\n3\n2\n", False),
    ]:
        file.write_bytes(ours)
        assert shared._merge_journal(file, theirs) is is_theirs
        assert file.read_bytes() == expected


def test_what_an_engine_remembers_goes_with_the_journal(project: Path, on: Machine) -> None:
    name = toy.plan(project).run_id
    for machine, expected in [("a", ["one"]), ("b", ["one", "two"]), ("a", ["two"]), ("b", ["two"])]:
        with on(machine).journal(name) as journal:
            (journal.folder / "journal.jsonl").touch()
            journal.scratch.mkdir(exist_ok=True)
            if expected == ["one"]:
                (journal.scratch / "one").write_text("batch 1")
            if machine == "b" and expected == ["one", "two"]:
                (journal.scratch / "two").write_text("batch 2")
            if machine == "a" and expected == ["two"]:
                (journal.scratch / "one").unlink()
            assert sorted(file.name for file in journal.scratch.iterdir()) == expected


def test_force_deletes_the_journal_at_the_url(project: Path, on: Machine, url: str) -> None:
    name = stopped_after(2, project, on("a"))
    with on("b").journal(name) as journal:
        journal.clear()
        (session,) = shared._sessions.values()
        session.upload()
        assert not [one for one in Remote(url).listing() if "journal" in one]


# One of two machines


def test_the_second_machine_is_told_who_is_at_work(project: Path, on: Machine) -> None:
    plan, host = toy.plan(project), leases.socket.gethostname()
    with (
        on("a").journal(plan.run_id),
        pytest.raises(RunBusy, match=rf"Another process \(\d+ on {host}\) is working on the run"),
    ):
        go(plan, on("b"))
    assert not toy.engine_of(plan).counted
    assert go(plan, on("b")).computed


def test_who_lost_the_lease_stops_before_the_next_batch(project: Path, on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.0)
    monkeypatch.setattr(leases.Lease, "_work", lambda self: None)  # suspended
    plan = toy.plan(project)
    engine = toy.engine_of(plan)

    def takeover(texts: Sequence[str]) -> None:
        if len(engine.batches) == 2:
            go(toy.plan(project), on("b"))
            on("a")
            (session,) = shared._sessions.values()
            session._lease.renew()

    engine.hook = takeover
    with pytest.raises(RunBusy, match="taken over"):
        go(plan, on("a"))
    reader = on("c")
    open_results(reader.root.parent)
    assert len(read_entries(reader)) == 1


def test_a_run_that_was_killed_on_this_machine_goes_on_at_once(
    project: Path, on: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases.Lease, "release", lambda self: self._ended.set())
    stopped_after(1, project, on("a"))
    with pytest.raises(RunBusy):
        go(toy.plan(project), on("b"))
    assert go(toy.plan(project), on("a")).computed


# A store that goes away


def test_a_run_ends_without_the_store_and_is_uploaded_later(project: Path, on: Machine, requests: Requests, url: str) -> None:
    plan = toy.plan(project)
    engine = toy.engine_of(plan)

    def hook(texts: Sequence[str]) -> None:
        requests.before = away

    engine.hook = hook
    with pytest.raises(NotUploaded, match=plan.run_id) as caught:
        go(plan, store := on("a"))
    assert caught.value.exit_code == 1
    assert store.ids() == [plan.run_id]  # on this machine
    with pytest.raises(NotUploaded, match=plan.run_id):
        close_results(store.root.parent, patient=False)
    requests.before = lambda what: None
    open_results(on("b").root.parent)
    assert on("b").ids() == []
    open_results(on("a").root.parent)
    assert not go(toy.plan(project), on("a")).computed
    open_results(on("b").root.parent)
    assert on("b").ids() == [plan.run_id]
    assert not [name for name in Remote(url).listing() if ".lease" in name]


def test_a_stopped_run_without_the_store_goes_on_where_it_stopped(
    project: Path, on: Machine, requests: Requests, caplog: pytest.LogCaptureFixture
) -> None:
    plan = toy.plan(project)
    engine = toy.engine_of(plan)

    def hook(texts: Sequence[str]) -> None:
        requests.before = away
        stopping(2, engine)(texts)

    engine.hook = hook
    with pytest.raises(KeyboardInterrupt):
        go(plan, on("a"))
    assert [record.args[0] for record in caplog.records if record.levelname == "WARNING"] == [f"runs/{plan.run_id}"]
    requests.before = lambda what: None
    last = toy.plan(project)
    go(last, on("a"))
    assert len(toy.engine_of(last).counted) == 11 - 6


def test_a_run_is_not_begun_without_the_store(project: Path, on: Machine, requests: Requests) -> None:
    requests.before = away
    plan = toy.plan(project)
    with pytest.raises(StorageError):
        go(plan, on("a"))
    assert not toy.engine_of(plan).counted


# What others change


def test_a_record_that_was_deleted_at_the_url_leaves_this_machine(project: Path, on: Machine, url: str) -> None:
    one, other = (go(toy.plan(project, seed=seed), on("a")).run_id for seed in (1, 2))
    open_results(on("b").root.parent)
    assert set(on("b").ids()) == {one, other}
    for name in Remote(url).listing(f"runs/{one}"):
        Remote(url).delete(name)
    for machine in ("a", "b"):
        open_results(on(machine).root.parent)
        assert on(machine).ids() == [other]
        assert not (on(machine).root / one).exists()


def test_a_replaced_record_is_fetched_with_its_own_predictions(project: Path, on: Machine) -> None:
    name = go(toy.plan(project), on("a")).run_id
    reader = on("b")
    open_results(reader.root.parent)
    reader.predictions(name)
    rows = (reader.root / name / "predictions.jsonl").read_bytes()
    replace_record(on("a"), name)
    open_results(on("b").root.parent)
    reader.predictions(name)
    assert (reader.root / name / "predictions.jsonl").read_bytes() != rows


def replace_record(store: Store, name: str) -> None:
    """The same run with another answer in its first row."""
    rows = store.predictions(name)
    rows[0]["status"], rows[0]["label"] = "unparsed", None
    with store.journal(name):
        store.finish(store.record(name), rows)


def test_predictions_of_a_record_that_was_replaced_meanwhile_come_with_the_record(project: Path, on: Machine) -> None:
    """The reader has fetched the old `run.json`, and not yet the predictions."""
    name = go(toy.plan(project), on("a")).run_id
    reader = on("b")
    open_results(reader.root.parent)
    replace_record(on("a"), name)
    assert on("b").predictions(name)[0]["status"] == "unparsed"
    read_entry(reader, name)


def test_a_reader_in_the_middle_of_a_replacement_reads_again(project: Path, on: Machine, requests: Requests) -> None:
    name = go(toy.plan(project), on("a")).run_id
    reader = on("b")

    def meanwhile(what: str) -> None:
        if what.startswith("read") and what.endswith("run.json"):  # metrics.json has been read
            requests.before = lambda what: None
            store = on("a")
            record = store.record(name)
            values = {**record.metrics.values, "accuracy": record.metrics.values["accuracy"].model_copy(update={"value": 0.5})}
            store.replace_metrics(name, record.metrics.model_copy(update={"values": values}))
            on("b")

    requests.before = meanwhile
    open_results(reader.root.parent)
    assert reader.record(name).metrics.values["accuracy"].value == 0.5


def test_other_files_are_uploaded_at_the_end_and_reach_other_machines(project: Path, on: Machine, url: str) -> None:
    results = on("a").root.parent
    open_results(results)
    for name in ("LEADERBOARD.md", "charts/one.svg", "runs/x.lock", ".index/records.parquet"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(name)
    close_results(results, patient=True)
    assert set(Remote(url).listing()) == {"LEADERBOARD.md", "charts/one.svg"}
    other = on("b").root.parent
    open_results(other)
    assert (other / "charts" / "one.svg").read_text() == "charts/one.svg"
    (other / "LEADERBOARD.md").write_text("new")
    close_results(other, patient=True)
    open_results(results := on("a").root.parent)
    assert (results / "LEADERBOARD.md").read_text() == "new"


def test_a_study_is_one_machines_at_a_time_and_goes_with_its_lease(on: Machine) -> None:
    study = Path("studies") / "tune"
    folder = on("a").root.parent / study
    folder.mkdir(parents=True)
    with shared.shared_folder(folder):
        (folder / "study.journal").write_text("first")
        other = on("b").root.parent / study
        with pytest.raises(leases.Busy), shared.shared_folder(other):
            pass
        on("a")
    on("b")
    other.mkdir(parents=True, exist_ok=True)
    with shared.shared_folder(other):
        assert (other / "study.journal").read_text() == "first"


def test_only_files_that_changed_are_fetched(project: Path, on: Machine, requests: Requests) -> None:
    for seed in range(3):
        go(toy.plan(project, seed=seed), on("a"))
    open_results(on("b").root.parent)
    read: list[str] = []
    requests.before = lambda what: read.append(what) if what.startswith(("read", "fetch")) else None
    open_results(on("b").root.parent)
    assert read == []
    name = on("b").ids()[0]
    replace_record(on("a"), name)
    read.clear()
    open_results(on("b").root.parent)
    assert {what.split("/")[1] for what in read} == {name}


def test_what_is_known_of_the_files_may_be_lost(project: Path, on: Machine) -> None:
    name = go(toy.plan(project), store := on("a")).run_id
    known = store.root.parent.parent / "known.jsonl"
    for content in ("", "{", json.dumps(["runs", 1])):
        known.write_text(content)
        open_results(store.root.parent)
        assert len(read_entries(store)) == 1
        assert len(store.predictions(name)) == 11


# Shards, and workers elsewhere


def opened(store: Store) -> Store:
    open_results(store.root.parent)
    return store


def test_shards_of_two_machines_are_merged_on_a_third(project: Path, on: Machine) -> None:
    for shard, machine in zip(Shard.all_of(2), ("a", "b"), strict=True):
        run_shard(toy.plan(project), shard, on(machine))
    third = opened(on("c"))
    assert third.ids() == []
    ((run_id, folders),) = shards_by_run(third).items()
    assert [folder.finished for folder in folders] == [True, True]
    merge(folders, third, Catalog(project))
    alone = Store(project / "alone")
    go(toy.plan(project), alone)
    assert alone.ids() == [run_id]
    for machine in "cda":
        reader = opened(on(machine))
        assert reader.predictions(run_id) == alone.predictions(run_id)
        assert shards_by_run(reader) == {}


def test_a_store_finds_its_url_on_another_machine(project: Path, on: Machine, tmp_path: Path) -> None:
    """As a worker of a cluster does, and as the command does with the record that comes back."""
    driver = on("a")
    sent = pickle.dumps(driver)
    there = on("b")
    worker = pickle.loads(sent)
    assert worker.root == there.root != driver.root
    run_id = go(toy.plan(project), worker).run_id
    record = worker.record(run_id)
    driver = on("a")
    assert driver.ids() == []
    fetch_record(driver.root / run_id)
    assert driver.record(run_id) == record
    assert pickle.loads(pickle.dumps(Store(tmp_path))) == Store(tmp_path)


def test_a_record_without_its_predictions_stays_in_the_index(
    project: Path, on: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = go(toy.plan(project), on("a")).run_id
    store = opened(on("b"))
    monkeypatch.setattr(index, "SETTLED_SECONDS", 0.0)
    before = index.state_of(store, run_id)
    assert before
    assert [row.run for row in index.read_index(store).rows] == [run_id]
    store.predictions(run_id)
    assert index.state_of(store, run_id) not in ("", before)
    (store.root / run_id / "metrics.json").unlink()
    assert index.state_of(store, run_id) == ""
