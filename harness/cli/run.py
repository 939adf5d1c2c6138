"""`bench run`: every combination of what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.options import (
    DEFAULT_TASK,
    RESULTS,
    Data,
    Json,
    Limit,
    Many,
    Model,
    NoGate,
    Quiet,
    Results,
    Settings,
    Track,
    TrainLimit,
    TrustMetricCode,
    ValidationLimit,
    Verbose,
    catalog,
    check_data,
    names,
    open_store,
    print_json,
    tolerate_broken_pipe,
)
from harness.cli.requests import (
    backends,
    check_fit,
    check_model,
    check_priced,
    check_split,
    for_models,
    loads_model,
    member,
    note_unused,
    seeds,
    settings_from,
    task_or_default,
    trained_by,
)

if TYPE_CHECKING:
    from harness.core.options import RunOptions
    from harness.core.types import Calibration, Decision, Decoding
    from harness.specs.catalog import Catalog


def run_command(
    backend: Annotated[
        Many, typer.Option(metavar="NAME", help="Backend; repeat or separate by commas. See `bench list backends`.")
    ] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Language to test in; default: all of the task's.")] = None,
    task: Annotated[
        Many, typer.Option(metavar="NAME", help=f"Task; {DEFAULT_TASK}. See `bench list tasks`.", show_default=False)
    ] = None,
    prompt: Annotated[
        Many, typer.Option(metavar="NAME", help="Prompt for language models; default: by the task's kind of labels.")
    ] = None,
    decoding: Annotated[
        Many, typer.Option(metavar="HOW", help="For language models: free, constrained or score; default: the prompt's own.")
    ] = None,
    calibration: Annotated[
        Many, typer.Option(metavar="HOW", help="For score: none, contextual or batch; default: the prompt's own.")
    ] = None,
    decision: Annotated[
        Many, typer.Option(metavar="HOW", help="Where there are probabilities: argmax, or (ordinal) expected or median.")
    ] = None,
    train_lang: Annotated[
        Many, typer.Option(metavar="CODE", help="Languages to train on, together; default: the tested one.")
    ] = None,
    validation_lang: Annotated[
        Many,
        typer.Option(metavar="CODE", help="Languages whose validation rows choose the checkpoint; default: as trained."),
    ] = None,
    continue_from: Annotated[
        str | None, typer.Option(metavar="RUN", help="Train on from the model of an earlier run (its digits will do).")
    ] = None,
    setting: Settings = None,
    runtime: Annotated[
        str | None, typer.Option(metavar="NAME", help="How an encoder predicts: torch, onnx or onnx-int8.")
    ] = None,
    seed: Annotated[Many, typer.Option(metavar="N", help="Seed of training and of exemplars; default: 0.")] = None,
    split: Annotated[Any, typer.Option(help="Rows to predict: test or validation.")] = "test",
    limit: Limit = None,
    train_limit: TrainLimit = None,
    draw: Annotated[
        bool, typer.Option("--draw", help="The seed draws the rows of --train-limit, so that seeds differ in them too.")
    ] = False,
    validation_limit: ValidationLimit = None,
    model: Model = None,
    data: Data = None,
    trust_metric_code: TrustMetricCode = False,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="Spend at most this on servers, in all runs of this command.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Predict again although the run is there.")] = False,
    no_gate: NoGate = False,
    results: Results = RESULTS,
    track: Track = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Train or prompt backends on the same rows, and write a record of each run.

    Options that take a NAME, CODE, HOW or seed can be repeated, or given several values with commas; every combination is a
    run. A run that is recorded already is not repeated, and a stopped one goes on: give the same command again.

    --json prints a list with one object per run: state (new, found, incomplete, failed), run, task, lang, split, backend,
    prompt, decoding, calibration, decision, train_lang, validation_lang, settings, seed, model_from_cache, metrics, gates,
    finding (kind, message; of a run that does no better than chance, else null), error.
    """
    from harness.cli.execute_runs import exit_if_interrupted, exit_with, print_runs, run_all, tracking_with
    from harness.core.errors import UserError
    from harness.core.options import RunOptions
    from harness.core.types import Calibration, Decision, Decoding
    from harness.specs.costs import Budget

    verbosity.begin(quiet, verbose)
    known = catalog(trust_metric_code)
    named, prompts = backends(known, backend), names(prompt, "--prompt")
    decodings = [member(Decoding, name) for name in names(decoding, "--decoding")]
    calibrations = [member(Calibration, name) for name in names(calibration, "--calibration")]
    decisions: list[Decision | None] = [member(Decision, name) for name in names(decision, "--decision")]
    languages, trained_on = names(lang, "--lang"), tuple(names(train_lang, "--train-lang"))
    validated_on = tuple(names(validation_lang, "--validation-lang"))
    check_split(split)
    check_model(known, named, model)
    check_data(data)
    if draw and train_limit is None:
        raise UserError("--draw draws the rows of --train-limit, which is not given.", "Say how many: --train-limit N.")
    store = open_store(results)
    changed = {**settings_from(setting), **({} if runtime is None else {"predict.runtime": runtime})}
    start = None if continue_from is None else trained_by(store, continue_from)
    alike = RunOptions(
        task="",
        backend="",
        lang="",
        split=split,
        train_lang=trained_on,
        validation_lang=validated_on,
        limit=limit,
        train_limit=train_limit,
        resample_train=draw,
        validation_limit=validation_limit,
        settings=changed,
        continue_from=start,
        model=model,
        data=data,
    )
    tasks = names(task, "--task") or [task_or_default(known, None)]
    ways = (prompts, decodings, calibrations, decisions)
    requests = _combinations(known, alike, tasks, named, seeds(seed), ways, languages)
    check_fit(known, requests, prompts)
    of_models = {"prompt": prompts, "decoding": decodings, "calibration": calibrations}
    of_classifiers = {"train_lang": trained_on, "validation_lang": validated_on, "continue_from": continue_from}
    limits = {"train_limit": train_limit, "validation_limit": validation_limit}
    note_unused(known, named, of_models, {**of_classifiers, **limits})
    if max_cost is not None:
        check_priced(known, named, max_cost, model)
    with tracking_with(track, results) as series:
        budget = None if max_cost is None else Budget(max_cost)
        outcomes, stopped = run_all(known, requests, store, force, budget, gate=not no_gate)
    if not stopped:
        with tolerate_broken_pipe():
            print_json([done.as_json() for done in outcomes]) if as_json else print_runs(outcomes)
    series.print_summary(outcomes)
    exit_if_interrupted(stopped)
    exit_with(done.error for done in outcomes)


def _combinations(
    known: Catalog,
    alike: RunOptions,
    tasks: Sequence[str],
    named: Sequence[str],
    numbers: Sequence[int],
    ways: tuple[Sequence[str], Sequence[Decoding], Sequence[Calibration], Sequence[Decision | None]],
    languages: Sequence[str],
) -> list[RunOptions]:
    """`ways`: prompts, decodings, calibrations, decisions. Languages change fastest: a model is loaded once for all."""
    prompts, decodings, calibrations, decisions = ways
    return [
        alike.changed(
            task=task,
            backend=backend,
            seed=number,
            prompt=prompt,
            decoding=how,
            calibration=bias,
            decision=rule,
            lang=language,
            model=alike.model if loads_model(known, backend) else None,
        )
        for task in tasks
        for backend in named
        for number in numbers
        for prompt in for_models(known, backend, prompts)
        for how in for_models(known, backend, decodings)
        for bias in for_models(known, backend, calibrations)
        for rule in decisions or [None]
        for language in languages or known.task(task).languages
    ]
