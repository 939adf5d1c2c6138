"""The runs of a learning curve: which they are, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from backends._encoder_options import EncoderOptions
from backends.encoder import Encoder
from harness.core.errors import UserError
from harness.core.options import RunOptions
from harness.core.types import Decoding, Example
from harness.data.drawing import first_rows
from harness.data.unlabelled import rows_of_split
from harness.records.labellings import Labellings
from harness.records.store import Store
from harness.running.labelling import Labelling, label_rows
from harness.running.plan import make_plan
from harness.running.runner import run
from harness.specs.catalog import Catalog
from harness.specs.prices import load_prices
from harness.studies.curve import (
    CurveOptions,
    available_labels,
    check_settings,
    check_teacher,
    measured,
    runs_of,
    sizes_of,
    teaching_of,
)


@pytest.mark.parametrize(
    ("texts", "available", "sizes"),
    [
        (["8", "32"], 1000, [8, 32]),
        (["8", "16", "...", "all"], 100, [8, 16, 32, 64, None]),
        (["8", "16", "...", "100"], 1000, [8, 16, 32, 64, 100]),
        (["10", "30", "..."], 500, [10, 30, 90, 270, None]),
        (["32", "8", "8"], 1000, [8, 32]),
        (["8", "5000"], 1000, [8]),  # there are not so many
        (["8", "1000"], 1000, [8, None]),  # all that there are, under one name
        (["8", "16", "...", "64"], 64, [8, 16, 32, None]),
        (["all"], 7, [None]),
    ],
)
def test_sizes(texts: list[str], available: int, sizes: list[int | None]) -> None:
    assert sizes_of(texts, available) == sizes


def test_more_than_there_is() -> None:
    with pytest.raises(UserError, match="only 60 training rows"):
        sizes_of(["100", "200"], 60)


@pytest.mark.parametrize("texts", [["0"], ["-8"], ["many"], ["8", "..."], ["16", "8", "...", "all"], ["8", "...", "64"]])
def test_what_is_no_size(texts: list[str]) -> None:
    with pytest.raises(UserError, match="--sizes"):
        sizes_of(texts, 1000)


def curve(llm_seeds: Sequence[int] = (0, 1), **changes: Any) -> CurveOptions:
    base = RunOptions(task="toy", lang="en")
    first = CurveOptions(
        base, ["toy-classifier"], ["toy-model"], [2, 4, None], [0, 1], llm_seeds, prompts=[("echo", None), ("shown", None)]
    )
    return replace(first, **changes)


def test_a_prompt_without_few_shot_examples_needs_one_seed(project: Path) -> None:
    requests = runs_of(curve(), Catalog(project), 9)
    prompted = [(r.prompt, r.seed) for r in requests if r.backend == "toy-model"]
    assert prompted == [("echo", 0), ("shown", 0), ("shown", 1)]
    fewer = runs_of(curve([0]), Catalog(project), 9)
    assert [(r.prompt, r.seed) for r in fewer if r.backend == "toy-model"] == [("echo", 0), ("shown", 0)]
    trained = [(r.seed, r.train_limit, r.resample_train, r.validation_limit) for r in requests if r.backend == "toy-classifier"]
    assert trained == [(s, n, n is not None, 0) for s in (0, 1) for n in (2, 4, None)]


def test_nearest_examples_are_not_drawn_and_need_one_seed(project: Path) -> None:
    (project / "prompts" / "near.j2").write_text(
        "---\ndescription: d\nparser: integer\nshots: 2\nshots_by: nearest\n---\n{{ text }}\n"
    )
    requests = runs_of(curve(prompts=[("near", None)]), Catalog(project), 9)
    assert [(r.prompt, r.seed) for r in requests if r.backend == "toy-model"] == [("near", 0)]


def test_a_zero_shot_backend_is_one_line_whatever_the_prompts(project: Path, store: Store) -> None:
    (project / "backends" / "zero.yaml").write_text("engine: toy_zero_shot\n")
    catalog, asked = Catalog(project), curve(encoders=["tfidf"], llms=["zero"], seeds=[0], sizes=[None])
    requests = runs_of(asked, catalog, 9)
    assert [(r.prompt, r.decoding, r.seed) for r in requests if r.backend == "zero"] == [(None, None, 0)]
    done = [(request, run(make_plan(request, catalog), store).run_id) for request in requests]
    made = measured(asked, done, store, "accuracy")
    assert made is not None
    assert [(line.name, line.labels) for line in made.result.lines] == [("zero (zero-shot)", 0)]


def test_a_zero_shot_teacher_has_a_line_of_its_own(project: Path, store: Store) -> None:
    (project / "backends" / "zero.yaml").write_text("engine: toy_zero_shot\n")
    catalog, made = Catalog(project), taught(project, store, "zero", prompt=None)
    check_teacher(made.folder, catalog.task("toy"), "en", None, soft=True)
    asked = curve(encoders=["tfidf"], llms=[], seeds=[0], sizes=[None], teacher=made.folder)
    done = [(request, run(make_plan(request, catalog), store).run_id) for request in runs_of(asked, catalog, 9)]
    teaching = teaching_of(asked, catalog.task("toy"), load_prices(project), None)
    found = measured(asked, done, store, "accuracy", teaching)
    assert found is not None
    assert teaching is not None
    assert [line.name for line in found.result.lines] == [teaching.line] == ["zero (zero-shot), teacher"]


def test_seeds_draw_other_rows_and_larger_draws_hold_the_smaller() -> None:
    rows = [Example(f"r{number}", "t", 0, "en") for number in range(200)]
    chosen = {(seed, n): {row.id for row in first_rows(rows, n, seed)} for seed in (0, 1, 2) for n in (8, 32)}
    assert all(len(chosen[key]) == key[1] for key in chosen)
    assert all(chosen[seed, 8] < chosen[seed, 32] for seed in (0, 1, 2))
    assert len({frozenset(found) for found in chosen.values()}) == 6
    assert {row.id for row in first_rows(rows, 8)} not in [chosen[seed, 8] for seed in (0, 1, 2)]


def test_a_drawn_sample_is_another_training_and_no_validation_row_is_read(project: Path) -> None:
    plans = [
        toy.plan(project, "toy-classifier", train_limit=3, resample_train=True, validation_limit=0, seed=seed)
        for seed in (0, 1)
    ]
    identities = [plan.identity.train for plan in plans]
    assert len({identity.train_rows for identity in identities if identity is not None and identity.drawn}) == 2
    for options in ({"train_limit": 3}, {"resample_train": True}):  # of all rows there is nothing to draw
        train = toy.plan(project, "toy-classifier", **options).identity.as_json()["train"]
        assert "drawn" not in train
    assert all(plan.training is not None and plan.training.validation == [] for plan in plans)


def test_few_labels_get_more_epochs() -> None:
    def longer(rows: int, **train: Any) -> dict[str, Any]:
        return Encoder.with_min_steps(EncoderOptions.model_validate({"train": train}), rows, 100)

    assert longer(8) == {"train.epochs": 100}  # a step an epoch
    assert longer(100) == {"train.epochs": 15}  # 7 steps an epoch
    assert longer(100, batch_size=8, accumulation=2) == {"train.epochs": 15}
    assert longer(100, epochs=20) == {}
    assert longer(100, min_steps=100) == {}
    assert longer(5000) == {}


def test_settings_go_to_those_that_have_them(project: Path) -> None:
    asked = curve(encoders=["toy-classifier", "tfidf"])
    asked = replace(asked, base=asked.base.changed(settings={"c": 2.0, "flavour": "sour"}))
    catalog = Catalog(project)
    found = {request.backend: request.settings for request in runs_of(asked, catalog, 9)}
    assert found == {"toy-classifier": {"flavour": "sour"}, "tfidf": {"c": 2.0}, "toy-model": {"flavour": "sour"}}
    of_llm = replace(asked, encoders=["tfidf"], base=asked.base.changed(settings={"flavour": "sour"}))
    check_settings(of_llm, catalog)
    assert {r.backend: r.settings for r in runs_of(of_llm, catalog, 9)} == {"tfidf": {}, "toy-model": {"flavour": "sour"}}
    check_settings(asked, catalog)
    with pytest.raises(UserError, match="--set salt"):
        check_settings(replace(asked, base=asked.base.changed(settings={"salt": 1})), catalog)


@pytest.mark.slow
def test_runs_become_curves_and_lines(project: Path, store: Store) -> None:
    catalog, asked = Catalog(project), curve()
    assert available_labels(catalog.task("toy"), "en", None) == 9
    requests = runs_of(asked, catalog, 9)
    done = [(request, run(make_plan(request, catalog), store).run_id) for request in requests]
    made = measured(asked, done, store, "accuracy")
    assert made is not None
    (found,) = made.result.curves
    assert {size: len(point.by_seed) for size, point in found.points.items()} == {2: 2, 4: 2, 9: 2}
    assert [(line.name, line.labels) for line in made.result.lines] == [
        ("toy-model (echo · free)", 0),
        ("toy-model (shown · free)", 3),
    ]
    echo = store.record(done[0][1]).metrics.values["accuracy"].value
    assert made.result.lines[0].estimate.value == pytest.approx(echo)
    assert made.run_ids == [name for _, name in done]
    assert measured(replace(asked, base=asked.base.changed(lang="de")), done, store, "accuracy") is None


# With a teacher


def taught(project: Path, store: Store, backend: str = "toy-model", lang: str = "en", **options: Any) -> Labelling:
    """A labelling of the train split, in which the first row can't be read."""
    rows = toy.read_rows(project, "train")
    if rows[0]["text"].endswith("0"):
        rows[0]["text"] = rows[0]["text"].rpartition(" ")[0] + " mumble"
        toy.write_rows(project, "train", rows)
    catalog = Catalog(project)
    asked = RunOptions(**{"task": "toy", "backend": backend, "lang": lang, "prompt": "echo", **options})
    plan = make_plan(asked, catalog, rows_of_split(catalog.task("toy"), lang, "train", None).with_text())
    return label_rows(plan, Labellings(store.root.parent / "labels"), "train")


