"""`bench speed`: latency, throughput and memory of one backend."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import talk
from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Many,
    Model,
    Quiet,
    Results,
    Settings,
    TrainLimit,
    ValidationLimit,
    Verbose,
    catalog,
    check_data,
    finite_number,
    names,
    open_store,
    print_json,
    print_table,
    whoever_reads,
)
from harness.cli.requests import (
    check_fit,
    check_model,
    is_prompted,
    loads_model,
    member,
    note_unused,
    seeds,
    settings_from,
    trained_by,
)

if TYPE_CHECKING:
    from harness.catalog import Catalog
    from harness.running.plan import Plan, Request
    from harness.running.timing import Wish

DEFAULT_SIZES = (1, 32)


def speed_command(
    backend: Annotated[str, typer.Option(metavar="NAME", help="Backend. See `bench list backends`.")],
    task: Annotated[str, typer.Option(metavar="NAME", help="Task. See `bench list tasks`.")] = "reviews_demo",
    lang: Annotated[str | None, typer.Option(metavar="CODE", help="Language; default: the task's first.")] = None,
    batch_size: Annotated[
        Many, typer.Option(metavar="N,N,...", help="Rows a call; a row at a time is always timed. Default: 1,32.")
    ] = None,
    lag_ms: Annotated[
        float, typer.Option(min=0, metavar="MS", help="Add so much to each call, as a network would; simulated.")
    ] = 0,
    rate: Annotated[
        float | None, typer.Option(metavar="ROWS", help="Simulate rows that arrive at random, so many a second.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many test rows; p95 needs 200, p99 1000.")] = 200,
    prompt: Annotated[str | None, typer.Option(metavar="NAME", help="Prompt for a language model.")] = None,
    decoding: Annotated[
        str | None, typer.Option(metavar="HOW", help="For a language model: free, constrained or score.")
    ] = None,
    setting: Settings = None,
    runtime: Annotated[
        str | None, typer.Option(metavar="NAME", help="How an encoder predicts: torch, onnx or onnx-int8.")
    ] = None,
    train_lang: Annotated[
        Many, typer.Option(metavar="CODE", help="Languages to train on, together; default: the tested one.")
    ] = None,
    validation_lang: Annotated[
        Many, typer.Option(metavar="CODE", help="Languages whose validation rows choose the checkpoint; default: as trained.")
    ] = None,
    continue_from: Annotated[
        str | None, typer.Option(metavar="RUN", help="Train on from the model of an earlier run (its digits will do).")
    ] = None,
    seed: Annotated[Many, typer.Option(metavar="N", help="Seed of training and of exemplars; default: 0.")] = None,
    train_limit: TrainLimit = None,
    draw: Annotated[bool, typer.Option("--draw", help="The seed draws the rows of --train-limit.")] = False,
    validation_limit: ValidationLimit = None,
    model: Model = None,
    data: Data = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="Spend at most this on a server; needed where it charges.")
    ] = None,
    results: Results = RESULTS,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Time a backend: how long a row takes, how many a second it does, and in how much memory.

    The model is trained or loaded as `bench run` would with the same options (a trained one is found in the cache); that and
    a warm-up are not timed. What is timed begins with the text and ends with the label. The record goes to speed/ in the
    folder of results, where `bench recommend` finds it.

    --json prints the record (its keys are described in docs/price.md), with file and sentence.
    """
    from harness.errors import UserError
    from harness.records.speed import write_speed
    from harness.running.batching import distinct
    from harness.running.costs import Budget
    from harness.running.plan import Request, make_plan
    from harness.running.timing import Wish
    from harness.specs.prompts import Decoding

    talk.begin(quiet, verbose)
    known = catalog()
    prompted = is_prompted(known, backend)
    check_model(known, [backend], model)
    check_data(data)
    numbers = seeds(seed)
    if len(numbers) > 1:
        raise UserError("One seed is timed at a time.", "Give --seed once.")
    if draw and train_limit is None:
        raise UserError("--draw draws the rows of --train-limit, which is not given.", "Say how many: --train-limit N.")
    store = open_store(results)
    how = None if decoding is None else member(Decoding, decoding)
    request = Request(
        task=task,
        backend=backend,
        lang=lang or known.task(task).languages[0],
        prompt=prompt if prompted else None,
        decoding=how if prompted else None,
        train_langs=tuple(names(train_lang, "--train-lang")),
        validation_langs=tuple(names(validation_lang, "--validation-lang")),
        seed=numbers[0],
        limit=limit,
        train_limit=train_limit,
        drawn=draw,
        validation_limit=validation_limit,
        settings={**settings_from(setting), **({} if runtime is None else {"predict.runtime": runtime})},
        continued_from=None if continue_from is None else trained_by(store, continue_from),
        model=model if loads_model(known, backend) else None,
        data_dir=data,
    )
    wish = Wish(_sizes(batch_size), finite_number(lag_ms, "--lag-ms") / 1000, None if rate is None else _rate(rate))
    budget = None if max_cost is None else Budget(finite_number(max_cost, "--max-cost"))
    _check(known, request, prompt, how)
    plan = make_plan(request, known)
    if not wish.sizes:
        wish = replace(wish, sizes=tuple(size for size in DEFAULT_SIZES if size <= len(distinct(plan.rows))))
    record = _measured(plan, wish, budget)
    path = write_speed(results, plan.run_id, record)
    with whoever_reads():
        if as_json:
            print_json({**record, "file": path.as_posix(), "sentence": sentence(record)})
        else:
            _print(record)
            typer.echo(sentence(record))
    for warning in record["warnings"]:
        talk.note(f"note: {warning}")
    typer.echo(f"Written: {path}", err=True)


