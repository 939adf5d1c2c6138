"""Intervals of records that are there already: renewed, with all else as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chances import identity_of

from harness.analysis.rescoring import rescore
from harness.core.errors import RunError
from harness.core.record import Identity, RunRecord
from harness.core.types import Example, Label, LabelKind, LabelSpace, Prediction, Status
from harness.records.journal import prediction_record
from harness.records.store import Store
from harness.statistics.metrics import evaluate_predictions


def the_run(root: Path) -> str:
    (name,) = Store(root).ids()
    return name


def write_run(
    root: Path,
    labels: LabelSpace,
    truth: list[Label],
    predictions: list[Prediction],
    threshold: int | None = None,
    decimals: int | None = None,
) -> dict[str, Any]:
    """A finished record with the intervals of an earlier version; returns its metrics. `decimals` of the probabilities."""
    examples = [Example(f"row-{i}", "a text", label, "ja") for i, label in enumerate(truth)]
    metrics = evaluate_predictions(examples, predictions, labels, threshold=threshold).as_json()
    for value in metrics["values"].values():
        if value["method"] == "bc_bootstrap":
            value.update({"low": value["value"], "high": value["value"], "method": "bootstrap"})
        elif value["method"] != "wilson":
            value.update({"low": None, "high": None, "method": None})
    store = Store(root)
    given = {"labels": list(labels.names), "label_kind": str(labels.kind), "lang": "ja"}
    identity = {**identity_of().as_json(), **given}
    records = [prediction_record(example, p) for example, p in zip(examples, predictions, strict=True)]
    if decimals is not None:
        records = [{**line, "probabilities": [round(p, decimals) for p in line["probabilities"]]} for line in records]
    name = Identity.model_validate(identity).run_id
    with store.journal(name):
        store.finish(RunRecord.read({"identity": identity, "n": len(truth)}, metrics, name), records)
    return json.loads(json.dumps(metrics))  # type: ignore[no-any-return]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "runs"


def stars(root: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 40).tolist()
    probabilities = rng.dirichlet(np.ones(3), 40)
    predictions = [
        Prediction(f"row-{i}", None, Status.UNPARSED, "mumble")
        if i == 7
        else Prediction(f"row-{i}", int(p.argmax()), probabilities=tuple(p.tolist()))
        for i, p in enumerate(probabilities)
    ]
    labels = LabelSpace(LabelKind.ORDINAL, ("悪い", "so-so", "良い"))
    return write_run(root, labels, truth, predictions, threshold=0)


def test_intervals_are_those_of_a_run_made_today(root: Path) -> None:
    before = stars(root)
    assert rescore(Store(root), the_run(root)) == [
        "balanced_accuracy",
        "brier",
        "log_loss",
        "macro_f1",
        "macro_mae",
        "mae",
        "qwk",
        "qwk_parsed",
        "roc_auc",
        "spearman",
        "weighted_f1",
    ]
    after = Store(root).record(the_run(root)).metrics.as_json()
    for name, value in after["values"].items():
        assert value["value"] == before["values"][name]["value"], name  # to the last digit
        assert (value["low"] is None) == (name == "ece"), name
    assert after["values"]["mae"]["method"] == "bc_bootstrap"
    assert after["values"]["binary_accuracy"] == before["values"]["binary_accuracy"]
    assert {**after, "values": None} == {**before, "values": None}


def test_a_second_time_changes_nothing(root: Path) -> None:
    stars(root)
    rescore(Store(root), the_run(root))
    path = root / the_run(root) / "metrics.json"
    text = path.read_bytes()
    assert "悪い".encode() in text
    assert rescore(Store(root), the_run(root)) == []
    assert path.read_bytes() == text


def test_multilabel(root: Path) -> None:
    labels = LabelSpace(LabelKind.MULTILABEL, ("a", "b"))
    truth: list[Label] = [(0,), (0, 1), (), (1,)]
    predictions = [Prediction(f"row-{i}", label) for i, label in enumerate([(0,), (1,), (), None])]
    predictions[3] = Prediction("row-3", None, Status.FAILED, "prompt_too_long")
    write_run(root, labels, truth, predictions)
    assert rescore(Store(root), the_run(root)) == ["hamming_loss", "micro_f1"]  # too few rows per label for macro-F1


def test_a_small_probability_is_in_the_record(root: Path) -> None:
    labels = LabelSpace(LabelKind.NOMINAL, ("a", "b"))
    predictions = [Prediction(f"row-{i}", 0, probabilities=(1 - p, p)) for i, p in enumerate([0.1, 0.2, 1e-9])]
    before = write_run(root, labels, [0, 1, 1], predictions)["values"]["log_loss"]["value"]
    assert before == pytest.approx(-np.mean(np.log([0.9, 0.2, 1e-9])), rel=1e-6)
    assert "log_loss" in rescore(Store(root), the_run(root))
    after = Store(root).record(the_run(root)).metrics.values["log_loss"]
    assert (after.value, after.low is None) == (before, False)


def test_a_probability_that_an_earlier_version_rounded_away_leaves_log_loss_as_it_is(root: Path) -> None:
    labels = LabelSpace(LabelKind.NOMINAL, ("a", "b"))
    predictions = [Prediction(f"row-{i}", 0, probabilities=(1 - p, p)) for i, p in enumerate([0.1, 0.2, 1e-9])]
    before = write_run(root, labels, [0, 1, 1], predictions, decimals=6)["values"]["log_loss"]
    assert "log_loss" not in rescore(Store(root), the_run(root))
    assert Store(root).record(the_run(root)).metrics.values["log_loss"].as_json() == before


def test_files_of_two_runs_are_found_out(root: Path) -> None:
    stars(root)
    path = root / the_run(root) / "predictions.jsonl"
    path.write_text(path.read_text().replace('"label":1', '"label":2'))
    manifest = json.loads((root / the_run(root) / "run.json").read_text())
    del manifest["digests"]  # as of an earlier version
    (root / the_run(root) / "run.json").write_text(json.dumps(manifest))
    before = (root / the_run(root) / "metrics.json").read_bytes()
    with pytest.raises(RunError, match=r"predictions of t\..* give the .*metrics.json says"):
        rescore(Store(root), the_run(root))
    assert (root / the_run(root) / "metrics.json").read_bytes() == before
