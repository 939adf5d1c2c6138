"""Predictions as arrays: each comes back as it was, the latest of a row wins; the thread that writes journals."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from harness.core.json_files import sealed_line, unsealed
from harness.core.types import Prediction, Status
from harness.records import journal_writer
from harness.records.journal import JournalEntry
from harness.records.journal_writer import JournalWriter
from harness.records.outcomes import Outcomes

ROWS = [
    Prediction("a", 1, probabilities=(0.25, 0.75)),
    Prediction("b", None, Status.FAILED, "timeout"),
    Prediction("c", 0, probabilities=(1.0, 0.0)),
    Prediction("d", None, Status.UNPARSED, "no_label"),
]


def entry(*rows: Prediction, again: tuple[str, ...] = ()) -> JournalEntry:
    return JournalEntry(seconds=1.0, prompt_tokens=0, new_tokens=0, batch=len(rows), rows=rows, ask_again=again)


def test_predictions_come_back_as_they_were_in_the_order_of_the_ids() -> None:
    outcomes = Outcomes(["d", "c", "b", "a"])
    taken = [outcomes.take(entry(*ROWS[:2])), outcomes.take(entry(*ROWS[2:]))]
    assert list(outcomes) == ROWS[::-1]
    assert [outcomes[0], outcomes[-1], outcomes[1:3]] == [ROWS[3], ROWS[0], [ROWS[2], ROWS[1]]]
    assert [list(part.rows) for part in taken] == [ROWS[:2], ROWS[2:]]
    assert not outcomes.has_log_p


@pytest.mark.parametrize(
    "row",
    [Prediction("a", (0, 2), probabilities=(0.9, 0.1, 0.8)), Prediction("a", ()), Prediction("a", None, log_p=(-0.5, -2.0))],
)
def test_sets_of_labels_and_scores(row: Prediction) -> None:
    outcomes = Outcomes(["a", "b"])
    outcomes.take(entry(row, Prediction("b", None, Status.FAILED, "x")))
    assert list(outcomes) == [row, Prediction("b", None, Status.FAILED, "x")]
    assert outcomes.has_log_p is (row.log_p is not None)


def test_the_latest_wins_and_an_entry_still_tells_the_first() -> None:
    outcomes = Outcomes(["b"])
    first = outcomes.take(entry(ROWS[1], again=("b",)))
    answered = Prediction("b", 1, probabilities=(0.5, 0.5))
    second = outcomes.take(entry(answered))
    assert list(outcomes) == [answered]
    assert [list(first.rows), list(second.rows)] == [[ROWS[1]], [answered]]
    outcomes.take(entry(ROWS[1]))
    assert list(outcomes) == [ROWS[1]]
    assert list(second.rows) == [answered]


def test_a_row_without_a_prediction_is_an_error() -> None:
    with pytest.raises(KeyError):
        list(Outcomes(["a"]))


def test_a_thread_writes_all_lines_in_order(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal", tmp_path / "cache" / "answers")
    for number in range(3000):
        writer.put(f"line {number}", [f"answer {number}"] if number % 2 else [])
    writer.flush()
    assert (tmp_path / "journal").read_text().splitlines() == [f"line {number}" for number in range(3000)]
    assert len((tmp_path / "cache" / "answers").read_text().splitlines()) == 1500
    writer.put("last", [])
    writer.close()
    assert (tmp_path / "journal").read_text().endswith("\nlast\n")


def test_an_error_of_the_disk_is_raised(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "gone" / "journal", tmp_path / "answers")
    writer.put("line", [])
    with pytest.raises(FileNotFoundError):
        writer.flush()
    writer.close()


def test_a_sealed_line_is_read_as_sealed() -> None:
    value = {"b": [1.5e-9, "\ud800 \u2028"], "a": {"y": None, "x": True}}
    assert unsealed(sealed_line(value).encode()) == (json.loads(json.dumps(value)), True)
    with pytest.raises(ValueError, match="not what was written"):
        unsealed(sealed_line(value).replace("1.5", "1.6").encode())


def test_a_line_that_waits_for_long_stops_what_puts_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_writer, "MOST_SECONDS", 0.02)
    disk, begun = threading.Event(), threading.Event()
    monkeypatch.setattr(journal_writer.os, "fsync", lambda file: (begun.set(), disk.wait()))
    writer = JournalWriter(tmp_path / "journal", tmp_path / "answers")
    writer.put("a", [])
    assert begun.wait(5)
    writer.put("b", [])  # soon enough
    time.sleep(0.03)
    later = threading.Thread(target=writer.put, args=("c", []))
    later.start()
    later.join(0.05)
    assert later.is_alive()
    disk.set()
    later.join(5)
    assert not later.is_alive()
    writer.close()
    assert (tmp_path / "journal").read_text() == "a\nb\nc\n"
