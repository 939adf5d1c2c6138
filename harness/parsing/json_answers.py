"""JSON in an answer: its objects and lists, with the faults that change no value."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

from harness.parsing.folding import fold

MAX_JSON_DEPTH = 32
_STRUCTURE = re.compile(r'\\.|["{}\[\]]', re.DOTALL)


MOST_OF_PYTHON = 20_000
"""Characters of a literal of Python; a longer one is no answer, and its parser needs much memory."""
_STRING = re.compile(r'("(?:[^"\\]|\\.)*+")', re.DOTALL)
_BARE_KEY = re.compile(r"([{,]\s*)([^\W\d]\w*)\s*:")
_LAST_COMMA = re.compile(r",(?=\s*[}\]])")
_SIGNS = str.maketrans("：，、،", ":,,,")
_STRAIGHT = str.maketrans("“”„«»", '"' * 5)


class Numeral(str):
    """A JSON number as it was written: `int()` is slow on, or refuses, a long one."""

    __slots__ = ()


class DuplicateKey(ValueError):
    """One JSON object that holds a key twice, with different values."""


def json_spans(text: str, openers: str) -> Iterator[slice | None]:
    """Where the outermost `{...}` (or, with openers `{[`, also `[...]`) of `text` are; a last None where one is not closed."""
    depth, start, in_string = 0, 0, False
    for token in _STRUCTURE.finditer(text):
        mark = token[0]
        if depth == 0:
            if mark in openers:
                depth, start, in_string = 1, token.start(), False
        elif mark == '"':
            in_string = not in_string
        elif in_string or len(mark) > 1:
            continue
        elif mark in "{[":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                yield slice(start, token.end())
    if depth:
        yield None


def read_json(span: str) -> Any:
    """Parse one span; numbers come back as `Numeral`. Raises ValueError, also for deep nesting, NaN and a key with two values.

    Read all the same, as no value depends on it: line breaks in strings, a comma after the last item, full-width colons and
    commas, keys without quotes, typographic quotes, and Python's way to write strings.
    """
    if _depth(span) > MAX_JSON_DEPTH:
        raise ValueError("nested too deep")
    if '"' not in span:
        span = span.translate(_STRAIGHT)
    try:
        return _loads(span)
    except json.JSONDecodeError:
        try:
            return _loads("".join(_mended(span)))
        except json.JSONDecodeError:
            if len(span) > MOST_OF_PYTHON:
                raise
            return _python(span)


def _loads(span: str) -> Any:
    return json.loads(
        span, strict=False, parse_int=Numeral, parse_float=Numeral, parse_constant=_reject, object_pairs_hook=_object
    )


def _mended(span: str) -> Iterator[str]:
    """The span in pieces: strings as they are, what stands between them as JSON has it."""
    for number, piece in enumerate(_STRING.split(span)):
        if number % 2:
            yield piece
        else:
            piece = _BARE_KEY.sub(r'\1"\2":', piece.translate(_SIGNS))
            yield _LAST_COMMA.sub("", piece)


def _python(span: str) -> Any:
    """A literal of Python: lists, dicts, strings, numbers, None, True and False."""
    with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
        try:
            return _of_node(span, ast.parse(span.strip(), mode="eval").body)
        except (SyntaxError, MemoryError) as error:
            raise ValueError("neither JSON nor a literal of Python") from error


def _of_node(span: str, node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | None | str()):
            return node.value
        case (
            ast.Constant(value=int() | float())
            | ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float()))
        ):
            return Numeral(ast.get_source_segment(span.strip(), node) or "")
        case ast.List():
            return [_of_node(span, item) for item in node.elts]
        case ast.Dict() if all(isinstance(key, ast.Constant) and isinstance(key.value, str) for key in node.keys):
            keys = [str(key.value) for key in node.keys if isinstance(key, ast.Constant)]
            return _object([(key, _of_node(span, value)) for key, value in zip(keys, node.values, strict=True)])
    raise ValueError("no literal")


def _depth(span: str) -> int:
    """An upper bound of the nesting: brackets within strings count as well, which no honest answer has many of."""
    depth = deepest = 0
    for token in _STRUCTURE.finditer(span):
        if token[0] in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "}]":
            depth -= 1
    return deepest


def _reject(constant: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = fold(key)
        if name in found and found[name] != value:
            raise DuplicateKey
        found[name] = value
    return found
