"""The space of a search, its trials and what remains of them: resumed, pruned, failed, and never a test row."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import yaml
from pydantic import BaseModel, ConfigDict

pytest.importorskip("optuna")

from harness.core.arrays import FloatArray
from harness.core.cache_folder import cache_dir
from harness.core.engine import TrainingJob
from harness.core.errors import ModelUnavailable, RunBusy, RunError, SpecError, UnknownName, UserError
from harness.core.options import RunOptions
from harness.records.store import Store
from harness.running import plan as planning
from harness.running.plan import make_plan
from harness.running.runner import run
from harness.running.trained_models import folder_of
from harness.running.training import trained_key
from harness.specs.backend_specs import load_backend
from harness.specs.catalog import Catalog
from harness.specs.search_space import Parameter
from harness.studies.search import Search, check_output, new_search, tuned_backend
from harness.studies.study import Study, Trial, joined_study, open_study

BACKEND = """\
engine: tunable
search:
  train.lr: {low: 1e-5, high: 0.1, log: true}
  train.size: {choices: [8, 16]}
"""
ROWS = 20


class TrainOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    lr: float = 0.1
    size: int = 8


class TunableOptions(toy.ToyOptions):
    batch: int = 64
    evaluations: int = 3
    train: TrainOptions = TrainOptions()


class Tunable(toy.ToyClassifier):
    """Right on a share of the rows that is largest for a learning rate of 1e-3; keeps a checkpoint after each evaluation."""

    Options = TunableOptions
    epochs: list[int] = []  # noqa: RUF012 - all that were trained, for the tests to see
    moment: Callable[[int, float], None] = staticmethod(lambda epoch, lr: None)

    def fit(self, job: TrainingJob) -> dict[str, Any]:
        job.scratch.mkdir(parents=True, exist_ok=True)
        kept = job.scratch / "epoch"
        for epoch in range(int(kept.read_text()) if kept.exists() else 0, self.options.evaluations):
            self.epochs.append(epoch)
            job.scorer.evaluate(self._answers(list(job.validation.texts)))
            self.moment(epoch, self.options.train.lr)
            kept.write_text(str(epoch + 1))
        self.state = {"seed": job.seed, "classes": len(job.labels)}
        return {"loss": 0.5}

    def predict(self, texts: Any) -> FloatArray:
        return self._answers([text.content for text in texts])

    def _answers(self, texts: list[str]) -> FloatArray:
        right = ROWS * (1 - abs(np.log10(self.options.train.lr) + 3) / 4)
        answers = np.full((len(texts), 3), 0.1)
        for row, text in enumerate(texts):
            number, said = int(text.split()[3]), int(toy.said_in(text))
            answers[row, said if number < right else (said + 1) % 3] = 0.8
        return answers


def entry_points(*, group: str) -> list[EntryPoint]:
    return [*toy.toy_entry_points(group=group), EntryPoint("tunable", "test_search:Tunable", group)]


def write_project(project: Path) -> Path:
    toy.write_project(project)
    (project / "backends" / "tunable.yaml").write_text(BACKEND)
    rows = [toy.row("validation", lang, n, str(n % 3), n % 3) for lang in ("en", "de") for n in range(ROWS)]
    toy.write_rows(project, "validation", [row for row in rows if row["lang"] == "en" or not row["id"].endswith("5")])
    (project / "tasks" / "rows" / "test.jsonl").unlink()
    return project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without a file of test rows."""
    monkeypatch.setattr("harness.specs.backend_specs.entry_points", entry_points)
    monkeypatch.setattr(Tunable, "epochs", [])
    return write_project(tmp_path / "project")


def searched(project: Path, langs: tuple[str, ...] = ("en",), metric: str | None = None, **changes: Any) -> Search:
    request: dict[str, Any] = {"task": "toy", "backend": "tunable", "lang": "en", "train_lang": ("en",), **changes}
    return new_search(RunOptions(**request), langs, Catalog(project), metric)


