"""`bench results import`: what another tool measured, as a run of its own on the same rows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Results,
    TrustMetricCode,
    catalog,
    check_data,
    one_of,
    open_store,
    plain,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from harness.records.lm_eval.importing import Imported


class Origin(StrEnum):
    """Whose files can be imported."""

    LM_EVAL = "lm-eval"


Given = Annotated[
    Path, typer.Argument(metavar="PATH", help="What `lm_eval --log_samples --output_path` wrote: the folder, or a file in it.")
]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="What the run is called by on the board; default: the model's name.")
]
FromTask = Annotated[str | None, typer.Option(metavar="NAME", help="The task of lm-eval, where the files hold several.")]
Kept = Annotated[
    str | None, typer.Option("--filter", metavar="NAME", help="The filter of lm-eval, where its task has several.")
]
Parser = Annotated[
    str | None,
    typer.Option(metavar="PARSER", help="Reads written answers: integer, label, or YAML such as '{type: integer, first: 1}'."),
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Leave out samples that are about no row of the task, or perhaps several.")
]


def import_command(
    origin: Annotated[
        Origin,
        typer.Argument(metavar="FORMAT", help="lm-eval: files of lm-evaluation-harness.", parser=one_of(Origin, "format")),
    ],
    path: Given,
    task: Annotated[str, typer.Option(metavar="NAME", help="Our task with the same rows. See `bench list tasks`.")],
    lang: Annotated[str, typer.Option(metavar="CODE", help="Their language.")],
    split: Annotated[Any, typer.Option(metavar="NAME", help="Whose rows they are: test or validation.")] = "test",
    backend: Name = None,
    from_task: FromTask = None,
    kept: Kept = None,
    parser: Parser = None,
    allow_missing: AllowMissing = False,
    data: Data = None,
    trust_metric_code: TrustMetricCode = False,
    force: Annotated[bool, typer.Option("--force", help="Import again although the run is there.")] = False,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Put a result of lm-evaluation-harness on the board: a run of its own, paired with ours row by row.

    Every sample must be about a row of the task, by its id or its text, and every target must be that row's label. Metrics are
    computed by bench from the answers; lm-eval's own figures are shown beside them. Time and cost stay unknown.

    --json prints an object with run, folder, computed, rows, of_rows, samples, paired_by (id, text), left_out (unmatched,
    ambiguous), read (how answers became labels), compared (a list of metric, value, reported_as, reported), metrics, sentence.
    """
    from harness.cli.requests import check_split
    from harness.records.lm_eval.importing import ImportRequest, import_lm_eval, parser_named

    check_split(split)
    check_data(data)
    reader = None if parser is None else parser_named(parser)
    wanted = ImportRequest(
        path, task, lang, split, backend, data, from_task=from_task, kept=kept, parser=reader, allow_missing=allow_missing
    )
    made = import_lm_eval(wanted, catalog(trust_metric_code), open_store(results), force=force)
    if as_json:
        print_json(_as_json(made))
    else:
        _print(made)


def sentence(made: Imported) -> str:
    """What is on the board now, and against whom it can be compared."""
    identity, n = made.record.identity, made.record.n
    what = f"{identity.backend.name} ({identity.prompt.name if identity.prompt else ''})"
    there = "is on the board" if made.computed else "was on the board already"
    if n == made.total:
        rows = f"with all {n:,} {identity.lang} rows of {identity.task}, beside the runs on these"
    else:
        rows = (
            f"with {n:,} of the {made.total:,} {identity.lang} rows of {identity.task}, in a table of its own; "
            "`bench compare` pairs it with other runs on the rows that they share"
        )
    return f"{what} {there} {rows}."


def _print(made: Imported) -> None:
    from harness.records.entries import TITLES
    from harness.reports.text.formats import shown

    told, values = made.record.imported, made.record.metrics.values
    assert told is not None
    by = " and ".join(f"{count} by {name}" for name, count in sorted(told.paired_by.items()))
    lost = sum(told.left_out.values())
    typer.echo(plain(made.record.run_id))
    typer.echo(
        plain(
            f"{told.samples} samples of {told.task} (lm-eval {told.version or 'of an unknown version'}, filter "
            f"{told.filter}): {by}" + (f", {lost} left out" if lost else "")
        )
    )
    typer.echo(plain(made.read))
    metrics = made.record.metrics
    typer.echo(plain(f"{metrics.n} rows: {metrics.ok} read, {metrics.unparsed} unparsed, {metrics.failed} failed\n"))
    theirs = {ours: f"{value:.3f} ({name})" for ours, _, name, value in made.compared}
    rows = [[TITLES.get(name, name), shown(values[name]), theirs.get(name, "")] for name in metrics.headline]
    print_table(["metric", "bench [95% interval]", "reported by lm-eval"], rows)
    for line in _differences(made):
        typer.echo(plain(line), err=True)
    typer.echo(plain(f"\n{sentence(made)}"))


def _differences(made: Imported) -> list[str]:
    """Where lm-eval's figure is another one than ours."""
    return [
        f"note: {theirs} was {reported:.4f} to lm-eval, of what its filter left and by its own metric; bench counts {value:.4f}"
        for _, value, theirs, reported in made.compared
        if abs(value - reported) > 5e-5
    ]


def _as_json(made: Imported) -> dict[str, Any]:
    told = made.record.imported
    assert told is not None
    return {
        "run": made.record.run_id,
        "folder": str(made.folder),
        "computed": made.computed,
        "rows": made.record.n,
        "of_rows": made.total,
        **{key: getattr(told, key) for key in ("samples", "paired_by", "left_out")},
        "read": made.read,
        "compared": [
            dict(zip(("metric", "value", "reported_as", "reported"), compared, strict=True)) for compared in made.compared
        ],
        "metrics": made.record.metrics.as_json(),
        "sentence": sentence(made),
    }
