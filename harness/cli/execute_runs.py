"""The runs of a command, one after the other: a run that fails is reported, and the next one starts."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
    from harness.core.options import ExecutionOptions, RunOptions
    from harness.core.record import RunRecord
    from harness.records.entries import Entry
    from harness.records.store import Store
    from harness.running.plan import Plan
    from harness.running.runner import EngineSlot
    from harness.running.sharding import ShardResult
    from harness.running.tracking import Track, Tracker
    from harness.specs.catalog import Catalog
    from harness.specs.costs import Budget


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run. `state`: new, found (it was recorded before), incomplete or failed. `model_from_cache`: no
    training was needed. `part`: of a shard, which has no record and no metrics."""

    options: RunOptions
    state: str
    entry: Entry | None = None
    error: BenchError | None = None
    model_from_cache: bool = False
    finding: Finding | None = None
    part: ShardResult | None = None

    @property
    def record(self) -> RunRecord | None:
        return None if self.entry is None else self.entry.record

    @property
    def run_id(self) -> str | None:
        if self.part is not None:
            return self.part.run_id
        return None if self.entry is None else self.entry.run_id

    @property
    def name(self) -> str:
        """The backend, with its model where --model named it."""
        return self.options.backend if self.entry is None else self.entry.display_name

    def as_json(self) -> dict[str, Any]:
        record = self.record
        return {
            "state": self.state,
            "run": self.run_id,
            **self.options.model_dump(mode="json"),
            "model_from_cache": self.model_from_cache,
            **({} if self.part is None else {"shard": str(self.part.shard), "rows": self.part.rows}),
            "metrics": record and record.metrics.as_json(),
            "gates": [gate.as_json() for gate in record.gates] if record else [],
            "finding": self.finding and self.finding.as_json(),
            "error": self.error and error_as_json(self.error),
        }


def error_as_json(error: BenchError) -> dict[str, Any]:
    return {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}


def run_all(
    known: Catalog, runs: Sequence[RunOptions], store: Store, execution: ExecutionOptions, budget: Budget | None
) -> tuple[list[Outcome], bool]:
    """The outcomes so far, and whether Ctrl-C ended the series. An error that several runs share is printed once."""
    from harness.cli import as_bench_error
    from harness.cli.progress import Progress
    from harness.core.errors import BudgetReached, ModelUnavailable, RunIncomplete
    from harness.running.runner import EngineSlot

    outcomes: list[Outcome] = []
    told: set[str] = set()
    unavailable: dict[str, ModelUnavailable] = {}  # to ask the hub again for every language would take minutes
    slot = EngineSlot()
    with Progress(len(runs)) as progress, log_lines(progress):
        try:
            for options in runs:
                progress.next(f"{options.backend} {options.lang}")
                try:
                    if options.backend in unavailable:
                        raise unavailable[options.backend]
                    outcomes.append(_one(known, options, store, slot, progress, execution, budget))
                except Exception as error:
                    if os.environ.get("BENCH_DEBUG"):
                        raise
                    failure = as_bench_error(error)
                    unfinished = isinstance(failure, RunIncomplete)
                    outcomes.append(Outcome(options, "incomplete" if unfinished else "failed", error=failure))
                    gone = failure.server if isinstance(failure, RunIncomplete) else failure
                    if isinstance(gone, ModelUnavailable):
                        unavailable[options.backend] = gone
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
    """After Ctrl-C or a signal, last of all: an incomplete series has no table, JSON or page, only the count of what is
    kept."""
    if stopped:
        typer.echo("Stopped. Repeat the command to continue.", err=True)
        raise typer.Exit(130)


def exit_with(errors: Iterable[BenchError | None]) -> None:
    """With the code of the worst failure, if there is one."""
    code = max((error.exit_code for error in errors if error is not None), default=0)
    if code:
        raise typer.Exit(code)


