"""Language models whose answers depend on the instruction, and one that writes instructions: for the tests of prompt search."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.engine import Encoded, Generation, Messages
from harness.data import rows

ROWS = 120
READ_RAW = rows.read_raw
PROMPTS = {
    "plain": "---\ndescription: d\nparser: integer\n---\nskill 5\n{{ text }}\n",
    "good": "---\ndescription: d\nparser: integer\n---\nskill 8, at some length\n{{ text }}\n",
    "bad": "---\ndescription: d\nparser: integer\n---\nskill 0\n{{ text }}\n",
}
BACKENDS = {
    "reader": "engine: reader\nmodel: CHECKPOINT\n",
    "writer": "engine: writer\nmodel: served\nprice: {prompt: 1000, completion: 2000, source: nowhere}\n",
}


class Reader(toy.ToyModel):
    """Right on the rows whose number, modulo 10, is below its skill: that of the instruction, and one for shown examples."""

    def encode(self, chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        return [Encoded(sum(len(turn["content"].split()) for turn in chat), (self._read(chat), choices)) for chat in chats]

    def _read(self, chat: Messages) -> str:
        text, every = chat[-1]["content"], "\n".join(turn["content"] for turn in chat)
        skill = max([0, *map(int, re.findall(r"skill (\d+)", every))]) + (len(chat) > 2)
        number, said = re.findall(r"(\d+) (?:long )*says (\d)", text)[-1]
        return text if int(number) % 10 < skill else f"{text} says {(int(said) + 1) % 3}"


class Writer(toy.ToyServer):
    """Gives the answers of `answers`, one after the other, and keeps what it was asked."""

    answers: list[str] = []  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Sequence[str] | None) -> list[Generation]:
        self.asked.extend(prompt.content[0] for prompt in prompts)
        return [Generation(self.answers.pop(0), True, prompt.tokens, 10) for prompt in prompts]


def entry_points(*, group: str) -> list[EntryPoint]:
    mine = [EntryPoint("reader", "prompt_toys:Reader", group), EntryPoint("writer", "prompt_toys:Writer", group)]
    return [*toy.toy_entry_points(group=group), *(mine if group == "bench.engines" else [])]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engines; and reading test rows fails."""
    monkeypatch.setattr("harness.specs.backend_specs.entry_points", entry_points)
    monkeypatch.setattr(Writer, "answers", [])
    monkeypatch.setattr(Writer, "asked", [])

    def guarded(task: Any, lang: str, split: str, data_dir: Path | None) -> Any:
        assert split != "test", "a search reads no test rows"
        return READ_RAW(task, lang, split, data_dir)  # type: ignore[arg-type]

    monkeypatch.setattr(rows, "read_raw", guarded)


def write_project(project: Path) -> Path:
    """Without a file of test rows."""
    toy.write_project(project)
    (project / "tasks" / "rows" / "test.jsonl").unlink()
    made = [toy.row("validation", lang, n, str(n % 3), n % 3) for lang in ("en", "de") for n in range(ROWS)]
    toy.write_rows(project, "validation", made)
    for name, text in PROMPTS.items():
        (project / "prompts" / f"{name}.j2").write_text(text)
    for name, text in BACKENDS.items():
        (project / "backends" / f"{name}.yaml").write_text(text.replace("CHECKPOINT", str(project / "weights" / "tiny")))
    return project


def texts_of(project: Path, split: str) -> list[str]:
    return [json.loads(line)["text"] for line in (project / "tasks" / "rows" / f"{split}.jsonl").read_text().splitlines()]
