"""A study: the trials of a search, stored in a journal, so that a stopped search continues.

    results/studies/<name>/study.journal  Optuna's study: values, states, metrics at each evaluation
    results/studies/<name>/study.db       the same of a study that an earlier version began, in SQLite
    results/studies/<name>/runs/          a run record per trial and validation language

Every trial is an ordinary run on validation rows. Its settings depend on the seed and the finished trials, so that a resumed
search tries the same as an uninterrupted one (except that an interrupted trial is never pruned). Several workers, also on
several machines with a shared folder, may carry out trials at once: the journal's lock holds on NFS, which SQLite's does not.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

from harness.core.errors import ModelUnavailable, RunBusy, RunError, UserError
from harness.core.json_files import digest
from harness.core.locks import Busy, held
from harness.core.progress_events import OnProgress
from harness.models.cache import LOCK
from harness.records.shared import shared_folder
from harness.records.store import Store
from harness.running.plan import Plan, make_plan
from harness.running.runner import EngineSlot, Result, run
from harness.running.trained_models import folder_of
from harness.running.training import OnEvaluation, trained_folder, trained_key
from harness.specs.catalog import Catalog
from harness.studies.search import Search

if TYPE_CHECKING:
    import optuna

JOURNAL, SQLITE = "study.journal", "study.db"
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


MADE = "made "
"""Beginning of the study's attributes that tell of each model, by its key, whether the study made it and has it still."""
BUSY_SECONDS = 2.0


@dataclass
class Study:
    """An open study. Made by `open_study`, which locks it for others, or in a worker by `joined_study`. `is_shared`: other
    workers carry out trials too."""

    folder: Path
    search: Search
    catalog: Catalog = field(repr=False)
    optuna_study: optuna.Study = field(repr=False)
    is_shared: bool = False

    def trials(self) -> list[Trial]:
        return [_trial(found) for found in self._begun()]

    def _begun(self) -> list[optuna.trial.FrozenTrial]:
        return [found for found in self.optuna_study.trials if found.state.name != "WAITING"]

    def finished(self) -> int:
        """Number of complete, pruned and failed trials; interrupted ones run again."""
        return sum(trial.is_finished for trial in self.trials())

    def best(self) -> Trial | None:
        """The first of equally good ones."""
        return self._best_of(self.trials())

    def _best_of(self, trials: Sequence[Trial]) -> Trial | None:
        sign = 1 if self.search.lower_is_better else -1
        done = [(sign * trial.value, trial.number, trial) for trial in trials if trial.value is not None]
        return min(done)[2] if done else None

    def finished_places(self) -> dict[int, Trial]:
        """The finished trials by their places in the search. Trials of earlier versions, which have none, take the first."""
        found = [(one.user_attrs.get("place"), trial) for one in self._begun() if (trial := _trial(one)).is_finished]
        places = {int(place): trial for place, trial in found if place is not None}
        free = (place for place in count() if place not in places)
        return places | {next(free): trial for place, trial in found if place is None}

    def next_trial(
        self, on_start: Callable[[Trial], None], on_progress: OnProgress, *, pruning: bool = True, place: int | None = None
    ) -> Trial:
        """Run one trial. A `RunError` makes it a failed one; anything else ends the search, and the next search runs the trial
        again. `place`: of the trial in the search, which workers share out; default: the first after the finished trials."""
        from optuna.exceptions import TrialPruned
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        place = self.finished() if place is None else place
        _resume(self.optuna_study, place)  # its worker has died
        # A sampler for each trial: a resumed search would otherwise repeat its first draws, and two workers would draw alike.
        draw = int(digest([self.search.request.seed, place])[:8], 16)
        self.optuna_study.sampler = TPESampler(seed=draw)
        asked = self.optuna_study.ask({name: parameter.distribution() for name, parameter in self.search.space.items()})
        asked.set_user_attr("place", place)
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
                    metrics = self._run(plan, store, slot, on_progress, watch).metrics
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

    def _run(self, plan: Plan, store: Store, slot: EngineSlot, on_progress: OnProgress, watch: OnEvaluation | None) -> Result:
        """Where another worker tries the same settings, this one waits for its record."""
        while True:
            try:
                return run(plan, store, slot, on_progress, on_evaluation=watch)
            except RunBusy:
                if not self.is_shared:
                    raise
                time.sleep(BUSY_SECONDS)

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
        key = trained_key(plan)
        asked.set_user_attr("key", key)
        if not trained_folder(plan).exists():
            self.optuna_study.set_user_attr(MADE + key, True)

    def tidy(self) -> None:
        """Delete the models that the study made, except the best trial's and those that a trial or another process is using.

        The trials are read after the models: a model that another worker makes meanwhile is not among them, or belongs to a
        trial that runs."""
        attributes = self.optuna_study.user_attrs
        made = [*attributes.get("models", []), *(key.removeprefix(MADE) for key, ours in attributes.items() if ours is True)]
        begun = self._begun()
        best = self._best_of([_trial(found) for found in begun])
        kept = {found.user_attrs.get("key") for found in begun if found.state.name == "RUNNING"} if self.is_shared else set()
        for key in made:
            folder = folder_of(key)
            if (best is not None and key == best.key) or key in kept:
                continue
            with suppress(FileNotFoundError, Busy):  # another worker deletes it; a process is using it
                if folder.is_dir():
                    with held(folder / LOCK, wait=False):
                        shutil.rmtree(folder)
                self._forget(key)

    def _forget(self, key: str) -> None:
        """The study has that model no more."""
        old = self.optuna_study.user_attrs.get("models", [])  # of an earlier version
        if key in old:
            self.optuna_study.set_user_attr("models", [other for other in old if other != key])
        self.optuna_study.set_user_attr(MADE + key, False)


