"""The runs of one `bench run`, one after the other: a run that fails is reported, and the next one starts."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli import verbosity
from harness.cli.options import RESULTS, check_cache, print_table, worded
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.findings import Finding
    from harness.cli.progress import Progress
    from harness.core.errors import BenchError
    from harness.core.options import RunOptions
    from harness.core.record import Gate
    from harness.records.entries import Entry
    from harness.records.store import Store
    from harness.running.runner import EngineSlot
    from harness.running.tracking import Track, Tracker
    from harness.specs.catalog import Catalog
    from harness.specs.costs import Budget


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request. `found`: the record was there already. `model_from_cache`: no training was needed."""

    request: RunOptions
    state: str
    run_id: str | None = None
    metrics: Mapping[str, Any] | None = None
    error: BenchError | None = None
    model_from_cache: bool = False
    gates: Sequence[Gate] = ()
    finding: Finding | None = None
    prompted: str | None = None
    """How a language model was asked, as its record says: with what the command left to the defaults."""
    display_name: str | None = None
    """The backend as the record names it: with the model that `--model` gave."""

    def as_json(self) -> dict[str, Any]:
        request, error = self.request, self.error
        return {
            "state": self.state,
            "run": self.run_id,
            "task": request.task,
            "lang": request.lang,
            "split": request.split,
            "backend": request.backend,
            "prompt": request.prompt,
            "decoding": request.decoding,
            "calibration": request.calibration,
            "decision": request.decision,
            "train_lang": list(request.train_lang),
            "validation_lang": list(request.validation_lang),
            "settings": dict(request.settings),
            "seed": request.seed,
            "model_from_cache": self.model_from_cache,
            "metrics": self.metrics,
            "gates": [asdict(gate) for gate in self.gates],
            "finding": self.finding and self.finding.as_json(),
            "error": None if error is None else {"message": error.message, "hint": error.hint, "exit_code": error.exit_code},
        }


def run_all(
    known: Catalog, requests: Sequence[RunOptions], store: Store, force: bool, budget: Budget | None, *, gate: bool = True
) -> tuple[list[Outcome], bool]:
    """The outcomes so far, and whether Ctrl-C ended the series. An error that several runs share is printed once. Without
    `gate` a failed sanity gate stops no run."""
    from harness.cli import as_bench_error
    from harness.cli.progress import Progress
    from harness.core.errors import BudgetReached, ModelUnavailable, RunIncomplete
    from harness.running.runner import EngineSlot

    outcomes: list[Outcome] = []
    told: set[str] = set()
    unavailable: dict[str, ModelUnavailable] = {}  # to ask the hub again for every language would take minutes
    slot = EngineSlot()
    with Progress(len(requests)) as progress, _log_lines(progress):
        try:
            for request in requests:
                progress.next(f"{request.backend} {request.lang}")
                try:
                    if request.backend in unavailable:
                        raise unavailable[request.backend]
                    outcomes.append(_one(known, request, store, slot, progress, force, budget, gate))
                except Exception as error:
                    if os.environ.get("BENCH_DEBUG"):
                        raise
                    failure = as_bench_error(error)
                    unfinished = isinstance(failure, RunIncomplete)
                    outcomes.append(Outcome(request, "incomplete" if unfinished else "failed", error=failure))
                    gone = failure.server if isinstance(failure, RunIncomplete) else failure
                    if isinstance(gone, ModelUnavailable):
                        unavailable[request.backend] = gone
                    if str(failure) not in told:
                        told.add(str(failure))
                        progress.print(worded(failure))
                    if isinstance(failure, BudgetReached):
                        break
                    if isinstance(error, OSError) and error.errno is not None:
                        break  # no space, no permission: the next run would train for hours and end the same way
        except KeyboardInterrupt:
            return outcomes, True
        finally:
            slot.close()
    return outcomes, False


def exit_if_interrupted(stopped: bool) -> None:
    """After Ctrl-C or a signal, the last thing: half a series has no table, JSON or page, only the count of what is kept."""
    if stopped:
        typer.echo("Stopped. The same command goes on where this one was.", err=True)
        raise typer.Exit(130)


def exit_with(errors: Iterable[BenchError | None]) -> None:
    """Of the worst failure, if there is one."""
    code = max((error.exit_code for error in errors if error is not None), default=0)
    if code:
        raise typer.Exit(code)


