"""`bench init`: inspect a file of texts and labels, and write a task and a prompt for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.amounts import some
from harness.cli.options import Json, catalog, print_json, print_table
from harness.core.plain import plain
from harness.core.types import LabelKind

if TYPE_CHECKING:
    from harness.analysis.run_time import Advice
    from harness.data.guess.inspect_file import Found

SCHEMA = Path("schemas") / "task.json"
ASKED = ("path", "text", "label", "kind", "lang", "lang_map")
"""Parameters of the command for which an error advises a value."""


def init_command(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A csv, tsv, json, jsonl, parquet or xlsx file, or a folder: files of splits or languages, shards, classes.",
        ),
    ],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the task; default: the file's name.")] = None,
    text: Annotated[
        str | None, typer.Option(metavar="COL", help="Text column; several, separated by commas, are joined.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COL", help="Label column; or several columns of 0 and 1, separated by commas.")
    ] = None,
    lang: Annotated[
        str | None, typer.Option(metavar="COL|CODE", help="Language column, or the code of the only language.")
    ] = None,
    lang_map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CELL=CODE", help="What the language column says, and its code: suomi=fi,espanja=es. Can be repeated."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="COL", help="Column that names the split of each row.")] = None,
    row_id: Annotated[str | None, typer.Option("--id", metavar="COL", help="Column of row ids.")] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Column of what rows belong to (film, author, ...); several, separated by commas."),
    ] = None,
    kind: Annotated[LabelKind | None, typer.Option(help="Kind of labels.")] = None,
    separator: Annotated[
        str | None, typer.Option(metavar="CHAR", help=r"What separates several labels in one cell, such as / or '|'; \n, \t.")
    ] = None,
    missing: Annotated[
        list[str] | None, typer.Option(metavar="CELL", help="What stands there for no label, such as NA. Can be repeated.")
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Names of the labels, in the order of the table; of a scale from the lowest."),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(metavar="CHAR", help=r"Field delimiter of a csv; \t is a tab.")] = None,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Encoding of a csv or JSON file: utf-8, cp1252, gb18030, ...")
    ] = None,
    sheet: Annotated[
        str | None, typer.Option(metavar="NAME", help="Sheet of a spreadsheet; default: the first with rows.")
    ] = None,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first line of a csv names the columns.")
    ] = None,
    freeze_test: Annotated[
        bool,
        typer.Option(
            "--freeze-test", help="Store the ids of the drawn test rows, so that they stay the test rows when rows are added."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing task and prompt.")] = False,
    as_json: Json = False,
) -> None:
    """Inspect a data file, and write tasks/NAME.yaml and prompts/NAME.j2 for it.

    Nothing leaves this machine, and no text of a row is written. If a column is ambiguous, the error names the option to set.

    --json prints an object: task, files (written), path, rows, used, columns (text, label, lang, id, split, group, unused),
    kind, labels (name, rows), languages (rows of each), splits (how; rows by split and language), lengths, without_text,
    duplicates, leaked (test rows whose text is a train row's), doubts (kind, text),
    next, estimated (seconds of each backend of the advised run).
    """
    from harness.data.guess.columns import ColumnOverrides
    from harness.data.guess.encodings import encoding_named
    from harness.data.guess.files import ReadOptions
    from harness.data.guess.inspect_file import InitRequest, inspect_file

    texts, labels, groups = _columns("--text", text), _columns("--label", label), _columns("--group", group)
    chosen = ColumnOverrides(texts, labels, None, row_id, split, groups)
    read_options = ReadOptions(_delimiter(delimiter), None if encoding is None else encoding_named(encoding), header, sheet)
    cells, mapping = tuple(missing or ()), _lang_map(lang_map or [])
    question = InitRequest(
        *(path, read_options, chosen, lang, kind, _separator(separator), cells, mapping, _said(context)), _label_names(names)
    )
    named = _name(path, name)
    files = _places(named, force, freeze_test)
    found = _write(_freezable(inspect_file(question), freeze_test), named, files)
    advice = _advice(found)
    following = _commands(found, named, advice)
    if as_json:
        print_json(found_as_json(found, named, files, following, advice))
        return
    print_found(found)
    *others, last = map(str, files.values())
    typer.echo(plain(f"\nWritten: {', '.join(others)} and {last}."))
    typer.echo("Next:")
    width = max(58, *(len(command) for command, _ in following))
    for command, why in following:
        typer.echo(plain(f"  {command:<{width}} # {why}"))


def _columns(option: str, said: str | None) -> tuple[str, ...]:
    from harness.core.errors import UserError

    names = () if said is None else tuple(part.strip() for part in said.split(",") if part.strip())
    if said is not None and not names:
        raise UserError(f"{option} {said!r} names no column.", "Separate several by commas.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{option} {said} names the column {twice!r} twice.", "Name each column once.")
    return names


def _lang_map(said: list[str]) -> dict[str, str]:
    """`suomi=fi,espanja=es`; a cell may hold a comma, or an equals sign."""
    from harness.core.errors import UserError

    found: dict[str, str] = {}
    for option in said:
        held: list[str] = []
        for part in option.split(","):
            held.append(part)
            match = re.fullmatch(r"(.+)=\s*([a-z]{2,3}(-[A-Za-z0-9]{2,8})*)\s*", ",".join(held))
            if match is not None:
                found[match[1].strip()] = match[2]
                held = []
        if held:
            raise UserError(f"--lang-map {option}: expected CELL=CODE.", "Such as suomi=fi,espanja=es.")
    return found


def _said(context: typer.Context) -> tuple[str, ...]:
    """The options of this command that are not asked about, as they were given, so that an advised command repeats them."""
    words: list[str] = []
    for option in context.command.params:
        name, value = str(option.name), context.params.get(str(option.name))
        given = getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
        if name in ASKED or not given:
            continue
        if isinstance(value, bool):
            words.append(option.opts[0] if value else option.secondary_opts[0])
            continue
        for item in value if isinstance(value, list | tuple) else [value]:
            words += [option.opts[0], str(item)]
    return tuple(words)


def _label_names(said: str | None) -> tuple[str, ...]:
    return () if said is None else tuple(part.strip() for part in said.split(","))


def _delimiter(said: str | None) -> str | None:
    from harness.core.errors import UserError

    found = "\t" if said in ("\\t", "tab") else said
    if found is not None and len(found) != 1:
        raise UserError(f"--delimiter: expected one character, got {said!r}.", "For example ';' (in quotes), or \\t for a tab.")
    return found


def _separator(said: str | None) -> str | None:
    from harness.core.errors import UserError

    found = None if said is None else {"\\n": "\n", "\\t": "\t"}.get(said, said)
    if found == "":
        raise UserError("--separator is empty.", "For example '/' or ' and ' (in quotes).")
    return found


def _name(path: Path, said: str | None) -> str:
    import re

    from harness.core.errors import UserError

    if said is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", said):
        raise UserError(f"--name {said}: letters, digits, `_` and `-` are allowed.", "Such as my_reviews.")
    found = said or re.sub(r"[^a-z0-9]+", "_", path.resolve().stem.lower()).strip("_")
    if not found:
        raise UserError(f"{path}: no name for a task can be made of that.", "Give one: --name NAME.")
    return found


def _freezable(found: Found, freeze: bool) -> Found:
    """`found`, with a note where bench draws the test rows; raises `UserError` where given ones are to be frozen."""
    from harness.core.errors import UserError
    from harness.data.guess.doubts import Doubt

    if found.division.stratified and not freeze:
        note = (
            "bench draws the test rows, and draws others when the file grows. To keep these, repeat the command with "
            "--freeze-test --force."
        )
        return replace(found, doubts=[*found.doubts, Doubt("drawn-test-rows", note)])
    if freeze and not found.division.stratified:
        raise UserError("--freeze-test: the data name the test rows, so bench draws none.", "Leave it out.")
    return found


def _places(name: str, force: bool, freeze: bool) -> dict[str, Path]:
    """Where task and prompt will lie, and the schema where there is none, and the ids of the test rows if these are to be
    frozen; raises `UserError` where that is taken."""
    from harness.core.errors import UserError

    files = {"task": Path("tasks") / f"{name}.yaml", "prompt": Path("prompts") / f"{name}.j2"}
    new = files if SCHEMA.exists() else files | {"schema": SCHEMA}
    for folder in (path.parent for path in new.values()):
        if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise UserError(f"{folder} is no folder that bench may write into.", "Rename it, or work in another folder.")
    known = catalog()
    for kind, path in files.items():
        other = known.files("task" if kind == "task" else "prompt").get(name)
        if other is not None and not (path.exists() and other.samefile(path)):
            raise UserError(f"There is a {kind} named {name!r} already: {other}.", "Give yours another name: --name NAME.")
        if path.exists() and not force:
            raise UserError(f"{path} is there already.", "Give another name: --name NAME; or write over it: --force.")
    ids = Path("tasks") / f"{name}.test-ids.json"
    if freeze and ids.exists() and not force:
        raise UserError(f"{ids} is there already.", "Give another name: --name NAME; or write over it: --force.")
    return {**new, "test_ids": ids} if freeze else new


def _write(found: Found, name: str, files: dict[str, Path]) -> Found:
    """Write task, prompt and schema, after rows were read with them as `bench run` will; `found` with what that told."""
    from tempfile import TemporaryDirectory

    from harness.core.json_files import write_atomically
    from harness.data.drawing import frozen_text
    from harness.data.guess.doubts import as_doubts
    from harness.data.guess.task_yaml import prompt_text, task_yaml, test_ids, tried
    from harness.specs.schemas import schema_text

    task, prompt = task_yaml(found, name, files["task"].parent), prompt_text(found, name)
    new = not files["task"].parent.exists()
    files["task"].parent.mkdir(exist_ok=True)  # a path such as tasks/../reviews.csv leads through it
    with TemporaryDirectory() as folder, _unmade(files["task"].parent if new else None):
        draft = Path(folder) / files["prompt"].name
        draft.write_text(prompt, encoding="utf-8")
        found = tried(found, task, files["task"], draft)
    ids = None
    if "test_ids" in files:
        ids = frozen_text(test_ids(task, files["task"]))
        task = task_yaml(found, name, files["task"].parent, files["test_ids"].name)
    for kind, content in (("test_ids", ids), ("task", task), ("prompt", prompt), ("schema", schema_text("task"))):
        if kind in files and content is not None:
            files[kind].parent.mkdir(parents=True, exist_ok=True)
            write_atomically(files[kind], content)
    return replace(found, doubts=[*found.doubts, *as_doubts("recorded-runs", _recorded(name))])


def _recorded(name: str) -> list[str]:
    """A sentence on runs of another task of that name, or of this one before it was written over."""
    from harness.records.store import Store

    runs = sum(run.startswith(f"{name}.") for run in Store(Path("results", "runs")).ids())
    if not runs:
        return []
    had = "run of a task of that name is" if runs == 1 else "runs of a task of that name are"
    return [
        f"{runs} {had} in results/runs. Where rows or labels are others now, give this one another name (--name NAME),"
        " or move those runs away: else both stand on one leaderboard."
    ]


@contextmanager
def _unmade(folder: Path | None) -> Iterator[None]:
    """Take an empty folder away again where the work in it fails."""
    try:
        yield
    except BaseException:
        if folder is not None:
            folder.rmdir()
        raise


def _advice(found: Found) -> Advice:
    from harness.analysis.run_time import Rows, first_runs

    rows = found.counted.rows
    labels = found.labels
    task = Rows(*(rows["train"], rows["validation"], rows["test"], found.tokens, labels.kind, labels.names, found.most_labels))
    return first_runs(task, catalog())


def _commands(found: Found, name: str, advice: Advice) -> list[tuple[str, str]]:
    extras = ",".join(advice.extras)
    install = [(f"pip install 'bench-harness[{extras}]'", "what the models need is not installed")] if extras else []
    lang = "" if set(advice.languages) == set(found.languages.codes) else f" --lang {','.join(advice.languages)}"
    run = f"bench run --task {name} --backend {','.join(advice.seconds)}{lang}{advice.limits.arguments}"
    return [
        (f"bench analyze data --task {name}", "duplicates, overlap of the splits, doubtful labels"),
        *install,
        (run, f"minutes on 2 CPU cores: {_minutes(advice.total)} ({_parts(advice)})"),
        ("bench leaderboard", "the ranking"),
    ]


def _parts(advice: Advice) -> str:
    parts = ", ".join(f"{name} {_minutes(seconds)}" for name, seconds in advice.seconds.items())
    return f"{parts}; downloads at most {advice.mib} MiB"


def _minutes(seconds: float) -> str:
    return "< 1" if seconds < 60 else f"about {seconds / 60:.0f}"


if TYPE_CHECKING:
    from harness.data.guess.inspect_file import Found

MOST_SHOWN = 12
INDEX = r"\s*|__index_level_\d+__|Unnamed: \d+"
"""Names of the index of a pandas table, which nobody chose."""


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
        typer.echo("\nNotes:")
    for note in found.notes:
        typer.echo(plain(f"- {' '.join(note.split())}"))


def _facts(found: Found) -> list[list[str]]:
    opened, roles, labels, counted = found.opened, found.roles, found.labels, found.counted
    form = opened.csv
    how = [f"delimiter {form.delimiter!r}"] if form.delimiter else []
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
        ["text", f"{' + '.join(roles.text)}: {middle:,} characters (median), {long:,} (95th percentile), {most:,} (maximum)"],
        ["label", some(roles.label, MOST_SHOWN) + (f", with names from {roles.names}" if roles.names else "")],
        ["labels", kinds[labels.kind].format(len(labels.rows))],
        ["language", _language(found)],
        ["splits", _splits(found)],
        ["id", roles.id or "digest of the text"],
    ]
    if roles.group:
        facts.append(["group", " + ".join(roles.group)])
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
        whole = "texts and groups" if found.roles.group else "texts"
        return f"none given: bench splits the {whole} 64/16/20, stratified by label, always the same way"
    where = f"column {division.column}" if division.column else "files"
    cells = {split: division.source[split] for split in SPLITS if split in division.source}
    given = ", ".join(f"{split} ({cell})" if cell != split else split for split, cell in cells.items())
    aside = f"; {division.validation_share:.0%} of train set aside for validation" if division.validation_share else ""
    return f"{where}: {given}{aside}"


def found_as_json(
    found: Found, name: str, files: dict[str, Path], following: list[tuple[str, str]], advice: Advice
) -> dict[str, Any]:
    """What the docstring of `bench init` says."""
    roles, division = found.roles, found.division
    return {
        "task": name,
        "files": {kind: path.as_posix() for kind, path in files.items()},
        "path": str(found.path),
        "rows": found.total,
        "used": sum(sum(counts.values()) for counts in found.division.rows.values()),
        "columns": {
            "text": list(roles.text),
            "label": list(roles.label),
            "lang": found.languages.column,
            "id": roles.id,
            "split": division.column,
            "group": list(roles.group),
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
        "duplicates": found.counted.duplicates,
        "leaked": found.counted.leaked,
        "doubts": [{"kind": doubt.kind, "text": " ".join(doubt.text.split())} for doubt in found.doubts],
        "next": [command for command, _ in following],
        "estimated": {backend: round(seconds) for backend, seconds in advice.seconds.items()},
    }
