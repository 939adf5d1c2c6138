"""A study: the trials of a search, stored in SQLite, so that a stopped search continues.

    results/studies/<name>/study.db    Optuna's study: values, states, metrics at each evaluation
    results/studies/<name>/runs/       a run record per trial and validation language

Every trial is an ordinary run on validation rows. Its settings depend on the seed and the finished trials, so that a resumed
search tries the same as an uninterrupted one (except that an interrupted trial is never pruned).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import ModelUnavailable, RunBusy, RunError, UserError
from harness.core.json_files import digest
from harness.core.locks import Busy, held
from harness.core.progress_events import OnProgress
from harness.models.cache import LOCK
from harness.records.shared import shared_folder
from harness.records.store import Store
from harness.running.plan import Plan, make_plan
from harness.running.runner import EngineSlot, run
from harness.running.trained_models import folder_of
from harness.running.training import OnEvaluation, trained_folder, trained_key
from harness.specs.catalog import Catalog
from harness.studies.search import Search

if TYPE_CHECKING:
    import optuna

FIRST_COMPLETE = 3
"""Trials that complete before one is pruned: the median of fewer is unreliable."""
FIRST_EVALUATION = 2
"""A trial is pruned from its second evaluation on: at the first, the learning rate has barely warmed up."""


@dataclass(frozen=True, slots=True)
class Trial:
    """`state`: complete, pruned, failed, or interrupted (it is run again). `value` of a pruned trial is None."""

    number: int
    state: str
    settings: dict[str, Any]
    value: float | None
    key: str | None
    error: str | None

    @property
    def is_finished(self) -> bool:
        return self.state in ("complete", "pruned", "failed")


@dataclass
class Study:
    """An open study, locked for others. Made by `open_study`."""

    folder: Path
    search: Search
    catalog: Catalog = field(repr=False)
    optuna_study: optuna.Study = field(repr=False)

    def trials(self) -> list[Trial]:
        return [_trial(found) for found in self.optuna_study.trials if found.state.name != "WAITING"]

    def finished(self) -> int:
        """Number of complete, pruned and failed trials; interrupted ones run again."""
        return sum(trial.is_finished for trial in self.trials())

    def best(self) -> Trial | None:
        """The first of equally good ones."""
        sign = 1 if self.search.lower_is_better else -1
        done = [(sign * trial.value, trial.number, trial) for trial in self.trials() if trial.value is not None]
        return min(done)[2] if done else None

    def next_trial(self, on_start: Callable[[Trial], None], on_progress: OnProgress, *, pruning: bool = True) -> Trial:
        """Run one trial. A `RunError` makes it a failed one; anything else ends the search, and the next search runs the trial
        again."""
        from optuna.exceptions import TrialPruned
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        # A sampler for each trial: a resumed search would otherwise repeat its first draws.
        draw = int(digest([self.search.request.seed, self.finished()])[:8], 16)
        self.optuna_study.sampler = TPESampler(seed=draw)
        asked = self.optuna_study.ask({name: parameter.distribution() for name, parameter in self.search.space.items()})
        on_start(Trial(asked.number, "running", asked.params, None, None, None))
        try:
            value = self._worth(asked, on_progress, pruning)
        except TrialPruned:
            self.optuna_study.tell(asked, state=TrialState.PRUNED)
        except (ModelUnavailable, RunBusy):
            raise
        except RunError as error:
            asked.set_user_attr("error", error.message)
            self.optuna_study.tell(asked, state=TrialState.FAIL)
        else:
            self.optuna_study.tell(asked, value)
        self.tidy()
        return _trial(self.optuna_study.trials[asked.number])

    def _worth(self, asked: optuna.Trial, on_progress: OnProgress, pruning: bool) -> float:
        """The metric on validation rows, the mean over languages. Raises `RunError`, and `TrialPruned` during training."""
        settings = {**self.search.request.settings, **asked.params}
        store, values = Store(self.folder / "runs"), []
        # An interrupted trial does not repeat all of its evaluations, so theirs can't be compared.
        watch = self._pruner(asked) if pruning and "again" not in asked.user_attrs else None
        with closing(EngineSlot()) as slot:
            for lang in self.search.langs:
                plan = make_plan(self.search.request.changed(lang=lang, settings=settings), self.catalog)
                self._remember(asked, plan)
                try:
                    metrics = run(plan, store, slot, on_progress, on_evaluation=watch).metrics
                except RunBusy:
                    raise
                except Exception:  # after Ctrl-C the next search continues there
                    shutil.rmtree(store.root / f"{plan.run_id}.partial", ignore_errors=True)
                    raise
                values.append(metrics.values[self.search.metric].value)
        defined = [value for value in values if value is not None]
        if len(defined) < len(values):
            raise RunError(f"{self.search.metric} is undefined for this trial.", "Choose another metric.")
        return float(sum(defined) / len(defined))

    def _pruner(self, asked: optuna.Trial) -> OnEvaluation:
        from optuna.exceptions import TrialPruned

        evaluations = 0

        def on_evaluation(metrics: dict[str, float]) -> None:
            nonlocal evaluations
            evaluations += 1
            if self.search.metric in metrics:
                asked.report(metrics[self.search.metric], evaluations)
                if asked.should_prune():
                    raise TrialPruned

        return on_evaluation

    def _remember(self, asked: optuna.Trial, plan: Plan) -> None:
        """Called before training. The study deletes only models that it made."""
        key, ours = trained_key(plan), self.optuna_study.user_attrs.get("models", [])
        asked.set_user_attr("key", key)
        if key not in ours and not trained_folder(plan).exists():
            self.optuna_study.set_user_attr("models", [*ours, key])

    def tidy(self) -> None:
        """Delete the models that the study made, except the best trial's and those that another process is using."""
        best, kept = self.best(), []
        for key in self.optuna_study.user_attrs.get("models", []):
            folder = folder_of(key)
            if best is not None and key == best.key:
                kept.append(key)
            elif folder.is_dir():
                try:
                    with held(folder / LOCK, wait=False):
                        shutil.rmtree(folder)
                except Busy:
                    kept.append(key)
        self.optuna_study.set_user_attr("models", kept)


