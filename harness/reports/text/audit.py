"""What `bench analyze data` says of one language: the findings of `audit` and `suspects`, and the sentence to take along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.analysis.audit import (
    Cleaned,
    Conflicts,
    Overlap,
    Splits,
    cleaned,
    conflicts,
    label_counts,
    on_these_rows,
    overlaps,
    read_splits,
    without_text,
)
from harness.analysis.suspects import Shortlist, shortlist
from harness.core.errors import UnknownName, UserError
from harness.core.types import LabelKind
from harness.data.dates import dates_of
from harness.records.entries import Entry, read_entries, read_entry
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.specs.catalog import Catalog
from harness.specs.tasks import Split, TaskSpec


@dataclass(frozen=True)
class Report:
    """`dates` has an object for each backend; `other_rows` counts runs left out, as they were tested on other rows."""

    task: TaskSpec
    lang: str
    split: Split
    splits: Splits
    missing: dict[Split, str]
    empty: int
    counts: dict[str, dict[Split, int]]
    overlaps: list[Overlap]
    conflicts: Conflicts
    runs: list[str]
    other_rows: int
    cleaned: list[Cleaned]
    suspects: Shortlist | None
    dates: list[dict[str, Any]]

    def learned(self) -> Overlap | None:
        """Of the tested rows with the training rows."""
        return next((found for found in self.overlaps if (found.of, found.among) == (self.split, "train")), None)


def make_report(
    task: TaskSpec,
    lang: str,
    split: Split,
    data: Path | None,
    known: Catalog,
    store: Store,
    asked: list[Entry] | None,
    backends: list[str],
) -> Report:
    """The rows of one language, with the runs that were tested on its rows of `split`.

    They are those of `asked` (see `named_runs`) in this language, else all of `store`, of `backends` only if there are any.
    Raises `UserError` for names that are none, for an asked run on other rows, and what reading the rows raises.
    """
    splits, missing = read_splits(task, lang, data)
    pairs = list(overlaps(splits))
    twin_ids = next((pair.ids for pair in pairs if (pair.of, pair.among) == (split, "train")), [])
    entries, other_rows = _runs(task, lang, split, splits, store, asked, backends)
    runs, names = (
        [read_predictions(store, entry.run_id) for entry in entries],
        {entry.run_id: entry.display_name for entry in entries},
    )
    voting = None if task.labels.kind is LabelKind.MULTILABEL else shortlist(runs)
    return Report(
        task=task,
        lang=lang,
        split=split,
        splits=splits,
        missing=missing,
        empty=without_text(task, lang, data, splits),
        counts=label_counts(splits, task.label_space.names),
        overlaps=pairs,
        conflicts=conflicts(splits),
        runs=[run.run_id for run in runs],
        other_rows=other_rows,
        cleaned=[replace(run, backend=names[run.run_id]) for run in cleaned(runs, twin_ids)],
        suspects=voting,
        dates=_dates(task, lang, known, [run.identity.backend.name for run in runs], backends),
    )


def named_runs(
    store: Store, names: list[str], task: TaskSpec, split: Split, langs: list[str], backends: list[str]
) -> list[Entry]:
    """The runs that the parts of ids mean. `langs`, `backends`: those asked for; none: any.

    Raises `UserError` for one that the other options leave out: it would be missing without a word.
    """
    entries = [read_entry(store, name) for name in dict.fromkeys(map(store.find, names))]
    for entry in entries:
        its_task, its_split, its_lang, _ = entry.group
        if (its_task, its_split) != (task.name, split):
            raise UserError(
                f"{entry.run_id} is a run on the {its_split} rows of {its_task}, not on the {split} rows of {task.name}.",
                f"Say --task {its_task} --split {its_split}, or leave the run out.",
            )
        if langs and its_lang not in langs:
            raise UserError(f"{entry.run_id} is a run in {its_lang!r}, which --lang leaves out.", f"Add --lang {its_lang}.")
        if backends and entry.backend not in backends:
            raise UserError(
                f"{entry.run_id} is a run of {entry.backend}, which --backend leaves out.", f"Add --backend {entry.backend}."
            )
    return entries


def _runs(
    task: TaskSpec, lang: str, split: Split, splits: Splits, store: Store, asked: list[Entry] | None, backends: list[str]
) -> tuple[list[Entry], int]:
    """The runs on these rows, and how many others there are of this task, language and split."""
    entries = read_entries(store) if asked is None else asked
    wanted = (task.name, split, lang)
    ours = [entry for entry in entries if entry.group[:3] == wanted and (not backends or entry.backend in backends)]
    found = on_these_rows(ours, splits.get(split, []))
    left = sorted({entry.run_id for entry in ours} - {entry.run_id for entry in found})
    if asked is not None and left:
        raise UserError(f"{left[0]} is not a run on these rows: {', '.join(wanted)}.", "Does it need another --data?")
    return found, len(ours) - len(found)


def _dates(task: TaskSpec, lang: str, known: Catalog, tested: Sequence[str], asked: Sequence[str]) -> list[dict[str, Any]]:
    """Of the backends that were asked for or have runs; else of all for this language whose training data's end is known."""
    there = known.names("backend")
    unknown = [name for name in asked if name not in there and name not in tested]
    if unknown:
        raise UnknownName("backend", unknown[0], there)
    chosen = [name for name in dict.fromkeys([*asked, *sorted(tested)]) if name in there]
    specs = [known.backend(name) for name in chosen or there]
    nothing = {"published": task.published, "may_have_read": None}
    return [
        {
            "backend": spec.name,
            **(
                dates.as_json()
                if (dates := dates_of(task.published, spec.training_cutoff))
                else {**nothing, "training_cutoff": spec.training_cutoff}
            ),
        }
        for spec in specs
        if spec.model is not None and (chosen or (spec.training_cutoff is not None and lang in (spec.languages or [lang])))
    ]


