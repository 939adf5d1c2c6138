"""The options of a command, made from the fields of `RunOptions` and `ExecutionOptions`.

A command declares by hand only what is its own:

    @takes_run_options(but=("split",))
    def my_command(asked: Asked, execution: ExecutionOptions, trials: Trials = 10, as_json: Json = False) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import verbosity
from harness.core.options import (
    ExecutionOptions,
    RunOptions,
    all_fields,
    metavar_of,
    option_name,
    takes_several,
    variable_name,
)
from harness.core.places import folder_of
from harness.specs.asked import Asked, read_option

SHORT = {"quiet": "-q", "verbose": "-v"}
COMPLETED = {"backend": "backend", "task": "task", "prompt": "prompt", "continue_from": "run"}
"""Options whose values the shell completes, and the kind of name in the catalog."""


def option(name: str, description: str = "", *, has_variable: bool = True, is_place: bool = False) -> Any:
    """The option of that field, for `Annotated`. With a variable it also takes its default from bench.toml. `is_place`: a
    folder that may be given as a URL."""
    field = all_fields()[name]
    flags = [option_name(name), *([SHORT[name]] if name in SHORT else [])]
    return typer.Option(
        *flags,
        metavar=metavar_of(field) or None,
        help=description or field.description,
        envvar=variable_name(name) if has_variable else None,
        show_envvar=False,
        parser=folder_of if is_place else None,
        autocompletion=completion(COMPLETED[name]) if name in COMPLETED else None,
    )


def completion(kind: str) -> Callable[[str], list[str]]:
    """For the shell: the names of that kind (`run`: of the recorded runs in results/)."""

    def names(incomplete: str) -> list[str]:
        from harness.core.errors import BenchError
        from harness.records.store import Store
        from harness.specs.catalog import Catalog

        before, comma, last = incomplete.rpartition(",")
        try:
            found = Store(Path("results") / "runs").ids() if kind == "run" else Catalog(Path.cwd()).names(kind)  # type: ignore[arg-type]
        except BenchError:
            return []
        return [f"{before}{comma}{name}" for name in found if name.startswith(last)]

    return names


def takes_run_options(
    *only: str,
    but: Collection[str] = (),
    help: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    explicit: Collection[str] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of both models: all, those of `only`, or all `but` some.

    The command gets `asked` with what was given for a run, and `execution`. `help` replaces descriptions and `defaults` default
    values; None as a default leaves an option without any. Options in `explicit` are read from the command line only.
    """
    chosen = [name for name in all_fields() if (name in only if only else name not in but)]
    described, replaced = help or {}, defaults or {}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name not in ("asked", "execution")]
        parameters = {
            name: _parameter(name, described.get(name, ""), replaced, has_variable=name not in explicit) for name in chosen
        }

        def called(**given: Any) -> None:
            read = {name: read_option(name, given[name]) for name in chosen if given[name] not in (None, [], False)}
            execution = ExecutionOptions(
                **{name: value for name, value in read.items() if name in ExecutionOptions.model_fields}
            )
            asked = Asked({name: value for name, value in read.items() if name in RunOptions.model_fields})
            verbosity.begin(execution.quiet, execution.verbose)
            command(asked=asked, execution=execution, **{p.name: given[p.name] for p in own})

        first = [parameters[name] for name in chosen if name in RunOptions.model_fields]
        last = [parameters[name] for name in chosen if name in ExecutionOptions.model_fields]
        mine, json = [p for p in own if p.name != "as_json"], [p for p in own if p.name == "as_json"]
        ordered = [p.replace(kind=p.KEYWORD_ONLY) for p in (*first, *mine, *last, *json)]
        called.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in ordered}
        called.__doc__ = command.__doc__
        return called

    return decorate


def _parameter(name: str, description: str, defaults: Mapping[str, Any], *, has_variable: bool) -> inspect.Parameter:
    """Values are read as text and checked by the models, so that a flag, a variable and bench.toml meet the same rules."""
    field = all_fields()[name]
    default = defaults.get(name, field.default)
    kind: Any = bool if field.annotation is bool else list[str] | None if takes_several(field) else str | None
    shown: Any = default if kind is bool else None
    if kind is not bool and default not in (None, "", (), {}):
        values = default if isinstance(default, tuple) else (default,)
        shown = list(map(str, values)) if takes_several(field) else str(default)
    declared = Annotated[kind, option(name, description, has_variable=has_variable)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=declared)
