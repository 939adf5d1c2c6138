"""What a run is asked to do, as one model. Flags, environment variables, recipe keys, schemas, docs and records derive from it.

To add an option: add a field here. `flag` says how it is given on a command line.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer
from pydantic.fields import FieldInfo

from harness.core.shard import ShardField
from harness.core.types import Calibration, Decision, Decoding, ShotsBy

Split = Literal["test", "validation"]
Executor = Literal["local", "ray", "slurm"]
UNLABELLED: Literal["unlabelled"] = "unlabelled"
"""In place of a split: rows without true labels, which `bench label` labels."""
MAX_SEED = 2**32 - 1
SCIENTIFIC = r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"
"""`3e-5`: a number for `--set`, though YAML 1.1 wants a point before the e."""
FOLDER, CHECKPOINT = "DIR", "PATH"
"""What stands in a record for a place outside the project's folder: a record names no folder of a machine."""


def flag(description: str, metavar: str = "", *, default: Any = None, many: bool = False, **limits: Any) -> Any:
    """A field of `RunOptions`. `many`: a command takes several values, separated by commas, and makes a run for each."""
    return Field(default, description=description, json_schema_extra={"metavar": metavar, "many": many}, **limits)


class RunOptions(BaseModel):
    """What one run is asked to do. Prompt, decoding and calibration are for language models; what begins with `train` or
    `validation`, and `continue_from`, are for backends that train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str = flag("Backend. See `bench list backends`.", "NAME", default="", many=True)
    task: str = flag(
        "Task; default: the only one in tasks/, else reviews_demo. See `bench list tasks`.", "NAME", default="", many=True
    )
    lang: str = flag("Language to test in; default: all of the task's.", "CODE", default="", many=True)
    split: Split = flag("Rows to predict: test or validation.", "NAME", default="test")
    prompt: str | None = flag("Prompt for language models; default: by the task's kind of labels.", "NAME", many=True)
    decoding: Decoding | None = flag(
        "For language models: free, constrained or score; default: the prompt's own.", "NAME", many=True
    )
    calibration: Calibration | None = flag(
        "For score: none, contextual or batch; default: the prompt's own.", "NAME", many=True
    )
    decision: Decision | None = flag(
        "How probabilities become a label: argmax, or for ordinal tasks expected or median.", "NAME", many=True
    )
    shots: int | None = flag(
        "Few-shot examples in a prompt: per class, or in all for nearest; default: the prompt's own.", "N", many=True, ge=0
    )
    shots_by: ShotsBy | None = flag(
        "How the few-shot examples are chosen: random, nearest or nearest_per_class; default: the prompt's own.",
        "NAME",
        many=True,
    )
    train_lang: tuple[str, ...] = flag("Languages to train on, together; default: the tested one.", "CODE", default=())
    validation_lang: tuple[str, ...] = flag(
        "Languages whose validation rows choose the checkpoint; default: those of --train-lang.", "CODE", default=()
    )
    continue_from: str | None = flag(
        "Train on from the model of this run (the last digits of its id are enough), or from the trained model of this key.",
        "RUN",
    )
    labels_from: str | None = flag(
        "Train on the labels of this labelling (the last digits of its id, or its folder; see `bench label`), not on those of "
        "the task; with --validation-limit 0.",
        "RUN",
    )
    soft_labels: bool = flag("With --labels-from: train on the probabilities of the labels.", default=False)
    settings: Mapping[str, Any] = flag("Option of the backend: train.lr=3e-5. Can be repeated.", "KEY=VALUE", default={})
    seed: int = flag("Seed of training and of the few-shot examples.", "N", default=0, many=True, ge=0, le=MAX_SEED)
    limit: int | None = flag("At most N test rows per language, always the same ones.", "N", many=True, ge=1)
    train_limit: int | None = flag("At most N training rows per language; few-shot examples are chosen from them.", "N", ge=1)
    resample_train: bool = flag("Each seed draws its own --train-limit rows; a larger limit adds to them.", default=False)
    validation_limit: int | None = flag("At most N validation rows per language; 0: train to the end.", "N", ge=0)
    model: str | None = flag("Checkpoint in place of the backend's: a local folder or a hub id.", "PATH")
    data: Path | None = flag(
        "Read the task's rows from this folder: {train,validation,test}.{parquet,csv,tsv,jsonl,json}.", "DIR"
    )

    @field_serializer("data")
    def _posix(self, data: Path | None) -> str | None:
        return None if data is None else data.as_posix()

    def changed(self, **changes: Any) -> RunOptions:
        """The same with other values; they are checked."""
        return RunOptions(**{**{name: getattr(self, name) for name in self.model_fields_set}, **changes})

    def public(self, settings: Mapping[str, Any]) -> RunOptions:
        """As a record holds them: with these settings, and without places outside the project's folder."""
        places = {
            "data": _public_place(self.data, FOLDER),
            "model": _public_place(self.model, CHECKPOINT),
            "labels_from": _public_place(self.labels_from, FOLDER),
        }
        return self.changed(settings=settings, **{name: place for name, place in places.items() if place is not None})

    def arguments(self) -> list[str]:
        """The flags of `bench run` that ask for this run, without those that have their default value."""
        words: list[str] = []
        for name, field in RunOptions.model_fields.items():
            value = getattr(self, name)
            if value == field.default:
                continue
            option = option_name(name)
            if name == "settings":
                words += [word for key, one in value.items() for word in (option, f"{key}={setting_text(one)}")]
            elif value is True:
                words.append(option)
            else:
                words += [option, ",".join(value) if isinstance(value, tuple) else str(value)]
        return words

    def command(self) -> str:
        """The command that repeats the run. DIR and PATH stand for places that a record does not name."""
        return shlex.join(["bench", "run", *self.arguments()])