@contextmanager
def open_study(search: Search, folder: Path, catalog: Catalog, *, is_shared: bool = False) -> Iterator[Study]:
    """The study in `folder`, new if there is none; interrupted trials come first in the queue. `is_shared`: workers carry out
    its trials, those of an earlier command too: an interrupted one is for the worker that gets its place.

    Raises `RunBusy` if another process is searching there, `UserError` if that study is of another search.
    """
    with optuna_study(
        folder, search.identity, lower_is_better=search.lower_is_better, pruner=_median(), resumes=not is_shared
    ) as found:
        yield Study(folder, search, catalog, found, is_shared)


def joined_study(search: Search, folder: Path, catalog: Catalog) -> Study:
    """For a worker: the study that a command has opened with `open_study`. Raises `RunError` where it is not there."""
    import optuna

    if not (folder / JOURNAL).exists():
        raise RunError(
            f"{gethostname()} does not see the study {folder.name}: it is in {folder} on the machine of the command.",
            "All workers of a search need the same folder of results, on a shared disk; with a URL the same BENCH_CACHE.",
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = optuna.load_study(study_name=folder.name, storage=_journal(folder / JOURNAL), pruner=_median())
    return Study(folder, search, catalog, found, is_shared=True)


def _median() -> optuna.pruners.BasePruner:
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=FIRST_COMPLETE, n_warmup_steps=FIRST_EVALUATION)


def is_begun(folder: Path) -> bool:
    """Whether there is a study."""
    return any((folder / name).exists() for name in (JOURNAL, SQLITE))


@contextmanager
def optuna_study(
    folder: Path,
    identity: dict[str, Any],
    *,
    lower_is_better: bool,
    pruner: optuna.pruners.BasePruner | None = None,
    resumes: bool = True,
) -> Iterator[optuna.Study]:
    """Optuna's study in `folder`, locked for others; with `resumes` interrupted trials come first in the queue. `identity`:
    JSON-able.

    Raises `RunBusy` if another process is searching there, `UserError` if that study has another identity.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with held(folder / LOCK, wait=False), shared_folder(folder):
            if (folder / SQLITE).exists() and not (folder / JOURNAL).exists():
                _copy_from_sqlite(folder)
            found = optuna.create_study(
                storage=_journal(folder / JOURNAL),
                study_name=folder.name,
                direction="minimize" if lower_is_better else "maximize",
                pruner=pruner,
                load_if_exists=True,
            )
            _check_same(found, identity, folder)
            if resumes:
                _resume(found)
            yield found
    except Busy as error:
        raise RunBusy(f"{error} is working on the study {folder.name}.", "Wait for it, or stop it.") from error


def _journal(path: Path) -> optuna.storages.JournalStorage:
    """Its lock file is made by the system in one step, on NFS too."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))


def _copy_from_sqlite(folder: Path) -> None:
    """Continue a study of an earlier version; its file stays as it is."""
    import optuna
    from optuna.storages import RDBStorage

    partial = folder / f"{JOURNAL}.partial"
    partial.unlink(missing_ok=True)
    storage = RDBStorage(f"sqlite:///{(folder / SQLITE).resolve()}")
    try:
        optuna.copy_study(from_study_name=folder.name, from_storage=storage, to_storage=_journal(partial))
    finally:
        storage.remove_session()
        storage.engine.dispose()
    partial.replace(folder / JOURNAL)


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


def _resume(study: optuna.Study, place: int | None = None) -> None:
    """Queue the interrupted trials again: all, or the one that had that place."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if place is None or trial.user_attrs.get("place") == place:
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params, user_attrs={"again": trial.number})


def _trial(found: optuna.trial.FrozenTrial) -> Trial:
    attributes = found.user_attrs
    state = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "interrupted"}.get(found.state.name)
    state = state or ("failed" if "error" in attributes else "interrupted")
    value = found.value if state == "complete" else None  # Optuna gives a pruned one its last intermediate value
    return Trial(found.number, state, dict(found.params), value, attributes.get("key"), attributes.get("error"))
