"""`harness.load_runs` and `harness.load_predictions`: every documented column, with its dtype."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from boards import prompt, record

from harness.core.errors import DamagedRecord, MissingExtra, UserError
from harness.core.types import LabelKind
from harness.records.frames import PREDICTION_COLUMNS, RUN_COLUMNS, load_predictions, load_runs
from harness.records.store import Store

TRUTH = [0, 1, 2, 0]
FULL = {
    "limit": 4,
    "finished": "2026-11-22T11:46:45+00:00",
    "training": {"seconds": 1.5},
    "peak_memory_mib": {"host": 100, "gpu": None},
    "tokens": {"prompt": 7, "new": 3},
    "cost": {"usd": 0.25},
    "machine": {"cpu": "C", "gpu": None, "cores": 2},
}


def probable(place: int) -> tuple[float, ...]:
    return (0.5, 0.25, 0.25)


@pytest.fixture
def results(store: Store) -> Path:
    return store.root.parent


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in frame.dtypes.items()}


def test_runs(store: Store, results: Path) -> None:
    trained = record(store, "tfidf", [0, 1, 2, 1], TRUTH, manifest=FULL, seed=3)
    asked = record(store, "llm", [0, None, 2, 0], TRUTH, prompt=prompt(shots=["x"], calibration="batch"))
    frame = load_runs(results).set_index("run")
    one, other = frame.loc[trained], frame.loc[asked]
    assert (one.task, one.lang, one.split, one.label_kind, one.n, one.ok, one.unparsed, one.failed) == (
        "toy",
        "en",
        "test",
        "ordinal",
        4,
        4,
        0,
        0,
    )
    assert (one.backend, one.engine, one.how, one.seed) == ("tfidf", "toy", "trained on 9 en, seed 3", 3)
    assert (one.train_langs, one.train_count, one.limit, one.decision) == ("en", 9, 4, "argmax")
    assert one.finished == pd.Timestamp("2026-11-22T11:46:45Z")
    assert (one.training_seconds, one.peak_memory_host_mib, one.prompt_tokens, one.new_tokens, one.usd) == (
        1.5,
        100,
        7,
        3,
        0.25,
    )
    assert (one.cpu, one.cores, one.rows_per_second) == ("C", 2, 10.0)
    for name in ("model", "prompt", "decoding", "calibration", "few_shot_examples", "gpu", "peak_memory_gpu_mib"):
        assert pd.isna(one[name]), name
    assert (other.prompt, other.decoding, other.calibration, other.few_shot_examples) == ("strict", "score", "batch", 1)
    assert (other.unparsed, other.accuracy) == (1, 0.75)
    for name in ("train_langs", "train_count", "limit", "finished", "training_seconds", "usd", "cpu", "cores", "prompt_tokens"):
        assert pd.isna(other[name]), name  # a record that does not have them
    assert one.accuracy_low < one.accuracy == 0.75 < one.accuracy_high


def test_columns_of_runs_are_the_same_whatever_the_runs(store: Store, results: Path) -> None:
    store.root.mkdir(parents=True)
    assert dtypes(load_runs(results)) == RUN_COLUMNS
    record(store, "a", [0, 1, 2, 0], TRUTH)
    found = dtypes(load_runs(str(results)))
    assert {name: found[name] for name in RUN_COLUMNS} == RUN_COLUMNS
    metrics = list(found)[len(RUN_COLUMNS) :]
    assert metrics[:3] == ["accuracy", "accuracy_low", "accuracy_high"]
    assert {found[name] for name in metrics} == {"float64"}


def test_predictions(store: Store, results: Path) -> None:
    first = record(store, "a", [0, 2, None, 0], TRUTH, probabilities=probable, ids=["d", "c", "b", "a"])
    second = record(store, "b", [0, 1, 2, 0], TRUTH)
    frame = load_predictions(results=results)
    assert dtypes(frame) == {**PREDICTION_COLUMNS, "p_0": "float64", "p_1": "float64", "p_2": "float64"}
    assert frame.groupby("run", observed=True).correct.mean().to_dict() == {first: 0.5, second: 1.0}
    mine = frame[frame.run == first]
    assert mine.id.tolist() == ["d", "c", "b", "a"]
    assert mine.truth.tolist() == [0, 1, 2, 0]
    assert mine.label.fillna(-1).tolist() == [0, 2, -1, 0]
    assert mine.truth_name.tolist() == ["bad", "fair", "good", "bad"]
    assert mine.label_name.astype(object).fillna("none").tolist() == ["bad", "good", "none", "bad"]
    assert mine.status.tolist() == ["ok", "ok", "unparsed", "ok"]
    assert mine.reason.astype(object).fillna("-").tolist() == ["-", "-", "no_number", "-"]
    assert mine.correct.tolist() == [True, False, False, True]
    assert mine.p_1.fillna(-1).tolist() == [0.25, 0.25, -1, 0.25]
    assert frame[frame.run == second].p_0.isna().all()


def test_which_predictions(store: Store, results: Path) -> None:
    names = [record(store, name, [0, 1, 2, 0], TRUTH) for name in "abc"]
    assert load_predictions(names[1], results).run.unique().tolist() == [names[1]]
    parts = [names[2][-10:], names[0][-10:], names[0]]
    assert load_predictions(parts, results).run.unique().tolist() == [names[2], names[0]]
    none = load_predictions([], results)
    assert len(none) == 0
    assert dtypes(none) == PREDICTION_COLUMNS
    with pytest.raises(UserError, match="nothing"):
        load_predictions("nothing", results)


def test_several_labels_beside_one(store: Store, results: Path) -> None:
    record(store, "one", [0, 1, 2, 0], TRUTH)
    several = record(store, "several", [(0, 2), (), None, (1,)], [(0, 2), (1,), (), (1,)], kind=LabelKind.MULTILABEL)
    frame = load_predictions(results=results)
    indicators = [f"{stem}_{i}" for stem in ("truth", "label") for i in range(3)]
    assert dtypes(frame) == {**PREDICTION_COLUMNS, **dict.fromkeys(indicators, "boolean")}
    mine = frame[frame.run == several]
    assert mine.truth.isna().all()
    assert mine.label.isna().all()
    assert mine.truth_name.tolist() == ["bad, good", "fair", "", "fair"]
    assert mine.label_name.astype(object).fillna("none").tolist() == ["bad, good", "", "none", "fair"]
    assert mine.correct.tolist() == [True, False, False, True]
    assert mine.truth_0.tolist() == [True, False, False, False]
    assert mine.label_2.astype(object).where(mine.label_2.notna(), None).tolist() == [True, False, None, False]
    assert frame[frame.run != several][indicators].isna().all(axis=None)


def test_no_folder_and_a_damaged_record(store: Store, results: Path, caplog: pytest.LogCaptureFixture) -> None:
    for load in (load_runs, lambda place: load_predictions(None, place)):
        with pytest.raises(UserError, match="nowhere"):
            load(results / "nowhere")
    name = record(store, "a", [0, 1, 2, 0], TRUTH)
    other = record(store, "b", [0, 1, 2, 0], TRUTH)
    (store.root / name / "predictions.jsonl").write_text("{\n")
    assert set(load_predictions(results=results)["run"]) == {other}
    assert list(load_runs(results)["run"]) == [other]
    assert name in caplog.text
    with pytest.raises(DamagedRecord, match=name):
        load_predictions(name, results)


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for load in (load_runs, load_predictions):
        with pytest.raises(MissingExtra, match="notebooks"):
            load()


def test_every_column_is_in_the_docs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "notebooks.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z_0-9]+)`", page))
    assert [name for name in (*RUN_COLUMNS, *PREDICTION_COLUMNS) if name not in documented] == []