def _one(
    known: Catalog,
    request: RunOptions,
    store: Store,
    slot: EngineSlot,
    progress: Progress,
    force: bool,
    budget: Budget | None,
    gate: bool,
) -> Outcome:
    from harness.records.entries import finished_entry, read_entry
    from harness.running.plan import make_plan
    from harness.running.runner import run
    from harness.running.training import trained_folder

    plan = make_plan(request, known)
    if not force and (entry := finished_entry(store, plan.run_id, warn=False)) is not None:
        progress.say(f"{plan.run_id}: found, nothing to do (--force repeats it)")
        return _outcome(request, "found", store, entry, progress)
    check_cache()
    at_hand = plan.training is not None and (trained_folder(plan) / "model").is_dir()
    notes = ["trained model found in the cache"] if at_hand else []
    if plan.training is not None and not at_hand and any((trained_folder(plan) / "scratch").glob("*")):
        notes.append("training goes on from its last checkpoint")
    if (store.root / f"{plan.run_id}.partial" / "journal.jsonl").exists():
        notes.append("begins anew" if force else "goes on where it was stopped")
    progress.say(plan.run_id + (f": {', '.join(notes)}" if notes else ""))
    done = run(plan, store, slot, progress.update, force=force, budget=budget, gate=gate)
    return _outcome(request, "new", store, read_entry(store, done.run_id), progress, model_from_cache=at_hand)


def _outcome(
    request: RunOptions, state: str, store: Store, entry: Entry, progress: Progress, *, model_from_cache: bool = False
) -> Outcome:
    finding = _finding(store, entry)
    return Outcome(
        request,
        state,
        entry.run_id,
        entry.metrics,
        model_from_cache=model_from_cache,
        gates=_told(entry, progress, has_finding=finding is not None),
        finding=finding,
        prompted=_prompted(entry),
        display_name=entry.display_name,
    )


def _told(entry: Entry, progress: Progress, *, has_finding: bool) -> list[Gate]:
    """What the run's sanity gates found; what a reader must know is printed, also with `--quiet`."""
    from harness.records.entries import gate_lines

    gates = entry.record.gates
    for line in gate_lines(gates, has_finding=has_finding):
        progress.print(plain(f"{entry.display_name} {entry.manifest['identity']['lang']}: {line}"))
    return gates


def _prompted(entry: Entry) -> str | None:
    return entry.made if entry.manifest["identity"]["prompt"] else None


def _finding(store: Store, entry: Entry) -> Finding | None:
    """`majority` is meant to give one answer."""
    from harness.analysis.findings import finding_of_entry

    return None if entry.is_blind else finding_of_entry(store, entry)


@contextmanager
def _log_lines(progress: Progress) -> Iterator[None]:
    """What the library logs (a download that takes a while, say) as lines that stay."""
    import logging

    warned: set[str] = set()

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if record.levelno < logging.WARNING:
                progress.say(message)
            elif message not in warned:  # a record is looked at before and after its lock is taken
                warned.add(message)
                progress.print(plain(f"warning: {message}"))

    log, lines = logging.getLogger("bench"), Lines()
    before = log.level, log.propagate, log.handlers
    log.handlers = [lines]  # in place of the command's own, which would write past the bar
    log.setLevel(logging.INFO)
    log.propagate = False  # or --verbose would show them twice
    try:
        yield
    finally:
        log.setLevel(before[0])
        log.propagate, log.handlers = before[1], before[2]


@dataclass
class Series:
    """What the end of a long command says: how many runs, how long, where things are."""

    results: Path
    began: float
    track: Track | None = None
    problem: str | None = None
    """Of the tracker."""
    tracked: bool = False
    """Whether there was a run for it: none that is found is tracked, and none that fails before it begins."""

    def print_summary(self, outcomes: Sequence[Any]) -> None:
        """`outcomes`: all that have a `state`."""
        counted = Counter(done.state for done in outcomes)
        counts = ", ".join(f"{count} {state}" for state, count in counted.items()) or "No runs"
        there = f"; records: {self.results / 'runs'}" if counted["new"] + counted["found"] else ""
        typer.echo(plain(f"{counts}{self._time()}{there}"), err=True)
        digits = next((done.run_id.rpartition(".")[2] for done in outcomes if getattr(done, "run_id", None)), None)
        where = "" if self.results == RESULTS else f" --results {shlex.quote(str(self.results))}"
        if digits is not None:
            verbosity.note(f"Next: bench leaderboard{where}, or bench show {digits}{where}")
        self._print_tracker()

    def print_search(self, folder: Path) -> None:
        typer.echo(plain(f"The study is in {folder}{self._time()}"), err=True)
        self._print_tracker()

    def _time(self) -> str:
        from harness.cli.progress import clock_time

        return "" if verbosity.is_quiet() else f" in {clock_time(time.monotonic() - self.began)}"

    def _print_tracker(self) -> None:
        from harness.running.tracking import where

        if self.track is None or not self.tracked:
            return
        if self.problem is not None:
            typer.echo(
                plain(f"note: not all could be tracked by {self.track} ({self.problem}); the records are whole."), err=True
            )
        else:
            verbosity.note(f"Tracked: {where(self.track, self.results)}")


