"""Every command of the README and of docs/ is run, or stands in PARSED_ONLY with what it would need."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from console import Bench
from needs import PARSED_ONLY, reason_holds
from shell import PAGES, ROOT, Command, blocks, commands, file_name, write_examples

from harness.cli import app
from harness.specs.catalog import Catalog

pytestmark = pytest.mark.slow

READERS = ("compare", "recommend", "prompts spread", "results rescore", "show", "leaderboard")
READERS += ("analyze cost", "analyze calibration", "analyze cascade", "analyze overall")
"""Commands that read records: where they name recorded runs, or the task of these, they get the recorded results."""
TUTORIAL = "docs/tutorial.md"  # it has a test of its own
BACKENDS = ("backend", "encoder", "llm")
LANGUAGES = ("lang", "train_lang", "validation_lang")


def bench_commands(page: str) -> list[Command]:
    return [command for command in commands(page) if _inside(command) is not None]


def _inside(command: Command) -> tuple[str, ...] | None:
    """The arguments of bench; a launcher's too."""
    argv = command.argv
    if argv[0] == "bench":
        return argv[1:]
    return argv[argv.index("harness.cli") + 1 :] if "harness.cli" in argv else None


def key(command: Command) -> str:
    return command.text


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A project that has all files that the pages show."""
    folder = tmp_path_factory.mktemp("names")
    write_examples(folder)
    return Catalog(folder)


@pytest.mark.parametrize("page", [page for page in PAGES if bench_commands(page)])
def test_names_and_options_are_there(page: str, known: Catalog) -> None:
    problems = []
    for command in bench_commands(page):
        arguments = _inside(command)
        assert arguments is not None
        try:
            check_names(parsed(arguments), known, made_by(page))
        except Exception as error:
            problems.append(f"{command.where}: {command.text}\n    {error}")
    assert not problems, "\n" + "\n".join(problems)


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """What the command line makes of the arguments; raises what it raises for options that are not there."""
    command: Any = typer.main.get_command(app)
    rest = list(arguments)
    while hasattr(command, "commands") and (rest or not command.invoke_without_command):
        name = rest.pop(0)
        assert name in command.commands, f"bench has no command {name}"
        command = command.commands[name]
    context = command.make_context("bench", rest)
    return {name: value for name, value in context.params.items() if value is not None}


def made_by(page: str) -> set[str]:
    """Names that commands of the page make: a tuned backend, a task of `bench init`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return {f"{name}-tuned" for name in re.findall(r"bench study tune --backend ([\w-]+)", text)} | {
        Path(name).stem for name in re.findall(r"bench init ([\w./-]+)", text)
    }


def check_names(given: dict[str, Any], known: Catalog, made: set[str]) -> None:
    for option in BACKENDS:
        for name in set(split(given.get(option))) - made:
            known.backend(name)
    for name in {part.partition("+")[0] for part in split(given.get("prompt"))} - made:
        known.prompt(name)
    tasks = split(given.get("task"))
    for name in set(tasks) - made:
        task = known.task(name)
        languages = {lang for option in LANGUAGES for part in split(given.get(option)) for lang in part.split("+")}
        assert languages - {"own"} <= set(task.languages), f"the task {name} has no {languages - set(task.languages)}"


def split(value: Any) -> list[str]:
    values: Iterable[Any] = [value] if isinstance(value, str) else value or []
    return [part for text in values for part in str(text).split(",") if part]


@pytest.mark.parametrize("page", [page for page in PAGES if bench_commands(page) and page != TUTORIAL])
def test_commands_work(
    page: str, project: Path, bench: Bench, shared: Path, recorded: Path, request: pytest.FixtureRequest
) -> None:
    if page == "docs/add-an-engine.md":
        request.getfixturevalue("plugin")
    write_examples(project)
    todo = [command for command in bench_commands(page) if key(command) not in PARSED_ONLY]
    runs = prepare(bench, shared, project) if todo else []
    problems = []
    for command in todo:
        keep_tasks_of(page, project)
        said = bench(*filled(command, recorded, runs))
        if said.code != 0 or "Traceback" in said.err:
            problems.append(f"{command.where}: {command.text}\n    exit {said.code}: {said.err.strip()[-600:]}")
    assert not problems, "\n" + "\n".join(problems)


