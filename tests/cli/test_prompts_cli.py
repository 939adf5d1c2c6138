"""`bench prompts show`, `bench prompts check` and `bench prompts spread`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.json_files import canonical_json
from harness.core.record import Identity
from harness.core.types import Example, LabelKind, LabelSpace, Prediction
from harness.data.rows import load_examples
from harness.records.journal import prediction_record
from harness.records.store import Store
from harness.specs.catalog import Catalog
from harness.statistics.metrics import evaluate_predictions


def write_prompt(project: Path, name: str, body: str, front: str = "") -> None:
    (project / "prompts").mkdir(exist_ok=True)
    head = f"---\ndescription: A test.\nparser: {{type: integer, first: 0}}\nmax_new_tokens: 8\n{front}---\n"
    (project / "prompts" / f"{name}.j2").write_text(head + body + "\n", encoding="utf-8")


def first_text(lang: str) -> str:
    return load_examples(Catalog(Path.cwd()).task("reviews_demo"), lang=lang, split="validation")[0].text


def test_show_prints_the_chat_with_a_real_row(bench: Any) -> None:
    said = bench("prompts", "show", "strict")
    assert said.code == 0
    assert "--- user\n" in said.out
    assert first_text("en") in said.out
    assert "0 = 1 star" in said.out


def test_show_takes_the_variant_of_the_language(bench: Any) -> None:
    said = bench("prompts", "show", "strict", "--lang", "ja,de", "--json")
    assert [chat["lang"] for chat in said.json] == ["ja", "de"]
    assert all(set(chat) == {"prompt", "lang", "row", "messages"} for chat in said.json)
    assert "評価" in said.json[0]["messages"][-1]["content"]
    assert first_text("de") in said.json[1]["messages"][-1]["content"]


def test_show_with_exemplars(bench: Any) -> None:
    (chat,) = bench("prompts", "show", "fewshot", "--json").json
    roles = [turn["role"] for turn in chat["messages"]]
    assert roles == ["system", *["user", "assistant"] * 5, "user"]
    other = bench("prompts", "show", "fewshot", "--seed", 1, "--json").json[0]
    assert other["messages"] != chat["messages"]


def test_show_does_not_let_a_text_steer_the_terminal(bench: Any, rows_of: Any) -> None:
    data = rows_of(["\x1b]0;title\x07 {{ 7*7 }} \u202e first\nsecond"] * 1)
    said = bench("prompts", "show", "strict", "--data", data)
    assert said.code == 0
    assert "\\x1b]0;title\\x07 {{ 7*7 }} \\u202e first\nsecond" in said.out


@pytest.mark.parametrize("name", ["strict", "fewshot", "stars", "json"])
def test_the_prompts_that_come_with_bench_are_clean(bench: Any, name: str) -> None:
    said = bench("prompts", "check", name)
    assert said.code == 0
    assert "90 rows" in said.out
    found = bench("prompts", "check", name, "--json").json
    assert found == {"problems": [], "trial": None}  # no model is on this machine


def test_check_reports_an_error_once_for_all_languages(bench: Any) -> None:
    said = bench("prompts", "check", "tags")
    assert said.code == 2
    (line,) = said.out.splitlines()
    assert line.startswith("error: ")
    assert "multilabel" in line
    (problem,) = bench("prompts", "check", "tags", "--json").json["problems"]
    assert set(problem) == {"severity", "langs", "message"}
    assert problem["langs"] == ["en", "de", "es", "fr", "ja", "zh"]


def test_check_names_the_languages_that_a_problem_concerns(bench: Any, project: Path) -> None:
    write_prompt(project, "mine", "Reply with a number from {{ first }} to {{ last }}.\n{{ text }}")
    write_prompt(project, "mine.ja", "{{ first }}, {{ last }}: {{ text | upper | truncate(3) }}")
    said = bench("prompts", "check", "mine")
    assert said.code == 2
    assert said.out.startswith("error: ja: ")
    assert "mine.ja.j2" in said.out


def test_warnings_are_no_failure(bench: Any, project: Path) -> None:
    write_prompt(project, "mine", "{{ text }}\n" + "From {{ first }} to {{ last }}. " * 20)
    said = bench("prompts", "check", "mine", "--lang", "en")
    assert said.code == 0
    assert said.out.startswith("warning: ")


@pytest.mark.parametrize("command", ["show", "check"])
def test_a_template_that_does_not_compile(bench: Any, project: Path, command: str) -> None:
    write_prompt(project, "mine", "Rate it.\n{% for x in %}\n{{ text }}")
    said = bench("prompts", command, "mine", "--lang", "en")
    assert said.code == 2
    assert "mine.j2:7" in said.out + said.err


@pytest.mark.parametrize("command", ["show", "check"])
def test_front_matter_with_an_unknown_key(bench: Any, project: Path, command: str) -> None:
    write_prompt(project, "mine", "{{ text }}", front="shotz: 1\n")
    said = bench("prompts", command, "mine")
    assert said.code == 2
    assert "mine.j2:5" in said.err
    assert "shotz" in said.err


def test_rows_from_a_folder(bench: Any, rows_of: Any) -> None:
    data = rows_of(["a text of my own"] * 5)
    said = bench("prompts", "show", "strict", "--task", "amazon_reviews_multi", "--data", data)
    assert said.code == 0
    assert "a text of my own" in said.out


def write_run(backend: str, prompt: str, right: int, task: str = "toy", n: int = 200) -> str:
    """A record under results/runs of a prompted run with `right` of n rows right."""
    space = LabelSpace(LabelKind.ORDINAL, ("bad", "fair", "good"))
    examples = [Example(f"row-{i}", "", i % 3, "en") for i in range(n)]
    given = [Prediction(e.id, e.label if i < right else (i + 1) % 3) for i, e in enumerate(examples)]
    text = {"name": prompt, "variant": None, "sha256": prompt, "decoding": "free", "shots": [], "shots_sha256": ""}
    identity = {
        "version": 1,
        "task": task,
        "split": "test",
        "lang": "en",
        "rows": "a" * 64,
        "labels": list(space.names),
        "label_kind": "ordinal",
        "backend": {"name": backend, "engine": "toy", "model": None},
        "prompt": text,
        "train": None,
        "seed": 0,
    }
    name = Identity.model_validate(identity).run_id
    folder = Store(Path("results") / "runs").root / name
    folder.mkdir(parents=True)
    manifest = {"identity": identity, "timing": {"rows_per_second": 1.0}}
    (folder / "run.json").write_text(json.dumps(manifest))
    (folder / "metrics.json").write_text(json.dumps(evaluate_predictions(examples, given, space).as_json()))
    lines = [canonical_json(prediction_record(*pair)) + "\n" for pair in zip(examples, given, strict=True)]
    (folder / "predictions.jsonl").write_text("".join(lines))
    return name


@pytest.fixture
def prompted(project: Path) -> list[str]:
    runs = [("llm", "strict", 150), ("llm", "loose", 60), ("llm", "terse", 120), ("alone", "strict", 90)]
    return [write_run(*run) for run in runs]


def test_spread_tells_what_the_wording_does(bench: Any, prompted: list[str]) -> None:
    said = bench("prompts", "spread")
    assert said.code == 0
    header, values = (line.split("\t") for line in said.out.splitlines()[:2])
    row = dict(zip(header, values, strict=True))
    assert (row["backend"], row["n"], row["metric"], row["prompts"]) == ("llm", "200", "accuracy", "strict, terse, loose")
    assert row["over prompts"] == "0.300 – 0.600 – 0.750"
    assert row["range"] == "0.450*"
    assert "sd seeds" not in header
    last = said.out.splitlines()[-1]
    assert last.startswith("On 200 en rows of toy, the wording moves llm's accuracy from 0.300 to 0.750 (3 prompts, free)")
    assert last.endswith("so the prompts differ significantly (5% level).")


def test_spread_as_json(bench: Any, prompted: list[str]) -> None:
    said = bench("prompts", "spread", "--metric", "mae", "--json").json
    (spread,) = said["spreads"]
    assert said["sentence"].startswith("On 200 en rows of toy, the wording moves llm's MAE from ")
    assert [(p["name"], p["few_shot_examples"]) for p in spread["prompts"]] == [("strict", 0), ("terse", 0), ("loose", 0)]
    assert [p["runs"] for p in spread["prompts"]] == [[prompted[0]], [prompted[2]], [prompted[1]]]
    assert spread["low"] < spread["median"] < spread["high"]
    assert spread["interval"]["low"] < spread["median"] < spread["interval"]["high"]
    assert spread["range"] > spread["by_chance"]
    assert spread["beyond_chance"] is True
    assert spread["sd_seeds"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lang", "de"], "'de'"),
        (["--task", "tox"], "Did you mean toy?"),
        (["--backend", "alone"], "two prompts"),
        (["--metric", "weighted_f"], "Did you mean weighted_f1?"),
        (["--metric", "x"], "Known:"),
        (["--metric", "spearman"], "spearman"),
    ],
)
def test_spread_of_what_is_not_there(bench: Any, prompted: list[str], arguments: list[str], words: str) -> None:
    said = bench("prompts", "spread", *arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err


@pytest.mark.slow
def test_spread_filters(bench: Any, prompted: list[str]) -> None:
    write_run("llm", "strict", 100, task="other")
    write_run("llm", "loose", 100, task="other")
    assert len(bench("prompts", "spread", "--json").json["spreads"]) == 2
    (spread,) = bench("prompts", "spread", "--task", "other", "--json").json["spreads"]
    assert spread["task"] == "other"
    assert "do not differ significantly" in bench("prompts", "spread", "--task", "other").out


def test_spread_without_prompted_runs(bench: Any, project: Path) -> None:
    said = bench("prompts", "spread")
    assert said.code == 2
    assert "bench run" in said.err
