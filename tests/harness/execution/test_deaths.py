"""Which job is given up after its workers have died."""

from __future__ import annotations

from harness.execution.deaths import Deaths
from harness.execution.events import Event


def test_workers_that_get_no_further_give_a_job_up() -> None:
    deaths = Deaths()
    assert [deaths.add(0) for _ in range(3)] == [False, False, True]
    assert not deaths.add(1)


def test_a_row_more_begins_the_count_again() -> None:
    deaths = Deaths()
    deaths.see(Event(0, "update", "predict", done=8))
    assert [deaths.add(0), deaths.add(0)] == [False, False]
    deaths.see(Event(0, "update", "predict", done=8))  # as far as before
    deaths.see(Event(1, "update", "predict", done=9))  # of another job
    deaths.see(Event(0, "say", "loading"))
    assert deaths.add(0)
    deaths.see(Event(0, "update", "predict", done=9))
    assert [deaths.add(0) for _ in range(3)] == [False, False, True]


def test_a_step_of_training_counts_beside_rows() -> None:
    deaths = Deaths()
    deaths.see(Event(0, "update", "predict", done=100))
    deaths.add(0)
    deaths.see(Event(0, "update", "train", done=1))
    assert [deaths.add(0) for _ in range(3)] == [False, False, True]


def test_another_command_goes_on_with_the_count() -> None:
    counts = {4: 2}
    assert Deaths(counts).add(4)
    assert counts == {4: 3}
