"""What `bench analyze latency` prints of a record: a table, the queues, and one sentence."""

from __future__ import annotations

from typing import Any

import typer

from harness.cli import verbosity
from harness.cli.options import print_table
from harness.core.plain import plain


def print_speed(record: dict[str, Any]) -> None:
    """A line for each size of a batch; what they were timed on, to stderr."""
    backend = record["identity"]["backend"]
    load = record["load_average"]["after"]
    facts = [
        _where(record),
        backend.get("dtype"),
        f"threads of torch: {record['threads']}" if record["threads"] else None,
        None if load is None else f"load at the end {load:.1f}",
    ]
    what = f"{backend['name']}, {record['identity']['task']} {record['identity']['lang']}, {record['n']} texts"
    verbosity.note(f"{what}; {', '.join(fact for fact in facts if fact)}")
    lag = record["settings"]["lag_ms"]
    lagged = [f"p50 +{lag:g} ms", f"p95 +{lag:g} ms", f"rows/s +{lag:g} ms"] if lag else []
    columns = ["rows a call", "calls", "mean ms", "p50 ms", "p95 ms", "p99 ms", "rows/s", *lagged, "host MiB", "GPU MiB"]
    rows = [_row(part, str(part["rows"]), bool(lag)) for part in record["batches"]]
    offline = record["offline"]
    rows.append(_row(offline, f"offline, up to {offline['batch_size']}", bool(lag)))
    print_table(columns, rows, optional=["GPU MiB", "p99 ms", "calls", "mean ms"])
    for queue in record["arrivals"]["queues"] if record["arrivals"] else []:
        typer.echo(plain(_queue_line(queue, record["arrivals"]["rows_per_second"])))


def _row(part: dict[str, Any], name: str, lagged: bool) -> list[str]:
    with_lag = part.get("with_lag") or {}
    memory = part.get("peak_memory_mib", {})
    host = memory.get("host") or memory.get("host_since_start")
    return [
        name,
        part.get("error") or str(part["batches"]),
        *(_number(part.get(key)) for key in ("mean_ms", "p50_ms", "p95_ms", "p99_ms", "rows_per_second")),
        *([_number(with_lag.get(key)) for key in ("p50_ms", "p95_ms", "rows_per_second")] if lagged else []),
        _number(host),
        _number(memory.get("gpu")),
    ]


def _number(value: float | None) -> str:
    """Three digits or more: a time is not known better."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _queue_line(queue: dict[str, Any], rate: float) -> str:
    way = "a row at a time" if queue["up_to"] == 1 else f"in batches of what waits, up to {queue['up_to']}"
    begin = f"{rate:g} rows/s arriving at random, {way}: "
    if not queue["keeps_up"]:
        return begin + f"can't keep up, it does {_number(queue['capacity_rows_per_second'])} rows/s at most"
    waits = [f"{key[:3]} {_number(queue[key])} ms" for key in ("p50_ms", "p95_ms", "p99_ms") if queue[key] is not None]
    return begin + ", ".join([*waits, f"at work {queue['utilisation']:.0%} of the time"]) + " (simulated)"


def sentence(record: dict[str, Any]) -> str:
    """What the figures say, in one sentence."""
    one = record["batches"][0]
    if one["p50_ms"] is None:
        row = f"takes {_number(one['mean_ms'])} ms a row on average (too few texts for percentiles: n = {record['n']})"
    elif one["p95_ms"] is None:
        row = f"answers half of the rows within {_number(one['p50_ms'])} ms (n = {record['n']}, too few for p95)"
    else:
        within = f"{_number(one['p50_ms'])} ms and 95% within {_number(one['p95_ms'])} ms"
        row = f"answers half of the rows within {within} (n = {record['n']})"
    best = max((part for part in [*record["batches"], record["offline"]] if part.get("rows_per_second")), key=_throughput)
    how = f"{best['rows']} at a time" if "rows" in best else "offline"
    if how == "1 at a time":
        how = "a row at a time"
    memory = max((part["peak_memory_mib"]["host"] or 0 for part in record["batches"] if "peak_memory_mib" in part), default=0)
    used = f", in {memory} MiB at most" if memory else ""
    load = "; the machine had other work too, so it can do better" if _is_loaded(record) else ""
    name = record["identity"]["backend"]["name"]
    return f"{name} on {_where(record)} {row}, and does {_number(_throughput(best))} rows a second at best ({how}){used}{load}."


def _is_loaded(record: dict[str, Any]) -> bool:
    return any((load or 0) > record["machine"]["cores"] for load in record["load_average"].values())


def _where(record: dict[str, Any]) -> str:
    machine = record["machine"]
    if record["identity"]["backend"].get("device") == "cuda":
        return str(machine["gpu"])
    return f"{machine['cores']} core{'s' if machine['cores'] > 1 else ''} of {machine['cpu']}"


def _throughput(part: dict[str, Any]) -> float:
    return float(part["rows_per_second"])
