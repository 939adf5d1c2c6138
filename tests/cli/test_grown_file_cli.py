"""A file that has grown since last month: the same task again, compared on the rows that are the same."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from console import Said

from harness.data.rows import load_examples
from harness.specs.tasks import load_task

Bench = Callable[..., Said]
THINGS, GOOD, POOR = ("kettle", "lamp", "chair"), ("lovely", "handy", "solid"), ("broken", "noisy", "flimsy")


def note(row: int, *, happy: bool) -> tuple[str, str]:
    return f"The {THINGS[row % 3]} of order {row} is {(GOOD if happy else POOR)[row % 7 % 3]}.", "happy" if happy else "angry"


ROWS = [note(row, happy=row >= 60) for row in range(120)]
"""Sorted by label, as exports often are."""
NEW = [note(row, happy=False) for row in range(500, 503)]


def write(rows: Sequence[tuple[str, str]], ids: Sequence[int] | None = None) -> None:
    with Path("notes.csv").open("w", newline="", encoding="utf-8") as file:
        header = ["note", "mood", *(["nr"] if ids else [])]
        csv.writer(file).writerows([header, *([*row, *([ids[at]] if ids else [])] for at, row in enumerate(rows))])


def run(bench: Bench, backend: str = "tfidf") -> str:
    said = bench("run", "--backend", backend, "--json", "--quiet")
    assert said.code == 0, said.err
    return str(said.json[0]["run"])


def texts_of(run_id: str, field: str = "text") -> set[str]:
    lines = Path("results", "runs", run_id, "predictions.jsonl").read_text().splitlines()
    return {json.loads(line)[field] for line in lines}


def ids_of(run_id: str) -> set[str]:
    return texts_of(run_id, "id")


@pytest.mark.slow
def test_only_equal_texts_are_compared_after_rows_were_added_on_top(bench: Bench, project: Path) -> None:
    write(ROWS)
    assert bench("init", "notes.csv", "--lang", "en").code == 0
    old = run(bench)
    write([*NEW, *ROWS])
    new = run(bench)
    assert old != new
    found = bench("compare", old, new, "--json").json
    assert found["n"] == len(texts_of(old) & texts_of(new)) >= 21  # of 24 and 25
    cascade = bench("analyze", "cascade", old, new, "--confidence", 0.5, "--json").json
    assert (cascade["n"], cascade["notes"]) == (found["n"], [])


@pytest.mark.slow
def test_ids_that_are_row_numbers_are_no_reason_to_pair(bench: Bench, project: Path) -> None:
    write(ROWS, ids=range(120))
    assert bench("init", "notes.csv", "--lang", "en", "--id", "nr").code == 0
    assert load_task(Path("tasks/notes.yaml")).columns.id == "nr"
    old = run(bench)
    write([*NEW, *ROWS], ids=range(123))
    new = run(bench)
    said = bench("compare", old, new, "--json")
    assert said.json["n"] == len(texts_of(old) & texts_of(new))
    assert said.json["notes"]


@pytest.mark.slow
def test_where_all_texts_differ_nothing_is_compared(bench: Bench, project: Path) -> None:
    write(ROWS, ids=range(120))
    assert bench("init", "notes.csv", "--lang", "en", "--id", "nr").code == 0
    old = run(bench, "majority")
    write([(f"Then: {text}", label) for text, label in ROWS], ids=range(120))
    new = run(bench, "majority")
    same = len(ids_of(old) & ids_of(new))
    assert same, "the split follows the texts, and some rows are drawn again"
    for command in (["compare"], ["analyze", "cascade"]):
        said = bench(*command, old, new)
        assert said.code == 2
        assert f"{same} rows" in said.err


@pytest.mark.slow
def test_a_corrected_label_is_left_out_and_counted(bench: Bench, project: Path) -> None:
    write(ROWS)
    assert bench("init", "notes.csv", "--lang", "en", "--freeze-test").code == 0
    old = run(bench)
    tested = {row.text for row in load_examples(load_task(Path("tasks/notes.yaml")), lang="en", split="test")}
    first = min(tested)
    write([(text, {"happy": "angry", "angry": "happy"}[label] if text == first else label) for text, label in ROWS])
    new = run(bench)
    found = bench("compare", old, new, "--json").json
    assert found["n"] == 23
    assert any(note.startswith("1 row ") for note in found["notes"])
    said = bench("analyze", "cascade", old, new)
    assert "note: 1 row " in said.err


@pytest.mark.slow
def test_frozen_test_rows_stay(bench: Bench, project: Path) -> None:
    write(ROWS)
    said = bench("init", "notes.csv", "--lang", "en")
    assert "--freeze-test" in said.out
    said = bench("init", "notes.csv", "--lang", "en", "--freeze-test", "--force", "--json")
    assert said.json["files"]["test_ids"] == "tasks/notes.test-ids.json"
    assert "drawn-test-rows" not in [doubt["kind"] for doubt in said.json["doubts"]]
    ids = json.loads(Path("tasks/notes.test-ids.json").read_text())
    assert "kettle" not in str(ids)
    old = run(bench, "majority")
    write([*(note(row, happy=False) for row in range(900, 960)), *ROWS])
    new = run(bench, "majority")
    assert texts_of(old) == texts_of(new)
    assert len(texts_of(old)) == 24 == len(ids["en"])


def test_frozen_rows_that_were_corrected_are_named(bench: Bench, project: Path) -> None:
    write(ROWS)
    assert bench("init", "notes.csv", "--lang", "en", "--freeze-test").code == 0
    write([(text + " Really.", label) for text, label in ROWS])
    said = bench("run", "--backend", "majority")
    assert said.code != 0
    assert "24 of the 24 rows" in said.err
    assert "--freeze-test --force" in said.err


def test_given_test_rows_are_not_frozen(bench: Bench, project: Path) -> None:
    for split in ("train", "test"):
        write(ROWS)
        Path("rows").mkdir(exist_ok=True)
        Path("notes.csv").rename(Path("rows", f"{split}.csv"))
    said = bench("init", "rows", "--lang", "en", "--freeze-test")
    assert said.code == 2
    assert "--freeze-test" in said.err
    assert not Path("tasks").exists()


def test_the_file_of_test_ids_is_not_written_over(bench: Bench, project: Path) -> None:
    write(ROWS)
    Path("tasks").mkdir()
    Path("tasks/notes.test-ids.json").write_text("mine")
    said = bench("init", "notes.csv", "--lang", "en", "--freeze-test")
    assert said.code == 2
    assert "notes.test-ids.json" in said.err
    assert Path("tasks/notes.test-ids.json").read_text() == "mine"


# the task that a command is about where it names none


def own_task(name: str) -> None:
    Path("tasks").mkdir(exist_ok=True)
    text = (
        "description: d\nsource: {bundled: reviews_demo}\ncolumns: {id: id, lang: lang}\nlanguages: [en]\n"
        'labels: {kind: ordinal, names: ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"]}\n'
    )
    Path("tasks", f"{name}.yaml").write_text(text)


COMMANDS: list[tuple[Any, ...]] = [
    ("run", "--backend", "majority", "--limit", 5),
    ("analyze", "data"),
    ("prompts", "show", "strict"),
    ("prompts", "check", "strict"),
    ("analyze", "latency", "--backend", "majority", "--limit", 5),
    ("study", "transfer", "--backend", "majority", "--limit", 5),
    ("study", "curve", "--encoder", "majority", "--limit", 5, "--sizes", "8,16", "--seed", 0),
    ("study", "tune", "--backend", "tfidf", "--trials", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "-".join(map(str, command[:2])))
def test_the_only_task_of_ones_own_is_meant(bench: Bench, project: Path, command: tuple[Any, ...]) -> None:
    own_task("mine")
    said = bench(*command)
    assert said.code == 0 or "search" in said.err, said.err
    assert re.search(r"^note: .*\bmine\b", said.err, re.MULTILINE)
    assert "reviews_demo" not in said.out
    own_task("yours")
    said = bench(*command)
    assert said.code == 2
    assert "--task" in said.err
    assert "mine, yours" in said.err


def test_a_task_that_is_named_is_that(bench: Bench, project: Path) -> None:
    own_task("mine")
    own_task("yours")
    said = bench("run", "--backend", "majority", "--limit", 5, "--task", "yours", "--json")
    assert (said.code, [run["task"] for run in said.json]) == (0, ["yours"])
    assert "no --task" not in said.err


def test_without_a_task_of_ones_own_it_is_the_demo(bench: Bench, project: Path) -> None:
    said = bench("run", "--backend", "majority", "--limit", 5, "--lang", "en", "--json")
    assert (said.code, [run["task"] for run in said.json]) == (0, ["reviews_demo"])
    assert "no --task" not in said.err


def test_bench_s_own_folder_holds_no_task_of_the_user(bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    said = bench("run", "--backend", "majority", "--limit", 5, "--lang", "en", "--json", "--results", project / "results")
    assert (said.code, [run["task"] for run in said.json]) == (0, ["reviews_demo"])
