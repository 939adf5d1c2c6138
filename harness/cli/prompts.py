"""`bench prompts`: check, show and spread."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Many,
    Results,
    Task,
    catalog,
    check_data,
    names,
    open_store,
    plain,
    print_json,
    print_table,
)
from harness.cli.requests import task_or_default
from harness.cli.run_options import completion, option
from harness.core.options import RunOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.analysis.spread import Spread
    from harness.core.types import Example
    from harness.parsing.prompt_check import Problem
    from harness.records.entries import Entry
    from harness.running.prompt_trial import PromptTrial
    from harness.specs.catalog import Catalog
    from harness.specs.prompts import Prompt
    from harness.specs.tasks import TaskSpec

CHECKED_ROWS = 50
SMALL_MODEL = "qwen-coder-0.5b"

Name = Annotated[str, typer.Argument(help="Name of the prompt, without `.j2`.", autocompletion=completion("prompt"))]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the few-shot examples.")]
MetricName = Annotated[str | None, typer.Option(metavar="NAME", help="Metric; default: the one that the leaderboard ranks by.")]


def show_command(
    name: Name,
    task: Task = None,
    lang: Annotated[Many, option("lang", "Language; default: the task's first.")] = None,
    data: Data = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Print the chat that a model gets for one row.

    --json prints a list with one object per language: prompt, lang, row, messages.
    """
    from harness.data.rows import with_names
    from harness.running.plan import prompt_plan

    check_data(data)
    known = catalog()
    spec = with_names(known.task(task_or_default(known, task)))
    chats: list[dict[str, Any]] = []
    for language in names(lang, "--lang") or spec.languages[:1]:
        prompt = known.prompt(name, language)
        _, rows = _rows(spec, prompt, language, data)
        asked = RunOptions(task=spec.name, lang=language, prompt=name, data=data, seed=seed)
        (chat,) = prompt_plan(asked, spec, known).chats([rows[0].text])
        chats.append({"prompt": name, "lang": language, "row": rows[0].id, "messages": chat})
        if not as_json:
            how = f"parser {prompt.spec.parser.type}, decoding {prompt.spec.decoding}"
            typer.echo(plain(f"{name} ({language}), row {rows[0].id}, {how}"))
            for turn in chat:
                typer.echo(plain(f"--- {turn['role']}\n{turn['content']}"))
    if as_json:
        print_json(chats)


def check_command(
    name: Name,
    task: Task = None,
    lang: Annotated[Many, option("lang", "Language; default: all of the task's.")] = None,
    data: Data = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Try the prompt with this model; default: {SMALL_MODEL}, where it is on this machine already.",
            autocompletion=completion("backend"),
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Validation rows to try.")] = 8,
    as_json: Json = False,
) -> None:
    """Check a prompt on real rows, and try it with a model where one is at hand.

    Renders the prompt and reports problems. Then a language model answers for some validation rows of the first language; test
    rows are not used. Exits with 2 if a problem is an error, or if the model that --backend names gave no answer that could be
    read.

    --json prints an object: problems (severity: error, warning, info; langs; message), trial (null where no model was tried:
    backend, lang, decoding, rows, readable, refused, answers, label_mass, tokens, context).
    """
    from harness.data.rows import with_names
    from harness.parsing.prompt_check import check_prompt

    check_data(data)
    known = catalog()
    spec = with_names(known.task(task_or_default(known, task)))
    languages = names(lang, "--lang") or spec.languages
    found: dict[Problem, list[str]] = {}  # the languages of each problem: most are common to all
    count = 0
    for language in languages:
        prompt = known.prompt(name, language)
        train, rows = _rows(spec, prompt, language, data)
        count += len(rows[:CHECKED_ROWS])
        for problem in check_prompt(prompt, spec.label_space, rows[:CHECKED_ROWS], train):
            found.setdefault(problem, []).append(language)
    faulty = any(problem.severity == "error" for problem in found)
    rows_of: dict[str, Any] = {"task": spec.name, "lang": languages[0], "split": "validation", "limit": limit, "data": data}
    options = RunOptions(**rows_of, prompt=name, backend=backend or SMALL_MODEL)
    trial = None if faulty else _trial(options, known, asked=backend is not None)
    if as_json:
        problems = [{"severity": str(p.severity), "langs": langs, "message": p.message} for p, langs in found.items()]
        print_json({"problems": problems, "trial": None if trial is None else asdict(trial)})
    else:
        for problem, langs in found.items():
            where = "" if langs == languages else f"{', '.join(langs)}: "
            typer.echo(plain(f"{problem.severity}: {where}{' '.join(problem.message.split())}"))
        if not found:
            typer.echo(plain(f"{name}: no problem on {count} rows of {spec.name} ({', '.join(languages)})."))
        if trial is not None:
            for line in _told(trial):
                typer.echo(plain(line))
        elif not faulty:
            command = f"bench prompts check {name} --task {spec.name} --backend {SMALL_MODEL}"
            typer.echo(plain(f"Not tried with a model, as {SMALL_MODEL} is not on this machine. To try it: {command}"))
    if faulty or (backend is not None and trial is not None and not trial.readable):
        raise typer.Exit(2)


