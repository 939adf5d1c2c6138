"""What a command, a recipe or bench.toml asks for: fields of `RunOptions`, with several values where an option takes several.

An option is read and checked here, whatever it was written in, and several values become one `RunOptions` for each combination.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import product
from operator import or_
from pathlib import Path
from types import GenericAlias, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from harness.core.errors import UnknownName, UserError
from harness.core.options import (
    SCIENTIFIC,
    RunOptions,
    all_fields,
    is_many,
    key_name,
    option_name,
    setting_text,
    takes_several,
)
from harness.core.shard import ShardField
from harness.specs.executors import ExecutorTables

if TYPE_CHECKING:
    from harness.core.engine import Engine
    from harness.specs.catalog import Catalog

ORDER = ("task", "backend", "seed", "prompt", "decoding", "calibration", "shots", "shots_by", "decision", "limit", "lang")
"""Of the combinations. Languages change fastest, so that a model is loaded once for all of them."""
FOR_PROMPTED = ("prompt", "decoding", "calibration", "shots", "shots_by")
FOR_EXAMPLES = {"train_limit", "resample_train"}
FOR_TRAINED = (
    *("train_lang", "validation_lang", "continue_from", "train_limit", "resample_train", "validation_limit"),
    *("labels_from", "soft_labels"),
)


@dataclass(frozen=True)
class Asked:
    """`values`: what was given, by field of `RunOptions`; a list where the option takes several values."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def many(self, name: str) -> list[Any]:
        """All values of an option; empty where it was not given."""
        return list(self.values.get(name) or ())

    def one(self, name: str) -> Any:
        """The only value of an option, or its default. Raises `UserError` for several."""
        found = self.values.get(name)
        if found is None:
            return RunOptions.model_fields[name].default
        if is_many(RunOptions.model_fields[name]):
            if len(found) > 1:
                raise UserError(f"{option_name(name)}: expected one value, got {len(found)}.", "Run a command for each.")
            return found[0]
        return found

    def changed(self, **values: Any) -> Asked:
        return Asked({**self.values, **values})

    def over(self, other: Asked) -> Asked:
        """These values, and those of `other` for what is not given here. Settings are joined one by one."""
        settings = {**other.values.get("settings", {}), **self.values.get("settings", {})}
        return Asked({**other.values, **self.values, **({"settings": settings} if settings else {})})

    def base(self, **values: Any) -> RunOptions:
        """The options that all runs share, with `values` for the others."""
        shared = {name: value for name, value in self.values.items() if not is_many(RunOptions.model_fields[name])}
        return RunOptions(**{**shared, **values})

    def runs(self, catalog: Catalog) -> list[RunOptions]:
        """A run for each combination. Options that a backend does not use are left out of its runs, and multiply none.

        Raises `UserError` for a name that does not exist and for options that do not fit together.
        """
        backends = self.many("backend")
        for name in self.many("prompt"):  # also where no backend of the command is prompted
            catalog.prompt(name)
        check_data(self.values.get("data"))
        check_model(catalog, backends, self.values.get("model"))
        if self.values.get("resample_train") and self.values.get("train_limit") is None:
            raise UserError("--resample-train needs --train-limit.", "Say how many rows each seed draws: --train-limit N.")
        if self.values.get("soft_labels") and self.values.get("labels_from") is None:
            raise UserError("--soft-labels needs --labels-from.", "Name the labelling whose probabilities are the targets.")
        found = []
        for task, backend in product(self.many("task"), backends):
            values = {name: value for name, value in self.values.items() if name not in unused_by(catalog, backend)}
            values |= {"task": [task], "backend": [backend], "lang": self.many("lang") or catalog.task(task).languages}
            names = [name for name in ORDER if name in values]
            shared = Asked(values)
            found += [
                shared.base(**dict(zip(names, chosen, strict=True))) for chosen in product(*(values[name] for name in names))
            ]
        check_fit(catalog, found)
        return [_without_pool(catalog, run) for run in found]


# What fits


def engine_of(catalog: Catalog, backend: str) -> type[Engine]:
    from harness.specs.backend_specs import engine_class

    return engine_class(catalog.backend(backend).engine)


def is_prompted(catalog: Catalog, backend: str) -> bool:
    from harness.core.engine import LanguageModel

    return issubclass(engine_of(catalog, backend), LanguageModel)


def is_trained(catalog: Catalog, backend: str) -> bool:
    """Whether its runs train. Neither trained nor prompted are zero-shot classifiers, both are trained language models."""
    from harness.core.engine import Classifier, TrainedLanguageModel

    return issubclass(engine_of(catalog, backend), Classifier | TrainedLanguageModel)


