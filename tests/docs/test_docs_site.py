"""`mkdocs build --strict`: every page, link and anchor; and a result that needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shell import PAGES, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's advice on its successor is no warning of ours
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_is_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        name = Path(page).with_suffix(".html").name
        assert f'href="{name}"' in home or name == "index.html", f"{page} is not in the navigation"
    assert 'href="reference/cli.html"' in home


def test_nothing_is_fetched(site: Path) -> None:
    """Links may lead to the web; what a browser loads by itself may not."""
    loading = re.compile(r"""<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=["']?(https?:)?//""")
    for page in site.rglob("*.html"):
        html = re.sub(r'<link rel="?canonical[^>]*>', "", page.read_text(encoding="utf-8"))
        assert not loading.search(html), page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:|@import", sheet.read_text(encoding="utf-8")), sheet


def test_it_opens_from_disk(site: Path) -> None:
    """Links lead to files, not to folders that a server would answer for; the search has its index in a script."""
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target in re.findall(r'<a\b[^>]*?href="([^"#?]+)', page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).is_file(), f"{page.name}: {target}"
    assert (site / "search" / "search_index.js").is_file()


def test_what_pages_link_to_in_the_repository_is_there(site: Path) -> None:
    assert (site / "repo" / "results" / "LEADERBOARD.html").is_file()
    listing = (site / "repo" / "harness" / "core" / "engine.py.html").read_text(encoding="utf-8")
    assert "class Engine(ABC):" in re.sub(r"<[^>]+>", "", listing)


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]+)(#[^)]*)?\)", text):
        assert (ROOT / target).exists(), target
        assert not anchor or anchor in anchors(ROOT / target), f"{target}{anchor}"


def anchors(page: Path) -> set[str]:
    """Those that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.browser
def test_search_works_from_disk(site: Path, browser: Any) -> None:
    """In a real browser, without a server: a result is found, nothing is asked of the network, nothing goes wrong."""
    asked: list[str] = []
    wrong: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type("calibration")
    page.locator(".md-search-result__item a").first.wait_for(timeout=60_000)
    found = page.locator(".md-search-result__item").first.inner_text()
    page.close()
    assert "alibration" in found
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert wrong == []
