"""Which job a worker gets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import BudgetReached, RunError
from harness.execution.jobs import Need
from harness.execution.outcome import Outcome
from harness.execution.schedule import Schedule
from harness.execution.worker import Worker, failed

DONE = Outcome("new", trained_key="key")
FAILED = failed(RunError("it broke"))


@dataclass(frozen=True)
class Toy:
    group: str = "a"
    after: int | None = None
    trains: bool = False
    need: Need = Need(0)  # noqa: RUF009
    name: str = "toy"
    base: str | None = None

    def started_from(self, outcome: Outcome) -> Toy:
        return replace(self, base=outcome.trained_key)

    def carried_out_by(self, worker: Worker) -> Outcome:
        raise AssertionError


def toys(groups: str, *, trains: bool = False) -> list[Toy]:
    return [Toy(group, trains=trains) for group in groups]


def test_a_worker_keeps_to_its_model_and_then_begins_one_that_nobody_has() -> None:
    schedule = Schedule(toys("abab"))
    assert schedule.take() == 0
    assert schedule.take() == 1  # not another of the group that is under way
    assert schedule.take("b") == 3
    schedule.add(0, DONE)
    assert schedule.take("a") == 2
    assert schedule.take("a") is None
    for job in (1, 2, 3):
        assert not schedule.is_over
        schedule.add(job, DONE)
    assert schedule.is_over


def test_a_free_worker_helps_where_the_most_is_left() -> None:
    schedule = Schedule(toys("aabbb"))
    assert [schedule.take(), schedule.take()] == [0, 2]
    assert schedule.take() == 3


def test_one_trains_and_the_others_of_its_group_wait() -> None:
    schedule = Schedule([*toys("aaa", trains=True), Toy("b")])
    assert schedule.take() == 0
    assert schedule.ready() == [3]
    assert schedule.take() == 3
    assert schedule.take() is None
    assert schedule.waiting() == [1, 2]
    schedule.add(0, DONE)
    assert [schedule.take("a"), schedule.take()] == [1, 2]  # the model is there: two can use it


def test_after_a_failed_training_the_next_one_tries_alone() -> None:
    schedule = Schedule(toys("aaa", trains=True))
    assert schedule.take() == 0
    schedule.add(0, FAILED)
    assert [schedule.take(), schedule.take()] == [1, None]


def test_what_a_dead_worker_had_comes_back_in_its_place() -> None:
    schedule = Schedule(toys("aab", trains=True))
    assert [schedule.take(), schedule.take()] == [0, 2]
    schedule.give_back(0)
    assert schedule.waiting() == [0, 1]
    assert schedule.take() == 0


def test_only_what_fits_is_taken() -> None:
    small, large = Toy("a"), Toy("a", need=Need(2))
    schedule = Schedule([large, small])
    assert schedule.take("a", lambda need: need.gpus == 0) == 1
    assert schedule.take("a", lambda need: need.gpus == 0) is None
    assert schedule.take("a") == 0


def test_a_job_waits_for_the_one_whose_model_it_starts_from() -> None:
    schedule = Schedule([Toy(), Toy("b", after=0), Toy("c", after=1)])
    assert [schedule.take(), schedule.take()] == [0, None]
    assert schedule.add(0, DONE) == [(0, DONE)]
    assert schedule.jobs[1].base == "key"  # type: ignore[attr-defined]
    assert schedule.take() == 1
    assert [job for job, _ in schedule.add(1, FAILED)] == [1, 2]
    assert schedule.is_over


def test_after_what_ends_all_nothing_begins_and_what_is_under_way_ends() -> None:
    schedule = Schedule(toys("abc"))
    assert [schedule.take(), schedule.take()] == [0, 1]
    schedule.add(0, failed(BudgetReached("no money")))
    assert (schedule.take(), schedule.waiting(), schedule.is_over) == (None, [], False)
    schedule.add(1, DONE)
    assert schedule.is_over


@given(
    groups=st.lists(st.sampled_from("abc"), min_size=1, max_size=12),
    trains=st.booleans(),
    moves=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["done", "failed", "dead"])), max_size=60),
)
def test_each_job_has_one_outcome_whatever_happens(groups: list[str], trains: bool, moves: list[tuple[int, str]]) -> None:
    """Three workers, of which some die; at the end the first one does what is left."""
    schedule = Schedule(toys("".join(groups), trains=trains))
    has: dict[int, int] = {}
    loaded: dict[int, str] = {}
    ended: Counter[int] = Counter()

    def move(worker: int, what: str) -> None:
        if worker not in has:
            job = schedule.take(loaded.get(worker))
            if job is not None:
                assert job not in has.values()
                has[worker], loaded[worker] = job, schedule.jobs[job].group
        elif what == "dead":
            schedule.give_back(has.pop(worker))
            del loaded[worker]
        else:
            ended.update(job for job, _ in schedule.add(has.pop(worker), DONE if what == "done" else FAILED))

    for worker, what in moves:
        move(worker, what)
    for worker in list(has):
        move(worker, "done")
    while not schedule.is_over:
        move(0, "done")
    assert schedule.is_over
    assert ended == Counter(range(len(groups)))
