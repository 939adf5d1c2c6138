"""The tables of a model card: results, the course of the training, its recipe, and the command that repeats it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.analysis.related_runs import is_outdated
from harness.records.entries import TITLES
from harness.reports.cards.facts import Subject, answered_by, options_of, rows_used, source_of
from harness.reports.markdown import escape
from harness.reports.markdown import table as lines_of
from harness.reports.words import shown

BEST = "★"
SOURCES = {"hub": "the hub", "data": "local files", "files": "files of the project", "bundled": "bench", None: "not told"}


def results(subject: Subject) -> str:
    """A line for each run that tested this model."""
    names = [*subject.headline, *(["ece"] if any("ece" in run.metrics["values"] for run in subject.runs) else [])]
    hows = [answered_by(run) for run in subject.runs]
    several, sources = len(set(hows)) > 1, len({source_of(run) for run in subject.runs}) > 1
    tasks = len({run.manifest["identity"]["task"] for run in subject.runs}) > 1
    titles = [*(["task"] if tasks else []), "language", "split", "n", *(["rows from"] if sources else [])]
    titles += [TITLES.get(name, name) for name in names]
    lines = []
    for run, how in zip(subject.runs, hows, strict=True):
        identity, values = run.manifest["identity"], run.metrics["values"]
        lang = identity["lang"] + ("" if identity["lang"] in subject.langs else " (not trained on)")
        cells = [
            lang,
            identity["split"],
            rows_used(run),
            *([SOURCES.get(source_of(run), "not told")] if sources else []),
            *(shown(values[name]) if name in values else "" for name in names),
        ]
        lines.append(
            [*([identity["task"]] if tasks else []), *cells, *([how] if several else []), run.run_id.rpartition(".")[2]]
        )
    return table([*titles, *(["answered by"] if several else []), "run"], lines)


def per_class(subject: Subject) -> str:
    lines = [
        [label["name"], *(_number(label[name]) for name in ("precision", "recall", "f1")), str(label["support"])]
        for label in subject.entry.metrics.get("per_class", [])
    ]
    return table(["label", "precision", "recall", "F1", "rows"], lines) if lines else ""


def labels(subject: Subject) -> str:
    limits = subject.training.get("thresholds")
    titles = ["id", "label", *(["threshold"] if limits else [])]
    lines = [[str(index), name, *([f"{limits[index]:.4f}"] if limits else [])] for index, name in enumerate(subject.labels)]
    return table(titles, lines)


def course(subject: Subject) -> str:
    """A line for each look at the validation rows; empty where there was none."""
    evaluations: Sequence[Mapping[str, Any]] = subject.training.get("evaluations") or []
    if not evaluations:
        return ""
    best = subject.training.get("best") or {}
    first = [name for name in ("step", "epoch", "train_loss", "loss") if any(name in found for found in evaluations)]
    chosen_by = [name for name in best if name not in ("step", "loss", *subject.headline)]
    names = [name for name in [*subject.headline, *chosen_by] if any(name in found for found in evaluations)]
    titles = {"train_loss": "training loss", "loss": "validation loss"}
    lines = [
        [
            BEST if _is_chosen(found, best) else "",
            *(_plain(found.get(name)) for name in first),
            *(_number(found.get(name)) for name in names),
        ]
        for found in evaluations
    ]
    return table(["", *(titles.get(name, name) for name in first), *(TITLES.get(name, name) for name in names)], lines)


def _is_chosen(found: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Records of earlier versions do not tell the step of each look."""
    if "step" in found:
        return bool(found["step"] == best.get("step"))
    return any(name in best and found[name] == best[name] for name in found)


def recipe(subject: Subject) -> tuple[str, str]:
    """The options that were set, as a table, and the others in a line."""
    chosen, others = options_of(subject)
    return (
        table(["option", "value"], [[name, _setting(value)] for name, value in chosen.items()]) if chosen else "",
        escape(", ".join(f"{name}={_setting(value)}" for name, value in others.items())),
    )


def run_command(subject: Subject) -> str:
    """The command that makes the run, as far as the record tells; PATH stands for a place on somebody's machine."""
    train, command = subject.identity["train"], subject.entry.record.options.command()
    processes = train.get("processes", 1)
    return command if processes == 1 else f"torchrun --nproc-per-node {processes} -m harness.cli{command.removeprefix('bench')}"


def further_command(subject: Subject, repository: str) -> str:
    """The command that trains the model further, from the hub."""
    return f"bench run --backend {shlex.quote(subject.entry.backend)} --model {repository} --task YOUR_TASK"


def outdated(subject: Subject) -> bool:
    return is_outdated(subject.entry.record)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; every cell is text."""
    return "\n".join(lines_of(titles, rows))


def block(language: str, code: str) -> str:
    """A fenced block that nothing in `code` can end."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", code)), 3)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
