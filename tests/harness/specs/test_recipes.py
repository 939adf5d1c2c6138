"""Recipes: what a YAML may say, which steps it becomes, and that those which come with bench fit what they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import toy
from pydantic import ValidationError

from harness.core.errors import SpecError, UnknownName, UserError
from harness.core.options import RunOptions
from harness.records.store import Store
from harness.running.runner import run
from harness.running.training import trained_key
from harness.specs.asked import Asked
from harness.specs.backend_specs import engine_class, with_settings
from harness.specs.catalog import Catalog
from harness.specs.executors import NeedSpec
from harness.specs.recipes import Recipe, load_recipe
from harness.specs.reported import load_reported
from harness.specs.yamlspec import validate_options
from harness.studies.dry_run import PlannedStep, State, planned_steps
from harness.studies.steps import Changes, Step, request_of, steps_of, steps_of_runs, training

ROOT = Path(__file__).resolve().parents[3]
NAMES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
BASE = """\
description: d
defaults: {task: toy, backend: toy-classifier, limit: 6}
runs:
  - {name: first, train_lang: en}
  - {name: second, lang: de, train_lang: de, continued_from: first}
"""


def load(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def told(steps: list[Step], *fields: str) -> list[tuple[Any, ...]]:
    return [(step.name, *(getattr(step.request, field) for field in fields)) for step in steps]


# The YAML


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("limit: 6", "limits: 6", 2, "unknown key 'defaults.limits'"),
        ("limit: 6", "limit: 0", 2, "greater than or equal to 1"),
        ("limit: 6", "seed: -1", 2, "greater than or equal to 0"),
        ("task: toy, ", "", 1, "the run 'first' has no `task`"),
        ("name: second", "name: first", 1, "two runs are named 'first'"),
        ("name: second", "name: Second Run", 5, "should match pattern"),
        ("continued_from: first", "continued_from: second", 1, "continues from 'second'"),
        (
            "train_lang: en}",
            "train_lang: en, tune: {trials: 0, space: {x: {low: 1, high: 2}}}}",
            4,
            "greater than or equal to 1",
        ),
        ("train_lang: en}", "train_lang: en, tune: {trials: 2, space: {x: {low: 1, high: 2}}}}", 1, "that trains a model"),
        ("train_lang: en}", "tune: {trials: 2, space: {x: {low: 2, high: 1}}}}", 4, "`low` must be below `high`"),
    ],
)
def test_bad_yaml_says_file_line_and_field(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in BASE
    with pytest.raises(SpecError) as caught:
        load(tmp_path, BASE.replace(old, new))
    assert f"mine.yaml:{line}: " in caught.value.message
    assert words in caught.value.message


def test_every_key_is_described() -> None:
    schema = Recipe.model_json_schema()
    parts = [schema, *(part for name, part in schema["$defs"].items() if name != "Parameter")]
    assert [name for part in parts for name, value in part.get("properties", {}).items() if "description" not in value] == []


# Steps


def test_every_combination_is_a_step(project: Path, tmp_path: Path) -> None:
    text = "description: d\ndefaults: {task: toy, set: {batch: 2}}\nruns:\n" + (
        "  - {name: a, backend: [toy-classifier, toy-model], lang: [en, de], seed: [0, 1], limit: [2, 4], set: {flavour: x}}\n"
        "  - {name: b, backend: toy-model, prompt: [echo, shown], decoding: [free, score], lang: en}\n"
        "  - {name: c, backend: toy-classifier, train_lang: [en, de], validation_lang: de}\n"
    )
    steps = steps_of(load(tmp_path, text), Catalog(project), Changes())
    which = told(steps, "backend", "seed", "limit", "lang")
    assert len(which) == 16 + 4 + 2
    assert len(set(which[:16])) == 16
    assert which[0] == ("a", "toy-classifier", 0, 2, "en")
    assert told(steps[16:20], "prompt", "decoding") == [
        ("b", "echo", "free"),
        ("b", "echo", "score"),
        ("b", "shown", "free"),
        ("b", "shown", "score"),
    ]
    assert told(steps[20:], "lang", "train_lang", "validation_lang") == [  # all of the task's languages
        ("c", "en", ("en", "de"), ("de",)),
        ("c", "de", ("en", "de"), ("de",)),
    ]
    assert steps[0].request.settings == {"batch": 2, "flavour": "x"}
    assert steps[16].request.settings == {"batch": 2}


def test_the_command_line_says_more_than_smoke_and_smoke_more_than_the_recipe(project: Path, tmp_path: Path) -> None:
    text = BASE + "smoke: {backends: {toy-classifier: tfidf}, limit: 2, train_limit: 3, set: {a: 1, b: 1}}\n"
    recipe = load(tmp_path, text)
    given = Asked({"limit": [1], "settings": {"b": 2}})
    smoke, plain = (steps_of(recipe, Catalog(project), Changes(given, smoke=how)) for how in (True, False))
    assert told(smoke, "backend", "limit", "train_limit")[0] == ("first", "tfidf", 1, 3)
    assert smoke[0].request.settings == {"a": 1, "b": 2}
    assert told(plain, "backend", "limit", "train_limit")[0] == ("first", "toy-classifier", 1, None)
    other = steps_of(recipe, Catalog(project), Changes(Asked({"backend": ["toy-model"], "seed": [3, 4]})))
    assert told(other, "backend", "seed")[:2] == [("first", "toy-model", 3), ("first", "toy-model", 3)]
    assert len(other) == 6


def test_a_smoke_test_keeps_the_task_that_can_read_the_user_s_rows(project: Path, tmp_path: Path) -> None:
    recipe = load(tmp_path, BASE + "smoke: {task: reviews_demo, backend: tfidf, limit: 2}\n")
    own, bundled = (steps_of(recipe, Catalog(project), Changes(Asked(given), smoke=True)) for given in ({"data": tmp_path}, {}))
    assert told(own, "task", "backend", "limit", "data")[0] == ("first", "toy", "tfidf", 2, tmp_path)
    assert told(bundled, "task", "backend", "limit")[0] == ("first", "reviews_demo", "tfidf", 2)


def test_a_recipe_without_smoke_says_so(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no `smoke`"):
        steps_of(load(tmp_path, BASE), Catalog(project), Changes(smoke=True))


def test_chosen_runs_bring_what_they_go_on_from(project: Path, tmp_path: Path) -> None:
    recipe = load(tmp_path, BASE + "  - {name: third}\n")
    assert {name for name, *_ in told(steps_of(recipe, Catalog(project), Changes(), ["second"]))} == {"first", "second"}
    assert {name for name, *_ in told(steps_of(recipe, Catalog(project), Changes(), ["third"]))} == {"third"}
    with pytest.raises(UnknownName, match="no run of the recipe 'mine' named 'thrid'"):
        steps_of(recipe, Catalog(project), Changes(), ["thrid"])


@pytest.mark.parametrize(
    ("text", "kind"),
    [("backend: toy-classifer", "backend"), ("task: tay", "task"), ("prompt: ech, backend: toy-model", "prompt")],
)
def test_an_unknown_name_is_found_before_the_first_run(project: Path, tmp_path: Path, text: str, kind: str) -> None:
    recipe = load(tmp_path, BASE + f"  - {{name: third, {text}}}\n")
    with pytest.raises(UnknownName, match=f"There is no {kind}"):
        steps_of(recipe, Catalog(project), Changes())


def test_a_training_goes_on_from_the_one_of_its_seed(project: Path, tmp_path: Path) -> None:
    steps = steps_of(load(tmp_path, BASE), Catalog(project), Changes(Asked({"seed": [0, 1]})))
    after = [step for step in steps if step.base is not None]
    assert [(step.request.seed, step.base.request.seed) for step in after if step.base] == [(0, 0), (1, 1)]
    assert {step.base.name for step in after if step.base} == {"first"}


def test_a_training_that_could_go_on_from_several_is_refused(project: Path, tmp_path: Path) -> None:
    text = BASE.replace("{name: first, train_lang: en}", "{name: first, lang: en, backend: [toy-classifier, tfidf]}")
    assert len(steps_of(load(tmp_path, text), Catalog(project), Changes())) == 3  # one of its backend
    with pytest.raises(UserError, match="trains no such models"):
        steps_of(load(tmp_path, text.replace("[toy-classifier, tfidf]", "tfidf")), Catalog(project), Changes())
    each = BASE.replace("{name: first, train_lang: en}", "{name: first}").replace("lang: de, train_lang: de, ", "lang: en, ")
    base = steps_of(load(tmp_path, each), Catalog(project), Changes())[-1].base
    assert base is not None  # trained on each tested language: the one in the same
    assert base.request.lang == "en"


def test_steps_that_need_one_training_are_alike(project: Path, tmp_path: Path) -> None:
    text = BASE.split("runs:")[0] + (
        "runs:\n  - {name: a, train_lang: en, lang: [en, de], set: {predict.batch_size: 2}}\n"
        "  - {name: b, train_lang: en, lang: en, limit: 2}\n  - {name: c, train_lang: en, validation_lang: de, lang: en}\n"
        "  - {name: d, train_lang: en, lang: en, set: {flavour: x}}\n  - {name: e, lang: [en, de]}\n"
    )
    a, other, b, c, d, e, f = map(training, steps_of(load(tmp_path, text), Catalog(project), Changes()))
    assert a == other == b == e
    assert len({a, c, d, f}) == 4


# What is ahead


def ahead(project: Path, recipe: Recipe) -> tuple[list[PlannedStep], Store]:
    store = Store(project / "results" / "runs")
    steps = steps_of(recipe, Catalog(project), Changes())
    return planned_steps(steps, Catalog(project), store, {}), store


def test_what_a_dry_run_says_before_and_after(project: Path, tmp_path: Path) -> None:
    recipe = load(tmp_path, BASE)
    before, store = ahead(project, recipe)
    assert [step.state for step in before] == [State.TO_DO] * 3
    assert [str(step.train) for step in before] == ["9 en", "9 en", "9 de"]
    assert [str(step.validation) for step in before] == ["3 en", "3 en", "3 de"]
    assert [str(step.test) for step in before] == ["6 en", "6 de", "6 de"]
    assert not store.root.exists()
    run(toy.plan(project, "toy-classifier", limit=6, train_lang=("en",), prompt=None), store)
    after, _ = ahead(project, recipe)
    assert [(step.state, step.note) for step in after] == [
        (State.FOUND, None),
        (State.TO_DO, "the model is trained already"),
        (State.TO_DO, None),
    ]


def test_needs_and_groups_of_what_is_ahead(project: Path) -> None:
    """A model that is prompted serves both languages; the second one of bench.toml."""
    asked = [
        RunOptions(task="toy", backend=name, lang=lang) for name in ("toy-model", "toy-classifier") for lang in ("en", "de")
    ]
    needs = {"toy-model": NeedSpec(gpus=0.5, memory_gib=8)}
    planned = planned_steps(steps_of_runs(asked), Catalog(project), Store(project / "results" / "runs"), needs)
    assert [step.step for step in planned] == ["1", "2", "3", "4"]
    assert [step.group for step in planned] == [1, 1, 2, 3]
    assert [(step.need.gpus, step.need.cpus, step.need.memory_gib) for step in planned[:2]] == [(0.5, None, 8)] * 2
    assert planned[2].need.memory_gib is None


def test_no_validation_rows_are_no_rows(project: Path) -> None:
    asked = RunOptions(task="toy", backend="toy-classifier", lang="en", validation_limit=0)
    (planned,) = planned_steps(steps_of_runs([asked]), Catalog(project), Store(project / "results" / "runs"), {})
    assert str(planned.validation) == "0 en"


def test_an_interrupted_run_continues(project: Path, tmp_path: Path) -> None:
    store = ahead(project, load(tmp_path, BASE))[1]
    plan = toy.plan(project, "toy-classifier", limit=6, train_lang=("en",), prompt=None)
    journal = store.root / f"{plan.run_id}.partial" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    journal.touch()
    assert [step.state for step in ahead(project, load(tmp_path, BASE))[0]] == [State.CONTINUES, State.TO_DO, State.TO_DO]


def test_rows_that_are_elsewhere_are_bounded_by_limits(project: Path, tmp_path: Path) -> None:
    text = (
        "description: d\ndefaults: {task: amazon_reviews_multi, backend: toy-classifier, lang: en}\n"
        "runs: [{name: a, limit: 5, train_limit: 7}, {name: b, train_lang: [en, fr], train_limit: 7, limit: 5}]\n"
    )
    (a, b), _ = ahead(project, load(tmp_path, text))
    assert [str(count) for count in (a.train, a.validation, a.test)] == ["≤ 7 en", "all en", "≤ 5 en"]
    assert str(b.train) == "≤ 14 en+fr"


def test_the_key_of_a_start_is_that_of_the_earlier_plan(project: Path, tmp_path: Path) -> None:
    catalog = Catalog(project)
    first, *_, second = steps_of(load(tmp_path, BASE.replace("lang: de, train", "lang: en, train")), catalog, Changes())
    plan = toy.plan(project, "toy-classifier", limit=6, train_lang=("en",), prompt=None)
    assert request_of(first, catalog) == first.request
    assert request_of(second, catalog).continue_from == trained_key(plan)


# What comes with bench


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_built_in_recipes_name_what_there_is(name: str, tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    recipe = catalog.recipe(name)
    assert recipe.note
    for smoke in (False, True):
        steps = steps_of(recipe, catalog, Changes(smoke=smoke))
        for step in steps:
            spec, engine = catalog.backend(step.request.backend), engine_class(catalog.backend(step.request.backend).engine)
            settings = [{}]
            if step.tune is not None:
                space = step.tune.space.items()
                settings += [{option: value} for option, parameter in space for value in parameter.samples()]
            for more in settings:
                changed = with_settings(spec, {**step.request.settings, **more})
                validate_options(changed.options, engine.Options, step.name)
    runs = {run.name for run in recipe.runs}
    figures = catalog.reported(recipe.reported).figures if recipe.reported else []
    assert {figure.run for figure in figures if figure.run} == (runs - {"search", "tuned-thresholds"} if figures else set())
    langs = {(step.name, step.request.lang) for step in steps_of(recipe, catalog, Changes())}
    assert {(figure.run, figure.lang) for figure in figures if figure.run and figure.lang} <= langs


def test_all_six_are_there() -> None:
    assert NAMES == [
        "bert-douban",
        "distil-mbert-amazon",
        "distilbert-app-reviews",
        "mbert-amazon",
        "mistral-amazon",
        "multilingual-roberta-json",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_smoke_test_reads_the_bundled_rows_only(name: str, tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    for step in steps_of(catalog.recipe(name), catalog, Changes(smoke=True)):
        assert catalog.task(step.request.task).source.bundled
        assert (catalog.backend(step.request.backend).model or "").startswith("packaged:")
        assert (step.request.limit or 99) <= 20
        assert step.tune is None or step.tune.trials == 2


def test_the_yaml_of_the_docs_loads(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    recipe, reported = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert load(tmp_path, recipe).smoke is not None
    (tmp_path / "figures.yaml").write_text(reported, encoding="utf-8")
    assert load_reported(tmp_path / "figures.yaml").figures
    assert [name for name in NAMES if f"`{name}`" not in page] == []


@pytest.mark.parametrize("field", ["gpus", "cpus", "memory_gib"])
def test_needs_are_finite(field: str) -> None:
    """TOML knows inf."""
    with pytest.raises(ValidationError):
        NeedSpec.model_validate({field: float("inf")})
