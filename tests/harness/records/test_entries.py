"""Entries: one run as tables show it, and which runs only a seed tells apart."""

from __future__ import annotations

from typing import Any

import pytest
import toy
from boards import TRAIN, entry, prompt, record, with_changes

from harness.core.errors import RunError
from harness.core.options import setting_text
from harness.records.entries import read_entries, read_entry
from harness.records.store import Store


def test_how_a_run_was_made() -> None:
    assert entry("a", train={**TRAIN, "langs": ["en", "de"], "train_count": 400}).how == "trained on 400 en+de"
    shown = prompt(shots=["x", "y"], variant="ja")
    assert entry("a", prompt=shown, train=None).how == "strict.ja · score, 2 shots"
    assert entry("a", prompt=prompt(), train=None).how == "strict · score"
    even = prompt(shots=["x", "y"], calibration="batch", decision="expected")
    assert entry("a", prompt=even, train=None).how == "strict · score, batch calibration, expected value, 2 shots"


def test_what_was_changed_and_where_it_came_from_stands_with_how() -> None:
    train = {
        **TRAIN,
        "langs": ["fr"],
        "train_count": 1000,
        "validation_langs": ["en", "fr"],
        "continued_from": {"langs": ["en"], "key": "k"},
    }
    made = entry("a", train=train, seed=1, decision="median")
    settings = {"train.lr": 3e-05, "train.lora": {"rank": 8}, "train.schedule": "cosine", "predict.runtime": "onnx-int8"}
    changed = with_changes(made, settings=settings, runtime={"runtime": "onnx-int8", "library": "onnxruntime"})
    assert changed.config_label == (
        "trained on 1000 fr, validated on en+fr, continued from en, median, "
        f"train.lr={setting_text(3e-05)}, train.lora={setting_text({'rank': 8})}, train.schedule=cosine, onnx-int8"
    )
    assert changed.how == f"{changed.config_label}, seed 1"
    assert with_changes(made, settings={}, runtime=None).how == made.how
    prompted = entry("a", prompt=prompt(shots=["x"], decision="median"), train=None)
    assert with_changes(prompted, settings={"max_length": 64}).how == "strict · score, median, 1 shot, max_length=64"


DRAWN = {**TRAIN, "drawn": True}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"seed": 1}),
        ({"train": DRAWN}, {"train": {**DRAWN, "train_rows": "others"}, "seed": 1}),
        (
            {"train": None, "prompt": prompt(shots=["x", "y"])},
            {"train": None, "prompt": prompt(shots=["z", "x"], shots_sha256="o"), "seed": 1},
        ),
    ],
    ids=["seed", "drawn training rows", "shots"],
)
def test_what_only_a_seed_changes_is_the_same_configuration(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert entry("a", **one).configuration == entry("a", **other).configuration


SHOWN = {"train": None, "prompt": prompt(shots=["x"])}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"train": {**TRAIN, "train_rows": "others"}}),  # not drawn by the seed: another file
        ({"train": DRAWN}, {"train": {**DRAWN, "train_count": 18}}),
        ({"train": DRAWN}, {}),
        ({}, {"lang": "de"}),
        ({}, {"rows": "others"}),
        ({}, {"backend": {"name": "a", "engine": "toy", "options": {"lr": 1}}}),
        ({}, {"train": {**TRAIN, "continued_from": {"key": "k", "langs": ["en"]}}}),
        (SHOWN, {"train": None, "prompt": prompt(shots=["x", "y"])}),
        (SHOWN, {"train": None, "prompt": prompt("other", shots=["x"])}),
        (SHOWN, {"train": None, "prompt": prompt(shots=["x"], decoding="free")}),
    ],
)
def test_all_else_is_another_configuration(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert entry("a", **one).configuration != entry("a", **other).configuration


@pytest.mark.slow
def test_the_records_of_real_runs_share_a_configuration(project: Any, store: Store) -> None:
    from harness.running.runner import EngineSlot, run

    for seed in (0, 1):
        run(toy.plan(project, "toy-model", prompt="shown", seed=seed), store, EngineSlot(), toy.quiet)
        run(toy.plan(project, "toy-classifier", seed=seed, train_limit=3, resample_train=True), store, EngineSlot(), toy.quiet)
    entries = read_entries(store)
    assert len(entries) == 4
    assert len({entry.configuration for entry in entries}) == 2
    assert len({entry.backend + entry.configuration for entry in entries}) == 2


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "{}"),
        ("run.json", "[]"),
        ("run.json", "{"),
        ("metrics.json", '{"n": 1, "ok": 1, "headline": ["accuracy"], "values": {}}'),
        (
            "metrics.json",
            '{"n": 0, "ok": 0, "headline": ["accuracy"], "values": {"accuracy": {"value": 1, "low": 1, "high": 1}}}',
        ),
        (
            "metrics.json",
            '{"n": 1, "ok": 1, "headline": ["accuracy"], "values": {"accuracy": {"value": "x", "low": 1, "high": 1}}}',
        ),
    ],
)
def test_a_damaged_record_is_named(store: Store, file: str, content: str) -> None:
    name = record(store, "a", [0, 1], [0, 1])
    (store.root / name / file).write_text(content)
    with pytest.raises(RunError, match=name):
        read_entry(store, name)
