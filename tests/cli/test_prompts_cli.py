"""`bench prompts show` and `bench prompts check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.catalog import Catalog
from harness.rows import load_examples


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
    assert "nothing wrong on 90 rows" in said.out
    assert bench("prompts", "check", name, "--json").json == []


def test_check_reports_an_error_once_for_all_languages(bench: Any) -> None:
    said = bench("prompts", "check", "tags")
    assert said.code == 2
    (line,) = said.out.splitlines()
    assert line.startswith("error: ")
    assert "multilabel" in line
    (problem,) = bench("prompts", "check", "tags", "--json").json
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
