"""The metadata of a model card, as the Hugging Face hub reads it: the front matter with its `model-index`, and `.eval_results`.

Field names are those of huggingface_hub 1 and later (`ModelCardData`, `EvalResult`, `EvalResultEntry`).
"""

from __future__ import annotations

import importlib.util
import re
from typing import Any

from harness.core.errors import MissingExtra
from harness.core.file_names import file_stem
from harness.records.entries import TITLES, Entry
from harness.reports.cards.facts import Hub, Subject, base_licence, base_repository, hub_of, main_runs, rows_used

TAG = "bench-harness"
"""Marks a card as ours, so that a later one may take its place."""

# Metrics that the hub knows by another name; which variant it is says the name that readers see.
_ON_HUB = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "weighted_f1": "f1",
    "subset_accuracy": "accuracy",
    "spearman": "spearmanr",
    "brier": "brier_score",
}


def check_library() -> None:
    """Raises `MissingExtra`."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtra("huggingface_hub", "cards", "A model card")


def front_matter(subject: Subject, name: str, licence: str | None) -> str:
    """YAML, without the lines of dashes. `licence`: what the publisher says; else that of the base model, where it is known."""
    from huggingface_hub import ModelCardData

    hub, setfit = hub_of(subject.entry), subject.head == "setfit"
    results = [result for run in main_runs(subject) for result in _results(run)]
    data = ModelCardData(
        language=[lang for lang in subject.langs if re.fullmatch("[a-z]{2,3}", lang)] or None,
        license=licence or base_licence(subject.identity),
        library_name="sentence-transformers" if setfit else "transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", TAG, *(["setfit"] if setfit else [])],
        base_model=base_repository(subject.identity),
        datasets=[hub.id] if hub is not None else None,
        metrics=sorted({result.metric_type for result in results}),
        model_name=name,
        eval_results=results,
    )
    return str(data.to_yaml())


def _results(run: Entry) -> list[Any]:
    """The headline metrics of a run; not called verified, as only the hub may say so."""
    from huggingface_hub import EvalResult

    identity, metrics = run.manifest["identity"], run.metrics
    hub, lang = hub_of(run), identity["lang"]
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Text Classification",
            # With a colon no name of the hub's: a task called imdb is not to be taken for the data set of that name.
            dataset_type=hub.id if hub is not None else f"bench:{identity['task']}",
            dataset_name=f"{identity['task']} ({lang})",
            dataset_config=_config(hub, lang),
            dataset_split=identity["split"] if hub is None else hub.split,
            dataset_revision=_commit(hub),
            metric_type=_ON_HUB.get(name, name),
            metric_value=metrics["values"][name]["value"],
            metric_name=f"{TITLES.get(name, name)}{_margin(run, name)}",
        )
        for name in metrics["headline"]
        if metrics["values"][name]["value"] is not None
    ]


def eval_results(subject: Subject) -> dict[str, str]:
    """Files of the newer form, path in the repository -> YAML; none for runs whose rows are not from the hub, as far as
    their records tell: each entry has to name a data set there. An entry has one figure and no name for it: here it is the
    first headline metric, named in its notes."""
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    found: dict[str, list[Any]] = {}
    for run in main_runs(subject):
        hub, identity, name = hub_of(run), run.manifest["identity"], run.metrics["headline"][0]
        value, split = run.metrics["values"][name]["value"], identity["split"]
        if hub is None or value is None:
            continue
        rows = f"{split} split" if hub.split is not None else f"{split} rows as the task divides them"
        entry = EvalResultEntry(
            dataset_id=hub.id,
            task_id=_config(hub, identity["lang"]) or "default",
            value=value,
            dataset_revision=_commit(hub),
            date=run.manifest["finished"],
            notes=f"{TITLES.get(name, name)}{_margin(run, name)}; {identity['lang']}, {rows}; by bench",
        )
        # A file may tell of a data set's task once: other splits have files of their own.
        stem = file_stem([identity["task"], *([] if split == "test" else [split])])
        found.setdefault(f".eval_results/{stem}.yaml", []).append(entry)
    return {
        path: yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
        for path, entries in found.items()
    }


def _config(hub: Hub | None, lang: str) -> str | None:
    """Of a data set of our own making the language is what tells its parts apart."""
    return lang if hub is None else hub.config and hub.config.replace("{lang}", lang)


def _commit(hub: Hub | None) -> str | None:
    revision = None if hub is None else hub.revision
    return revision if revision and re.fullmatch("[0-9a-f]{40}", revision) else None


def _margin(run: Entry, name: str) -> str:
    low, high = (run.metrics["values"][name][end] for end in ("low", "high"))
    interval = "" if low is None else f"95% interval {low:.3f} to {high:.3f}, "
    return f" ({interval}n = {rows_used(run)})"
