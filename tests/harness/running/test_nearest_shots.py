"""Few-shot examples that are chosen for each text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from harness.core.arrays import FloatArray
from harness.core.engine import Embedder, OnProgress
from harness.core.errors import DataError, UserError
from harness.core.options import RunOptions
from harness.core.record import BackendIdentity
from harness.core.types import Example, Label, LabelKind, LabelSpace, ShotsBy
from harness.records.store import Store
from harness.running.nearest_shots import NearestShots
from harness.running.plan import make_plan
from harness.running.runner import run
from harness.specs.catalog import Catalog

TWO = LabelSpace(LabelKind.NOMINAL, ("cold", "hot"))
ENCODER = BackendIdentity(name="line", engine="line")
TAGS = LabelSpace(LabelKind.MULTILABEL, ("a", "b"))


class OnALine(Embedder):
    """A text is a number; the nearer two numbers, the more alike they are."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], bool]] = []

    def embed(self, texts: Sequence[str], on_progress: OnProgress, *, kept: bool) -> FloatArray:
        self.asked.append((list(texts), kept))
        angles = np.array([float(text) for text in texts]) / 100
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def pool(labels: Sequence[Label]) -> list[Example]:
    return [Example(f"r{n}", str(10 * n), label, "en") for n, label in enumerate(labels)]


def nearest(by: ShotsBy, count: int, rows: list[Example], labels: LabelSpace = TWO) -> tuple[NearestShots, OnALine]:
    engine: Any = OnALine()
    return NearestShots(by, count, rows, labels, engine, ENCODER), engine


def test_the_most_similar_rows_are_chosen_and_the_most_similar_stands_last() -> None:
    found, engine = nearest(ShotsBy.NEAREST, 3, pool([0, 1, 0, 1, 0, 1]))
    assert [[shot.text for shot in shots] for shots in found.of(["21", "49"])] == [["10", "30", "20"], ["30", "40", "50"]]
    assert engine.asked == [(["0", "10", "20", "30", "40", "50"], True), (["21", "49"], False)]
    found.of(["7"])
    assert engine.asked[2:] == [(["7"], False)]  # the pool is embedded once


def test_the_same_number_of_each_class() -> None:
    found, _ = nearest(ShotsBy.NEAREST_PER_CLASS, 2, pool([0, 0, 0, 0, 1, 1]))
    assert found.examples == 4
    assert [shot.text for shot in found.of(["1"])[0]] == ["50", "40", "10", "0"]


def test_a_row_with_the_very_text_is_no_example_of_it() -> None:
    found, _ = nearest(ShotsBy.NEAREST, 2, pool([0, 1, 0]))
    assert [shot.text for shot in found.of(["10"])[0]] == ["20", "0"]
    per_class, _ = nearest(ShotsBy.NEAREST_PER_CLASS, 1, pool([0, 1, 1]))
    assert [shot.text for shot in per_class.of(["20"])[0]] == ["0", "10"]


def test_no_row_is_shown_twice_in_a_multilabel_task() -> None:
    found, _ = nearest(ShotsBy.NEAREST_PER_CLASS, 1, pool([(0, 1), (0,), (1,)]), TAGS)
    assert [shot.text for shot in found.of(["1"])[0]] == ["20", "0"]


@pytest.mark.parametrize("by", [ShotsBy.NEAREST, ShotsBy.NEAREST_PER_CLASS])
def test_too_few_rows_are_an_error(by: ShotsBy) -> None:
    with pytest.raises(DataError, match="needs 4 few-shot examples"):
        nearest(by, 4, pool([0, 1, 1]))


def test_only_an_encoder_of_texts_can_choose() -> None:
    engine: Any = object()
    with pytest.raises(UserError, match="shots_encoder"):
        NearestShots(ShotsBy.NEAREST, 1, pool([0, 1]), TWO, engine, ENCODER)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy task with an embedding backend that counts as one."""
    toy.write_project(tmp_path)
    toy.install(monkeypatch)
    (tmp_path / "prompts" / "shown.j2").write_text(
        "---\ndescription: d\nparser: integer\nshots: 2\nshots_by: nearest\nshots_encoder: toy-embedder\n---\n"
        "{% for shot in shots %}{{ shot.text }}\n{% endfor %}{{ text }}\n"
    )
    (tmp_path / "backends" / "toy-embedder.yaml").write_text("engine: toy_embedder\n")
    return tmp_path


def test_a_run_holds_where_its_examples_come_from(project: Path) -> None:
    asked = RunOptions(backend="toy-model", task="toy", lang="en", prompt="shown")
    plan = make_plan(asked, Catalog(project))
    record = run(plan, Store(project / "results")).record
    prompt = record.identity.prompt
    assert prompt is not None
    assert prompt.nearest is not None
    assert (prompt.shots, prompt.examples, prompt.labels_used, prompt.nearest.by) == ([], 2, 9, ShotsBy.NEAREST)
    assert prompt.nearest.encoder.name == "toy-embedder"
    assert record.overlap is not None
    assert record.overlap.by["shots"].rows == 9
    for text in toy.engine_of(plan).counted:
        *shown, asked_for = text.rsplit(toy.SECRET, 1)
        assert shown[0].count("train") == 2
        if toy.said_in(asked_for) in "012":  # two rows that say the same, of three in the training rows
            assert shown[0].count(f"says {toy.said_in(asked_for)}") == 2


def test_fewer_training_rows_are_another_configuration(project: Path) -> None:
    asked = RunOptions(backend="toy-model", task="toy", lang="en", prompt="shown")
    one, few, other = (
        make_plan(asked.changed(**changes), Catalog(project)).identity
        for changes in ({}, {"train_limit": 5}, {"shots_by": ShotsBy.NEAREST_PER_CLASS, "shots": 1})
    )
    assert few.prompt is not None
    assert few.prompt.labels_used == 5
    assert len({identity.configuration for identity in (one, few, other)}) == 3
    assert one.configuration == make_plan(asked.changed(seed=3), Catalog(project)).identity.configuration


def test_nearest_examples_need_a_number(project: Path) -> None:
    asked = RunOptions(backend="toy-model", task="toy", lang="en", prompt="echo", shots_by=ShotsBy.NEAREST)
    with pytest.raises(UserError, match="no few-shot examples"):
        make_plan(asked, Catalog(project))
