"""The folder that a command and the tasks of its job array share: what was submitted, events, outcomes, logs.

results/slurm/<digest>/
    state.json         what was submitted, for a command that attaches to the array
    driver.lock        held by the command
    events/<task>.jsonl  progress of a task; each line is written by a file of its own, as NFS wants it
    outcomes/<job>.json   of a job that has ended, written in one step
    budget.json        what all tasks have spent and reserved
    ended              made when no further job is to begin
    logs/              submitit's files: what each task printed

Of results at a URL it is in the cache (`harness.core.places`), and never uploaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from harness.core.json_files import write_atomically
from harness.execution.events import PREDICT, Event
from harness.execution.outcome import Outcome

BEGIN: Literal["begin"] = "begin"
STOP: Literal["stop"] = "stop"
LATE: Literal["late"] = "late"
"""Lines of a task about itself: it begins, also again after it was requeued; a signal stops it, and it is to go on; it has
reached its time limit too often."""


class Submitted(BaseModel):
    """A task of an array. `job_id`: the cluster's. `jobs`: positions in the plan. `log`: what it prints."""

    task: int
    job_id: str
    jobs: list[int]
    log: str


class State(BaseModel):
    """`live`: tasks that are queued or run, as far as the command knows. `submitted`: jobs of all tasks so far, `tasks`: their
    number. `deaths`: `Deaths.counts`."""

    submitted: list[int] = []
    live: list[Submitted] = []
    deaths: dict[int, int] = {}
    tasks: int = 0


@dataclass(frozen=True)
class ArrayFolder:
    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "driver.lock"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def budget(self) -> Path:
        return self.root / "budget.json"

    def make(self) -> None:
        for part in (self.outcomes, self.events, self.logs):
            part.mkdir(parents=True, exist_ok=True)

    @property
    def outcomes(self) -> Path:
        return self.root / "outcomes"

    @property
    def events(self) -> Path:
        return self.root / "events"

    def state(self) -> State | None:
        """None where nothing was submitted yet."""
        try:
            return State.model_validate_json((self.root / "state.json").read_bytes())
        except FileNotFoundError:
            return None

    def keep(self, state: State) -> None:
        write_atomically(self.root / "state.json", state.model_dump_json())

    def end(self) -> None:
        """No further job is to begin."""
        (self.root / "ended").touch()

    def go_on(self) -> None:
        """Of an array whose command was killed while it ended it, say."""
        (self.root / "ended").unlink(missing_ok=True)

    def has_ended(self) -> bool:
        return (self.root / "ended").exists()

    def ended_jobs(self) -> set[int]:
        """Positions of the jobs that have an outcome."""
        with suppress(OSError):  # changing the folder makes an NFS client ask for its content again
            self.outcomes.chmod(self.outcomes.stat().st_mode)
        return {int(path.stem) for path in self.outcomes.glob("*.json")}

    def predicted(self) -> set[int]:
        """Positions of the jobs of which a task has predicted some rows."""
        lines = [line for path in self.events.glob("*.jsonl") for line in EventFile(path).new()]
        return {line["job"] for line in lines if line.get("text") == PREDICT and line["kind"] == "update" and line["done"]}

    def outcome(self, job: int) -> Outcome:
        return Outcome.from_json(json.loads((self.outcomes / f"{job}.json").read_bytes()))

    def write_outcome(self, job: int, outcome: Outcome) -> None:
        write_atomically(self.outcomes / f"{job}.json", json.dumps(outcome.as_json()))

    def forget_outcome(self, job: int) -> None:
        (self.outcomes / f"{job}.json").unlink(missing_ok=True)


@dataclass
class EventFile:
    """Of one task. A line that a killed task left half written is passed over."""

    path: Path
    _read: int = field(default=0, repr=False)

    def began(self) -> bool:
        """Whether the task was started before."""
        return self.path.exists()

    def write(self, line: dict[str, Any]) -> None:
        """One call of the system, so that a signal comes before or after it."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, b"\n" + json.dumps(line).encode() + b"\n")
        finally:
            os.close(descriptor)

    def send(self, event: Event) -> None:
        self.write(asdict(event))

    def new(self) -> Iterator[dict[str, Any]]:
        """The lines since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                content = file.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            with suppress(ValueError):
                if isinstance(found := json.loads(line or b"null"), dict):
                    yield found
