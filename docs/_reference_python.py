"""docs/reference/python.md: the public names of `harness`."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

from _reference_markdown import NOTICE, joined, prose
from pydantic import BaseModel

import harness
from harness.core.errors import BenchError

WIDTH = 110
"""Characters of a signature in one line."""


def python_page() -> str:
    parts = ["# Python", NOTICE, *_docstring(harness)]
    homes: dict[str, list[str]] = {}
    for name in harness.__all__:
        homes.setdefault(getattr(harness, name).__module__, []).append(name)
    for module in sorted(homes):
        first = inspect.cleandoc(import_module(module).__doc__ or "").partition("\n\n")[0]
        parts += [f"## {module}", prose(first)]
        for name in homes[module]:
            parts += _object(name, getattr(harness, name))
    return joined(parts)


def _object(name: str, value: Any) -> list[str]:
    head = f"### {name}"
    if hasattr(value, "__members__"):
        return [head, *_docstring(value), "One of " + ", ".join(f"`{member.value}`" for member in value) + "."]
    keyword = "class " if inspect.isclass(value) else ""
    shown = [head, f"```python\n{keyword}{_signature(name, value)}\n```", *_docstring(value)]
    if not inspect.isclass(value) or issubclass(value, BenchError | BaseModel):
        return shown
    methods = {key: _function(found) for key, found in vars(value).items() if not key.startswith("_")}
    listed = [f"- {_method(key, found)}" for key, found in methods.items() if found is not None]
    return [*shown, "\n".join(listed)] if listed else shown


def _method(name: str, found: Any) -> str:
    first = " ".join(inspect.cleandoc(found.__doc__ or "").partition("\n\n")[0].split())
    signature = " ".join(_signature(name, found).split()).replace("( ", "(").replace(", )", ")")
    return f"`{signature}`" + (f": {prose(first)}" if first else "")


def _function(found: Any) -> Any:
    """The function or property; None for another attribute."""
    if isinstance(found, property):
        return found
    function = getattr(found, "__func__", found)
    return function if inspect.isfunction(function) else None


def _signature(name: str, value: Any) -> str:
    """The signature without `self` and the modules of types; if it is long, one line per parameter."""
    if isinstance(value, property):
        return name
    found = inspect.signature(value)
    parts: list[str] = []
    for param in found.parameters.values():
        if param.name == "self":
            continue
        if param.kind is param.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        parts.append(_param(param))
    returned = "" if inspect.isclass(value) else f" -> {_annotation(found.return_annotation)}"
    line = f"{name}({', '.join(parts)}){returned}"
    return line if len(line) <= WIDTH else f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"


def _param(param: inspect.Parameter) -> str:
    text = f"{param.name}: {_annotation(param.annotation)}"
    if param.default is param.empty:
        return text
    plain = param.default is None or type(param.default) in (bool, int, float, str, tuple)
    return f"{text} = {param.default!r}" if plain else f"{text} = {getattr(param.default, 'name', '...')}"


def _annotation(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:harness|pathlib|collections|typing)\.(?:\w+\.)*(?=\w)", "", text)


def _docstring(value: Any) -> list[str]:
    """Paragraphs of its own docstring; the one that Python makes for a dataclass is left out."""
    own = value.__doc__ if not inspect.isclass(value) else vars(value).get("__doc__")
    if not own or own.startswith(f"{getattr(value, '__name__', '')}("):
        return []
    return [prose(paragraph) for paragraph in inspect.cleandoc(own).split("\n\n")]
