"""JSON Schemas of the files that bench reads and of the records that it writes, made from their models.

A first line in a YAML names its schema, relative to the file: `# yaml-language-server: $schema=../schemas/task.json`
"""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from typing import Any, Literal, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from harness.core.options import RunOptions
from harness.core.record import RunRecord
from harness.specs.asked import ProjectFile
from harness.specs.backend_specs import BackendSpec, engine_class
from harness.specs.prices import PriceFile
from harness.specs.prompts import PromptSpec
from harness.specs.recipes import Recipe
from harness.specs.reported import Reported
from harness.specs.tasks import TaskSpec

Form = Literal["task", "backend", "prompt", "recipe", "prices", "reported", "bench", "options", "record"]
FORMS: tuple[Form, ...] = get_args(Form)
DRAFT = "http://json-schema.org/draft-07/schema#"
_NOT_IN_FILE = frozenset({"name", "folder"})  # taken from the file's path


class _Plain(GenerateJsonSchema):
    """Without titles such as `Drop Empty Text` for `drop_empty_text`."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_of(form: Form) -> dict[str, Any]:
    """The JSON schema of one kind of file; for a prompt, of its front matter."""
    models: dict[Form, tuple[type[BaseModel], str]] = {
        "task": (TaskSpec, "A task of bench: tasks/NAME.yaml"),
        "backend": (BackendSpec, "A backend of bench: backends/NAME.yaml"),
        "prompt": (PromptSpec, "The front matter of a prompt of bench: prompts/NAME.j2"),
        "recipe": (Recipe, "A recipe of bench: recipes/NAME.yaml"),
        "prices": (PriceFile, "What machines and tokens cost: prices.yaml"),
        "reported": (Reported, "Figures that others published: results/reported/NAME.yaml"),
        "bench": (ProjectFile, "Defaults of options for one folder: bench.toml"),
        "options": (RunOptions, "What one run is asked to do"),
        "record": (RunRecord, "A run's record: run.json, with metrics.json under `metrics`"),
    }
    model, title = models[form]
    schema = model.model_json_schema(schema_generator=_Plain)
    for name in _NOT_IN_FILE & schema["properties"].keys() if form != "prompt" else ():
        del schema["properties"][name]
        schema["required"] = [other for other in schema.get("required", []) if other != name]
    if form == "backend":
        _add_options(schema)
    if "ParserSpec" in schema.get("$defs", {}):
        whole = schema["$defs"]["ParserSpec"]
        schema["$defs"]["ParserSpec"] = {"anyOf": [whole, {k: whole["properties"]["type"][k] for k in ("enum", "type")}]}
    plain: dict[str, Any] = _for_draft_7(schema)
    return {"$schema": DRAFT, **plain, "title": title}


def schema_text(form: Form) -> str:
    """The content of the schema's file."""
    return json.dumps(schema_of(form), indent=1, ensure_ascii=False) + "\n"


def undescribed(form: Form) -> list[str]:
    """Fields without a description, as `Model.field`."""
    schema = schema_of(form)
    found = []
    for name, part in {form: schema, **schema.get("definitions", {})}.items():
        found += [f"{name}.{field}" for field, content in part.get("properties", {}).items() if "description" not in content]
    return found


def _add_options(schema: dict[str, Any]) -> None:
    """Let `engine` determine the schema of `options`, for the engines of bench."""
    rules = []
    ours = sorted(point.name for point in entry_points(group="bench.engines") if point.value.startswith("backends."))
    for engine in ours:
        options = engine_class(engine).Options.model_json_schema(
            ref_template=f"#/$defs/{engine}.{{model}}", schema_generator=_Plain
        )
        inner = options.pop("$defs", {})
        schema.setdefault("$defs", {}).update({f"{engine}.{name}": part for name, part in inner.items()})
        schema["$defs"][f"{engine}.options"] = options
        chosen = {"properties": {"engine": {"const": engine}}, "required": ["engine"]}
        rules.append({"if": chosen, "then": {"properties": {"options": {"$ref": f"#/$defs/{engine}.options"}}}})
    schema["properties"]["engine"]["examples"] = ours
    schema["allOf"] = rules


def _for_draft_7(part: Any) -> Any:
    """`definitions` for `$defs`, and nothing beside a `$ref`, as Draft 7 has it."""
    if isinstance(part, list):
        return [_for_draft_7(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {("definitions" if key == "$defs" else key): _for_draft_7(value) for key, value in part.items()}
    if isinstance(found.get("$ref"), str):
        reference = {"$ref": found.pop("$ref").replace("#/$defs/", "#/definitions/")}
        found = {**found, "allOf": [reference]} if found else reference
    return found
