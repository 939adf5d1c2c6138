"""For all tests: a cache of their own, so that no test sees what another one, or the user, left there; and one browser."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from harness.models.checkpoints import cache_dir

# A shell that runs the tests in the background ignores Ctrl-C on their behalf, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Time decides no test: other work on the machine would.
settings.register_profile("bench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bench")


@pytest.fixture(autouse=True)
def own_cache(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Gone after the test, as trained models are large. Those marked `real` see the packaged models of the user's cache, which
    are fetched once, and nothing else of it: a model that an earlier run trained would leave the training untested."""
    users, own = cache_dir(), tmp_path_factory.mktemp("cache")
    if request.node.get_closest_marker("real") is not None:
        (users / "models").mkdir(parents=True, exist_ok=True)
        (own / "models").symlink_to(users / "models", target_is_directory=True)
    monkeypatch.setenv("BENCH_CACHE", str(own))
    yield
    shutil.rmtree(own, ignore_errors=True)


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
