"""Runs and predictions as files of other tools: what is written reads back, and tools of lm-eval find what they look for."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from boards import NAMES, prompt, record
from lm_eval_files import write_lines

from harness.core.types import Example, LabelKind
from harness.data.rows import fingerprint
from harness.records.entries import read_entry
from harness.records.frames import PREDICTION_COLUMNS, RUN_COLUMNS, load_runs, predictions_table
from harness.records.lm_eval.importing import Imported, Wanted, import_lm_eval
from harness.records.store import Store
from harness.reports.export import as_csv, as_json, as_parquet, formulas, table_of_runs
from harness.reports.export_lm_eval import lm_eval_files
from harness.specs.catalog import Catalog

TRUTH = [0, 1, 2, 2, 1, 0]
ANSWERS: list[Any] = [0, 1, 2, 1, None, 0]
IDS = ["=1+1", "-7", 'say "hi", you', "two\nlines", "日本", "NA"]
HOSTILE = '=HYPERLINK("x")|<script>'


def likely(i: int) -> tuple[float, ...]:
    """The probabilities of an answer of ANSWERS, in digits that no short number has."""
    return tuple(0.6543217 if label == (ANSWERS[i] or 0) else 0.17283915 for label in range(3))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store = Store(tmp_path / "results" / "runs")
    record(store, HOSTILE, ANSWERS, TRUTH, ids=IDS, manifest={"finished": "2026-01-02T03:04:05Z"})
    record(store, "plain", [0, 1, 2, 2, 1, 1], TRUTH, ids=IDS, probabilities=lambda i: (0.1, 0.2, 0.7), prompt=prompt())
    return tmp_path / "results"


def read(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def of_runs(results: Path, runs: Sequence[str]) -> Any:
    store = Store(results / "runs")
    return table_of_runs(store, [read_entry(store, run) for run in runs])


def test_csv_of_runs_reads_back(results: Path) -> None:
    runs = Store(results / "runs").ids()
    table = of_runs(results, runs)
    content = as_csv(table)
    rows = read(content)
    assert list(rows[0])[: len(RUN_COLUMNS)] == list(RUN_COLUMNS)
    assert content.count(b"\r\n") == 3 and content.endswith(b"\r\n")  # noqa: PT018
    assert {row["backend"] for row in rows} == {HOSTILE, "plain"}
    by_backend = {row["backend"]: row for row in rows}
    assert by_backend[HOSTILE]["finished"] == "2026-01-02T03:04:05Z"
    assert (by_backend["plain"]["finished"], by_backend["plain"]["usd"]) == ("", "")
    for row, wanted in zip(rows, table.to_pylist(), strict=True):
        assert float(row["accuracy"]) == wanted["accuracy"]
        assert float(row["qwk_low"]) == wanted["qwk_low"]


def test_csv_of_predictions_reads_back(results: Path) -> None:
    table = predictions_table(Store(results / "runs").ids(), results)
    rows = read(as_csv(table))
    assert list(rows[0])[: len(PREDICTION_COLUMNS)] == list(PREDICTION_COLUMNS)
    assert [row["id"] for row in rows] == IDS * 2
    mine = [row for row in rows if HOSTILE[1:6] in row["run"]]
    assert [row["label"] for row in mine] == ["0", "1", "2", "1", "", "0"]
    assert [row["correct"] for row in mine] == ["True", "True", "True", "False", "False", "True"]
    assert [row["p_2"] for row in rows if row not in mine] == ["0.7"] * 6


def test_numbers_keep_their_last_digit() -> None:
    numbers = [0.1 + 0.2, 1 / 3, 1e-300, 123456789.123456789, np.nextafter(1, 2)]
    table = pa.table({"x": numbers})
    assert [float(row["x"]) for row in read(as_csv(table))] == numbers
    assert [row["x"] for row in json.loads(as_json(table))] == numbers
    assert pq.read_table(io.BytesIO(as_parquet(table)))["x"].to_pylist() == numbers


def test_values_are_data_and_for_a_spreadsheet_no_formulas(results: Path) -> None:
    runs = Store(results / "runs").ids()
    table = predictions_table(runs, results)
    assert formulas(table) == 4  # two ids in two runs
    assert formulas(of_runs(results, runs)) == 1  # a backend
    assert read(as_csv(table))[0]["id"] == "=1+1"
    safe = as_csv(table, spreadsheet=True)
    assert safe.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(safe.decode("utf-8-sig"), newline="")))
    assert [row["id"] for row in rows][:3] == ["'=1+1", "'-7", 'say "hi", you']
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())
    negative = as_csv(pa.table({"qwk": [-0.5]}), spreadsheet=True)
    assert b"\n-0.5" in negative, "a number is a number"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_how_a_formula_may_begin(start: str) -> None:
    table = pa.table({"id": [f"{start}1+1", "1=1", ""]})
    assert formulas(table) == 1
    safe = as_csv(table, spreadsheet=True).decode("utf-8-sig")
    assert [row["id"] for row in csv.DictReader(io.StringIO(safe, newline=""))] == [f"'{start}1+1", "1=1", ""]


def test_json_is_an_array_with_null_for_what_is_missing(results: Path) -> None:
    runs = json.loads(as_json(of_runs(results, Store(results / "runs").ids())))
    assert len(runs) == 2
    first = next(run for run in runs if run["backend"] == HOSTILE)
    assert (first["finished"], first["usd"], first["n"]) == ("2026-01-02T03:04:05Z", None, 6)
    rows = json.loads(as_json(predictions_table([first["run"]], results)))
    assert [row["label"] for row in rows] == ANSWERS
    assert rows[0]["correct"] is True
    assert json.loads(as_json(pa.table({"x": []}))) == []


def test_parquet_has_types(results: Path) -> None:
    runs = Store(results / "runs").ids()
    schema = pq.read_schema(io.BytesIO(as_parquet(of_runs(results, runs))))
    kinds = {name: str(schema.field(name).type) for name in ("run", "n", "seed", "exemplars", "accuracy", "finished")}
    assert kinds["run"] in ("string", "large_string")
    assert {kinds[name] for name in ("n", "seed", "exemplars")} == {"int64"}
    assert kinds["accuracy"] == "double"
    assert kinds["finished"].startswith("timestamp") and "UTC" in kinds["finished"]  # noqa: PT018
    rows = pq.read_schema(io.BytesIO(as_parquet(predictions_table(runs, results))))
    assert str(rows.field("correct").type) == "bool"
    assert str(rows.field("run").type).startswith("dictionary")


def test_only_the_runs_that_were_asked_for_and_always_the_same_columns(results: Path) -> None:
    one = Store(results / "runs").ids()[:1]
    table = of_runs(results, one)
    assert table["run"].to_pylist() == one
    assert table.column_names == list(load_runs(results).columns)
    assert set(predictions_table(one, results)["run"].to_pylist()) == set(one)


def test_a_damaged_record_of_another_run_is_no_concern(results: Path) -> None:
    one, other = Store(results / "runs").ids()
    (results / "runs" / other / "run.json").write_text("{", encoding="utf-8")
    assert of_runs(results, [one])["run"].to_pylist() == [one]
    (results / "runs" / other / "metrics.json").write_text("[]", encoding="utf-8")
    assert of_runs(results, [one])["run"].to_pylist() == [one]
    assert set(predictions_table([one], results)["run"].to_pylist()) == {one}


def test_half_a_surrogate_pair_is_written_as_its_escape(store: Store) -> None:
    run = record(store, "mine", [0, 1], [0, 1], ids=["a\ud83d", "b"])
    table = predictions_table([run], store.root.parent)
    assert read(as_csv(table))[0]["id"] == json.loads(as_json(table))[0]["id"] == "a\\ud83d"
    content = lm_eval_files(read_entry(store, run), store.predictions(run))
    assert any(b'"id": "a\\ud83d"' in found for found in content.values())


def files_of(store: Store, run: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The results and the samples."""
    files = lm_eval_files(read_entry(store, run), store.predictions(run))
    (samples,), (results,) = ([name for name in files if name.startswith(start)] for start in ("samples_", "results_"))
    assert samples == f"samples_toy_en_{results.removeprefix('results_').removesuffix('.json')}.jsonl"
    return json.loads(files[results]), [json.loads(line) for line in files[samples].decode().splitlines()]


