"""Read a YAML file into a pydantic model; every complaint names file, line, field, what was found, what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import SpecError, UserError

SpecT = TypeVar("SpecT", bound="Spec")
ModelT = TypeVar("ModelT", bound=BaseModel)


class Spec(BaseModel):
    """Base of all that is read from YAML: unknown keys are errors, values are not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load_yaml_spec(path: Path, model: type[ModelT], **extra: Any) -> ModelT:
    """Read `path` into `model`. `extra` are fields that do not stand in the file (such as its name).

    Raises `SpecError` for unreadable YAML and for each field that does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(path, None, f"can't be read: {error}") from error
    return parse_yaml_spec(text, path, model, **extra)


def parse_yaml_spec(text: str, path: Path, model: type[ModelT], first_line: int = 1, **extra: Any) -> ModelT:
    """Like `load_yaml_spec` for text that starts at line `first_line` of `path` (a prompt's front matter)."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + first_line if mark else None
        raise SpecError(path, line, f"is not valid YAML: {getattr(error, 'problem', error)}") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SpecError(path, first_line, f"must be a mapping of keys to values, found {_shown(data)}")
    try:
        return model.model_validate({**data, **extra})
    except ValidationError as error:
        raise SpecError(path, *_describe(error, node, model, first_line)) from error


def validate_options(options: dict[str, Any], model: type[ModelT], owner: str) -> ModelT:
    """Validate a mapping that has no file of its own (the `options` of a backend); raises `UserError`."""
    try:
        return model.model_validate(options)
    except ValidationError as error:
        _, problem, hint = _describe(error, None, model, 1)
        raise UserError(f"{owner}: {problem}", hint) from error


def _describe(
    error: ValidationError, node: yaml.Node | None, model: type[BaseModel], first_line: int
) -> tuple[int | None, str, str]:
    problems = []
    lines = []
    for item in error.errors():
        location = tuple(part for part in item["loc"] if not _is_tag(part, node))
        field = ".".join(str(part) for part in location) or "the file"
        lines.append(_line_of(node, location))
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key {field!r}")
        elif item["type"] == "missing":
            problems.append(f"{field!r} is missing")
        else:
            message = item["msg"].removeprefix("Value error, ")
            problems.append(f"{field!r}: {message[0].lower() + message[1:]}, found {_shown(item['input'])}")
    unknown_at_top = any(item["type"] == "extra_forbidden" and len(item["loc"]) == 1 for item in error.errors())
    hint = f"Allowed keys: {', '.join(model.model_fields)}." if unknown_at_top else ""
    line = next((line for line in lines if line is not None), None)
    return (None if line is None else line + first_line, "; ".join(problems), hint)


def _is_tag(part: Any, node: yaml.Node | None) -> bool:
    """Pydantic puts the name of a union's branch into the location; such names are no keys of the file."""
    return isinstance(part, str) and (part.endswith("]") or (part[:1].isupper() and node is not None))


def _line_of(node: yaml.Node | None, location: tuple[Any, ...]) -> int | None:
    """0-based line of the deepest part of `location` that stands in the file."""
    line = None if node is None else node.start_mark.line
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
