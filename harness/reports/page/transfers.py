"""Trained in one language, tested in another: the matrices that the records of all runs hold, whoever made them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from harness.core.json_files import digest
from harness.core.record import TrainIdentity
from harness.records.entries import Entry
from harness.records.names import told_apart
from harness.reports.heatmap import cells
from harness.reports.page.columns import direction
from harness.reports.page.model import Block, Figures, Matrix
from harness.reports.text.formats import title
from harness.studies.transfer import Row, make_grid, row_of


def matrices(entries: Sequence[Entry]) -> list[Matrix]:
    """One for each task and way of training that was done in two languages (or sets of them) and tested in two, at least once
    in one that was not trained on."""
    together: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.record.identity.train is not None:
            together.setdefault(_key(entry), []).append(entry)
    found: list[tuple[str, list[Entry], list[Row]]] = []
    for key, members in together.items():
        kept = _on_shared_rows(members)
        rows = sorted({_row(entry) for entry in kept}, key=_order)
        langs = {entry.group[2] for entry in kept}
        crossed = any(entry.group[2] not in _train(entry).langs for entry in kept)
        if crossed and len({row.train for row in rows}) > 1 and len(langs) > 1:
            found.append((key, kept, rows))
    found.sort(key=lambda item: (*item[1][0].group[:2], item[1][0].display_name, _settings(item[1][0]), item[0]))
    drawn = []
    for _, several in groupby(found, key=lambda item: item[1][0].group[:2]):
        _, runs, ways = zip(*several, strict=True)
        settings = told_apart(runs, [_settings(kept[0]) for kept in runs])
        drawn += [_matrix(kept, rows, words) for kept, rows, words in zip(runs, ways, settings, strict=True)]
    return drawn


def _train(entry: Entry) -> TrainIdentity:
    assert entry.record.identity.train is not None
    return entry.record.identity.train


def _row(entry: Entry) -> Row:
    return row_of(entry.record.identity)


def _order(row: Row) -> tuple[int, tuple[str, ...], bool, Row]:
    """Single languages first; of one training the checkpoint of its own validation rows first."""
    return len(row.train), row.train, not row.own, row


def _key(entry: Entry) -> str:
    """Digest of all that determines a run but languages, rows and the seed; names of labels may differ between languages."""
    identity, train = entry.record.identity, _train(entry)
    rows = {"langs", "validation_langs", "train_count", "train_rows", "validation_rows"}
    same = train.model_dump(mode="json", exclude_unset=True, exclude=rows)
    rest = identity.model_dump(mode="json", exclude_unset=True, exclude={"lang", "rows", "seed", "labels", "train"})
    return digest([rest, same, len(identity.labels), _each(train), entry.record.options.limit])


def _each(train: TrainIdentity) -> float:
    """Training rows of each language: a limit is one of each."""
    return train.train_count / len(train.langs)


def _on_shared_rows(members: Sequence[Entry]) -> list[Entry]:
    """In each language the rows that most of the runs were tested on; of one seed the latest run in a cell."""
    counts: dict[str, Counter[str]] = {}
    for entry in members:
        counts.setdefault(entry.group[2], Counter())[entry.group[3]] += 1
    chosen = {lang: max(sorted(found), key=lambda rows: found[rows]) for lang, found in counts.items()}
    latest: dict[tuple[Row, str, int], Entry] = {}
    for entry in sorted(members, key=lambda entry: (entry.record.finished or "", entry.run_id)):
        if entry.group[3] == chosen[entry.group[2]]:
            latest[_row(entry), entry.group[2], entry.seed] = entry
    return sorted(latest.values(), key=lambda entry: (entry.group[2], entry.run_id))


def _settings(entry: Entry) -> str:
    changed = entry.record.options.settings
    words = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in changed.items()]
    return ", ".join([f"{_each(_train(entry)):,.0f} training rows per language", *words])


def _matrix(kept: Sequence[Entry], rows: Sequence[Row], settings: str) -> Matrix:
    first = kept[0]
    metric = first.record.metrics.headline[0]
    grid = make_grid([entry.record for entry in kept], metric, rows)
    points = [point for point in cells(grid) if point["value"] is not None]
    seeds = len(grid.seeds)
    over = f" Mean of {seeds} seeds; small: lowest and highest value." if seeds > 1 else ""
    sizes = {f"{n:,}" for n in grid.counts.values()}
    each = f"{sizes.pop()} test rows each" if len(sizes) == 1 else ""
    figures = Figures(
        heads=["Trained on", "Tested on", title(metric), "Lowest–highest" if seeds > 1 else "95% interval", "Best"],
        lines=[[one["train"], one["lang"], one["text"], one["below"], "yes" if one["best"] else ""] for one in points],
        texts=2,
    )
    return Matrix(
        task=grid.task if first.group[1] == "test" else f"{grid.task} ({first.group[1]})",
        name=" · ".join(part for part in (first.display_name, title(metric), settings, each) if part),
        n=dict(grid.counts),
        block=Block(chart="transfer", words=f"{title(metric)}: {direction(metric)}.{over}", rows=points, figures=figures),
    )
