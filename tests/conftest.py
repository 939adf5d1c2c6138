"""For all tests: a cache of their own, so that no test sees what another one, or the user, left there; and one browser."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

# A shell that runs the tests in the background ignores Ctrl-C on their behalf, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_cache(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests marked `real` keep the user's cache: their models are large, and fetched once."""
    if request.node.get_closest_marker("real") is None:
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium: of $BENCH_CHROMIUM, of the path, or what playwright fetched. Without one the tests fail: a page that nobody
    opened is not tested."""
    from playwright.sync_api import Error, sync_playwright

    path = os.environ.get("BENCH_CHROMIUM") or shutil.which("chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as play:
        try:
            started = play.chromium.launch(executable_path=path, args=flags)
        except Error:
            pytest.fail("No Chromium: `make chromium` installs one, $BENCH_CHROMIUM names one that is there.", pytrace=False)
        yield started
        started.close()
