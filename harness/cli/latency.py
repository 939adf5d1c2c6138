"""`bench analyze latency`: latency, throughput and memory of one backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import verbosity
from harness.cli.options import (
    Json,
    Many,
    catalog,
    finite_number,
    names,
    open_store,
    print_json,
    print_table,
    tolerate_broken_pipe,
)
from harness.cli.requests import budget_of, completed, note_unused
from harness.cli.run_options import takes_run_options
from harness.core.options import ELSEWHERE, IN_PARTS, ExecutionOptions
from harness.core.plain import plain
from harness.specs.asked import Asked

if TYPE_CHECKING:
    from harness.records.latency import BatchFigures, LatencyRecord, OfflineFigures, QueueFigures
    from harness.running.plan import Plan
    from harness.running.timing import LatencyOptions
    from harness.specs.costs import Budget

DEFAULT_SIZES = (1, 32)
HELP = {
    "lang": "Language; default: the task's first.",
    "limit": "At most N test rows; p95 needs 200, p99 needs 1,000.",
    "max_cost": "Spend at most this on a server; required if the backend has a price.",
}
BatchSize = Annotated[
    Many, typer.Option(metavar="N", help="Rows per call. Default: 1,32. One row per call is always measured.")
]
LagMs = Annotated[float, typer.Option(min=0, metavar="MS", help="Add a simulated network delay to each call.")]
Rate = Annotated[float | None, typer.Option(metavar="ROWS", help="Simulate rows that arrive at random, ROWS per second.")]


@takes_run_options(
    but=("split", "calibration", "decision", "force", "no_gate", "track", *ELSEWHERE, *IN_PARTS),
    help=HELP,
    defaults={"limit": 200},
)
def latency_command(
    asked: Asked,
    execution: ExecutionOptions,
    batch_size: BatchSize = None,
    lag_ms: LagMs = 0,
    rate: Rate = None,
    as_json: Json = False,
) -> None:
    """Measure a backend's latency, throughput and memory use.

    The model is trained or loaded as `bench run` does it with the same options; a trained model is found in the cache.
    Training, loading and a warm-up are not timed. The time of a row begins with the text and ends with the label. The record
    goes to latency/ in the folder of results, where `bench recommend` finds it.

    --json prints the record (docs/price.md describes its keys), with file and sentence.
    """
    from harness.records.latency import write_latency
    from harness.running.plan import make_plan

    known = catalog(execution.trust_metric_code)
    asked = completed(asked, known, open_store(execution.results))
    backend = asked.one("backend")
    for name in ("task", "seed", "limit", "prompt", "decoding", "lang"):
        asked.one(name)  # one run is measured
    (options, *_) = asked.runs(known)
    what = _latency_options(batch_size, lag_ms, rate)
    note_unused(asked, known, [backend])
    budget = budget_of(execution, known, [backend], asked.one("model"))
    plan = make_plan(options, known)
    record = _measured(plan, _sized(what, plan), budget)
    _show(record, write_latency(execution.results, plan.run_id, record), as_json)


def _show(record: LatencyRecord, path: Path, as_json: bool) -> None:
    with tolerate_broken_pipe():
        if as_json:
            print_json({**record.as_json(), "file": path.as_posix(), "sentence": sentence(record)})
        else:
            print_latency(record)
            typer.echo(plain(sentence(record)))
    for warning in record.warnings:
        verbosity.note(f"note: {warning}")
    typer.echo(plain(f"Written: {path}"), err=True)


def _latency_options(batch_size: Many, lag_ms: float, rate: float | None) -> LatencyOptions:
    """Raises `UserError`."""
    from harness.core.errors import UserError
    from harness.running.timing import LatencyOptions

    texts = names(batch_size, "--batch-size")
    for text in texts:
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise UserError(f"--batch-size {text}: expected a number of rows.", "For example: --batch-size 1,32,64")
    if rate is not None and finite_number(rate, "--rate") <= 0:
        raise UserError(f"--rate {rate:g}: expected a number above 0.", "Give rows per second, such as 50.")
    return LatencyOptions(tuple(dict.fromkeys(map(int, texts))), finite_number(lag_ms, "--lag-ms") / 1000, rate)


def _sized(options: LatencyOptions, plan: Plan) -> LatencyOptions:
    """With the default batch sizes that the rows can fill, if none were given."""
    from harness.running.batching import distinct

    if options.sizes:
        return options
    texts = len(distinct(plan.rows))
    return replace(options, sizes=tuple(size for size in DEFAULT_SIZES if size <= texts))


def _measured(plan: Plan, options: LatencyOptions, budget: Budget | None) -> LatencyRecord:
    """The record. The progress bar ends before the clock starts: it would use part of a core."""
    from harness.cli.progress import Progress
    from harness.running.timing import measure

    with Progress(1) as progress:
        progress.next(f"{plan.backend.name} {plan.options.lang}")

        def watch(phase: str, done: int, total: int, note: str) -> None:
            if phase == "time":
                progress.__exit__(None, None, None)
                verbosity.note(f"timing {note} ({done + 1} of {total})")
            else:
                progress.update(phase, done, total, note)

        return measure(plan, options, budget, watch)


def print_latency(record: LatencyRecord) -> None:
    """One line per batch size; the machine on stderr."""
    identity, load, lag = record.identity, record.load_average.after, record.settings.lag_ms
    facts = [
        _where(record),
        identity.backend.dtype,
        f"threads of torch: {record.threads}" if record.threads else None,
        None if load is None else f"load at the end {load:.1f}",
    ]
    what = f"{identity.backend.name}, {identity.task} {identity.lang}, {record.n} texts"
    verbosity.note(f"{what}; {', '.join(fact for fact in facts if fact)}")
    lagged = [f"p50 +{lag:g} ms", f"p95 +{lag:g} ms", f"rows/s +{lag:g} ms"] if lag else []
    columns = ["rows per call", "calls", "mean ms", "p50 ms", "p95 ms", "p99 ms", "rows/s", *lagged, "host MiB", "GPU MiB"]
    rows = [_row(part, str(part.rows), bool(lag)) for part in record.batches]
    rows.append(_row(record.offline, f"offline, up to {record.offline.batch_size}", bool(lag)))
    print_table(columns, rows, optional=["GPU MiB", "p99 ms", "calls", "mean ms"])
    if record.arrivals is not None:
        for queue in record.arrivals.queues:
            typer.echo(plain(_queue_line(queue, record.arrivals.rows_per_second)))


def _row(part: BatchFigures | OfflineFigures, name: str, lagged: bool) -> list[str]:
    memory, with_lag = part.peak_memory_mib, getattr(part, "with_lag", None)
    times = [getattr(part, key, None) for key in ("mean_ms", "p50_ms", "p95_ms", "p99_ms", "rows_per_second")]
    return [
        name,
        part.error or str(part.batches),
        *map(_number, times),
        *([_number(getattr(with_lag, key, None)) for key in ("p50_ms", "p95_ms", "rows_per_second")] if lagged else []),
        _number(memory.host or memory.host_since_start),
        _number(memory.gpu),
    ]


def _number(value: float | None) -> str:
    """Three digits: times are not more precise."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _queue_line(queue: QueueFigures, rate: float) -> str:
    batches = "one row per call" if queue.up_to == 1 else f"up to {queue.up_to} waiting rows per call"
    begin = f"{rate:g} rows/s arriving at random, {batches}: "
    if not queue.keeps_up:
        return begin + f"can't keep up; its maximum is {_number(queue.capacity_rows_per_second)} rows/s"
    percentiles = {"p50": queue.p50_ms, "p95": queue.p95_ms, "p99": queue.p99_ms}
    waits = [f"{name} {_number(value)} ms" for name, value in percentiles.items() if value is not None]
    return begin + ", ".join([*waits, f"busy {queue.utilisation:.0%} of the time"]) + " (simulated)"


