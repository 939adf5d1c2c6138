"""Runs of classifiers that are neither trained nor prompted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.options import RunOptions
from harness.core.record import RunRecord
from harness.records.entries import config_label
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.running.plan import make_plan
from harness.running.runner import EngineSlot, run
from harness.specs.asked import Asked
from harness.specs.catalog import Catalog

TAGS = """\
description: d
source: {files: {test: rows/tags.jsonl}}
columns: {id: id, lang: lang}
labels: {kind: multilabel, names: [a, b, c]}
languages: [en]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    toy.write_project(tmp_path)
    toy.install(monkeypatch)
    (tmp_path / "backends" / "zero.yaml").write_text("engine: toy_zero_shot\n")
    return tmp_path


def plan_of(project: Path, **changes: Any) -> Any:
    return make_plan(RunOptions(**{"backend": "zero", "task": "toy", "lang": "en", **changes}), Catalog(project))


def describe(project: Path, text: str) -> None:
    task = project / "tasks" / "toy.yaml"
    task.write_text(task.read_text().replace("good]}", f"good], descriptions: {{good: {text}}}}}"))


def test_it_predicts_without_training_rows(project: Path) -> None:
    for split in ("train", "validation"):
        (project / "tasks" / "rows" / f"{split}.jsonl").unlink()
    result = run(plan_of(project), Store(project / "results"))
    record: RunRecord = result.record
    assert (record.identity.train, record.identity.prompt, record.training) == (None, None, None)
    assert config_label(record, record.identity, {}) == "zero-shot"
    found = read_predictions(Store(project / "results"), result.run_id)
    said = {f"test-en-{n}": word for n, word in enumerate(toy.SAID)}
    for row_id, answer, answered in zip(found.ids, found.answers, found.answered, strict=True):
        assert answered == (said[row_id] != "fail")
        assert not said[row_id].isdigit() or answer == int(said[row_id])
    assert record.metrics.failed == 1
    assert {gate.name for gate in record.gates} >= {"texts_cut"}


def test_descriptions_of_the_labels_are_part_of_its_identity_and_reach_the_engine(project: Path) -> None:
    before, tagged = plan_of(project), plan_of(project, backend="toy-model", prompt="echo")
    describe(project, "better than fair")
    after = plan_of(project)
    assert before.run_id != after.run_id
    assert after.task.label_space.described()[2] == ("good", "better than fair")
    assert plan_of(project, backend="toy-model", prompt="echo").run_id == tagged.run_id  # the prompt does not show them


def test_a_prompt_that_shows_descriptions_has_them_in_its_identity(project: Path) -> None:
    body = "{% for step in scale %}{{ step.name }}: {{ step.description }}\n{% endfor %}{{ text }}\n"
    (project / "prompts" / "told.j2").write_text(f"---\ndescription: d\nparser: integer\n---\n{body}")
    before = plan_of(project, backend="toy-model", prompt="told")
    describe(project, "better than fair")
    after = plan_of(project, backend="toy-model", prompt="told")
    assert "good: better than fair" in after.prompt.chats(["x"])[0][-1]["content"]
    assert (before.identity.prompt.descriptions is None, before.run_id != after.run_id) == (True, True)


def test_one_engine_serves_runs_with_the_same_labels_and_is_loaded_again_for_others(project: Path) -> None:
    (project / "tasks" / "rows" / "tags.jsonl").write_text(
        "".join(f'{{"id": "{n}", "text": "says {n % 3} {n}", "label": ["a"], "lang": "en"}}\n' for n in range(4))
    )
    (project / "tasks" / "tags.yaml").write_text(TAGS)
    store, slot = Store(project / "results"), EngineSlot()
    first = plan_of(project)
    run(first, store, slot)
    run(plan_of(project, lang="de"), store, slot)
    assert toy.engine_of(first).loads == 1
    other = plan_of(project, task="tags")
    result = run(other, store, slot)
    slot.close()
    assert (toy.engine_of(first).closes, toy.engine_of(other).loads, toy.engine_of(other).labels.names) == (
        1,
        1,
        ("a", "b", "c"),
    )
    assert result.record.metrics.values["hamming_loss"].value is not None


def test_options_of_prompts_and_trainings_change_nothing(project: Path) -> None:
    given = {"backend": ["zero"], "task": ["toy"], "lang": ["en"], "prompt": ["echo"], "shots": [3], "train_limit": 5}
    (asked,) = Asked(given).runs(Catalog(project))
    assert asked == RunOptions(backend="zero", task="toy", lang="en")


def test_the_training_rows_of_a_prompt_are_limited_only_where_it_shows_some(project: Path) -> None:
    given = {"backend": ["toy-model"], "task": ["toy"], "lang": ["en"], "prompt": ["echo", "shown"], "train_limit": 5}
    plain, shown = Asked(given).runs(Catalog(project))
    assert (plain.train_limit, shown.train_limit) == (None, 5)