def check_trained_classifier(catalog: Catalog, backend: str, where: str) -> None:
    """Raise `UserError` for a backend that can't be trained on this and that for a study. `where`: `--encoder NAME`."""
    if not is_trained(catalog, backend):
        raise UserError(f"{where}: this backend is not trained.", "Choose one that trains.")
    if is_prompted(catalog, backend):
        raise UserError(
            f"{where}: this is a language model that is trained, and studies train classifiers.",
            "Choose a classifier, or train it with `bench run`.",
        )


def unused_by(catalog: Catalog, backend: str) -> set[str]:
    """Options that change nothing in a run of this backend."""
    trained = is_trained(catalog, backend)
    unused = {*(() if is_prompted(catalog, backend) else FOR_PROMPTED), *(() if trained else FOR_TRAINED)}
    if is_prompted(catalog, backend):
        unused -= FOR_EXAMPLES
    return unused | ({"model"} if engine_of(catalog, backend).model_is == "nothing" else set())


def _without_pool(catalog: Catalog, run: RunOptions) -> RunOptions:
    """Without the options that say which rows few-shot examples come from, where there are no examples.

    A language model that is trained draws its training rows by them.
    """
    prompted_only = is_prompted(catalog, run.backend) and not is_trained(catalog, run.backend)
    if not prompted_only or not FOR_EXAMPLES & run.model_fields_set:
        return run
    name = run.prompt or catalog.task(run.task).default_prompt
    shots = catalog.prompt(name, run.lang).spec.shots if run.shots is None else run.shots
    defaults = {option: RunOptions.model_fields[option].default for option in FOR_EXAMPLES}
    return run if shots else RunOptions(**{k: getattr(run, k) for k in run.model_fields_set if k not in defaults})


def check_data(data: Path | None) -> None:
    """Raise `UserError` for a folder that does not exist: once, and not for every language."""
    if data is not None and not data.is_dir():
        raise UserError(f"--data {data}: no such folder.", "It must hold the files of the splits. See `bench run --help`.")


def check_model(catalog: Catalog, backends: Sequence[str], model: str | None) -> None:
    """One checkpoint for two backends would rank a model under the other's name."""
    if model is None:
        return
    loading = [name for name in backends if engine_of(catalog, name).model_is != "nothing"]
    if not loading:
        raise UserError(f"--model {model}: {', '.join(backends)} loads no model.", "Remove --model.")
    if len(loading) > 1:
        raise UserError(f"--model names one checkpoint, but {', '.join(loading)} each load one.", "Run a command for each.")
    is_file = engine_of(catalog, loading[0]).model_is == "checkpoint"
    if is_file and model.startswith((".", "/")) and not Path(model).is_dir():
        raise UserError(
            f"--model {model}: no such folder.",
            "Name a folder with config.json, *.safetensors and the tokenizer's files, or a model of the hub.",
        )


def check_fit(catalog: Catalog, runs: Iterable[RunOptions]) -> None:
    """Find a wrong language or prompt before the first model trains. Raises `UserError`."""
    for run in runs:
        task = catalog.task(run.task)
        for language in (run.lang, *run.train_lang, *run.validation_lang):
            if language not in task.languages:
                raise UnknownName(f"language of the task {task.name!r}", language, task.languages)
        if run.prompt and task.labels.kind not in (kinds := catalog.prompt(run.prompt).spec.kinds):
            fitting = [name for name in catalog.names("prompt") if task.labels.kind in catalog.prompt(name).spec.kinds]
            raise UserError(
                f"The prompt {run.prompt!r} is for {', '.join(kinds)} tasks, but {task.name!r} is {task.labels.kind}.",
                f"Prompts that fit: {', '.join(fitting) or 'none'}.",
            )


# From texts


def names(values: Sequence[str] | None, option: str = "") -> list[str]:
    """`--lang en --lang ja` and `--lang en,ja` mean the same; repeats count once.

    Raises `UserError` for an option without a name: `--lang "$UNSET"` must not mean all languages.
    """
    split = [part.strip() for value in values or () for part in value.split(",")]
    found = list(dict.fromkeys(part for part in split if part))
    if values and not found:
        raise UserError(f"{option} has no value.", "Give it one, or remove the option.")
    return found


def read_option(name: str, given: Any) -> Any:
    """The value of an option of `RunOptions` or `ExecutionOptions`, from text. Raises `UserError`."""
    found, option = all_fields()[name], option_name(name)
    if name == "settings":
        return read_settings(given)
    if not takes_several(found):
        return _read(name, found, given)
    return list(dict.fromkeys(_read(name, found, text) for text in names(given, option)))


