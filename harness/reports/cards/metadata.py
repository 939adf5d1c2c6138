"""The metadata of a card, as the Hugging Face hub reads it: the front matter with its `model-index`, and `.eval_results`."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING

import yaml

from harness.core.errors import MissingExtra
from harness.core.file_names import file_stem
from harness.core.record import HubRows
from harness.records.entries import TITLES
from harness.reports.cards.facts import ModelFacts, ModelRun

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry

TAG = "bench-harness"
"""Marks a card as made by bench, so that a later one may replace it."""

# Metrics that the hub knows by another name; the metric's title tells the variant.
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


def front_matter(facts: ModelFacts, name: str, licence: str | None) -> str:
    """YAML, without the lines of dashes. `licence`: the publisher's; default: that of the base model, where it is known."""
    from huggingface_hub import ModelCardData

    hub, setfit = facts.run.hub, facts.head == "setfit"
    results = [result for run in facts.main_runs for result in _results(run)]
    data = ModelCardData(
        language=[lang for lang in facts.run.train.langs if re.fullmatch("[a-z]{2,3}", lang)] or None,
        license=licence or facts.base_licence,
        library_name="sentence-transformers" if setfit else "transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", TAG, *(["setfit"] if setfit else [])],
        base_model=facts.base_model,
        datasets=[hub.id] if hub else None,
        metrics=sorted({result.metric_type for result in results}),
        model_name=name,
        eval_results=results,
    )
    return data.to_yaml()


def _results(run: ModelRun) -> list[EvalResult]:
    """The headline metrics of a run. They are not marked as verified: only the hub may do that."""
    from huggingface_hub import EvalResult

    identity, hub = run.identity, run.hub
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Text Classification",
            # The colon keeps a task called imdb from being taken for the hub's data set of that name.
            dataset_type=hub.id if hub else f"bench:{identity.task}",
            dataset_name=f"{identity.task} ({identity.lang})",
            dataset_config=_config(hub, identity.lang),
            dataset_split=hub.split if hub else identity.split,
            dataset_revision=_commit(hub),
            metric_type=_ON_HUB.get(name, name),
            metric_value=run.values[name].value,
            metric_name=f"{TITLES.get(name, name)} ({_margin(run, name)})",
        )
        for name in run.headline
        if run.values[name].value is not None
    ]


def eval_results(facts: ModelFacts) -> dict[str, str]:
    """The files of the newer form, by path in the repository. Each entry has to name a data set on the hub, so runs on other
    rows have none. An entry has one figure without a name: the first headline metric, which its notes name."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    found: dict[str, list[EvalResultEntry]] = {}
    for run in facts.main_runs:
        hub, identity, name = run.hub, run.identity, run.headline[0]
        if hub is None or run.score.value is None:
            continue
        rows = f"{identity.split} {'split' if hub.split else 'rows as the task divides them'}"
        entry = EvalResultEntry(
            dataset_id=hub.id,
            task_id=_config(hub, identity.lang) or "default",
            value=run.score.value,
            dataset_revision=_commit(hub),
            date=run.record.finished,
            notes=f"{TITLES.get(name, name)} ({_margin(run, name)}); {identity.lang}, {rows}; by bench",
        )
        # A file holds a data set's task once, so each split has its own file.
        stem = file_stem([identity.task, *([] if identity.split == "test" else [identity.split])])
        found.setdefault(f".eval_results/{stem}.yaml", []).append(entry)
    return {
        path: yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
        for path, entries in found.items()
    }


def _config(hub: HubRows | None, lang: str) -> str | None:
    """Other rows than the hub's are told apart by their language."""
    return hub.config and hub.config.replace("{lang}", lang) if hub else lang


def _commit(hub: HubRows | None) -> str | None:
    """Not a branch: it moves, and so does not tell what was tested."""
    return hub.revision if hub and re.fullmatch("[0-9a-f]{40}", hub.revision or "") else None


def _margin(run: ModelRun, name: str) -> str:
    value = run.values[name]
    interval = "" if value.low is None else f"95% interval {value.low:.3f} to {value.high:.3f}, "
    return f"{interval}n = {run.rows_used}"
