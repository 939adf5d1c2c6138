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
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SpecError(path, line, f"is not valid YAML: {problem}") from error
    except ValueError as error:  # a scalar that only looks like a date or a number, such as 2024-13-45
        raise SpecError(path, None, f"holds a value that can't be read: {error}", "Put it between quotes.") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SpecError(path, first_line, f"must be a mapping of keys to values, found {_shown(data)}")
    repeated = _repeated_key(node)
    if repeated is not None:
        raise SpecError(path, repeated.start_mark.line + first_line, f"the key {repeated.value!r} stands there twice")
    allowed = [name for name in model.model_fields if name not in extra]
    for key in data:
        if key in extra:  # it would be overridden without a word
            raise SpecError(path, (_line_of(node, (key,)) or 0) + first_line, f"unknown key {key!r}", _allowed(allowed))
    try:
        return model.model_validate({**data, **extra})
    except ValidationError as error:
        problem, hint, locations = _describe(error, data, allowed)
        line = next((line for line in (_line_of(node, location) for location in locations) if line is not None), None)
        raise SpecError(path, None if line is None else line + first_line, problem, hint) from error


def validate_options(options: dict[str, Any], model: type[ModelT], owner: str) -> ModelT:
    """Validate a mapping that has no file of its own (the `options` of a backend); raises `UserError`."""
    try:
        return model.model_validate(options)
    except ValidationError as error:
        problem, hint, _ = _describe(error, options, list(model.model_fields))
        raise UserError(f"{owner}: {problem}", hint) from error


def _describe(error: ValidationError, data: Any, allowed: list[str]) -> tuple[str, str, list[tuple[Any, ...]]]:
    """What is wrong, a hint, and the locations in `data` that the problems concern."""
    problems, locations, unknown_at_top = [], [], False
    for item in error.errors():
        location = _location(item["loc"], data, missing=item["type"] == "missing")
        field = ".".join(str(part) for part in location) or "the file"
        locations.append(location)
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key {field!r}")
            unknown_at_top |= len(location) == 1
        elif item["type"] == "missing":
            problems.append(f"{field!r} is missing")
        else:
            message = item["msg"].removeprefix("Value error, ")
            problems.append(f"{field!r}: {message[0].lower() + message[1:]}, found {_shown(item['input'])}")
    return "; ".join(problems), _allowed(allowed) if unknown_at_top else "", locations


def _allowed(names: list[str]) -> str:
    return f"Allowed keys: {', '.join(names)}."


def _location(parts: tuple[int | str, ...], data: Any, *, missing: bool) -> tuple[Any, ...]:
    """The keys and positions of `data` in `parts`: pydantic also puts in the names of a union's branches."""
    found: list[Any] = []
    for part in parts:
        inside = {str(key): value for key, value in data.items()} if isinstance(data, dict) else {}
        if str(part) in inside:
            data = inside[str(part)]
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
        else:
            continue
        found.append(part)
    return (*found, parts[-1]) if missing else tuple(found)


def _repeated_key(root: yaml.Node | None) -> yaml.ScalarNode | None:
    """A key that stands twice in one mapping: YAML forbids it, PyYAML takes the last."""
    pending, visited = [root], set()
    while pending:
        node = pending.pop(0)
        if id(node) in visited:  # aliases make a graph of the tree
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            names = [key.value for key in keys]
            for position, key in enumerate(keys):
                if key.value in names[:position]:
                    return key
            pending += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value
    return None


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
