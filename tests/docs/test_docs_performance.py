"""The tables of docs/performance.md are what the committed measurements give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from shell import ROOT

RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def performance() -> Iterator[ModuleType]:
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not part of the source distribution")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        patch.syspath_prepend(ROOT / "benchmarks")
        yield import_module("_performance")  # which imports the benchmarks when it makes a table


@pytest.mark.slow
def test_the_committed_page_is_what_the_measurements_give(performance: ModuleType) -> None:
    page = performance.PAGE.read_text(encoding="utf-8")
    assert page == performance.filled(page), "run `make performance`"


def test_every_table_stands_in_the_page_once(performance: ModuleType) -> None:
    page = performance.PAGE.read_text(encoding="utf-8")
    assert sorted(match["name"] for match in performance.TABLE.finditer(page)) == sorted(performance.TABLES)
    assert page.count("<!-- end -->") == len(performance.TABLES)


@pytest.mark.slow
def test_a_file_that_changes_changes_the_page(performance: ModuleType, tmp_path: Path) -> None:
    row = {"task": "t", "what": "w", "backend": "b", "rows": 10, "accuracy": [0.5, 0.25], "p": 1.0, "same_label": 0.75}
    page = "before\n<!-- table: precision -->\nold\n<!-- end -->\nafter\n"
    missing = performance.filled(page, tmp_path)
    assert "old" not in missing
    assert "precision.json" in missing
    (tmp_path / "precision.json").write_text(json.dumps({"results": [{**row, "difference": [-0.25, -0.5, 0.0]}]}))
    lines = performance.filled(page, tmp_path).splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert lines[4].split(" | ")[2:5] == ["10", "0.5000", "0.2500"]
    with pytest.raises(KeyError):
        performance.filled(page.replace("precision", "unknown"), tmp_path)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_committed_measurement_tells_nothing_of_its_owner(path: Path) -> None:
    def words(value: object) -> list[str]:
        if isinstance(value, dict):
            return [word for key, item in value.items() for word in (str(key), *words(item))]
        if isinstance(value, list):
            return [word for item in value for word in words(item)]
        return [str(value)]

    found = words(json.loads(path.read_text(encoding="utf-8")))
    assert not [word for word in found if word.startswith(("/", "~")) or ":\\" in word]
    assert not [word for word in found if " " in word and len(word) > 200], "a text of a row?"
