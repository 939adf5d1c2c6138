"""bench.toml: defaults of options for the folder one works in. The command line and the environment come before it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.options import variable_name

if TYPE_CHECKING:
    from harness.specs.asked import ProjectFile
    from harness.specs.executors import ExecutorTables

FILE = Path("bench.toml")


def project_defaults(group: Any) -> dict[str, Any]:
    """What click takes as defaults, by command. Raises `UserError` for a wrong file, key or value. `group`: of commands."""
    from yaml import YAMLError

    from harness.core.errors import SpecError

    if not FILE.is_file():
        return {}
    try:
        values = _content().texts()
    except YAMLError as error:  # a time, say
        raise SpecError(FILE, None, "has a value under `set` that is no number, text, list or table") from error
    return _defaults(group, values)


def executor_tables() -> ExecutorTables:
    """The settings of executors, and what the runs of backends need. Raises `UserError` for a wrong file."""
    from harness.specs.executors import ExecutorTables

    return _content() if FILE.is_file() else ExecutorTables()


def _content() -> ProjectFile:
    from harness.core.errors import SpecError
    from harness.specs.asked import ProjectFile
    from harness.specs.yamlspec import read_text, validate_options

    try:
        content = tomllib.loads(read_text(FILE))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(FILE, None, f"is not valid TOML: {error}") from error
    return validate_options(content, ProjectFile, str(FILE))


def _defaults(command: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Only options that mean the same in every command take a default: those with a BENCH_ variable."""
    if hasattr(command, "commands"):
        return {name: _defaults(inner, values) for name, inner in command.commands.items()}
    shared = [p for p in command.params if p.name in values and getattr(p, "envvar", None) == variable_name(p.name)]
    return {param.name: _fitting(values[param.name], param.multiple) for param in shared}


def _fitting(value: Any, multiple: bool) -> Any:
    if multiple:
        return value if isinstance(value, list) else [value]
    return ",".join(value) if isinstance(value, list) else value
