"""A server that takes its time and notes each text that it answers, for tests whose workers are processes of their own; jobs
that are no runs; and the project that both work in. `installed` makes the engine known to processes that a test starts."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import toy
from pydantic import Field

from harness.execution.jobs import Need
from harness.execution.outcome import Outcome
from harness.execution.worker import Worker

HERE = Path(__file__).parent
ROWS = 24
METADATA = "Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n"
BACKEND = """\
engine: slow
model: served
options: {{batch: 2, delay: {delay}, notes: {notes}, deadly: {deadly}}}
price: {{prompt: 1000, completion: 2000, source: nowhere}}
"""


class SlowOptions(toy.ToyOptions):
    """`deadly`: the worker dies at every text that says mumble."""

    delay: float = Field(0.0, exclude=True)
    notes: str = Field("", exclude=True)
    deadly: bool = Field(False, exclude=True)


class Slow(toy.ToyServer):
    Options = SlowOptions

    def answered(self, texts: Sequence[str]) -> list[str]:
        time.sleep(self.options.delay)
        if self.options.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        note(self.options.notes, *texts)
        return super().answered(texts)


def note(path: str, *lines: str) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.writelines(f"{os.getpid()} {line}\n" for line in lines)


def noted(path: Path) -> list[str]:
    """What was noted, without the processes."""
    return [line.partition(" ")[2] for line in path.read_text().splitlines()] if path.exists() else []


def processes(path: Path) -> Counter[int]:
    return Counter(int(line.partition(" ")[0]) for line in path.read_text().splitlines()) if path.exists() else Counter()


def write_project(project: Path, delay: float = 0.0) -> Path:
    """With the backends slow, slow-too and deadly, which note in notes.txt."""
    toy.write_project(project)
    rows = [toy.row("test", lang, n, str(n % 3), n % 3) for lang in ("en", "de") for n in range(ROWS)]
    toy.write_rows(project, "test", rows)
    for name in ("slow", "slow-too", "deadly"):
        text = BACKEND.format(delay=delay, notes=project / "notes.txt", deadly=str(name == "deadly").lower())
        (project / "backends" / f"{name}.yaml").write_text(text)
    return project


def installed(folder: Path) -> dict[str, str]:
    """The environment of processes that know the engines."""
    about = folder / "slow-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(METADATA)
    kinds = {"toy_model": "toy:ToyModel", "toy_classifier": "toy:ToyClassifier", "slow": "slow_engine:Slow"}
    (about / "entry_points.txt").write_text(
        "[bench.engines]\n" + "".join(f"{name} = {where}\n" for name, where in kinds.items())
    )
    paths = [HERE.parents[2], HERE.parent, HERE, folder]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


@dataclass(frozen=True)
class Errand:
    """A job that notes its name. `deaths`: how many workers die of it; `seconds`: how long it takes."""

    name: str
    notes: str
    group: str = "g"
    after: int | None = None
    need: Need = Need(0)
    deaths: int = 0
    seconds: float = 0.0
    started: str | None = None

    def started_from(self, outcome: Outcome) -> Errand:
        return Errand(self.name, self.notes, self.group, self.after, self.need, self.deaths, self.seconds, outcome.trained_key)

    def carried_out_by(self, worker: Worker) -> Outcome:
        assert worker.listener is not None
        note(self.notes, f"begins {self.name}")
        begun = noted(Path(self.notes)).count(f"begins {self.name}")
        if begun <= self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.seconds and begun == 1:
            time.sleep(self.seconds)
        note(self.notes, f"{self.name} from {self.started} in {os.environ.get('WORLD_SIZE')}")
        worker.listener.say(f"{self.name} is done")
        return Outcome("new", trained_key=f"key-{self.name}")


def command(*words: object) -> list[str]:
    return [sys.executable, "-c", "from harness.cli import main; main()", *map(str, words)]
