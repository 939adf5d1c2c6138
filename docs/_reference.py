"""Write docs/reference/ from the code: `make reference`. A test fails if the pages do not match the code."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import typer
import yaml
from _reference_markdown import NOTICE, cell, joined, prose, table
from _reference_python import python_page
from pydantic import BaseModel

from harness.cli import app
from harness.core.options import all_fields, key_name, option_name, variable_name
from harness.specs.backend_specs import BackendSpec, engine_class
from harness.specs.prices import PriceFile
from harness.specs.prompts import PromptSpec
from harness.specs.recipes import Recipe
from harness.specs.reported import Reported
from harness.specs.tasks import TaskSpec

FOLDER = Path(__file__).parent / "reference"
NOT_IN_FILE = ("name", "folder")
"""Fields derived from the path of a file."""
NAMED = (TaskSpec, BackendSpec, Recipe, Reported)

FILES: dict[str, tuple[type[BaseModel], str]] = {
    "Task": (TaskSpec, "`tasks/NAME.yaml` ([how to add one](../tasks.md))"),
    "Backend": (BackendSpec, "`backends/NAME.yaml` ([how to add one](../backends.md))"),
    "Prompt": (PromptSpec, "The front matter of `prompts/NAME.j2` ([how to add one](../prompts.md))"),
    "Recipe": (Recipe, "`recipes/NAME.yaml` ([how to write one](../recipes.md#writing-one))"),
    "Prices": (PriceFile, "`prices.yaml` in your project folder ([what it is for](../price.md#prices))"),
    "Reported figures": (Reported, "`results/reported/NAME.yaml` ([what they are](../recipes.md#reported-figures))"),
}
TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "nothing"}
PLAIN = ("text", "number", "whole number")
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def pages() -> dict[str, str]:
    """File name -> text of every page of the reference."""
    return {"cli.md": cli_page(), "options.md": options_page(), "yaml.md": yaml_page(), "python.md": python_page()}


# The command line


def cli_page() -> str:
    root = typer.main.get_command(app)
    parts = [
        "# Command line",
        NOTICE,
        "`bench COMMAND --help` prints the same. Every command has `--json`; `bench --version` prints the version.",
        *_exit_codes(),
    ]
    for name, command in _commands(root, ""):
        parts += _command(name, command)
    return joined(parts)


def _exit_codes() -> list[str]:
    rows = [
        ("0", "done"),
        ("1", "a run failed or is not finished, or `--check` found a stale leaderboard"),
        ("2", "a mistake in the command or in a file; the message names it and the way out"),
        ("130, 143, 129", "Ctrl-C, SIGTERM, SIGHUP; repeat the command to resume"),
    ]
    return ["## Exit codes", table(("code", "meaning"), rows)]


def _commands(command: Any, above: str) -> Iterable[tuple[str, Any]]:
    for name, inner in command.commands.items():
        if inner.hidden:
            continue
        if hasattr(inner, "commands"):
            if inner.invoke_without_command:
                yield f"{above}{name}", inner
            yield from _commands(inner, f"{above}{name} ")
        else:
            yield f"{above}{name}", inner


def _command(name: str, command: Any) -> list[str]:
    context = command.make_context(f"bench {name}", [], resilient_parsing=True)
    usage = " ".join([f"bench {name}", *command.collect_usage_pieces(context)])
    parts = [f"## bench {name}", f"```text\n{usage}\n```", *_paragraphs(command.help or "")]
    for kind in ("argument", "option"):
        params = [param for param in command.params if param.param_type_name == kind and not param.hidden]
        rows = [_parameter(param.get_help_record(context)) for param in params if "--help" not in param.opts]
        parts += [table((kind, "default", ""), rows)] if rows else []
    return parts


def _parameter(record: tuple[str, str]) -> tuple[str, str, str]:
    """Name, default and description, from the line of `--help`."""
    spelled, text = record
    found = re.fullmatch(
        r"(?P<text>.*?)(?:  )?\[(?P<extra>(?:[^\[\]]*; )?(?:default: .*|required|[x\d.<>=]+))\]", text, re.DOTALL
    )
    if found is None:
        return cell(f"`{spelled}`"), "", cell(text)
    extras = found["extra"].split("; ")
    default = next((f"`{extra.removeprefix('default: ')}`" for extra in extras if extra.startswith("default: ")), "")
    others = "; ".join(extra.replace(">=", " ≥ ").replace("<=", " ≤ ") for extra in extras if not extra.startswith("default: "))
    return cell(f"`{spelled}`"), default, cell(found["text"]) + (f" ({others})" if others else "")


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a docstring, with --json marked as code."""
    found = [prose(paragraph) for paragraph in inspect.cleandoc(text).split("\n\n")]
    return [re.sub(r"^--json", "**`--json`**", paragraph) for paragraph in found]


# Options


