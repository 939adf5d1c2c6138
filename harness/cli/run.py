"""`bench run`: every combination of what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import RESULTS, Data, Json, Results, catalog, names, print_json

if TYPE_CHECKING:
    from harness.catalog import Catalog
    from harness.plan import Request
    from harness.runner import Result

Many = list[str] | None


def run_command(
    backend: Annotated[Many, typer.Option(help="Backend; repeat or separate by commas. See `bench list backends`.")] = None,
    lang: Annotated[Many, typer.Option(help="Language to test in; default: all of the task's.")] = None,
    task: Annotated[Many, typer.Option(help="Task.", show_default="reviews_demo")] = None,
    prompt: Annotated[Many, typer.Option(help="Prompt for language models; default: by the task's kind of labels.")] = None,
    decoding: Annotated[Many, typer.Option(help="free, constrained or score; default: the prompt's own.")] = None,
    train_lang: Annotated[Many, typer.Option(help="Languages to train on, together; default: the tested one.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed of training and of exemplars.", show_default="0")] = None,
    split: Annotated[str, typer.Option(help="Rows to predict: test or validation.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows per language, always the same ones.")] = None,
    train_limit: Annotated[int | None, typer.Option(min=1, help="At most so many training rows per language.")] = None,
    model: Annotated[str | None, typer.Option(help="Checkpoint in place of the backend's: local path or hub id.")] = None,
    data: Data = None,
    force: Annotated[bool, typer.Option("--force", help="Predict again although the run is there.")] = False,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Train or prompt backends on the same rows, and write a record of each run."""
    from harness.errors import UserError
    from harness.plan import Request
    from harness.prompts import Decoding

    known = catalog()
    if not names(backend):
        raise UserError("Which backend? Name one or more with --backend.", f"Known: {', '.join(known.names('backend'))}.")
    if split not in ("test", "validation"):
        raise UserError(f"--split {split}: there is no such split to predict.", "Choose test or validation.")
    decodings = [_decoding(name) for name in names(decoding)]
    requests = [
        Request(
            task=task_name,
            backend=backend_name,
            lang=language,
            split=split,
            prompt=prompt_name,
            decoding=Decoding(how) if how else None,
            train_langs=tuple(names(train_lang)),
            seed=number,
            limit=limit,
            train_limit=train_limit,
            model=model,
            data_dir=data,
        )
        for task_name in names(task) or ["reviews_demo"]
        for backend_name in names(backend)
        for number in seed or [0]
        for prompt_name in _for_models(known, backend_name, names(prompt))
        for how in _for_models(known, backend_name, decodings)
        for language in names(lang) or known.task(task_name).languages
    ]
    _check_names(known, requests, names(prompt))
    outcomes, code = _run_all(known, requests, results, force)
    if as_json:
        print_json([{"run": done.run_id, "computed": done.repeated, "metrics": done.metrics} for _, done in outcomes])
    else:
        _summary(outcomes, results)
    if code:
        raise typer.Exit(code)


def _decoding(name: str) -> str:
    from harness.errors import UnknownName
    from harness.prompts import Decoding

    if name not in list(Decoding):
        raise UnknownName("decoding", name, list(Decoding))
    return name


def _for_models(known: Catalog, backend: str, values: Sequence[str]) -> Sequence[str | None]:
    """Prompts and decodings multiply the runs of language models only."""
    from backends.base import LanguageModel
    from harness.backend_specs import engine_class

    return values or [None] if issubclass(engine_class(known.backend(backend).engine), LanguageModel) else [None]


def _check_names(known: Catalog, requests: Sequence[Request], prompts: Sequence[str]) -> None:
    """A slip in the last name is found before the first model trains."""
    from harness.errors import UnknownName

    for name in prompts:
        known.prompt(name)
    for request in requests:
        task = known.task(request.task)
        for language in (request.lang, *request.train_langs):
            if language not in task.languages:
                raise UnknownName(f"language of the task {task.name!r}", language, task.languages)


def _run_all(
    known: Catalog, requests: Sequence[Request], results: Path, force: bool
) -> tuple[list[tuple[Request, Result]], int]:
    """A run that fails is reported and the next one starts; the worst exit code is returned."""
    from harness.cli import report
    from harness.cli.progress import Progress
    from harness.errors import BenchError
    from harness.plan import make_plan
    from harness.runner import EngineSlot, run
    from harness.store import Store

    outcomes: list[tuple[Request, Result]] = []
    code, slot = 0, EngineSlot()
    with Progress(len(requests)) as progress:
        try:
            for request in requests:
                try:
                    plan = make_plan(request, known)
                    progress.start(plan.run_id)
                    outcomes.append((request, run(plan, Store(results / "runs"), slot, progress.update, force=force)))
                    progress.finish()
                except BenchError as error:
                    progress.clear()
                    report(error)
                    code = max(code, error.exit_code)
        finally:
            slot.close()
    return outcomes, code


def _summary(outcomes: Sequence[tuple[Request, Result]], results: Path) -> None:
    from harness.cli.options import print_table
    from harness.leaderboard import shown

    if not outcomes:
        return
    rows = []
    for request, done in outcomes:
        values, counts = done.metrics["values"], done.metrics
        headline = [f"{name} {shown(values[name])}" for name in counts["headline"] if name in values]
        how = " ".join(filter(None, [request.prompt, request.decoding and str(request.decoding)])) or "-"
        state = "new" if done.repeated else "found"
        rows.append(
            [request.backend, how, request.lang, str(counts["n"]), ", ".join(headline), str(counts["n"] - counts["ok"]), state]
        )
    print_table(["backend", "prompt", "lang", "n", "metrics (95% interval)", "no answer", "record"], rows)
    typer.echo(f"Records: {results / 'runs'}. Next: bench leaderboard", err=True)
