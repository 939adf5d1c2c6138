"""Read a YAML file into a pydantic model; errors name file, line, field, the value, and what is allowed."""

from __future__ import annotations

import re
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.core.errors import SpecError, UserError

SpecT = TypeVar("SpecT", bound="Spec")
ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_CHARS = 1 << 20  # of a file
MAX_NODES = 200_000  # keys, values and lists of a file, aliases expanded
MAX_DEPTH = 50
MAX_NUMBER = 100  # characters; parsing takes quadratic time
MAX_PROBLEMS = 10  # in one message


class Spec(BaseModel):
    """Base of all YAML models: unknown keys are errors, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load_yaml_spec(path: Path, model: type[ModelT], **extra: Any) -> ModelT:
    """Read `path` into `model`. `extra`: fields that are not in the file (such as its name). Raises `SpecError`."""
    return parse_yaml_spec(read_text(path), path, model, **extra)


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file. Raises `SpecError` if it can't be read or is too large."""
    try:
        with path.open(encoding=encoding) as file:
            text = file.read(MAX_CHARS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(path, None, f"can't be read: {error}") from error
    if len(text) > MAX_CHARS:
        raise SpecError(path, None, f"has more than {MAX_CHARS:,} characters, the limit for such a file")
    return text


def load_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The syntax tree of `text` and its data, in bounded time. Raises `yaml.YAMLError`, or `ValueError` for a wrong value."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        _measure(node, {})
        repeated = _repeated_key(node)
        if repeated is not None:
            raise _invalid(f"the key {_shown(repeated.value)} occurs twice", repeated)
        return node, loader.construct_document(node)
    except (yaml.YAMLError, ValueError):
        raise
    except RecursionError as error:
        raise _invalid("it is nested too deeply") from error
    except Exception as error:  # PyYAML's, for a wrong value of a tag: `!!bool x`, `!!timestamp x`
        raise ValueError(str(error) or type(error).__name__) from error
    finally:
        loader.dispose()


def _invalid(problem: str, node: yaml.Node | None = None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=None if node is None else node.start_mark)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Number and depth of the nodes in `node`, aliases expanded. Raises `yaml.YAMLError` above the limits."""
    if id(node) in known:
        count, depth = known[id(node)]
        if not count:
            raise _invalid("an alias is inside the value that it refers to", node)
        return count, depth
    known[id(node)] = (0, 0)  # until it is measured
    count, depth = 1, 0
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                inner, below = _measure(part, known)
                count, depth = count + inner, max(depth, below + 1)
    elif node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and len(node.value) > MAX_NUMBER:
        raise _invalid(f"a number has {len(node.value):,} characters; put text between quotes", node)
    if count > MAX_NODES or depth > MAX_DEPTH:
        limit = f"is nested more than {MAX_DEPTH} levels deep" if depth > MAX_DEPTH else f"holds more than {MAX_NODES:,} values"
        raise _invalid(f"it {limit}, aliases expanded", node)
    known[id(node)] = (count, depth)
    return count, depth


def parse_yaml_spec(text: str, path: Path, model: type[ModelT], first_line: int = 1, **extra: Any) -> ModelT:
    """Like `load_yaml_spec` for text that starts at line `first_line` of `path` (a prompt's front matter)."""
    try:
        node, data = load_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + first_line if mark else None
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SpecError(path, line, f"is not valid YAML: {problem}") from error
    except ValueError as error:  # a scalar that looks like a date or a number, such as 2024-13-45
        raise SpecError(path, None, f"holds a value that can't be read: {error}", "Put it between quotes.") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SpecError(path, first_line, f"must be a mapping of keys to values, found {_shown(data)}")
    allowed = [name for name in model.model_fields if name not in extra]
    for key in data:
        if key in extra:  # it would be silently overridden
            raise SpecError(path, (_line_of(node, (key,)) or 0) + first_line, f"unknown key {_shown(key)}", _allowed(allowed))
    try:
        return model.model_validate({**data, **extra})
    except ValidationError as error:
        problem, hint, locations = _describe(error, data, allowed)
        if not any(locations) and (named := re.match(r"`(\w+)`", problem)):  # of the whole file: the line of the key it names
            locations = [(named[1],)]
        line = next((line for line in (_line_of(node, location) for location in locations) if line is not None), None)
        raise SpecError(path, None if line is None else line + first_line, problem, hint) from error


def validate_options(options: dict[str, Any], model: type[ModelT], owner: str) -> ModelT:
    """Validate a mapping without its own file (the `options` of a backend); raises `UserError`."""
    try:
        return model.model_validate(options)
    except ValidationError as error:
        problem, hint, _ = _describe(error, options, list(model.model_fields))
        raise UserError(f"{owner}: {problem}", hint) from error


def _describe(error: ValidationError, data: Any, allowed: list[str]) -> tuple[str, str, list[tuple[Any, ...]]]:
    """The problems, a hint, and the locations of the problems in `data`."""
    problems, locations, unknown_at_top = [], [], False
    for item in islice(error.errors(), MAX_PROBLEMS):
        location = _location(item["loc"], data, missing=item["type"] == "missing")
        field = _cut(".".join(str(part) for part in location)) or "the file"
        locations.append(location)
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key {field!r}")
            unknown_at_top |= len(location) == 1
        elif item["type"] == "missing":
            problems.append(f"{field!r} is missing")
        else:
            message = item["msg"].removeprefix("Value error, ")
            of_several = item["type"] == "value_error" and not location  # keys that do not fit, which the message names
            whole = f"{field!r}: {message[0].lower() + message[1:]}, found {_shown(item['input'])}"
            problems.append(message if of_several else whole)
    if error.error_count() > MAX_PROBLEMS:
        problems.append(f"and {error.error_count() - MAX_PROBLEMS:,} more")
    return "; ".join(problems), _allowed(allowed) if unknown_at_top else "", locations


def _allowed(names: list[str]) -> str:
    return f"Allowed keys: {', '.join(names)}."


def _location(parts: tuple[int | str, ...], data: Any, *, missing: bool) -> tuple[Any, ...]:
    """The keys and positions of `data` in `parts`; pydantic adds the names of a union's branches."""
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
    """A key that occurs twice in one mapping: YAML forbids it, PyYAML takes the last."""
    pending, visited = deque([root]), set()
    while pending:
        node = pending.popleft()
        if id(node) in visited:  # aliases make a graph of the tree
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            seen: set[str] = set()
            for key in keys:
                if key.value in seen:
                    return key
                seen.add(key.value)
            pending += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value
    return None


def _line_of(node: yaml.Node | None, location: tuple[Any, ...]) -> int | None:
    """0-based line of the deepest part of `location` that is in the file."""
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
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
