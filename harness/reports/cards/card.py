"""A model card for a fine-tuned encoder: README.md with the hub's metadata, and `.eval_results`, from run records alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.core.options import setting_text
from harness.core.plain import plain
from harness.records.entries import TITLES
from harness.records.weights import count_told
from harness.reports.cards.facts import ModelFacts
from harness.reports.cards.metadata import check_library, eval_results, front_matter
from harness.reports.markdown import escape, table
from harness.reports.text.formats import listed, shown

SOURCES = {"hub": "the hub", "data": "local files", "files": "files of the project", "bundled": "bench"}


def make_card(facts: ModelFacts, repository: str | None = None, licence: str | None = None) -> dict[str, str]:
    """The files of a card: paths in the repository, the README.md first, with their text.

    `repository`: `OWNER/NAME` on the hub, where it is known. `licence`: the hub's name of one, if the publisher names one.

    Raises `MissingExtra`.
    """
    check_library()
    name = facts.name if repository is None else repository.rpartition("/")[2]
    target = repository or "OWNER/NAME"
    backend = shlex.quote(facts.run.identity.backend.name)
    body = _MARKDOWN.get_template("card.md.j2").render(
        facts=facts,
        name=name,
        licence=licence,
        code=_block("python", usage_code(facts, target)),
        further=_block("sh", f"bench run --backend {backend} --model {target} --task YOUR_TASK"),
        command=_block("sh", facts.command),
        results=_results(facts),
        training_log=_training_log(facts),
        chosen_by=next((_metric(name) for name in facts.run.training.best or {} if name != "step"), "score"),
        methods={(run.values[name].method or "").removeprefix("cluster_") for run in facts.runs for name in facts.run.headline},
    )
    readme = f"---\n{front_matter(facts, name, licence)}\n---\n\n{body}"
    return {"README.md": plain(readme), **eval_results(facts)}


def usage_code(facts: ModelFacts, repository: str) -> str:
    """Python that defines `classify(texts)`, which returns the labels."""
    labels = facts.run.identity.labels
    thresholds = facts.run.training.thresholds or [0.5] * len(labels)
    template = _CODE.get_template("classify.py.j2")
    return template.render(facts=facts, repository=repository, labels=labels, thresholds=thresholds, zip=zip)


def _results(facts: ModelFacts) -> Markup:
    """A line for each run that tested this model."""
    runs = facts.runs
    names = [*facts.run.headline, *(["ece"] if any("ece" in run.values for run in runs) else [])]
    columns: dict[str, list[object]] = {
        "task": [run.identity.task for run in runs],
        "language": [
            run.identity.lang + ("" if run.identity.lang in facts.run.train.langs else " (not trained on)") for run in runs
        ],
        "split": [run.identity.split for run in runs],
        "n": [run.rows_used for run in runs],
        "rows from": [SOURCES.get(run.source or "", "unknown") for run in runs],
        **{_metric(name): [shown(run.values[name]) if name in run.values else "" for run in runs] for name in names},
        "predicted with": [run.predicted_with for run in runs],
        "run": [run.run_id.rpartition(".")[2] for run in runs],
    }
    optional = ("task", "rows from", "predicted with")
    kept = {title: cells for title, cells in columns.items() if title not in optional or len(set(cells)) > 1}
    return _table(list(kept), zip(*kept.values(), strict=True))


def _training_log(facts: ModelFacts) -> Markup:
    """A line for each evaluation on the validation rows."""
    evaluations, best = facts.run.training.evaluations, facts.run.training.best or {}
    if not evaluations:
        return Markup()
    chosen_by = [name for name in best if name not in ("step", "loss", *facts.run.headline)]
    titles = {"step": "step", "epoch": "epoch", "train_loss": "training loss", "loss": "validation loss"}
    titles |= {name: _metric(name) for name in [*facts.run.headline, *chosen_by]}
    forms = {"step": ".0f", "epoch": ".4g", "train_loss": ".4g", "loss": ".4g"}
    kept = [name for name in titles if any(name in evaluation for evaluation in evaluations)]
    # Records of earlier versions do not name the step of an evaluation.
    by = ["step"] if "step" in kept else [name for name in best if name in kept]
    lines = [
        [
            "★" if any(evaluation.get(name) == best.get(name) for name in by) else "",
            *(_fixed(evaluation.get(name), forms.get(name, ".3f")) for name in kept),
        ]
        for evaluation in evaluations
    ]
    return _table(["", *(titles[name] for name in kept)], lines)


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> Markup:
    """Every cell is text."""
    return Markup("\n".join(table(titles, lines)))


def _block(language: str, code: str) -> Markup:
    """A fenced block that nothing in `code` can end."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", code)), 3)
    return Markup(f"{fence}{language}\n{code.rstrip()}\n{fence}")


def _metric(name: str) -> str:
    return TITLES.get(name, name)


def _fixed(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _as_markdown(value: object) -> Markup:
    """What a template prints is text, and is escaped, unless a macro or a function here made it."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


_CODE = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_CODE.filters["literal"] = repr  # on one line, so that no label can end the block of code
_MARKDOWN = _CODE.overlay(autoescape=True, finalize=_as_markdown)
_MARKDOWN.filters |= {
    "count": count_told,
    "fixed": _fixed,
    "listed": lambda words: listed(list(words)),
    "metric": _metric,
    "percent": lambda share: f"{share:.0%}",
    "sentence": _sentence,
    "setting": setting_text,
}
