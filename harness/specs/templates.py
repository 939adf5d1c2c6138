"""Sandboxed Jinja templates: every failure is a `PromptError` with file and line.

Templates can come from strangers: `template_limits` bounds what a rendering does, and this module what is compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Template, TemplateSyntaxError, meta, nodes

from harness.core.errors import PromptError
from harness.specs.template_limits import WORK, PromptEnvironment, Work

MAX_CHARS = 256 * 1024  # of a template
MAX_NODES = 10_000  # of its syntax tree; the time to compile it grows with the square of that

_OF_PAGES = nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends | nodes.Block | nodes.ScopedEvalContextModifier
_HINT_OF_PAGES = "Leave out include, import, extends, block and autoescape."

_ENVIRONMENT = PromptEnvironment()


class SafeTemplate:
    """A compiled template. `used` holds the names of the variables that it mentions."""

    def __init__(self, source: str, path: str, first_line: int, allowed: Sequence[str]) -> None:
        """`first_line` (1-based) is where `source` starts in the file `path`; `allowed` are the variables there will be.

        Raises `PromptError` for bad syntax and for a variable that is not allowed, even in a branch that is not taken.
        """
        self._path, self._first_line = path, first_line
        if len(source) > MAX_CHARS:
            raise self._error(f"the template has {len(source):,} characters; {MAX_CHARS:,} are allowed.", None)
        try:
            tree = _ENVIRONMENT.parse(source)
            self._refuse_costly(tree)
            self.used = meta.find_undeclared_variables(tree)
            self._refuse_unknown(tree, allowed)
            code = _ENVIRONMENT.compile(source, filename=path)
        except PromptError:
            raise
        except TemplateSyntaxError as error:
            raise self._error(f"the template is not valid: {error.message}", error.lineno) from error
        except Exception as error:  # of Python: it is nested too deeply for the parser or compiler, or a number is too long
            raise self._error(f"the template is not valid: {_problem(error)}", None) from error
        self._template = Template.from_code(_ENVIRONMENT, code, _ENVIRONMENT.globals)

    def _refuse_costly(self, tree: nodes.Template) -> None:
        for number, node in enumerate(tree.find_all(nodes.Node)):
            if number == MAX_NODES:
                raise self._error(f"the template has more than {MAX_NODES:,} parts.", node.lineno, "Make it shorter.")
            if isinstance(node, _OF_PAGES):
                raise self._error("the template can't be rendered: it is no single, plain text.", node.lineno, _HINT_OF_PAGES)

    def _refuse_unknown(self, tree: nodes.Template, allowed: Sequence[str]) -> None:
        unknown = self.used - {*allowed, *_ENVIRONMENT.globals}
        for node in tree.find_all(nodes.Name):
            if node.name in unknown:
                raise self._error(f"there is no variable {node.name!r} here.", node.lineno, f"Known: {', '.join(allowed)}.")

    def render(self, variables: Mapping[str, Any], given: int) -> str:
        """`given` is the length of the texts among `variables`; the longer they are, the more may be done with them.

        Raises `PromptError` for anything that goes wrong.
        """
        try:
            return "".join(self._template.generate({**variables, WORK: Work(given)}))
        except Exception as error:  # a template can fail in any way that Python code can
            raise self._error(f"the template can't be rendered: {_problem(error)}", self._line_of(error)) from error

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


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or calls itself without end"
    if isinstance(error, SyntaxError):
        return error.msg  # without the line of the generated code
    if isinstance(error, ValueError) and "set_int_max_str_digits" in str(error):
        return "a number is too long"
    return str(error) or type(error).__name__
