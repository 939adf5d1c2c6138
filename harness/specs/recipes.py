"""A recipe: the runs of a published comparison, in one YAML file. The field descriptions are the reference of the YAML."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from harness.core.options import RunOptions, key_name
from harness.specs.asked import Asked, model_of_file
from harness.specs.search_space import Parameter
from harness.specs.yamlspec import Spec, load_yaml_spec


class CellBase(Spec):
    """Options of runs: the keys are those of `bench run`. Where a key takes several values, every combination is a run."""

    def asked(self, defaults: CellBase | None = None) -> Asked:
        """What is given here, and what `defaults` give where this says nothing."""
        given = {name: getattr(self, key_name(name)) for name in _OPTIONS}
        asked = Asked({name: value for name, value in given.items() if value is not None and value != {}})
        return asked if defaults is None else asked.over(defaults.asked())


NOT_IN_RECIPES = ("continue_from", "labels_from", "soft_labels")
"""Options that name a place on one machine, and what goes with them."""
_OPTIONS = {name: field for name, field in RunOptions.model_fields.items() if name not in NOT_IN_RECIPES}
if TYPE_CHECKING:
    Cell = CellBase
else:
    Cell = model_of_file("Cell", CellBase.__doc__, CellBase, _OPTIONS)


class Tune(Spec):
    """A search, as `bench study tune` makes it: on validation rows only."""

    trials: int = Field(ge=1, description="Number of trials.")
    space: dict[str, Parameter] = Field(min_length=1, description="Dotted name of an option -> values to try.")
    metric: str | None = Field(default=None, description="Metric to optimize; default: the task's first headline metric.")


class RunSpec(Cell):
    """One entry of `runs`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="Small letters, digits and `-`; unique in the recipe.")
    note: str = Field(default="", description="What a reader should know about this run.")
    continued_from: str | None = Field(
        default=None, description="An earlier run of this recipe; training starts from its trained model."
    )
    tune: Tune | None = Field(default=None, description="Search instead of a run.")


class Smoke(Cell):
    """What `--smoke` replaces, so that every step takes minutes on two cores."""

    tasks: dict[str, str] = Field(default_factory=dict, description="Task of the recipe -> replacement; `task` replaces all.")
    backends: dict[str, str] = Field(
        default_factory=dict, description="Backend of the recipe -> its replacement; `backend` replaces all."
    )
    trials: int = Field(default=2, ge=1, description="Number of trials of a search.")


class Recipe(Spec):
    """One YAML file of a `recipes/` folder."""

    name: str = Field(description="Taken from the file's name; not a key of the file.")
    description: str = Field(min_length=1, description="What is compared, in one sentence.")
    note: str = Field(default="", description="Where it differs from the publication, and what that leaves open.")
    reported: str | None = Field(default=None, description="Name of a file in `results/reported/` with the published figures.")
    defaults: Cell = Field(default_factory=Cell, description="Options of all runs, unless a run says otherwise.")
    runs: list[RunSpec] = Field(min_length=1, description="The runs, in order.")
    smoke: Smoke | None = Field(default=None, description="What `--smoke` replaces.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        twice = [name for name, count in Counter(run.name for run in self.runs).items() if count > 1]
        if twice:
            raise ValueError(f"two runs are named {twice[0]!r}")
        searches: dict[str, bool] = {}
        for run in self.runs:
            for field in ("task", "backend"):
                if not run.asked(self.defaults).many(field):
                    raise ValueError(f"the run {run.name!r} has no `{field}`, and neither have the `defaults`")
            base = run.continued_from
            if base is not None and (base not in searches or searches[base]):
                raise ValueError(
                    f"{run.name!r} continues from {base!r}, which is not an earlier run of this recipe that trains a model"
                )
            searches[run.name] = run.tune is not None
        return self

    def with_base(self, names: list[str]) -> list[str]:
        """These runs and those that they continue from, in the recipe's order. The caller has checked the names."""
        wanted, base = set(names), {run.name: run.continued_from for run in self.runs}
        for run in reversed(self.runs):
            if run.name in wanted and base[run.name] is not None:
                wanted.add(str(base[run.name]))
        return [run.name for run in self.runs if run.name in wanted]


def load_recipe(path: Path) -> Recipe:
    """Read a recipe's YAML; its name is the file's stem. Raises `SpecError`."""
    return load_yaml_spec(path, Recipe, name=path.stem)
