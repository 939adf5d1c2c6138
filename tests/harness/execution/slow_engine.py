"""A server that takes its time and notes each text that it answers, for tests whose workers are processes of their own; jobs
that are no runs; and the project that both work in. `installed` makes the engine known to processes that a test starts."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import toy
from pydantic import Field

from harness.core.arrays import FloatArray
from harness.core.engine import Encoded, TrainingJob
from harness.execution.jobs import Need
from harness.execution.outcome import Outcome
from harness.execution.worker import Worker

HERE = Path(__file__).parent
ROWS = 24
NO_GPU = Need(0)
METADATA = "Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n"
BACKEND = """\
engine: slow
model: served
options: {{batch: 2, delay: {delay}, notes: {notes}, deadly: {deadly}}}
price: {{prompt: 1000, completion: 2000, source: nowhere}}
"""
TUNABLE = """\
engine: slow_tunable
options: {{batch: 64, evaluations: 4, delay: {delay}, notes: {notes}}}
search: {{lr: {{low: 1.0e-5, high: 0.1, log: true}}}}
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


class TunableOptions(SlowOptions):
    lr: float = 0.1


class SlowTunable(toy.ToyClassifier):
    """Notes each evaluation of its training; right on a share of the rows that is largest for a learning rate of 1e-3."""

    Options = TunableOptions

    def fit(self, job: TrainingJob) -> dict[str, Any]:
        for number in range(self.options.evaluations):
            time.sleep(self.options.delay)
            note(self.options.notes, f"{self.options.lr} {number}")
            job.scorer.evaluate(self._answers(list(job.validation.texts), len(job.labels)))
        return super().fit(job)

    def predict(self, texts: Sequence[Encoded]) -> FloatArray:
        return self._answers([text.content for text in texts], self.state["classes"])

    def _answers(self, texts: Sequence[str], classes: int) -> FloatArray:
        right = len(texts) * (1 - abs(np.log10(self.options.lr) + 3) / 4)
        answers = np.full((len(texts), classes), 0.1)
        for row, text in enumerate(texts):
            said = int(toy.said_in(text))
            answers[row, said if row < right else (said + 1) % classes] = 0.8
        return answers


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
    toy.write_rows(project, "validation", [toy.row("validation", "en", n, str(n % 3), n % 3) for n in range(20)])
    rows = [toy.row("test", lang, n, str(n % 3), n % 3) for lang in ("en", "de") for n in range(ROWS)]
    toy.write_rows(project, "test", rows)
    (project / "backends" / "tunable.yaml").write_text(TUNABLE.format(delay=delay, notes=project / "notes.txt"))
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
    kinds["slow_tunable"] = "slow_engine:SlowTunable"
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
    need: Need = NO_GPU
    deaths: int = 0
    seconds: float = 0.0
    started: str | None = None
    trains: bool = False

    def started_from(self, outcome: Outcome) -> Errand:
        return replace(self, started=outcome.trained_key)

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


@dataclass(frozen=True)
class Purchase(Errand):
    """Pays 0.4 dollars if it may; its outcome says how often it did."""

    def carried_out_by(self, worker: Worker) -> Outcome:
        assert worker.setup.budget is not None
        count = worker.setup.budget.reserve([0.4])
        worker.setup.budget.settle(0.4 * count, 0.4 * count)
        return Outcome("new", rows=count)


def command(*words: object) -> list[str]:
    return [sys.executable, "-c", "from harness.cli import main; main()", *map(str, words)]
