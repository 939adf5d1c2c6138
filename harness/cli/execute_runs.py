"""The runs of a command: a run that fails is reported, and the others go on."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli import verbosity
from harness.cli.options import RESULTS, print_table, worded
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.findings import Finding
    from harness.cli.progress import Line, Progress
    from harness.core.errors import BenchError
    from harness.core.options import ExecutionOptions, RunOptions
    from harness.core.record import RunRecord
    from harness.execution.events import Event
    from harness.execution.executors import Executor
    from harness.execution.jobs import Job, Request
    from harness.execution.outcome import Outcome
    from harness.records.entries import Entry
    from harness.records.store import Store
    from harness.running.tracking import Track, Tracker
    from harness.specs.catalog import Catalog
    from harness.specs.costs import Budget


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What became of one run, with its record. `position`: among the runs of the command."""

    options: RunOptions
    outcome: Outcome
    position: int = 0
    entry: Entry | None = None
    finding: Finding | None = None

    @property
    def state(self) -> str:
        return self.outcome.state

    @property
    def error(self) -> BenchError | None:
        return self.outcome.error

    @property
    def record(self) -> RunRecord | None:
        return None if self.entry is None else self.entry.record

    @property
    def run_id(self) -> str | None:
        return self.outcome.run_id

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
            "model_from_cache": self.outcome.model_from_cache,
            **({} if self.outcome.shard is None else {"shard": str(self.outcome.shard), "rows": self.outcome.rows}),
            "metrics": record and record.metrics.as_json(),
            "gates": [gate.as_json() for gate in record.gates] if record else [],
            "finding": self.finding and self.finding.as_json(),
            "error": self.error and error_as_json(self.error),
        }


def error_as_json(error: BenchError) -> dict[str, Any]:
    return {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}


def run_all(
    known: Catalog, runs: Sequence[Request], store: Store, execution: ExecutionOptions, budget: Budget | None
) -> tuple[list[FinishedRun], bool]:
    """The runs that have ended, in the order of the command, and whether Ctrl-C ended the series. An error that several runs
    share is printed once."""
    from harness.cli.progress import Progress
    from harness.cli.project_file import executor_tables
    from harness.core.shard import Shard
    from harness.execution.jobs import in_shards, run_jobs

    executor = executor_for(execution, known, store, budget)
    jobs = run_jobs(runs, known, executor_tables().needs)
    parts = [execution.shard] if execution.shard else Shard.all_of(execution.shards) if execution.shards else []
    jobs = in_shards(jobs, parts) if parts else jobs
    done: dict[int, FinishedRun] = {}
    told: set[str] = set()
    whole = _Whole(known, store, execution.shards or 1)
    with Progress(len(jobs)) as progress:
        lines = Lines(progress, jobs)
        try:
            for job, ended in executor.carry_out(jobs, lines.tell):
                lines.end(job)
                outcome = whole.of(job, ended)
                for error in (ended.error, None if outcome is None else outcome.error):  # a merge may fail, too
                    if error is not None and str(error) not in told:
                        told.add(str(error))
                        progress.print(worded(error))
                if outcome is not None:
                    position = job // max(1, len(parts))
                    done[position] = _finished(runs[position].options, position, outcome, store, progress)
        except KeyboardInterrupt:
            return [done[position] for position in sorted(done)], True
    return [done[position] for position in sorted(done)], False


def executor_for(execution: ExecutionOptions, known: Catalog, store: Store, budget: Budget | None) -> Executor:
    """With the settings of bench.toml. Raises as `executor_of` does."""
    from harness.cli.project_file import executor_tables
    from harness.execution.executors import executor_of
    from harness.execution.worker import Setup

    for name, of in (("workers", ("ray", "slurm")), ("address", ("ray",))):
        if getattr(execution, name) and execution.executor not in of:
            verbosity.note(f"note: --{name} has no effect with --executor {execution.executor}.")
    return executor_of(execution, executor_tables(), Setup(known, store, execution.force, not execution.no_gate, budget))


