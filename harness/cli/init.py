"""`bench init`: look at a file of texts and labels, and write a task and a prompt for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import Json, catalog, plain, print_json, print_table
from harness.types import LabelKind

if TYPE_CHECKING:
    from harness.data.guess.look import Found

MOST_SHOWN = 12
BACKENDS = "tfidf,minilm,smollm2"
BACKENDS_OF_MANY = "tfidf,e5-small,smollm2"


def init_command(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="csv, tsv, jsonl, json or parquet; or a folder with train, test, ..., or of each language."
        ),
    ],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the task; default: that of the file.")] = None,
    text: Annotated[str | None, typer.Option(metavar="COL", help="Column of the text; several, by commas, are joined.")] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of the label; several of 0 and 1, by commas.")
    ] = None,
    lang: Annotated[str | None, typer.Option(metavar="COL|CODE", help="Column of the language, or the only language.")] = None,
    split: Annotated[str | None, typer.Option(metavar="COL", help="Column that tells train, validation and test rows.")] = None,
    row_id: Annotated[str | None, typer.Option("--id", metavar="COL", help="Column of the row's id.")] = None,
    kind: Annotated[LabelKind | None, typer.Option(help="Kind of labels.")] = None,
    delimiter: Annotated[
        str | None, typer.Option(metavar="CHAR", help=r"Of a csv: what stands between fields; \t is a tab.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(metavar="NAME", help="Of a csv: utf-8, cp1252, gb18030, ...")] = None,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Of a csv: whether the first line names the columns.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a task or prompt that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Look at your data, say what is in it, and write tasks/NAME.yaml and prompts/NAME.j2 for it.

    Nothing leaves this machine, and no text of a row gets into the files. Where the file does not tell, bench asks.

    --json prints an object: task, files (written), path, rows, used, columns (text, label, lang, id, split, unused), kind,
    labels (name, rows), languages (rows of each), splits (how; rows by split and language), lengths, without_text, twins,
    leaked (test rows whose text is a train row's; null where the file is too large to count them), notes, next.
    """
    from harness.data.guess.columns import Chosen
    from harness.data.guess.encoding import encoding_named
    from harness.data.guess.files import Wish
    from harness.data.guess.look import Question, look

    chosen = Chosen(_columns("--text", text), _columns("--label", label), None, row_id, split)
    wish = Wish(_delimiter(delimiter), None if encoding is None else encoding_named(encoding), header)
    question = Question(path, wish, chosen, lang, kind)
    named = _name(path, name)
    files = _places(named, force)
    found = _write(look(question), named, files)
    following = _commands(found, named)
    if as_json:
        print_json(_as_json(found, named, files, following))
        return
    _print_found(found)
    typer.echo(f"\nWritten: {files['task']} and {files['prompt']}.")
    typer.echo("Go on with:")
    for command, why in following:
        typer.echo(f"  {command:<58} # {why}")


def _columns(option: str, said: str | None) -> tuple[str, ...]:
    from harness.errors import UserError

    names = () if said is None else tuple(part.strip() for part in said.split(",") if part.strip())
    if said is not None and not names:
        raise UserError(f"{option} {said!r} names no column.", "Several are divided by commas.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{option} {said} names the column {twice!r} twice.", "Name each column once.")
    return names


def _delimiter(said: str | None) -> str | None:
    from harness.errors import UserError

    found = "\t" if said in ("\\t", "tab") else said
    if found is not None and len(found) != 1:
        raise UserError(f"--delimiter {said}: one character is wanted.", "Such as ';' (in quotes), or \\t for a tab.")
    return found


def _name(path: Path, said: str | None) -> str:
    import re

    from harness.errors import UserError

    if said is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", said):
        raise UserError(f"--name {said}: letters, digits, `_` and `-` are allowed.", "Such as my_reviews.")
    found = said or re.sub(r"[^a-z0-9]+", "_", path.resolve().stem.lower()).strip("_")
    if not found:
        raise UserError(f"{path}: no name for a task can be made of that.", "Give one: --name NAME.")
    return found


def _places(name: str, force: bool) -> dict[str, Path]:
    """Where task and prompt will lie; raises `UserError` where that is taken."""
    from harness.errors import UserError

    files = {"task": Path("tasks") / f"{name}.yaml", "prompt": Path("prompts") / f"{name}.j2"}
    known = catalog()
    for kind, path in files.items():
        other = known.files("task" if kind == "task" else "prompt").get(name)
        if other is not None and not (path.exists() and other.samefile(path)):
            raise UserError(f"There is a {kind} named {name!r} already: {other}.", "Give yours another name: --name NAME.")
        if path.exists() and not force:
            raise UserError(f"{path} is there already.", "Give another name: --name NAME; or write over it: --force.")
    return files


def _write(found: Found, name: str, files: dict[str, Path]) -> Found:
    """Write task, prompt and schema, after rows were read with them as `bench run` will; `found` with what that told."""
    from tempfile import TemporaryDirectory

    from harness.data.guess.task_yaml import prompt_text, task_yaml
    from harness.data.guess.trial import tried
    from harness.records.store import write_atomically
    from harness.specs.schemas import schema_text

    task, prompt = task_yaml(found, name, files["task"].parent), prompt_text(found, name)
    new = not files["task"].parent.exists()
    files["task"].parent.mkdir(exist_ok=True)  # a path such as tasks/../reviews.csv leads through it
    with TemporaryDirectory() as folder, _unmade(files["task"].parent if new else None):
        draft = Path(folder) / files["prompt"].name
        draft.write_text(prompt, encoding="utf-8")
        found = tried(found, task, files["task"], draft)
    schema = Path("schemas") / "task.json"
    for path, content in ((files["task"], task), (files["prompt"], prompt), (schema, schema_text("task"))):
        if path != schema or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
    return found


@contextmanager
def _unmade(folder: Path | None) -> Iterator[None]:
    """Take an empty folder away again where the work in it fails."""
    try:
        yield
    except BaseException:
        if folder is not None:
            folder.rmdir()
        raise


def _commands(found: Found, name: str) -> list[tuple[str, str]]:
    english = found.languages.codes == ["en"]
    large = max(found.counted.rows["train"].values()) > 2000
    first = f"bench run --task {name} --backend {BACKENDS if english else BACKENDS_OF_MANY}"
    return [
        (f"bench audit --task {name}", "twins, overlap of the splits, doubtful labels"),
        (
            first + (" --limit 200 --train-limit 2000 --validation-limit 500" if large else ""),
            "a baseline, an encoder, a small language model",
        ),
        ("bench leaderboard", "what came out"),
    ]


def _print_found(found: Found) -> None:
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
        typer.echo(f"... and {len(labels) - MOST_SHOWN} more labels.")
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
        ["label", _some(roles.label) + (f", with names from {roles.names}" if roles.names else "")],
        ["labels", kinds[labels.kind].format(len(labels.rows))],
        ["language", _language(found)],
        ["splits", _splits(found)],
        ["id", roles.id or "made from the row's number"],
    ]
    if roles.unused:
        facts.append(["not used", _some(roles.unused)])
    return facts


def _language(found: Found) -> str:
    languages = found.languages
    if languages.column is not None:
        return f"{languages.column}: {_some(languages.codes)}"
    if found.opened.langs is not None:
        spelled = found.opened.spelled
        return f"the paths ({{lang}}): {_some([_code_and(spelled.get(code, code), code) for code in languages.codes])}"
    if found.languages.share < 1:
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


def _some(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:MOST_SHOWN]) + (f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else "")


def _as_json(found: Found, name: str, files: dict[str, Path], following: list[tuple[str, str]]) -> dict[str, Any]:
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
