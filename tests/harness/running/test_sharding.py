"""Shards and their merge: the same bytes as one process, each row in one shard, and nothing lost or taken for a record."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from harness.core.engine import BatchApi
from harness.core.errors import BudgetReached, DamagedRecord, GateFailed, OtherInputs, OutOfMemory, RunBusy, RunIncomplete
from harness.core.json_files import read_sealed, write_sealed
from harness.core.machine import library_versions
from harness.core.record import Machine, RunRecord
from harness.core.shard import Shard
from harness.core.types import Example
from harness.records import shards as shards_module
from harness.records import store as store_module
from harness.records.journal import read_journal
from harness.records.shards import SHARD, shard_name, shards_by_run
from harness.records.store import Store
from harness.running import batching, merging
from harness.running.batching import rows_of, windows_of
from harness.running.merging import CannotMerge, Merged, merge
from harness.running.plan import Plan
from harness.running.runner import EngineSlot, run
from harness.running.sharding import ShardResult, run_shard
from harness.specs.catalog import Catalog
from harness.specs.costs import Budget

COUNT = 4
CONTEXTUAL = {"decoding": "score", "calibration": "contextual"}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "free": ("toy-model", {}),
    "constrained": ("toy-model", {"decoding": "constrained"}),
    "contextual": ("toy-model", CONTEXTUAL),
    "batch": ("toy-model", {"decoding": "score", "calibration": "batch"}),
    "shots": ("toy-model", {"prompt": "shown", "shots": 1}),
    "nearest": ("toy-model", {"prompt": "shown", "shots_by": "nearest", "shots": 2}),
    "classifier": ("toy-classifier", {}),
    "server": ("toy-server", {}),
    "zero-shot": ("toy-zero", {}),
    "multilabel": ("toy-classifier", {"task": "tags"}),
    "multilabel zero-shot": ("toy-zero", {"task": "tags"}),
}
TAGS = """\
description: d
source: {files: {train: rows/learned.jsonl, validation: rows/learned.jsonl, test: rows/tags.jsonl}}
columns: {id: id, lang: lang, group: group}
labels: {kind: multilabel, names: [a, b, c]}
languages: [en]
"""


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@pytest.fixture(autouse=True)
def two_texts_in_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WINDOW", 2)


@pytest.fixture
def project(project: Path) -> Path:
    """With a zero-shot classifier, a task of several labels in groups, and few-shot examples by similarity."""
    (project / "backends" / "toy-zero.yaml").write_text("engine: toy_zero_shot\n")
    (project / "backends" / "toy-embedder.yaml").write_text("engine: toy_embedder\n")
    shown = "---\ndescription: d\nparser: integer\nshots: 1\nshots_encoder: toy-embedder\n---\n{{ text }}\n"
    (project / "prompts" / "shown.j2").write_text(shown)
    (project / "tasks" / "tags.yaml").write_text(TAGS)
    tags = [
        {**toy.row("tags", "en", n, said, 0), "label": ["a"] if n % 2 else ["b", "c"], "group": f"g{n % 4}"}
        for n, said in enumerate(toy.SAID)
    ]
    toy.write_rows(project, "tags", tags)
    toy.write_rows(project, "learned", tags[:3])
    return project


def plan_of(project: Path, kind: str = "free", **changes: Any) -> Plan:
    backend, given = RUNS[kind]
    return toy.plan(project, backend, **{**({"prompt": None} if "task" in given else {}), **given, **changes})


def predict(project: Path, store: Store, kind: str = "free", count: int = COUNT, **options: Any) -> list[ShardResult]:
    """All shards, in an order that is not theirs, each by a plan and an engine of its own."""
    order = sorted(range(1, count + 1), key=lambda index: (index * 7) % (count + 1))
    return [run_shard(plan_of(project, kind), Shard(index, count), store, **options) for index in order]


def merged(project: Path, store: Store, **options: Any) -> Merged:
    ((_, folders),) = shards_by_run(store).items()
    return merge(folders, store, Catalog(project), **options)


def whole(project: Path, tmp_path: Path, kind: str = "free") -> tuple[bytes, bytes, RunRecord]:
    place = Store(tmp_path / "whole")
    name = run(plan_of(project, kind), place).run_id
    return *written(place, name), place.record(name)


def written(store: Store, run_id: str) -> tuple[bytes, bytes]:
    return (store.root / run_id / "predictions.jsonl").read_bytes(), (store.root / run_id / "metrics.json").read_bytes()


def snapshot(store: Store) -> dict[str, bytes]:
    return {path.relative_to(store.root).as_posix(): path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def rewrite(store: Store, index: int, change: Callable[[dict[str, Any]], None], count: int = COUNT) -> None:
    """Change what the manifest of a shard says, with a digest that fits."""
    (run_id,) = shards_by_run(store)
    path = store.root / shard_name(run_id, Shard(index, count)) / SHARD
    content = read_sealed(path)
    assert content is not None
    change(content)
    write_sealed(path, content)


# Which rows a shard has


@given(st.lists(st.text("abc", max_size=4), max_size=60), st.integers(1, 9), st.integers(1, 7))
def test_each_row_is_in_one_shard_and_each_window_in_the_shard_of_its_number(texts: list[str], count: int, size: int) -> None:
    rows = [Example(f"{n}", text, 0, "en") for n, text in enumerate(texts)]
    windows = list(windows_of(rows, size))
    assert all(len({row.text for row in window}) == size for window in windows[:-1])
    shards = [Shard(index, count) for index in range(1, count + 1)]
    owners = [[shard for shard in shards if shard.has_window(number)] for number in range(len(windows))]
    assert all(len(owner) == 1 for owner in owners)
    found = Counter(row.id for shard in shards for n, window in enumerate(windows) if shard.has_window(n) for row in window)
    assert found == Counter({row.id: 1 for row in rows})
    most = [sum(shard.has_window(number) for number in range(len(windows))) for shard in shards]
    assert max(most) - min(most) <= 1


@pytest.mark.parametrize("text", ["0/8", "9/8", "1", "1/0", "-1/8", "1/8/2", "a/b", ""])
def test_a_shard_is_numbered_from_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"shards are numbered|expected I/N"):
        Shard.parse(text)
    assert (Shard.parse("3/8"), str(Shard(3, 8))) == (Shard(3, 8), "3/8")


def test_a_window_is_a_batch_of_a_batch_api(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(project, "server")
    monkeypatch.setattr(toy.ToyServer, "batch_api", lambda self: BatchApi(direct=0))
    assert len(rows_of(plan, Shard(1, 100))) == 3  # `batch` of the toy's options


# The same bytes


@pytest.mark.parametrize("kind", RUNS)
def test_the_merge_is_the_record_of_one_process(
    project: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    predictions, metrics, record = whole(project, tmp_path, kind)
    results = predict(project, store, kind)
    assert all(result.computed for result in results)
    assert sum(result.rows for result in results) == record.n
    assert store.ids() == []
    with monkeypatch.context() as patch:  # a login node, without the engine's device
        for engine in (toy.ToyModel, toy.ToyClassifier, toy.ToyServer, toy.ToyZeroShot):
            patch.setattr(engine, "facts", lambda self: {"device": "another"})
            patch.setattr(engine, "load", lambda self, *given: pytest.fail("loaded"), raising=False)
            patch.setattr(engine, "fit", lambda self, job: pytest.fail("trained"), raising=False)
        shutil.rmtree(project / "weights")
        found = merged(project, store)
    assert (found.computed, found.shards) == (True, COUNT)
    assert written(store, record.run_id) == (predictions, metrics)
    one = found.entry.record
    told = ("identity", "options", "rows_from", "checkpoint", "training", "runtime", "overlap", "dates", "tokens", "cost")
    for name in (*told, "gates", "cut", "versions", "machine", "sent_instead", "metric_code", "n"):
        assert getattr(one, name) == getattr(record, name), name
    assert set(one.manifest()) == set(record.manifest())
    assert (one.timing.distinct_texts, one.timing.smallest_batch) == (record.n, 1)
    assert [path.name for path in store.root.iterdir()] == [record.run_id]


def test_its_time_is_the_sum_and_names_the_longest_and_the_machines(project: Path, store: Store) -> None:
    predict(project, store)
    for index in range(1, COUNT + 1):
        rewrite(store, index, lambda found, index=index: found["timing"].update(seconds=float(index), load_seconds=9.0 - index))
    rewrite(store, 2, lambda found: found["machine"].update(cores=512))
    rewrite(store, 3, lambda found: found["peak_memory_mib"].update(host=10**6))
    ((_, folders),) = shards_by_run(store).items()
    entries = [entry for folder in folders for entry in read_journal(folder.path / "journal.jsonl")]
    record = merged(project, store).entry.record
    assert record.timing.seconds == pytest.approx(sum(entry.seconds for entry in entries), abs=1e-3)
    assert record.timing.load_seconds == 8.0
    assert record.timing.shards is not None
    assert (record.timing.shards.count, record.timing.shards.longest_seconds) == (COUNT, 4.0)
    assert record.timing.shards.machines is not None
    assert [machine.cores == 512 for machine in record.timing.shards.machines] == [False, True, False, False]
    assert isinstance(record.timing.shards.machines[0], Machine)
    assert record.peak_memory_mib.host == 10**6


def test_a_record_without_shards_says_nothing_of_them(project: Path, tmp_path: Path) -> None:
    *_, record = whole(project, tmp_path)
    assert "shards" not in record.manifest()["timing"]


def test_one_shard_asks_for_the_content_free_inputs(project: Path, store: Store) -> None:
    engines = []
    for index in range(1, COUNT + 1):
        plan = plan_of(project, "contextual")
        run_shard(plan, Shard(index, COUNT), store)
        engines.append(toy.engine_of(plan))
    asked = [sum(toy.SECRET not in text for batch in engine.batches for text in batch) for engine in engines]
    assert asked == [3, 0, 0, 0]


def test_fewer_windows_than_shards_leave_shards_without_rows_and_without_a_model(
    project: Path, store: Store, tmp_path: Path
) -> None:
    predictions, metrics, record = whole(project, tmp_path)
    for index in range(1, 10):
        plan = plan_of(project)
        result = run_shard(plan, Shard(index, 9), store)
        assert (result.rows == 0) == (index > 6)  # 11 rows, two in a window
        assert toy.engine_of(plan).loads == (index <= 6)
    assert merged(project, store).shards == 9
    assert written(store, record.run_id) == (predictions, metrics)


def test_an_engine_that_stays_loaded_serves_several_shards(project: Path, store: Store, tmp_path: Path) -> None:
    predictions, metrics, record = whole(project, tmp_path)
    slot, plan = EngineSlot(), plan_of(project)
    for index in range(1, COUNT + 1):
        run_shard(plan_of(project) if index > 1 else plan, Shard(index, COUNT), store, slot)
    slot.close()
    assert toy.engine_of(plan).loads == 1
    merged(project, store)
    assert written(store, record.run_id) == (predictions, metrics)


@pytest.mark.parametrize("count", [1, 2, 11])
def test_any_number_of_shards(project: Path, store: Store, tmp_path: Path, count: int) -> None:
    predictions, metrics, record = whole(project, tmp_path, "contextual")
    predict(project, store, "contextual", count)
    merged(project, store)
    assert written(store, record.run_id) == (predictions, metrics)


def test_out_of_memory_halves_the_batches_of_a_shard(project: Path, store: Store, tmp_path: Path) -> None:
    predictions, metrics, record = whole(project, tmp_path, "classifier")

    def full(texts: Sequence[str]) -> None:
        if len(texts) > 1:
            raise OutOfMemory("full")

    for index in (1, 2, 3):
        plan = plan_of(project, "classifier")
        toy.engine_of(plan).hook = full if index == 2 else lambda texts: None
        run_shard(plan, Shard(index, 3), store)
    merged(project, store)
    assert written(store, record.run_id) == (predictions, metrics)


def test_answers_of_the_shards_become_those_of_the_run(project: Path, store: Store, tmp_path: Path) -> None:
    *_, record = whole(project, tmp_path)
    alone = sorted(store.answers_file(record.run_id).read_text().splitlines())
    store.answers_file(record.run_id).unlink()
    predict(project, store)
    assert not store.answers_file(record.run_id).exists()
    merged(project, store)
    assert sorted(store.answers_file(record.run_id).read_text().splitlines()) == alone
    assert [path.name for path in store.answers_file(record.run_id).parent.glob("*.shard-*")] == []


def test_no_text_and_no_answer_is_in_a_shard(project: Path, store: Store) -> None:
    predict(project, store)
    assert all(toy.SECRET.encode() not in content for content in snapshot(store).values())


# Found, stopped, busy


def test_a_finished_shard_is_not_repeated(project: Path, store: Store) -> None:
    predict(project, store)
    before = snapshot(store)
    again = plan_of(project)
    result = run_shard(again, Shard(2, COUNT), store)
    assert (result.computed, result.rows, toy.engine_of(again).loads) == (False, 3, 0)
    assert snapshot(store) == before


def test_the_record_of_the_run_makes_every_shard_found(project: Path, store: Store) -> None:
    record = run(plan_of(project), store).record
    result = run_shard(plan_of(project), Shard(2, COUNT), store)
    assert (result.computed, result.record) == (False, None)
    assert result.whole is not None
    assert result.whole.run_id == record.run_id
    assert [path.name for path in store.root.iterdir()] == [record.run_id]


@pytest.mark.parametrize("kind", ["contextual", "classifier"])
def test_a_killed_shard_goes_on_wherever_it_was_killed(project: Path, store: Store, tmp_path: Path, kind: str) -> None:
    predictions, metrics, record = whole(project, tmp_path, kind)
    answered: list[str] = []
    for index in (1, 2):
        for count in range(2):
            plan = plan_of(project, kind)
            engine = toy.engine_of(plan)

            def killing(texts: Sequence[str], engine: Any = engine, count: int = count) -> None:
                if len(engine.batches) == count + 1:
                    raise Killed

            engine.hook = killing
            with pytest.raises(Killed):
                run_shard(plan, Shard(index, 2), store)
            answered += engine.counted
        last = plan_of(project, kind)
        run_shard(last, Shard(index, 2), store)
        answered += toy.engine_of(last).counted
    assert sorted(text for text in answered if toy.SECRET in text) == sorted(row.text for row in last.rows)
    assert len(answered) == record.n + (3 if kind == "contextual" else 0)
    merged(project, store)
    assert written(store, record.run_id) == (predictions, metrics)


def test_a_shard_that_another_process_works_on_is_busy(project: Path, store: Store) -> None:
    plan = plan_of(project)
    with store.journal(shard_name(plan.run_id, Shard(1, 2))), pytest.raises(RunBusy):
        run_shard(plan, Shard(1, 2), store)
    run_shard(plan_of(project), Shard(1, 2), store)


def test_rows_without_an_answer_leave_the_shard_open_and_are_asked_again(
    project: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, metrics, record = whole(project, tmp_path, "server")
    with monkeypatch.context() as patch:
        answer = toy.ToyServer._answer
        lost = toy.Generation("", False, 1, 0, "timeout", retryable=True)
        patch.setattr(toy.ToyServer, "_answer", lambda self, p, said: lost if said == "2" else answer(self, p, said))
        for index in (1, 2):
            with pytest.raises(RunIncomplete, match=rf"\.shard-{index}-of-2: "):
                run_shard(plan_of(project, "server"), Shard(index, 2), store)
    with pytest.raises(CannotMerge, match=r"1 \(not finished\), 2 \(not finished\)"):
        merged(project, store)
    predict(project, store, "server", 2)
    found = merged(project, store).entry.record
    assert written(store, record.run_id) == (predictions, metrics)
    assert found.tokens.prompt is not None
    assert record.tokens.prompt is not None
    assert found.tokens.prompt > record.tokens.prompt  # the attempts without an answer count


def test_each_shard_has_its_own_budget(project: Path, store: Store, tmp_path: Path) -> None:
    *_, record = whole(project, tmp_path, "server")
    assert record.cost is not None
    with pytest.raises(BudgetReached):
        run_shard(plan_of(project, "server"), Shard(1, 2), store, budget=Budget(record.cost.usd / 3))
    for index in (1, 2):
        run_shard(plan_of(project, "server"), Shard(index, 2), store, budget=Budget(record.cost.usd * 2))
    cost = merged(project, store).entry.record.cost
    assert cost == record.cost


def test_a_gate_stops_the_shard_whose_rows_fail_it(project: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [toy.row("test", "en", n, "mumble", n % 3) for n in range(64)]
    toy.write_rows(project, "test", rows)
    with pytest.raises(GateFailed, match="answers_unparsed"):
        run_shard(plan_of(project, "server"), Shard(1, 2), store)
    for index in (1, 2):
        run_shard(plan_of(project, "server"), Shard(index, 2), store, gate=False)
    gates = {gate.name: gate.outcome for gate in merged(project, store).entry.record.gates}
    assert gates["answers_unparsed"] == "failed"


# What can't be merged is named, and nothing is changed


def refused(project: Path, store: Store, error: type[Exception], words: str) -> None:
    before = snapshot(store)
    with pytest.raises(error, match=words):
        merged(project, store)
    assert snapshot(store) == before
    assert store.ids() == []


@pytest.mark.parametrize("index", range(1, COUNT + 1))
def test_a_missing_shard_is_named(project: Path, store: Store, index: int) -> None:
    predict(project, store)
    shutil.rmtree(store.root / shard_name(plan_of(project).run_id, Shard(index, COUNT)))
    refused(project, store, CannotMerge, rf"1 of 4 shards are missing: {index}\.")


@pytest.mark.parametrize("file", [SHARD, "journal.jsonl"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_shard_is_named_and_predicted_again(
    project: Path, store: Store, tmp_path: Path, file: str, damage: str
) -> None:
    predictions, metrics, record = whole(project, tmp_path)
    predict(project, store)
    path = store.root / shard_name(record.run_id, Shard(3, COUNT)) / file
    content = path.read_bytes()
    place = content.index(b"identity") if file == SHARD else content.index(b'"status"')
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:place] + (b"" if damage == "cut" else b"X" + content[place + 1 :]))
    refused(project, store, DamagedRecord, r"shard-3-of-4")
    result = run_shard(plan_of(project), Shard(3, COUNT), store)
    assert result.computed
    assert [path.name for path in store.root.glob("*.damaged-*")] == [f"{shard_name(record.run_id, Shard(3, COUNT))}.damaged-1"]
    merged(project, store)
    assert written(store, record.run_id) == (predictions, metrics)


def test_shards_of_two_divisions_are_named(project: Path, store: Store) -> None:
    predict(project, store, count=4)
    run_shard(plan_of(project), Shard(1, 8), store)
    refused(project, store, CannotMerge, r"2 ways.*of 4: 1, 2, 3, 4; of 8: 1")


def test_a_copy_under_another_number_is_named(project: Path, store: Store) -> None:
    predict(project, store)
    run_id = plan_of(project).run_id
    copy = store.root / shard_name(run_id, Shard(2, COUNT))
    shutil.rmtree(copy)
    shutil.copytree(store.root / shard_name(run_id, Shard(3, COUNT)), copy)
    refused(project, store, DamagedRecord, r"shard-2-of-4 is not this shard \(it is shard 3/4")


def test_rows_that_are_not_the_shards_own_are_named(project: Path, store: Store) -> None:
    predict(project, store)
    run_id = plan_of(project).run_id
    journals = {index: store.root / shard_name(run_id, Shard(index, COUNT)) / "journal.jsonl" for index in range(1, COUNT + 1)}
    journals[2].write_bytes(journals[2].read_bytes() + journals[3].read_bytes())
    rewrite(store, 2, lambda found: found.update(journal=shards_module.file_sha256(journals[2])))
    refused(project, store, CannotMerge, r"shard 2/4 has 5 rows, of which 3 are among its 3 rows")


@pytest.mark.parametrize("what", ["versions", "weights", "window", "runtime"])
def test_shards_that_one_process_could_not_have_made_are_named(project: Path, store: Store, what: str) -> None:
    predict(project, store, "classifier")

    def change(found: dict[str, Any]) -> None:
        found["versions"]["numpy"] = "0.1" if what == "versions" else library_versions()["numpy"]
        if what == "weights":
            found["weights"] = "f" * 64
        if what == "window":
            found["window_size"] = 77
        if what == "runtime":
            found["runtime"] = {"runtime": "onnx", "library": "toy"}

    rewrite(store, 3, change)
    told = {"versions": r"numpy: .* in 1, 2, 4; 0\.1 in 3", "weights": "ffffffffff in 3", "window": "77 in 3"}
    refused(project, store, CannotMerge, told.get(what, "none in 1, 2, 4; onnx toy in 3"))


@pytest.mark.parametrize("what", ["tested rows", "training rows", "labels", "prompt"])
def test_inputs_that_changed_since_are_named(project: Path, store: Store, what: str) -> None:
    kind = "free" if what in ("tested rows", "prompt") else "classifier"
    predict(project, store, kind)
    if what == "prompt":
        (project / "prompts" / "echo.j2").write_text("---\ndescription: d\nparser: integer\n---\nNow: {{ text }}\n")
    elif what == "labels":
        task = project / "tasks" / "toy.yaml"
        task.write_text(task.read_text().replace("fair", "middling"))
    else:
        split = "test" if what == "tested rows" else "train"
        rows = toy.read_rows(project, split)
        rows[0]["label"] = (rows[0]["label"] + 1) % 3
        toy.write_rows(project, split, rows)
    refused(project, store, OtherInputs, what)


# Forced, and killed


def test_forced_shards_replace_the_record(project: Path, store: Store, tmp_path: Path) -> None:
    predictions, metrics, _ = whole(project, tmp_path)
    before = store.record(run(plan_of(project), store).run_id)
    predict(project, store, force=True)
    assert store.record(before.run_id) == before
    found = merged(project, store)
    assert found.computed
    assert found.entry.record.timing.shards is not None
    assert written(store, before.run_id) == (predictions, metrics)
    assert [path.name for path in store.root.iterdir()] == [before.run_id]


def test_shards_beside_a_record_that_came_later_are_deleted(project: Path, store: Store) -> None:
    predict(project, store)
    record = store.record(run(plan_of(project), store).run_id)
    found = merged(project, store)
    assert (found.computed, found.entry.record) == (False, record)
    assert [path.name for path in store.root.iterdir()] == [record.run_id]


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True])
def test_a_killed_merge_is_repeated(
    project: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """Every write, rename and deletion of a merge fails once; the same command mends it each time."""
    predictions, metrics, record = whole(project, tmp_path)
    kills = 0
    owners = [(store_module, "write_atomically"), (merging, "write_parts_atomically"), (Path, "replace"), (Path, "unlink")]
    for owner, name in [*owners, (shutil, "rmtree")]:
        for count in range(12):
            place = Store(tmp_path / f"{name}{count}")
            if force:
                run(plan_of(project), place)
            predict(project, place, force=force)
            seen = [0]
            with monkeypatch.context() as patch:
                real: Callable[..., Any] = getattr(owner, name)

                def killing(
                    *args: Any, _real: Callable[..., Any] = real, _seen: list[int] = seen, _count: int = count, **given: Any
                ) -> Any:
                    if str(args[0]).endswith((".lock", ".tmp")) or isinstance(args[0], int):
                        return _real(*args, **given)
                    _seen[0] += 1
                    if _seen[0] == _count + 1:
                        if (Path(args[0]) / SHARD).exists():
                            (Path(args[0]) / SHARD).unlink()  # half deleted
                        raise Killed
                    return _real(*args, **given)

                patch.setattr(owner, name, killing)
                try:
                    merged(project, place)
                except Killed:
                    kills += 1
                else:
                    break
            if shards_by_run(place):
                merged(project, place)
            assert written(place, record.run_id) == (predictions, metrics)
            assert place.ids() == [record.run_id]
            assert not shards_by_run(place)
            assert len(place.answers_file(record.run_id).read_text().splitlines()) >= record.n
    assert kills >= 10


def test_a_record_holds_no_folder_outside_of_the_project(project: Path, store: Store, tmp_path: Path) -> None:
    data = tmp_path / "elsewhere"
    shutil.copytree(project / "tasks" / "rows", data)
    plan = plan_of(project, data=data)
    for index in (1, 2):
        run_shard(plan_of(project, data=data), Shard(index, 2), store)
    assert all(str(tmp_path).encode() not in content for content in snapshot(store).values())
    with pytest.raises(Exception, match="--data DIR") as caught:
        merged(project, store)
    assert caught.value.exit_code == 2
    assert merged(project, store, data=data).entry.run_id == plan.run_id


def test_the_manifest_of_a_shard_says_how_it_was_made(project: Path, store: Store) -> None:
    predict(project, store, "classifier")
    ((_, folders),) = shards_by_run(store).items()
    found = json.loads((folders[0].path / SHARD).read_text())
    assert found["shard"] == "1/4"
    assert found["identity"] == plan_of(project, "classifier").identity.as_json()
    assert found["weights"] == json.loads((folders[1].path / SHARD).read_text())["weights"]
    assert len(found["weights"]) == 64
    assert {name for name in ("machine", "versions", "timing", "training") if found[name]} == {
        *("machine", "versions", "timing", "training")
    }