def sentence(record: LatencyRecord) -> str:
    """The result in one sentence."""
    from harness.records.latency import BatchFigures

    one, n = record.batches[0], record.n
    if one.p50_ms is None:
        row = f"takes {_number(one.mean_ms)} ms per row on average (n = {n}, too few for percentiles)"
    elif one.p95_ms is None:
        row = f"has a median latency of {_number(one.p50_ms)} ms (n = {n}, too few for p95)"
    else:
        row = f"has a median latency of {_number(one.p50_ms)} ms and a p95 of {_number(one.p95_ms)} ms (n = {n})"
    parts: list[BatchFigures | OfflineFigures] = [*record.batches, record.offline]
    best = max(parts, key=lambda part: part.rows_per_second or 0.0)
    batch = f"{best.rows} row{'s' if best.rows > 1 else ''} per call" if isinstance(best, BatchFigures) else "offline"
    memory = max((part.peak_memory_mib.host or 0 for part in record.batches), default=0)
    used = f", with at most {memory} MiB" if memory else ""
    load = "; the machine was busy with other work, so these figures are too low" if record.under_load else ""
    throughput = f"a throughput of up to {_number(best.rows_per_second)} rows per second ({batch})"
    return f"{record.identity.backend.name} on {_where(record)} {row} and {throughput}{used}{load}."


def _where(record: LatencyRecord) -> str:
    machine = record.machine
    if record.identity.backend.device == "cuda":
        return str(machine.gpu)
    return f"{machine.cores} core{'s' if machine.cores != 1 else ''} of {machine.cpu}"