def _check(known: Catalog, request: Request, prompt: str | None, decoding: object) -> None:
    check_fit(known, [request], [prompt] if prompt else [])
    of_classifiers = {
        "train_lang": request.train_langs,
        "validation_lang": request.validation_langs,
        "continue_from": request.continued_from,
        "train_limit": request.train_limit,
        "validation_limit": request.validation_limit,
    }
    note_unused(known, [request.backend], {"prompt": prompt, "decoding": decoding}, of_classifiers)


def _sizes(values: Many) -> tuple[int, ...]:
    """Empty where none is given."""
    from harness.errors import UserError

    texts = names(values, "--batch-size")
    for text in texts:
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise UserError(f"--batch-size {text}: that is no number of rows.", "For example: --batch-size 1,32,64")
    return tuple(dict.fromkeys(map(int, texts)))


def _rate(rate: float) -> float:
    from harness.errors import UserError

    if finite_number(rate, "--rate") <= 0:
        raise UserError(f"--rate {rate:g}: no rows would ever arrive.", "Give the rows that arrive in a second, such as 50.")
    return rate


def _measured(plan: Plan, wish: Wish, budget: Any) -> dict[str, Any]:
    """The record. The bar is gone when the clock starts: it would take part of a core."""
    from harness.cli.progress import Progress
    from harness.running.timing import measure

    with Progress(1) as progress:
        progress.next(f"{plan.backend.name} {plan.request.lang}")

        def watch(phase: str, done: int, total: int, note: str) -> None:
            if phase == "time":
                progress.__exit__(None, None, None)
                talk.note(f"timing {note} ({done + 1} of {total})")
            else:
                progress.update(phase, done, total, note)

        return measure(plan, wish, budget, watch)


def _print(record: dict[str, Any]) -> None:
    backend = record["identity"]["backend"]
    load = record["load_average"]["after"]
    facts = [
        _where(record),
        backend.get("dtype"),
        f"threads of torch: {record['threads']}" if record["threads"] else None,
        None if load is None else f"load at the end {load:.1f}",
    ]
    what = f"{backend['name']}, {record['identity']['task']} {record['identity']['lang']}, {record['n']} texts"
    talk.note(f"{what}; {', '.join(fact for fact in facts if fact)}")
    lag = record["settings"]["lag_ms"]
    lagged = [f"p50 +{lag:g} ms", f"p95 +{lag:g} ms", f"rows/s +{lag:g} ms"] if lag else []
    columns = ["rows a call", "calls", "mean ms", "p50 ms", "p95 ms", "p99 ms", "rows/s", *lagged, "host MiB", "GPU MiB"]
    rows = [_row(part, str(part["rows"]), bool(lag)) for part in record["batches"]]
    offline = record["offline"]
    rows.append(_row(offline, f"offline, up to {offline['batch_size']}", bool(lag)))
    print_table(columns, rows, optional=["GPU MiB", "p99 ms", "calls", "mean ms"])
    for queue in record["arrivals"]["queues"] if record["arrivals"] else []:
        typer.echo(_queue_line(queue, record["arrivals"]["rows_per_second"]))


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
    from harness.running.timing import is_loaded

    one = record["batches"][0]
    if one["p50_ms"] is None:
        row = f"takes {_number(one['mean_ms'])} ms a row on average (too few texts for percentiles: n = {record['n']})"
    elif one["p95_ms"] is None:
        row = f"answers half of the rows within {_number(one['p50_ms'])} ms (n = {record['n']}, too few for p95)"
    else:
        within = f"{_number(one['p50_ms'])} ms and 95% within {_number(one['p95_ms'])} ms"
        row = f"answers half of the rows within {within} (n = {record['n']})"
    best = max((part for part in [*record["batches"], record["offline"]] if "rows_per_second" in part), key=_throughput)
    how = f"{best['rows']} at a time" if "rows" in best else "offline"
    if how == "1 at a time":
        how = "a row at a time"
    memory = max((part["peak_memory_mib"]["host"] or 0 for part in record["batches"] if "peak_memory_mib" in part), default=0)
    used = f", in {memory} MiB at most" if memory else ""
    load = "; the machine had other work too, so it can do better" if is_loaded(record) else ""
    name = record["identity"]["backend"]["name"]
    return f"{name} on {_where(record)} {row}, and does {_number(_throughput(best))} rows a second at best ({how}){used}{load}."


def _where(record: dict[str, Any]) -> str:
    machine = record["machine"]
    if record["identity"]["backend"].get("device") == "cuda":
        return str(machine["gpu"])
    return f"{machine['cores']} core{'s' if machine['cores'] > 1 else ''} of {machine['cpu']}"


def _throughput(part: dict[str, Any]) -> float:
    return float(part["rows_per_second"])
