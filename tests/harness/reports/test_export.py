"""Runs and predictions as files of other tools: what is written reads back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from boards import prompt, record

from harness.records.entries import read_entry
from harness.records.frames import PREDICTION_COLUMNS, RUN_COLUMNS, load_runs, predictions_table
from harness.records.store import Store
from harness.reports.export import as_csv, as_json, as_parquet, formulas, table_of_runs

TRUTH = [0, 1, 2, 2, 1, 0]
ANSWERS: list[Any] = [0, 1, 2, 1, None, 0]
IDS = ["=1+1", "-7", 'say "hi", you', "two\nlines", "日本", "NA"]
HOSTILE = '=HYPERLINK("x")|<script>'


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
    kinds = {name: str(schema.field(name).type) for name in ("run", "n", "seed", "few_shot_examples", "accuracy", "finished")}
    assert kinds["run"] in ("string", "large_string")
    assert {kinds[name] for name in ("n", "seed", "few_shot_examples")} == {"int64"}
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