def go_on(project: Path, search: Search, trials: int, *, pruning: bool = False, name: str = "study") -> list[Trial]:
    with open_study(search, project / name, Catalog(project)) as study:
        while study.finished() < trials:
            study.next_trial(lambda trial: None, toy.quiet, pruning=pruning)
        return study.trials()


def tried(trials: list[Trial]) -> list[tuple[dict[str, Any], float | None]]:
    return [(trial.settings, trial.value) for trial in trials if trial.state != "interrupted"]


def models() -> list[str]:
    """Keys of the trained models and of what is left of trainings."""
    return sorted(path.name for path in (cache_dir() / "trained").iterdir())


def test_spaces_are_read_with_the_numbers_that_yaml_takes_for_words(project: Path) -> None:
    space = load_backend(project / "backends" / "tunable.yaml").search
    assert space["train.lr"].low == 1e-5
    assert Parameter(choices=["1e-5", "3e-5", "linear", True, None]).choices == [1e-5, 3e-5, "linear", True, None]
    assert (Parameter(low=1, high=3).whole, Parameter(low=1, high=3.0).whole) == (True, False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{low: 1, high: 1}", "`low` must be below `high`, found 1 and 1"),
        ("{low: 2.5, high: .inf}", "`low` must be below"),
        ("{low: 0, high: 1.0, log: true}", "with `log`, `low` must be above 0, found 0"),
        ("{choices: []}", "`choices` is empty"),
        ("{choices: [1], low: 0}", "`choices` go without `low`"),
        ("{low: 1}", "it needs `low` and `high`, or `choices`"),
        ("{low: few, high: 3}", "found 'few'"),
        ("{low: 1, high: 9, step: 0.5}", "whole numbers need a whole `step`"),
        ("{low: 1.0, high: 9, step: 9}", "`step` must be above 0 and fit"),
        ("{low: 1, high: 9, step: 1, log: true}", "exclude each other"),
        ("{low: true, high: 9}", "true and false are no numbers"),
        ("{lo: 1, high: 9}", "unknown key 'search.train.lr.lo'"),
    ],
)
def test_a_wrong_space_is_named_with_its_line(project: Path, text: str, words: str) -> None:
    path = project / "backends" / "tunable.yaml"
    path.write_text(f"engine: tunable\nsearch:\n  train.lr: {text}\n")
    with pytest.raises(SpecError) as caught:
        load_backend(path)
    assert words in caught.value.message
    assert "tunable.yaml:3" in caught.value.message
    assert "train.lr" in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.rate: {low: 1, high: 2}", "search of 'train.rate' at 1: unknown key 'train.rate'"),
        ("train.lr.x: {low: 1, high: 2}", "train.lr"),
        ("train.size: {low: 8.0, high: 16.0}", "search of 'train.size' at 10.5"),
        ("train.size: {choices: [8, many]}", "search of 'train.size' at 'many'"),
        ("trian.lr: {low: 1, high: 2}", "unknown key 'trian'"),
    ],
)
def test_options_are_checked_before_the_first_trial(project: Path, text: str, words: str) -> None:
    (project / "backends" / "tunable.yaml").write_text(
        f"engine: tunable\noptions: {{train: {{lr: 0.1}}}}\nsearch: {{{text}}}\n"
    )
    with pytest.raises(UserError) as caught:
        searched(project)
    assert words in caught.value.message


def test_what_cannot_be_searched(project: Path) -> None:
    with pytest.raises(UserError, match="has no search space") as caught:
        searched(project, backend="toy-classifier")
    assert yaml.safe_load(caught.value.hint.partition(": ")[2])["search"]["train.lr"]["low"] == 1e-5
    with pytest.raises(UserError, match="--backend toy-model: this backend is not trained"):
        searched(project, backend="toy-model")
    with pytest.raises(UserError, match="no metric 'acuracy'") as caught:
        searched(project, metric="acuracy")
    assert "accuracy" in caught.value.hint
    with pytest.raises(UnknownName):
        searched(project, backend="tuneable")


