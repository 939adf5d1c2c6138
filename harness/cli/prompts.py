"""`bench prompts check` and `bench prompts show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Data, Json, catalog, names, print_json

if TYPE_CHECKING:
    from harness.prompts import Prompt
    from harness.tasks import TaskSpec
    from harness.types import Example

app = typer.Typer(help="Look at a prompt, and check it on real rows.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the prompt, without `.j2`.")]
Task = Annotated[str, typer.Option(help="Task whose rows are rendered.")]
Langs = Annotated[list[str] | None, typer.Option(help="Language; default: all of the task's.")]


@app.command("show")
def show_command(
    name: Name, task: Task = "reviews_demo", lang: Langs = None, data: Data = None, seed: int = 0, as_json: Json = False
) -> None:
    """Print the chat that a model gets for one row."""
    from harness.prompts import Renderer, pick_shots

    known = catalog()
    spec = known.task(task)
    for language in names(lang) or spec.languages[:1]:
        prompt = known.prompt(name, language)
        train, rows = _rows(spec, prompt, language, data)
        shots = pick_shots(train, prompt.spec.shots, spec.label_space, seed) if prompt.spec.shots else []
        chat = Renderer(prompt, spec.label_space, language, shots).render(rows[0].text)
        if as_json:
            print_json({"prompt": name, "lang": language, "row": rows[0].id, "messages": chat})
            continue
        typer.echo(f"{name} ({language}), row {rows[0].id}, answer read by {prompt.spec.parser.type}, {prompt.spec.decoding}")
        for turn in chat:
            typer.echo(f"--- {turn['role']}\n{turn['content']}")


@app.command("check")
def check_command(
    name: Name, task: Task = "reviews_demo", lang: Langs = None, data: Data = None, as_json: Json = False
) -> None:
    """Render a prompt on real rows and report what is wrong; exit 2 if something is."""
    from harness.prompt_check import check_prompt

    known = catalog()
    spec = known.task(task)
    found = []
    for language in names(lang) or spec.languages:
        prompt = known.prompt(name, language)
        train, rows = _rows(spec, prompt, language, data)
        found += [(language, problem) for problem in check_prompt(prompt, spec.label_space, rows[:50], train)]
    if as_json:
        print_json([{"lang": language, "severity": str(p.severity), "message": p.message} for language, p in found])
    else:
        for language, problem in found:
            typer.echo(f"{problem.severity}: {language}: {problem.message}")
        if not found:
            typer.echo(f"{name}: nothing wrong on {task} ({', '.join(names(lang) or spec.languages)}).")
    if any(problem.severity == "error" for _, problem in found):
        raise typer.Exit(2)


def _rows(spec: TaskSpec, prompt: Prompt, lang: str, data: Data) -> tuple[list[Example], list[Example]]:
    """Training rows (only where the prompt wants exemplars) and rows to render."""
    from harness.rows import load_examples

    train = load_examples(spec, lang=lang, split="train", data_dir=data) if prompt.spec.shots else []
    return train, load_examples(spec, lang=lang, split="validation", data_dir=data)