def overall(reports: Sequence[Report]) -> str:
    """The findings in several languages together: how many there are, and in which language to look."""
    first, tested = reports[0], sum(len(report.splits.get(report.split, [])) for report in reports)
    learned = {report.lang: found for report in reports if (found := report.learned()) is not None}
    twins = {lang: found.exact + found.near for lang, found in learned.items()}
    torn = {report.lang: report.conflicts.texts for report in reports}
    doubtful = {report.lang: len(report.suspects.suspects) for report in reports if report.suspects and report.suspects.rows}
    asked = {
        "rows with a twin among the training rows": twins,
        "texts with several labels": torn,
        "rows worth a second look": doubtful,
    }
    said = "; ".join(f"{what}: {_where(counts)}" for what, counts in asked.items() if counts)
    unread = [report.lang for report in reports if report.lang not in learned]
    left_out = f" Not compared with training rows: {', '.join(unread)}." if unread else ""
    return f"All {len(reports)} languages, {tested:,} {first.split} rows in all. {said[0].upper()}{said[1:]}.{left_out}"


def _where(counts: Mapping[str, int]) -> str:
    """`7 (en 5, ja 2)`, or `none`."""
    some = ", ".join(f"{lang} {count:,}" for lang, count in counts.items() if count)
    return f"{sum(counts.values()):,} ({some})" if some else "none"


def sentence(report: Report) -> str:
    """What a reader should take along, in plain words."""
    parts = [_twins_said(report), _conflicts_said(report), _suspects_said(report), _dates_said(report)]
    return " ".join(part for part in parts if part)


def _twins_said(report: Report) -> str:
    learned = report.learned()
    if learned is None:
        return f"{report.split} rows can't be compared with training rows: one of the two is missing."
    twins, among = learned.exact + learned.near, f"among the {len(report.splits['train']):,} training rows"
    if not twins:
        return f"None of the {learned.rows:,} {report.split} rows has a twin {among}."
    said = f"Of {learned.rows:,} {report.split} rows {twins:,} {_have(twins)} a twin {among}"
    if not report.cleaned:
        return said + "."
    best = report.cleaned[0]
    return (
        f"{said}; without them {best.backend} is right in {best.without['value']:.3f} of {best.n:,} rows, "
        f"with them in {best.value['value']:.3f}."
    )


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _conflicts_said(report: Report) -> str:
    found = report.conflicts
    if not found.texts:
        return ""
    texts = "One text stands" if found.texts == 1 else f"{found.texts:,} texts stand"
    ceiling = report.conflicts.ceiling.get(report.split, 1.0)
    limit = f", so that no more than {ceiling:.3f} of the {report.split} rows can be answered right" if ceiling < 1 else ""
    return f"{texts} with several labels ({found.rows:,} rows){limit}."


def _suspects_said(report: Report) -> str:
    voting = report.suspects
    if voting is None or not voting.rows:
        return ""
    count, models = len(voting.suspects), f"{len(voting.models)} models"
    if not count:
        return f"In no row do two of {models} agree that the label is {_another(report)}."
    rows = "One row is" if count == 1 else f"{count:,} rows are"
    said = f"{rows} worth a second look: at least two of {models} are sure that the label is {_another(report)}"
    return said + ("; on such a scale most of these are hard rows, not errors." if _ordered(report) else ".")


def _ordered(report: Report) -> bool:
    return report.task.labels.kind is LabelKind.ORDINAL


def _another(report: Report) -> str:
    return "two steps or more away" if _ordered(report) and len(report.task.label_space) > 2 else "another one"


def _dates_said(report: Report) -> str:
    read = [line for line in report.dates if line["may_have_read"]]
    if not read:
        return ""
    until = ", ".join(f"{line['backend']} ({line['training_cutoff']})" for line in read)
    return f"By its date the training data of {until} may hold the rows: they were public by {report.task.published}."
