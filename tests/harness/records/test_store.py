"""Run records: found by their name, written whole, never half replaced."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import boards
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import DamagedRecord, RunBusy, UserError
from harness.core.json_files import canonical_json, digest, write_atomically
from harness.core.record import RunRecord, Timing
from harness.core.types import Example, Prediction, Status
from harness.records import store as store_module
from harness.records.journal import JournalEntry, prediction_from, prediction_record, read_journal
from harness.records.store import Store

BATCH = JournalEntry(seconds=1.0, prompt_tokens=0, new_tokens=0, batch=1)


def made(name: str = "", accuracy: float | None = 0.5, seconds: float = 1.0) -> RunRecord:
    """`name`: in place of the id that its identity gives."""
    record = boards.entry("llm", accuracy).record
    update = {"run_id": name or record.identity.run_id, "timing": Timing(seconds=seconds)}
    return record.model_copy(update=update)


NAME = made().run_id


def accuracy(store: Store) -> float | None:
    return store.record(NAME).metrics.values["accuracy"].value


def finish(store: Store, name: str = "", accuracy: float = 0.5) -> Path:
    record = made(name, accuracy)
    with store.journal(record.run_id) as journal:
        journal.append(BATCH)
        journal.flush()
        return store.finish(record, [{"id": "a"}, {"id": "b\u2028"}])


# Finding


def test_an_empty_or_absent_store(store: Store) -> None:
    assert store.ids() == []
    with pytest.raises(UserError, match="There are no runs in"):
        store.find("x")


def test_a_run_that_is_not_finished_is_called_so(store: Store) -> None:
    with store.journal("task.en.llm.s0.aaaa11") as journal:
        journal.append(BATCH)
    for _ in range(2):
        with pytest.raises(UserError, match=r"^task\.en\.llm\.s0\.aaaa11 is not finished"):
            store.find("llm")
        finish(store, "task.en.tfidf.s0.bbbb22")
    with pytest.raises(UserError, match="There is no run 'gone'"):
        store.find("gone")


def test_a_run_is_found_by_a_part_that_only_it_has(store: Store) -> None:
    for name in ("task.en.bert.s0.aaaa11", "task.en.tfidf.s0.bbbb22", "task.de.bert.s0.cccc33"):
        finish(store, name)
    assert store.find("task.en.b") == "task.en.bert.s0.aaaa11"
    assert store.find("tfidf") == "task.en.tfidf.s0.bbbb22"
    assert store.find("bbbb22") == "task.en.tfidf.s0.bbbb22"
    assert store.find("task.de.bert.s0.cccc33") == "task.de.bert.s0.cccc33"


def test_an_ambiguous_id_lists_what_it_could_be(store: Store) -> None:
    for name in ("task.en.a.11", "task.en.b.22", "other.33"):
        finish(store, name)
    with pytest.raises(UserError, match="matches 2 runs") as caught:
        store.find("task.en")
    assert "task.en.a.11" in caught.value.hint
    assert "task.en.b.22" in caught.value.hint
    assert "other" not in caught.value.hint
    with pytest.raises(UserError, match="matches 3 runs"):
        store.find("")
    with pytest.raises(UserError, match="no run 'nothing'"):
        store.find("nothing")


def test_a_whole_id_wins_over_one_that_it_begins(store: Store) -> None:
    finish(store, "run.1")
    finish(store, "run.11")
    assert store.find("run.1") == "run.1"


def test_only_finished_runs_are_listed(store: Store) -> None:
    finish(store, "done.1")
    with store.journal("open.2") as journal:
        journal.append(BATCH)
    (store.root / "unrelated").mkdir()
    (store.root / "notes.txt").write_text("x")
    written = store.root / "open.3.partial"  # killed after the files, before the rename
    written.mkdir()
    (written / "run.json").write_text("{}")
    assert store.ids() == ["done.1"]


# Writing


def test_a_record_holds_what_was_given(store: Store) -> None:
    folder = finish(store)
    assert store.record(NAME).model_copy(update={"digests": None}) == made()
    assert store.predictions(NAME) == [{"id": "a"}, {"id": "b\u2028"}]
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "predictions.jsonl", "run.json"]


def test_a_finished_run_can_be_replaced(store: Store) -> None:
    folder = finish(store)
    (folder / "left-over.txt").write_text("x")
    finish(store, accuracy=0.75)
    assert accuracy(store) == 0.75
    assert [path.name for path in store.root.iterdir()] == [NAME]
    assert not (folder / "left-over.txt").exists()


def test_a_record_that_can_not_be_written_leaves_the_old_one(store: Store) -> None:
    finish(store)
    with pytest.raises(ValueError, match="not JSON compliant"), store.journal(NAME):
        store.finish(made(), [{"id": float("nan")}])
    assert accuracy(store) == 0.5
    assert store.ids() == [NAME]


def test_the_record_of_another_run_is_refused(store: Store) -> None:
    """A folder that was copied or renamed."""
    finish(store).rename(store.root / "copy.0123456789")
    with pytest.raises(DamagedRecord, match=re.escape(NAME)):
        store.record("copy.0123456789")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os if failing == "fsync" else Path, failing, full)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]
    write_atomically(path, "new\n")
    assert path.read_bytes() == b"new\n"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


WRITE = """
import sys
from pathlib import Path
from harness.core.json_files import write_atomically
for _ in range(150):
    write_atomically(Path(sys.argv[1]), sys.argv[2] * 20_000)
