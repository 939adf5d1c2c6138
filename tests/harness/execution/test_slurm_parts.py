"""What the SLURM executor is made of: how jobs are shared out, what a task asks of the cluster, files of an array, the budget
in a file."""

from __future__ import annotations

import multiprocessing
import pickle
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_engine import Errand

from harness.core.errors import RunError, UserError
from harness.execution.events import Event
from harness.execution.executors._slurm_budget import FileBudget
from harness.execution.executors._slurm_cluster import Resources, minutes_of, resources_of
from harness.execution.executors._slurm_folder import ArrayFolder, EventFile, State, Submitted
from harness.execution.executors.slurm import split
from harness.execution.jobs import Job, Need
from harness.execution.outcome import Outcome
from harness.execution.schedule import Schedule
from harness.specs.executors import SlurmSettings


def jobs(*groups: tuple[str, int], trains: bool = False) -> dict[int, Job]:
    named = [name for name, count in groups for _ in range(count)]
    return {position: Errand(f"job {position}", "", group=name, trains=trains) for position, name in enumerate(named)}


def sizes(parts: list[list[int]]) -> list[int]:
    return [len(part) for part in parts]


def test_groups_stay_whole_and_are_split_only_to_fill_the_workers() -> None:
    three = jobs(("a", 4), ("b", 2), ("c", 1))
    assert split(three, None) == [[0, 1, 2, 3], [4, 5], [6]]
    assert split(three, 3) == [[0, 1, 2, 3], [4, 5], [6]]
    assert split(three, 2) == [[0, 1, 2, 3], [4, 5, 6]]
    assert split(three, 1) == [[0, 1, 2, 3, 4, 5, 6]]
    assert split(three, 4) == [[0, 1], [2, 3], [4, 5], [6]]
    assert split(three, 99) == [[0], [1], [2], [3], [4], [5], [6]]
    assert split({}, 3) == []


def test_a_group_whose_first_job_trains_is_not_split() -> None:
    assert sizes(split(jobs(("a", 6), trains=True), 3)) == [6]
    assert sizes(split(jobs(("a", 6), ("b", 2), trains=True), 3)) == [6, 2]


@given(st.lists(st.integers(1, 6), max_size=5), st.integers(1, 9))
def test_each_job_is_handed_out_once(counts: list[int], workers: int) -> None:
    all_jobs = jobs(*((str(group), count) for group, count in enumerate(counts)))
    parts = split(all_jobs, workers)
    assert Counter(job for part in parts for job in part) == Counter(list(all_jobs))
    assert len(parts) == min(workers, len(all_jobs))
    begun_in = [{all_jobs[job].group for job in part} for part in parts]
    if workers <= len(counts):
        assert sum(map(len, begun_in)) == len(counts)  # no model is loaded twice


def test_what_is_not_said_of_all_tasks_is_what_the_job_needs() -> None:
    need = Need(0.25, cpus=1.5, memory_gib=3)
    assert resources_of(need, SlurmSettings()) == Resources(1, 2, 3)
    assert resources_of(need, SlurmSettings(gpus=2, cpus=8, memory_gib=64)) == Resources(2, 8, 64)
    assert resources_of(Need(None), SlurmSettings()) == Resources(1, None, None)
    assert resources_of(Need(None), SlurmSettings(gpus=0)) == Resources(0, None, None)


@pytest.mark.parametrize(
    ("text", "minutes"), [(None, 240), ("90", 90), ("1:30:00", 90), ("0:00:30", 1), ("2-12:00:00", 3600), ("0:05:01", 6)]
)
def test_time_limits(text: str | None, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["0", "soon", "1:30", "-5", ""])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="no time limit"):
        minutes_of(text)


def test_a_schedule_hands_out_all_that_waits_for_nothing() -> None:
    schedule = Schedule([Errand("a", "", trains=True), Errand("b", "", trains=True), Errand("c", "", after=0)])
    assert schedule.take_all() == [0, 1]
    assert schedule.take_all() == []
    schedule.add(0, Outcome("new", trained_key="k"))
    assert schedule.take_all() == [2]
    assert schedule.jobs[2].started == "k"  # type: ignore[attr-defined]


