"""From a command's options to the runs that it asks for: what `bench run` and its like share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.cli import verbosity
from harness.cli.options import Many, names, plain

if TYPE_CHECKING:
    from harness.core.options import RunOptions
    from harness.records.store import Store
    from harness.specs.catalog import Catalog

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


def settings_from(values: Many) -> dict[str, Any]:
    """`--set train.lr=3e-5 --set train.optimizer=sam`; a value is read as YAML, and 3e-5 as the number that it is."""
    import yaml

    from harness.core.errors import UserError
    from harness.specs.yamlspec import load_yaml

    found: dict[str, Any] = {}
    for text in values or ():
        key, is_pair, value = text.partition("=")
        if not is_pair or not re.fullmatch(r"\w[\w.-]*", key):
            raise UserError(f"--set {text}: that is not KEY=VALUE.", "For example: --set train.lr=3e-5")
        try:
            _, read = load_yaml(value)
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(f"--set {text}: the value can't be read as YAML.", "Put it between quotes.") from error
        if isinstance(read, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", read):
            read = float(read)  # YAML 1.1 wants a point before the e
        found[key] = read
    return found


def trained_by(store: Store, part: str) -> str:
    """The key of the model that a run trained. Raises `UserError` where there is no such run, or it trained none."""
    from harness.core.errors import UserError

    name = store.find(part)
    identity = store.record(name).identity
    if identity.train is None:
        raise UserError(f"The run {name} trained no model.", "Name a run of a backend that trains.")
    return identity.trained_key


def backends(known: Catalog, values: Many) -> list[str]:
    from harness.core.errors import UserError

    wanted = names(values, "--backend")
    if not wanted:
        raise UserError("Which backend? Name one or more with --backend.", f"Known: {', '.join(known.names('backend'))}.")
    for name in wanted:
        known.backend(name)
    return wanted


def task_or_default(known: Catalog, task: str | None) -> str:
    """The task that is named; else the only one of the user's own, or the demo where there is none. Raises `UserError` where
    there are several."""
    from harness.core.errors import UserError

    if task is not None:
        return task
    own = known.own_tasks()
    if len(own) > 1:
        raise UserError("Which task? Name it with --task.", f"Yours, in tasks/: {', '.join(own)}.")
    if not own:
        return "reviews_demo"
    verbosity.note(plain(f"note: no --task, so it is {own[0]}, the only one in tasks/."))
    return own[0]


def member(kind: type[E], name: str) -> E:
    from harness.core.errors import UnknownName

    if name not in list(kind):
        raise UnknownName(kind.__name__.lower(), name, list(kind))
    return kind(name)


def seeds(values: Many) -> list[int]:
    from harness.core.errors import UserError

    texts = names(values, "--seed") or ["0"]
    for text in texts:
        if not (text.isascii() and text.isdigit() and int(text) < 2**32):
            raise UserError(f"--seed {text}: a seed is a whole number.", f"Choose from 0 to {2**32 - 1}.")
    return list(dict.fromkeys(map(int, texts)))


def check_split(split: str) -> None:
    from harness.core.errors import UserError

    if split not in ("test", "validation"):
        raise UserError(f"--split {split}: there is no such split to predict.", "Choose test or validation.")


def for_models(known: Catalog, backend: str, values: Sequence[T]) -> Sequence[T | None]:
    """Prompts and decodings multiply the runs of language models only."""
    return values if values and is_prompted(known, backend) else [None]


def is_prompted(known: Catalog, backend: str) -> bool:
    from harness.core.engine import LanguageModel
    from harness.specs.backend_specs import engine_class

    return issubclass(engine_class(known.backend(backend).engine), LanguageModel)


def loads_model(known: Catalog, backend: str) -> bool:
    from harness.specs.backend_specs import engine_class

    return engine_class(known.backend(backend).engine).model_is != "nothing"


def check_model(known: Catalog, backends: Sequence[str], model: str | None) -> None:
    """One checkpoint for two backends would rank a model under the other's name."""
    from harness.core.errors import UserError
    from harness.specs.backend_specs import engine_class

    if model is None:
        return
    loading = [name for name in backends if loads_model(known, name)]
    if not loading:
        raise UserError(f"--model {model}: {', '.join(backends)} loads no model.", "Leave --model out.")
    if len(loading) > 1:
        raise UserError(f"--model names one checkpoint, and {', '.join(loading)} each load one.", "Give a command for each.")
    is_file = engine_class(known.backend(loading[0]).engine).model_is == "checkpoint"
    if is_file and model.startswith((".", "/")) and not Path(model).is_dir():
        raise UserError(
            f"--model {model}: there is no such folder.",
            "Give the folder that holds config.json, *.safetensors and the tokenizer's files, or a model of the hub.",
        )


def check_fit(known: Catalog, requests: Sequence[RunOptions], prompts: Sequence[str]) -> None:
    """A slip in the last name is found before the first model trains."""
    from harness.core.errors import UnknownName, UserError

    for name in prompts:
        known.prompt(name)
    for request in requests:
        task = known.task(request.task)
        for language in (request.lang, *request.train_lang, *request.validation_lang):
            if language not in task.languages:
                raise UnknownName(f"language of the task {task.name!r}", language, task.languages)
        if request.prompt and task.labels.kind not in known.prompt(request.prompt).spec.kinds:
            kinds = ", ".join(known.prompt(request.prompt).spec.kinds)
            fitting = [name for name in known.names("prompt") if task.labels.kind in known.prompt(name).spec.kinds]
            raise UserError(
                f"The prompt {request.prompt!r} is for {kinds} tasks, and {task.name!r} is {task.labels.kind}.",
                f"These fit: {', '.join(fitting) or 'none'}.",
            )


def check_priced(known: Catalog, backends: Sequence[str], max_cost: float, model: str | None = None) -> None:
    """A budget that nothing is counted against would be a false comfort."""
    from harness.core.errors import UserError
    from harness.specs.backend_specs import engine_class

    served = [name for name in backends if engine_class(known.backend(name).engine).model_is == "name"]
    unpriced = [name for name in served if known.prices.filled(known.backend(name), model).price is None]
    if unpriced:
        hint = "Add its model to `models:` in prices.yaml in your folder: US dollars per million tokens (docs/price.md)."
        raise UserError(f"--max-cost {max_cost:g}: {', '.join(unpriced)} has no price to count.", hint)
    if not served:
        verbosity.note(f"note: --max-cost changes nothing here: none of {', '.join(backends)} is a server.")


def note_unused(
    known: Catalog, backends: Sequence[str], of_models: Mapping[str, object], of_classifiers: Mapping[str, object]
) -> None:
    """Say which options change nothing, as no backend of the command uses them."""
    prompted = [is_prompted(known, name) for name in backends]
    for given, what, used in (
        (of_models, "a language model", any(prompted)),
        (of_classifiers, "a backend that trains", not all(prompted)),
    ):
        for option in [name for name, value in given.items() if value and not used]:
            verbosity.note(f"note: --{option.replace('_', '-')} changes nothing here: none of {', '.join(backends)} is {what}.")
