"""A recipe's runs as steps: one request each, with what the command line or a smoke test puts in place of the recipe's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from harness.core.errors import UnknownName, UserError
from harness.core.options import RunOptions
from harness.core.types import Decoding
from harness.running.plan import Plan, make_plan
from harness.running.training import trained_key
from harness.specs.backend_specs import BackendSpec
from harness.specs.catalog import Catalog
from harness.specs.recipes import Cell, Recipe, RunSpec, Smoke, Tune
from harness.specs.search_space import Parameter


@dataclass(frozen=True)
class Changes:
    """What replaces the recipe's own, in all of its runs. `cell` says less than `smoke` and more than the recipe."""

    cell: Cell = field(default_factory=Cell)
    smoke: bool = False
    data_dir: Path | None = None


@dataclass(frozen=True)
class Step:
    """One run, or one search. `base`: the step whose trained model it starts from; its key is known when that is planned."""

    name: str
    request: RunOptions
    base: Step | None = None
    tune: Tune | None = None


@dataclass(frozen=True, kw_only=True)
class SearchCatalog(Catalog):
    """A catalog whose backends are searched as a recipe says, and not as their own YAML does."""

    space: Mapping[str, Parameter]

    def backend(self, name: str) -> BackendSpec:
        return super().backend(name).model_copy(update={"search": dict(self.space)})


def steps_of(recipe: Recipe, catalog: Catalog, changes: Changes, runs: list[str] | None = None) -> list[Step]:
    """The steps in order; only those of `runs`, and of what these go on from, where it is given.

    Raises `UserError` for a run, task, backend or decoding that there is not, and for a `--smoke` that the recipe lacks.
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
    cell = changes.cell.over(_cell(run.over(recipe.defaults), smoke, own_rows=changes.data_dir is not None))
    for request in _requests(cell, catalog, changes.data_dir, search=tune is not None):
        base = None if run.continued_from is None else _base(run, request, earlier[run.continued_from])
        yield Step(run.name, request, base, tune)


def _cell(cell: Cell, smoke: Smoke | None, *, own_rows: bool) -> Cell:
    """With rows of the user's own, a smoke test keeps the recipe's task: it is what can read them."""
    if smoke is None:
        return cell
    swapped = {"backend": [smoke.backends.get(name, name) for name in cell.backend or []]}
    if not own_rows:
        swapped["task"] = [smoke.tasks.get(name, name) for name in cell.task or []]
    kept = smoke.model_copy(update={"task": None}) if own_rows else smoke
    return kept.over(cell.model_copy(update=swapped))


def _requests(cell: Cell, catalog: Catalog, data_dir: Path | None, *, search: bool) -> Iterator[RunOptions]:
    for task, backend, seed in product(cell.task or [], cell.backend or [], cell.seed or [0]):
        languages = catalog.task(task).languages
        catalog.backend(backend)
        tested = (cell.validation_lang or cell.train_lang or cell.lang or languages)[:1] if search else cell.lang or languages
        prompts: list[str | None] = [*cell.prompt] if cell.prompt else [None]
        decodings: list[str | None] = [*cell.decoding] if cell.decoding else [None]
        limits: list[int | None] = [*cell.limit] if cell.limit else [None]
        for prompt, decoding, limit, lang in product(prompts, decodings, limits, tested):
            if decoding is not None and decoding not in list(Decoding):
                raise UnknownName("decoding", decoding, list(Decoding))
            yield RunOptions(
                task=task,
                backend=backend,
                lang=lang,
                prompt=prompt,
                decoding=None if decoding is None else Decoding(decoding),
                train_lang=tuple(cell.train_lang or ()),
                validation_lang=tuple(cell.validation_lang or ()),
                seed=seed,
                limit=limit,
                train_limit=cell.train_limit,
                validation_limit=cell.validation_limit,
                settings=cell.set,
                data=data_dir,
            )


def _base(run: RunSpec, request: RunOptions, earlier: list[Step]) -> Step:
    """The step of the same task, backend and seed; where it trained on the language tested, the one in the same language."""
    alike = [s for s in earlier if (s.request.task, s.request.backend, s.request.seed) == _which(request)]
    trained = {training(step): step for step in reversed(alike)}
    if len(trained) > 1:
        trained = {key: step for key, step in trained.items() if step.request.lang == request.lang}
    if len(trained) != 1:
        raise UserError(
            f"The run {run.name!r} ({request.task}, {request.backend}, seed {request.seed}) goes on from "
            f"{run.continued_from!r}, which trains {len(trained) or 'no'} such models.",
            "It must be one: give both runs the same tasks, backends and seeds, and that one `train_lang`.",
        )
    return next(iter(trained.values()))


def _which(request: RunOptions) -> tuple[str, str, int]:
    return request.task, request.backend, request.seed


def training(step: Step) -> str:
    """Steps that are alike in this need the same trained model, as far as that can be told without reading a row."""
    request = step.request
    langs = request.train_lang or (request.lang,)
    settings = {name: value for name, value in request.settings.items() if name.split(".")[0] != "predict"}
    parts: list[Any] = [langs, request.validation_lang or langs, request.train_limit, request.validation_limit]
    return repr([*_which(request), *parts, sorted(settings.items()), step.base and training(step.base)])


def plan_of(step: Step, catalog: Catalog) -> Plan:
    """With the model that the step goes on from, which must be trained. Raises `BenchError`."""
    return make_plan(request_of(step, catalog), catalog)


def request_of(step: Step, catalog: Catalog) -> RunOptions:
    """With the key of the model that the step goes on from. Raises `BenchError` unless it is trained."""
    return step.request if step.base is None else step.request.changed(continue_from=trained_key(plan_of(step.base, catalog)))
