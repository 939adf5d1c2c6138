"""What others published, in Markdown: beside what was measured here, never among it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.records.entries import TITLES
from harness.reports.markdown import escape, table

if TYPE_CHECKING:
    from harness.specs.reported import Figure, Reported

TITLE = "Reported by others, not measured here"
ANCHOR = "reported-by-others-not-measured-here"
REPORTED = f"""\
## {TITLE}

Published figures, from the files in `results/reported/`: on other rows, by other code, and never ranked. In brackets, for
shares of a known number of rows: the 95% interval of Clopper and Pearson.
"""


def reported_section(reported: Sequence[Reported]) -> list[str]:
    """Lines; none where there is nothing. Each source has a table."""
    lines = [REPORTED] if reported else []
    titles = ["model", "task", "language", "trained or prompted", "rows", "metric", "reported", "note"]
    for source in reported:
        lines += [f"### {escape(source.name)}", "", f"Source: {escape(source.source)}.", ""]
        lines += [f"Note: {escape(source.note)}", ""] if source.note else []
        lines += [*table(titles, map(cells, source.figures)), ""]
    return lines


def cells(figure: Figure) -> list[str]:
    """Of a table of one source."""
    n = "n unknown" if figure.n is None else f"n = {figure.n:,}"
    rows = n if figure.split == "test" else f"{figure.split}, {n}"
    metric = TITLES.get(figure.metric, figure.metric)
    return [figure.model, figure.task, figure.lang or "all", figure.train, rows, metric, figure.shown, figure.note]
