"""For all tests: a cache of their own, so that no test sees what another one, or the user, left there."""

from __future__ import annotations

import signal

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
