"""The commands and the examples that stand in the README and in docs/."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
SHELL = ("sh", "bash", "console", "")
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$", re.DOTALL | re.MULTILINE
)
_LOOP = re.compile(r"for (?P<name>\w+) in (?P<values>.*); *do")


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences; `line` is the first one inside, counted from 1."""

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command, with its variables filled in."""

    page: str
    line: int
    argv: tuple[str, ...]

    @property
    def text(self) -> str:
        return shlex.join(self.argv)

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page in these languages; in all of them, if none is named."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        if not languages or fence["language"] in languages:
            inside = re.sub(f"^{fence['indent']}", "", fence["text"], flags=re.MULTILINE)
            found.append(Block(page, text.count("\n", 0, fence.start("text")) + 1, fence["language"], inside))
    return found


def commands(page: str) -> list[Command]:
    """All commands of a page, in their order. Of a block that says no language those lines that call bench."""
    found = [command for block in blocks(page, *SHELL) for command in commands_of(block)]
    return [command for command in found if command.argv[0] not in ("export", "cd")]


def commands_of(block: Block) -> list[Command]:
    variables: dict[str, str] = {}
    found = []
    for number, line in _lines(block):
        name, is_set, value = line.partition("=")
        if is_set and re.fullmatch(r"[A-Z]+[0-9]*", name):
            variables[name] = shlex.split(value, comments=True)[0]
            continue
        argv = shlex.split(_filled(line, variables), comments=True)
        while "&&" in argv:
            found.append(Command(block.page, number, tuple(argv[: argv.index("&&")])))
            argv = argv[argv.index("&&") + 1 :]
        if argv:
            found.append(Command(block.page, number, tuple(argv)))
    return found


def _lines(block: Block) -> Iterator[tuple[int, str]]:
    """Line number and command: continued lines joined, loops unrolled, prompts and output left out."""
    loop: tuple[str, list[str]] | None = None
    pending = ""
    for number, raw in enumerate(block.text.splitlines(), start=block.line):
        line = f"{pending} {raw.strip()}".strip() if pending else raw.strip()
        if line.endswith("\\"):
            pending = line[:-1].strip()
            continue
        pending = ""
        if block.language == "console" or line.startswith("$ "):
            if not line.startswith("$ "):
                continue
            line = line[2:]
        if block.language == "" and not line.startswith("bench "):
            continue
        head = _LOOP.fullmatch(line)
        if head:
            loop = head["name"], shlex.split(head["values"])
        elif line == "done":
            loop = None
        elif loop:
            yield from ((number, _filled(line, {loop[0]: value})) for value in loop[1])
        else:
            yield number, line


def _filled(line: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        line = re.sub(rf"\${name}\b", lambda _, value=value: value, line)
    return line


def file_name(block: Block) -> str | None:
    """Where an example belongs, as its first line says: `# tasks/tickets.yaml`."""
    found = re.match(r"# ([\w./-]+\.(?:yaml|py|toml|j2))\b", block.text)
    return found[1] if found else None


def write_examples(project: Path) -> None:
    """The files that the pages show by name, where they say that these are."""
    for page in PAGES:
        for block in blocks(page, "yaml", "python", "toml", "jinja"):
            name = file_name(block)
            if name is not None and name != "pyproject.toml":
                path = project / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
        write_named_prompts(page, project)


def write_named_prompts(page: str, project: Path) -> None:
    """A prompt begins with its front matter, so the sentence before it says its name."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, prompt in re.findall(r"`(prompts/[\w-]+\.j2)`[^`]*\n```jinja\n(.*?)```", text, re.DOTALL):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(prompt, encoding="utf-8")
