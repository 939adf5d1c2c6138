"""`leaderboard.html`: the page as one file that opens from disk and asks the network for nothing.

The template, the style and the scripts lie in `browser/`; the data come from `data.payload`, the specs of the charts from
`harness.reports.charts`, and the runtime that draws them from vl-convert. Nothing may be loaded or sent: the policy in the
page's head names the digests of its own two scripts, and no other code runs, whatever stands in the data.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from harness.core.errors import MissingExtra, RunError
from harness.core.json_files import write_atomically
from harness.models.checkpoints import cache_dir

PARTS = Path(__file__).parent / "browser"
SCRIPTS = (
    "core",
    "scope",
    "answer",
    "kinds",
    "tips",
    "bars",
    "cells",
    "table",
    "plots",
    "sections",
    "quality",
    "languages",
    "studies",
    "reported",
    "errors",
    "run",
    "differ",
    "main",
)
_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def render(payload: Mapping[str, Any]) -> str:
    """The whole file; the same payload and libraries give the same text. Raises `MissingExtra`."""
    runtime, charts = _runtime(), as_json(_charts())
    script = "(() => {\n" + "\n".join((PARTS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS) + "})();\n"
    page = Environment(loader=FileSystemLoader(PARTS), autoescape=True, keep_trailing_newline=True).get_template("page.html.j2")
    return page.render(
        css=Markup((PARTS / "page.css").read_text(encoding="utf-8")),
        data=Markup(as_json(payload)),
        charts=Markup(charts),
        runtime=Markup(runtime),
        script=Markup(script),
        hashes=Markup(" ".join(f"'sha256-{_digest(text)}'" for text in (runtime, script))),
    )


def as_json(value: Any) -> str:
    """JSON that can stand in a <script>: no name in it can end the element, or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode(errors="backslashreplace").decode().translate(_ESCAPES)  # half a surrogate pair has no UTF-8


def shows(page: str, payload: Mapping[str, Any]) -> bool:
    """Whether this page was made of this payload, with whatever libraries."""
    found = _DATA.search(page)
    return found is not None and found[1] == as_json(payload)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _runtime() -> str:
    """Vega, Vega-Lite and vega-embed as one script, from the installed vl-convert; kept, as making it takes seconds."""
    try:
        import vl_convert
    except ImportError as error:
        raise MissingExtra("vl-convert-python", "charts", "The page") from error
    kept = cache_dir() / "page" / f"vega-{version('vl-convert-python')}.js"
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    runtime = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    if "</script" in runtime or "<!--" in runtime:
        raise RunError("The charts' runtime holds what would end its own <script>.", "Install another vl-convert-python.")
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, runtime)
    return runtime


def _charts() -> dict[str, Any]:
    """Every chart without its rows and with @x@, @y@, @title@ for its titles; and what they look like on light and dark."""
    from harness.reports import charts

    specs = {
        "languages": charts.languages(None, "@title@"),
        "transfer": charts.transfer(None, "@title@"),
        "prompts": charts.prompts(None, "@title@"),
        "curve": charts.curve(None, "@title@"),
        "confusion": charts.confusion(None),
        "reliability": charts.reliability(None),
    }
    for lower in (False, True):
        for less in (False, True):
            name = "quality" + "_lower" * lower + "_less" * less
            specs[name] = charts.quality(None, "@x@", "@y@", lower_is_better=lower, less_x_is_better=less)
    written = {name: _quiet(chart.to_dict(validate=False)) for name, chart in specs.items()}
    for spec in written.values():
        for key in ("$schema", "config", "usermeta"):
            spec.pop(key, None)  # the page passes a config of its own
    return {"specs": written, "light": charts.config(False), "dark": charts.config(True)}


def _quiet(spec: Any) -> Any:
    """Without `zero` on logarithmic scales: they have none, and Vega-Lite would say so on the reader's console."""
    if isinstance(spec, dict):
        drop = "zero" if spec.get("type") == "log" else None
        return {key: _quiet(value) for key, value in spec.items() if key != drop}
    return [_quiet(value) for value in spec] if isinstance(spec, list) else spec
