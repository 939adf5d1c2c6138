"""A recipe: the runs of one published comparison, read from one YAML file. The field descriptions are the YAML's reference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.specs.search_space import Parameter
from harness.specs.yamlspec import Spec, load_yaml_spec


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list | dict) else [value]


Names = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]
Limits = Annotated[list[Annotated[int, Field(ge=1)]], BeforeValidator(_listed, json_schema_input_type=int | list[int])]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], BeforeValidator(_listed, json_schema_input_type=int | list[int])]


class Cell(Spec):
    """What a run asks for, in the words of `bench run`. Of the fields that take several values, every combination is a run."""

    task: Names | None = Field(default=None, description="Task, or several.")
    backend: Names | None = Field(default=None, description="Backend, or several.")
    lang: Names | None = Field(default=None, description="Language to test in, or several; default: all of the task's.")
    seed: Seeds | None = Field(default=None, description="Seed, or several; default: 0.")
    prompt: Names | None = Field(default=None, description="Prompt, or several, for language models.")
    decoding: Names | None = Field(default=None, description="`free`, `constrained` or `score`, or several of them.")
    limit: Limits | None = Field(default=None, description="At most so many test rows per language; or several such numbers.")
    train_lang: Names | None = Field(default=None, description="Languages to train on, together; default: the tested one.")
    validation_lang: Names | None = Field(
        default=None, description="Languages whose rows choose the checkpoint, together; default: those trained on."
    )
    train_limit: int | None = Field(default=None, ge=1, description="At most so many training rows per language.")
    validation_limit: int | None = Field(default=None, ge=1, description="At most so many validation rows per language.")
    set: dict[str, Any] = Field(default_factory=dict, description="Options of the engine: dotted name -> value.")

    def over(self, other: Cell) -> Cell:
        """What this says, and what `other` says where this is silent; settings are joined one by one."""
        fields = [name for name in Cell.model_fields if name != "set"]
        given = {name: getattr(self, name) for name in fields}
        silent = {name: getattr(other, name) for name in fields if given[name] is None}
        return Cell.model_construct(**{**given, **silent, "set": {**other.set, **self.set}})


class Tune(Spec):
    """A search, as of `bench study tune`: validation rows only."""

    trials: int = Field(ge=1, description="Trainings, at most.")
    space: dict[str, Parameter] = Field(min_length=1, description="Dotted name of an option -> what to try.")
    metric: str | None = Field(default=None, description="What counts; default: the first headline metric of the task.")


class RunSpec(Cell):
    """One entry of `runs`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="Small letters, digits and `-`; unique in the recipe.")
    note: str = Field(default="", description="What a reader should know about this run.")
    continued_from: str | None = Field(
        default=None, description="An earlier run of this recipe, whose trained model this training starts from."
    )
    tune: Tune | None = Field(default=None, description="Makes a search of it, in place of a run.")


class Smoke(Cell):
    """What `--smoke` puts in the place of the recipe's own, so that all of its steps take minutes on two cores."""

    tasks: dict[str, str] = Field(default_factory=dict, description="The recipe's task -> one in its place; `task` is for all.")
    backends: dict[str, str] = Field(
        default_factory=dict, description="The recipe's backend -> one in its place; `backend` is for all."
    )
    trials: int = Field(default=2, ge=1, description="Trainings of a search.")


class Recipe(Spec):
    """One YAML file of a `recipes/` folder."""

    name: str = Field(description="Taken from the file's name; does not stand in the file.")
    description: str = Field(min_length=1, description="What is compared, in a sentence.")
    note: str = Field(default="", description="Where the recipe departs from what was published, and what is unknown of that.")
    reported: str | None = Field(default=None, description="Name of a file in `results/reported/` with the published figures.")
    defaults: Cell = Field(default_factory=Cell, description="What all runs ask for, unless they say otherwise.")
    runs: list[RunSpec] = Field(min_length=1, description="The runs, in the order in which they are made.")
    smoke: Smoke | None = Field(default=None, description="What `--smoke` changes.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        twice = [name for name, count in Counter(run.name for run in self.runs).items() if count > 1]
        if twice:
            raise ValueError(f"two runs are named {twice[0]!r}")
        searches: dict[str, bool] = {}
        for run in self.runs:
            for field in ("task", "backend"):
                if getattr(run.over(self.defaults), field) is None:
                    raise ValueError(f"the run {run.name!r} has no `{field}`, and neither have the `defaults`")
            base = run.continued_from
            if base is not None and (base not in searches or searches[base]):
                raise ValueError(
                    f"{run.name!r} goes on from {base!r}, which is no earlier run of this recipe that trains a model"
                )
            searches[run.name] = run.tune is not None
        return self

    def with_base(self, names: list[str]) -> list[str]:
        """These runs, and those that they go on from, in the recipe's order. The caller has checked the names."""
        wanted, base = set(names), {run.name: run.continued_from for run in self.runs}
        for run in reversed(self.runs):
            if run.name in wanted and base[run.name] is not None:
                wanted.add(str(base[run.name]))
        return [run.name for run in self.runs if run.name in wanted]


def load_recipe(path: Path) -> Recipe:
    """Read a recipe's YAML; its name is the file's stem. Raises `SpecError`."""
    return load_yaml_spec(path, Recipe, name=path.stem)
