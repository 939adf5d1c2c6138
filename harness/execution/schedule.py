"""What can be done now: jobs in their order, with those that a loaded model serves kept together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.core.errors import RunError
from harness.execution.jobs import Job, Need
from harness.execution.outcome import Outcome
from harness.execution.worker import failed


class Schedule:
    """Not shared between threads. `take` and `add` until `is_over`."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        self.outcomes: dict[int, Outcome] = {}
        self._waiting = dict.fromkeys(range(len(jobs)))
        self._under_way: set[int] = set()
        self._trained: set[str] = set()  # groups whose model is there
        self._ended = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way, and nothing more will begin."""
        return not self._under_way and (self._ended or not self._waiting)

    def waiting(self) -> list[int]:
        """Jobs that have not begun, in their order."""
        return [] if self._ended else list(self._waiting)

    def ready(self) -> list[int]:
        """Jobs that can begin, in their order. While a group's model is trained, its other jobs can't: they would wait for it,
        each with a worker."""
        training = {self.jobs[job].group for job in self._under_way if self.jobs[job].trains} - self._trained
        return [job for job in self._free() if self.jobs[job].group not in training]

    def _free(self) -> list[int]:
        """Jobs that wait for no outcome, in their order."""
        return [job for job in self.waiting() if self.jobs[job].after is None or self.jobs[job].after in self.outcomes]

    def take(self, loaded: str | None = None, fits: Callable[[Need], bool] = lambda need: True) -> int | None:
        """The next job for a worker that has the model of the group `loaded`; None if there is none now.

        First a job of its group, then one of a group that no worker has, last one of the group with the most jobs left. So a
        worker seldom loads another model.
        """
        ready = [job for job in self.ready() if fits(self.jobs[job].need)]
        if not ready:
            return None
        left: dict[str, list[int]] = {}
        for job in ready:
            left.setdefault(self.jobs[job].group, []).append(job)
        busy = {self.jobs[job].group for job in self._under_way}
        if loaded in left:
            chosen = left[loaded][0]
        else:
            free = [jobs[0] for group, jobs in left.items() if group not in busy]
            chosen = free[0] if free else max(left.values(), key=len)[0]
        self._begin(chosen)
        return chosen

    def take_first(self) -> int | None:
        """The first job that can begin: for one worker, in the order of the command."""
        ready = self.ready()
        if ready:
            self._begin(ready[0])
        return ready[0] if ready else None

    def take_all(self) -> list[int]:
        """All jobs that wait for no outcome, in their order: for workers that get whole groups."""
        found = self._free()
        for job in found:
            self._begin(job)
        return found

    def give_back(self, job: int) -> None:
        """It has no outcome, and is to be done again: its worker has died."""
        self._under_way.discard(job)
        self._waiting = dict.fromkeys(sorted([*self._waiting, job]))

    def add(self, job: int, outcome: Outcome) -> list[tuple[int, Outcome]]:
        """The outcome of a job, and with it those of the jobs that it makes impossible."""
        self._under_way.discard(job)
        self._waiting.pop(job, None)
        self.outcomes[job] = outcome
        if outcome.error is None:
            self._trained.add(self.jobs[job].group)
        self._ended = self._ended or outcome.ends_all
        outcomes = [(job, outcome)]
        for other in [other for other in self._waiting if self.jobs[other].after == job]:
            if outcome.error is None:
                self.jobs[other] = self.jobs[other].started_from(outcome)
            else:
                outcomes += self.add(other, failed(impossible(self.jobs[other].name, self.jobs[job].name)))
        return outcomes

    def _begin(self, job: int) -> None:
        del self._waiting[job]
        self._under_way.add(job)


def impossible(name: str, base: str) -> RunError:
    """Of a job whose `base`, whose model it starts from, failed."""
    return RunError(
        f"{name} is not possible: it continues from {base}, which failed.",
        "See the error above; repeat the command to try both again.",
    )
