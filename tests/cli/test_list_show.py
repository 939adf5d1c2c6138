"""`bench list` and `bench show`: what there is, what a run got wrong, and texts that would like to steer the terminal."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from unsealed import unseal

from harness.core.record import RunRecord

ESCAPE = "\x1b[31mred\x1b[0m \x9b2J \u202egnp.exe\u2069 [bold]markup[/bold] \ttab\nline \r over | <b>"


def table(text: str) -> list[dict[str, str]]:
    header, *rows = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def steers(text: str) -> bool:
    return re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) is not None


@pytest.mark.parametrize(
    ("what", "name", "keys"),
    [
        ("tasks", "reviews_demo", ["task", "labels", "names", "languages", "description"]),
        ("backends", "mistral", ["backend", "engine", "model", "languages", "description", "shut_down"]),
        ("prompts", "strict", ["prompt", "variants", "labels", "decoding", "parser", "description"]),
    ],
)
def test_list_in_a_pipe_and_as_json(bench: Any, what: str, name: str, keys: list[str]) -> None:
    rows = table(bench("list", what).out)
    assert list(rows[0]) == [key for key in keys if key != "shut_down"]
    assert name in [row[keys[0]] for row in rows]
    objects = bench("list", what, "--json").json
    assert list(objects[0]) == keys
    assert [row[keys[0]] for row in objects] == [row[keys[0]] for row in rows]


def test_list_shows_what_the_project_adds(bench: Any, project: Path) -> None:
    (project / "backends").mkdir()
    (project / "backends" / "mine.yaml").write_text("engine: baseline\noptions: {classifier: tfidf}\n")
    assert "mine" in [row["backend"] for row in table(bench("list", "backends").out)]
    assert bench("run", "--backend", "mine", "--lang", "en", "--limit", 2).code == 0


def test_a_model_that_is_shut_down_is_noted(bench: Any, project: Path) -> None:
    (project / "backends").mkdir()
    path = project / "backends" / "mine.yaml"
    path.write_text("engine: baseline\noptions: {classifier: tfidf}\nshut_down: 2027-01-14\n")
    words = "mine: its model is shut down on 2027-01-14"
    assert f"note: {words}" in bench("list", "backends").err
    assert {row["backend"]: row["shut_down"] for row in bench("list", "backends", "--json").json}["mine"] == "2027-01-14"
    run = ("run", "--backend", "mine", "--lang", "en", "--limit", 2)
    assert f"warning: {words}" in bench(*run).err
    assert words not in bench(*run).err  # what is found needs no model
    path.write_text(path.read_text().replace("2027-01-14", "soon"))
    assert "shut_down" in bench("list", "backends").err


def test_a_faulty_file_is_named_and_hides_no_other(bench: Any, project: Path) -> None:
    (project / "backends").mkdir()
    (project / "backends" / "mine.yaml").write_text("engine: baseline\nmodle: x\n")
    said = bench("list", "backends")
    assert said.code == 2
    assert "mine.yaml:2" in said.err
    assert "modle" in said.err
    assert "tfidf" in said.out


def test_a_faulty_price_file_is_named_once_and_hides_no_backend(bench: Any, project: Path) -> None:
    everything = bench("list", "backends").out
    (project / "prices.yaml").write_text("hardware: {x: 3}\n")
    said = bench("list", "backends")
    assert (said.code, said.out) == (2, everything)
    assert said.err.count("prices.yaml:1: ") == 1
    assert "gpt-4.1-mini" in [row["backend"] for row in table(said.out)]


def test_list_runs(bench: Any, two_runs: list[str]) -> None:
    rows = table(bench("list", "runs").out)
    assert [row["run"] for row in rows] == sorted(two_runs)
    objects = bench("list", "runs", "--json").json
    assert set(objects[0]) == {"run", "backend", "model", "n", "metric", "value", "low", "high", "no_answer", "finished"}
    assert f"{objects[0]['value']:.3f}" == rows[0]["value"]
    assert objects[0]["low"] <= objects[0]["value"] <= objects[0]["high"]


def test_list_runs_names_the_folder_without_any(bench: Any) -> None:
    said = bench("list", "runs", "--results", "elsewhere")
    assert (said.code, said.out) == (0, "")
    assert "elsewhere/runs" in said.err
    assert bench("list", "runs", "--json").json == []


@pytest.mark.parametrize("what", ["tasks", "backends", "prompts"])
def test_list_fits_a_terminal_of_80_columns(bench: Any, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    names = [next(iter(row.values())) for row in bench("list", what, "--json").json]
    monkeypatch.setattr(sys, "stdout", terminal)
    bench("list", what)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in terminal.getvalue().splitlines()]
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == names  # whole names, one row each


def test_show(bench: Any, two_runs: list[str]) -> None:
    said = bench("show", two_runs[1])
    assert said.code == 0
    assert said.out.startswith(two_runs[1])
    for part in ("accuracy", "precision\trecall\tF1\trows", "confusion matrix", "no answer", "worst errors", "tfidf"):
        assert part in said.out
    assert "model said" not in said.out  # a classifier says nothing
    assert said.out.index("accuracy") < said.out.index("brier")  # what counts first


def test_show_tells_of_the_training_and_the_runtime(bench: Any, two_runs: list[str], project: Path) -> None:
    assert "\nconfiguration: trained on 60 en\ntraining: " in bench("show", two_runs[1]).out
    path = project / "results" / "runs" / two_runs[1] / "run.json"
    manifest = json.loads(path.read_text())
    manifest["training"] |= {"best": {"mae": 0.4, "step": 12}, "steps": 20, "validation_rows": 15, "seconds": 61.2}
    manifest["training"] |= {"compacted_vocabulary": [900, 250037], "thresholds": [0.5, 0.25]}
    manifest["runtime"] = {"runtime": "onnx-int8", "library": "onnxruntime 1", "validation_fp32": 0.5, "validation_int8": 0.496}
    manifest["runtime"] |= {"drop": 0.004, "max_drop": 0.005}
    path.write_text(json.dumps(manifest))
    unseal(path.parent)
    shown = bench("show", two_runs[1]).out.splitlines()
    assert shown[4:8] == [
        "training: 61 s, 20 steps",
        "checkpoint: step 12, mae 0.400 on 15 validation rows",
        "vocabulary while training: 900 of 250,037 tokens",
        "thresholds: 0.50, 0.25",
    ]
    assert shown[8] == (
        "runtime: onnx-int8 (onnxruntime 1): 0.4960 on validation rows, 0.5000 in fp32; a drop of 0.005 is allowed"
    )


def test_show_worst_errors_with_their_texts(bench: Any, two_runs: list[str]) -> None:
    from harness.data.rows import load_examples
    from harness.specs.catalog import Catalog

    said = bench("show", two_runs[1], "--errors", 3, "--json")
    texts = {row.id: row.text for row in load_examples(Catalog(Path.cwd()).task("reviews_demo"), lang="en", split="test")}
    assert {"run_id", "identity", "options", "metrics", "finding", "worst_errors"} <= set(said.json)
    record = RunRecord.model_validate({key: value for key, value in said.json.items() if key in RunRecord.model_fields})
    assert record.run_id == two_runs[1]
    errors = said.json["worst_errors"]
    assert len(errors) == 3
    assert all({"id", "truth", "label", "status", "text", "answer"} <= set(error) for error in errors)
    assert all(error["text"] == texts[error["id"]] for error in errors)
    distances = [abs(error["truth"] - error["label"]) for error in errors]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 1
    shown = bench("show", two_runs[1], "--errors", 3).out
    assert all(error["id"] in shown for error in errors)
    assert "worst errors" not in bench("show", two_runs[1], "--errors", 0).out


def test_show_says_where_texts_are_missing(bench: Any, rows_of: Any) -> None:
    data = rows_of(["good", "bad", "fair", "poor", "best"])
    ran = bench("run", "--task", "amazon_reviews_multi", "--backend", "majority", "--lang", "en", "--data", data, "--json")
    run = ran.json[0]["run"]
    assert "--data" in bench("show", run).out
    assert "poor" in bench("show", run, "--data", data).out
    missing = bench("show", run, "--data", data / "nowhere")
    assert (missing.code, missing.out) == (2, "")
    (data / "test.jsonl").write_text("{")
    broken = bench("show", run, "--data", data)
    assert broken.code == 2
    assert "test.jsonl:1" in broken.err


def test_show_says_where_the_data_has_changed(bench: Any, project: Path) -> None:
    task = project / "tasks" / "mine.yaml"
    task.parent.mkdir()
    task.write_text(
        "description: d\nsource: {files: {train: r.csv, validation: r.csv, test: r.csv}}\n"
        "labels: {kind: nominal, names: [bad, good]}\nlanguages: [en]\n"
    )
    rows = [f"some text number {number},{('bad', 'good')[number % 2]}\n" for number in range(6)]
    (task.parent / "r.csv").write_text("text,label\n" + "".join(rows))
    run = bench("run", "--task", "mine", "--backend", "majority", "--json").json[0]["run"]
    assert "some text number 1" in bench("show", run).out
    (task.parent / "r.csv").write_text("text,label\n" + "".join(rows).replace("number 1", "number one"))
    assert "worst errors (no texts: the data has changed since this run;" in bench("show", run).out
    (task.parent / "r.csv").unlink()
    assert "worst errors (no texts: the data is not on this machine;" in bench("show", run).out


def test_another_word_than_what_can_be_listed(bench: Any) -> None:
    said = bench("list", "tsks")
    assert (said.code, said.out) == (2, "")
    assert "'tsks'" in said.err
    assert "tasks" in said.err


@pytest.mark.parametrize("said_as", ["id", "prefix", "digits", "folder", "file"])
def test_show_finds_a_run_by(bench: Any, two_runs: list[str], said_as: str) -> None:
    run = two_runs[0]
    given = {
        "id": run,
        "prefix": "reviews_demo.en.maj",
        "digits": run[-10:],
        "folder": f"results/runs/{run}/",
        "file": f"results/runs/{run}/run.json",
    }[said_as]
    assert bench("show", given).out.startswith(run)


def test_show_of_an_ambiguous_prefix_lists_what_it_may_be(bench: Any, two_runs: list[str]) -> None:
    said = bench("show", "reviews_demo.en")
    assert said.code == 2
    assert "2 runs" in said.err
    assert all(run in said.err for run in two_runs)


def test_show_of_an_unknown_run(bench: Any, two_runs: list[str]) -> None:
    said = bench("show", "reviews_demo.de")
    assert said.code == 2
    assert "'reviews_demo.de'" in said.err
    assert "bench list runs" in said.err


def test_texts_do_not_steer_the_terminal(bench: Any, rows_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows_of([f"{ESCAPE} {i}" for i in range(10)])
    run = bench("run", "--backend", "majority", "--lang", "en", "--data", data, "--json").json[0]["run"]
    piped = bench("show", run, "--data", data).out
    assert not steers(piped)
    assert "\\x1b[31mred" in piped
    exact = bench("show", run, "--data", data, "--json")
    assert not steers(exact.out)
    assert exact.json["worst_errors"][0]["text"].startswith(ESCAPE)

    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", terminal)
    bench("show", run, "--data", data)
    assert "[bold]markup[/bold]" in terminal.getvalue()
    assert not steers(re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()))
    assert "\x1b[31m" not in terminal.getvalue()


def test_half_a_surrogate_pair_can_be_shown(bench: Any, rows_of: Any) -> None:
    data = rows_of([f"half \ud83d {i}" for i in range(5)])
    run = bench("run", "--backend", "majority", "--lang", "en", "--data", data, "--json").json[0]["run"]
    assert "half \\ud83d" in bench("show", run, "--data", data).out
    assert bench("show", run, "--data", data, "--json").json["worst_errors"][0]["text"].startswith("half \ud83d")


def test_many_labels_give_confusions_in_place_of_a_matrix(bench: Any, project: Path) -> None:
    names = [f"topic {i}" for i in range(20)]
    (project / "tasks").mkdir()
    (project / "tasks" / "topics.yaml").write_text(
        "description: Many topics.\nsource: {files: {folder: topics}}\ncolumns: {text: text, label: label}\n"
        f"labels: {{kind: nominal, names: {names}}}\nlanguages: [en]\n"
    )
    (project / "tasks" / "topics").mkdir()
    for split in ("train", "validation", "test"):
        lines = "".join(f"word{i},topic {i}\n" for i in range(20))
        (project / "tasks" / "topics" / f"{split}.csv").write_text("text,label\n" + lines)
    ran = bench("run", "--task", "topics", "--backend", "majority", "--json")
    assert ran.code == 0, ran.err
    said = bench("show", ran.json[0]["run"])
    assert "most frequent confusions" in said.out
    assert "confusion matrix" not in said.out
    assert len(bench("show", ran.json[0]["run"], "--json").json["metrics"]["confusion"]) == 20


def test_runs_of_tasks_with_other_metrics_stand_in_one_list(bench: Any, two_runs: list[str], project: Path) -> None:
    test_many_labels_give_confusions_in_place_of_a_matrix(bench, project)
    assert len(bench("list", "runs", "--json").json) == 3
    metrics = {row["run"].split(".")[0]: row["metric"] for row in table(bench("list", "runs").out)}
    assert set(metrics) == {"reviews_demo", "topics"}


@pytest.mark.slow
def test_one_answer_to_all_rows_is_said_once_by_each_command(bench: Any, project: Path) -> None:
    rows = [f"The lamp of order {i} was {'late' if i % 3 else 'lovely'}.,{'angry' if i % 3 else 'happy'}" for i in range(150)]
    (project / "notes.csv").write_text("\n".join(["note,mood", *rows]), encoding="utf-8")
    assert bench("init", "notes.csv").code == 0
    said = bench("run", "--backend", "tfidf", "--set", "c=1.0e-9")
    assert "note: tfidf (en)" in said.err
    assert "one_label" not in said.err
    (folder,) = (project / "results" / "runs").iterdir()
    gates = {gate["name"]: gate["outcome"] for gate in json.loads((folder / "run.json").read_text())["gates"]}
    assert gates["one_label"] == "warned", "the record keeps it"
    shown = bench("show", folder.name).out
    assert shown.count("one answer") == 1
    assert "one_label" not in shown
    assert "one_label" not in bench("leaderboard").out + (project / "results" / "LEADERBOARD.md").read_text()


def test_a_record_that_says_no_time_is_listed(bench: Any, project: Path, two_runs: list[str]) -> None:
    unseal(project / "results" / "runs" / two_runs[0], lambda manifest: manifest.pop("finished"))
    said = bench("list", "runs")
    assert said.code == 0, said.err
    assert all(run in said.out for run in two_runs)