def test_lm_eval_results_of_choices(store: Store) -> None:
    name = record(store, "mine", ANSWERS[:4], TRUTH[:4], probabilities=likely, prompt=prompt(shots=["a", "b"]))
    results, samples = files_of(store, name)
    figures = results["results"]["toy_en"]
    assert figures["acc,none"] == 0.75
    assert figures["acc_stderr,none"] == pytest.approx(math.sqrt(0.75 * 0.25 / 3))  # as lm-eval's mean_stderr
    assert figures["macro_f1_stderr,none"] == "N/A"
    assert results["n-shot"] == {"toy_en": 2}
    assert results["n-samples"] == {"toy_en": {"original": 4, "effective": 4}}
    directions = results["higher_is_better"]["toy_en"]
    assert (directions["acc"], directions["mae"]) == (True, False)
    assert results["configs"]["toy_en"]["output_type"] == "multiple_choice"
    assert results["configs"]["toy_en"]["doc_to_choice"] == list(NAMES)
    assert {"versions", "config", "git_hash", "date", "model_name", "task_hashes", "group_subtasks"} <= results.keys()
    wrong = samples[3]
    assert [float(answer[0]) for answer in wrong["filtered_resps"]] == pytest.approx([math.log(p) for p in likely(3)], abs=1e-5)
    assert wrong["resps"] == [[answer] for answer in wrong["filtered_resps"]]
    assert all(isinstance(value, str) for answer in wrong["filtered_resps"] for value in answer), "as lm-eval writes them"
    assert (wrong["doc_id"], wrong["target"], wrong["acc"], wrong["metrics"]) == (3, "2", 0.0, ["acc"])
    assert wrong["doc"] == {"id": "row-3", "label": 2}
    assert [argument["arg_1"] for argument in wrong["arguments"].values()] == [f" {name}" for name in NAMES]
    assert wrong["target_hash"] == hashlib.sha256(b"2").hexdigest()


