"""`bench leaderboard` and its page: written beside the Markdown, checked where it exists, and not missed without the extra."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core.cache_folder import cache_dir
from harness.reports.page import html

BOARD = Path("results") / "LEADERBOARD.md"
PAGE = Path("results") / "leaderboard.html"
CHARTS = Path("results") / "charts"


@pytest.fixture
def runtime(project: Path) -> None:
    """A stand-in for the charts' runtime, which takes seconds to put together."""
    kept = cache_dir() / "page" / f"vega-{html.version('vl-convert-python')}.js"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("window.vegaEmbed = 1;", encoding="utf-8")


@pytest.mark.slow
def test_the_page_shows_the_records(bench: Any, runtime: None, two_runs: list[str]) -> None:
    said = bench("leaderboard")
    assert said.code == 0
    assert str(PAGE) in said.err
    page = PAGE.read_text(encoding="utf-8")
    assert all(f'"runs/{run}/run.json"' in page for run in two_runs)
    assert str(Path.cwd()) not in page
    bench("leaderboard")
    assert PAGE.read_text(encoding="utf-8") == page


@pytest.mark.slow
def test_check_knows_a_stale_page(bench: Any, runtime: None, two_runs: list[str]) -> None:
    bench("leaderboard")
    assert bench("leaderboard", "--check").code == 0
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(two_runs[0], "another"), encoding="utf-8")
    stale = bench("leaderboard", "--check", "--json")
    assert stale.code == 1
    assert stale.json == {"path": str(PAGE), "up_to_date": False}
    PAGE.write_text(page.replace("window.vegaEmbed", "window.another"), encoding="utf-8")
    assert bench("leaderboard", "--check").code == 0  # another runtime shows the same records
    PAGE.unlink()
    assert bench("leaderboard", "--check").code == 0  # it need not exist


@pytest.mark.slow
def test_check_looks_for_the_pictures(bench: Any, runtime: None, two_runs: list[str]) -> None:
    pytest.importorskip("vl_convert")
    bench("leaderboard")
    assert "](charts/" in BOARD.read_text(encoding="utf-8")
    (picture,) = CHARTS.glob("*-speed.svg")
    earlier = CHARTS / "toy-test-en-01234567-speed.svg"
    (CHARTS / "mine.svg").write_text("")
    assert bench("leaderboard", "--check").code == 0
    earlier.write_text("")
    assert bench("leaderboard", "--check", "--json").json == {"path": str(earlier), "up_to_date": False}
    earlier.unlink()
    picture.unlink()
    gone = bench("leaderboard", "--check")
    assert gone.code == 1
    assert str(picture) in gone.err
    assert "Run `bench leaderboard`." in gone.err
    bench("leaderboard")
    assert bench("leaderboard", "--check").code == 0
    for path in CHARTS.iterdir():
        path.unlink()
    CHARTS.rmdir()
    assert bench("leaderboard", "--check").code == 1


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing what the extra brings fails as if it were not installed."""
    for name in ("vl_convert", "altair"):
        monkeypatch.setitem(sys.modules, name, None)


def test_without_the_extra_there_is_the_markdown(bench: Any, without_charts: None, two_runs: list[str]) -> None:
    said = bench("leaderboard")
    assert said.code == 0
    assert BOARD.exists()
    assert not PAGE.exists()
    assert "leaderboard.html" in said.err
    assert "[charts]" in said.err
    assert "earlier records" not in said.err
    assert bench("leaderboard", "--check").code == 0


@pytest.mark.slow
def test_without_the_extra_an_older_page_is_told_of(
    bench: Any, runtime: None, two_runs: list[str], request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("vl_convert")
    bench("leaderboard")
    request.getfixturevalue("without_charts")
    assert "earlier records" not in bench("leaderboard").err  # it shows the records that there are
    assert bench("leaderboard", "--check").code == 0
    bench("run", "--backend", "majority", "--lang", "ja", "--limit", 3)
    for arguments in ([], ["--json"]):
        said = bench("leaderboard", *arguments)
        assert said.code == 0
        assert str(PAGE) in said.err
    stale = bench("leaderboard", "--check")
    assert stale.code == 1
    assert "[charts]" in stale.err
    assert f"or delete {PAGE}." in stale.err
    PAGE.unlink()
    assert bench("leaderboard", "--check").code == 0
