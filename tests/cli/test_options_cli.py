"""The options' one source: flags, BENCH_ variables, bench.toml and recipes; and which commands have which option."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console import Said
from typer.main import get_command

from harness.cli import app, run_options
from harness.core.errors import BenchError
from harness.core.options import ExecutionOptions, RunOptions, all_fields, is_many, option_name
from harness.records.store import Store
from harness.specs.asked import FOR_PROMPTED, FOR_TRAINED, ORDER, Asked
from harness.specs.catalog import Catalog
from harness.studies.steps import Changes, steps_of

Bench = Callable[..., Said]
RUN = ("run", "--backend", "majority", "--limit", 3, "--json")
SERVER = "engine: openai\nmodel: m\noptions: {base_url: 'http://localhost:9/v1', api_key_env: null}\n"
PRICE = "price: {prompt: 1, completion: 1, source: s}\n"


def command(*names: str) -> Any:
    found: Any = get_command(app)
    for name in names:
        found = found.commands[name]
    return found


def test_run_has_every_field_of_both_models() -> None:
    params = {param.name: param.opts[0] for param in command("run").params}
    assert {name: params.get(name) for name in all_fields()} == {name: option_name(name) for name in all_fields()}


@pytest.mark.parametrize(
    "names", [("run",), ("study", "transfer"), ("study", "curve"), ("study", "recipe"), ("analyze", "latency")]
)
def test_what_may_cost_money_has_a_budget_and_seeds_have_one_form(names: tuple[str, ...]) -> None:
    params = {param.name: param for param in command(*names).params}
    assert params["max_cost"].metavar == "USD"
    assert params["seed"].opts == ["--seed"]
    assert params["seed"].multiple


def test_values_by_commas_and_by_repeating_mean_the_same() -> None:
    assert run_options.read_option("lang", ["en,ja", "en"]) == run_options.read_option("lang", ["en", "ja"]) == ["en", "ja"]
    assert run_options.read_option("seed", ["0,1", "01"]) == [0, 1]


@pytest.mark.parametrize(
    ("name", "given", "named"),
    [
        ("seed", ["-1"], "--seed -1"),
        ("seed", ["x"], "--seed x"),
        ("limit", ["0"], "--limit 0"),
        ("max_cost", "inf", "--max-cost inf"),
        ("decoding", ["fre"], "decoding named 'fre'"),
        ("split", "tset", "split named 'tset'"),
        ("lang", [","], "--lang"),
    ],
)
def test_a_wrong_value_is_named_with_its_option(name: str, given: Any, named: str) -> None:
    with pytest.raises(BenchError) as caught:
        run_options.read_option(name, given)
    assert caught.value.exit_code == 2
    assert named in caught.value.message
    assert caught.value.hint


# Where a value comes from


@pytest.mark.slow
def test_command_line_before_environment_before_project_file_before_default(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def langs(*arguments: str) -> list[str]:
        return [run["lang"] for run in bench(*RUN, *arguments).json]

    assert len(langs()) == 6
    (project / "bench.toml").write_text('lang = ["en", "ja"]\nseed = 7\n')
    assert langs() == ["en", "ja"]
    assert {run["seed"] for run in bench(*RUN).json} == {7}
    monkeypatch.setenv("BENCH_LANG", "fr,de")
    assert langs() == ["fr", "de"]
    assert langs("--lang", "es") == ["es"]


@pytest.mark.slow
def test_a_project_file_serves_every_command_that_has_the_option(bench: Bench, project: Path) -> None:
    (project / "bench.toml").write_text('results = "ours"\nlang = "en"\nlimit = 3\n')
    assert bench("run", "--backend", "majority").code == 0
    assert (project / "ours" / "runs").is_dir()
    assert len(bench("list", "runs", "--json").json) == 1
    assert bench("leaderboard").code == 0
    assert (project / "ours" / "LEADERBOARD.md").is_file()
    assert not (project / "results").exists()


@pytest.mark.slow
def test_settings_of_a_project_file_reach_the_run(bench: Bench, project: Path) -> None:
    (project / "bench.toml").write_text('backend = "tfidf"\nlang = "en"\nlimit = 3\ntrain_limit = 20\n[set]\nc = 1e-2\n')
    assert [run["settings"] for run in bench("run", "--json").json] == [{"c": 0.01}]


@pytest.mark.parametrize("content", ["limt = 3", "limit = 0", 'split = "tset"', "lang = [", "[set]\n1 = 2\n[set]"])
def test_a_mistake_in_a_project_file_names_the_file(bench: Bench, project: Path, content: str) -> None:
    (project / "bench.toml").write_text(content)
    said = bench("list", "tasks")
    assert (said.code, said.out) == (2, "")
    assert "bench.toml" in said.err
    assert bench("run", "--help").code in (0, 2)


def test_a_default_never_changes_a_recipe() -> None:
    declared = {param.name: param.envvar for param in command("study", "recipe").params}
    assert {name for name in RunOptions.model_fields if declared.get(name)} == {"data"}
    assert declared["results"]


# What is asked


def test_every_option_of_several_runs_has_its_place_in_the_order() -> None:
    assert set(ORDER) == {name for name, field in RunOptions.model_fields.items() if is_many(field)}
    assert set(FOR_PROMPTED) | set(FOR_TRAINED) <= set(RunOptions.model_fields)


def test_options_that_a_backend_does_not_use_multiply_no_run(tmp_path: Path) -> None:
    asked = Asked(
        {"task": ["reviews_demo"], "backend": ["majority", "smollm2"], "lang": ["en"], "prompt": ["strict", "fewshot"]}
        | {"train_lang": ["fr"], "seed": [0, 1]}
    )
    runs = asked.runs(Catalog(tmp_path))
    assert [(run.backend, run.seed, run.prompt) for run in runs] == [
        ("majority", 0, None),
        ("majority", 1, None),
        *(("smollm2", seed, prompt) for seed in (0, 1) for prompt in ("strict", "fewshot")),
    ]
    assert [run.train_lang for run in runs][1:3] == [("fr",), ()]


def test_a_recipe_can_say_all_that_a_run_can(project: Path) -> None:
    (project / "recipes").mkdir()
    (project / "recipes" / "all.yaml").write_text(
        "description: d\ndefaults: {task: reviews_demo, lang: en}\nruns:\n"
        "  - {name: a, backend: smollm2, decoding: score, calibration: [none, batch], decision: expected, model: org/m}\n"
        "  - {name: b, backend: tfidf, split: validation, train_limit: 9, resample_train: true, set: {c: 2}, seed: [0, 1]}\n"
    )
    catalog = Catalog(project)
    steps = [step.request for step in steps_of(catalog.recipe("all"), catalog, Changes())]
    assert [(s.calibration, s.decision, s.model) for s in steps[:2]] == [(c, "expected", "org/m") for c in ("none", "batch")]
    assert [(s.split, s.resample_train, s.seed, s.settings) for s in steps[2:]] == [
        ("validation", True, seed, {"c": 2}) for seed in (0, 1)
    ]


def test_the_command_in_a_record_repeats_the_run(bench: Bench, project: Path, rows_of: Any) -> None:
    rows_of([f"text {number}" for number in range(12)])
    first = bench(
        "run", "--backend", "tfidf", "--lang", "en", "--data", "data", "--set", "c=1e-2", "--train-limit", 9, "--json"
    )
    options = RunOptions(**{name: first.json[0][name] for name in RunOptions.model_fields if first.json[0][name] is not None})
    again = bench(*shlex.split(options.command())[1:], "--json")
    assert [(run["run"], run["state"]) for run in again.json] == [(first.json[0]["run"], "found")]


def test_continue_from_takes_the_key_of_a_trained_model(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.cli.requests import trained_key_of

    key = "0123456789abcdef0123"
    monkeypatch.setattr("harness.running.trained_models.folder_of", lambda key: project)
    assert trained_key_of(Store(project / "runs"), key) == key


# Budgets


@pytest.mark.parametrize(
    "arguments",
    [("study", "curve", "--encoder", "majority", "--llm", "api", "--lang", "en", "--sizes", "8"), ("study", "recipe", "paid")],
    ids=" ".join,
)
def test_one_budget_for_all_runs_of_a_study(
    bench: Bench, project: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, text in (
        ("backends/api.yaml", SERVER),
        ("recipes/paid.yaml", "description: d\nruns: [{name: a, task: reviews_demo, backend: api, lang: en}]\n"),
    ):
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text(text)
    unpriced = bench(*arguments, "--max-cost", "0.5")
    assert unpriced.code == 2
    assert "api has no price" in unpriced.err
    (project / "backends" / "api.yaml").write_text(SERVER + PRICE)
    budgets = []

    def run_all(known: Any, runs: Any, store: Any, execution: ExecutionOptions, budget: Any) -> Any:
        budgets.append(budget.limit)
        return [], False

    monkeypatch.setattr("harness.cli.execute_runs.run_all", run_all)
    monkeypatch.setattr("harness.cli.recipe.run_all", run_all)
    assert bench(*arguments, "--max-cost", "0.5").code == 0
    assert budgets == [0.5]


# Completion


def test_names_are_completed_after_a_comma_too(project: Path) -> None:
    assert "tfidf" in run_options.completion("backend")("tf")
    assert run_options.completion("task")("reviews_demo,reviews_demo_o") == ["reviews_demo,reviews_demo_one_hot"]
    assert run_options.completion("run")("") == []