def test_lm_eval_results_of_texts(store: Store) -> None:
    results, samples = files_of(store, record(store, "mine", ANSWERS, TRUTH))
    assert results["results"]["toy_en"]["exact_match,none"] == pytest.approx(4 / 6)
    assert results["configs"]["toy_en"]["output_type"] == "generate_until"
    assert [sample["filtered_resps"] for sample in samples] == [["bad"], ["fair"], ["good"], ["fair"], [""], ["bad"]]
    assert [sample["exact_match"] for sample in samples] == [1, 1, 1, 0, 0, 1]
    assert samples[0]["resps"] == [["bad"]]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_configuration_names_the_split(store: Store, split: str) -> None:
    run = record(store, "mine", ANSWERS, TRUTH, split=split)
    files = lm_eval_files(read_entry(store, run), store.predictions(run))
    (config,) = json.loads(next(content for name, content in files.items() if name.startswith("results_")))["configs"].values()
    assert {key: value for key, value in config.items() if key.endswith("_split")} == {f"{split}_split": split}


def test_of_equal_probabilities_readers_take_the_recorded_label(store: Store) -> None:
    name = record(store, "mine", [1, 2, 0], [1, 2, 0], probabilities=lambda i: (1 / 3, 1 / 3, 1 / 3))
    _, samples = files_of(store, name)
    taken = [int(np.argmax([float(answer[0]) for answer in sample["filtered_resps"]])) for sample in samples]
    assert taken == [1, 2, 0]


