"""`bench analyze data`: what may be wrong with a task's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
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
    one_line,
    open_store,
    plain,
    print_json,
    print_table,
)
from harness.cli.requests import task_or_default

if TYPE_CHECKING:
    from harness.analysis.audit import Report
    from harness.specs.tasks import TaskSpec

LISTED = 20
BEST = 5


def data_command(
    task: Task = None,
    lang: Annotated[
        Many, typer.Option(metavar="CODE", help="Language; default: all that have rows, or those of --run.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Rows that the runs were tested on: test or validation.")] = "test",
    run: Annotated[
        Many,
        typer.Option(metavar="RUN", help="Runs to use, each in its language; default: all on these rows. Can be repeated."),
    ] = None,
    backend: Annotated[Many, typer.Option(metavar="NAME", help="Only runs of these backends.")] = None,
    show_texts: Annotated[
        bool, typer.Option("--show-texts", help="Show the texts of the listed rows; they are stored in --suspects alone.")
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Rows to list as likely label errors, per language. [default: 20; in files: all]"
        ),
    ] = None,
    suspects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the rows, most suspect label first: .csv, .tsv, .jsonl or .parquet."),
    ] = None,
    data: Data = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Check a task's rows for duplicates, conflicting labels and label errors.

    Reports rows without text; duplicate texts, exact or near (one word is changed, for example), in one split or in
    two; texts with conflicting labels; likely label errors: all rows, ranked by how improbable the models of recorded runs
    find their labels; and models that may have seen the rows in training. The recorded runs on these rows are used.

    --json prints a list with an object per language: task, lang, split, published, rows (by split), missing, empty, labels
    (name -> split -> rows), unseen_labels (of tested rows, that no training row has), untested_labels (the reverse),
    duplicates (of, among, rows, exact, near, other_label, ids), conflicts (texts, rows, by_split,
    ceiling, ids), runs, other_rows, without_duplicates (run, backend, n, value, without), suspects (models, estimated,
    list: id, given, suggested, score, votes, against, models; null for a multilabel task), dates (backend, published,
    training_cutoff, may_have_read), texts (with --show-texts), sentence.
    """
    from harness.analysis.audit import make_report, named_runs
    from harness.cli.progress import Progress
    from harness.data.rows import with_names
    from harness.reports.text.audit import overall
    from harness.specs.tasks import SPLITS

    tested = next((name for name in SPLITS if name == split and name != "train"), None)
    if tested is None:
        raise typer.BadParameter("test or validation", param_hint="--split")
    if suspects is not None:
        _check_output(suspects)
    check_data(data)
    known, store = catalog(), open_store(results)
    spec = with_names(known.task(task_or_default(known, task)), data)
    langs, runs, backends = names(lang, "--lang"), names(run, "--run"), names(backend, "--backend")
    asked = named_runs(store, runs, spec, tested, langs, backends) if runs else None
    of_runs = sorted({entry.group[2] for entry in asked or []})
    reports = []
    with Progress(len(codes := _languages(spec, langs or of_runs, data))) as progress:
        for code in codes:
            progress.next(code)
            reports.append(make_report(spec, code, tested, data, known, store, asked, backends))
    if suspects is not None:
        _write_suspects(reports, suspects, top, show_texts)
    if as_json:
        print_json([_as_json(report, top, show_texts) for report in reports])
        return
    for number, report in enumerate(reports):
        if number:
            typer.echo()
        _print(report, top or LISTED, show_texts)
    if len(reports) > 1:
        typer.echo(plain(f"\n{overall(reports)}"))


def _languages(task: TaskSpec, asked: list[str], data: Path | None) -> list[str]:
    """Those asked for, else those of the task that have rows. Raises `DataError` where none has."""
    from harness.analysis.audit import read_splits
    from harness.core.errors import DataError

    if asked or len(task.languages) == 1:
        return asked or list(task.languages)
    found = []
    for language in task.languages:
        try:
            read_splits(task, language, data)
        except DataError as error:
            last = error
        else:
            found.append(language)
    if not found:
        raise last
    return found


def _check_output(path: Path) -> None:
    from harness.core.errors import UserError
    from harness.reports.label_file import SUFFIXES

    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--suspects {path}: the suffix {path.suffix!r} is not known.", f"Use one of {', '.join(SUFFIXES)}.")


def _write_suspects(reports: Sequence[Report], path: Path, top: int | None, show_texts: bool) -> None:
    from harness.core.errors import UserError
    from harness.core.json_files import write_atomically
    from harness.reports.label_file import as_bytes, suspect_columns

    if not any(report.suspects and report.suspects.suspects for report in reports):
        raise UserError(
            "--suspects: no run on these rows has probabilities and is better than always the same answer.",
            "Train or prompt a better model on this task first: bench run --backend NAME",
        )
    columns = suspect_columns(reports, top, texts=show_texts)
    write_atomically(path, as_bytes(columns, path))
    typer.echo(plain(f"{len(columns['id']):,} rows, most suspect first: {path}"), err=True)


def _texts(report: Report, top: int | None) -> dict[str, str]:
    """Id -> text, of the rows that are listed."""
    listed = {suspect.id for suspect in (report.suspects.suspects[:top] if report.suspects else [])}
    listed |= set(report.conflicts.ids[:LISTED]) | {row for pair in report.overlaps for row in pair.ids[:LISTED]}
    return {row.id: row.text for rows in report.splits.values() for row in rows if row.id in listed}


