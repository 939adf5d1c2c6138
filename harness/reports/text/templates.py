"""Rendering of the text templates beside this module."""

from __future__ import annotations

import re
from typing import Any

from harness.reports import templates
from harness.reports.text import formats

FILTERS = {function.__name__: function for function in formats.FILTERS}


def render(template: str, **values: Any) -> str:
    """One paragraph of plain text. A line break in a template is a space; before punctuation it is nothing."""
    text = templates.render(f"text/{template}.txt.j2", FILTERS, plural=formats.plural, **values).strip()
    return re.sub(r"\s*\n\s*", " ", re.sub(r"\s*\n\s*(?=[,;:.)])", "", text))
