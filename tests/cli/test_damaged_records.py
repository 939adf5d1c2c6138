"""What commands do when files of a finished run are not what was written: that run is named and left out, all others go on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unsealed import unseal

FILES = ("run.json", "metrics.json", "predictions.jsonl")
CONTENTS = {
    "empty": b"",
    "half": None,
    "no-utf8": b'{"a": "\xff"}\n',
    "list": b"[]\n",
    "null": b"null\n",
    "number": b"7\n",
    "no-keys": b"{}\n",
    "nan": b'{"n": NaN}\n',
    "infinite": b'{"n": 1e999}\n',
    "huge": b'{"n": ' + b"9" * 5000 + b"}\n",
    "deep": b"[" * 200_000,
    "bom": b"\xef\xbb\xbf{}\n",
}
READERS = [
    ["list", "runs", "--json"],
    pytest.param(["leaderboard", "--json"], marks=pytest.mark.slow),
    ["analyze", "cost", "--json"],
    ["results", "export", "--output", "runs.csv", "--json"],
    ["results", "rescore", "--json"],
    ["recommend", "--task", "reviews_demo", "--lang", "en", "--json"],
    ["analyze", "data", "--task", "reviews_demo", "--lang", "en", "--json"],
    ["cache", "--json"],
]


def folder_of(project: Path, run: str) -> Path:
    return project / "results" / "runs" / run


def damages() -> list[Any]:
    """Of files with digests some will do: all are found in the same way."""
    return [
        pytest.param(file, kind, old, id=f"{file}-{kind}-{'earlier version' if old else 'digests'}")
        for file in FILES
        for kind in CONTENTS
        for old in (False, True)
        if old or kind in ("empty", "half", "deep", "huge")
    ]


@pytest.mark.parametrize(("file", "kind", "old"), damages())
def test_one_damaged_file_stops_no_table(
    bench: Any, two_runs: list[str], project: Path, file: str, kind: str, old: bool
) -> None:
    bad, fine = two_runs
    path = folder_of(project, bad) / file
    if old:
        unseal(path.parent)
    content = CONTENTS[kind]
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    said = bench("list", "runs", "--json")
    assert said.code == 0
    assert [run["run"] for run in said.json] == [fine]
    assert said.err.count("warning: ") == said.err.count(f"results/runs/{bad}") == 1
    assert file in said.err
    said = bench("show", bad)
    assert said.code == 1
    assert f"results/runs/{bad}" in said.err
    assert "Unexpected" not in said.err


def swapped(folder: Path) -> None:
    (folder / "metrics.json").unlink()
    (folder / "metrics.json").mkdir()


def looped(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.name)


def edited(file: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


DAMAGES = {
    "no run.json": lambda folder: (folder / "run.json").unlink(),
    "no metrics.json": lambda folder: (folder / "metrics.json").unlink(),
    "no predictions.jsonl": lambda folder: (folder / "predictions.jsonl").unlink(),
    "nothing": lambda folder: [path.unlink() for path in folder.iterdir()],
    "a folder as a file": swapped,
    "a link to itself": looped,
    "an edited prediction": edited("predictions.jsonl", '"label":', '"label": '),
    "label 99": edited("predictions.jsonl", '"label":', '"label":9'),
    "an edited metric": edited("metrics.json", '"value": 0.', '"value": 0.9'),
    "an edited identity": edited("run.json", '"seed": 0', '"seed": 1'),
    "an edited time": edited("run.json", '"rows_per_second": ', '"rows_per_second": 9'),
    "an edited digest": edited("run.json", '"metrics.json": "', '"metrics.json": "0'),
}


@pytest.mark.parametrize("command", READERS, ids=" ".join)
@pytest.mark.parametrize("damage", ["no metrics.json", "an edited prediction", "an edited identity"])
def test_every_command_goes_on_without_the_damaged_run(
    bench: Any, two_runs: list[str], project: Path, command: list[str], damage: str
) -> None:
    bad, fine = two_runs
    DAMAGES[damage](folder_of(project, bad))
    said = bench(*command)
    assert said.code == 0, said.err
    told = said.out + ((project / "runs.csv").read_text(encoding="utf-8") if "export" in command else "")
    if set(command) & {"list", "leaderboard", "cost", "rescore", "export", "recommend"}:
        assert fine in told
        assert bad not in told
    if command[0] != "cache":
        assert said.err.count(f"warning: results/runs/{bad}") == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_kinds_of_damage(bench: Any, two_runs: list[str], project: Path, damage: str) -> None:
    bad, fine = two_runs
    DAMAGES[damage](folder_of(project, bad))
    said = bench("list", "runs", "--json")
    assert [run["run"] for run in said.json] == [fine]
    assert said.err.count(f"warning: results/runs/{bad}") == 1
    said = bench("show", bad)
    assert (said.code, "Unexpected" in said.err) == (1, False)
    assert f"results/runs/{bad}" in said.err


@pytest.mark.slow
def test_every_flipped_byte_of_a_record_is_found(two_runs: list[str], project: Path) -> None:
    from harness.core.errors import DamagedRecord
    from harness.records.entries import read_entry
    from harness.records.store import Store

    store = Store(project / "results" / "runs")
    for file in FILES:
        path = store.root / two_runs[0] / file
        content = path.read_bytes()
        for place in range(0, len(content), max(1, len(content) // 150)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            try:
                read_entry(store, two_runs[0])
            except DamagedRecord:
                continue
            # Only of spaces between values, and of the word "digests" itself, nothing is known.
            assert content[place : place + 1].isspace() or b"digests" in content[place - 9 : place + 9], (file, place)
        path.write_bytes(content)
    read_entry(store, two_runs[0])


def test_a_copy_of_a_record_under_another_name(bench: Any, two_runs: list[str], project: Path) -> None:
    folder = folder_of(project, two_runs[0])
    shutil.copytree(folder, folder.with_name("backup"))
    said = bench("list", "runs", "--json")
    assert sorted(run["run"] for run in said.json) == sorted(two_runs)
    assert "results/runs/backup/run.json" in said.err


def test_an_accuracy_that_the_predictions_of_an_old_record_do_not_give(bench: Any, two_runs: list[str], project: Path) -> None:
    bad, fine = two_runs
    unseal(folder_of(project, bad))
    path = folder_of(project, bad) / "metrics.json"
    metrics = json.loads(path.read_text())
    assert len(bench("list", "runs", "--json").json) == 2
    metrics["values"]["accuracy"]["value"] += 0.01
    path.write_text(json.dumps(metrics))
    said = bench("list", "runs", "--json")
    assert [run["run"] for run in said.json] == [fine]
    assert f"{bad}/metrics.json" in said.err
    assert bench("results", "rescore").code == 0  # the other one


@pytest.mark.slow
def test_ends_of_lines_that_git_changed_are_no_damage(bench: Any, two_runs: list[str], project: Path) -> None:
    for file in FILES:
        path = folder_of(project, two_runs[0]) / file
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    said = bench("leaderboard", "--json")
    assert (said.code, said.err.count("warning")) == (0, 0)
    assert len(said.json) == 2


@pytest.mark.slow
def test_the_board_says_what_it_leaves_out(bench: Any, two_runs: list[str], project: Path) -> None:
    assert bench("leaderboard").code == 0
    board = project / "results" / "LEADERBOARD.md"
    assert "damaged" not in board.read_text(encoding="utf-8")
    (folder_of(project, two_runs[0]) / "metrics.json").write_text("")
    assert bench("leaderboard", "--check").code == 1
    assert bench("leaderboard").code == 0
    assert board.read_text(encoding="utf-8").count(two_runs[0]) == 1
    assert bench("leaderboard", "--check").code == 0


def test_the_same_command_makes_a_damaged_run_anew_and_keeps_it_aside(bench: Any, two_runs: list[str], project: Path) -> None:
    folder = folder_of(project, two_runs[0])
    before = (folder / "predictions.jsonl").read_bytes()
    for number in (1, 2):
        (folder / "metrics.json").write_text("")
        said = bench("run", "--backend", "majority", "--lang", "en", "--limit", 20, "--json")
        assert (said.code, said.json[0]["state"]) == (0, "new")
        assert f"results/runs/{two_runs[0]}/metrics.json" in said.err
        assert said.err.count("is damaged") == 1
        assert f"{two_runs[0]}.damaged-{number}" in said.err
        assert (folder.with_name(f"{folder.name}.damaged-{number}") / "metrics.json").read_bytes() == b""
        assert (folder / "predictions.jsonl").read_bytes() == before
    said = bench("list", "runs", "--json")
    assert (len(said.json), said.err) == (2, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_record_that_may_not_be_read(bench: Any, two_runs: list[str], project: Path) -> None:
    path = folder_of(project, two_runs[0]) / "metrics.json"
    path.chmod(0)
    said = bench("list", "runs", "--json")
    assert len(said.json) == 1
    assert "Permission denied" in said.err


@pytest.mark.slow
def test_a_speed_record_that_is_damaged_is_left_out(bench: Any, two_runs: list[str], project: Path) -> None:
    folder = project / "results" / "latency"
    folder.mkdir()
    (folder / "x.json").write_text("{")
    said = bench("leaderboard", "--json")
    assert (said.code, len(said.json)) == (0, 2)
    assert "results/latency/x.json is damaged" in said.err


@pytest.mark.slow
def test_all_records_in_the_repository_are_what_they_say() -> None:
    from harness.records.entries import read_records
    from harness.records.store import Store

    store = Store(Path(__file__).parents[2] / "results" / "runs")
    entries, damaged = read_records(store)
    assert damaged == []
    assert len(entries) == len(store.ids()) > 100
    assert all(entry.record.identity.run_id == entry.run_id for entry in entries)


def test_json_of_the_manifest_has_the_digests(bench: Any, two_runs: list[str], project: Path) -> None:
    shown = bench("show", two_runs[0], "--json").json
    assert set(shown["digests"]) == set(FILES)
    manifest = json.loads((folder_of(project, two_runs[0]) / "run.json").read_text())
    stored = {name: value for name, value in manifest.items() if value is not None}
    assert {name: shown[name] for name in stored} == stored