def read_settings(values: Sequence[str] | None) -> dict[str, Any]:
    """`--set train.lr=3e-5 --set train.optimizer=sam`: values are YAML, and 3e-5 is a number. Raises `UserError`."""
    import yaml

    from harness.specs.yamlspec import load_yaml

    found: dict[str, Any] = {}
    for text in values or ():
        key, is_pair, value = text.partition("=")
        if not is_pair or not re.fullmatch(r"\w[\w.-]*", key):
            raise UserError(f"--set: expected KEY=VALUE, got {text!r}.", "For example: --set train.lr=3e-5")
        if re.fullmatch(SCIENTIFIC, value):
            found[key] = float(value)
            continue
        try:
            found[key] = load_yaml(value)[1]
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(f"--set {text}: the value is not valid YAML.", "Put it in quotes.") from error
    return found


def _read(name: str, found: FieldInfo, given: Any) -> Any:
    if given == "":
        raise UserError(f"{option_name(name)} has no value.", "Give it one, or remove the option.")
    choices = _choices(found)
    if choices and given not in choices:
        raise UnknownName(name.replace("_", " "), given, choices)
    try:
        return TypeAdapter(_item(found)).validate_python(given)
    except ValidationError as error:
        raise UserError(f"{option_name(name)} {given}: expected {_expected(found)}.", "See the command's --help.") from error


def _expected(found: FieldInfo) -> str:
    """`a whole number from 0 to 9`. Other types than numbers take any text."""
    if ShardField in _types(found):
        return "I/N, with I from 1 to N: 3/8 is the third of eight parts"
    low = next((limit.ge for limit in found.metadata if hasattr(limit, "ge")), None)
    high = next((limit.le for limit in found.metadata if hasattr(limit, "le")), None)
    number = "a whole number" if int in _types(found) else "a finite number"
    return number + (f" from {low} to {high}" if high is not None else f" of at least {low}")


def _types(found: FieldInfo) -> list[Any]:
    """The types that one value may have, without None."""
    if isinstance(found.default, tuple):
        return [str]
    union = get_args(found.annotation) if get_origin(found.annotation) in (Union, UnionType) else (found.annotation,)
    return [kind for kind in union if kind is not NoneType]


def _choices(found: FieldInfo) -> list[str]:
    (kind, *_) = _types(found)
    return list(get_args(kind) if get_origin(kind) is Literal else getattr(kind, "__members__", {}).values())


def _item(found: FieldInfo) -> Any:
    """The type of one value, with its limits."""
    kind = reduce(or_, _types(found))
    return Annotated[(kind, *found.metadata)] if found.metadata else kind


# In files


def _no_truth_value(value: Any) -> Any:
    if any(isinstance(one, bool) for one in (value if isinstance(value, list) else [value])):
        raise ValueError("expected a number, not true or false")
    return value


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list | dict) else [value]


def in_file(name: str, found: FieldInfo) -> tuple[Any, Any]:
    """The field of a file's model: one value or a list where the option takes several."""
    item = _item(found)
    if name == "settings":
        return dict[str, Any], Field(default_factory=dict, description="Options of the engine: dotted name -> value.")
    if takes_several(found):
        several = GenericAlias(list, (item,))
        read = BeforeValidator(_listed, json_schema_input_type=item | several)
        item = Annotated[several, Field(min_length=1), read]
    if int in _types(found) or float in _types(found):
        item = Annotated[item, BeforeValidator(_no_truth_value)]
    return item | None, Field(default=None, description=found.description)


def model_of_file(name: str, doc: str, base: type[BaseModel], fields: Mapping[str, FieldInfo]) -> Any:
    """A model whose keys are these options."""
    keys: dict[str, Any] = {key_name(option): in_file(option, found) for option, found in fields.items()}
    return create_model(name, __doc__=doc, __base__=base, __module__=__name__, **keys)


class ProjectFileBase(ExecutorTables):
    def texts(self) -> dict[str, bool | str | list[str]]:
        """What was set, by field, as a command line would say it."""
        found: dict[str, bool | str | list[str]] = {}
        for name in all_fields():
            value = getattr(self, key_name(name))
            if isinstance(value, dict):
                value = [f"{key}={setting_text(one)}" for key, one in value.items()]
            if value is not None and value != []:
                found[name] = list(map(str, value)) if isinstance(value, list) else value if value is True else str(value)
        return found


if TYPE_CHECKING:
    ProjectFile = ProjectFileBase
else:
    ProjectFile = model_of_file("ProjectFile", "Defaults of options for one folder: bench.toml.", ProjectFileBase, all_fields())