@contextmanager
def tracking_with(name: str | None, results: Path) -> Iterator[Series]:
    """Around the runs of a command: what they tell goes to the tracker of that name, if one is asked for. Raises `UserError`
    for one that is not known, or not installed."""
    series = Series(results, time.monotonic())
    if name is None:
        yield series
        return
    from harness.core.errors import UnknownName
    from harness.running.tracking import Track, Tracker, open_sink, tracked_by

    if name not in list(Track):
        raise UnknownName("tracker", name, list(Track))
    series.track = Track(name)
    tracker = Tracker(open_sink(series.track, results))
    try:
        with tracked_by(tracker):
            yield series
    finally:
        series.tracked = tracker.asked
        series.problem = _close(tracker, series.track)


def _close(tracker: Tracker, track: Track) -> str | None:
    """What went wrong. Ctrl-C ends the waiting, not the command: the runs are done, and their table is still to come."""
    from harness.running.tracking import PATIENCE

    try:
        return tracker.close(on_wait=lambda: verbosity.note(f"waiting for {track}, up to {PATIENCE:g} s"))
    except KeyboardInterrupt:
        return "interrupted"


def print_runs(outcomes: Sequence[Outcome]) -> None:
    """A row per run; on a narrow terminal the first metric is what stays."""
    from harness.analysis.findings import SHORT
    from harness.reports.words import shown

    if not any(done.metrics for done in outcomes):
        return
    metrics = list(dict.fromkeys(name for done in outcomes if done.metrics for name in done.metrics["headline"]))
    named = ["finding"] if any(done.finding for done in outcomes) else []
    columns = ["task", "backend", "prompt", "lang", "seed", "n", *metrics, "no answer", *named, "record", "run"]
    rows = []
    for done in outcomes:
        request, measured = done.request, done.metrics or {"values": {}}
        asked = (request.prompt, request.decoding, request.calibration, request.decision)
        how = done.prompted or " ".join(str(word) for word in asked if word and not done.run_id) or "-"
        values = [shown(measured["values"][name]) if name in measured["values"] else "-" for name in metrics]
        counts = [str(measured["n"]), str(measured["n"] - measured["ok"])] if done.metrics else ["-", "-"]
        which = [request.task, done.display_name or request.backend, how, request.lang, str(request.seed)]
        found = [SHORT[done.finding.kind] if done.finding else "-"] if named else []
        rows.append([*which, counts[0], *values, counts[1], *found, done.state, (done.run_id or "-").rpartition(".")[2]])
    same = [name for name in ("task", "seed", "prompt") if len({row[columns.index(name)] for row in rows}) == 1]
    print_table(
        columns, rows, text=["prompt"], optional=list(dict.fromkeys([*same, *reversed(metrics[1:]), "no answer", "task"]))
    )
    many = len({done.request.task for done in outcomes}) > 1
    for done in outcomes:
        if done.finding is not None:
            verbosity.note(f"note: {_named(done, many)} {done.finding.message}.")  # the table has it in a word


def _named(done: Outcome, many: bool) -> str:
    """`mock:large (en, plain · score, seed 2)`: all that tells a run from the others of its command, but for settings. `many`:
    there are several tasks."""
    request = done.request
    trained = [f"trained on {'+'.join(request.train_lang)}"] if request.train_lang else []
    seed = [f"seed {request.seed}"] if request.seed else []
    words = [*([request.task] if many else []), request.lang, *([done.prompted] if done.prompted else []), *trained, *seed]
    return f"{done.display_name or request.backend} ({', '.join(words)})"