def _trial(options: RunOptions, known: Catalog, asked: bool) -> PromptTrial | None:
    """None where nobody named a model and the small one is not on this machine."""
    from harness.cli.progress import Progress
    from harness.core.errors import MissingExtra, ModelUnavailable
    from harness.models.checkpoints import local_only
    from harness.running.plan import make_plan
    from harness.running.prompt_trial import try_prompt

    try:
        with nullcontext() if asked else local_only():
            plan = make_plan(options, known)
    except (MissingExtra, ModelUnavailable):
        if asked:
            raise
        return None
    with Progress(1) as progress:
        progress.next(f"{options.backend} {options.lang}")
        return try_prompt(plan, progress.update)


def _told(trial: PromptTrial) -> Iterator[str]:
    context = "" if trial.context is None else f" of {trial.context:,}"
    yield (
        f"{trial.backend} ({trial.lang}, {trial.decoding}): {trial.readable} of {trial.rows} answers readable; the longest"
        f" prompt has {trial.tokens:,}{context} tokens."
    )
    if trial.refused:
        yield f"Not readable: {', '.join(f'{reason} {rows}' for reason, rows in trial.refused.items())}."
    if trial.label_mass is not None:
        yield f"The labels together have {trial.label_mass:.2g} of the probability (median)."
    if trial.one_answer:
        yield f"warning: all answers are the same: {next(iter(trial.answers))}."
    elif trial.answers:
        yield f"Answers: {', '.join(f'{answer} {rows}' for answer, rows in list(trial.answers.items())[:8])}."


def _rows(spec: TaskSpec, prompt: Prompt, lang: str, data: Data) -> tuple[list[Example], list[Example]]:
    """Training rows (only if the prompt has few-shot examples) and rows to render."""
    from harness.data.rows import load_examples

    train = load_examples(spec, lang=lang, split="train", data_dir=data) if prompt.spec.shots else []
    return train, load_examples(spec, lang=lang, split="validation", data_dir=data)


