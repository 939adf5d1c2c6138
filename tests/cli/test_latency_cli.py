"""`bench analyze latency` as a user calls it, on the bundled rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]
FEW = ("analyze", "latency", "--backend", "majority", "--limit", 24)


@pytest.mark.slow
def test_a_table_a_sentence_and_a_record(bench: Bench, project: Path) -> None:
    said = bench(*FEW, "--batch-size", "1,8", "--lag-ms", 20, "--rate", 5)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    head = lines[0].split("\t")
    assert head[:4] == ["rows per call", "calls", "mean ms", "p50 ms"]
    assert "p50 +20 ms" in head
    rows = [dict(zip(head, line.split("\t"), strict=True)) for line in lines[1:4]]
    assert [row["rows per call"] for row in rows] == ["1", "8", "offline, up to 256"]
    assert [row["calls"] for row in rows] == ["24", "3", "1"]
    assert float(rows[0]["p50 +20 ms"]) >= 20
    assert rows[0]["p95 ms"] == "-"  # 24 texts are too few
    assert lines[4].startswith("5 rows/s")
    assert lines[5].startswith("5 rows/s")
    assert lines[-1].startswith("majority on ")
    assert "24" in lines[-1]
    assert "majority, reviews_demo en, 24 texts; " in said.err
    assert "load at the end " in said.err
    files = list((project / "results" / "latency").iterdir())
    assert [f"Written: {file.relative_to(project)}" in said.err for file in files] == [True]


def test_json_is_the_record(bench: Bench, project: Path) -> None:
    said = bench(*FEW, "--json")
    record = json.loads((project / said.json["file"]).read_text())
    del record["sha256"]  # of the file alone
    assert {key: value for key, value in said.json.items() if key not in ("file", "sentence")} == record
    assert [part["rows"] for part in record["batches"]] == [1]  # too few rows for 32
    assert record["identity"]["task"] == "reviews_demo"
    assert record["n"] == 24
    assert said.json["sentence"].endswith(".")


@pytest.mark.slow
def test_the_model_is_found_that_a_run_trained(bench: Bench, project: Path) -> None:
    assert bench("run", "--backend", "tfidf", "--lang", "en", "--train-limit", 30).code == 0
    said = bench("analyze", "latency", "--backend", "tfidf", "--limit", 10, "--batch-size", 4, "--train-limit", 30, "--json")
    assert said.code == 0
    run = json.loads(next((project / "results" / "runs").glob("*/run.json")).read_text())
    assert said.json["identity"]["backend"] == run["identity"]["backend"]
    assert said.json["identity"]["trained"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--batch-size", "1,none"], "--batch-size none"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--batch-size", "-3"], "--batch-size -3"),
        (["--batch-size", "25"], "A batch of 25 rows can't be made of 24 texts"),
        (["--lag-ms", "inf"], "--lag-ms inf"),
        (["--max-cost", "inf"], "--max-cost inf"),
        (["--rate", "0"], "--rate 0"),
        (["--rate", "nan"], "--rate nan"),
        (["--seed", "1,2"], "--seed: expected one value, got 2"),
        (["--resample-train"], "--resample-train needs --train-limit"),
        (["--lang", "xx"], "no language of the task"),
        (["--task", "reviews"], "no task named 'reviews'"),
        (["--data", "nowhere"], "--data nowhere"),
    ],
)
def test_slips(bench: Bench, project: Path, options: list[str], said: str) -> None:
    got = bench(*FEW, *options)
    assert (got.code, got.out) == (2, "")
    assert said in got.err
    assert not (project / "results").exists()


def test_what_changes_nothing_is_said(bench: Bench) -> None:
    said = bench(*FEW, "--prompt", "strict")
    assert said.code == 0
    assert "note: --prompt has no effect" in said.err


def test_an_unpriced_server_is_not_asked(bench: Bench, project: Path) -> None:
    (project / "backends").mkdir()
    (project / "backends" / "api.yaml").write_text(
        "engine: openai\nmodel: m\noptions: {base_url: 'http://localhost:9/v1', api_key_env: null}\n"
    )
    said = bench("analyze", "latency", "--backend", "api", "--limit", 5)
    assert (said.code, said.out) == (2, "")
    assert "api " in said.err
    assert "prices.yaml" in said.err