def test_a_label_that_is_not_the_likeliest_is_written_and_not_scored(store: Store) -> None:
    name = record(store, "mine", [1, 2, 0], [1, 2, 0], probabilities=lambda i: (0.5, 0.2, 0.3))
    results, samples = files_of(store, name)
    assert results["configs"]["toy_en"]["output_type"] == "generate_until"
    assert [sample["filtered_resps"] for sample in samples] == [["fair"], ["good"], ["bad"]]


def back(store: Store, run: str, tmp_path: Path, rows: list[Example], kind: str = "ordinal") -> Imported:
    """Exported, and imported again into a project that has the rows with their texts."""
    project = tmp_path / "project"
    (project / "tasks").mkdir(parents=True)
    write_lines(
        project / "tasks" / "test.jsonl",
        [{"id": row.id, "text": row.text, "label": row.label, "lang": row.lang} for row in rows],
    )
    (project / "tasks" / "toy.yaml").write_text(
        "description: Toys.\nsource: {files: {test: test.jsonl}}\ncolumns: {id: id}\n"
        f"labels: {{kind: {kind}, names: [{', '.join(NAMES)}]}}\nlanguages: [en]\n",
        encoding="utf-8",
    )
    (tmp_path / "out").mkdir()
    for name, content in lm_eval_files(read_entry(store, run), store.predictions(run)).items():
        (tmp_path / "out" / name).write_bytes(content)
    wanted = Wanted(tmp_path / "out", "toy", "en")
    return import_lm_eval(wanted, Catalog(project), Store(tmp_path / "again" / "runs"))


def rows_of(truth: list[Any]) -> list[Example]:
    return [Example(f"row-{n}", f"text {n}", label, "en") for n, label in enumerate(truth)]


def same_figures(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert second[name]["value"] == pytest.approx(value["value"], abs=1e-5, nan_ok=True), name


@pytest.mark.parametrize("choice", [True, False])
def test_there_and_back(store: Store, tmp_path: Path, choice: bool) -> None:
    truth, answers = TRUTH * 2, (ANSWERS * 2 if not choice else [1 if x is None else x for x in ANSWERS] * 2)
    shares = (lambda i: tuple(0.6 if k == answers[i] else 0.2 for k in range(3))) if choice else None
    rows = rows_of(truth)
    run = record(store, "mine", answers, truth, probabilities=shares, rows=fingerprint(rows))
    found = back(store, run, tmp_path, rows)
    same_figures(store.metrics(run)["values"], found.metrics["values"])
    kept = [(line["id"], line["truth"], line["label"]) for line in Store(found.folder.parent).predictions(found.run_id)]
    assert kept == [(line["id"], line["truth"], line["label"]) for line in store.predictions(run)]
    assert found.manifest["identity"]["rows"] == fingerprint(rows)


def test_there_and_back_of_several_labels_a_row(store: Store, tmp_path: Path) -> None:
    truth: list[Any] = [(0,), (0, 2), (), (1,)]
    rows = rows_of(truth)
    answers: list[Any] = [(0,), (2,), (), None]
    run = record(store, "mine", answers, truth, kind=LabelKind.MULTILABEL, rows=fingerprint(rows))
    found = back(store, run, tmp_path, rows, "multilabel")
    same_figures(store.metrics(run)["values"], found.metrics["values"])
    assert [line["label"] for line in Store(found.folder.parent).predictions(found.run_id)] == [[0], [2], [], None]


def test_an_export_is_not_paired_with_rows_of_another_text(store: Store, tmp_path: Path) -> None:
    """It holds ids and no texts: the fingerprint tells."""
    run = record(store, "mine", TRUTH, TRUTH, rows=fingerprint(rows_of(TRUTH)))
    other = [Example(row.id, "another text", row.label, "en") for row in rows_of(TRUTH)]
    with pytest.raises(Exception, match="exported from a run on other rows than the 6 test rows of 'toy'"):
        back(store, run, tmp_path, other)
