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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel

from harness.core.cache_folder import cache_dir
from harness.core.errors import MissingExtra, RunError
from harness.core.json_files import read_sealed, write_atomically, write_sealed
from harness.core.plain import plain
from harness.reports.page.answer import Answer, decimal, interval
from harness.reports.page.model import Page
from harness.reports.pictures import charts_made_by
from harness.reports.text.formats import plural, title
from harness.reports.words import NOBODY

PARTS = Path(__file__).parent / "browser"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const) (\w+))", re.MULTILINE)
_DATA = b'<script type="application/json" id="data">'
_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


@cache
def templates() -> Environment:
    """What is in a template is text, whatever it holds: escaped, and without what would steer a page."""
    environment = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=lambda value: plain(value) if type(value) is str else value,
    )
    environment.globals.update(plural=plural, decimal=decimal, interval=interval, title=title, nobody=NOBODY)
    return environment


class Fragment(BaseModel):
    """A part of the page as text: what `Page` holds of some tables as JSON, and their answers in words. `count`: runs."""

    lists: dict[str, str]
    mappings: dict[str, str]
    answers: str
    count: int


LISTS, MAPPINGS = ("tables", "sections", "matrices"), ("runs", "rowsets")
"""The fields of a page that are those of its parts, one after the other."""


def fragment(page: Page) -> Fragment:
    """What the page says of its tables."""
    found = page.dump()
    answers = [Answer(board, page.tables, page.curves) for board in page.tables]
    return Fragment(
        lists={name: as_json(found[name])[1:-1] for name in LISTS},
        mappings={name: as_json(found[name])[1:-1] for name in MAPPINGS},
        answers=templates().get_template("answers.html.j2").render(answers=answers),
        count=len(page.runs),
    )


def render(page: Page, parts: Sequence[Fragment] | None = None) -> Iterator[str]:
    """The whole file in pieces, since of many runs it is large; the same payload and libraries give the same text. `parts`: in
    place of the page's own tables. Raises `MissingExtra` at once."""
    runtime, charts, script = _runtime(), _charts(), bundle(PARTS)
    parts = [fragment(page)] if parts is None else parts
    return (
        templates()
        .get_template("page.html.j2")
        .generate(
            page=page,
            answers=(Markup(part.answers) for part in parts),
            runs=sum(part.count for part in parts),
            css=Markup((PARTS / "page.css").read_text(encoding="utf-8")),
            data=map(Markup, data_pieces(page, parts)),
            charts=Markup(charts),
            runtime=Markup(runtime),
            script=Markup(script),
            hashes=Markup(" ".join(f"'sha256-{_digest(text)}'" for text in (runtime, script))),
        )
    )


def bundle(folder: Path) -> str:
    """The ES modules of a folder as one script: each in a function of its own that returns its exports, after those that it
    imports. A page from disk can't load one file from another, and no policy would let it load code from its own text."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.js")}
    order = TopologicalSorter(
        {name: sorted({found[1] for found in IMPORT.findall(text)}) for name, text in sorted(texts.items())}
    )
    return "\n".join(['(() => {\n"use strict";', *(_wrapped(name, texts[name]) for name in order.static_order()), "})();\n"])


def _wrapped(name: str, text: str) -> str:
    exports = ", ".join(EXPORT.findall(text))
    inside = IMPORT.sub(lambda found: f"const {{{found[1].replace(' as ', ': ')}}} = ${found[2]};\n", text)
    return f"// ---- {name}.js\nconst ${name} = (() => {{\n{EXPORT.sub('', inside)}return {{{exports}}};\n}})();"


def as_json(value: Any) -> str:
    """JSON that can stand in a <script>: no name in it can end the element, or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode(errors="backslashreplace").decode().translate(_ESCAPES)  # half a surrogate pair has no UTF-8


def data_pieces(page: Page, parts: Sequence[Fragment]) -> Iterator[str]:
    """`Page.dump` as JSON, with the tables of the parts, in pieces."""
    yield as_json({name: value for name, value in page.dump().items() if name not in (*LISTS, *MAPPINGS)})[:-1]
    for name in LISTS:
        yield from _joined(f',"{name}":[', [part.lists[name] for part in parts], "]")
    for name in MAPPINGS:
        yield from _joined(f',"{name}":{{', [part.mappings[name] for part in parts], "}")
    yield "}"


def _joined(begin: str, members: Sequence[str], end: str) -> Iterator[str]:
    yield begin
    for place, member in enumerate(filter(None, members)):
        if place:
            yield ","
        yield member
    yield end


def shows(content: bytes, page: Page, parts: Sequence[Fragment] | None = None) -> bool:
    """Whether this file was made of this payload, with whatever libraries; `parts`: as in `render`."""
    begin = content.find(_DATA)
    end = begin + len(_DATA)
    for piece in data_pieces(page, [fragment(page)] if parts is None else parts):
        encoded = piece.encode()
        if not content.startswith(encoded, end):
            return False
        end += len(encoded)
    return begin >= 0 and content.startswith(b"</script>", end)


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


def _charts() -> str:
    """Every chart as JSON, without its rows and with @x@, @y@, @title@ for its titles; and what they look like on light and
    dark. Kept, as making it takes half a second. Raises `MissingExtra`."""
    kept, made = cache_dir() / "page" / "charts.json", charts_made_by()
    found = read_sealed(kept) or {}
    if found.get("made_by") != made:
        found = {"made_by": made, "charts": as_json(_new_charts())}
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(kept, found)
    return str(found["charts"])


def _new_charts() -> dict[str, Any]:
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
