"""Trained in one language, tested in another: the matrices that the records of all runs hold, whoever made them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from harness.core.json_files import digest
from harness.records.entries import Entry
from harness.records.names import told_apart
from harness.reports.page.details import shortened
from harness.reports.transfer_page import validated
from harness.studies.transfer import Grid, Row, make_grid, row_of


def matrices(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One for each task and way of training that was done in two languages (or sets of them) and tested in two, at least once
    in one that was not trained on."""
    together: dict[str, list[Entry]] = {}
    for entry in entries:
        identity = entry.manifest["identity"]
        if identity["train"] is not None:
            together.setdefault(_key(entry), []).append(entry)
    found: list[tuple[str, list[Entry], list[Row]]] = []
    for key, members in together.items():
        kept = _on_shared_rows(members)
        rows = sorted({row_of(entry.record.identity) for entry in kept}, key=_order)
        langs = {entry.group[2] for entry in kept}
        crossed = any(entry.group[2] not in entry.manifest["identity"]["train"]["langs"] for entry in kept)
        if crossed and len({row.train for row in rows}) > 1 and len(langs) > 1:
            found.append((key, kept, rows))
    found.sort(key=lambda item: (_place(item[1]), item[0]))
    drawn = []
    for _, several in groupby(found, key=lambda item: item[1][0].group[:2]):
        _, runs, ways = zip(*several, strict=True)
        settings = told_apart(runs, [_settings(kept[0]) for kept in runs])
        drawn += [_matrix(kept, rows, said) for kept, rows, said in zip(runs, ways, settings, strict=True)]
    return drawn


def _order(row: Row) -> tuple[int, tuple[str, ...], bool, Row]:
    """Single languages first; of one training the checkpoint of its own validation rows first."""
    return len(row.train), row.train, not row.own, row


def _key(entry: Entry) -> str:
    """Digest of all that determines a run but languages, rows and the seed; names of labels may differ between languages."""
    identity = entry.manifest["identity"]
    train = _without(identity["train"], "langs", "validation_langs", "train_count", "train_rows", "validation_rows")
    rest = _without(identity, "lang", "rows", "seed", "labels", "train")
    return digest([rest, train, len(identity["labels"]), _each(identity["train"]), entry.manifest.get("limit")])


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _each(train: Mapping[str, Any]) -> float:
    """Training rows of each language: a limit is one of each."""
    return float(train["train_count"] / len(train["langs"]))


def _on_shared_rows(members: Sequence[Entry]) -> list[Entry]:
    """In each language the rows that most of the runs were tested on; of one seed the latest run in a cell."""
    counts: dict[str, Counter[str]] = {}
    for entry in members:
        counts.setdefault(entry.group[2], Counter())[entry.group[3]] += 1
    chosen = {lang: max(sorted(found), key=lambda rows: found[rows]) for lang, found in counts.items()}
    latest: dict[tuple[Row, str, int], Entry] = {}
    for entry in sorted(members, key=lambda entry: (str(entry.manifest.get("finished")), entry.run_id)):
        if entry.group[3] == chosen[entry.group[2]]:
            latest[row_of(entry.record.identity), entry.group[2], entry.seed] = entry
    return sorted(latest.values(), key=lambda entry: (entry.group[2], entry.run_id))


def _place(kept: Sequence[Entry]) -> tuple[str, str, str, str]:
    return kept[0].group[0], kept[0].group[1], kept[0].display_name, _settings(kept[0])


def _settings(entry: Entry) -> str:
    changed = entry.manifest.get("settings") or {}
    words = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in changed.items()]
    return ", ".join([f"{_each(entry.manifest['identity']['train']):,.0f} training rows of each language", *words])


def _matrix(kept: Sequence[Entry], rows: Sequence[Row], settings: str) -> dict[str, Any]:
    metric = str(kept[0].metrics["headline"][0])
    grid = make_grid([entry.record for entry in kept], metric, rows)
    return {
        "task": grid.task,
        "split": kept[0].group[1],
        "backend": kept[0].display_name,
        "metric": metric,
        "settings": settings,
        "seeds": list(grid.seeds),
        "langs": list(grid.langs),
        "n": [grid.counts[lang] for lang in grid.langs],
        "rows": [{"train": "+".join(row.train), "validation": validated(row)} for row in rows],
        "cells": [[_cell(grid, row, lang) for lang in grid.langs] for row in rows],
    }


def _cell(grid: Grid, row: Row, lang: str) -> dict[str, Any] | None:
    cell = grid.cells.get((row, lang))
    if cell is None:
        return None
    return {
        **{name: shortened(getattr(cell, name)) for name in ("value", "low", "high")},
        "trained": grid.is_trained(row, lang),
        "best": (row, lang) in grid.best,
    }