def test_a_teacher_adds_its_own_run_and_each_training_on_its_labels(project: Path, store: Store) -> None:
    folder = taught(project, store, decoding="score").folder
    asked = curve(llms=[], encoders=["tfidf"], sizes=[4, None], teacher=folder, soft_labels=True)
    teacher, *trained = runs_of(asked, Catalog(project), 9)
    assert (teacher.backend, teacher.prompt, teacher.decoding, teacher.split) == ("toy-model", "echo", "score", "test")
    kinds = [(None, False), (folder.as_posix(), False), (folder.as_posix(), True)]
    assert [(r.seed, r.train_limit, r.labels_from, r.soft_labels) for r in trained] == [
        (seed, size, *kind) for seed in (0, 1) for size in (4, None) for kind in kinds
    ]
    assert all(r.validation_limit == 0 for r in trained)
    both = replace(asked, llms=["toy-model"], prompts=[("echo", None)], decodings=[Decoding.SCORE])
    prompted = [r for r in runs_of(both, Catalog(project), 9) if r.backend == "toy-model"]
    assert len(prompted) == 1  # the same run as a line, and as the teacher


@pytest.mark.slow
def test_rows_that_the_teacher_did_not_label_are_left_out_and_counted(project: Path, store: Store) -> None:
    made = taught(project, store, "toy-server")
    asked = curve(llms=[], sizes=[4, None], teacher=made.folder)
    catalog = Catalog(project)
    done = [(request, run(make_plan(request, catalog), store).run_id) for request in runs_of(asked, catalog, 9)]
    teaching = teaching_of(asked, catalog.task("toy"), load_prices(project), 0.5)
    assert teaching is not None
    assert (teaching.rows, teaching.unlabelled, teaching.agreement) == (9, 1, 1.0)
    assert made.record.cost is not None
    assert teaching.usd_per_label == pytest.approx(made.record.cost.usd / 9)
    assert teaching.human_usd(10) == 5
    found = measured(asked, done, store, "accuracy", teaching)
    assert found is not None
    names = ["toy-classifier · human labels", "toy-classifier · LLM labels"]
    assert [(one.name, list(one.points)) for one in found.result.curves] == [(name, [4, 9]) for name in names]
    rows = {
        (record.labelled is not None, record.identity.train.train_count)
        for _, name in done
        if (record := store.record(name)).identity.train is not None
    }
    assert {(False, 9), (True, 8)} <= rows
    assert [line.name for line in found.result.lines] == ["toy-server (echo · free), teacher"]
    assert found.log_loss is not None
    assert found.log_loss.lines == ()  # its answers have no probabilities
    assert [one.other for one in found.log_loss.contrasts] == names[1:]


def test_a_teacher_must_fit_the_curve(project: Path, store: Store) -> None:
    task = Catalog(project).task("toy")
    made = taught(project, store)
    check_teacher(made.folder, task, "en", None, soft=False)
    with pytest.raises(UserError, match="is of toy in en, the curve of toy in de"):
        check_teacher(made.folder, task, "de", None, soft=False)
    with pytest.raises(UserError, match="no probabilities"):
        check_teacher(made.folder, task, "en", None, soft=True)
    elsewhere = taught(project, store, model=str(toy.write_checkpoint(project.parent / "elsewhere")))
    with pytest.raises(UserError, match="outside the project's folder"):
        check_teacher(elsewhere.folder, task, "en", None, soft=False)


@pytest.mark.slow
def test_a_trained_teacher_is_refused(project: Path, store: Store) -> None:
    taught(project, store)
    run(toy.plan(project, "toy-classifier", prompt=None), store)
    made = taught(project, store, "toy-classifier", prompt=None)
    with pytest.raises(UserError, match="is of a trained model"):
        check_teacher(made.folder, Catalog(project).task("toy"), "en", None, soft=False)
