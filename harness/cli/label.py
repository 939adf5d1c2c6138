"""`bench label`: label rows that have no label, with a prompted, a zero-shot or a trained model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import verbosity
from harness.cli.options import (
    RESULTS,
    Json,
    Many,
    catalog,
    check_cache,
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
    from harness.core.labelling import LabellingRecord, RowsOf
    from harness.data.unlabelled import UnlabelledRows
    from harness.records.labellings import Labellings
    from harness.running.labelling import Labelling
    from harness.running.plan import Plan
    from harness.specs.costs import Budget
    from harness.specs.tasks import TaskSpec

HELP = {
    "backend": "Backend that labels. A trained one needs its model in the cache: `bench run` trains it.",
    "lang": "Language of the rows; default: the only one of the task.",
    "limit": "At most N rows, always the same ones.",
    "force": "Label again even if the labels are there, and replace the output.",
    "data": "With --split: read the rows of the task from this folder.",
}
MANY = 20
"""Rows from which on a note says that all of them have the same label."""
Rows = Annotated[Path | None, typer.Option(metavar="FILE", help="Rows to label: csv, tsv, jsonl or parquet.")]
SplitOption = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Label this split of the task: train, validation or test.")
]
Text = Annotated[Many, typer.Option(metavar="NAME", help="Column of the text; default: that of the task.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write: .csv, .tsv, .jsonl or .parquet.")]
Prefix = Annotated[str, typer.Option(metavar="TEXT", help="Put this before the names of the new columns.")]


@takes_run_options(but=("split", "track", *ELSEWHERE, *IN_PARTS), help=HELP)
def label_command(
    asked: Asked,
    execution: ExecutionOptions,
    output: Output,
    rows: Rows = None,
    split: SplitOption = None,
    text: Text = None,
    prefix: Prefix = "",
    as_json: Json = False,
) -> None:
    """Label rows with a prompted, a zero-shot or a trained model.

    The labels are those of the task. The output has the columns of the rows, and: label, the probability of each label (p_NAME,
    with --decoding score, or of a trained or zero-shot model), status (ok, unparsed, failed), reason, and of a prompted model
    or a server prompt_tokens, new_tokens and, if its tokens have a price, usd. With --split the labels of the task's rows are
    not read: `bench study curve --labels-from` trains on the new ones. A stopped labelling continues: repeat the command. Its
    record is in labels/ in the folder of results.

    --json prints an object: labelling, state (new, found), output, rows, no_text, unlabelled, reasons, labels (label: rows),
    prompt_tokens, new_tokens, usd, seconds, rows_per_second, gates, sentence.
    """
    from harness.records.labellings import Labellings
    from harness.reports.label_file import check_names, labelled_columns, names_of, usd_per_token

    known = catalog(execution.trust_metric_code)
    store = open_store(execution.results)
    asked = completed(asked, known, store)
    for name in ("task", "seed", "limit", "prompt", "decoding", "calibration", "decision"):
        asked.one(name)  # one model labels
    backend = asked.one("backend")
    _check_output(output, execution.force)
    task, found, rows_of = _rows(asked, known, rows, split, names(text, "--text"))
    (options, *_) = asked.changed(lang=[_language(asked, task)]).runs(known)
    note_unused(asked, known, [backend])
    budget = budget_of(execution, known, [backend], asked.one("model"))
    plan = _plan(options, known, found)
    labels, counted = plan.task.label_space, plan.identity.counts_tokens
    check_names(list(found.columns), names_of(labels, probabilities=True, tokens=True, price=True, prefix=prefix), prefix)
    made = _labelled(plan, Labellings(execution.results / "labels"), rows_of, execution, budget)
    record = made.record
    added = names_of(
        labels, probabilities=record.probabilities, tokens=counted, price=counted and record.cost is not None, prefix=prefix
    )
    lines = {line["id"]: line for line in made.lines}
    whole = options.limit is None
    columns = labelled_columns(found.columns, found.examples, lines, labels, added, usd_per_token(record), whole=whole)
    _write(columns, output)
    no_text = found.examples.count(None) if whole else 0
    _show(made, output, no_text, found.other_languages, execution.results, as_json)


def _rows(
    asked: Asked, known: Any, path: Path | None, split: str | None, text: Sequence[str]
) -> tuple[TaskSpec, UnlabelledRows, RowsOf]:
    """The task, its rows to label, and where they came from. Raises `UserError`."""
    from harness.core.errors import UnknownName, UserError
    from harness.data.rows import with_names
    from harness.data.unlabelled import rows_of_file, rows_of_split
    from harness.specs.asked import check_data
    from harness.specs.tasks import SPLITS

    if (path is None) == (split is None):
        raise UserError("Which rows? Give either --rows FILE or --split NAME.", "For example: --rows reviews.csv")
    check_data(asked.one("data"))
    task = with_names(known.task(asked.one("task")), asked.one("data"))
    lang = _language(asked, task)
    if path is not None:
        return task, rows_of_file(path, task, lang, text), "file"
    wanted = next((name for name in SPLITS if name == split), None)
    if wanted is None:
        raise UnknownName("split", str(split), SPLITS)
    if text:
        raise UserError("--text is for --rows.", "The task says which column holds the text of its own rows.")
    return task, rows_of_split(task, lang, wanted, asked.one("data")), wanted


def _language(asked: Asked, task: TaskSpec) -> str:
    from harness.core.errors import UnknownName, UserError

    lang = str(asked.one("lang")) or (task.languages[0] if len(task.languages) == 1 else "")
    if not lang:
        raise UserError("Which language do the rows have? Name it with --lang.", f"Of the task: {', '.join(task.languages)}.")
    if lang not in task.languages:
        raise UnknownName(f"language of the task {task.name!r}", lang, task.languages)
    return lang


def _check_output(output: Path, force: bool) -> None:
    """Before anything is computed. Raises `UserError`."""
    from harness.core.errors import UserError
    from harness.reports.label_file import SUFFIXES

    if output.suffix.lower() not in SUFFIXES:
        raise UserError(f"--output {output}: the suffix {output.suffix!r} is not known.", f"Use one of {', '.join(SUFFIXES)}.")
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UserError(f"--output {output}: no file can be written there.", "Name a file in a folder that exists.")
    if output.exists() and not force:
        hint = "Name another file, or delete this one: the labels are then written from their record. --force labels again."
        raise UserError(f"--output {output} exists.", hint)


def _plan(options: Any, known: Any, found: UnlabelledRows) -> Plan:
    from harness.running.plan import make_plan

    return make_plan(options, known, found.with_text())


def _labelled(
    plan: Plan, labellings: Labellings, rows_of: RowsOf, execution: ExecutionOptions, budget: Budget | None
) -> Labelling:
    from harness.cli.execute_runs import exit_if_interrupted
    from harness.cli.progress import Progress
    from harness.execution.events import log_lines
    from harness.running.labelling import label_rows

    check_cache()
    made = None
    with Progress(1) as progress:
        line = progress.next(f"{plan.backend.name} {plan.options.lang}")
        notes = ["starts again" if execution.force else "continues where it stopped"] if labellings.begun(plan.run_id) else []
        progress.say(plan.run_id + (f": {', '.join(notes)}" if notes else ""))
        with suppress(KeyboardInterrupt), log_lines(lambda: line):
            made = label_rows(
                plan, labellings, rows_of, progress.update, force=execution.force, budget=budget, gate=not execution.no_gate
            )
    exit_if_interrupted(made is None)
    assert made is not None
    return made


def _write(columns: dict[str, list[Any]], output: Path) -> None:
    from harness.core.json_files import write_atomically
    from harness.reports.label_file import as_bytes

    write_atomically(output, as_bytes(columns, output))


def _usd(record: LabellingRecord) -> float | None:
    """What the labels cost: tokens at their price, else seconds at the price of the machine; None without a price."""
    from harness.analysis.pricing import labelling_usd
    from harness.specs.prices import load_prices

    return labelling_usd(record.facts(record.n, record.unlabelled), load_prices(Path.cwd()))


def _show(made: Labelling, output: Path, no_text: int, other_languages: int, results: Path, as_json: bool) -> None:
    from harness.records.entries import gate_lines
    from harness.reports.text.labelling import distribution_rows, sentence

    record, usd = made.record, _usd(made.record)
    told = sentence(record, usd, no_text)
    with tolerate_broken_pipe():
        if as_json:
            print_json(_as_json(made, output, no_text, usd, told))
        else:
            print_table(["label", "rows", "share"], distribution_rows(record, no_text))
            typer.echo(plain(told))
    for line in gate_lines(record.gates):
        typer.echo(plain(line), err=True)
    prompted = record.identity.prompt is not None  # other models have a gate for it
    if prompted and record.ok >= MANY and max(record.labels.values()) == record.ok and len(record.identity.labels) > 1:
        typer.echo(
            plain(f"note: all {record.ok:,} labelled rows have the same label. Look at the prompt, or calibrate."), err=True
        )
    if other_languages:
        typer.echo(plain(f"note: {other_languages:,} rows of other languages are left out."), err=True)
    if not made.computed:
        verbosity.note("The labels were found; nothing was computed (--force labels again).")
    typer.echo(plain(f"Written: {output}; record: {made.folder}"), err=True)
    if record.rows_of == "train" and record.ok:
        where = "" if results == RESULTS else f" --results {shlex.quote(str(results))}"
        verbosity.note(f"Next: {_next_command(record)}{where}")


def _next_command(record: LabellingRecord) -> str:
    """How to train on the labels. A curve needs labels of a model that was not trained, and of all training rows."""
    labels = f"--labels-from {record.run_id.rpartition('.')[2]}"
    limit = record.options.limit
    if record.identity.train is None and limit is None:
        return f"bench study curve --encoder NAME {labels}"
    task = f"--task {record.identity.task} --lang {record.identity.lang}"
    rows = "" if limit is None else f" --train-limit {limit}"
    return f"bench run --backend NAME {task} {labels}{rows} --validation-limit 0"


def _as_json(made: Labelling, output: Path, no_text: int, usd: float | None, told: str) -> dict[str, Any]:
    record = made.record
    return {
        "labelling": record.run_id,
        "state": "new" if made.computed else "found",
        "output": output.as_posix(),
        "rows": record.n + no_text,
        "no_text": no_text,
        "unlabelled": record.unlabelled + no_text,
        "reasons": record.reasons,
        "labels": record.labels,
        "prompt_tokens": record.tokens.prompt,
        "new_tokens": record.tokens.new,
        "usd": usd,
        "seconds": record.timing.seconds,
        "rows_per_second": record.timing.rows_per_second,
        "gates": [gate.as_json() for gate in record.gates],
        "sentence": told,
    }
