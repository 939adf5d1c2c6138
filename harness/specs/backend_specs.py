"""Named backends: one YAML each, a configuration of an engine. Engines are found through entry points."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from harness.core.errors import MissingExtra, UnknownName, UserError
from harness.core.types import Date
from harness.models.checkpoints import Checkpoint, resolve_checkpoint
from harness.specs.costs import Price
from harness.specs.search_space import Parameter
from harness.specs.yamlspec import Spec, load_yaml_spec, validate_options

if TYPE_CHECKING:
    from harness.core.engine import Engine


@cache
def entry_points(*, group: str) -> metadata.EntryPoints:
    """What is installed does not change during a command, and each look at all distributions takes 10 ms or more."""
    return metadata.entry_points(group=group)


class BackendSpec(Spec):
    """One file in `backends/`."""

    name: str = Field(description="the file's name, without `.yaml`")
    engine: str = Field(
        description="baseline, encoder, embedding, setfit, zero_shot, causal_lm, causal_lm_lora, vllm, openai, decisions, or "
        "an engine that a plugin adds"
    )
    description: str = Field("", description="what it is, in a sentence, for `bench list backends`")
    model: str | None = Field(
        None, description="hub id (`org/name`, `org/name@revision`), local path, `packaged:NAME`, or a server's name for it"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    languages: list[str] = Field([], description="languages the model was made for; empty: many. For the reader only")
    training_cutoff: Date | None = Field(
        None, description="where the model's training data ends (at the latest): a year, month or day, such as 2024-06"
    )
    shut_down: date | None = Field(None, description="the day on which the server's model is shut down, as its operator says")
    price: Price | None = Field(None, description="of a server that prices.yaml does not know: US dollars per million tokens")
    options: dict[str, Any] = Field({}, description="options of the engine; see its reference")
    search: dict[str, Parameter] = Field({}, description="for `bench study tune`: dotted name of an option -> values to try")


def shut_down_words(spec: BackendSpec) -> str | None:
    """When the model of a backend is shut down, as a sentence without its end; None where nothing is said of it."""
    return None if spec.shut_down is None else f"{spec.name}: its model is shut down on {spec.shut_down}"


def load_backend(path: Path) -> BackendSpec:
    return load_yaml_spec(path, BackendSpec, name=path.stem)


def with_settings(spec: BackendSpec, settings: Mapping[str, Any]) -> BackendSpec:
    """The backend with changed options: `{"train.lr": 3e-5}` sets `lr` under `train`."""
    options: dict[str, Any] = copy.deepcopy(spec.options)
    for path, value in settings.items():
        *above, last = path.split(".")
        inner = options
        for key in above:
            if inner.get(key) is None:
                inner[key] = {}
            inner = inner[key]
            if not isinstance(inner, dict):
                raise UserError(f"The setting {path!r}: {key!r} has no options inside.", f"Set {key!r} itself.")
        inner[last] = value
    return spec.model_copy(update={"options": options})


def engine_class(name: str) -> type[Engine]:
    """The class of an engine. Raises `UserError` if there is none, or if its module can't be imported."""
    found = {point.name: point for point in entry_points(group="bench.engines")}
    if name not in found:
        raise UnknownName("engine", name, found)
    try:
        loaded: type[Engine] = found[name].load()
    except ImportError as error:
        raise UserError(f"The engine {name!r} can't be imported: {error}.", "Install what it needs.") from error
    return loaded


def checkpoint_of(spec: BackendSpec) -> Checkpoint | None:
    """The weights of the backend's model, downloaded if necessary; None for an engine without weights.

    Raises `UserError` if no model is named, `ModelUnavailable` if the weights are not available.
    """
    cls = engine_class(spec.engine)
    for library in cls.libraries:  # before a download
        if find_spec(library) is None:
            raise MissingExtra(library, cls.extra, f"The {spec.engine} engine")
    if cls.model_is != "checkpoint":
        return None
    if spec.model is None:
        raise UserError(f"Backend {spec.name!r} names no model.", "Add `model:` to its YAML, or pass --model PATH.")
    return resolve_checkpoint(spec.model, spec.revision)


def open_engine(spec: BackendSpec, checkpoint: Checkpoint | None) -> Engine:
    """An engine with nothing loaded yet. Raises `UserError` for unknown options."""
    return engine_class(spec.engine)(validated_options(spec), checkpoint.folder if checkpoint else spec.model)


def unopened_engine(spec: BackendSpec) -> Engine:
    """An engine that has its options alone and can't be loaded: without its checkpoint, and without asking the device what it
    can do. Raises `UserError` for unknown options."""
    kind = engine_class(spec.engine)
    engine = kind.__new__(kind)
    engine.options = validated_options(spec)
    return engine


def validated_options(spec: BackendSpec) -> BaseModel:
    """The options with their defaults. Raises `UserError` for unknown ones."""
    return validate_options(spec.options, engine_class(spec.engine).Options, f"Backend {spec.name!r}, options")
