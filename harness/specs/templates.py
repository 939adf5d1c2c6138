"""Sandboxed Jinja templates: every failure is a `PromptError` with file and line.

This guards against slips and against code execution (templates can come from strangers too); it is no guard against
a template written to burn memory, which would need a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from harness.errors import PromptError

_MAX_STEPS = 100_000  # iterations over range() in one rendering
_MAX_CHARS = 1_000_000  # characters that one rendering may add to the texts it was given


class _Sandbox(ImmutableSandboxedEnvironment):
    """Keeps a slip in a template from eating the machine; attribute access is guarded by Jinja's own sandbox."""

    intercepted_binops = frozenset({"*", "**"})  # this also stops Jinja from computing them while it compiles

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(side) if isinstance(side, str | list | tuple) else side for side in (left, right)]
        if operator == "**" and not (abs(left) <= _MAX_CHARS and abs(right) <= 16):
            raise SecurityError(f"{left} ** {right} is too large")
        if operator == "*" and sizes != [left, right] and sizes[0] * sizes[1] > _MAX_CHARS:
            raise SecurityError("the repeated string is too long")
        return super().call_binop(context, operator, left, right)


def _environment() -> _Sandbox:
    environment = _Sandbox(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    # The same prompt must give the same chat each time.
    del environment.filters["random"], environment.globals["lipsum"]
    del environment.globals["range"]  # each rendering brings its own, see _counted_range
    return environment


_ENVIRONMENT = _environment()


def _counted_range() -> Callable[..., range]:
    """`range` for one rendering: counts the steps of all its calls, so that nested loops end too."""
    left = _MAX_STEPS

    def counted(*args: int) -> range:
        nonlocal left
        steps = range(*args)
        left -= len(steps)
        if left < 0:
            raise SecurityError(f"its loops over range() take more than {_MAX_STEPS:,} steps")
        return steps

    return counted


class SafeTemplate:
    """A compiled template. `used` holds the names of the variables that it mentions."""

    def __init__(self, source: str, path: str, first_line: int, allowed: Sequence[str]) -> None:
        """`first_line` (1-based) is where `source` starts in the file `path`; `allowed` are the variables there will be.

        Raises `PromptError` for bad syntax and for a variable that is not allowed, even in a branch that is not taken.
        """
        self._path, self._first_line = path, first_line
        try:
            tree = _ENVIRONMENT.parse(source)
            self.used = meta.find_undeclared_variables(tree)
            self._refuse_unknown(tree, allowed)
            code = _ENVIRONMENT.compile(source, filename=path)
        except TemplateSyntaxError as error:
            raise self._error(f"the template is not valid: {error.message}", error.lineno) from error
        self._template = Template.from_code(_ENVIRONMENT, code, _ENVIRONMENT.globals)

    def _refuse_unknown(self, tree: nodes.Template, allowed: Sequence[str]) -> None:
        unknown = self.used - {*allowed, "range"}
        for node in tree.find_all(nodes.Name):
            if node.name in unknown:
                raise self._error(f"there is no variable {node.name!r} here.", node.lineno, f"Known: {', '.join(allowed)}.")

    def render(self, variables: Mapping[str, Any], given: int) -> str:
        """`given` is the length of the texts among `variables`; the output may hold each a few times, and not much more.

        Raises `PromptError` for anything that goes wrong.
        """
        room = _MAX_CHARS + 4 * given
        parts: list[str] = []
        try:
            for part in self._template.generate({**variables, "range": _counted_range()}):
                parts.append(part)
                room -= len(part)
                if room < 0:
                    raise SecurityError("it renders to far more than its texts")
        except Exception as error:  # a template can fail in any way that Python code can
            said = str(error) or type(error).__name__
            raise self._error(f"the template can't be rendered: {said}", self._line_of(error)) from error
        return "".join(parts)

    def _line_of(self, error: Exception) -> int | None:
        line, step = None, error.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename == self._path:
                line = step.tb_lineno
            step = step.tb_next
        return line

    def _error(self, problem: str, line: int | None, hint: str = "") -> PromptError:
        where = self._path if line is None else f"{self._path}:{self._first_line + line - 1}"
        return PromptError(f"{where}: {problem}", hint)
