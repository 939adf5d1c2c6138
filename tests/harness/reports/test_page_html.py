"""The page as a file: whole, of one piece, the same each time, and whatever the names."""

from __future__ import annotations

import builtins
import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.core.cache_folder import cache_dir
from harness.core.errors import MissingExtra
from harness.reports.page import html
from harness.reports.page.html import EXPORT, IMPORT, PARTS
from harness.reports.page.model import Page

EMPTY = Page(bench="1.0")
BAD = '</script><script>alert(1)</script><!-- & \u2028 \u202e "\\'
SHOWN = BAD.replace("\u2028", "\\u2028").replace("\u202e", "\\u202e")
NAMED = Page(bench="1.0", note=BAD)
MODULES = {path.stem: path.read_text(encoding="utf-8") for path in PARTS.glob("*.js")}


@pytest.fixture
def page(runtime: None) -> str:
    return "".join(html.render(NAMED))


@pytest.fixture
def runtime() -> None:
    """A stand-in for the charts' runtime, where a kept one is looked for: to put together the real one takes seconds."""
    folder = cache_dir() / "page"
    folder.mkdir(parents=True)
    (folder / f"vega-{html.version('vl-convert-python')}.js").write_text("window.vegaEmbed = 1;", encoding="utf-8")


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.mark.slow
def test_names_end_no_element_and_steer_nothing(page: str) -> None:
    assert data_of(page)["note"] == SHOWN
    assert page.count("<script") == page.count("</script>") == 4
    assert "<!--" not in page
    assert not {"\u2028", "\u202e"} & set(page)


@pytest.mark.slow
def test_the_same_payload_gives_the_same_page(page: str) -> None:
    assert "".join(html.render(NAMED)) == page
    assert html.shows(page.encode(), NAMED)
    assert not html.shows(page.encode(), EMPTY)
    assert not html.shows(b"no page at all", EMPTY)


@pytest.mark.slow
def test_half_a_surrogate_pair_is_no_obstacle(runtime: None) -> None:
    half = Page(bench="1.0", note="\ud800")
    page = "".join(html.render(half)).encode()
    assert html.shows(page, half)


@pytest.mark.slow
def test_it_asks_the_network_for_nothing(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy[1]
    assert "'unsafe-inline'" not in policy[1].split("style-src")[0]
    ours = page.replace("window.vegaEmbed = 1;", "")
    assert set(re.findall(r"https?://[^\s\"']+", ours)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", ours)


def test_every_import_is_an_export_of_that_module_and_is_used() -> None:
    exports = {name: set(EXPORT.findall(text)) for name, text in MODULES.items()}
    wrong = []
    for name, text in MODULES.items():
        body = IMPORT.sub("", text)
        for found in IMPORT.finditer(text):
            names = [part.strip().split(" as ") for part in found[1].split(",")]
            wrong += [(name, one[0]) for one in names if one[0] not in exports.get(found[2], set())]
            wrong += [(name, one[-1]) for one in names if not re.search(rf"\b{one[-1]}\b", body)]
    assert wrong == []
    used = {
        (found[2], one) for text in MODULES.values() for found in IMPORT.finditer(text) for one in re.findall(r"\w+", found[1])
    }
    assert {(name, one) for name, found in exports.items() for one in found} - used == set(), "nobody imports these"


def test_modules_declare_no_globals() -> None:
    """The bundle is one expression: what a module declares at its top level is seen by those alone that import it."""
    script = html.bundle(PARTS)
    assert script.startswith('(() => {\n"use strict";\n')
    assert script.endswith("})();\n")
    outer = [
        line
        for line in script.splitlines()[2:-1]
        if line and re.match(r"(?:const|let|var|function|class|async|export|import)\b", line)
    ]
    wrappers = [line for line in outer if re.fullmatch(r"const \$\w+ = \(\(\) => \{", line)]
    assert len(wrappers) == len(MODULES)
    assert not re.search(r"^(?:export|import)\b", script, re.MULTILINE)
    assert not re.search(r"(?:\bwindow|\bglobalThis|\bself)\.\w+ = ", script)


def test_modules_come_after_what_they_import(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text('import {two as one} from "./b.js";\nexport const three = one + 1;\n')
    (tmp_path / "b.js").write_text("export const two = 2;\n")
    lines = html.bundle(tmp_path).splitlines()
    assert lines.index("const two = 2;") < lines.index("const {two: one} = $b;") < lines.index("const three = one + 1;")
    assert lines.index("return {two};") < lines.index("return {three};")


def test_the_scripts_hold_no_statistics() -> None:
    """A p value, a front and what costs how much come with the payload."""
    text = "\n".join(MODULES.values())
    assert not re.search(r"Math\.(?:exp|LN2|sqrt|random)\b|Math\.log\(|lgamma|0\.05", text)


@pytest.mark.slow
def test_the_real_runtime_and_a_hundred_runs_take_less_than_3_mb() -> None:
    """The runtime, the specs and the code leave this much for data; the data of runs have a budget of their own."""
    page = "".join(html.render(EMPTY))
    assert len(page.encode()) < 1_200_000
    assert (cache_dir() / "page").is_dir()
    assert "".join(html.render(EMPTY)) == page  # from the cache


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "vl_convert":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match="vl-convert-python"):
        html.render(EMPTY)
