"""The metric that ranks is the task's (`rank_by`): in records, boards, recommendations, comparisons and trainings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import toy
from boards import record
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from harness.analysis.candidates import pool_of
from harness.analysis.choice import confirmed_on_test
from harness.analysis.compare import compare
from harness.analysis.overall import overall
from harness.analysis.ranking_metric import ranking_metric, with_one_metric
from harness.analysis.recommend import Question, best_of, recommend
from harness.core.errors import SpecError
from harness.core.record import Metrics
from harness.core.types import LabelKind
from harness.records.entries import Entry, read_entries
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.reports.tables import read_tables
from harness.running.runner import run
from harness.specs.prices import PriceFile, Prices
from harness.specs.tasks import TaskSpec, load_task
from harness.statistics.metrics import headline_of, rankable
from harness.studies.search import metric_of

TRUTH = [i % 3 for i in range(90)]
NEAR = [1 if i % 2 else label for i, label in enumerate(TRUTH)]  # seldom right, never far off
FAR = [label if i % 10 < 7 else 2 - label for i, label in enumerate(TRUTH)]  # often right, else as far off as can be
FREE = Prices(PriceFile(hardware={}, models={}), PriceFile(hardware={}, models={}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def ranked_by(store: Store, run_id: str, metric: str, finished: str) -> None:
    """As if the task had named the metric when the run was made."""
    found = store.record(run_id)
    metrics = found.metrics.model_copy(update={"headline": headline_of(found.identity.label_kind, metric)})
    lines = list(store.predictions(run_id))
    store.set_aside(run_id)
    with store.journal(run_id):
        store.finish(found.model_copy(update={"metrics": metrics, "finished": finished}), lines)


def two_runs(store: Store, metric: str, newest: str = "near") -> dict[str, str]:
    runs = {name: record(store, name, answers, TRUTH) for name, answers in (("near", NEAR), ("far", FAR))}
    ranked_by(store, runs[newest], metric, "2026-12-01T00:00:00+00:00")
    return runs


@pytest.mark.parametrize("metric", ["mae", "qwk", "off_by_one"])
def test_the_newest_run_says_what_ranks_the_board(store: Store, metric: str) -> None:
    two_runs(store, metric)
    (table,) = read_tables(store, read_entries(store))
    assert table.metric == metric
    assert {tuple(place.row.entry.record.metrics.headline) for place in table.places} == {
        (metric, *(name for name in ("accuracy", "macro_f1", "mae", "qwk") if name != metric))
    }
    assert [place.row.entry.backend for place in table.places] == ["near", "far"]


def test_without_rank_by_accuracy_ranks(store: Store) -> None:
    for name, answers in (("near", NEAR), ("far", FAR)):
        record(store, name, answers, TRUTH)
    (table,) = read_tables(store, read_entries(store))
    assert (table.metric, table.first.backend) == ("accuracy", "far")


def test_what_a_record_lacks_is_computed_from_its_predictions(store: Store) -> None:
    two_runs(store, "qwk")
    entries = [without(entry, "qwk") if entry.backend == "far" else entry for entry in read_entries(store)]
    found = {entry.backend: entry.record.metrics for entry in with_one_metric(store, entries)}
    assert found["far"].headline[0] == "qwk"
    assert found["far"].values["qwk"].value == pytest.approx(cohen_kappa_score(TRUTH, FAR, weights="quadratic"))
    assert ranking_metric(entries) == "qwk"


def without(entry: Entry, metric: str) -> Entry:
    metrics = entry.record.metrics
    values = {name: value for name, value in metrics.values.items() if name != metric}
    changed = metrics.model_copy(update={"values": values, "headline": ["accuracy"]})
    return Entry(entry.record.model_copy(update={"metrics": changed}))


@pytest.mark.parametrize(("metric", "best"), [("mae", "near"), ("qwk", "near"), ("accuracy", "far"), ("macro_f1", "far")])
def test_a_recommendation_goes_by_what_ranks(store: Store, metric: str, best: str) -> None:
    two_runs(store, metric)
    (entry, *_) = read_entries(store)
    task, split, lang, _ = entry.group
    pool = pool_of(store, task, lang, split, FREE, [])
    found = recommend(store, pool, Question())
    assert pool.metric == metric
    assert found.recommended is not None
    assert found.recommended.entry.backend == best
    assert all(runner.gain <= 0 for runner in found.runners_up)
    # A limit on F1 is one on F1, whatever ranks.
    f1 = {candidate.entry.backend: candidate.f1.value or 0.0 for candidate in pool.candidates}
    assert f1["far"] > f1["near"]
    strict = best_of(pool.offered, Question(min_f1=f1["far"]))
    assert strict is not None
    assert strict.entry.backend == "far"


def test_a_comparison_begins_with_what_ranks(store: Store) -> None:
    runs = two_runs(store, "mae")
    assert compare(store, list(runs.values())).metrics[:2] == ["mae", "accuracy"]


# The task


def spec(folder: Path, kind: str, rank_by: str) -> TaskSpec:
    (folder / "mine.yaml").write_text(toy.TASK.replace("ordinal", kind) + f"rank_by: {rank_by}\n")
    return load_task(folder / "mine.yaml")


@pytest.mark.parametrize(
    ("kind", "metric"), [("ordinal", "qwk"), ("ordinal", "mae"), ("nominal", "macro_f1"), ("multilabel", "hamming_loss")]
)
def test_a_task_may_rank_by_what_every_run_has(tmp_path: Path, kind: str, metric: str) -> None:
    task = spec(tmp_path, kind, metric)
    assert headline_of(task.labels.kind, task.rank_by)[0] == metric


@pytest.mark.parametrize(("kind", "metric"), [("nominal", "qwk"), ("ordinal", "log_loss"), ("multilabel", "accuracy")])
def test_another_name_is_a_mistake_that_names_the_known_ones(tmp_path: Path, kind: str, metric: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, kind, metric)
    assert all(name in str(caught.value) for name in rankable(LabelKind(kind)))
    assert caught.value.exit_code == 2
    line = int(str(caught.value).partition(".yaml:")[2].partition(":")[0])
    (path,) = tmp_path.rglob("*.yaml")
    assert path.read_text().splitlines()[line - 1].startswith("rank_by")


def test_a_run_has_the_metric_first_and_its_id_only_changes_where_it_chooses(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project / "tasks" / "toy.yaml"
    usual = {name: toy.plan(project, name).run_id for name in ("toy-classifier", "toy-model")}
    path.write_text(toy.TASK + "rank_by: accuracy\n")
    assert {name: toy.plan(project, name).run_id for name in usual} == usual
    path.write_text(toy.TASK + "rank_by: qwk\n")
    assert {name: toy.plan(project, name).run_id for name in usual} == usual  # no checkpoint is chosen
    monkeypatch.setattr(toy.ToyClassifier, "chooses_checkpoint", True)
    path.write_text(toy.TASK)
    chosen = toy.plan(project, "toy-classifier")
    assert chosen.identity.train is not None
    assert chosen.identity.train.chosen_by == "accuracy"
    path.write_text(toy.TASK + "rank_by: qwk\n")
    plan = toy.plan(project, "toy-classifier")
    assert len({plan.run_id, chosen.run_id, usual["toy-classifier"]}) == 3
    assert plan.identity.as_json()["train"]["chosen_by"] == "qwk"
    assert metric_of(plan, None) == "qwk"
    result = run(plan, store, on_progress=toy.quiet)
    assert store.record(result.run_id).metrics.headline == ["qwk", "accuracy", "macro_f1", "mae"]
    assert json.loads((result.folder / "metrics.json").read_text())["headline"][0] == "qwk"
    path.write_text(toy.TASK + "rank_by: accuracy\n")
    assert toy.plan(project, "toy-classifier").run_id == chosen.run_id


def test_the_checkpoint_is_chosen_by_it(project: Path) -> None:
    from harness.running.training import validation_scorer

    (project / "tasks" / "toy.yaml").write_text(toy.TASK + "rank_by: mae\n")
    plan = toy.plan(project, "toy-classifier")
    assert plan.training is not None
    scorer = validation_scorer(plan)
    assert scorer.main == "mae"
    found = scorer.metrics(np.full((len(plan.training.validation), 3), 1 / 3))
    assert {"mae", "rps"} <= found.keys()
    assert {"mae", "rps", "loss"} <= scorer.lower_is_better


def old_and_new(store: Store, split: str, lang: str) -> dict[str, list[str]]:
    """Two configurations of two seeds: the first seed from before the task named balanced accuracy, without a value of it."""
    made: dict[str, list[str]] = {}
    for name, answers in (("near", NEAR), ("far", FAR)):
        for seed in (0, 1):
            shifted = [*answers[: 90 - 4 * seed], *[0] * (4 * seed)]
            run_id = record(store, name, shifted, TRUTH, split=split, lang=lang, seed=seed)
            ranked_by(store, run_id, "balanced_accuracy" if seed else "accuracy", f"202{5 + seed}-12-01T00:00:00+00:00")
            if not seed:
                file = store.root / run_id / "metrics.json"
                content = json.loads(file.read_text())
                del content["values"]["balanced_accuracy"]
                store.replace_metrics(run_id, Metrics.model_validate(content))
            made.setdefault(name, []).append(run_id)
    return made


def test_seeds_from_before_and_after_a_change_of_the_metric(store: Store) -> None:
    """Whatever reads them goes by the newest run, and computes what an old record lacks."""
    made = {(split, lang): old_and_new(store, split, lang) for split in ("test", "validation") for lang in ("en", "de")}
    found = overall(store)
    assert {dataset.metric for dataset in found.datasets} == {"balanced_accuracy"}
    assert all(len(runs) == 2 for standing in found.standings for runs in standing.runs)
    compared = compare(store, [runs[0] for runs in made["test", "en"].values()])
    assert compared.metrics[0] == "balanced_accuracy"
    pool = pool_of(store, "toy", "en", "validation", FREE, [])
    confirmed = confirmed_on_test(store, recommend(store, pool, Question()))
    assert confirmed is not None
    assert confirmed.value is not None
    runs = [read_predictions(store, name) for name in confirmed.runs]
    each = [balanced_accuracy_score(one.truth, one.answers) for one in runs]
    assert len(each) == 2
    assert confirmed.value.value == pytest.approx(sum(each) / 2)