"""


@pytest.mark.slow
def test_two_processes_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "a" * 20_000)
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(path), letter]) for letter in "ab"]
    seen = []
    while any(writer.poll() is None for writer in writers):
        seen.append(path.read_bytes())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert {(len(content), len(set(content))) for content in seen} == {(20_000, 1)}
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_bytes_and_line_ends_are_written_as_they_are(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", b"\x00\xff\r\n")
    assert (tmp_path / "x").read_bytes() == b"\x00\xff\r\n"
    write_atomically(tmp_path / "x", "é\r\n\n")
    assert (tmp_path / "x").read_bytes() == b"\xc3\xa9\r\n\n"


@pytest.mark.skipif(os.name != "posix", reason="modes and links as POSIX has them")
def test_a_written_file_is_as_any_other_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(Path("there") / "file.txt")
    for content in ("new", "newer"):
        write_atomically(link, content)
        assert (tmp_path / "there" / "file.txt").read_text() == content
    assert link.is_symlink()
    assert (tmp_path / "there" / "file.txt").stat().st_mode == (tmp_path / "usual").stat().st_mode
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "nowhere" / "file.txt", "x")
    assert caught.value.filename == str(tmp_path / "nowhere" / "file.txt")


def test_what_a_killed_write_left_does_not_get_into_the_record(store: Store) -> None:
    with store.journal("run.1"):
        (store.root / "run.1.partial" / "run.json.0a1b2c3d.tmp").write_text("{")
    assert sorted(path.name for path in finish(store, "run.1").iterdir()) == ["metrics.json", "predictions.jsonl", "run.json"]


# The journal


def test_a_journal_goes_on(store: Store) -> None:
    for number in range(3):
        with store.journal("run.1") as journal:
            assert len(journal.entries()) == number
            journal.append(replace(BATCH, batch=number), [{"id": f"{number}", "answer": "a\nb"}])
    assert [entry.batch for entry in read_journal(store.root / "run.1.partial" / "journal.jsonl")] == [0, 1, 2]
    assert len(store.answers_file("run.1").read_bytes().splitlines()) == 3
    with store.journal("run.1") as journal:
        journal.clear()
        journal.clear()
        assert journal.entries() == []
    assert not store.answers_file("run.1").exists()


def test_a_batch_is_on_disk_when_append_returns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    path = store.root / "run.1.partial" / "journal.jsonl"
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(path.read_bytes()))
    with store.journal("run.1") as journal:
        journal.append(replace(BATCH, batch=1))
        assert [entry.batch for entry in journal.entries()] == [1]
    assert synced[0] == path.read_bytes()  # the file, and then its folder
    assert len(synced) == 2


@pytest.mark.parametrize("torn", [b'{"num', b'{"number":1}', b"\xe3\x81", b"\0\0\0"])
def test_what_a_kill_left_of_a_line_is_dropped_and_nothing_is_appended_to_it(store: Store, torn: bytes) -> None:
    with store.journal("run.1") as journal:
        journal.append(replace(BATCH, batch=0), [{"id": "0", "answer": "x"}])
    files = [store.root / "run.1.partial" / "journal.jsonl", store.answers_file("run.1")]
    for path in files:
        path.write_bytes(path.read_bytes() + torn)
    with store.journal("run.1") as journal:
        journal.append(replace(BATCH, batch=1), [{"id": "1", "answer": "y"}])
    for path in files:
        assert len([json.loads(line) for line in path.read_bytes().splitlines()]) == 2


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none.jsonl") == []


def test_one_process_at_a_time(store: Store) -> None:
    with store.journal("run.1"):
        with pytest.raises(RunBusy), store.journal("run.1"):
            pass
        with store.journal("run.2"), Store(store.root.parent / "other").journal("run.1"):
            pass
    with store.journal("run.1"):
        pass


def test_the_lock_stands_beside_the_run_while_that_is_under_way(store: Store) -> None:
    with store.journal("run.1"):
        assert sorted(path.name for path in store.root.rglob("*")) == ["run.1.lock", "run.1.partial"]
        assert store.ids() == []
    assert [path.name for path in store.root.rglob("*")] == ["run.1.partial"]


# Values


@pytest.mark.parametrize(
    "prediction",
    [
        Prediction("a", 2, probabilities=(0.1, 0.2, 0.7)),
        Prediction("a", 0),
        Prediction("a", (0, 2)),
        Prediction("a", ()),
        Prediction("a", None, Status.UNPARSED, "ambiguous"),
        Prediction("a", None, Status.FAILED, "prompt_too_long"),
    ],
)
def test_a_prediction_survives_the_record(prediction: Prediction) -> None:
    record = prediction_record(Example("a", "the text", 1, "en"), prediction)
    assert record["truth"] == 1
    assert "the text" not in repr(record)
    assert prediction_from(json.loads(canonical_json(record))) == prediction


def test_a_batch_survives_the_journal(store: Store) -> None:
    rows = (Prediction("a", 2, log_p=(-0.1, -2.5)), Prediction("b", None, Status.FAILED, "timeout"))
    batch = JournalEntry(
        *(1.25, 7, 3, 2),
        rows=rows,
        ask_again=["b"],
        sent_instead={"logprobs": None},
        cut={"rows": 2, "cut": 1, "tokens": 9, "lost": 4},
        content_free=[[-0.5, -1.0]],
    )
    with store.journal("run.1") as journal:
        journal.append(batch)
        journal.append(BATCH)
        assert journal.entries() == [batch, BATCH]


def test_a_journal_holds_no_text_and_no_true_label(store: Store) -> None:
    with store.journal("run.1") as journal:
        journal.append(replace(BATCH, rows=(Prediction("a", 1),)))
    (line,) = (store.root / "run.1.partial" / "journal.jsonl").read_text().splitlines()
    assert json.loads(line)["rows"] == [{"id": "a", "label": 1, "status": "ok"}]


def test_probabilities_are_rounded_for_the_record() -> None:
    record = prediction_record(Example("a", "t", 1, "en"), Prediction("a", 0, probabilities=(2 / 3, 1 / 3)))
    assert record["probabilities"] == [0.666667, 0.333333]


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2, {"c": 3, "d": 4}]}) == digest({"b": [2, {"d": 4, "c": 3}], "a": 1})
    assert digest([1, 2]) != digest([2, 1])
    assert digest({"a": "1"}) != digest({"a": 1})


TEXTS = st.text(st.characters(codec=None))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_canonical_json_is_one_line_of_utf8_and_reads_back(value: Any) -> None:
    line = canonical_json(value).encode("utf-8")
    assert b"\n" not in line
    assert json.loads(line) == value
    assert canonical_json(json.loads(line)).encode() == line


def test_halves_of_surrogate_pairs_are_escaped_and_nothing_else_is() -> None:
    assert canonical_json("星 é \u2028") == '"星 é \u2028"'
    assert canonical_json("a\ud800") == '"a\\ud800"'


def test_new_metrics_are_sealed_anew_and_a_kill_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finish(store)
    real = store_module.write_atomically
    for count in range(3):
        calls = [0]

        def killed(path: Path, content: str | bytes, calls: list[int] = calls, count: int = count) -> None:
            calls[0] += 1
            if calls[0] == count + 1:
                raise KeyboardInterrupt
            real(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(store_module, "write_atomically", killed)
            with pytest.raises(KeyboardInterrupt):
                store.replace_metrics(NAME, made(accuracy=0.6).metrics)
        assert accuracy(store) in (0.5, 0.6)
    store.replace_metrics(NAME, made(accuracy=0.7).metrics)
    assert accuracy(store) == 0.7
    assert isinstance(json.loads((folder / "run.json").read_text())["digests"]["metrics.json"], str)
    boards.write_json(folder / "metrics.json", made(accuracy=0.8).metrics.as_json())
    with pytest.raises(DamagedRecord, match=r"metrics\.json"):
        store.record(NAME)


def test_answers_of_a_run_whose_folder_has_the_longest_name(store: Store) -> None:
    """Such a folder is from elsewhere: the name of a file of answers would be longer than file systems allow."""
    store.answers_file("run.1").parent.mkdir(parents=True, exist_ok=True)
    assert read_journal(store.answers_file("r" * 255)) == []
    assert store.answers_file("run.1").name == "run.1.jsonl"