def _one(
    known: Catalog,
    options: RunOptions,
    store: Store,
    slot: EngineSlot,
    progress: Progress,
    execution: ExecutionOptions,
    budget: Budget | None,
) -> Outcome:
    from harness.records.entries import read_entry
    from harness.records.shards import shard_name
    from harness.running.plan import make_plan
    from harness.running.runner import found_run, run
    from harness.running.training import trained_folder

    plan, force = make_plan(options, known), execution.force
    if not force and (entry := found_run(store, plan, warn=False)) is not None:
        progress.say(f"{entry.run_id}: found, nothing to do (--force runs it again)")
        return _outcome(options, "found", store, entry, progress)
    check_cache()
    in_cache = plan.training is not None and (trained_folder(plan) / "model").is_dir()
    notes = ["trained model found in the cache"] if in_cache else []
    if plan.training is not None and not in_cache and any((trained_folder(plan) / "scratch").glob("*")):
        notes.append("training continues from its last checkpoint")
    name = plan.run_id if execution.shard is None else shard_name(plan.run_id, execution.shard)
    if (store.root / f"{name}.partial" / "journal.jsonl").exists():
        notes.append("starts again" if force else "continues where it stopped")
    if execution.shard is not None:
        return _shard(plan, options, store, slot, progress, execution, budget, notes, model_from_cache=in_cache)
    progress.say(plan.run_id + (f": {', '.join(notes)}" if notes else ""))
    done = run(plan, store, slot, progress.update, force=force, budget=budget, gate=not execution.no_gate)
    return _outcome(options, "new", store, read_entry(store, done.run_id), progress, model_from_cache=in_cache)


def _shard(
    plan: Plan,
    options: RunOptions,
    store: Store,
    slot: EngineSlot,
    progress: Progress,
    execution: ExecutionOptions,
    budget: Budget | None,
    notes: Sequence[str],
    *,
    model_from_cache: bool,
) -> Outcome:
    """One shard of a run."""
    from harness.running.sharding import run_shard

    assert execution.shard is not None
    progress.say(", ".join([f"{plan.run_id}: shard {execution.shard}", *notes]))
    done = run_shard(
        plan,
        execution.shard,
        store,
        slot,
        progress.update,
        force=execution.force,
        budget=budget,
        gate=not execution.no_gate,
    )
    if done.computed and not done.rows:
        progress.say(f"{plan.run_id}: the run has fewer windows than shards, so shard {execution.shard} has no rows")
    if not done.computed:
        progress.say(f"{plan.run_id}: shard {execution.shard} found, nothing to do (--force predicts it again)")
    return Outcome(options, "new" if done.computed else "found", part=done, model_from_cache=model_from_cache)


def _outcome(
    options: RunOptions, state: str, store: Store, entry: Entry, progress: Progress, *, model_from_cache: bool = False
) -> Outcome:
    """Prints what the run's sanity gates found, also with --quiet: a reader must know it."""
    from harness.analysis.findings import finding_of_entry
    from harness.records.entries import gate_lines, leak_line

    finding = None if entry.is_blind else finding_of_entry(store, entry)  # `majority` is meant to give one answer
    leak = leak_line([entry.record])
    for line in [*([] if leak is None else [leak]), *gate_lines(entry.record.gates, has_finding=finding is not None)]:
        progress.print(plain(f"{entry.display_name} {entry.record.identity.lang}: {line}"))
    return Outcome(options, state, entry, model_from_cache=model_from_cache, finding=finding)


@contextmanager
def log_lines(progress: Progress) -> Iterator[None]:
    """Print what the library logs, such as a long download, as lines that stay."""
    import logging

    warned: set[str] = set()

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if record.levelno < logging.WARNING:
                progress.say(message)
            elif message not in warned:  # a record is read before and after its lock is taken
                warned.add(message)
                progress.print(plain(f"warning: {message}"))

    log, lines = logging.getLogger("bench"), Lines()
    before = log.level, log.propagate, log.handlers
    log.handlers = [lines]  # the command's own would write into the bar
    log.setLevel(logging.INFO)
    log.propagate = False  # or --verbose would show them twice
    try:
        yield
    finally:
        log.setLevel(before[0])
        log.propagate, log.handlers = before[1], before[2]


@dataclass
class Series:
    """The end of a long command: how many runs, how long they took, where the records are. `problem`: of the tracker;
    `tracked`: whether any run was new, since others are not tracked."""

    results: Path
    began: float
    track: Track | None = None
    problem: str | None = None
    tracked: bool = False

    def finish(self, outcomes: Sequence[Any], stopped: bool) -> None:
        """Print the summary and end the command with the right exit code. `outcomes`: anything with a `state` and an
        `error`."""
        counted = Counter(done.state for done in outcomes)
        counts = ", ".join(f"{count} {state}" for state, count in counted.items()) or "No runs"
        there = f"; records: {self.results / 'runs'}" if counted["new"] + counted["found"] else ""
        typer.echo(plain(f"{counts}{self._time()}{there}"), err=True)
        digits = next((done.run_id.rpartition(".")[2] for done in outcomes if getattr(done, "run_id", None)), None)
        where = "" if self.results == RESULTS else f" --results {shlex.quote(str(self.results))}"
        if digits is not None:
            sharded = any(getattr(done, "part", None) for done in outcomes)
            show = f"bench leaderboard{where}, or bench show {digits}{where}"
            verbosity.note(f"Next: {f'when all shards are finished, bench results merge{where}' if sharded else show}")
        self._print_tracker()
        exit_if_interrupted(stopped)
        exit_with(done.error for done in outcomes)

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
                plain(f"note: {self.track} did not receive everything ({self.problem}); the records are complete."), err=True
            )
        else:
            verbosity.note(f"Tracked: {where(self.track, self.results)}")


