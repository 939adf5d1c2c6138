"""The columns of the ranking and every other term of the page, as `columns.yaml` declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def columns_of(entries: Sequence[Entry], headlines: Sequence[str]) -> list[Column]:
    """All columns in their order: with a column for each metric that a run has, the `headlines` first."""
    there = {name for entry in entries for name in entry.record.metrics.values}
    names = dict.fromkeys([*headlines, *sorted(there)])
    return [*declared().before, *(_metric(name, entries) for name in names), *declared().after]


def direction(metric: str) -> str:
    return f"{better(metric)} is better"


def _metric(name: str, entries: Sequence[Entry]) -> Column:
    term = declared().metrics.get(name)
    if term is None:
        explain = OTHER.format(name=name.removeprefix("evaluate/"))
        return Column(key=name, title=title(name), kind="metric", explain=explain)
    having = [entry.record for entry in entries if name in entry.record.metrics.values]
    kinds = {record.identity.label_kind for record in having}
    methods = sorted({record.metrics.values[name].method or "" for record in having} - {""})
    parts = [term.explain, f"{better(name).capitalize()} is better.", _unparsed(term, kinds), _interval(methods)]
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
