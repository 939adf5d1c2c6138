"""The loop: each row once, out of memory, kills, resuming, records without texts, and the engine that stays loaded."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.errors import ModelUnavailable, OutOfMemory, RunBusy, RunError
from harness.core.json_files import canonical_json
from harness.core.record import RECORD_VERSION, CheckpointFacts, HubRows, RowSource, Tokens
from harness.core.types import Decoding, text_digest
from harness.records import store as store_module
from harness.records.journal import read_journal
from harness.records.store import Store
from harness.running.plan import Plan, make_plan
from harness.running.runner import EngineSlot, Result, run
from harness.specs.catalog import Catalog

ROOT = Path(__file__).resolve().parents[3]


_RMTREE = shutil.rmtree


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def go(plan: Plan, store: Store, *, force: bool = False) -> Result:
    slot = EngineSlot()
    try:
        return run(plan, store, slot, toy.quiet, force=force)
    finally:
        slot.close()


def outcome(result: Result) -> tuple[bytes, bytes]:
    return (result.folder / "predictions.jsonl").read_bytes(), (result.folder / "metrics.json").read_bytes()


def raising(error: BaseException, when: Callable[[Sequence[str]], bool]) -> Callable[[Sequence[str]], None]:
    def hook(texts: Sequence[str]) -> None:
        if when(texts):
            raise error

    return hook


def after_batches(count: int, engine: Any) -> Callable[[Sequence[str]], bool]:
    """True once the warm-up and `count` batches were answered."""
    return lambda texts: len(engine.batches) == count + 1


def words(plan: Plan) -> int:
    """The prompt tokens of the toy model."""
    return sum(len(row.text.split()) for row in plan.rows)


# One undisturbed run


@pytest.mark.parametrize("backend", ["toy-model", "toy-classifier"])
def test_every_row_is_predicted_once_and_recorded_in_the_order_of_the_task(project: Path, store: Store, backend: str) -> None:
    plan = toy.plan(project, backend)
    engine = toy.engine_of(plan)
    result = go(plan, store)
    assert sorted(engine.counted) == sorted(row.text for row in plan.rows)
    assert [len(batch) for batch in engine.batches] == [1, 3, 3, 3, 2]
    records = store.predictions(result.run_id)
    assert [record["id"] for record in records] == [row.id for row in plan.rows]
    assert [record["truth"] for record in records] == [row.label for row in plan.rows]
    said = [int(record["label"]) if record["label"] is not None else -1 for record in records]
    assert all(label == int(word) for label, word in zip(said, toy.SAID, strict=True) if word.isdigit())
    assert sorted(path.name for path in result.folder.iterdir()) == ["metrics.json", "predictions.jsonl", "run.json"]
    assert [path.name for path in store.root.iterdir()] == [result.run_id]


def test_the_warm_up_is_the_shortest_row_and_is_not_counted(project: Path, store: Store) -> None:
    plan = toy.plan(project)
    engine = toy.engine_of(plan)
    result = go(plan, store)
    assert engine.batches[0] == [min((row.text for row in plan.rows), key=lambda text: (len(text), text))]
    record = store.record(result.run_id)
    assert record.tokens == Tokens(prompt=words(plan), new=2 * 10)
    assert record.n == 11


def test_a_slow_warm_up_costs_no_time_in_the_record(project: Path, store: Store) -> None:
    plan = toy.plan(project)
    engine = toy.engine_of(plan)
    engine.hook = lambda texts: time.sleep(0.0 if engine.batches else 0.3)
    seconds = store.record(go(plan, store).run_id).timing.seconds
    assert seconds is not None
    assert seconds < 0.3


def test_unparsed_and_failed_answers_are_recorded_with_their_reason(project: Path, store: Store) -> None:
    result = go(toy.plan(project), store)
    by_id = {record["id"]: record for record in store.predictions(result.run_id)}
    texts = {row.id: text_digest(row.text) for row in toy.plan(project).rows}
    assert {row_id: record.pop("text") for row_id, record in by_id.items()} == texts
    assert by_id["test-en-3"] == {"id": "test-en-3", "truth": 0, "label": None, "status": "unparsed", "reason": "no_answer"}
    assert by_id["test-en-5"] == {"id": "test-en-5", "truth": 2, "label": None, "status": "failed", "reason": "prompt_too_long"}
    assert (result.record.metrics.n, result.record.metrics.unparsed, result.record.metrics.failed) == (11, 1, 1)
    right = sum(word == str(n % 3) for n, word in enumerate(toy.SAID))
    assert result.record.metrics.values["accuracy"].value == pytest.approx(right / 11)


def test_the_record_says_how_it_was_made(project: Path, store: Store) -> None:
    plan = toy.plan(project, "toy-classifier", limit=7)
    toy.engine_of(plan).hook = lambda texts: time.sleep(0.05)
    result = go(plan, store)
    record = store.record(result.run_id)
    assert record.model_copy(update={"digests": None}) == result.record
    assert record.training is not None
    assert record.training.as_json().items() >= {"loss": 0.5, "rows": 9}.items()
    assert record.runtime is None
    assert record.options == plan.options
    assert (record.options.limit, record.n, record.version) == (7, 7, RECORD_VERSION)
    timing = record.timing
    assert (timing.batch_size, timing.smallest_batch, timing.sorted_by_length) == (3, 1, True)
    assert timing.seconds is not None
    assert timing.seconds >= 0.06
    assert timing.rows_per_second == pytest.approx(7 / timing.seconds, rel=0.01)
    assert record.machine.cores
    assert record.versions["python"]
    assert record.rows_from == RowSource(source="files", hub=None, split_rows=11)


@pytest.mark.parametrize("backend", ["toy-model", "toy-classifier"])
def test_the_options_of_a_record_ask_for_the_same_run(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.chdir(project)
    given = {"data": project / "tasks" / "rows", "settings": {"batch": 4}, "limit": 9, "seed": 3}
    model = {"model": str(project / "weights" / "tiny")} if backend == "toy-model" else {}
    made = go(toy.plan(project, backend, **given, **model), store).record
    assert str(project) not in made.model_dump_json()
    assert made.options.data == Path("tasks/rows")
    assert made.options.model == ("weights/tiny" if model else None)
    again = make_plan(made.options, Catalog(project))
    assert again.identity == made.identity
    assert not go(again, store).computed


def test_the_record_says_where_the_rows_came_from_and_the_run_is_the_same(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy.plan(project, "toy-classifier")
    moved = toy.plan(project, "toy-classifier", data=project / "tasks" / "rows", limit=100)
    assert moved.identity == plan.identity
    assert moved.rows_from == RowSource(source="data", hub=None, split_rows=11)
    result = go(moved, store)
    assert str(project) not in (result.folder / "run.json").read_text()
    assert store.record(result.run_id).has_own_rows

    def load(hub: Any, config: str | None, split: str) -> dict[str, list[Any]]:
        rows = toy.read_rows(project, {"dev": "test"}.get(split, split))
        return {key: [row[key] for row in rows] for key in rows[0]}

    monkeypatch.setattr("harness.data.sources._load_hub", load)
    files = toy.TASK.partition("{files")[2].partition("\n")[0]
    on_hub = toy.TASK.replace("{files" + files, "{hub: {id: me/toys, revision: v1}}")
    (project / "tasks" / "toy.yaml").write_text(on_hub + "splits: {test: dev}\n")
    named = toy.plan(project, "toy-classifier")
    assert named.run_id == plan.run_id
    hub = HubRows(id="me/toys", config=None, revision="v1", split="dev")
    assert named.rows_from == RowSource(source="hub", hub=hub, split_rows=11)
    (project / "tasks" / "toy.yaml").write_text(on_hub + "splits: {stratified: {of: [train, dev]}}\n")
    assert toy.plan(project, "toy-classifier").rows_from.hub == hub.model_copy(update={"split": None})
    assert toy.plan(project, "toy-classifier", data=project / "tasks" / "rows").rows_from.hub is None


def test_progress_counts_rows_up_to_all(project: Path, store: Store) -> None:
    seen: list[tuple[str, int, int]] = []
    run(toy.plan(project), store, EngineSlot(), lambda phase, done, total, note: seen.append((phase, done, total)))
    before = [("load", 0, 0), ("replay", 0, 11), ("warm up", 0, 0)]
    assert seen == [*before, *(("predict", done, 11) for done in (0, 3, 6, 9, 11))]


# Nothing twice


def test_a_finished_run_is_found_and_its_model_never_loaded(project: Path, store: Store) -> None:
    first = go(toy.plan(project), store)
    again = toy.plan(project)
    found = go(again, store)
    assert (first.computed, found.computed) == (True, False)
    assert (found.run_id, found.folder, found.metrics) == (first.run_id, first.folder, first.metrics)
    assert toy.engine_of(again).loads == 0
    assert not toy.engine_of(again).batches


def test_memory_settings_are_no_part_of_the_id_and_a_run_that_has_them_is_found(project: Path, store: Store) -> None:
    """Earlier versions had them in the identity."""
    plain, set_ = toy.plan(project), toy.plan(project, settings={"tokens": 50})
    assert (plain.run_id, plain.earlier_run_id) == (set_.run_id, None)
    options = {**set_.identity.backend.options, "tokens": 50}
    backend = set_.identity.backend.model_copy(update={"options": options})
    earlier = replace(set_, identity=set_.identity.model_copy(update={"backend": backend}))
    assert earlier.run_id == set_.earlier_run_id != set_.run_id
    first = go(earlier, store)
    found = go(set_, store)
    assert (found.computed, found.run_id, found.folder) == (False, first.run_id, first.folder)
    assert go(plain, store).computed
    assert store.record(first.run_id).timing.batch_tokens == 50


def test_an_engine_that_depends_on_the_number_of_rows_is_told_and_loaded_for_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(toy.ToyClassifier, "expect", lambda self, rows, validation_rows: told.append(rows))
    monkeypatch.setattr(toy.ToyClassifier, "expected_rows", lambda self: told[-1])
    one, other = toy.plan(project, "toy-classifier"), toy.plan(project, "toy-classifier", limit=3)
    assert told == [len(one.rows), len(other.rows)] == [11, 3]
    slot = EngineSlot()
    loaded = [slot.ready(plan, toy.quiet)[0].engine for plan in (other, other)]
    assert loaded == [other.engine] * 2
    told.append(11)
    assert slot.ready(one, toy.quiet)[0].engine is one.engine
    slot.close()


def test_force_predicts_again(project: Path, store: Store) -> None:
    first = go(toy.plan(project), store)
    before = outcome(first)
    plan = toy.plan(project)
    again = go(plan, store, force=True)
    assert again.computed
    assert sorted(toy.engine_of(plan).counted) == sorted(row.text for row in plan.rows)
    assert outcome(again) == before
    assert [path.name for path in store.root.iterdir()] == [first.run_id]


def test_force_leaves_the_old_record_until_the_new_one_is_whole(project: Path, store: Store) -> None:
    first = go(toy.plan(project), store)
    before = outcome(first)
    plan = toy.plan(project)
    engine = toy.engine_of(plan)
    engine.hook = raising(Killed(), after_batches(2, engine))
    with pytest.raises(Killed):
        go(plan, store, force=True)
    assert outcome(first) == before
    again = toy.plan(project)
    assert outcome(go(again, store, force=True)) == before
    assert len(toy.engine_of(again).counted) == 11  # the two batches are predicted again, too


def test_the_answers_of_one_model_are_never_served_for_another(project: Path, store: Store, tmp_path: Path) -> None:
    slot, labels = EngineSlot(), []
    for shift, folder in enumerate("ab"):  # two folders of the same name
        weights = toy.write_checkpoint(tmp_path / folder / "mine", shift)
        plan = toy.plan(project, model=str(weights))
        labels.append([record["label"] for record in store.predictions(run(plan, store, slot, toy.quiet).run_id)])
    assert labels[1] == [None if label is None else (label + 1) % 3 for label in labels[0]]
    toy.write_checkpoint(tmp_path / "a" / "mine", 2)  # new weights in the old place
    plan = toy.plan(project, model=str(tmp_path / "a" / "mine"))
    records = store.predictions(run(plan, store, slot, toy.quiet).run_id)
    assert [record["label"] for record in records] == [None if label is None else (label + 2) % 3 for label in labels[0]]


def test_the_record_says_what_the_checkpoint_is_and_no_id_depends_on_it(
    project: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = toy.write_checkpoint(tmp_path / "mine")
    plain = toy.plan(project, model=str(weights))
    (weights / "README.md").write_text("---\nbase_model: org/name\n---\n")
    monkeypatch.setattr("harness.models.checkpoints.stored_precision", lambda folder: "4-bit (awq)")
    plan = toy.plan(project, model=str(weights))
    found = go(plan, store).record.checkpoint
    assert found == CheckpointFacts(parameters=None, stored="4-bit (awq)", base="org/name")
    assert plan.run_id == plain.run_id


def test_another_folder_of_results_makes_the_same_run_anew(project: Path, store: Store, tmp_path: Path) -> None:
    first = go(toy.plan(project), store)
    other = go(toy.plan(project), Store(tmp_path / "other"))
    assert other.computed
    assert other.run_id == first.run_id
    assert outcome(other) == outcome(first)


# Out of memory


@pytest.mark.parametrize(("capacity", "smallest"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_out_of_memory_halves_the_batch_and_goes_on(project: Path, store: Store, capacity: int, smallest: int) -> None:
    whole = outcome(go(toy.plan(project), Store(store.root / "whole")))
    (project / "backends" / "toy-model.yaml").write_text(
        f"engine: toy_model\nmodel: {project / 'weights' / 'tiny'}\noptions: {{batch: 8}}\n"
    )
    plan = toy.plan(project)
    engine = toy.engine_of(plan)
    engine.hook = raising(OutOfMemory("full"), lambda texts: len(texts) > capacity)
    result = go(plan, store)
    assert sorted(engine.counted) == sorted(row.text for row in plan.rows)
    assert max(len(batch) for batch in engine.batches) <= capacity
    assert outcome(result) == whole
    timing = store.record(result.run_id).timing
    assert (timing.batch_size, timing.smallest_batch) == (8, smallest)  # of 11 rows: 8 and 3


def test_a_single_row_without_memory_fails_the_run_and_keeps_what_was_done(project: Path, store: Store) -> None:
    plan = toy.plan(project)
    engine = toy.engine_of(plan)
    victim = next(row for row in plan.rows if row.id == "test-en-8")
    engine.hook = raising(OutOfMemory("full"), lambda texts: victim.text in texts)
    with pytest.raises(RunError, match=r"single row \(test-en-8\)") as caught:
        go(plan, store)
    assert not isinstance(caught.value, OutOfMemory)
    assert store.ids() == []
    done = [row.id for entry in read_journal(store.root / f"{plan.run_id}.partial" / "journal.jsonl") for row in entry.rows]
    assert len(done) == len(engine.counted) > 0
    again = toy.plan(project)
    go(again, store)
    assert sorted([*engine.counted, *toy.engine_of(again).counted]) == sorted(row.text for row in plan.rows)


def test_no_memory_while_loading_is_a_failed_run(project: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: object) -> None:
        raise OutOfMemory("full")

    monkeypatch.setattr(toy.ToyModel, "load", load)
    with pytest.raises(RunError, match="toy-model: no memory left while loading"):
        go(toy.plan(project), store)


# Kills


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["toy-model", "toy-classifier"])
def test_a_killed_run_goes_on_wherever_it_was_killed(project: Path, store: Store, backend: str) -> None:
    whole = outcome(go(toy.plan(project, backend), Store(store.root / "whole")))
    for count in range(4):
        place = Store(store.root / str(count))
        plan = toy.plan(project, backend)
        engine = toy.engine_of(plan)
        engine.hook = raising(Killed(), after_batches(count, engine))
        with pytest.raises(Killed):
            go(plan, place)
        assert place.ids() == []
        assert (place.root / f"{plan.run_id}.partial").is_dir()
        again = toy.plan(project, backend)
        result = go(again, place)
        assert outcome(result) == whole
        assert sorted([*engine.counted, *toy.engine_of(again).counted]) == sorted(row.text for row in plan.rows)
        assert place.record(result.run_id).tokens.prompt == (words(plan) if backend == "toy-model" else 0)
        assert [path.name for path in place.root.iterdir()] == [result.run_id]


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True])
def test_a_kill_while_the_record_is_written_costs_nothing(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """Every rename, deletion and write of `Store.finish` fails once; the same command mends it each time."""
    whole = outcome(go(toy.plan(project), store)) if force else outcome(go(toy.plan(project), Store(store.root / "whole")))
    names = [(store_module, "write_atomically"), (Path, "replace"), (shutil, "rmtree"), (Path, "unlink")]
    kills = 0
    for owner, name in names:
        for count in range(9):
            place = Store(store.root / f"{name}{count}")
            if force:
                go(toy.plan(project), place)
            seen = [0]
            with monkeypatch.context() as patch:
                real: Callable[..., Any] = getattr(owner, name)

                def killing(
                    *args: Any, _real: Callable[..., Any] = real, _seen: list[int] = seen, _count: int = count, **options: Any
                ) -> Any:
                    if str(args[0]).endswith(".lock"):
                        return _real(*args, **options)
                    _seen[0] += 1
                    if _seen[0] == _count + 1:
                        if _real is _RMTREE and Path(args[0]).is_dir():
                            next(Path(args[0]).glob("predictions.jsonl")).unlink()  # half deleted
                        raise Killed
                    return _real(*args, **options)

                patch.setattr(owner, name, killing)
                try:
                    go(toy.plan(project), place, force=force)
                except Killed:
                    kills += 1
                else:
                    break
            again = toy.plan(project)
            assert outcome(go(again, place)) == whole
            if not force:
                assert not toy.engine_of(again).counted  # all batches were in the journal
    assert kills >= 6


def killed_after_three_batches(project: Path, store: Store) -> tuple[tuple[bytes, bytes], Path]:
    """What an undisturbed run gives, and the journal of one that was killed."""
    whole = outcome(go(toy.plan(project), Store(store.root / "whole")))
    plan = toy.plan(project)
    engine = toy.engine_of(plan)
    engine.hook = raising(Killed(), after_batches(3, engine))
    with pytest.raises(Killed):
        go(plan, store)
    return whole, store.root / f"{plan.run_id}.partial" / "journal.jsonl"


def test_a_torn_last_line_of_the_journal_is_dropped(project: Path, store: Store) -> None:
    whole, journal = killed_after_three_batches(project, store)
    content = journal.read_bytes()
    for cut in (1, 2, 20):
        journal.write_bytes(content[:-cut])
        again = toy.plan(project)
        toy.engine_of(again).hook = raising(Killed(), after_batches(1, toy.engine_of(again)))
        with pytest.raises(Killed):
            go(again, store)
        assert len(read_journal(journal)) == 3  # two whole lines and the batch that was predicted now
    last = toy.plan(project)
    assert outcome(go(last, store)) == whole
    assert len(toy.engine_of(last).counted) == 2


@pytest.mark.parametrize(
    "damage",
    [
        *(
            b"\0" * 40,
            b"{}x",
            b"\xff\xfe",
            b"",
            b"LINE,",
            b"LABEL",
            b"null",
            b"7",
            b'{"rows": [{"id": "a"}]}',
            b'{"seconds": 1}',
        ),
        *(b"[" * 100_000, b'{"seconds": ' + b"9" * 5000 + b"}", b'{"rows": 1, "seconds": NaN}'),
    ],
    ids=lambda damage: repr(damage[:30]),
)
def test_only_the_rows_of_a_damaged_line_are_predicted_again(
    project: Path, store: Store, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    whole, journal = killed_after_three_batches(project, store)
    lines = journal.read_bytes().split(b"\n")
    lost = len(json.loads(lines[1])["rows"])
    kept = sum(len(json.loads(line)["rows"]) for line in (lines[0], lines[2]))
    damaged = damage.replace(b"LINE", lines[1]).replace(b"LABEL", lines[1].replace(b'"label":1', b'"label":2'))
    assert damaged != lines[1]
    journal.write_bytes(b"\n".join([lines[0], damaged, *lines[2:]]))
    again = toy.plan(project)
    assert outcome(go(again, store)) == whole
    assert len(toy.engine_of(again).counted) == 11 - kept
    assert lost == 3
    assert f"1 damaged line of its journal left out: those rows are predicted again, {kept} are kept" in caplog.text


def test_a_journal_of_an_earlier_version_goes_on(project: Path, store: Store) -> None:
    whole, journal = killed_after_three_batches(project, store)
    entries = [json.loads(line) for line in journal.read_bytes().splitlines()]
    for entry in entries:
        del entry["sha256"]
    journal.write_bytes(b"".join(canonical_json(entry).encode() + b"\n" for entry in entries))
    again = toy.plan(project)
    assert outcome(go(again, store)) == whole
    assert len(toy.engine_of(again).counted) == 11 - sum(len(entry["rows"]) for entry in entries)


KILLED_RUN = """
import sys, time
from pathlib import Path
import toy, harness.specs.backend_specs
from harness.running.runner import EngineSlot, run
from harness.records.store import Store
harness.specs.backend_specs.entry_points = toy.toy_entry_points
plan = toy.plan(Path(sys.argv[1]), sys.argv[3])
toy.engine_of(plan).hook = lambda texts: time.sleep(0.05)
run(plan, Store(Path(sys.argv[2])), EngineSlot(), toy.quiet)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["toy-model", "toy-classifier"])
def test_kill_9_at_random_moments(project: Path, store: Store, tmp_path: Path, backend: str) -> None:
    rows = [toy.row("test", "en", n, toy.SAID[n % 11], n % 3) for n in range(240)]
    toy.write_rows(project, "test", rows)
    whole = outcome(go(toy.plan(project, backend), Store(tmp_path / "whole")))
    name = toy.plan(project, backend).run_id
    journal = store.root / f"{name}.partial" / "journal.jsonl"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parents[1])])}
    moments = random.Random(7)
    sizes = []
    for _ in range(3):
        command = [sys.executable, "-c", KILLED_RUN, str(project), str(store.root), backend]
        process = subprocess.Popen(command, env=environment)
        started, before = time.monotonic(), len(read_journal(journal))
        while len(read_journal(journal)) <= before and process.poll() is None and time.monotonic() < started + 60:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.25))
        assert process.poll() is None, "the run was over before it was killed"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        sizes.append(len(read_journal(journal)))
        assert sizes[-1] > before  # what was done before the kill is kept
        assert store.ids() == []
    last = toy.plan(project, backend)
    result = go(last, store)
    assert outcome(result) == whole
    assert len(toy.engine_of(last).counted) == 240 - 3 * sizes[-1]
    if backend == "toy-model":
        answers = [json.loads(line) for line in store.answers_file(name).read_text(encoding="utf-8").splitlines()]
        assert {answer["id"] for answer in answers} == {row["id"] for row in rows}