@pytest.mark.slow
def test_trials_are_runs_on_validation_rows_and_the_best_model_is_kept(project: Path) -> None:
    search = searched(project)
    assert search.metric == "accuracy"
    trials = go_on(project, search, 5)
    best = max(trials, key=lambda trial: trial.value or 0)
    runs = Store(project / "study" / "runs")
    assert len(runs.ids()) == len(trials) == 5
    assert {runs.record(name).identity.split for name in runs.ids()} == {"validation"}
    assert {runs.record(name).n for name in runs.ids()} == {ROWS}
    recorded = [runs.record(name).metrics.values["accuracy"].value or -1 for name in runs.ids()]
    assert sorted(recorded) == sorted(trial.value or -1 for trial in trials)
    assert len(set(recorded)) > 1
    assert models() == [best.key]
    for trial in trials:
        assert 1e-5 <= trial.settings["train.lr"] <= 0.1
        assert trial.settings["train.size"] in (8, 16)


@pytest.mark.slow
def test_test_rows_are_never_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write_rows(project, "test", [toy.row("test", "en", 0, "0", 0)])
    load, splits = planning.load_examples, []

    def progress_listener(*args: Any, split: str, **more: Any) -> Any:
        splits.append(split)
        assert split != "test", "a search has no business with test rows"
        return load(*args, split=split, **more)

    monkeypatch.setattr(planning, "load_examples", progress_listener)
    assert len(go_on(project, searched(project), 2)) == 2
    assert set(splits) == {"train", "validation"}


@pytest.mark.slow
def test_the_seed_decides_what_is_tried_and_a_search_in_parts_tries_the_same(project: Path) -> None:
    whole = go_on(project, searched(project), 12)  # the sampler begins to learn after ten
    go_on(project, searched(project), 1, name="parts")
    assert tried(go_on(project, searched(project), 12, name="parts")) == tried(whole)
    assert len({trial.settings["train.lr"] for trial in whole}) == 12
    assert go_on(project, searched(project), 3) == whole  # enough of them are there
    other = go_on(project, searched(project, seed=1), 1, name="other")
    assert tried(other)[0] != tried(whole)[0]


@pytest.mark.slow
def test_an_interrupted_trial_is_run_again_first_and_goes_on_from_its_checkpoint(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = go_on(project, searched(project), 3, name="whole")
    for trial in whole:
        assert folder_of(trial.key or "").exists() == (trial is max(whole, key=lambda trial: trial.value or 0))
    monkeypatch.setenv("BENCH_CACHE", str(project / "cache"))
    go_on(project, searched(project), 1)
    Tunable.epochs.clear()

    def interrupt(epoch: int, lr: float) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Tunable, "moment", staticmethod(interrupt))
        with pytest.raises(KeyboardInterrupt):
            go_on(project, searched(project), 3)
    assert Tunable.epochs == [0, 1]
    trials = go_on(project, searched(project), 3)
    assert Tunable.epochs[:4] == [0, 1, 1, 2]  # its first epoch is not trained again
    assert [trial.state for trial in trials] == ["complete", "interrupted", "complete", "complete"]
    assert trials[1].settings == trials[2].settings
    assert tried(trials) == tried(whole)
    assert models() == [max(trials, key=lambda trial: trial.value or 0).key]


