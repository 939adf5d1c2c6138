"""The columns of the ranking and every other term of the page, as `columns.yaml` declares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel

from harness.core.types import LabelKind
from harness.records.entries import Entry
from harness.reports.page.model import Column, Term
from harness.reports.templates import better
from harness.reports.text.formats import title

OTHER = "What {name} of Hugging Face evaluate returns; bench does not know which direction is better. No interval."


class MetricTerm(BaseModel):
    """`unparsed`: what a row without a parsed answer counts as, and where rows have several labels."""

    explain: str
    unparsed: str
    unparsed_multilabel: str | None = None


class Declared(BaseModel):
    before: list[Column]
    after: list[Column]
    terms: list[Term]
    metrics: dict[str, MetricTerm]
    intervals: dict[str, str]


@cache
def declared() -> Declared:
    return Declared.model_validate(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")))


class MetricUse(BaseModel):
    """The kinds of labels of the runs that have a metric, and the methods of its intervals."""

    kinds: set[LabelKind] = set()
    methods: set[str] = set()


def uses_of(entries: Iterable[Entry]) -> dict[str, MetricUse]:
    """By metric."""
    found: dict[str, MetricUse] = {}
    for entry in entries:
        for name, estimate in entry.record.metrics.values.items():
            use = found.setdefault(name, MetricUse())
            use.kinds.add(entry.record.identity.label_kind)
            if estimate.method:
                use.methods.add(estimate.method)
    return found


def merged(uses: Iterable[Mapping[str, MetricUse]]) -> dict[str, MetricUse]:
    """Of several sets of runs together."""
    found: dict[str, MetricUse] = {}
    for some in uses:
        for name, use in some.items():
            known = found.get(name, MetricUse())
            found[name] = MetricUse(kinds=known.kinds | use.kinds, methods=known.methods | use.methods)
    return found


def columns_of(uses: Mapping[str, MetricUse], headlines: Sequence[str]) -> list[Column]:
    """All columns in their order: with a column for each metric that a run has, the `headlines` first."""
    names = dict.fromkeys([*headlines, *sorted(uses)])
    return [*declared().before, *(_metric(name, uses.get(name, MetricUse())) for name in names), *declared().after]


def direction(metric: str) -> str:
    return f"{better(metric)} is better"


def _metric(name: str, use: MetricUse) -> Column:
    term = declared().metrics.get(name)
    if term is None:
        explain = OTHER.format(name=name.removeprefix("evaluate/"))
        return Column(key=name, title=title(name), kind="metric", explain=explain)
    words = _unparsed(term, use.kinds), _interval(sorted(use.methods))
    parts = [term.explain, f"{better(name).capitalize()} is better.", *words]
    return Column(
        key=name,
        title=title(name),
        kind="metric",
        better="lower" if better(name) == "lower" else "higher",
        explain=" ".join(parts),
    )


def _unparsed(term: MetricTerm, kinds: set[LabelKind]) -> str:
    words = [term.unparsed]
    if term.unparsed_multilabel and LabelKind.MULTILABEL in kinds:
        several = term.unparsed_multilabel
        words = [several] if len(kinds) == 1 else [term.unparsed, f"or with several labels per row as {several}"]
    return f"A row without a parsed answer counts as {', '.join(words)}."


def _method(known: Mapping[str, str], method: str) -> str:
    base = method.removeprefix("cluster_")
    return known.get(base, base) + ("" if base == method else ", by group of rows")


def _interval(methods: Sequence[str]) -> str:
    known = declared().intervals
    named = "; ".join(_method(known, method) for method in methods)
    return f"95% interval of the sampling of rows: {named}." if methods else "No interval."
