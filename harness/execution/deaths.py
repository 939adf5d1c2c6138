"""Workers that died: which job is given up, and which is done again."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.execution.events import PREDICT, Event

MOST_DEATHS = 3
"""Workers in a row that may die with a job without getting any further than those before."""


@dataclass
class Deaths:
    """`counts`: by job, the workers in a row that died with it and got no further."""

    counts: dict[int, int] = field(default_factory=dict)
    _furthest: dict[tuple[int, str], int] = field(default_factory=dict)
    _advanced: set[int] = field(default_factory=set)

    def see(self, event: Event) -> None:
        """What a worker tells of its job: a row or step more than any worker before has done begins the count again."""
        if event.kind == "update" and event.done > self._furthest.get((event.job, event.text), 0):
            self._furthest[event.job, event.text] = event.done
            self._advanced.add(event.job)

    def has_rows(self, job: int) -> bool:
        """Whether a worker has predicted rows of the job."""
        return self._furthest.get((job, PREDICT), 0) > 0

    def add(self, job: int) -> bool:
        """A worker died with the job. Whether the job is given up."""
        self.counts[job] = 1 if job in self._advanced else self.counts.get(job, 0) + 1
        self._advanced.discard(job)
        return self.counts[job] >= MOST_DEATHS
