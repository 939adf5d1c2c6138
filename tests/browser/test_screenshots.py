"""The pictures in docs/screenshots, of the recorded results: `BENCH_SCREENSHOTS=1 pytest tests/browser/test_screenshots.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sections import show

from harness.records.entries import read_entries
from harness.records.store import Store
from harness.reports.page.data import payload
from harness.reports.tables import read_tables
from harness.specs.prices import load_prices
from harness.specs.reported import read_reported

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "screenshots"
SHOTS: dict[str, tuple[str, int, int, str, str]] = {
    "desktop": ("", 1280, 900, "light", ""),
    "charts": ("", 1280, 900, "light", "quality"),
    "differ": ("", 1280, 860, "light", "differ"),
    "dark": ("#lang=ja", 1280, 900, "dark", ""),
    "phone": ("", 390, 844, "light", ""),
    "run": ("#q=e5-small", 1280, 900, "light", "run"),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    results = ROOT / "results"
    store = Store(results / "runs")
    tables = read_tables(store, read_entries(store))
    prices = load_prices(tmp_path_factory.mktemp("empty"))
    return payload(store, results, tables, prices, read_reported(results / "reported")).model_dump()


def test_a_hundred_runs_take_less_than_3_mb(render: Callable[..., str], recorded: dict[str, Any]) -> None:
    assert len(recorded["runs"]) > 100
    assert len(render(recorded).encode()) < 3_000_000


@pytest.mark.parametrize("name", SHOTS)
def test_screenshot(visit: Callable[..., Any], recorded: dict[str, Any], name: str, tmp_path: Path) -> None:
    """Each shows what it should and is a small file; with BENCH_SCREENSHOTS it goes to docs/screenshots."""
    address, width, height, theme, part = SHOTS[name]
    page = visit(recorded, address, width=width, height=height, color_scheme=theme)
    assert page.locator("#board tbody tr").count() > 0
    if part == "run":
        page.locator("#board tbody button").first.click()
        page.wait_for_selector("#run .plot svg")
    elif part:
        show(page, part)
        page.locator(f"#{part}").evaluate("section => section.scrollIntoView()")
    folder = FOLDER if os.environ.get("BENCH_SCREENSHOTS") else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")
    assert 10_000 < (folder / f"{name}.png").stat().st_size < 400_000
