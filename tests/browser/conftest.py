"""Pages made of records on the spot, opened from disk in a real headless Chromium.

Every test sees to it that the page asked for nothing but itself and wrote nothing to the console.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "harness"))  # the records made on the spot

from boards import TRAIN, prompt, record

from harness.records.entries import read_entries
from harness.records.store import Store
from harness.reports.page import html
from harness.reports.page.data import panels, payload
from harness.reports.page.model import Page as Payload
from harness.reports.tables import read_tables
from harness.reports.text.formats import usd
from harness.specs.prices import load_prices
from harness.specs.reported import Figure, Reported

Page = Any  # playwright's, whose types the bare environment lacks
ROWS = 120


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Mapping[str, Any]], str]:
    """`html.render`, with a cache for all tests: the charts' runtime is put together once."""
    cache = tmp_path_factory.mktemp("cache")

    def made(shown: Mapping[str, Any]) -> str:
        page = Payload.model_validate(shown)
        for board in page.tables:  # what depends on the figures that a test changed
            for place in board.places:
                place.texts = {} if place.cost is None else {"cost": usd(place.cost)}
            board.panels = panels(board.places)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BENCH_CACHE", str(cache))
            return "".join(html.render(page))

    return made


@pytest.fixture
def visit(browser: Any, render: Any, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """`visit(payload, "#lang=*", width=390)`: an open page."""
    contexts: list[Any] = []
    said: list[str] = []
    asked: list[str] = []

    def opened(shown: Mapping[str, Any], address: str = "", *, width: int = 1280, height: int = 900, **options: Any) -> Page:
        file = tmp_path / "leaderboard.html"
        file.write_text(render(shown), encoding="utf-8")
        wanted = {"viewport": {"width": width, "height": height}, "reduced_motion": "reduce", **options}
        context = browser.new_context(**wanted)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # a loaded machine fails no test
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri() + address)
        return page

    opened.said, opened.asked = said, asked  # type: ignore[attr-defined]
    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def answers(truth: Sequence[int], share: float, seed: int, unread: float = 0.0) -> list[int | None]:
    """Right on this share of the rows, else off by one; some could not be read."""
    chance = random.Random(seed)
    return [None if chance.random() < unread else label if chance.random() < share else (label + 1) % 3 for label in truth]


def sure(seed: int) -> Callable[[int], tuple[float, ...]]:
    chance = random.Random(seed)

    def probabilities(_: int) -> tuple[float, ...]:
        top = 0.4 + 0.5 * chance.random()
        return (top, (1 - top) / 2, (1 - top) / 2)

    return probabilities


def manifest(rate: float | None, **more: Any) -> dict[str, Any]:
    return {
        "machine": {"cores": 2, "cpu": "Made-Up 9000", "gpu": None},
        "timing": {"rows_per_second": rate, "seconds": 1.0, "load_average": 0.1},
        "tokens": {"prompt": 0, "new": 0},
        "training": {"seconds": 60.0, "train_rows": 9, "validation_rows": 4},
        "finished": "2026-01-01T00:00:00+00:00",
        **more,
    }


def write_board(store: Store, lang: str, seed: int) -> None:
    """Five ways on the same rows: a good encoder, one of three seeds, a fast poor one, a prompted one with two prompts."""
    chance = random.Random(seed)
    truth = [chance.randrange(3) for _ in range(ROWS)]
    rows = f"{lang}{seed}".ljust(64, "0")
    same: dict[str, Any] = {"lang": lang, "rows": rows}
    evaluations = [
        {"step": 1, "epoch": 1.0, "loss": 0.9, "accuracy": 0.5},
        {"step": 2, "epoch": 2.0, "loss": 0.7, "accuracy": 0.6},
    ]
    trained = manifest(50.0, training={"seconds": 60.0, "train_rows": 9, "validation_rows": 4, "evaluations": evaluations})
    record(store, "encoder", answers(truth, 0.8, 1), truth, probabilities=sure(1), manifest=trained, **same)
    for number in range(3):
        given = answers(truth, 0.75, 10 + number)
        record(store, "seeded", given, truth, seed=number, manifest=manifest(40.0), **same)
    other = {**TRAIN, "langs": ["ja"]}
    record(store, "encoder", answers(truth, 0.6, 3), truth, manifest=manifest(50.0), train=other, **same)
    record(store, "fast", answers(truth, 0.4, 4), truth, manifest=manifest(9000.0), **same)
    for name, share, unread in (("strict", 0.35, 0.3), ("fewshot", 0.5, 0.0)):
        given = answers(truth, share, 5, unread)
        record(store, "llm", given, truth, prompt=prompt(name), manifest=manifest(None), **same)


CURVE = {
    "sentence": "encoder is at least as good with 12 labels or fewer.",
    "task": "toy",
    "lang": "en",
    "metric": "accuracy",
    "n": ROWS,
    "curves": [
        {
            "name": "encoder",
            "points": [
                {
                    "labels": size,
                    "value": value,
                    "low": value - 0.05,
                    "high": value + 0.05,
                    "by_seed": [value - 0.01, value + 0.01],
                }
                for size, value in ((8, 0.3), (32, 0.6))
            ],
        }
    ],
    "lines": [{"name": "llm (strict · score)", "labels": 0, "value": 0.4, "low": 0.35, "high": 0.45, "by_seed": [0.4]}],
    "crossings": [
        {"curve": "encoder", "line": "llm (strict · score)", "labels": 14.0, "low": 10.0, "high": 20.0, "never": 0.0}
    ],
}


def shown(store: Store) -> dict[str, Any]:
    """The payload, as a mapping that tests change; the engines are not all the same."""
    figure = Figure(model="others-model", task="toy", lang="en", n=100, metric="accuracy", value=0.61)
    reported = [Reported(name="a-paper", source="a paper", figures=[figure])]
    tables = read_tables(store, read_entries(store))
    found = payload(store, store.root.parent, tables, load_prices(store.root), reported).model_dump()
    for place in (place for table in found["tables"] for place in table["places"]):
        place["engine"] = {"llm": "causal_lm", "fast": "baseline"}.get(place["backend"], "encoder")
    return found


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    """A store of two languages, and its payload."""
    results = tmp_path_factory.mktemp("results")
    store = Store(results / "runs")
    write_board(store, "en", 1)
    write_board(store, "ja", 2)
    (results / "curves").mkdir()
    (results / "curves" / "toy.json").write_text(json.dumps(CURVE), encoding="utf-8")
    return store, shown(store)


@pytest.fixture
def board(made: tuple[Store, dict[str, Any]]) -> dict[str, Any]:
    """The payload, to be changed at will; of two rows in English the price is known."""
    found = copy.deepcopy(made[1])
    for place in found["tables"][0]["places"]:
        price = {"encoder": 0.02, "fast": 0.0001}.get(place["backend"])
        place.update(cost=price, notes={"cost": "made up" if price else "nobody knows its price"})
    return found


@pytest.fixture
def store(made: tuple[Store, dict[str, Any]]) -> Store:
    return made[0]
