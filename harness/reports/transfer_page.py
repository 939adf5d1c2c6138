"""The page of a transfer grid, in Markdown."""

from __future__ import annotations

from harness.reports.markdown import Markup
from harness.reports.templates import render
from harness.studies.transfer import Grid, Row


def markdown(grid: Grid, picture: str | None) -> str:
    """The page; `picture` is the file name of the heat map beside it."""
    return render(
        "transfer_page.md.j2",
        grid=grid,
        picture=picture,
        settings=", ".join(f"{name}={value}" for name, value in grid.settings.items()),
        titles=["trained on", "validated on", *(f"{lang} (n = {grid.counts[lang]})" for lang in grid.langs)],
        rows=[["+".join(row.train), validated(row), *(_cell(grid, row, lang) for lang in grid.langs)] for row in grid.rows],
    )


def validated(row: Row) -> str:
    """The languages whose validation rows selected the checkpoint."""
    return "own" if row.own else "+".join(row.validation)


def _cell(grid: Grid, row: Row, lang: str) -> str:
    text = " ".join(part for part in grid.texts(row, lang) if part)
    return Markup((f"**{text}**" if (row, lang) in grid.best else text) + (" ◆" if grid.is_trained(row, lang) else ""))
