"""Which rows are those of today: what is outdated, in which order, and what tells sets of rows apart."""

from __future__ import annotations

from typing import Any

import boards
from boards import entry

from harness.analysis.row_sets import RowSet, row_sets
from harness.records.entries import Entry


def run(rows: str, finished: str | None, limit: int | None = None, n: int = 200, given: bool = False, **changes: Any) -> Entry:
    made = entry(f"{rows}{finished}", rows=rows, metrics={"n": n}, **changes)
    told = {"finished": finished, "limit": limit, "rows_from": {"source": "data" if given else "files"}}
    return boards.with_changes(made, **told)


def shape(*entries: Entry) -> list[tuple[str, str, bool]]:
    return [(found.group[3][:1], found.when, found.outdated) for found in row_sets(entries)]


def test_rows_that_were_corrected_are_outdated() -> None:
    """In the order of time, not of fingerprints; that each has runs of two backends changes nothing."""
    times = {"b": "2026-01-01T10:00:00+00:00", "c": "2026-01-02T10:00:00+00:00", "a": "2026-01-03T10:00:00+00:00"}
    entries = [run(rows, time) for rows, time in times.items()] + [run("b", "2026-01-01T09:00:00+00:00")]
    assert shape(*entries) == [("a", "2026-01-03", False), ("c", "2026-01-02", True), ("b", "2026-01-01", True)]


def test_another_number_of_rows_is_not_outdated() -> None:
    few, many = run("a", "2026-01-02T10", limit=50, n=50), run("b", "2026-01-01T10", limit=500, n=500)
    assert shape(few, many) == [("b", "2026-01-01", False), ("a", "2026-01-02", False)]  # the larger one first
    all_of_50 = run("c", "2026-01-01T10", limit=500, n=50)  # there were no more
    assert shape(run("d", "2026-01-02T10", n=50), all_of_50)[1][2]


def test_what_is_as_old_as_outdated_rows_is_outdated() -> None:
    new, old, first = run("a", "2026-01-03T10"), run("b", "2026-01-02T10"), run("c", "2026-01-01T10", limit=100, n=100)
    assert shape(new, old, first) == [("a", "2026-01-03", False), ("b", "2026-01-02", True), ("c", "2026-01-01", True)]
    assert not any(outdated for *_, outdated in shape(new, first))


def test_rows_by_data_say_nothing_of_the_tasks_own() -> None:
    assert not any(outdated for *_, outdated in shape(run("a", "2026-01-03T10", given=True), run("b", "2026-01-02T10")))


def test_other_labels_are_outdated() -> None:
    stars = run("a", "2026-01-01T10", limit=50, n=50, labels=["1", "2", "3"])
    assert shape(stars, run("b", "2026-01-02T10")) == [("b", "2026-01-02", False), ("a", "2026-01-01", True)]


def test_when_says_as_much_as_tells_them_apart() -> None:
    def when(*times: str, n: int = 200) -> list[str]:
        entries = [run(f"{i}", time, n=n + i if n != 200 else n) for i, time in enumerate(times)]
        return sorted(found.when for found in row_sets(entries))

    assert when("2026-01-02T10:00:01") == [""]
    assert when("2026-01-02T10:00:01", "2026-01-02T11:00:02") == ["2026-01-02 10:00", "2026-01-02 11:00"]
    assert when("2026-01-02T10:00:01", "2026-01-02T10:00:02") == ["2026-01-02 10:00:01", "2026-01-02 10:00:02"]
    assert when("2026-01-02T10:00:01", "2026-01-02T10:00:02", n=50) == ["2026-01-02", "2026-01-02"]  # n tells them apart


def test_without_a_time_nothing_is_outdated() -> None:
    found: list[RowSet] = row_sets([run("a", None), run("b", None)])
    assert [(one.outdated, one.when) for one in found] == [(False, ""), (False, "")]