@contextmanager
def tracking_with(execution: ExecutionOptions, results: Path | None = None) -> Iterator[Series]:
    """Around the runs of a command: --track sends what they report to a tracker. Raises `UserError` for one that is unknown or
    not installed. `results`: the folder of records, where it is not that of the options."""
    series = Series(results or execution.results, time.monotonic())
    if execution.track is None:
        yield series
        return
    from harness.core.errors import UnknownName
    from harness.running.tracking import Track, Tracker, open_sink, tracked_by

    if execution.track not in list(Track):
        raise UnknownName("tracker", execution.track, list(Track))
    series.track = Track(execution.track)
    tracker = Tracker(open_sink(series.track, series.results))
    try:
        with tracked_by(tracker):
            yield series
    finally:
        series.tracked = tracker.asked
        series.problem = _close(tracker, series.track)


def _close(tracker: Tracker, track: Track) -> str | None:
    """What went wrong. Ctrl-C ends the waiting and not the command: the runs are done, and their table is still to come."""
    from harness.running.tracking import PATIENCE

    try:
        return tracker.close(on_wait=lambda: verbosity.note(f"waiting for {track}, up to {PATIENCE:g} s"))
    except KeyboardInterrupt:
        return "interrupted"


def print_runs(outcomes: Sequence[Outcome]) -> None:
    """One line per run. A narrow terminal keeps the first metric."""
    from harness.analysis.findings import SHORT
    from harness.reports.text.formats import shown

    records = [done.record for done in outcomes if done.record]
    if not records:
        return
    metrics = list(dict.fromkeys(name for record in records for name in record.metrics.headline))
    with_findings = ["finding"] if any(done.finding for done in outcomes) else []
    columns = ["task", "backend", "prompt", "lang", "seed", "n", *metrics, "no answer", *with_findings, "record", "run"]
    rows = []
    for done in outcomes:
        options, record = done.options, done.record
        values = record.metrics.values if record else {}
        counts = [str(record.n), str(record.metrics.unanswered)] if record else ["-", "-"]
        which = [options.task, done.name, _prompting(done), options.lang, str(options.seed), counts[0]]
        cells = [shown(values[name]) if name in values else "-" for name in metrics]
        found = [SHORT[done.finding.kind] if done.finding else "-"] if with_findings else []
        rows.append([*which, *cells, counts[1], *found, done.state, (done.run_id or "-").rpartition(".")[2]])
    same = [name for name in ("task", "seed", "prompt") if len({row[columns.index(name)] for row in rows}) == 1]
    optional = dict.fromkeys([*same, *reversed(metrics[1:]), "no answer", "task"])
    print_table(columns, rows, text=["prompt"], optional=list(optional))
    several_tasks = len({done.options.task for done in outcomes}) > 1
    for done in outcomes:
        if done.finding is not None:
            verbosity.note(f"note: {_label(done, several_tasks)} {done.finding.message}.")  # the table has one word for it


def _prompting(done: Outcome) -> str:
    """How the model was prompted, as the record says it; of a failed run as far as it was asked."""
    if done.entry is not None:
        return done.entry.config_label if done.entry.record.identity.prompt else "-"
    asked = (getattr(done.options, name) for name in ("prompt", "decoding", "calibration", "decision"))
    return " ".join(str(word) for word in asked if word) or "-"


def _label(done: Outcome, several_tasks: bool) -> str:
    """`mock:large (en, plain · score, seed 2)`: what tells a run from the others of its command, except settings."""
    options, prompting = done.options, _prompting(done)
    parts = [
        options.task if several_tasks else "",
        options.lang,
        "" if prompting == "-" else prompting,
        f"trained on {'+'.join(options.train_lang)}" if options.train_lang else "",
        f"seed {options.seed}" if options.seed else "",
    ]
    return f"{done.name} ({', '.join(filter(None, parts))})"
