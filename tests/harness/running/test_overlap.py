"""What a record says of duplicates: of its own rows, among what its model was shown; found once for the same rows."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.cache_folder import cache_dir
from harness.core.errors import RunError
from harness.core.progress_events import progress_listener
from harness.core.record import Overlap
from harness.running import overlap
from harness.running.overlap import DuplicatesOf
from harness.running.plan import Plan


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    toy.install(monkeypatch)
    return toy.write_project(tmp_path)


def row(split: str, number: int, text: str, label: int = 0) -> dict[str, Any]:
    return {"id": f"{split}-{number:02}", "text": text, "label": label, "lang": "en"}


def write(project: Path, **splits: list[str]) -> None:
    for split, texts in splits.items():
        toy.write_rows(project, split, [row(split, number, text, number % 3) for number, text in enumerate(texts)])


def overlap_of(plan: Plan) -> Overlap:
    with closing(DuplicatesOf(plan)) as found:
        return found.overlap()


PLAIN = ["the first of them", "a second one follows", "and here is the third"]


def test_of_a_trained_model(project: Path) -> None:
    write(
        project,
        train=[*PLAIN, "Says the SAME", "this is nearly the same text"],
        validation=["says the same", "something else", "more"],
        test=["new to all", "says  the same", "this is nearly the same text!", "new to all"],
    )
    found = overlap_of(toy.plan(project, "toy-classifier", prompt=None))
    assert found.as_json() == {
        "threshold": 0.75,
        "exact": 1,
        "near": 1,
        "ids": ["test-01", "test-02"],
        "by": {
            "train": {"rows": 5, "exact": 1, "near": 1},
            "validation": {"rows": 3, "exact": 1, "near": 0},
            "itself": {"rows": 4, "exact": 2, "near": 0},
        },
    }


def test_only_rows_that_were_trained_on_count(project: Path) -> None:
    write(project, train=[f"row number {number} of many" for number in range(12)], test=["row number 1 of many", "x", "y"])
    assert overlap_of(toy.plan(project, "toy-classifier", prompt=None)).exact == 1
    found = [
        overlap_of(toy.plan(project, "toy-classifier", prompt=None, train_limit=6, resample_train=True, seed=n))
        for n in range(8)
    ]
    assert {part.by["train"].rows for part in found} == {6}
    assert {part.exact for part in found} == {0, 1}


def test_of_few_shot_examples(project: Path) -> None:
    write(project, train=PLAIN, test=["The first of them", "new"])
    assert overlap_of(toy.plan(project, prompt="shown")).as_json() == {
        "threshold": 0.75,
        "exact": 1,
        "near": 0,
        "ids": ["test-00"],
        "by": {"shots": {"rows": 3, "exact": 1, "near": 0}, "itself": {"rows": 2, "exact": 0, "near": 0}},
    }


def test_without_few_shot_examples_nothing_was_shown(project: Path) -> None:
    write(project, train=PLAIN, test=PLAIN)
    found = overlap_of(toy.plan(project))
    assert (found.exact, found.near, found.ids) == (0, 0, [])
    assert found.by["shots"].rows == 0


def test_at_most_twenty_ids(project: Path) -> None:
    texts = [f"text with the number {number} written {'again ' * number}" for number in range(30)]
    write(project, train=texts, test=texts[::-1])
    found = overlap_of(toy.plan(project, "toy-classifier", prompt=None))
    assert found.exact == 30
    assert found.ids == [f"test-{number:02}" for number in range(20)]


def test_found_once_for_the_same_rows(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, train=PLAIN, test=PLAIN)
    first = overlap_of(toy.plan(project, "toy-classifier", prompt=None))
    (file,) = (cache_dir() / "overlap").glob("*.json")
    assert toy.SECRET not in file.read_text()
    assert not any(text in file.read_text() for text in PLAIN)
    with monkeypatch.context() as patch:
        patch.setattr(overlap, "twins_among", None)
        again = toy.plan(project, "toy-classifier", prompt=None, seed=1, settings={"flavour": "other"})
        assert overlap_of(again) == first
    file.write_text(file.read_text()[:20])
    assert overlap_of(toy.plan(project, "toy-classifier", prompt=None)) == first
    write(project, train=["other rows", "of another", "kind altogether"])
    assert overlap_of(toy.plan(project, "toy-classifier", prompt=None)).exact == 0
    monkeypatch.setattr(overlap, "VERSION", 99)
    overlap_of(toy.plan(project, "toy-classifier", prompt=None))
    assert len(list((cache_dir() / "overlap").glob("*.json"))) == 3


def test_groups_that_were_trained_on_are_counted(project: Path) -> None:
    path = project / "tasks" / "toy.yaml"
    path.write_text(path.read_text().replace("columns: {", "columns: {group: film, "))
    films = {"train": ["a", "b", ""], "validation": ["c", "d", "d"], "test": ["a", "c", "", "a"]}
    for split, names in films.items():
        toy.write_rows(
            project, split, [{**row(split, n, f"{split} {n} of {name}"), "film": name} for n, name in enumerate(names)]
        )
    found = overlap_of(toy.plan(project, "toy-classifier", prompt=None))
    assert (found.groups, found.exact) == (2, 0)
    assert (found.by["train"].groups, found.by["validation"].groups, found.by["itself"].groups) == (2, 1, None)


def test_many_rows_are_searched_by_another_process(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, train=[*PLAIN, "half a pair \ud83d of letters"], validation=[], test=["The  first of them", "x", "y", "X"])
    here = overlap_of(toy.plan(project, "toy-classifier", prompt=None, validation_limit=0))
    for file in (cache_dir() / "overlap").glob("*.json"):
        file.unlink()
    monkeypatch.setattr(overlap, "MANY", 1)
    monkeypatch.setattr(overlap, "twins_among", None)
    plan, heard = toy.plan(project, "toy-classifier", prompt=None, validation_limit=0), []
    with closing(DuplicatesOf(plan)) as found, progress_listener(lambda *words: heard.append(words)):
        found.noted(lambda *words: heard.append(words))("predict", 1, 4, "")
        assert found.overlap() == here
    assert (here.exact, here.by["itself"].exact, here.ids) == (1, 2, ["test-00"])
    assert heard[0][0] == "predict"
    assert "duplicates" in heard[0][3]
    assert heard[-1] == ("find duplicates", 4, 4, "")
    assert overlap_of(plan) == here


def test_a_search_that_ends_too_early_is_an_error_and_leaves_no_process(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, train=PLAIN, test=PLAIN)
    monkeypatch.setattr(overlap, "MANY", 1)
    found = DuplicatesOf(toy.plan(project, "toy-classifier", prompt=None))
    assert found._search is not None
    process = found._search._process
    process.kill()
    with pytest.raises(RunError):
        found.overlap()
    found.close()
    assert process.returncode is not None
    assert not list((cache_dir() / "overlap").glob("*.json"))
