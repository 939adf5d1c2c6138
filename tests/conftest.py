"""For all tests: a cache of their own, so that no test sees what another one, or the user, left there; folders that are built
once per test run; golden files; one browser."""

from __future__ import annotations

import functools
import gc
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer.main
from filelock import FileLock
from hypothesis import HealthCheck, settings

from harness.core import machine
from harness.core.cache_folder import cache_dir
from harness.specs import backend_specs, catalog

GOLDEN = Path(__file__).parent / "golden"
QUICK = "not slow and not real and not browser"

# A shell that runs the tests in the background ignores Ctrl-C on their behalf, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# What is installed, and the command line, do not change during a test run; each takes 30 ms or more to look up.
metadata.entry_points = backend_specs.entry_points = catalog.entry_points = functools.cache(metadata.entry_points)
machine.version = functools.cache(machine.version)
typer.main.get_command = functools.cache(typer.main.get_command)
# Every processor is one without instructions for bfloat16, so that the precision `auto` is the same on each machine. A test of
# that precision replaces this.
machine.bf16_instructions = functools.wraps(machine.bf16_instructions)(lambda: "")
# scikit-learn need not check each array: the tests compare what it computes.
os.environ["SKLEARN_ASSUME_FINITE"] = "1"
# No test cuts the power, and what a killed process wrote is there without waiting for the disk.
os.fsync = lambda descriptor: None
# Time decides no test: other work on the machine would.
settings.register_profile("ci", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", settings.get_profile("ci"), max_examples=5)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="The tests of `make check`, with few examples of each property.")
    parser.addoption("--update-golden", action="store_true", help="Write tests/golden/ instead of comparing with it.")


def pytest_configure(config: pytest.Config) -> None:
    quick = config.getoption("--quick")
    if quick:
        config.option.markexpr = " and ".join(filter(None, [config.option.markexpr, QUICK]))
    settings.load_profile("dev" if quick else "ci")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A module that is slow as a whole is not even imported for `--quick`: torch and transformers take seconds."""
    if config.getoption("--quick") and collection_path.name.startswith("test_"):
        text = collection_path.read_text(encoding="utf-8")
        return True if re.search(r"^pytestmark = .*mark\.(slow|real|browser)", text, re.MULTILINE) else None
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--quick` one process runs all tests of models: torch and transformers, which take seconds to load, load once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/backends" if nodeid.startswith("tests/backends/") else nodeid.partition("::")[0]

    return ByFile(config, log) if config.getoption("--quick") else None


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: the garbage collector need not walk through them again and again."""
    gc.freeze()


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def own_cache(request: pytest.FixtureRequest, caches: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gone after the test, as trained models are large. Those marked `real` see the packaged models of the user's cache, which
    are fetched once, and nothing else of it: a model that an earlier run trained would leave the training untested."""
    users, own = cache_dir(), Path(tempfile.mkdtemp(dir=caches))
    if request.node.get_closest_marker("real") is not None:
        (users / "models").mkdir(parents=True, exist_ok=True)
        (own / "models").symlink_to(users / "models", target_is_directory=True)
    monkeypatch.setenv("BENCH_CACHE", str(own))
    yield
    shutil.rmtree(own, ignore_errors=True)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`built_once("bert", write_bert)` is a folder that one process of the test run fills, and that all of them read."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "built-once"
    root.mkdir(exist_ok=True)

    def build(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return build


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden("run", text)`: the text is that of tests/golden/run.txt; `pytest --update-golden` writes the file."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(text.encode())
        assert path.exists(), f"no {path.name}: pytest --update-golden writes it"
        assert text == path.read_bytes().decode()

    return compare


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
