"""`bench` in this process, as a user calls it: arguments in; exit code, stdout and stderr out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def all_commands() -> list[str]:
    """`run`, `study tune` and all others, as the command line has them."""
    from typer.main import get_command

    from harness.cli import app

    found = []
    for name, command in get_command(app).commands.items():
        found += [f"{name} {word}" for word in command.commands] if hasattr(command, "commands") else [name]
    return found


Bench = Callable[..., Said]


def called(arguments: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Through the entry point of the console script."""
    from harness.cli import main

    monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
    capsys.readouterr()
    try:
        main()
        code: Any = 0
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    return Said(code or 0, said.out, said.err)
