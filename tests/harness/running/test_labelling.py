"""Labellings: no true label is read, a killed one continues, and a training on one is marked and priced as such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from harness.analysis.pricing import cost_of, labelling_usd, labels_of
from harness.core.errors import DamagedRecord, UserError
from harness.core.options import RunOptions
from harness.core.record import Tokens
from harness.core.types import NO_LABEL, Example, text_digest
from harness.data.rows import load_examples
from harness.data.unlabelled import rows_of_split
from harness.records.entries import labels_told, read_entry
from harness.records.labellings import LABELS, Labellings, read_labelling
from harness.records.store import Store
from harness.reports.label_file import usd_per_token
from harness.reports.text.labelling import sentence
from harness.running.labelling import Labelling, label_rows
from harness.running.plan import Plan, make_plan
from harness.running.runner import run
from harness.specs.catalog import Catalog
from harness.specs.prices import load_prices

SAYS = {"train-en-0": "mumble", "train-en-1": "fail", "train-en-2": "0"}
"""What the model is told of some training rows, in place of their labels."""


@pytest.fixture
def labellings(tmp_path: Path) -> Labellings:
    return Labellings(tmp_path / "results" / "labels")


@pytest.fixture
def misled(project: Path) -> Path:
    """The project with training rows that the model does not label as people did."""
    rows = toy.read_rows(project, "train")
    changed = [
        {**row, "text": row["text"].rpartition(" ")[0] + " " + SAYS[row["id"]]} if row["id"] in SAYS else row for row in rows
    ]
    toy.write_rows(project, "train", changed)
    return project


def unlabelled_plan(project: Path, backend: str = "toy-model", split: Any = "train", **changes: Any) -> Plan:
    catalog = Catalog(project)
    rows = rows_of_split(catalog.task("toy"), "en", split, None)
    options = RunOptions(**{"task": "toy", "backend": backend, "lang": "en", "prompt": "echo", **changes})
    return make_plan(options, catalog, rows.with_text())


def labelled(project: Path, labellings: Labellings, backend: str = "toy-model", **changes: Any) -> Labelling:
    return label_rows(unlabelled_plan(project, backend, **changes), labellings, "train")


def student(project: Path, made: Labelling, **changes: Any) -> Plan:
    options = {"labels_from": str(made.folder), "validation_limit": 0, "prompt": None, **changes}
    return toy.plan(project, options.pop("backend", "toy-classifier"), **options)


def test_a_labelling_reads_no_true_label_and_keeps_no_text(misled: Path, labellings: Labellings) -> None:
    plan = unlabelled_plan(misled)
    assert {row.label for row in plan.rows} == {NO_LABEL}
    made = label_rows(plan, labellings, "train")
    by_id = {line["id"]: line for line in made.lines}
    assert [line["id"] for line in made.lines] == [row.id for row in plan.rows]
    assert (by_id["train-en-2"]["label"], by_id["train-en-4"]["label"]) == (0, 1)
    assert (by_id["train-en-0"]["status"], by_id["train-en-1"]["reason"]) == ("unparsed", "prompt_too_long")
    record = made.record
    assert (record.n, record.ok, record.unparsed, record.failed) == (9, 7, 1, 1)
    assert record.labels == {"bad": 3, "fair": 2, "good": 2}
    assert (record.identity.split, record.rows_of, record.probabilities) == ("unlabelled", "train", False)
    words = {row.id: len(row.text.split()) for row in plan.rows}
    assert {row_id: line["tokens"][0] for row_id, line in by_id.items()} == words
    assert record.tokens == Tokens(prompt=sum(words.values()), new=sum(line["tokens"][1] for line in made.lines))
    kept = "".join(path.read_text() for path in made.folder.iterdir())
    assert toy.SECRET not in kept
    assert '"truth"' not in kept


def test_other_labels_of_the_same_texts_are_the_same_labelling(project: Path, labellings: Labellings) -> None:
    first = labelled(project, labellings)
    toy.write_rows(project, "train", [{**row, "label": 0} for row in toy.read_rows(project, "train")])
    again = labelled(project, labellings)
    assert (first.computed, again.computed) == (True, False)
    assert again.lines == first.lines


def test_a_killed_labelling_continues_where_it_stopped(project: Path, labellings: Labellings) -> None:
    undisturbed = labelled(project, Labellings(labellings.root.parent / "others"))
    plan = unlabelled_plan(project)
    engine = toy.engine_of(plan)

    class Killed(BaseException):
        pass

    def kill(texts: Any) -> None:
        if len(engine.batches) == 3:  # the warm-up and two batches
            raise Killed

    engine.hook = kill
    with pytest.raises(Killed):
        label_rows(plan, labellings, "train")
    assert labellings.begun(plan.run_id)
    assert labellings.ids() == []
    plan = unlabelled_plan(project)
    made = label_rows(plan, labellings, "train")
    assert len(toy.engine_of(plan).counted) == 3  # the third batch alone
    assert made.lines == undisturbed.lines
    assert not labellings.begun(plan.run_id)


def test_force_labels_again(project: Path, labellings: Labellings) -> None:
    first = labelled(project, labellings)
    plan = unlabelled_plan(project)
    made = label_rows(plan, labellings, "train", force=True)
    assert made.computed
    assert len(toy.engine_of(plan).counted) == 9
    assert made.folder == first.folder
    assert labellings.ids() == [first.record.run_id]


def test_a_damaged_labelling_is_named(project: Path, labellings: Labellings) -> None:
    made = labelled(project, labellings)
    path = made.folder / LABELS
    path.write_text(path.read_text().replace('"label":1', '"label":2'))
    with pytest.raises(DamagedRecord, match="not what was written"):
        read_labelling(made.folder)
    with pytest.raises(DamagedRecord):
        student(project, made)


@pytest.mark.slow
def test_a_trained_backend_labels_with_its_model_or_not_at_all(project: Path, store: Store, labellings: Labellings) -> None:
    plan = unlabelled_plan(project, "toy-classifier", prompt=None)
    with pytest.raises(UserError, match="no model of it yet") as raised:
        label_rows(plan, labellings, "train")
    assert not labellings.begun(plan.run_id)
    assert "bench run --backend toy-classifier" in raised.value.hint
    run(toy.plan(project, "toy-classifier", prompt=None), store)
    made = label_rows(plan, labellings, "train")
    assert (made.record.ok, made.record.probabilities, made.record.train_rows) == (9, True, 9)
    assert "tokens" not in made.lines[0]
    assert [gate.name for gate in made.record.gates] == ["texts_cut"]  # nothing that needs true labels


def test_a_trained_language_model_labels_with_its_model_or_not_at_all(project: Path, labellings: Labellings) -> None:
    (project / "backends" / "tuned.yaml").write_text(f"engine: toy_tuned\nmodel: {project / 'weights' / 'tiny'}\n")
    plan = unlabelled_plan(project, "tuned")
    with pytest.raises(UserError, match="no model of it yet"):
        label_rows(plan, labellings, "train")
    assert toy.engine_of(plan).fits == 0


@pytest.mark.slow
def test_the_labels_of_a_trained_model_took_the_labels_that_it_learned_from(
    project: Path, store: Store, labellings: Labellings
) -> None:
    run(toy.plan(project, "toy-classifier", prompt=None), store)
    made = labelled(project, labellings, "toy-classifier", prompt=None)
    result = run(student(project, made, train_limit=3), store)
    assert labels_of(read_entry(store, result.run_id).record) == 9


def test_the_dollars_of_the_rows_are_those_of_the_labelling(project: Path, labellings: Labellings) -> None:
    record = labelled(project, labellings, "toy-server").record
    assert record.cost is not None
    for usd in (record.cost.usd, record.cost.usd / 2):  # the Batch API asks for half the price
        each = usd_per_token(record.model_copy(update={"cost": record.cost.model_copy(update={"usd": usd})}))
        assert each is not None
        tokens = record.tokens
        assert each[0] * (tokens.prompt or 0) + each[1] * (tokens.new or 0) == pytest.approx(usd)
        assert each[1] == pytest.approx(2 * each[0])


def test_a_zero_shot_model_labels_and_says_what_it_is(project: Path, labellings: Labellings) -> None:
    (project / "backends" / "zero.yaml").write_text("engine: toy_zero_shot\n")
    record = labelled(project, labellings, "zero", prompt=None).record
    assert sentence(record, None, 0).startswith("zero (zero-shot) labelled 9 of 9 rows")


def test_a_labelling_is_found_by_a_part_of_its_id(project: Path, labellings: Labellings) -> None:
    with pytest.raises(UserError, match="no labelling 'x'"):
        labellings.find("x")
    made = labelled(project, labellings)
    assert labellings.find(made.record.run_id[-6:]) == made.folder
    labelled(project, labellings, decoding="score")
    with pytest.raises(UserError, match="matches 2 labellings"):
        labellings.find("toy")


# Training on a labelling


@pytest.mark.slow
def test_a_student_learns_from_the_labels_of_the_model_and_says_so(misled: Path, store: Store, labellings: Labellings) -> None:
    made = labelled(misled, labellings)
    plan, human = student(misled, made), toy.plan(misled, "toy-classifier", prompt=None, validation_limit=0)
    assert plan.training is not None
    assert human.training is not None
    truth = {row.id: row.label for row in human.training.train}
    given = {row.id: row.label for row in plan.training.train}
    assert set(truth) - set(given) == {"train-en-0", "train-en-1"}  # left out, and not given the label of people
    assert given["train-en-2"] == 0 != truth["train-en-2"]
    assert plan.training.validation == []
    source = plan.identity.train.labels_from if plan.identity.train else None
    assert source is not None
    assert (source.labelling, source.backend, source.prompt, source.soft) == (made.record.run_id, "toy-model", "echo", False)
    assert "labelled-by-toy-model" in plan.run_id
    result = run(plan, store)
    entry = read_entry(store, result.run_id)
    assert "labels of toy-model (echo · free)" in entry.config_label
    facts = entry.record.labelled
    assert facts is not None
    assert (facts.asked, facts.left_out, facts.rows) == (9, 2, 9)
    assert "labelled" not in run(human, store).record.manifest()
    assert entry.configuration != read_entry(store, human.run_id).configuration


def test_labels_that_are_those_of_people_still_make_another_run(project: Path, labellings: Labellings) -> None:
    plan, human = (
        student(project, labelled(project, labellings)),
        toy.plan(project, "toy-classifier", prompt=None, validation_limit=0),
    )
    assert plan.training is not None
    assert human.training is not None
    assert plan.training.train == human.training.train
    assert plan.run_id != human.run_id
    assert plan.identity.trained_key != human.identity.trained_key


def test_the_same_rows_are_drawn_for_both_kinds_of_labels(misled: Path, labellings: Labellings) -> None:
    made = labelled(misled, labellings)
    drawn = {"train_limit": 6, "resample_train": True, "seed": 3}
    plan = student(misled, made, **drawn)
    human = toy.plan(misled, "toy-classifier", prompt=None, validation_limit=0, **drawn)
    assert plan.training is not None
    assert human.training is not None
    assert {row.id for row in human.training.train} - {row.id for row in plan.training.train} <= set(SAYS)
    assert plan.training.labelled is not None
    assert plan.training.labelled.facts.asked == 6


def test_validation_rows_with_labels_of_people_are_refused(project: Path, labellings: Labellings) -> None:
    made = labelled(project, labellings)
    for limit in (None, 3):
        with pytest.raises(UserError, match="validation") as raised:
            student(project, made, validation_limit=limit)
        assert "--validation-limit 0" in raised.value.hint


def test_rows_that_nobody_labelled_are_an_error(project: Path, labellings: Labellings) -> None:
    made = labelled(project, labellings, limit=4)
    assert made.record.n == 4
    with pytest.raises(UserError, match="5 of 9 training rows are not in the labelling"):
        student(project, made)
    with pytest.raises(UserError, match="no labelling in this folder"):
        toy.plan(project, "toy-classifier", prompt=None, labels_from=str(project), validation_limit=0)


def test_another_label_space_is_refused(project: Path, labellings: Labellings) -> None:
    made = labelled(project, labellings)
    task = project / "tasks" / "toy.yaml"
    task.write_text(task.read_text().replace("fair", "so-so"))
    with pytest.raises(UserError, match="so-so"):
        student(project, made)


def test_soft_labels_are_the_probabilities_of_the_kept_rows(misled: Path, labellings: Labellings) -> None:
    made = labelled(misled, labellings, decoding="score")
    assert made.record.probabilities
    plan = student(misled, made, backend="tfidf", soft_labels=True)
    assert plan.training is not None
    assert plan.training.labelled is not None
    soft = plan.training.labelled.probabilities
    assert soft is not None
    by_text = {line["text"]: line.get("probabilities") for line in made.lines}
    wanted = [by_text[text_digest(row.text)] for row in plan.training.train]
    np.testing.assert_allclose(soft, wanted, atol=1e-5)
    np.testing.assert_allclose(soft.sum(axis=1), 1)
    assert soft.argmax(axis=1).tolist() == [row.label for row in plan.training.train]
    assert plan.run_id != student(misled, made, backend="tfidf").run_id
    calibrated = student(misled, labelled(misled, labellings, decoding="score", calibration="batch"), backend="tfidf")
    assert calibrated.identity.train is not None
    assert calibrated.identity.train.labels_from is not None
    assert labels_told(calibrated.identity.train.labels_from) == "labels of toy-model (echo · score, batch calibration)"


def test_soft_labels_need_probabilities_and_an_engine_that_can(project: Path, labellings: Labellings) -> None:
    hard = labelled(project, labellings)
    with pytest.raises(UserError, match="no probabilities"):
        student(project, hard, backend="tfidf", soft_labels=True)
    soft = labelled(project, labellings, decoding="score")
    with pytest.raises(UserError, match="toy-classifier trains on labels only"):
        student(project, soft, soft_labels=True)


@pytest.mark.slow
def test_labels_of_a_model_cost_what_it_took_to_make_them(project: Path, store: Store, labellings: Labellings) -> None:
    made = labelled(project, labellings, "toy-server")
    prices = load_prices(project)
    usd = labelling_usd(made.record.facts(9, 0), prices)
    assert made.record.cost is not None
    assert usd == pytest.approx(made.record.cost.usd)
    assert usd > 0
    result = run(student(project, made, train_limit=3), store)
    entry = read_entry(store, result.run_id)
    assert labels_of(entry.record) == 0
    cost = cost_of(entry, prices, 1000, 5.0)
    assert cost is not None
    assert cost.labelling == pytest.approx(usd / 9 * 3)  # and nothing for labels of people
    shown = labelled(project, labellings, "toy-server", prompt="shown")
    assert shown.record.facts(9, 0).shots == 3


def test_texts_that_come_twice_cost_once(project: Path, labellings: Labellings) -> None:
    rows = [Example(name, "twice says 1", NO_LABEL, "en") for name in ("a", "b")]
    plan = make_plan(RunOptions(task="toy", backend="toy-model", lang="en", prompt="echo"), Catalog(project), rows)
    made = label_rows(plan, labellings, "file")
    assert [line["tokens"] for line in made.lines] == [[3, 2], [0, 0]]
    assert made.record.tokens == Tokens(prompt=3, new=2)


def test_the_rows_of_a_split_are_those_of_a_run(project: Path) -> None:
    task = Catalog(project).task("toy")
    rows = rows_of_split(task, "en", "validation", None)
    assert [row.id for row in rows.with_text()] == [row.id for row in load_examples(task, lang="en", split="validation")]
    assert rows.columns["text"] == [row.text for row in rows.with_text()]