def options_page() -> str:
    commands = {name: {p.name: p for p in command.params} for name, command in _commands(typer.main.get_command(app), "")}
    rows = []
    for name, field in all_fields().items():
        variable = variable_name(name)
        having = [command for command, params in commands.items() if getattr(params.get(name), "envvar", None) == variable]
        spelled = [f"`{option_name(name)}`", f"`{variable}`", f"`{key_name(name)}`"]
        rows.append((*spelled, cell(field.description or ""), ", ".join(f"`{command}`" for command in having)))
    return joined(
        [
            "# Options",
            NOTICE,
            "Options that mean the same in every command. The command line wins over the environment variable, that "
            "over `bench.toml` in the working folder, and that over the default. In `bench.toml` an option that takes several "
            "values takes one value or a list, and `set` is a table:",
            '```toml\ntask = "tickets"\nlang = ["en", "ja"]\nseed = [0, 1, 2]\n\n[set]\n"train.lr" = 3e-5\n```',
            "[Recipes](../recipes.md) have the same keys, up to `data`, except `continue_from`. `bench study recipe` takes "
            "what changes its runs from the command line only, so that a default never changes a recipe.",
            table(("option", "variable", "key", "", "commands"), rows),
        ]
    )


# YAML files


def yaml_page() -> str:
    parts = [
        "# YAML files",
        NOTICE,
        "The keys of the files of a project. An unknown key, a missing key and an invalid value are errors that name "
        "the file, the line, the value and what is allowed. A key without a default is required.",
    ]
    for title, (model, where) in FILES.items():
        parts += [f"## {title}", f"{where}.", *_model(model, title)]
        if model is BackendSpec:
            parts += _engines()
    return joined(parts)


def _engines() -> list[str]:
    """The `options` of every engine that comes with bench."""
    found = [point for point in entry_points(group="bench.engines") if point.value.startswith("backends.")]
    parts = []
    for point in sorted(found, key=lambda point: point.name):
        engine = engine_class(point.name)
        title = f"Options of the engine {point.name}"
        parts += [f"## {title}", f"Keys under `options:` of a backend with `engine: {point.name}`."]
        parts += _model(engine.Options, title)
    return parts


def _model(model: type[BaseModel], title: str) -> list[str]:
    """A table for the model, and one for each model inside it."""
    schema = model.model_json_schema()
    top = {key: value for key, value in schema["properties"].items() if key not in NOT_IN_FILE or model not in NAMED}
    parts = [_fields({**schema, "properties": top}, title)]
    for name, inner in schema.get("$defs", {}).items():
        if "properties" in inner:
            parts += [f"### {_heading(name, title)}", *_described(inner), _fields(inner, title)]
    return parts


def _described(schema: Mapping[str, Any]) -> list[str]:
    return [prose(schema["description"])] if "description" in schema else []


def _fields(schema: Mapping[str, Any], title: str) -> str:
    required = schema.get("required", [])
    rows = [
        (
            f"`{name}`",
            cell(_type(field, title)),
            "" if name in required else _default(field),
            cell(field.get("description", "")),
        )
        for name, field in schema["properties"].items()
    ]
    return table(("key", "type", "default", ""), rows)


def _type(field: Mapping[str, Any], title: str) -> str:
    """`text`, `list of whole number`, `a or b`: a JSON schema in words."""
    if "$ref" in field:
        return _referred(field["$ref"].rpartition("/")[2], title)
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(dict.fromkeys(_type(option, title) for option in field[key] if option.get("type") != "null"))
    if "allOf" in field:
        return _type(field["allOf"][0], title)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        item = _type(field.get("items", {}), title)
        return f"list of {item}s" if item in PLAIN else f"list of {item}"
    if field.get("type") == "object":
        inside = field.get("additionalProperties")
        return f"key → {_type(inside, title)}" if isinstance(inside, dict) and inside else "keys and values"
    limits = [f"{sign} {field[key]:g}" for key, sign in LIMITS.items() if key in field]
    return " ".join([TYPES.get(field.get("type", ""), "any value"), *limits])


def _referred(name: str, title: str) -> str:
    definition = _definitions(title).get(name, {})
    if "enum" in definition:
        return ", ".join(f"`{value}`" for value in definition["enum"])
    return f"[{name}](#{_anchor(_heading(name, title))})"


def _definitions(title: str) -> Mapping[str, Any]:
    engine = title.removeprefix("Options of the engine ")
    model = FILES[title][0] if title in FILES else engine_class(engine).Options
    found: Mapping[str, Any] = model.model_json_schema().get("$defs", {})
    return found


def _heading(name: str, title: str) -> str:
    """Two kinds of files may have different models of the same name."""
    return f"{name}, {title[:1].lower()}{title[1:]}"


def _anchor(heading: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def _default(field: Mapping[str, Any]) -> str:
    if "default" not in field:  # a default factory
        return "empty" if field.get("type") in ("array", "object") else "its own"
    value = field["default"]
    if value is None:
        return "none"
    if isinstance(value, dict) and value:
        return "its own"
    if value in ("", [], {}):
        return "empty"
    return f"`{yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10)).strip()}`"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"written: docs/reference/{name}\n")


if __name__ == "__main__":
    main()