def test_baseline_with_one_row_a_batch_goes_on_to_the_same_bytes(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = outcome(go(toy.plan(project, "tfidf"), Store(store.root / "whole")))
    monkeypatch.setattr("backends.baseline.Baseline.batch_size", lambda self: 1)
    from backends.baseline import Baseline

    predict, calls = Baseline.predict, [0]

    def killing(self: Baseline, texts: Sequence[str]) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            raise Killed
        return predict(self, texts)

    monkeypatch.setattr(Baseline, "predict", killing)
    with pytest.raises(Killed):
        go(toy.plan(project, "tfidf"), store)
    assert outcome(go(toy.plan(project, "tfidf"), store)) == whole
    assert calls[0] == 5 + 1 + (11 - 3)


# Two processes, and what is in the files


def test_a_run_that_another_process_works_on_is_busy(project: Path, store: Store) -> None:
    plan = toy.plan(project)
    with store.journal(plan.run_id):
        with pytest.raises(RunBusy, match=plan.run_id):
            go(plan, store)
        assert toy.engine_of(plan).loads == 0  # no second copy of the model beside the other process
        assert go(toy.plan(project, lang="de"), store).computed
    assert go(toy.plan(project), store).computed


@pytest.mark.parametrize("decoding", list(Decoding))
@pytest.mark.parametrize("finished", [True, False])
def test_no_text_and_no_answer_enters_a_record(project: Path, store: Store, decoding: Decoding, finished: bool) -> None:
    for backend in ("toy-model", "toy-classifier"):
        plan = toy.plan(project, backend, prompt="shown", decoding=decoding)
        engine = toy.engine_of(plan)
        if not finished:
            engine.hook = raising(Killed(), after_batches(2, engine))
            with pytest.raises(Killed):
                go(plan, store)
        else:
            go(plan, store)
        assert toy.SECRET in engine.batches[0][0]
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert len(files) == (6 if finished else 2)
    for path in files:
        content = path.read_text(encoding="utf-8")
        assert toy.SECRET not in content
        assert "says" not in content
        assert str(project) not in content
    said = store.answers_file(toy.plan(project, prompt="shown", decoding=decoding).run_id)
    assert said.exists() == (decoding is not Decoding.SCORE)
    if said.exists():
        assert toy.SECRET in said.read_text(encoding="utf-8")


def test_halves_of_surrogate_pairs_pass_through(project: Path, store: Store) -> None:
    rows = [{**row, "id": row["id"] + "\ud83d", "text": "\ud800 " + row["text"]} for row in toy.read_rows(project, "test")]
    toy.write_rows(project, "test", rows)
    train = [{**row, "id": row["id"] + "\udfff", "text": "\udfff " + row["text"]} for row in toy.read_rows(project, "train")]
    toy.write_rows(project, "train", train)
    result = go(toy.plan(project, prompt="shown", limit=9), store)
    assert all(record["id"].endswith("\ud83d") for record in store.predictions(result.run_id))


# The engine that stays loaded


def test_the_next_run_of_the_same_model_reuses_the_engine(project: Path, store: Store) -> None:
    slot = EngineSlot()
    english, german = toy.plan(project), toy.plan(project, lang="de", decoding=Decoding.SCORE)
    first, second = toy.engine_of(english), toy.engine_of(german)
    run(english, store, slot, toy.quiet)
    run(german, store, slot, toy.quiet)
    assert (first.loads, first.closes, second.loads, second.batches) == (1, 0, 0, [])
    assert first.resets == 1  # what was kept of the first run's texts would make the second one faster
    assert len(first.counted) == 11 + 1 + 11
    slot.close()
    slot.close()
    assert first.closes == 1


def test_a_trained_classifier_is_reused_in_another_language_only_if_it_is_the_same_one(project: Path, store: Store) -> None:
    slot = EngineSlot()
    plans = [toy.plan(project, "toy-classifier", lang=lang, train_lang=("en",)) for lang in ("en", "de")]
    plans.append(toy.plan(project, "toy-classifier", lang="de"))
    engines = [toy.engine_of(plan) for plan in plans]
    for plan in plans:
        run(plan, store, slot, toy.quiet)
    assert [engine.fits for engine in engines] == [1, 0, 1]
    assert [engine.loads for engine in engines] == [0, 0, 0]
    assert [engine.closes for engine in engines] == [1, 0, 0]
    assert {one.as_json()["rows"] for plan in plans if (one := store.record(plan.run_id).training) is not None} == {9}


@pytest.mark.parametrize("change", ["weights", "options", "backend"])
def test_another_model_closes_the_engine(project: Path, store: Store, change: str) -> None:
    slot = EngineSlot()
    plan = toy.plan(project)
    run(plan, store, slot, toy.quiet)
    if change == "weights":
        toy.write_checkpoint(project / "weights" / "tiny", shift=1)
    if change == "options":
        path = project / "backends" / "toy-model.yaml"
        path.write_text(path.read_text() + "options: {flavour: other}\n")
    other = toy.plan(project, "toy-classifier" if change == "backend" else "toy-model")
    events: list[str] = []
    toy.engine_of(other).hook = lambda texts: events.append(f"closed {toy.engine_of(plan).closes}")
    run(other, store, slot, toy.quiet)
    assert events[0] == "closed 1"  # before the next one takes the memory
    assert toy.engine_of(other).closes == 0


@pytest.mark.parametrize("error", [ModelUnavailable("gone"), OutOfMemory("full"), KeyboardInterrupt()])
def test_an_engine_that_fails_to_load_is_closed_and_not_reused(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    slot = EngineSlot()
    load = toy.ToyModel.load

    def failing(self: toy.ToyModel) -> None:
        raise error

    monkeypatch.setattr(toy.ToyModel, "load", failing)
    plan = toy.plan(project)
    with pytest.raises((RunError, KeyboardInterrupt)):
        run(plan, store, slot, toy.quiet)
    assert toy.engine_of(plan).closes == 1
    monkeypatch.setattr(toy.ToyModel, "load", load)
    again = toy.plan(project)
    assert run(again, store, slot, toy.quiet).computed
    assert toy.engine_of(again).loads == 1


def test_a_plan_with_an_engine_of_ones_own_runs_like_any_other(project: Path, store: Store) -> None:
    plan = toy.plan(project)
    engine = toy.ToyModel(toy.ToyOptions(batch=11), project / "weights" / "tiny")
    go(replace(plan, engine=engine), store)
    assert [len(batch) for batch in engine.batches] == [1, 11]
    assert engine.closes == 1


@pytest.mark.slow
def test_two_processes_with_two_caches_on_one_results_folder(
    project: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two machines, users or containers the second is told, and computes nothing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parents[1])])}
    environment["BENCH_CACHE"] = str(tmp_path / "other-cache")
    command = [sys.executable, "-c", KILLED_RUN.replace("0.05", "600"), str(project), str(store.root), "toy-model"]
    first = toy.plan(project)
    with subprocess.Popen(command, env=environment) as process:
        lock = store.root / f"{first.run_id}.lock"
        while not (lock.exists() and lock.stat().st_size) and process.poll() is None:
            time.sleep(0.05)
        with pytest.raises(RunBusy, match=rf"Another process \({process.pid} on .*\) is working on the run"):
            go(first, store)
        assert not toy.engine_of(first).counted
        process.kill()
    second = toy.plan(project)
    go(second, store)
    assert toy.engine_of(second).counted
    assert not lock.exists()


def test_a_run_that_another_process_finished_meanwhile_is_found(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy.plan(project)
    real = Store.journal

    @contextmanager
    def late(self: Store, name: str) -> Iterator[Any]:
        monkeypatch.setattr(Store, "journal", real)
        run(toy.plan(project), store, EngineSlot(), toy.quiet)
        with real(self, name) as journal:
            yield journal

    monkeypatch.setattr(Store, "journal", late)
    result = go(plan, store)
    assert not result.computed
    assert not toy.engine_of(plan).counted
