"""The Markdown reports, rendered from the Jinja templates in this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.reports.markdown import escape, link, row, table
from harness.reports.text.formats import title
from harness.statistics.metrics import LOWER_IS_BETTER


def better(metric: str) -> str:
    """`lower` or `higher`."""
    return "lower" if metric in LOWER_IS_BETTER else "higher"


def render(name: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """The text of the template `name`, which ends in one line break. Nothing is escaped automatically: `esc` escapes names,
    `row` and `table` escape cells."""
    own = () if filters is None else tuple(filters.items())
    return _environment(own).get_template(name).render(values).rstrip("\n") + "\n"


@cache
def _environment(filters: tuple[tuple[str, Callable[..., Any]], ...]) -> Environment:
    """Kept, since to compile a template takes longer than to fill it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown
    )
    environment.globals["table"] = lambda titles, rows: "".join(f"{line}\n" for line in table(titles, rows))
    environment.filters |= {"better": better, "esc": escape, "link": link, "row": row, "title_of": title, **dict(filters)}
    return environment
