"""Runs of language models that learn the answers to the run's prompt first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.errors import UserError
from harness.core.options import RunOptions
from harness.core.types import Calibration, Decoding
from harness.records.entries import config_label
from harness.records.store import Store
from harness.running.plan import Plan
from harness.running.runner import EngineSlot, run
from harness.running.training import ensure_trained, trained_folder, trained_key
from harness.specs.asked import Asked, unused_by
from harness.specs.catalog import Catalog


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    toy.write_project(tmp_path)
    toy.install(monkeypatch)
    checkpoint = tmp_path / "weights" / "tiny"
    (tmp_path / "backends" / "tuned.yaml").write_text(f"engine: toy_tuned\nmodel: {checkpoint}\n")
    (tmp_path / "prompts" / "other.j2").write_text("---\ndescription: d\nparser: integer\n---\nAnother: {{ text }}\n")
    return tmp_path


def plan_of(project: Path, **changes: Any) -> Plan:
    return toy.plan(project, "tuned", **changes)


def test_it_learns_the_answers_that_the_parser_reads(project: Path) -> None:
    plan = plan_of(project, seed=3)
    result = run(plan, Store(project / "results"))
    job = toy.engine_of(plan).job
    texts = {row["text"]: row["label"] for row in toy.read_rows(project, "train") if row["lang"] == "en"}
    assert {chat[-1]["content"]: answer for chat, answer in zip(job.train.chats, job.train.answers, strict=True)} == {
        text: str(label) for text, label in texts.items()
    }
    assert (len(job.validation.chats), job.seed) == (3, 3)
    record = result.record
    assert record.training is not None
    assert (record.training.train_rows, record.training.steps, record.training.thresholds) == (9, 1, None)
    assert record.identity.train is not None
    assert record.identity.prompt is not None
    assert record.metrics.values["accuracy"].value is not None
    assert config_label(record, record.identity, {}) == "echo · free, trained on 9 en"
    assert {gate.name for gate in record.gates} >= {"text_in_prompt", "answers_unparsed"}


def test_one_model_for_all_ways_to_read_its_answers_and_another_for_each_prompt(project: Path) -> None:
    free, score = plan_of(project), plan_of(project, decoding=Decoding.SCORE, calibration=Calibration.BATCH)
    german, other = plan_of(project, lang="de", train_lang=("en",)), plan_of(project, prompt="other")
    plans = [free, score, german, other]
    assert len({plan.run_id for plan in plans}) == 4
    with_slot = EngineSlot()
    for plan in plans:
        run(plan, Store(project / "results"), with_slot)
    with_slot.close()
    assert [toy.engine_of(plan).fits for plan in plans] == [1, 0, 0, 1]
    assert trained_key(free) == trained_key(score) == trained_key(german) != trained_key(other)
    again = plan_of(project, decoding=Decoding.CONSTRAINED)
    ensure_trained(again, toy.quiet)
    assert (toy.engine_of(again).fits, toy.engine_of(again).loads) == (0, 1)
    assert not (trained_folder(free) / "scratch").exists()


def test_another_training_is_another_run(project: Path) -> None:
    plans = [plan_of(project), plan_of(project, train_limit=4), plan_of(project, seed=1), plan_of(project, validation_limit=0)]
    assert len({trained_key(plan) for plan in plans}) == len({plan.run_id for plan in plans}) == 4


def test_evaluations_are_told(project: Path) -> None:
    (project / "backends" / "tuned.yaml").write_text(
        f"engine: toy_tuned\nmodel: {project / 'weights' / 'tiny'}\noptions: {{evaluations: 2}}\n"
    )
    heard: list[dict[str, float]] = []
    ensure_trained(plan_of(project), toy.quiet, heard.append)
    assert heard == [{"loss": 1.0}, {"loss": 0.5}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"prompt": "shown"}, "few-shot examples"), ({"continue_from": "0" * 20}, "can't go on")],
)
def test_what_it_can_not_be_asked(project: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_of(project, **changes)


def test_options_of_prompts_and_of_trainings_both_count(project: Path) -> None:
    catalog = Catalog(project)
    assert not {"prompt", "decoding", "train_lang", "train_limit", "validation_limit"} & unused_by(catalog, "tuned")
    assert {"train_lang", "validation_limit"} <= unused_by(catalog, "toy-model")
    assert RunOptions.model_fields.keys() >= unused_by(catalog, "tuned")


def test_a_limit_of_training_rows_is_kept_without_few_shot_examples(project: Path) -> None:
    asked = {"task": ["toy"], "lang": ["en"], "prompt": ["echo"], "seed": [1], "train_limit": 4, "resample_train": True}
    (trained, prompted) = Asked({**asked, "backend": ["tuned", "toy-model"]}).runs(Catalog(project))
    assert (trained.backend, trained.train_limit, trained.resample_train) == ("tuned", 4, True)
    assert (prompted.backend, prompted.train_limit, prompted.resample_train) == ("toy-model", None, False)


def test_a_task_without_validation_rows_can_be_trained(project: Path) -> None:
    (project / "tasks" / "rows" / "validation.jsonl").unlink()
    with pytest.raises(UserError):
        plan_of(project)
    training = plan_of(project, validation_limit=0).training
    assert training is not None
    assert (len(training.train), training.validation) == (9, [])
