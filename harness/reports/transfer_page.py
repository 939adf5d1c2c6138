"""The page of a transfer grid, in Markdown."""

from __future__ import annotations

from harness.reports.markdown import Markup, escape, table
from harness.studies.transfer import Grid, Row


def markdown(grid: Grid, picture: str | None) -> str:
    """The page; `picture` is the file name of the heat map beside it."""
    lines = [f"# {escape(grid.task)}: {escape(grid.backend)}, {escape(grid.title)}", "", _legend(grid), ""]
    if picture is not None:
        lines += [f"![{escape(grid.title)} by training and test language]({picture})", ""]
    header = ["trained on", "validated on", *(f"{lang} (n = {grid.counts[lang]})" for lang in grid.langs)]
    rows = [["+".join(row.train), validated(row), *(_marked(grid, row, lang) for lang in grid.langs)] for row in grid.rows]
    return "\n".join([*lines, *table(header, rows), ""])


def validated(row: Row) -> str:
    """Which validation language selected the checkpoint."""
    return "own" if row.own else "+".join(row.validation)


def _marked(grid: Grid, row: Row, lang: str) -> str:
    text = " ".join(part for part in grid.texts(row, lang) if part)
    return Markup((f"**{text}**" if (row, lang) in grid.best else text) + (" ◆" if grid.is_trained(row, lang) else ""))


def _legend(grid: Grid) -> str:
    changed = ", ".join(f"{name}={value}" for name, value in grid.settings.items())
    made = f"Made by `bench study transfer`{' with ' + escape(changed) if changed else ''}."
    if len(grid.seeds) == 1:
        spread = f"in brackets the 95% interval of the sampling of rows (seed {grid.seeds[0]})"
    else:
        spread = (
            f"the mean of {len(grid.seeds)} seeds ({', '.join(map(str, grid.seeds))}), then the smallest and the largest value"
        )
    return (
        f"{made} {'Lower' if grid.lower_is_better else 'Higher'} is better; {spread}. Bold: the best of its column. "
        "◆: tested in a language that was trained on. *validated on*: whose validation rows selected the checkpoint (own: "
        "those of the training languages). Where intervals overlap widely, the order means little."
    )
