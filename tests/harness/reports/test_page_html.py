"""The page as a file: whole, of one piece, the same each time, and whatever the names."""

from __future__ import annotations

import builtins
import json
import re
from typing import Any

import pytest

from harness.core.errors import MissingExtra
from harness.models.checkpoints import cache_dir
from harness.reports.page import html

EMPTY: dict[str, Any] = {"version": 1, "tables": [], "runs": {}}
BAD = '</script><script>alert(1)</script><!-- & \u2028 \u202e "\\'


@pytest.fixture
def page(runtime: None) -> str:
    return html.render({**EMPTY, "name": BAD})


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
def test_names_end_no_element(page: str) -> None:
    assert data_of(page)["name"] == BAD
    assert page.count("<script") == page.count("</script>") == 4
    assert "<!--" not in page
    assert "\u2028" not in page


@pytest.mark.slow
def test_the_same_payload_gives_the_same_page(page: str) -> None:
    assert html.render({**EMPTY, "name": BAD}) == page
    assert html.shows(page, {**EMPTY, "name": BAD})
    assert not html.shows(page, {**EMPTY, "name": "other"})
    assert not html.shows("no page at all", EMPTY)


@pytest.mark.slow
def test_half_a_surrogate_pair_is_no_obstacle(runtime: None) -> None:
    page = html.render({**EMPTY, "name": "\ud800"})
    page.encode()
    assert html.shows(page, {**EMPTY, "name": "\ud800"})


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


def test_every_script_and_style_is_in_it() -> None:
    """A file that is left beside the others, but not in the list, would be silently missing."""
    assert sorted(path.stem for path in html.PARTS.glob("*.js")) == sorted(html.SCRIPTS)


@pytest.mark.slow
def test_the_real_runtime_and_a_hundred_runs_take_less_than_3_mb() -> None:
    """The runtime, the specs and the code leave this much for data; the data of runs have a budget of their own."""
    page = html.render(EMPTY)
    assert len(page.encode()) < 1_200_000
    assert (cache_dir() / "page").is_dir()
    assert html.render(EMPTY) == page  # from the cache


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "vl_convert":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match="vl-convert-python"):
        html.render(EMPTY)