def _as_json(report: Report, top: int | None, show_texts: bool) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    from harness.reports.text.audit import sentence

    label, voting = report.task.label_space.names, report.suspects
    found = {
        "task": report.task.name,
        "lang": report.lang,
        "split": report.split,
        "published": report.task.published,
        "rows": {split: len(rows) for split, rows in report.splits.items()},
        "missing": report.missing,
        "empty": report.empty,
        "labels": report.counts,
        "unseen_labels": list(report.unseen),
        "untested_labels": report.untested,
        "duplicates": report.overlaps,
        "conflicts": report.conflicts,
        "runs": report.runs,
        "other_rows": report.other_rows,
        "without_duplicates": report.cleaned,
        "suspects": voting
        and {
            **{name: getattr(voting, name) for name in ("models", "estimated")},
            "list": [
                {**asdict(suspect), "given": label[suspect.given], "suggested": label[suspect.suggested]}
                for suspect in voting.suspects[:top]
            ],
        },
        "dates": report.dates,
        **({"texts": _texts(report, top)} if show_texts else {}),
        "sentence": sentence(report),
    }
    return dict(to_jsonable_python(found))


def _print(report: Report, top: int, show_texts: bool) -> None:
    from harness.reports.text.audit import sentence
    from harness.reports.text.formats import plural

    texts = _texts(report, top) if show_texts else {}
    for split, why in report.missing.items():
        typer.echo(plain(f"note: no {split} rows: {why}"), err=True)
    if report.empty:
        typer.echo(plain(f"note: left out: {plural(report.empty, 'row')} without text."), err=True)
    if report.other_rows:
        typer.echo(plain(f"note: left out: {plural(report.other_rows, 'run')} on other rows."), err=True)
    typer.echo(plain(f"{report.task.name} · {report.lang}: {sum(map(len, report.splits.values())):,} rows"))
    _print_labels(report)
    _print_duplicates(report, texts)
    if report.cleaned:
        typer.echo()
        right = [
            [run.backend, *(f"{part.value:.3f}" for part in (run.value, run.without)), run.run.rpartition(".")[2]]
            for run in report.cleaned[:BEST]
        ]
        print_table(["backend", "right", "without duplicates", "run"], right)
    if report.suspects is not None and report.suspects.suspects:
        _print_suspects(report, top, texts)
    if report.dates and report.task.published is not None:  # else there is nothing to hold a model's date against
        typer.echo()
        cells = [[line.backend, line.published or "unknown", line.training_cutoff or "unknown"] for line in report.dates]
        print_table(["backend", "rows public since", "training cutoff"], cells)
    typer.echo(plain(f"\n{sentence(report)}"))


def _print_labels(report: Report) -> None:
    """A line is enough where all labels have as many rows."""
    found = list(report.splits)
    counts = [[f"{per[split]:,}" for split in found] for per in report.counts.values()]
    if all(line == counts[0] for line in counts):
        each = ", ".join(f"{count} {split}" for count, split in zip(counts[0], found, strict=True))
        typer.echo(plain(f"Each of the {len(counts)} labels has {each} rows."))
        return
    lines = [[name, *line] for name, line in zip(report.counts, counts, strict=True)]
    print_table(["label", *found], [*lines, ["rows", *(f"{len(report.splits[split]):,}" for split in found)]], text=["label"])
    typer.echo()


def _print_duplicates(report: Report, texts: dict[str, str]) -> None:
    columns = ["rows of", "with a duplicate in", "exact", "near", "other label", "first ids"]
    cells = [
        [pair.of, pair.among, f"{pair.exact:,}", f"{pair.near:,}", f"{pair.other_label:,}", _some(pair.ids)]
        for pair in report.overlaps
    ]
    conflicts = report.conflicts
    if any(pair.ids for pair in report.overlaps):
        print_table(columns, cells, text=["first ids"], optional=["first ids"])
    else:
        typer.echo("No row has a duplicate, in its own split or in another.")
    if conflicts.texts:
        by = ", ".join(f"{rows:,} {split}" for split, rows in conflicts.by_split.items() if rows)
        found = f"{conflicts.texts:,}, in {conflicts.rows:,} rows ({by}), such as {_some(conflicts.ids)}"
        typer.echo(plain(f"Texts with conflicting labels: {found}"))
    shown = {row for pair in report.overlaps for row in pair.ids[:LISTED]} | set(conflicts.ids[:LISTED])
    if texts and shown:
        typer.echo()
        print_table(["id", "text"], [[row, one_line(texts[row])] for row in sorted(shown)], text=["text"])


def _print_suspects(report: Report, top: int, texts: dict[str, str]) -> None:
    assert report.suspects is not None
    label, ranked = report.task.label_space.names, report.suspects.suspects
    typer.echo()
    cells = [
        [
            suspect.id,
            label[suspect.given],
            label[suspect.suggested],
            f"{suspect.score:.3f}",
            f"{suspect.votes} of {suspect.models}",
            *([one_line(texts[suspect.id])] if texts else []),
        ]
        for suspect in ranked[:top]
    ]
    print_table(["id", "label", "suggested", "score", "models", *(["text"] if texts else [])], cells, text=["text"])
    if len(ranked) > top:
        more = f"(the {top} most suspect of {len(ranked):,} rows; --top N lists more, --suspects FILE writes all)"
        typer.echo(plain(more), err=True)


def _some(ids: Sequence[str], most: int = 3) -> str:
    return ", ".join(ids[:most]) + (", ..." if len(ids) > most else "")