class ExecutionOptions(BaseModel):
    """How a command carries out its runs. Nothing of it changes what a run measures, so no record holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_cost: float | None = flag(
        "Spend at most this on servers, in all runs of this command.", "USD", ge=0, allow_inf_nan=False
    )
    shard: ShardField | None = flag(
        "Predict part I of N of each run, I from 1 to N; `bench results merge` makes the record of all parts.", "I/N"
    )
    shards: int | None = flag("Predict each run in N parts, which the workers share, and merge them.", "N", ge=2)
    force: bool = flag("Run again even if a finished record exists.", default=False)
    no_gate: bool = flag("Continue where a sanity gate would stop a prompted run; its record says so.", default=False)
    trust_metric_code: bool = flag("Run the programs that a task names under `metrics`. Read them first.", default=False)
    results: Path = flag("Folder of run records and leaderboard.", "DIR", default=Path("results"))
    executor: Executor = flag(
        "Where the runs are carried out: local (this process), ray or slurm; settings in bench.toml (docs/scale.md).",
        "NAME",
        default="local",
    )
    workers: int | None = flag("Processes that ray or slurm start, at most; default: as many as there is room for.", "N", ge=1)
    address: str | None = flag("Of the Ray cluster: auto, HOST:PORT or ray://HOST:PORT; default: a local one.", "ADDRESS")
    track: str | None = flag("Also log the runs to wandb, trackio, mlflow or tensorboard.", "NAME")
    quiet: bool = flag("Print errors, the result and its location only.", default=False)
    verbose: bool = flag("Also show what the libraries log.", default=False)


ELSEWHERE = ("executor", "workers", "address")
"""Options of commands whose runs other processes may carry out."""
IN_PARTS = ("shard", "shards")
"""Options of `bench run` alone."""


def all_fields() -> dict[str, FieldInfo]:
    """The fields of both models, by name."""
    return {**RunOptions.model_fields, **ExecutionOptions.model_fields}


def option_name(field: str) -> str:
    return f"--{key_name(field).replace('_', '-')}"


def key_name(field: str) -> str:
    """The key of a recipe and of bench.toml."""
    return "set" if field == "settings" else field


def variable_name(field: str) -> str:
    """The environment variable that sets the option."""
    return f"BENCH_{key_name(field).upper()}"


def is_many(field: FieldInfo) -> bool:
    """Whether a command makes a run for each of several values."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra["many"])


def takes_several(field: FieldInfo) -> bool:
    """Whether the option can be repeated: for a run each, or (languages of a training, settings) for one run together."""
    return is_many(field) or isinstance(field.default, tuple | dict)


def metavar_of(field: FieldInfo) -> str:
    return str(field.json_schema_extra["metavar"]) if isinstance(field.json_schema_extra, dict) else ""


def setting_text(value: Any) -> str:
    """A value of `--set`, such that `--set` reads the same value again."""
    import yaml

    if isinstance(value, str) and re.fullmatch(SCIENTIFIC, value):
        return json.dumps(value)
    plain, escaped = (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=unicode, width=1e9) for unicode in (True, False)
    )
    is_read_as_break = re.search("[\x85\u2028\u2029]", plain)
    return (escaped if is_read_as_break else plain).removesuffix("...\n").strip(" \n")


def _public_place(place: Path | str | None, placeholder: str) -> str | None:
    """A place in the project's folder, relative to it; a name such as `org/model` as it is; else the placeholder."""
    if place is None:
        return None
    text = str(place)
    if Path(text).is_absolute() or ".." in re.split(r"[/\\]", text):
        try:
            text = Path(text).resolve().relative_to(Path.cwd().resolve()).as_posix()
        except ValueError:
            return placeholder
    is_safe = ".." not in re.split(r"[/\\]", text) and not re.match(r"[~\\]|[A-Za-z]:[/\\]", text)
    return text if is_safe else placeholder
