"""`bench run`: every combination of what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from harness.cli.options import RESULTS, Data, Json, Results, catalog, check_data, names, open_store, print_json

if TYPE_CHECKING:
    from harness.catalog import Catalog
    from harness.plan import Request

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Many = list[str] | None


def run_command(
    backend: Annotated[
        Many, typer.Option(metavar="NAME", help="Backend; repeat or separate by commas. See `bench list backends`.")
    ] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Language to test in; default: all of the task's.")] = None,
    task: Annotated[Many, typer.Option(metavar="NAME", help="Task; default: reviews_demo. See `bench list tasks`.")] = None,
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
        Many, typer.Option(metavar="HOW", help="For score: argmax or expected (the mean, rounded); default: the prompt's own.")
    ] = None,
    train_lang: Annotated[
        Many, typer.Option(metavar="CODE", help="Languages to train on, together; default: the tested one.")
    ] = None,
    seed: Annotated[Many, typer.Option(metavar="N", help="Seed of training and of exemplars; default: 0.")] = None,
    split: Annotated[str, typer.Option(help="Rows to predict: test or validation.")] = "test",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many rows per language, always the same ones.")
    ] = None,
    train_limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many training rows per language.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="PATH", help="Checkpoint in place of the backend's: a local folder or a hub id.")
    ] = None,
    data: Data = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="Spend at most this on servers, in all runs of this command.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Predict again although the run is there.")] = False,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Train or prompt backends on the same rows, and write a record of each run.

    Options that take a NAME, CODE, HOW or seed can be repeated, or given several values with commas; every combination is a
    run. A run that is recorded already is not repeated, and a stopped one goes on: give the same command again.

    --json prints a list with one object per run: state (new, found, failed), run, task, lang, split, backend, prompt,
    decoding, calibration, decision, seed, model_from_cache, metrics, error.
    """
    from harness.calibration import Calibration, Decision
    from harness.cli.series import print_summary, run_all
    from harness.costs import Budget
    from harness.plan import Request
    from harness.prompts import Decoding

    known = catalog()
    backends, prompts = _backends(known, backend), names(prompt, "--prompt")
    decodings = [_member(Decoding, name) for name in names(decoding, "--decoding")]
    calibrations = [_member(Calibration, name) for name in names(calibration, "--calibration")]
    decisions = [_member(Decision, name) for name in names(decision, "--decision")]
    languages, trained_on = names(lang, "--lang"), tuple(names(train_lang, "--train-lang"))
    _check_split(split)
    _check_model(known, backends, model)
    check_data(data)
    requests = [
        Request(
            task=task_name,
            backend=backend_name,
            lang=language,
            split=split,
            prompt=prompt_name,
            decoding=how,
            calibration=bias,
            decision=rule,
            train_langs=trained_on,
            seed=number,
            limit=limit,
            train_limit=train_limit,
            model=model if _loads_model(known, backend_name) else None,
            data_dir=data,
        )
        for task_name in names(task, "--task") or ["reviews_demo"]
        for backend_name in backends
        for number in _seeds(seed)
        for prompt_name in _for_models(known, backend_name, prompts)
        for how in _for_models(known, backend_name, decodings)
        for bias in _for_models(known, backend_name, calibrations)
        for rule in _for_models(known, backend_name, decisions)
        for language in languages or known.task(task_name).languages
    ]
    _check_fit(known, requests, prompts)
    store = open_store(results)
    of_models = {"prompt": prompts, "decoding": decodings, "calibration": calibrations, "decision": decisions}
    _note_unused(known, backends, of_models, train_lang=trained_on, train_limit=train_limit)
    if max_cost is not None:
        _check_priced(known, backends, max_cost)
    outcomes, stopped = run_all(known, requests, store, force, None if max_cost is None else Budget(max_cost))
    if as_json:
        print_json([done.as_json() for done in outcomes])
    elif outcomes:
        print_summary(outcomes, results)
    if stopped:
        typer.echo("Stopped. The same command goes on where this one was.", err=True)
        raise typer.Exit(130)
    code = max((done.error.exit_code for done in outcomes if done.error is not None), default=0)
    if code:
        raise typer.Exit(code)


def _backends(known: Catalog, values: Many) -> list[str]:
    from harness.errors import UserError

    wanted = names(values, "--backend")
    if not wanted:
        raise UserError("Which backend? Name one or more with --backend.", f"Known: {', '.join(known.names('backend'))}.")
    for name in wanted:
        known.backend(name)
    return wanted


