"""Sandboxed Jinja templates: every failure is a `PromptError` with file and line.

Templates can come from strangers, so the work of a rendering is counted: a template can't take unbounded time or memory. Each
computed value costs its size (`size_of`). What could be much larger than its operands, such as a repeated or padded string, is
paid for before it is computed. Jinja computes nothing at compile time. So a rendering ends after a number of steps and
characters that is the same on each machine. Jinja's own sandbox refuses code execution.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from string import Formatter
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta, nodes, pass_context
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import _PassArg

from harness.core.errors import PromptError

MAX_CHARS = 256 * 1024  # of a template
MAX_NODES = 10_000  # of its syntax tree; compile time grows with the square
BUDGET = 5_000_000  # steps and characters of one rendering, in addition to its texts
TIMES_GIVEN = 20  # how often it may read or write its texts
WORK = "_work"  # name of a rendering's `Work` among its variables; a template can't use it
_VALUE = 16  # cost of a value in addition to its characters
_MAX_DEPTH = 20  # of nested lists
_MAX_BITS = 256  # of a whole number
_COSTLY = {"pprint", "striptags", "sum", "urlize", "wordwrap", "xmlattr"}  # time grows with the square of the input
_CHANGING = {"random"}  # the same prompt must give the same chat each time
_SHORTENING = {"d", "default", "truncate"}  # a number among their arguments makes nothing longer


class Work:
    """The remaining budget of one rendering."""

    def __init__(self, given: int) -> None:
        self.limit = self.left = BUDGET + TIMES_GIVEN * given

    def take(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise SecurityError(f"it takes more than {self.limit:,} steps and characters, the limit for one prompt")


def size_of(value: Any, room: int, *, by_value: bool = False) -> int:
    """Characters and items of `value`, nested ones included; counting ends above `room`.

    `by_value`: a number counts by its value, as a width or a number of repetitions would.
    """
    total = 0
    pending = [(value, 0)]
    while pending and total <= room:
        value, depth = pending.pop()
        total += _VALUE if depth else 0
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            if value.bit_length() > _MAX_BITS:
                raise SecurityError("a number is too large")
            total += abs(value) if by_value else 0
        elif isinstance(value, range):
            total += _VALUE * len(value)
        elif isinstance(value, list | tuple | set | frozenset | dict | KeysView | ValuesView | ItemsView):
            if depth == _MAX_DEPTH:
                raise SecurityError(f"lists are nested more than {_MAX_DEPTH} deep")
            items = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
            pending += [(item, depth + 1) for item in items]
        elif isinstance(value, bytes | bytearray | memoryview | LoopContext):
            raise SecurityError(f"a template can't use {type(value).__name__} as a value")
    return total


def _take_product(work: Work, value: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    """Pay for a result of at most the size of `value` times the size of the arguments."""
    sizes = [size_of(argument, work.left, by_value=True) for argument in (*arguments, *named.values())]
    work.take((1 + size_of(value, work.left)) * (1 + sum(sizes)))


def _take_format(work: Work, form: str, values: Any) -> None:
    """Pay for `form % values` and `form.format(values)`: each field may hold all values, and its width may be a number."""
    fields = form.count("%") + form.count("{")
    widest = max(map(int, re.findall(r"\d+", form)), default=0)
    work.take(len(form) + fields * (1 + widest + size_of(values, work.left, by_value=True)))


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that pays for its work and returns a value, not a generator."""
    kind = _PassArg.from_obj(function)

    @pass_context
    @functools.wraps(function, assigned=("__name__", "__doc__"), updated=())
    def guarded(context: Context, value: Any, *arguments: Any, **named: Any) -> Any:
        work: Work = context.parent[WORK]
        if name == "format":
            _take_format(work, str(value), (arguments, named))
        elif name not in _SHORTENING:
            _take_product(work, value, arguments, named)
        first = {None: (), _PassArg.context: (context,), _PassArg.eval_context: (context.eval_ctx,)}
        result = function(*first.get(kind, (context.environment,)), value, *arguments, **named)
        if isinstance(result, str):
            return str(result)  # not marked as HTML: that has methods of its own
        return list(result) if isinstance(result, Iterator) else result

    return guarded


class _CountingCode(CodeGenerator):
    """Generates code in which each computed value passes through `measured`; nothing is computed at compile time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._looked_into: set[int] = set()

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        if isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Call) and isinstance(node.node, nodes.Name):
            self._looked_into.add(id(node.node))  # `scale[0]` costs what it finds, not what is in `scale`
        computed = isinstance(node, nodes.Expr) and not isinstance(node, nodes.Const | nodes.TemplateData | nodes.Slice)
        stored = isinstance(node, nodes.NSRef) or getattr(node, "ctx", "load") != "load"
        if not computed or stored or id(node) in self._looked_into:
            return super().visit(node, *args, **kwargs)
        self.write("environment.measured(context, ")
        super().visit(node, *args, **kwargs)
        self.write(")")
        return None

    def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible()
        return super()._output_child_to_const(node, frame, finalize)

    def _output_const_repr(self, group: Any) -> str:
        return f"environment.measured(context, {super()._output_const_repr(group)})"


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """Jinja for prompts; `Work` must be among the variables of each rendering."""

    code_generator_class = _CountingCode
    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, optimized=False, cache_size=0
        )
        kept = {name: function for name, function in self.filters.items() if name not in _COSTLY | _CHANGING}
        self.filters = {name: _guarded(name, function) for name, function in kept.items()}
        self.globals = {"range": range}

    def measured(self, context: Context, value: Any) -> Any:
        """Pay for `value` and return it."""
        work: Work = context.parent[WORK]
        work.take(_VALUE + (len(value) if type(value) is str else size_of(value, work.left)))
        return value

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        work: Work = __context.parent[WORK]
        method = getattr(__obj, "__wrapped__", __obj)  # Jinja wraps `str.format`
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str) and method.__name__ in ("format", "format_map"):
            if any("{" in (spec or "") for _, _, spec, _ in Formatter().parse(owner)):
                raise SecurityError("a width that is itself a field is not allowed")
            _take_format(work, owner, (args, kwargs))
        elif isinstance(owner, str | int | float | list | tuple | dict):
            _take_product(work, owner, args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        work: Work = context.parent[WORK]
        if operator == "%" and isinstance(left, str):
            _take_format(work, left, right)
        elif operator == "*" and not (isinstance(left, int | float) and isinstance(right, int | float)):
            times, repeated = (left, right) if isinstance(left, int) else (right, left)
            _take_product(work, repeated, (times,), {})
        elif operator == "**" and isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _MAX_BITS:
            raise SecurityError("a number is too large")
        return super().call_binop(context, operator, left, right)


_OF_PAGES = nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends | nodes.Block | nodes.ScopedEvalContextModifier
_HINT_OF_PAGES = "Leave out include, import, extends, block and autoescape."

_ENVIRONMENT = PromptEnvironment()


class SafeTemplate:
    """A compiled template. `used`: the names of its variables."""

    def __init__(self, source: str, path: str, first_line: int, allowed: Sequence[str]) -> None:
        """`first_line` (1-based): where `source` starts in the file `path`.

        Raises `PromptError` for bad syntax and for a variable that is not in `allowed`, even in a branch that is not taken.
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
        except Exception as error:  # Python's own: too deep nesting for the parser or compiler, or too long a number
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
        """`given`: the length of the texts among `variables`; the budget grows with it. Raises `PromptError` for any
        failure."""
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
