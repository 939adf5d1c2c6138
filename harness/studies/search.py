"""A search: which options, by which metric on which validation rows. Test rows are never read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from harness.core.errors import MissingExtra, UserError
from harness.core.json_files import digest
from harness.core.options import RunOptions
from harness.core.types import LabelKind, Prediction
from harness.running.plan import Plan, make_plan
from harness.specs.asked import check_trained_classifier
from harness.specs.backend_specs import BackendSpec, engine_class, with_settings
from harness.specs.catalog import Catalog
from harness.specs.search_space import Space
from harness.specs.yamlspec import validate_options
from harness.statistics.metrics import LOWER_IS_BETTER, evaluate_predictions


@dataclass(frozen=True)
class Search:
    """Made by `new_search`. `request` asks for validation rows in the first of `langs`, the validation languages. With several
    languages the value of a trial is the unweighted mean over them."""

    request: RunOptions
    langs: tuple[str, ...]
    backend: BackendSpec = field(repr=False)  # with the request's settings and model
    metric: str
    identity: dict[str, Any] = field(repr=False)

    @property
    def space(self) -> Space:
        return self.backend.search

    @property
    def lower_is_better(self) -> bool:
        return self.metric in LOWER_IS_BETTER

    @cached_property
    def digest(self) -> str:
        return digest(self.identity)[:12]


def new_search(request: RunOptions, langs: tuple[str, ...], catalog: Catalog, metric: str | None) -> Search:
    """Check everything before the first trial. `metric`: None for the task's first headline metric.

    Raises `UserError` for a space that does not fit the engine, an unknown metric, or a backend that does not train.
    """
    spec = searched_backend(request, catalog)
    request = request.changed(
        lang=langs[0],
        split="validation",
        train_lang=request.train_lang or (request.lang,),  # else each validation language would train a model of its own
        validation_lang=langs,
        limit=request.validation_limit,
    )
    plan = make_plan(request, catalog)
    chosen = metric_of(plan, metric)
    identity = {
        **plan.identity.model_dump(
            mode="json",
            include={"version", "task", "labels", "label_kind", "train", "seed", "backend"},
            exclude_unset=True,
        ),
        "space": {name: parameter.model_dump() for name, parameter in spec.search.items()},
        "validation languages": langs,
        "metric": chosen,
    }
    return Search(request, langs, spec, chosen, identity)


def searched_backend(request: RunOptions, catalog: Catalog) -> BackendSpec:
    """The backend with the request's settings and model. Raises `UserError` if its search space does not fit."""
    spec = catalog.backend(request.backend)
    engine = engine_class(spec.engine)
    check_trained_classifier(catalog, spec.name, f"--backend {spec.name}")
    if not spec.search:
        raise UserError(
            f"The backend {spec.name!r} has no search space.",
            "Add to its YAML, for example: search: {train.lr: {low: 1.0e-5, high: 5.0e-5, log: true}}",
        )
    spec = with_settings(spec, request.settings)
    if request.model is not None:
        spec = spec.model_copy(update={"model": request.model, "revision": None})
    for name, parameter in spec.search.items():
        for value in parameter.samples():
            where = f"Backend {spec.name!r}, search of {name!r} at {value!r}"
            validate_options(with_settings(spec, {name: value}).options, engine.Options, where)
    require_search_libraries()
    return spec


def require_search_libraries() -> None:
    """Raises `MissingExtra` where Optuna or its storage is not installed."""
    for library in ("optuna", "sqlalchemy"):
        if find_spec(library) is None:
            raise MissingExtra(library, "tune", "The search")


def metric_of(plan: Plan, metric: str | None) -> str:
    """The metric, or the task's first headline metric. Raises `UserError` for one that runs of this task do not have: the known
    ones are computed from predictions that are all correct."""
    labels = plan.task.label_space
    many = labels.kind is LabelKind.MULTILABEL

    def correct(label: Any) -> tuple[float, ...]:
        return tuple(float(index in label if many else index == label) for index in range(len(labels)))

    answers = [Prediction(row.id, row.label, probabilities=correct(row.label)) for row in plan.rows]
    found = evaluate_predictions(
        plan.rows,
        answers,
        labels,
        threshold=plan.task.threshold,
        extra_metrics=plan.task.metrics,
        rank_by=plan.task.rank_by,
    )
    if metric is not None and metric not in found.values:
        raise UserError(f"The task {plan.task.name!r} has no metric {metric!r}.", f"Known: {', '.join(found.values)}.")
    return metric or found.headline[0]


def tuned_backend(search: Search, settings: Mapping[str, Any], description: str, study: str) -> str:
    """The YAML of a backend with these settings and no search space. Its first line names the study."""
    spec = with_settings(search.backend, settings)
    data = spec.model_dump(mode="json", exclude={"name", "search"}, exclude_defaults=True) | {"description": description}
    order = [name for name in BackendSpec.model_fields if name in data]
    text = yaml.safe_dump({name: data[name] for name in order}, sort_keys=False, allow_unicode=True, width=128)
    return f"{_mark(search, study)}\n{text}"


def _mark(search: Search, study: str) -> str:
    return f"# Written by `bench study tune`, study {study} ({search.digest}), which may overwrite it: edit a copy."


def check_output(path: Path, search: Search, study: str, catalog: Catalog) -> None:
    """Raises `UserError` if the tuned backend would replace a file that this study did not write."""
    known = catalog.files("backend").get(path.stem)
    hint = "Choose another name: --output NAME."
    if known is not None and not (path.exists() and known.samefile(path)):
        raise UserError(f"The backend {path.stem!r} exists already, in {known}.", hint)
    if path.exists() and path.read_text(encoding="utf-8").partition("\n")[0] != _mark(search, study):
        raise UserError(f"{path} exists already, and this study did not write it.", hint)