def spread_command(
    task: Annotated[Many, typer.Option(metavar="NAME", help="Only these tasks.")] = None,
    lang: Annotated[Many, typer.Option(metavar="CODE", help="Only these languages.")] = None,
    backend: Annotated[Many, typer.Option(metavar="NAME", help="Only these backends.")] = None,
    metric: MetricName = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Compare a model's results across prompts.

    From the recorded runs: one line for each model, decoding and calibration that was run with two or more prompts on the same
    rows. The value of a prompt is the mean over its seeds. `by chance` is the range expected from the sampling of rows (and of
    few-shot examples, with several seeds) if all prompts were equally good; * marks a larger range, significant at the 5%
    level. The last columns split the variance: standard deviation between prompts, between seeds, and from the sampling of
    rows.

    --json prints an object with sentence and spreads: task, split, lang, rows, n, backend, how, metric, prompts (name,
    few_shot_examples, value, unparsed, runs; best first), low, median, high, range, by_chance, beyond_chance, interval (of the
    sampling of rows, for the median prompt: low, high), sd_prompts, sd_seeds, sd_sampling.
    """
    from harness.analysis.spread import parts_in, spreads
    from harness.records.index import intact_index

    store = open_store(results)
    filters = {"task": names(task, "--task"), "lang": names(lang, "--lang"), "backend": names(backend, "--backend")}
    entries = _prompted_entries(intact_index(store).entries(), filters)
    found = spreads(entries, parts_in(store, metric), metric)
    if not found:
        _none_found(entries, metric)
    sentence = max(found, key=lambda spread: (spread.beyond, spread.range)).sentence
    if as_json:
        print_json({"sentence": sentence, "spreads": [_spread_json(spread) for spread in found]})
        return
    _print_spreads(found)
    typer.echo(plain(f"\n{sentence}"))


def _prompted_entries(entries: Sequence[Entry], filters: dict[str, list[str]]) -> list[Entry]:
    """The prompted runs that fit the filters. Raises `UserError` for a filter that fits none."""
    from harness.core.errors import UnknownName, UserError

    left = [entry for entry in entries if entry.record.identity.prompt is not None]
    if not left:
        raise UserError(
            "No run with a prompt is recorded.", "Start with `bench run --backend qwen-coder-0.5b --prompt strict,fewshot`."
        )
    for what, chosen in filters.items():
        there = {_filter_value(entry, what) for entry in left}
        for name in chosen:
            if name not in there:
                raise UnknownName(f"{what} with prompted runs here", name, there)
        left = [entry for entry in left if not chosen or _filter_value(entry, what) in chosen]
    return left


def _filter_value(entry: Entry, what: str) -> str:
    return entry.backend if what == "backend" else str(getattr(entry.record.identity, what))


def _none_found(entries: Sequence[Entry], metric: str | None) -> None:
    from harness.core.errors import UnknownName, UserError

    known = {name for entry in entries for name in entry.record.metrics.values}
    if metric is not None and metric not in known:
        raise UnknownName("metric of these runs", metric, known)
    raise UserError(
        "No model was run with two prompts on the same rows and the same other options.",
        "Run one with several prompts: `bench run --backend NAME --prompt strict,fewshot --decoding score`.",
    )


def _print_spreads(found: Sequence[Spread]) -> None:
    from harness.reports.tables import spread_cells, spread_columns

    seeds = any(spread.sd_seeds is not None for spread in found)
    columns = ["task", "lang", "n", "metric", *spread_columns(""), "sd prompts", *(["sd seeds"] if seeds else []), "sd rows"]
    columns[columns.index(" over prompts")] = "over prompts"
    rows = []
    for spread in found:
        of_seeds = "–" if spread.sd_seeds is None else f"{spread.sd_seeds:.3f}"
        parts = [f"{spread.sd_prompts:.3f}", *([of_seeds] if seeds else []), f"{spread.sd_sampling:.3f}"]
        rows.append([spread.group[0], spread.group[2], str(spread.n), spread.metric, *spread_cells(spread), *parts])
    same = [name for name in ("task", "metric", "n", "lang") if len({row[columns.index(name)] for row in rows}) == 1]
    parts = columns[columns.index("sd prompts") :]
    print_table(
        columns, rows, text=["how", "prompts"], optional=[*same, "95% of the median", *reversed(parts), "task", "metric"]
    )


def _spread_json(spread: Spread) -> dict[str, Any]:
    record = spread.middle.row.entry.record
    value = record.metrics.values[spread.metric]
    task, split, lang, _ = spread.group
    return {
        **{"task": task, "split": split, "lang": lang, "rows": record.identity.rows},
        **{"n": spread.n, "backend": spread.backend, "how": spread.how, "metric": spread.metric},
        "prompts": [
            {
                "name": prompt.name,
                "few_shot_examples": prompt.examples,
                "value": prompt.value,
                "unparsed": prompt.unparsed,
                "runs": [run.run_id for run in prompt.row.runs],
            }
            for prompt in spread.prompts
        ],
        **{"low": spread.low, "median": spread.middle.value, "high": spread.high, "range": spread.range},
        **{"by_chance": spread.expected, "beyond_chance": spread.beyond},
        "interval": {"low": value.low, "high": value.high},
        **{"sd_prompts": spread.sd_prompts, "sd_seeds": spread.sd_seeds, "sd_sampling": spread.sd_sampling},
    }