def test_an_array_remembers_what_was_submitted_and_what_came_of_it(tmp_path: Path) -> None:
    folder = ArrayFolder(tmp_path / "array")
    folder.make()
    assert folder.state() is None
    state = State(live=[Submitted(task=1, job_id="7_0", jobs=[0, 3], log="x")], deaths={3: 2}, submitted=[0, 3], tasks=1)
    folder.keep(state)
    assert folder.state() == state
    folder.write_outcome(3, Outcome("failed", error=RunError("no", "yes")))
    assert folder.ended_jobs() == {3}
    error = folder.outcome(3).error
    assert error is not None
    assert (error.message, error.hint) == ("no", "yes")
    assert not folder.has_ended()
    folder.end()
    assert folder.has_ended()


def test_a_line_that_was_half_written_is_passed_over(tmp_path: Path) -> None:
    writer, reader = EventFile(tmp_path / "1.jsonl"), EventFile(tmp_path / "1.jsonl")
    assert list(reader.new()) == []
    assert not writer.began()
    writer.send(Event(0, "start"))
    with writer.path.open("ab") as file:
        file.write(b'{"job": 0, "kind": "upd')  # killed here
    assert [line["kind"] for line in reader.new()] == ["start"]
    writer.send(Event(0, "say", "on"))
    assert [line["text"] for line in reader.new()] == ["on"]
    assert list(reader.new()) == []
    assert writer.began()


# The budget


def budget(tmp_path: Path, limit: float = 1.0, patience: float = 0.0) -> FileBudget:
    made = FileBudget(tmp_path / "budget.json", limit, patience=patience)
    made.begin()
    return made


def test_what_is_reserved_is_not_left_and_what_is_settled_is_spent(tmp_path: Path) -> None:
    mine = budget(tmp_path).of("1")
    assert (mine.spent, mine.left) == (0, 1)
    assert mine.reserve([0.4, 0.4, 0.4]) == 2
    assert mine.left == pytest.approx(0.2)
    mine.settle(0.8, 0.5)
    assert (mine.spent, mine.left) == (pytest.approx(0.5), pytest.approx(0.5))
    assert mine.reserve([0.6]) == 0
    assert mine.reserve([0.5]) == 1


def test_the_reservation_of_a_dead_worker_counts_as_spent(tmp_path: Path) -> None:
    ours = budget(tmp_path)
    assert ours.of("1").reserve([0.7]) == 1
    again = ours.of("1")  # the same task, started again
    assert (again.spent, again.left) == (pytest.approx(0.7), pytest.approx(0.3))
    assert ours.of("2").reserve([0.3]) == 1
    ours.write_off("2")
    assert again.reserve([0.1]) == 0
    assert again.left == pytest.approx(0)


def test_another_command_goes_on_with_what_was_spent(tmp_path: Path) -> None:
    mine = budget(tmp_path).of("1")
    mine.reserve([0.5])
    mine.settle(0.5, 0.5)
    more = budget(tmp_path, limit=2.0).of("1")
    assert (more.spent, more.left) == (pytest.approx(0.5), pytest.approx(1.5))


@pytest.mark.slow
def test_it_waits_for_another_workers_reservation(tmp_path: Path) -> None:
    """Up to its patience: the other one may be dead."""
    ours = budget(tmp_path, patience=30)
    mine, other = pickle.loads(pickle.dumps([ours.of("1"), ours.of("2")]))
    assert other.reserve([0.9]) == 1
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        waiting = pool.apply_async(mine.reserve, ([0.5],))
        waiting.wait(1)
        assert not waiting.ready()
        other.settle(0.9, 0.1)
        assert waiting.get(30) == 1
    mine.patience = 0
    assert mine.reserve([0.5]) == 0


def _spend(mine: FileBudget) -> float:
    """Requests that cost less than the most that they may cost, until there is no room."""
    spent = 0.0
    while mine.reserve([0.02]):
        mine.settle(0.02, 0.013)
        spent += 0.013
    return spent


@pytest.mark.slow
def test_processes_together_never_exceed_it(tmp_path: Path) -> None:
    ours = budget(tmp_path, patience=5)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        spent = sum(pool.map(_spend, [ours.of(str(number)) for number in range(3)]))
    assert 0.97 < spent <= 1.0
    assert ours.of("x").spent == pytest.approx(spent)
