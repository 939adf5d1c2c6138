"""What `bench init` found in a file, as tables and as JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.amounts import some
from harness.cli.options import plain, print_table
from harness.core.types import LabelKind

if TYPE_CHECKING:
    from harness.data.guess.inspect_file import Found

MOST_SHOWN = 12
INDEX = r"\s*|__index_level_\d+__|Unnamed: \d+"
"""Predictions that nobody made: the index of a pandas table."""


def print_found(found: Found) -> None:
    """Tables of what there is, of the splits and of the labels; below them what was doubtful."""
    print_table(["what", "found"], _facts(found), text=("found",))
    typer.echo("")
    codes = found.languages.codes
    shown = codes[:MOST_SHOWN]
    rest = codes[MOST_SHOWN:]
    columns = ["rows", *shown, *([f"{len(rest)} more"] if rest else []), *(["all"] if len(codes) > 1 else [])]
    lines = []
    for split, counts in found.counted.rows.items():
        cells = [counts[code] for code in shown] + ([sum(counts[code] for code in rest)] if rest else [])
        lines.append([split, *map(str, cells), *([str(sum(counts.values()))] if len(codes) > 1 else [])])
    print_table(columns, lines)
    typer.echo("")
    labels = list(found.labels.rows.items())
    print_table(["label", "rows"], [[label, f"{count:,}"] for label, count in labels[:MOST_SHOWN]], text=("label",))
    if len(labels) > MOST_SHOWN:
        typer.echo(plain(f"... and {len(labels) - MOST_SHOWN} more labels."))
    if found.notes:
        typer.echo("\nDoubtful, or good to know:")
    for note in found.notes:
        typer.echo(plain(f"- {' '.join(note.split())}"))


def _facts(found: Found) -> list[list[str]]:
    opened, roles, labels, counted = found.opened, found.roles, found.labels, found.counted
    form = opened.csv
    how = [f"fields divided by {form.delimiter!r}"] if form.delimiter else []
    how += [f"in {form.encoding}"] if form.encoding != "utf-8" else []
    how += ["no header"] if form.header else []
    inner = found.path if found.path.is_dir() else found.path.parent
    files = ", ".join(path.relative_to(inner).as_posix() for path in opened.files.values())
    middle, long, most = counted.lengths
    kinds = {
        LabelKind.ORDINAL: "ordinal: a scale of {}",
        LabelKind.NOMINAL: "nominal: {} classes",
        LabelKind.MULTILABEL: "multilabel: any of {}",
    }
    facts = [
        ["file", f"{files}: {found.total:,} rows" + (f" ({', '.join(how)})" if how else "")],
        ["text", f"{' + '.join(roles.text)}: {middle:,} characters (median), 95% have {long:,} at most, the longest {most:,}"],
        ["label", some(roles.label, MOST_SHOWN) + (f", with names from {roles.names}" if roles.names else "")],
        ["labels", kinds[labels.kind].format(len(labels.rows))],
        ["language", _language(found)],
        ["splits", _splits(found)],
        ["id", roles.id or "made of the text's digest"],
    ]
    unused = [name for name in roles.unused if not re.fullmatch(INDEX, name)]
    if unused:
        facts.append(["not used", some(unused, MOST_SHOWN)])
    return facts


def _language(found: Found) -> str:
    languages = found.languages
    if languages.column is not None:
        return f"{languages.column}: {some(languages.codes, MOST_SHOWN)}"
    if found.opened.langs is not None:
        spelled = found.opened.spelled
        named = [_code_and(spelled.get(code, code), code) for code in languages.codes]
        return f"the paths ({{lang}}): {some(named, MOST_SHOWN)}"
    if languages.mix:
        return f"{languages.codes[0]}, several: {languages.mix}"
    if languages.share < 1:
        return f"{languages.codes[0]} ({languages.share:.0%} of the texts look like it)"
    return languages.codes[0]


def _code_and(spelling: str, code: str) -> str:
    return code if spelling == code else f"{code} ({spelling})"


def _splits(found: Found) -> str:
    from harness.specs.tasks import SPLITS

    division = found.division
    if division.stratified:
        return "none given: bench divides the rows 64/16/20, evenly over the labels, always alike"
    where = f"column {division.column}" if division.column else "files"
    cells = {split: division.source[split] for split in SPLITS if split in division.source}
    given = ", ".join(f"{split} ({cell})" if cell != split else split for split, cell in cells.items())
    aside = f"; {division.validation_share:.0%} of train set aside for validation" if division.validation_share else ""
    return f"{where}: {given}{aside}"


def found_as_json(found: Found, name: str, files: dict[str, Path], following: list[tuple[str, str]]) -> dict[str, Any]:
    """What the docstring of `bench init` says."""
    roles, division = found.roles, found.division
    return {
        "task": name,
        "files": {kind: path.as_posix() for kind, path in files.items()},
        "path": str(found.path),
        "rows": found.total,
        "used": sum(sum(counts.values()) for counts in found.counted.rows.values()),
        "columns": {
            "text": list(roles.text),
            "label": list(roles.label),
            "lang": found.languages.column,
            "id": roles.id,
            "split": division.column,
            "unused": list(roles.unused),
        },
        "kind": found.labels.kind.value,
        "labels": [{"name": label, "rows": count} for label, count in found.labels.rows.items()],
        "languages": found.languages.rows,
        "splits": {
            "how": "stratified" if division.stratified else "column" if division.column else "files",
            "rows": found.counted.rows,
        },
        "lengths": dict(zip(("median", "p95", "longest"), found.counted.lengths, strict=True)),
        "without_text": found.counted.without_text,
        "twins": found.counted.twins,
        "leaked": found.counted.leaked,
        "notes": found.notes,
        "next": [command for command, _ in following],
    }
