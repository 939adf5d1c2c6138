"""Run records: each committed one is read, those of version 1 are upgraded, and what is written is what is read again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boards
import pytest

from harness.core.errors import DamagedRecord
from harness.core.json_files import canonical_json, digest
from harness.core.options import CHECKPOINT, FOLDER
from harness.core.record import RECORD_VERSION, GateOutcome, Identity, RunRecord
from harness.core.types import Calibration, Decision, Decoding
from harness.records.store import Store

COMMITTED = Path(__file__).parents[3] / "results" / "runs"
METRICS = {
    "n": 2,
    "ok": 1,
    "unparsed": 1,
    "failed": 0,
    "headline": ["accuracy"],
    "values": {"accuracy": {"value": 0.5, "low": 0.1, "high": 0.9}},
}
IDENTITY: dict[str, Any] = {
    "version": 1,
    "task": "toy",
    "lang": "en",
    "split": "validation",
    "rows": "r",
    "labels": ["bad", "good"],
    "label_kind": "ordinal",
    "backend": {"name": "llm", "engine": "toy", "model": "org/model", "revision": "c" * 40, "options": {"batch": 3}},
    "train": None,
    "prompt": {
        "name": "strict",
        "variant": None,
        "sha256": "p",
        "decoding": "score",
        "calibration": "batch",
        "decision": "median",
        "shots": ["a", "b"],
        "shots_sha256": "s",
    },
    "seed": 4,
}
TRAIN = {"version": 2, "langs": ["en", "fr"], "train_rows": "t", "train_count": 18, "validation_rows": "v"}


def read(manifest: dict[str, Any], **metrics: Any) -> RunRecord:
    return RunRecord.read(manifest, {**METRICS, **metrics}, "run")


def trained(**changes: Any) -> dict[str, Any]:
    return {"identity": {**IDENTITY, "prompt": None, "train": {**TRAIN, **changes}}}


# The committed records


def test_every_committed_record_is_read_with_its_id_and_its_identity() -> None:
    store = Store(COMMITTED)
    names = store.ids()
    assert len(names) >= 153
    for name in names:
        manifest = json.loads((COMMITTED / name / "run.json").read_text(encoding="utf-8"))
        metrics = json.loads((COMMITTED / name / "metrics.json").read_text(encoding="utf-8"))
        record = store.record(name)
        identity = record.identity
        assert record.run_id == identity.run_id == name
        assert canonical_json(identity.as_json()) == canonical_json(manifest["identity"])
        assert identity.digest == digest(manifest["identity"])
        assert canonical_json(record.metrics.as_json()) == canonical_json(metrics)
        assert (record.options.task, record.options.lang, record.options.backend) == (
            *(identity.task, identity.lang),
            identity.backend.name,
        )
        if manifest.get("version", 1) == 1:
            assert record.options.settings == (manifest.get("settings") or {})
            assert record.options.limit == manifest.get("limit")
        assert not re.search(r'": "(/|~|[A-Z]:)', json.dumps(record.manifest())), name


def test_a_committed_record_that_is_written_anew_is_the_same() -> None:
    store = Store(COMMITTED)
    for name in store.ids()[::10]:
        record = store.record(name)
        assert RunRecord.read(record.manifest(), record.metrics.as_json(), name) == record


# Version 1


def test_what_a_run_of_version_1_was_asked_is_read_from_its_record() -> None:
    record = read({"identity": IDENTITY, "settings": {"batch": 3}, "limit": 2, "model_given": True})
    options = record.options
    assert record.version == 1
    assert (options.task, options.lang, options.split, options.seed, options.backend) == ("toy", "en", "validation", 4, "llm")
    assert (options.settings, options.limit, options.model) == ({"batch": 3}, 2, "org/model@" + "c" * 40)
    assert (options.prompt, options.decoding) == ("strict", Decoding.SCORE)
    assert (options.calibration, options.decision) == (Calibration.BATCH, Decision.MEDIAN)
    assert (options.data, options.train_limit) == (None, None)
    assert {"settings", "limit", "model_given"}.isdisjoint(record.manifest())


def test_of_what_a_record_of_version_1_does_not_say_the_default_is_taken() -> None:
    options = read({"identity": IDENTITY}).options
    assert (options.settings, options.limit, options.model, options.data) == ({}, None, None, None)
    assert read({"identity": IDENTITY, "settings": None, "limit": None, "model_given": False}).options == options


def test_a_training_of_version_1() -> None:
    options = read(trained() | {"training": {"validation_rows": 6}}).options
    assert (options.train_lang, options.validation_lang) == (("en", "fr"), ())
    assert (options.train_limit, options.validation_limit) == (9, 3)
    assert (options.resample_train, options.continue_from) == (False, None)
    more = trained(validation_langs=["de"], drawn=True, continued_from={"key": "k" * 20, "langs": ["en"]}, train_count=17)
    options = read(more).options
    assert (options.validation_lang, options.resample_train, options.continue_from) == (("de",), True, "k" * 20)
    assert options.train_limit is None  # not the same number of rows in each language
    assert read(trained(langs=["en"])).options.train_lang == ()


@pytest.mark.parametrize("source", ["data", "files", "hub", "bundled"])
def test_rows_of_a_folder_outside_are_a_placeholder(source: str) -> None:
    record = read({"identity": IDENTITY, "rows_from": {"source": source, "hub": None}})
    assert record.options.data == (Path(FOLDER) if source == "data" else None)
    assert record.has_own_rows == (source == "data")


@pytest.mark.parametrize(
    ("model", "revision", "given"),
    [
        ("org/model", None, "org/model"),
        ("org/model@main", "c" * 40, "org/model@" + "c" * 40),
        ("packaged:minilm", "d" * 64, "packaged:minilm"),
        ("mine", "d" * 64, CHECKPOINT),  # of a folder the record has the last part and a digest
        ("gpt-4o", None, "gpt-4o"),
    ],
)
def test_the_model_that_was_given(model: str, revision: str | None, given: str) -> None:
    backend = {**IDENTITY["backend"], "model": model, "revision": revision}
    made = {"identity": {**IDENTITY, "backend": backend}}
    assert read({**made, "model_given": True}).options.model == given
    assert read({**made, "model_given": False}).options.model is None


def test_a_number_of_parameters_beside_no_checkpoint() -> None:
    assert read({"identity": IDENTITY}).checkpoint is None
    found = read({"identity": IDENTITY, "parameters": 5})
    assert found.checkpoint is not None
    assert found.checkpoint.as_json() == {"parameters": 5}
    assert "parameters" not in found.manifest()


# Writing and reading


def test_what_is_written_is_what_is_read_again(store: Store) -> None:
    gates = [{"name": "label_mass", "outcome": "warned", "message": "m", "value": 0.5}]
    source = {
        "identity": IDENTITY,
        "settings": {"batch": 3},
        "gates": gates,
        "cost": {"usd": 0.5, "prompt": 1.0},
        "unheard_of": {"kept": [1, 2]},
    }
    identity = Identity.model_validate(IDENTITY)
    made = RunRecord.read(source, METRICS, identity.run_id).model_copy(update={"version": RECORD_VERSION})
    with store.journal(made.run_id):
        folder = store.finish(made, [])
    written = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert written["version"] == RECORD_VERSION
    assert written["identity"] == IDENTITY
    assert written["options"]["settings"] == {"batch": 3}
    assert {"metrics", "settings", "limit", "model_given"}.isdisjoint(written)
    found = store.record(made.run_id)
    assert found.model_copy(update={"digests": None}) == made
    assert found.gates[0].outcome is GateOutcome.WARNED
    assert found.manifest()["unheard_of"] == {"kept": [1, 2]}
    with store.journal(made.run_id):
        store.finish(found, [])
    assert json.loads((folder / "run.json").read_text(encoding="utf-8")) == written


@pytest.mark.parametrize(
    ("manifest", "metrics", "file", "what"),
    [
        ({"identity": {**IDENTITY, "seed": "soon"}}, {}, "run.json", "(identity.seed: "),
        ({"identity": {**IDENTITY, "label_kind": "cardinal"}}, {}, "run.json", "(identity.label_kind: "),
        (
            {"identity": IDENTITY, "gates": [{"name": "x", "outcome": "lost", "message": "m"}]},
            {},
            "run.json",
            "(gates.0.outcome: ",
        ),
        ({"identity": IDENTITY}, {"n": 0}, "metrics.json", "(n: "),
        ({"identity": IDENTITY}, {"ok": 2}, "metrics.json", "(n is 2, "),
        ({"identity": IDENTITY, "n": 3}, {}, "run.json", "(n is 3, and in metrics.json 2)"),
        ({"identity": IDENTITY}, {"headline": ["qwk"]}, "metrics.json", "(qwk has no value)"),
        (
            {"identity": IDENTITY},
            {"values": {"accuracy": {"value": "x", "low": 0, "high": 1}}},
            "metrics.json",
            "(values.accuracy.value: ",
        ),
        ({}, {}, "run.json", "identity"),
    ],
)
def test_what_no_version_wrote_is_a_damaged_record_with_one_line(
    store: Store, manifest: dict[str, Any], metrics: dict[str, Any], file: str, what: str
) -> None:
    folder = store.root / "run.0123456789"
    folder.mkdir(parents=True)
    boards.write_json(folder / "run.json", manifest)
    boards.write_json(folder / "metrics.json", {**METRICS, **metrics})
    with pytest.raises(DamagedRecord) as caught:
        store.record(folder.name)
    assert f"{folder / file} is damaged" in caught.value.message
    assert what in caught.value.message
    assert "\n" not in caught.value.message


# What identities say


def test_the_key_of_a_trained_model_depends_on_what_a_training_depends_on() -> None:
    def key(**changes: Any) -> str:
        return Identity.model_validate({**trained()["identity"], **changes}).trained_key

    backend = {**IDENTITY["backend"], "dtype": "float32", "options": {"batch": 3, "predict": {"batch_size": 8}}}
    base = key(backend=backend)
    for same in (
        {**backend, "name": "other"},
        {**backend, "dtype": "float16"},
        {**backend, "options": {"batch": 3, "predict": {"batch_size": 9, "attention": "auto"}}},
    ):
        assert key(backend=same) == base
    assert key(backend=backend, lang="de", rows="others", task="other") == base
    others = [
        key(backend={**backend, "options": {"batch": 4}}),
        key(backend={**backend, "options": {"batch": 3, "predict": {"attention": "eager"}}}),
        key(backend={**backend, "revision": "d" * 40}),
        key(backend=backend, seed=5),
        key(backend=backend, train={**TRAIN, "train_rows": "others"}),
        key(backend=backend, labels=["bad", "best"]),
        key(backend=backend, label_kind="multilabel"),
    ]
    assert len({base, *others}) == len(others) + 1
    dtypes = [key(backend={**backend, "dtype": dtype}, label_kind="multilabel") for dtype in ("float32", "float16")]
    assert dtypes[0] != dtypes[1]  # with which the thresholds were tuned


def test_a_changed_copy_has_digests_of_its_own(store: Store) -> None:
    identity = store.record(boards.record(store, "mine", [0, 1], [0, 1])).identity
    before = identity.run_id, identity.configuration, identity.trained_key
    changed = identity.model_copy(update={"lang": "xx", "labels": ["a", "b"]})
    assert not {changed.run_id, changed.configuration, changed.trained_key} & set(before)
    assert changed.run_id == Identity.model_validate(changed.as_json()).run_id