def keep_tasks_of(page: str, project: Path) -> None:
    """A command without --task would be about a task that another page shows, or that `bench init` made before."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in (project / "tasks").glob("*.yaml"):
        if not re.search(rf"--task {path.stem}\b|tasks/{path.stem}\b", text):
            path.unlink()


def prepare(bench: Bench, shared: Path, project: Path) -> list[str]:
    """Runs for the commands that ask for some; the ids of the two on all English test rows."""
    made = shared / "results"
    if not made.is_dir():
        for wanted in (
            ("--backend", "majority", "--lang", "en,ja", "--split", "validation"),
            ("--backend", "smollm2", "--lang", "en", "--prompt", "strict,fewshot", "--decoding", "score", "--limit", 10),
            ("--backend", "majority,tfidf", "--lang", "en,ja"),
        ):
            said = bench("run", "--task", "reviews_demo", *wanted, "--results", made, "--json")
            assert said.code == 0, said.err
        (shared / "runs.json").write_text(said.out, encoding="utf-8")
    shutil.copytree(made, project / "results")
    runs = json.loads((shared / "runs.json").read_text(encoding="utf-8"))
    return [run["run"] for run in runs if run["lang"] == "en"]


def filled(command: Command, recorded: Path, runs: Sequence[str]) -> list[str]:
    """The arguments with data and runs in the places that the docs leave open."""
    arguments = [{"DIR": "rows", "DIR2": "rows"}.get(part, part) for part in command.argv[1:]]
    known = {path.name.rpartition(".")[2] for path in (recorded / "runs").iterdir()}
    of_records = bool(known & set(arguments)) or "amazon_reviews_multi" in arguments
    if of_records and " ".join(arguments).startswith(READERS):
        return [*arguments, "--results", str(recorded)]
    open_places = iter(runs)
    return [next(open_places) if part in ("DIGITS", "FIRST", "SECOND", "RUN") else part for part in arguments]


def test_what_is_only_parsed_has_a_reason_that_holds() -> None:
    standing = {key(command): command for page in PAGES for command in bench_commands(page)}
    gone = sorted(set(PARSED_ONLY) - set(standing))
    assert not gone, f"these no longer stand in the docs: take them out of PARSED_ONLY\n{gone}"
    wrong = [text for text, reason in PARSED_ONLY.items() if not reason_holds(reason, standing[text])]
    assert not wrong, f"these can be run now: take them out of PARSED_ONLY\n{wrong}"


def test_other_commands_name_what_is_there() -> None:
    problems = [f"{command.where}: {command.text}: {problem}" for command in others() if (problem := problem_of(command))]
    assert not problems, "\n" + "\n".join(problems)


def others() -> list[Command]:
    return [command for page in PAGES for command in commands(page) if _inside(command) is None]


def problem_of(command: Command) -> str | None:
    """What is wrong with a command that is not bench's; None where nothing is."""
    program, *rest = command.argv
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        wanted = {part for part in rest if "=" not in part}
        return None if wanted <= set(targets) else "the Makefile has no such target"
    if program.endswith("pip"):
        return problem_of_pip(rest)
    if program.endswith(("python", "python3")):
        return problem_of_python(rest)
    return None if program in ("lm_eval", "litellm", "source", "vllm") else "say here what this command is held against"


def problem_of_pip(arguments: Sequence[str]) -> str | None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = {name for part in arguments for found in re.findall(r"\.\[([\w,]+)\]", part) for name in found.split(",")}
    if not wanted <= set(extras):
        return f"there is no extra {sorted(wanted - set(extras))}"
    files = [arguments[at + 1] for at, part in enumerate(arguments) if part in ("-c", "-r")]
    return None if all((ROOT / name).is_file() for name in files) else "there is no such file"


def problem_of_python(arguments: Sequence[str]) -> str | None:
    if arguments[:1] == ["-m"]:
        return None if arguments[1] in ("venv", "vllm.entrypoints.openai.api_server") else "an unknown module"
    if any(arguments[0] == file_name(block) for page in PAGES for block in blocks(page, "python")):
        return None
    script = ROOT / arguments[0]
    if not script.is_file():
        return "there is no such file"
    parts = [script, *script.parent.glob("_*.py")]
    source = "".join(path.read_text(encoding="utf-8") for path in parts)
    missing = [part for part in arguments[1:] if part.startswith("--") and f'"{part}"' not in source]
    return f"it has no {missing}" if missing else None
