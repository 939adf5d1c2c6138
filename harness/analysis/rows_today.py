"""Are recorded rows still those of the task's own files?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.row_sets import RowSet, labels_of
from harness.core.errors import BenchError
from harness.core.types import Example, LabelSpace

if TYPE_CHECKING:
    from harness.specs.catalog import Catalog
    from harness.specs.tasks import TaskSpec

LARGEST = 10_000_000
"""Bytes of a task's files (all splits of a language) that are read without being asked for: a second or so."""


def of_today(catalog: Catalog, sets: Sequence[RowSet]) -> list[RowSet] | None:
    """Those of the sets (of one task, split and language) whose rows and labels the task's own files hold today.

    None where that can't be told in a moment: rows of the hub, large files, files or a task that are not at hand.
    """
    from harness.analysis.audit import on_these_rows

    if not sets:
        return None
    name, split, lang, _ = sets[0].group
    found = rows_at_hand(catalog, name, lang, split)
    if found is None:
        return None
    space, rows = found
    labels = str(space.kind), *space.names
    return [one for one in sets if labels_of(one.entries[0]) == labels and on_these_rows(one.entries[:1], rows)]


def rows_at_hand(catalog: Catalog, name: str, lang: str, split: str) -> tuple[LabelSpace, list[Example]] | None:
    """The task's own rows and labels, where these can be read in a moment."""
    from harness.data.rows import load_examples, with_names

    try:
        task = catalog.task(name)
        if task.source.hub is not None or sum(path.stat().st_size for path in _files(task, lang)) > LARGEST:
            return None
        task = with_names(task)
        return task.label_space, load_examples(task, lang=lang, split=split)
    except (BenchError, OSError):
        return None


def _files(task: TaskSpec, lang: str) -> Iterator[Path]:
    """What a task of one's own reads; nothing for data that come with bench, which are small."""
    files = task.source.files
    if files is None:
        return
    for named in (files.train, files.validation, files.test, files.all, files.folder):
        if named is not None:
            path = task.folder / files.in_language(named, lang)
            yield from path.iterdir() if path.is_dir() else [path]