KILLED = """
import os, signal, sys
from pathlib import Path
import pytest, test_search
from test_search import Tunable, go_on, searched
import harness.specs.backend_specs
harness.specs.backend_specs.entry_points = test_search.entry_points
started = 0
def moment(epoch, lr):
    global started
    started += epoch == 0
    if started == 2 and epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
Tunable.moment = staticmethod(moment)
go_on(Path(sys.argv[1]), searched(Path(sys.argv[1])), 4, pruning=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_search_that_was_killed_goes_on(project: Path) -> None:
    here = Path(__file__).parent
    paths = {"PYTHONPATH": f"{here}:{here.parent}:{here.parents[2]}", "BENCH_CACHE": str(cache_dir())}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(project)], env=paths, capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == -9, done.stderr
    assert len(models()) == 2
    trials = go_on(project, searched(project), 4, pruning=True)
    assert Tunable.epochs[:2] == [1, 2]
    assert [trial.state for trial in trials][:3] == ["complete", "interrupted", "complete"]
    assert len(models()) == 1
    assert not list((project / "study" / "runs").glob("*.partial"))


@pytest.mark.slow
def test_a_hopeless_trial_is_pruned_and_leaves_nothing(project: Path) -> None:
    search = searched(project)
    trials = go_on(project, search, 8, pruning=True)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    best = max((trial for trial in trials if trial.value is not None), key=lambda trial: trial.value or 0)
    assert pruned
    assert min(trial.number for trial in pruned) >= 3  # the median of fewer says little
    assert all(trial.value is None for trial in pruned)
    assert len(Tunable.epochs) == 3 * (8 - len(pruned)) + 2 * len(pruned)  # each ended at its second evaluation
    assert models() == [best.key]
    runs = project / "study" / "runs"
    assert sorted(path.name for path in runs.iterdir()) == Store(runs).ids()
    assert len(Store(runs).ids()) == 8 - len(pruned)
    Tunable.epochs.clear()
    plain = go_on(project, search, pruned[0].number + 1, name="plain")
    assert plain[-1].settings == pruned[0].settings
    assert {trial.state for trial in plain} == {"complete"}


@pytest.mark.slow
def test_a_trial_that_fails_counts_and_the_search_goes_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(epoch: int, lr: float) -> None:
        if len(Tunable.epochs) == 1:
            raise RunError("the training diverged")

    monkeypatch.setattr(Tunable, "moment", staticmethod(diverge))
    trials = go_on(project, searched(project), 3)
    assert [(trial.state, trial.error) for trial in trials] == [
        ("failed", "the training diverged"),
        ("complete", None),
        ("complete", None),
    ]
    assert trials[0].settings != trials[1].settings
    assert trials[0].key not in models()
    assert not list((project / "study" / "runs").glob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("error", [UserError("wrong"), ModelUnavailable("no network"), OSError(28, "No space left")])
def test_what_the_next_trial_would_meet_too_ends_the_search(
    project: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(epoch: int, lr: float) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Tunable, "moment", staticmethod(fail))
        with pytest.raises(type(error)):
            go_on(project, searched(project), 3)
    trials = go_on(project, searched(project), 1)
    assert [trial.state for trial in trials] == ["interrupted", "complete"]
    assert trials[0].settings == trials[1].settings


@pytest.mark.slow
def test_a_model_that_was_there_before_is_not_deleted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = searched(project)
    whole = go_on(project, search, 4, name="whole")
    best = max(whole, key=lambda trial: trial.value or 0)
    loser = next(trial for trial in whole if trial is not best)
    monkeypatch.setenv("BENCH_CACHE", str(project / "cache"))
    plan = make_plan(search.request.changed(settings=loser.settings), Catalog(project))
    run(plan, Store(project / "runs"))
    assert models() == [loser.key]
    assert tried(go_on(project, search, 4)) == tried(whole)
    assert models() == sorted([str(loser.key), str(best.key)])


@pytest.mark.slow
def test_trials_with_the_same_values_share_a_model(project: Path) -> None:
    (project / "backends" / "tunable.yaml").write_text("engine: tunable\nsearch: {train.size: {choices: [8, 16]}}\n")
    trials = go_on(project, searched(project), 6)
    assert len({trial.key for trial in trials}) == 2
    assert models() == [trials[0].key]  # of equally good ones the first
    assert len(Store(project / "study" / "runs").ids()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"seed": 1}, "seed"),
        ({"metric": "mae"}, "metric"),
        ({"langs": ("de",)}, "train, validation languages"),
        ({"train_limit": 4}, "train"),
        ({"settings": {"flavour": "other"}}, "backend"),
        ("space", "space"),
    ],
    ids=lambda value: str(value),
)
def test_a_study_of_something_else_is_not_gone_on_with(project: Path, change: Any, differs: str) -> None:
    go_on(project, searched(project), 1)
    if change == "space":
        path = project / "backends" / "tunable.yaml"
        path.write_text(path.read_text().replace("[8, 16]", "[8, 32]"))
        change = {}
    with pytest.raises(UserError, match=rf"another search \(different: {differs}\)") as caught:
        go_on(project, searched(project, **change), 2)
    assert "--study" in caught.value.hint


@pytest.mark.slow
def test_two_processes_do_not_search_the_same_study(project: Path) -> None:
    search = searched(project)
    with open_study(search, project / "study", Catalog(project)), pytest.raises(RunBusy, match="the study study"):
        go_on(project, search, 1)
    assert len(go_on(project, search, 1)) == 1


@pytest.mark.slow
def test_several_validation_languages_count_the_same(project: Path) -> None:
    (trial,) = go_on(project, searched(project, ("en", "de")), 1)
    runs = Store(project / "study" / "runs")
    values = {record.identity.lang: record.metrics for record in map(runs.record, runs.ids())}
    assert {lang: metrics.n for lang, metrics in values.items()} == {"en": 20, "de": 18}
    one, other = (values[lang].values["accuracy"].value or 0 for lang in ("en", "de"))
    assert one != other
    assert trial.value == pytest.approx((one + other) / 2)
    assert Tunable.epochs == [0, 1, 2]  # one training for both


@pytest.mark.slow
def test_lower_is_better_for_an_error(project: Path) -> None:
    search = searched(project, metric="mae")
    trials = go_on(project, search, 3)
    with open_study(search, project / "study", Catalog(project)) as study:
        best = study.best()
    assert best == min(trials, key=lambda trial: 9 if trial.value is None else trial.value)
    assert len({trial.value for trial in trials}) > 1


@pytest.mark.slow
def test_the_tuned_backend_is_the_best_trial_and_finds_its_model(project: Path) -> None:
    (project / "backends" / "tunable.yaml").write_text(
        BACKEND + "options: {flavour: sweet, train: {size: 4}}\nlanguages: [en]\n"
    )
    search = searched(project, settings={"evaluations": 2})
    with open_study(search, project / "study", Catalog(project)) as study:
        study.next_trial(lambda trial: None, toy.quiet)
        best = study.best()
    assert best is not None
    path = project / "backends" / "mine.yaml"
    check_output(path, search, "study", Catalog(project))
    path.write_text(tuned_backend(search, best.settings, "Which one it is.", "study"))
    spec = load_backend(path)
    assert (spec.engine, spec.description, spec.languages, spec.search) == ("tunable", "Which one it is.", ["en"], {})
    assert spec.options == {
        "flavour": "sweet",
        "evaluations": 2,
        "train": {"size": best.settings["train.size"], "lr": best.settings["train.lr"]},
    }
    assert isinstance(yaml.safe_load(path.read_text())["options"]["train"]["lr"], float)
    request = RunOptions(task="toy", backend="mine", lang="en", split="validation")
    plan = make_plan(request, Catalog(project))
    assert trained_key(plan) == best.key
    assert (folder_of(trained_key(plan)) / "model").is_dir()
    check_output(path, search, "study", Catalog(project))  # its own file it may write again
    for other, study_name in ((search, "another"), (searched(project, settings={"evaluations": 1}), "study")):
        with pytest.raises(UserError, match="this study did not write it"):
            check_output(path, other, study_name, Catalog(project))


def test_the_name_of_another_backend_is_not_taken(project: Path) -> None:
    search = searched(project)
    with pytest.raises(UserError, match="backend 'tfidf' exists already"):
        check_output(project / "backends" / "tfidf.yaml", search, "study", Catalog(project))
    with pytest.raises(UserError, match="this study did not write it"):
        check_output(project / "backends" / "toy-model.yaml", search, "study", Catalog(project))


# Studies of earlier versions, and of several workers


def in_sqlite(project: Path, name: str = "study") -> None:
    """The study as an earlier version wrote it: in SQLite, its trials without places, its models in one list."""
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    folder = project / name
    found = optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))))
    storage = RDBStorage(f"sqlite:///{folder / 'study.db'}")
    old = optuna.create_study(study_name=name, storage=storage, direction=found.direction)
    old.set_user_attr("identity", found.user_attrs["identity"])
    old.set_user_attr("models", [key.removeprefix("made ") for key, ours in found.user_attrs.items() if ours is True])
    for trial in found.trials:
        attributes = {key: value for key, value in trial.user_attrs.items() if key != "place"}
        old.add_trial(
            optuna.trial.create_trial(
                state=trial.state,
                value=trial.value,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
                intermediate_values=trial.intermediate_values,
            )
        )
    storage.remove_session()
    storage.engine.dispose()
    (folder / "study.journal").unlink()


@pytest.mark.slow
def test_a_study_in_sqlite_goes_on_as_it_would_have(project: Path) -> None:
    search = searched(project)
    whole = go_on(project, search, 5, name="whole")
    begun = go_on(project, search, 3)
    in_sqlite(project)
    gone_on = go_on(project, search, 5)
    assert tried(gone_on[:3]) == tried(begun)
    assert tried(gone_on) == tried(whole)
    assert (project / "study" / "study.db").exists()
    assert tried(go_on(project, search, 5)) == tried(whole)
    best = max(gone_on, key=lambda trial: trial.value or 0)
    assert models() == [best.key]


def joined(project: Path, search: Search) -> Study:
    return joined_study(search, project / "study", Catalog(project))


@pytest.mark.slow
def test_a_worker_that_does_not_see_the_study_says_so(project: Path) -> None:
    with pytest.raises(RunError, match="does not see the study study"):
        joined(project, searched(project))


@pytest.mark.slow
def test_a_worker_spares_the_models_that_others_train(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one worker trains, another ends a trial and deletes the models of worse ones."""
    search = searched(project)
    places = iter([1, 2])

    def meanwhile(epoch: int, lr: float) -> None:
        if epoch == 1 and (place := next(places, None)) is not None:
            before = models()
            joined(project, search).next_trial(lambda trial: None, toy.quiet, pruning=False, place=place)
            assert set(before) & set(models()) == set(before)

    with open_study(search, project / "study", Catalog(project), is_shared=True) as study:
        monkeypatch.setattr(Tunable, "moment", staticmethod(meanwhile))
        joined(project, search).next_trial(lambda trial: None, toy.quiet, pruning=False, place=0)
        study.tidy()
        assert study.finished() == 3
        best = study.best()
        assert best is not None
        assert models() == [best.key]


