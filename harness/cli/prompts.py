"""`bench prompts check` and `bench prompts show`; `spread` is in a module of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import Data, Json, Task, catalog, check_data, names, plain, print_json
from harness.cli.prompt_spread import spread_command
from harness.cli.requests import task_or_default

if TYPE_CHECKING:
    from harness.core.types import Example
    from harness.parsing.prompt_check import Problem
    from harness.specs.prompts import Prompt
    from harness.specs.tasks import TaskSpec

CHECKED_ROWS = 50

app = typer.Typer(
    help="Look at a prompt, check it on real rows, and see how much it matters.", no_args_is_help=True, rich_markup_mode=None
)
app.command("spread")(spread_command)

Name = Annotated[str, typer.Argument(help="Name of the prompt, without `.j2`.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the choice of exemplars.")]


@app.command("show")
def show_command(
    name: Name,
    task: Task = None,
    lang: Annotated[list[str] | None, typer.Option(metavar="CODE", help="Language; default: the task's first.")] = None,
    data: Data = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Print the chat that a model gets for one row.

    --json prints a list with one object per language: prompt, lang, row, messages.
    """
    from harness.data.rows import with_names
    from harness.parsing.rendering import Renderer, pick_shots

    check_data(data)
    known = catalog()
    spec = with_names(known.task(task_or_default(known, task)))
    chats: list[dict[str, Any]] = []
    for language in names(lang, "--lang") or spec.languages[:1]:
        prompt = known.prompt(name, language)
        train, rows = _rows(spec, prompt, language, data)
        shots = pick_shots(train, prompt.spec.shots, spec.label_space, seed) if prompt.spec.shots else []
        chat = Renderer(prompt, spec.label_space, language, shots).render(rows[0].text)
        chats.append({"prompt": name, "lang": language, "row": rows[0].id, "messages": chat})
        if not as_json:
            how = f"answer read by {prompt.spec.parser.type}, decoding {prompt.spec.decoding}"
            typer.echo(plain(f"{name} ({language}), row {rows[0].id}, {how}"))
            for turn in chat:
                typer.echo(plain(f"--- {turn['role']}\n{turn['content']}"))
    if as_json:
        print_json(chats)


@app.command("check")
def check_command(
    name: Name,
    task: Task = None,
    lang: Annotated[list[str] | None, typer.Option(metavar="CODE", help="Language; default: all of the task's.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Render a prompt on real rows and report what is wrong; exit 2 if something is.

    --json prints a list of problems: severity (error, warning, info), langs, message.
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
    if as_json:
        print_json([{"severity": str(p.severity), "langs": langs, "message": p.message} for p, langs in found.items()])
    else:
        for problem, langs in found.items():
            where = "" if langs == languages else f"{', '.join(langs)}: "
            typer.echo(plain(f"{problem.severity}: {where}{' '.join(problem.message.split())}"))
        if not found:
            typer.echo(plain(f"{name}: nothing wrong on {count} rows of {spec.name} ({', '.join(languages)})."))
    if any(problem.severity == "error" for problem in found):
        raise typer.Exit(2)


def _rows(spec: TaskSpec, prompt: Prompt, lang: str, data: Data) -> tuple[list[Example], list[Example]]:
    """Training rows (only where the prompt wants exemplars) and rows to render."""
    from harness.data.rows import load_examples

    train = load_examples(spec, lang=lang, split="train", data_dir=data) if prompt.spec.shots else []
    return train, load_examples(spec, lang=lang, split="validation", data_dir=data)
