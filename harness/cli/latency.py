"""`bench analyze latency`: latency, throughput and memory of one backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.latency_table import print_speed, sentence
from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Many,
    Model,
    Quiet,
    Results,
    Settings,
    Task,
    TrainLimit,
    TrustMetricCode,
    ValidationLimit,
    Verbose,
    catalog,
    check_data,
    finite_number,
    names,
    open_store,
    print_json,
    tolerate_broken_pipe,
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
    task_or_default,
    trained_by,
)
from harness.core.options import RunOptions
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.running.plan import Plan
    from harness.running.timing import LatencyOptions
    from harness.specs.catalog import Catalog

DEFAULT_SIZES = (1, 32)


def latency_command(
    backend: Annotated[str, typer.Option(metavar="NAME", help="Backend. See `bench list backends`.")],
    task: Task = None,
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
    trust_metric_code: TrustMetricCode = False,
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
    from harness.core.errors import UserError
    from harness.core.types import Decoding
    from harness.records.latency import write_speed
    from harness.running.plan import make_plan
    from harness.specs.costs import Budget

    verbosity.begin(quiet, verbose)
    known = catalog(trust_metric_code)
    task = task_or_default(known, task)
    prompted = is_prompted(known, backend)
    check_model(known, [backend], model)
    check_data(data)
    number = _one_seed(seed)
    if draw and train_limit is None:
        raise UserError("--draw draws the rows of --train-limit, which is not given.", "Say how many: --train-limit N.")
    store = open_store(results)
    how = None if decoding is None else member(Decoding, decoding)
    request = RunOptions(
        task=task,
        backend=backend,
        lang=lang or known.task(task).languages[0],
        prompt=prompt if prompted else None,
        decoding=how if prompted else None,
        train_lang=tuple(names(train_lang, "--train-lang")),
        validation_lang=tuple(names(validation_lang, "--validation-lang")),
        seed=number,
        limit=limit,
        train_limit=train_limit,
        resample_train=draw,
        validation_limit=validation_limit,
        settings={**settings_from(setting), **({} if runtime is None else {"predict.runtime": runtime})},
        continue_from=None if continue_from is None else trained_by(store, continue_from),
        model=model if loads_model(known, backend) else None,
        data=data,
    )
    options = _wish(batch_size, lag_ms, rate)
    budget = None if max_cost is None else Budget(finite_number(max_cost, "--max-cost"))
    _check(known, request, prompt, how)
    plan = make_plan(request, known)
    record = _measured(plan, _sized(options, plan), budget)
    _show(record, write_speed(results, plan.run_id, record), as_json)


def _show(record: dict[str, Any], path: Path, as_json: bool) -> None:
    """Print what was measured, and where it is written."""
    with tolerate_broken_pipe():
        if as_json:
            print_json({**record, "file": path.as_posix(), "sentence": sentence(record)})
        else:
            print_speed(record)
            typer.echo(plain(sentence(record)))
    for warning in record["warnings"]:
        verbosity.note(f"note: {warning}")
    typer.echo(plain(f"Written: {path}"), err=True)


def _one_seed(seed: Many) -> int:
    from harness.core.errors import UserError

    numbers = seeds(seed)
    if len(numbers) > 1:
        raise UserError("One seed is timed at a time.", "Give --seed once.")
    return numbers[0]


def _wish(batch_size: Many, lag_ms: float, rate: float | None) -> LatencyOptions:
    from harness.running.timing import LatencyOptions

    return LatencyOptions(_sizes(batch_size), finite_number(lag_ms, "--lag-ms") / 1000, None if rate is None else _rate(rate))


def _sized(options: LatencyOptions, plan: Plan) -> LatencyOptions:
    """With the usual batches that the rows can fill, where none were asked for."""
    from harness.running.batching import distinct

    if options.sizes:
        return options
    texts = len(distinct(plan.rows))
    return replace(options, sizes=tuple(size for size in DEFAULT_SIZES if size <= texts))


def _check(known: Catalog, request: RunOptions, prompt: str | None, decoding: object) -> None:
    check_fit(known, [request], [prompt] if prompt else [])
    of_classifiers = {
        "train_lang": request.train_lang,
        "validation_lang": request.validation_lang,
        "continue_from": request.continue_from,
        "train_limit": request.train_limit,
        "validation_limit": request.validation_limit,
    }
    note_unused(known, [request.backend], {"prompt": prompt, "decoding": decoding}, of_classifiers)


def _sizes(values: Many) -> tuple[int, ...]:
    """Empty where none is given."""
    from harness.core.errors import UserError

    texts = names(values, "--batch-size")
    for text in texts:
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise UserError(f"--batch-size {text}: that is no number of rows.", "For example: --batch-size 1,32,64")
    return tuple(dict.fromkeys(map(int, texts)))


def _rate(rate: float) -> float:
    from harness.core.errors import UserError

    if finite_number(rate, "--rate") <= 0:
        raise UserError(f"--rate {rate:g}: no rows would ever arrive.", "Give the rows that arrive in a second, such as 50.")
    return rate


def _measured(plan: Plan, options: LatencyOptions, budget: Any) -> dict[str, Any]:
    """The record. The bar is gone when the clock starts: it would take part of a core."""
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
