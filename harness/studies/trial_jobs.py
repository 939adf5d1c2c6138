"""The trials of a search as jobs, for workers that share the study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import as_bench_error
from harness.core.json_files import digest
from harness.execution.jobs import Need, check_needs, need_of
from harness.execution.outcome import Outcome
from harness.execution.worker import Worker, failed
from harness.specs.catalog import Catalog
from harness.specs.executors import Needs
from harness.studies.search import Search
from harness.studies.study import Trial, joined_study


@dataclass(frozen=True)
class TrialJob:
    """One trial, from asking for its settings to telling its value. `place`: of the trial in the search; it decides what is
    drawn at random."""

    place: int
    search: Search
    folder: Path
    pruning: bool
    need: Need = field(repr=False)

    @property
    def name(self) -> str:
        return f"trial {self.place}"

    @property
    def group(self) -> str:
        """Each trial trains a model of its own."""
        return digest([str(self.folder), self.place])

    @property
    def trains(self) -> bool:
        """No other job needs its model."""
        return False

    @property
    def after(self) -> None:
        """It waits for none."""

    def started_from(self, outcome: Outcome) -> TrialJob:
        return self

    def carried_out_by(self, worker: Worker) -> Outcome:
        """Failed where the search can't go on: every other trial would meet the same. A trial that fails is new."""
        listener = worker.listener
        assert listener is not None

        def started(trial: Trial) -> None:
            listener.say(f"trial {trial.number}: {shown_settings(trial.settings)}")

        try:
            study = joined_study(self.search, self.folder, worker.setup.catalog)
            if self.place in study.finished_places():
                return Outcome("found")
            study.next_trial(started, listener.update, pruning=self.pruning, place=self.place)
        except Exception as error:
            if os.environ.get("BENCH_DEBUG"):
                raise
            return failed(as_bench_error(error), ends_all=True)
        return Outcome("new")


def trial_jobs(search: Search, folder: Path, trials: int, catalog: Catalog, needs: Needs, *, pruning: bool) -> list[TrialJob]:
    """Raises as `check_needs` does."""
    check_needs(needs, catalog)
    need = need_of(search.request, catalog, needs)
    return [TrialJob(place, search, folder, pruning, need) for place in range(trials)]


def shown_settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown_value(value)}" for name, value in settings.items())


def shown_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
