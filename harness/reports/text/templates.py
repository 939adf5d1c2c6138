"""Rendering of the text templates beside this module: plain text, without escaping."""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.reports.text import formats


def render(template: str, **values: Any) -> str:
    """One paragraph. A line break in a template is a space; before punctuation it is nothing. A line that only holds a tag
    leaves no trace."""
    text = _environment().get_template(f"{template}.txt.j2").render(values).strip()
    return re.sub(r"\s*\n\s*", " ", re.sub(r"\s*\n\s*(?=[,;:.)])", "", text))


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in formats.FILTERS:
        found.filters[function.__name__] = function
    found.tests["nan"] = math.isnan
    found.globals["plural"] = formats.plural
    return found
