"""A recipe's runs as steps: one run or search each, after the command line and `--smoke` have replaced options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import UnknownName, UserError
from harness.core.options import RunOptions
from harness.running.plan import Plan, make_plan
from harness.running.training import trained_key
from harness.specs.asked import Asked
from harness.specs.backend_specs import BackendSpec
from harness.specs.catalog import Catalog
from harness.specs.recipes import Recipe, RunSpec, Smoke, Tune
from harness.specs.search_space import Parameter


@dataclass(frozen=True)
class Changes:
    """What replaces the recipe's own options, in all of its runs: first the command line, then `smoke`, then the recipe."""

    asked: Asked = field(default_factory=Asked)
    smoke: bool = False


@dataclass(frozen=True)
class Step:
    """One run, or one search. `base`: the step whose trained model it starts from. The model's key is known once that step is
    planned."""

    name: str
    request: RunOptions
    base: Step | None = None
    tune: Tune | None = None


@dataclass(frozen=True, kw_only=True)
class SearchCatalog(Catalog):
    """A catalog whose backends have the recipe's search space in place of their own."""

    space: Mapping[str, Parameter]

    def backend(self, name: str) -> BackendSpec:
        return super().backend(name).model_copy(update={"search": dict(self.space)})


def steps_of_runs(runs: Iterable[RunOptions]) -> list[Step]:
    """Of a command whose runs have no names: they are numbered, as its progress numbers them."""
    return [Step(str(number), options) for number, options in enumerate(runs, start=1)]


def steps_of(recipe: Recipe, catalog: Catalog, changes: Changes, runs: list[str] | None = None) -> list[Step]:
    """The steps in order. `runs`: only these runs, and those that they continue from.

    Raises `UserError` for an unknown name, and for `--smoke` where the recipe has none.
    """
    known = [run.name for run in recipe.runs]
    for name in runs or []:
        if name not in known:
            raise UnknownName(f"run of the recipe {recipe.name!r}", name, known)
    if changes.smoke and recipe.smoke is None:
        raise UserError(f"The recipe {recipe.name!r} has no `smoke`.", "Add one to its YAML, or use --limit and --train-limit.")
    chosen = recipe.with_base(known if runs is None else runs)
    found: dict[str, list[Step]] = {}
    for run in recipe.runs:
        if run.name in chosen:
            found[run.name] = list(_steps_of(run, recipe, catalog, changes, found))
    return [step for steps in found.values() for step in steps]


def _steps_of(
    run: RunSpec, recipe: Recipe, catalog: Catalog, changes: Changes, earlier: dict[str, list[Step]]
) -> Iterator[Step]:
    smoke = recipe.smoke if changes.smoke else None
    tune = run.tune if run.tune is None or smoke is None else run.tune.model_copy(update={"trials": smoke.trials})
    own_rows = "data" in changes.asked.values
    asked = changes.asked.over(_replaced(run.asked(recipe.defaults), smoke, own_rows=own_rows))
    if tune is not None:  # a search predicts validation rows: its tested language is one of these
        tested = next((found for name in ("validation_lang", "train_lang", "lang") if (found := asked.many(name))), None)
        asked = asked.changed(lang=tested[:1] if tested else catalog.task(asked.many("task")[0]).languages[:1])
    for request in asked.runs(catalog):
        base = None if run.continued_from is None else _base(run, request, earlier[run.continued_from])
        yield Step(run.name, request, base, tune)


def _replaced(asked: Asked, smoke: Smoke | None, *, own_rows: bool) -> Asked:
    """With rows of the user's own, a smoke test keeps the recipe's task, because that task can read them."""
    if smoke is None:
        return asked
    swapped = {"backend": [smoke.backends.get(name, name) for name in asked.many("backend")]}
    if not own_rows:
        swapped["task"] = [smoke.tasks.get(name, name) for name in asked.many("task")]
    kept = {name: value for name, value in smoke.asked().values.items() if not (own_rows and name == "task")}
    return Asked(kept).over(asked.changed(**swapped))


def _base(run: RunSpec, request: RunOptions, earlier: list[Step]) -> Step:
    """The step of the same task, backend and seed; where it trained on the language tested, the one in the same language."""
    alike = [s for s in earlier if (s.request.task, s.request.backend, s.request.seed) == _which(request)]
    trained = {training(step): step for step in reversed(alike)}
    if len(trained) > 1:
        trained = {key: step for key, step in trained.items() if step.request.lang == request.lang}
    if len(trained) != 1:
        raise UserError(
            f"The run {run.name!r} ({request.task}, {request.backend}, seed {request.seed}) continues from "
            f"{run.continued_from!r}, which trains {len(trained) or 'no'} such models.",
            "It must train exactly one. Give both runs the same tasks, backends and seeds, and the earlier one a `train_lang`.",
        )
    return next(iter(trained.values()))


def _which(request: RunOptions) -> tuple[str, str, int]:
    return request.task, request.backend, request.seed


def training(step: Step) -> str:
    """Equal for steps that need the same trained model, as far as that is known without reading a row."""
    request = step.request
    langs = request.train_lang or (request.lang,)
    settings = {name: value for name, value in request.settings.items() if name.split(".")[0] != "predict"}
    parts: list[Any] = [langs, request.validation_lang or langs, request.train_limit, request.validation_limit]
    return repr([*_which(request), *parts, sorted(settings.items()), step.base and training(step.base)])


def plan_of(step: Step, catalog: Catalog) -> Plan:
    """With the model that the step continues from, which must be trained. Raises `BenchError`."""
    return make_plan(request_of(step, catalog), catalog)


def request_of(step: Step, catalog: Catalog) -> RunOptions:
    """With the key of the model that the step continues from. Raises `BenchError` unless it is trained."""
    if step.base is None:
        return step.request
    return step.request.changed(continue_from=trained_key(plan_of(step.base, catalog)))