class _Whole:
    """Runs that were carried out in `count` parts, which are the jobs of neighbouring numbers."""

    def __init__(self, known: Catalog, store: Store, count: int) -> None:
        self._known, self._store, self._count = known, store, count
        self._parts: dict[int, list[Outcome]] = {}

    def of(self, job: int, outcome: Outcome) -> Outcome | None:
        """What became of the run, once all of its parts have an outcome: they are merged, if none has failed."""
        from harness.core.errors import BenchError
        from harness.execution.worker import failed
        from harness.records.shards import shard_name, shards_by_run
        from harness.records.shared import fetch_record
        from harness.running.merging import merge

        if self._count == 1:
            return outcome
        parts = self._parts.setdefault(job // self._count, [])
        parts.append(outcome)
        if len(parts) < self._count:
            return None
        if (lost := next((part for part in parts if part.error is not None), None)) is not None:
            return lost
        assert outcome.run_id is not None
        for part in parts:
            if part.shard is not None:
                fetch_record(self._store.root / shard_name(outcome.run_id, part.shard))
        if not (folders := shards_by_run(self._store).get(outcome.run_id)):
            return replace(outcome, state="found", shard=None, rows=None)  # the whole run has its record
        try:
            merged = merge(folders, self._store, self._known)
        except BenchError as error:
            return failed(error)
        return replace(outcome, state="new", entry=merged.entry, shard=None, rows=None)


class Lines:
    """A line of progress for each job that is under way."""

    def __init__(self, progress: Progress, jobs: Sequence[Job]) -> None:
        self._progress, self._jobs = progress, jobs
        self._lines: dict[int, Line] = {}

    def tell(self, event: Event) -> None:
        """From any thread."""
        from harness.execution.events import COMMAND

        with self._progress.lock:
            if event.job == COMMAND:
                if event.kind == "warn" or not verbosity.is_quiet():
                    self._progress.print(event.text)
            elif event.kind == "start":
                self.end(event.job)  # begun before, by a worker that died
                self._lines[event.job] = self._progress.line(event.job + 1, self._jobs[event.job].name)
            elif (line := self._lines.get(event.job)) is not None:
                event.tell(line)
            elif event.kind == "warn":  # the job has ended, and its record is read
                self._progress.print(event.text)

    def say(self, job: int, text: str) -> None:
        """A line of a job that is under way, which --quiet leaves out."""
        if (line := self._lines.get(job)) is not None:
            line.say(text)

    def print(self, text: str) -> None:
        self._progress.print(text)

    def end(self, job: int) -> None:
        if (line := self._lines.pop(job, None)) is not None:
            self._progress.end(line)


def _finished(options: RunOptions, position: int, outcome: Outcome, store: Store, progress: Progress) -> FinishedRun:
    """Prints what the run's sanity gates found, also with --quiet: a reader must know it."""
    from harness.analysis.findings import finding_of_entry
    from harness.records.entries import gate_lines, leak_line, read_entry
    from harness.records.shared import fetch_record

    if outcome.run_id is None or outcome.shard is not None:
        return FinishedRun(options, outcome, position)
    if outcome.entry is None:
        fetch_record(store.root / outcome.run_id)
    entry = outcome.entry or read_entry(store, outcome.run_id)
    finding = None if entry.is_blind else finding_of_entry(store, entry)  # `majority` is meant to give one answer
    leak = leak_line([entry.record])
    for line in [*([] if leak is None else [leak]), *gate_lines(entry.record.gates, has_finding=finding is not None)]:
        progress.print(plain(f"{entry.display_name} {entry.record.identity.lang}: {line}"))
    return FinishedRun(options, outcome, position, entry, finding)


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
            sharded = any(isinstance(done, FinishedRun) and done.outcome.shard for done in outcomes)
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


def print_runs(outcomes: Sequence[FinishedRun]) -> None:
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


def _prompting(done: FinishedRun) -> str:
    """How the model was prompted, as the record says it; of a failed run as far as it was asked."""
    if done.entry is not None:
        return done.entry.config_label if done.entry.record.identity.prompt else "-"
    asked = (getattr(done.options, name) for name in ("prompt", "decoding", "calibration", "decision"))
    return " ".join(str(word) for word in asked if word) or "-"


def _label(done: FinishedRun, several_tasks: bool) -> str:
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