@pytest.mark.slow
def test_places_draw_alike_whoever_carries_them_out(project: Path) -> None:
    search = searched(project)
    one = go_on(project, search, 3, name="one")
    with open_study(search, project / "study", Catalog(project), is_shared=True) as study:
        for place in (2, 0, 1):
            joined(project, search).next_trial(lambda trial: None, toy.quiet, pruning=False, place=place)
        places = study.finished_places()
    assert [places[place].settings for place in range(3)] == [trial.settings for trial in one]


@pytest.mark.slow
def test_the_trial_of_a_dead_worker_is_run_by_the_one_that_gets_its_place(project: Path) -> None:
    search = searched(project)

    def dies(epoch: int, lr: float) -> None:
        raise KeyboardInterrupt

    with open_study(search, project / "study", Catalog(project), is_shared=True) as study:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tunable, "moment", staticmethod(dies))
            with pytest.raises(KeyboardInterrupt):
                joined(project, search).next_trial(lambda trial: None, toy.quiet, place=0)
        joined(project, search).next_trial(lambda trial: None, toy.quiet, place=1)
        assert set(study.finished_places()) == {1}
        joined(project, search).next_trial(lambda trial: None, toy.quiet, place=0)
        trials = study.trials()
    assert [trial.state for trial in trials] == ["interrupted", "complete", "complete"]
    assert trials[0].settings == trials[2].settings
