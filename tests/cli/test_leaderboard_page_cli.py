"""`bench leaderboard` and its page: written beside the Markdown, checked where it exists, and not missed without the extra."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from harness.models.checkpoints import cache_dir
from harness.reports.page import html

BOARD = Path("results") / "LEADERBOARD.md"
PAGE = Path("results") / "leaderboard.html"


@pytest.fixture
def runtime(project: Path) -> None:
    """A stand-in for the charts' runtime, which takes seconds to put together."""
    kept = cache_dir() / "page" / f"vega-{html.version('vl-convert-python')}.js"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("window.vegaEmbed = 1;", encoding="utf-8")


def test_the_page_shows_the_records(bench: Any, runtime: None, two_runs: list[str]) -> None:
    said = bench("leaderboard")
    assert said.code == 0
    assert str(PAGE) in said.err
    page = PAGE.read_text(encoding="utf-8")
    assert all(f'"runs/{run}/run.json"' in page for run in two_runs)
    assert str(Path.cwd()) not in page
    bench("leaderboard")
    assert PAGE.read_text(encoding="utf-8") == page


def test_check_knows_a_stale_page(bench: Any, runtime: None, two_runs: list[str]) -> None:
    bench("leaderboard")
    assert "leaderboard.html are up to date" in bench("leaderboard", "--check").out
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(two_runs[0], "another"), encoding="utf-8")
    stale = bench("leaderboard", "--check", "--json")
    assert stale.code == 1
    assert stale.json == {"path": str(PAGE), "up_to_date": False}
    PAGE.write_text(page.replace("window.vegaEmbed", "window.another"), encoding="utf-8")
    assert bench("leaderboard", "--check").code == 0  # another runtime shows the same records
    PAGE.unlink()
    assert bench("leaderboard", "--check").code == 0  # it need not exist


def test_without_the_extra_there_is_the_markdown(bench: Any, two_runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name in ("vl_convert", "altair"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    said = bench("leaderboard")
    assert said.code == 0
    assert BOARD.exists()
    assert not PAGE.exists()
    assert "leaderboard.html" in said.err
    assert "[charts]" in said.err
    assert bench("leaderboard", "--check").code == 0