def _member(kind: type[E], name: str) -> E:
    from harness.errors import UnknownName

    if name not in list(kind):
        raise UnknownName(kind.__name__.lower(), name, list(kind))
    return kind(name)


def _seeds(values: Many) -> list[int]:
    from harness.errors import UserError

    texts = names(values, "--seed") or ["0"]
    for text in texts:
        if not (text.isascii() and text.isdigit() and int(text) < 2**32):
            raise UserError(f"--seed {text}: a seed is a whole number.", f"Choose from 0 to {2**32 - 1}.")
    return list(dict.fromkeys(map(int, texts)))


def _check_split(split: str) -> None:
    from harness.errors import UserError

    if split not in ("test", "validation"):
        raise UserError(f"--split {split}: there is no such split to predict.", "Choose test or validation.")


def _for_models(known: Catalog, backend: str, values: Sequence[T]) -> Sequence[T | None]:
    """Prompts and decodings multiply the runs of language models only."""
    return values if values and _is_prompted(known, backend) else [None]


def _is_prompted(known: Catalog, backend: str) -> bool:
    from backends.base import LanguageModel
    from harness.backend_specs import engine_class

    return issubclass(engine_class(known.backend(backend).engine), LanguageModel)


def _loads_model(known: Catalog, backend: str) -> bool:
    from harness.backend_specs import engine_class

    return engine_class(known.backend(backend).engine).model_is != "nothing"


def _check_model(known: Catalog, backends: Sequence[str], model: str | None) -> None:
    """One checkpoint for two backends would rank a model under the other's name."""
    from harness.backend_specs import engine_class
    from harness.errors import UserError

    if model is None:
        return
    loading = [name for name in backends if _loads_model(known, name)]
    if not loading:
        raise UserError(f"--model {model}: {', '.join(backends)} loads no model.", "Leave --model out.")
    if len(loading) > 1:
        raise UserError(f"--model names one checkpoint, and {', '.join(loading)} each load one.", "Give a command for each.")
    is_file = engine_class(known.backend(loading[0]).engine).model_is == "checkpoint"
    if is_file and model.startswith((".", "/")) and not Path(model).is_dir():
        raise UserError(f"--model {model}: there is no such folder.", "It holds config.json, *.safetensors and a tokenizer.")


def _check_fit(known: Catalog, requests: Sequence[Request], prompts: Sequence[str]) -> None:
    """A slip in the last name is found before the first model trains."""
    from harness.errors import UnknownName, UserError

    for name in prompts:
        known.prompt(name)
    for request in requests:
        task = known.task(request.task)
        for language in (request.lang, *request.train_langs):
            if language not in task.languages:
                raise UnknownName(f"language of the task {task.name!r}", language, task.languages)
        if request.prompt and task.labels.kind not in known.prompt(request.prompt).spec.kinds:
            kinds = ", ".join(known.prompt(request.prompt).spec.kinds)
            fitting = [name for name in known.names("prompt") if task.labels.kind in known.prompt(name).spec.kinds]
            raise UserError(
                f"The prompt {request.prompt!r} is for {kinds} tasks, and {task.name!r} is {task.labels.kind}.",
                f"These fit: {', '.join(fitting) or 'none'}.",
            )


def _check_priced(known: Catalog, backends: Sequence[str], max_cost: float) -> None:
    """A budget that nothing is counted against would be a false comfort."""
    from harness.backend_specs import engine_class
    from harness.errors import UserError

    served = [name for name in backends if engine_class(known.backend(name).engine).model_is == "name"]
    unpriced = [name for name in served if known.backend(name).price is None]
    if unpriced:
        hint = "Add `price: {prompt: USD, completion: USD, source: WHERE}`, per million tokens, to its YAML."
        raise UserError(f"--max-cost {max_cost:g}: {', '.join(unpriced)} has no price to count.", hint)
    if not served:
        typer.echo(f"note: --max-cost changes nothing here: none of {', '.join(backends)} is a server.", err=True)


def _note_unused(known: Catalog, backends: Sequence[str], of_models: Mapping[str, object], **of_classifiers: object) -> None:
    """Say which options change nothing, as no backend of the command uses them."""
    prompted = [_is_prompted(known, name) for name in backends]
    for given, what, used in (
        (of_models, "a language model", any(prompted)),
        (of_classifiers, "a backend that trains", not all(prompted)),
    ):
        for option in [name for name, value in given.items() if value and not used]:
            typer.echo(
                f"note: --{option.replace('_', '-')} changes nothing here: none of {', '.join(backends)} is {what}.", err=True
            )