@contextmanager
def open_study(search: Search, folder: Path, catalog: Catalog) -> Iterator[Study]:
    """The study in `folder`, new if there is none; interrupted trials come first in the queue.

    Raises `RunBusy` if another process is searching there, `UserError` if that study is of another search.
    """
    from optuna.pruners import MedianPruner

    pruner = MedianPruner(n_startup_trials=FIRST_COMPLETE, n_warmup_steps=FIRST_EVALUATION)
    with optuna_study(folder, search.identity, lower_is_better=search.lower_is_better, pruner=pruner) as found:
        yield Study(folder, search, catalog, found)


@contextmanager
def optuna_study(
    folder: Path, identity: dict[str, Any], *, lower_is_better: bool, pruner: optuna.pruners.BasePruner | None = None
) -> Iterator[optuna.Study]:
    """Optuna's study in `folder`, locked for others; interrupted trials come first in the queue. `identity`: JSON-able.

    Raises `RunBusy` if another process is searching there, `UserError` if that study has another identity.
    """
    import optuna
    from optuna.storages import RDBStorage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with held(folder / LOCK, wait=False), shared_folder(folder):
            storage = RDBStorage(f"sqlite:///{(folder / 'study.db').resolve()}")
            try:
                found = optuna.create_study(
                    storage=storage,
                    study_name=folder.name,
                    direction="minimize" if lower_is_better else "maximize",
                    pruner=pruner,
                    load_if_exists=True,
                )
                _check_same(found, identity, folder)
                _resume(found)
                yield found
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except Busy as error:
        raise RunBusy(f"{error} is working on the study {folder.name}.", "Wait for it, or stop it.") from error


def _check_same(study: optuna.Study, identity: dict[str, Any], folder: Path) -> None:
    """Trials of another task, space or seed must not count for this search."""
    wanted = json.loads(json.dumps(identity))
    known = study.user_attrs.get("identity")
    if known is None:
        study.set_user_attr("identity", wanted)
    elif known != wanted:
        differ = sorted(name for name in {*known, *wanted} if known.get(name) != wanted.get(name))
        raise UserError(
            f"The study {folder.name!r} in {folder.parent} is of another search (different: {', '.join(differ)}).",
            "Name another one: --study NAME.",
        )


def _resume(study: optuna.Study) -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"again": trial.number})


def _trial(found: optuna.trial.FrozenTrial) -> Trial:
    attributes = found.user_attrs
    state = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "interrupted"}.get(found.state.name)
    state = state or ("failed" if "error" in attributes else "interrupted")
    value = found.value if state == "complete" else None  # Optuna gives a pruned one its last intermediate value
    return Trial(found.number, state, dict(found.params), value, attributes.get("key"), attributes.get("error"))
