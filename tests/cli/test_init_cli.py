"""`bench init`, and `bench run` on what it wrote."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from console import Said

from harness.data.rows import load_examples
from harness.specs.schemas import FORMS
from harness.specs.tasks import load_task

Bench = Callable[..., Said]
SECRET = "my doctor is Miller"
TOPICS = ("art", "work", "food")
ABOUT = {"art": "the painter showed a picture", "work": "the office hired a clerk", "food": "the cook baked a cake"}


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], **form: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, **form).writerows([header, *rows])
    return path


def text_of(row: int) -> str:
    return f"{ABOUT[TOPICS[row % 3]]} and {SECRET}, letter {row}"


@pytest.fixture
def topics(project: Path) -> Path:
    return write_csv(project / "letters.csv", ["text", "topic"], [[text_of(row), TOPICS[row % 3]] for row in range(150)])


def run_tfidf(bench: Bench, task: str) -> Any:
    said = bench("run", "--task", task, "--backend", "tfidf", "--json")
    assert said.code == 0, said.err
    return said.json


@pytest.mark.slow
def test_init_then_run_with_nothing_edited(bench: Bench, topics: Path) -> None:
    said = bench("init", topics, "--lang", "en")
    assert said.code == 0, said.err
    assert "bench run --task letters" in said.out
    assert "nominal: 3 classes" in said.out
    runs = run_tfidf(bench, "letters")
    assert [run["metrics"]["n"] for run in runs] == [30]
    assert runs[0]["metrics"]["values"]["accuracy"]["value"] > 0.9
    checked = bench("prompts", "check", "letters", "--task", "letters")
    assert (checked.code, "no problem" in checked.out) == (0, True), checked.out


@pytest.mark.slow
def test_no_text_of_a_row_is_written_or_printed(bench: Bench, topics: Path, project: Path) -> None:
    said = bench("init", topics, "--lang", "en")
    written = [path.read_text(encoding="utf-8") for path in project.rglob("*") if path.suffix in (".yaml", ".j2", ".json")]
    assert len(written) == 3
    assert not any(SECRET in content for content in [*written, said.out, said.err])
    assert str(project) not in "".join(written)


def test_the_folder_can_be_moved(bench: Bench, topics: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = project / "here"
    (inner / "data").mkdir(parents=True)
    shutil.move(topics, inner / "data" / "letters.csv")
    monkeypatch.chdir(inner)
    assert bench("init", "data/letters.csv", "--lang", "en").code == 0
    moved = project / "there"
    monkeypatch.chdir(project)
    inner.rename(moved)
    monkeypatch.chdir(moved)
    assert run_tfidf(bench, "letters")[0]["state"] == "new"


def test_nothing_is_written_over(bench: Bench, topics: Path, project: Path) -> None:
    (project / "prompts").mkdir()
    mine = project / "prompts" / "letters.j2"
    mine.write_text("mine", encoding="utf-8")
    said = bench("init", topics, "--lang", "en")
    assert (said.code, mine.read_text(encoding="utf-8")) == (2, "mine")
    assert "--force" in said.err
    assert not (project / "tasks").exists()
    assert bench("init", topics, "--lang", "en", "--force").code == 0
    assert mine.read_text(encoding="utf-8") != "mine"


def test_a_name_that_bench_has_is_refused(bench: Bench, topics: Path, project: Path) -> None:
    said = bench("init", topics, "--lang", "en", "--name", "topic")  # a prompt that comes with bench
    assert (said.code, "--name" in said.err) == (2, True)
    assert bench("init", topics, "--lang", "en", "--name", "../letters").code == 2
    assert not (project / "tasks").exists()


def test_what_is_not_told_is_asked_and_nothing_written(bench: Bench, project: Path) -> None:
    rows = [[text_of(row), row % 4, "abc"[row % 3]] for row in range(90)]
    path = write_csv(project / "two.csv", ["text", "emotion", "category"], rows)
    said = bench("init", path, "--lang", "en")
    assert (said.code, "--label" in said.err, (project / "tasks").exists()) == (2, True, False)


@pytest.mark.slow
def test_the_command_of_the_questions_answers_them(bench: Bench, project: Path) -> None:
    """With a language column whose cells hold commas and equals signs, and an option that was given already."""
    langs = ["A, first", "B=second"]
    texts = ["the old chair broke again after two weeks", "ruoka oli tänään hyvää ja palvelu ystävällistä"]
    rows = [[f"{texts[row % 2]} {row}", row % 7 % 5, "abc"[row % 3], langs[row % 2]] for row in range(240)]
    path = write_csv(project / "two.csv", ["it's", "n", "who", "language"], rows, delimiter=";")
    said = bench("init", path, "--delimiter", ";", "--name", "mine")
    assert (said.code, (project / "tasks").exists()) == (2, False)
    words = shlex.split(said.err.strip().splitlines()[-1].partition(": ")[2])
    assert bench(*words[1:]).code == 0
    spec = load_task(project / "tasks" / "mine.yaml")
    assert (spec.columns.text, spec.columns.label, spec.columns.lang) == ("it's", "n", "language")
    assert spec.columns.lang_map == dict(zip(langs, ["en", "fi"], strict=True))


@pytest.mark.parametrize("said", ["suomi", "suomi=", "=fi", "suomi=fi,espanja", "suomi=Finnish"])
def test_a_map_of_languages_that_can_not_be_read(bench: Bench, topics: Path, said: str) -> None:
    told = bench("init", topics, "--lang-map", said)
    assert (told.code, "--lang-map" in told.err) == (2, True)


def test_json(bench: Bench, topics: Path) -> None:
    found = bench("init", topics, "--lang", "en", "--json").json
    written = {"task": "tasks/letters.yaml", "prompt": "prompts/letters.j2", "schema": "schemas/task.json"}
    assert found["files"] == written
    columns = {"text": ["text"], "label": ["topic"], "lang": None, "id": None, "split": None, "group": [], "unused": []}
    assert found["columns"] == columns
    assert found["labels"] == [{"name": "art", "rows": 50}, {"name": "food", "rows": 50}, {"name": "work", "rows": 50}]
    assert found["splits"] == {"how": "stratified", "rows": {"train": {"en": 96}, "validation": {"en": 24}, "test": {"en": 30}}}
    assert found["next"][0] == "bench analyze data --task letters"


@pytest.mark.slow
def test_given_splits_languages_by_other_names_and_missing_labels(bench: Bench, project: Path) -> None:
    splits, langs = ["train", "train", "train", "test"], ["English", "de_DE"]
    rows = [[text_of(row), TOPICS[row % 3] if row % 40 else "", splits[row // 2 % 4], langs[row % 2]] for row in range(480)]
    path = write_csv(project / "mixed.csv", ["body", "topic", "split", "language"], rows, delimiter=";")
    found = bench("init", path, "--json").json
    runs = run_tfidf(bench, "mixed")
    assert {run["lang"]: run["metrics"]["n"] for run in runs} == found["splits"]["rows"]["test"]
    task = load_task(project / "tasks" / "mixed.yaml")
    for split, counts in found["splits"]["rows"].items():  # what init counts is what a run reads
        for lang, count in counts.items():
            assert len(load_examples(task, lang=lang, split=split)) == count, (split, lang)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["columns", "cell", "list"])
def test_several_labels_a_row(bench: Bench, project: Path, form: str) -> None:
    truths = [[topic for topic in TOPICS if (row // (1 + TOPICS.index(topic))) % 2] for row in range(150)]
    texts = ["; ".join(ABOUT[topic] for topic in truth) + f" nothing more {row}" for row, truth in enumerate(truths)]
    if form == "columns":
        rows = [[text, *(int(topic in truth) for topic in TOPICS)] for text, truth in zip(texts, truths, strict=True)]
        path = write_csv(project / "many.csv", ["text", *TOPICS], rows)
    elif form == "cell":
        path = write_csv(
            project / "many.csv", ["text", "topics"], [[t, "|".join(x)] for t, x in zip(texts, truths, strict=True)]
        )
    else:
        path = project / "many.jsonl"
        lines = [json.dumps({"text": text, "topics": truth}) for text, truth in zip(texts, truths, strict=True)]
        path.write_text("\n".join(lines), encoding="utf-8")
    assert bench("init", path, "--lang", "en").code == 0
    assert run_tfidf(bench, "many")[0]["state"] == "new"
    task = load_task(project / "tasks" / "many.yaml")
    for row in load_examples(task, lang="en", split="test"):
        assert isinstance(row.label, tuple)
        said = {task.label_space.names[index] for index in row.label}
        assert said == {topic for topic in TOPICS if ABOUT[topic] in row.text}


HOSTILE = ["yes", "no: never", "# {{ 7*7 }}", "'a' \"b\" [red]", "1.50", "null", "<script>|x|</script>"]


def test_names_that_yaml_and_jinja_would_read_otherwise(bench: Bench, project: Path) -> None:
    rows = [[text_of(row), HOSTILE[row % len(HOSTILE)]] for row in range(140)]
    path = write_csv(project / "odd.csv", ["{{ text }}", "{% topic %}"], rows)
    said = bench("init", path, "--lang", "en", "--text", "{{ text }}", "--label", "{% topic %}")
    assert said.code == 0, said.err
    task = load_task(project / "tasks" / "odd.yaml")
    assert sorted(task.label_space.names) == sorted(HOSTILE)
    shown = bench("prompts", "show", "odd", "--task", "odd").out
    assert "# {{ 7*7 }}" in shown
    assert "49" not in shown.split("Text:")[0]


def test_a_scale_and_its_prompt(bench: Bench, project: Path) -> None:
    path = write_csv(project / "stars.csv", ["review", "stars"], [[text_of(row), 1 + row % 5] for row in range(150)])
    assert bench("init", path, "--lang", "de", "--name", "shop").code == 0
    shown = bench("prompts", "show", "shop", "--task", "shop").out
    assert "How many stars" in shown
    assert "from 1 (worst) to 5 (best)" in shown
    assert "written in German" in shown
    assert yaml.safe_load((project / "tasks" / "shop.yaml").read_text(encoding="utf-8"))["labels"]["first"] == 1
    assert bench("prompts", "check", "strict", "--task", "shop").code == 0  # the built-in prompt fits such labels too


def test_schema_files(bench: Bench, project: Path) -> None:
    said = bench("schema")
    assert said.code == 0
    assert sorted(path.name for path in (project / "schemas").iterdir()) == [f"{name}.json" for name in sorted(FORMS)]
    assert bench("schema", "--json").json["task"] == json.loads((project / "schemas" / "task.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("cells", [[1, 3, 4, 5], [1, 1.5, 2, 2.5], [-2, -1, 0, 1, 2], [0.5, 1.5, 2.5]])
def test_the_prompt_of_a_scale_does_not_contradict_itself(bench: Bench, project: Path, cells: list[float]) -> None:
    path = write_csv(project / "odd.csv", ["review", "rating"], [[text_of(row), cells[row % len(cells)]] for row in range(150)])
    assert bench("init", path, "--lang", "en").code == 0
    shown = bench("prompts", "show", "odd", "--task", "odd").out
    assert all(left.split(" of ")[0] == number for number, left in re.findall(r"^(\S+) = (.*)$", shown, re.MULTILINE))
    steps = [f"{cell:g} of {max(cells):g}" for cell in cells]
    whole = f"from {cells[0]:g} (worst) to {cells[-1]:g} (best)"
    assert all(step in shown for step in steps) != (whole in shown)  # by their names, where the numbers have gaps
    checked = bench("prompts", "check", "odd", "--task", "odd")
    assert (checked.code, "no problem" in checked.out) == (0, True), checked.out


@pytest.mark.parametrize("langs", [["en"], ["en", "de"]])
def test_duplicates_are_put_into_one_split(bench: Bench, project: Path, langs: list[str]) -> None:
    rows = [[text_of(row % 42), TOPICS[row % 3], langs[row % len(langs)]] for row in range(600)]
    path = write_csv(project / "again.csv", ["text", "topic", "language"], rows)
    found = bench("init", path, "--text", "text", "--json").json
    task = load_task(project / "tasks" / "again.yaml")
    for lang in langs:
        known = {row.text for row in load_examples(task, lang=lang, split="train")}
        tested = load_examples(task, lang=lang, split="test")
        assert not any(row.text in known for row in tested)
        assert found["splits"]["rows"]["test"][lang] == len(tested)
    assert found["leaked"] == 0
    assert "duplicates" in [doubt["kind"] for doubt in found["doubts"]]


def grouped(project: Path, column: str = "movie_title", count: int = 40) -> Path:
    rows = [[text_of(row), TOPICS[row % 3], f"The film no. {row % count}"] for row in range(600)]
    return write_csv(project / "films.csv", ["text", "topic", column], rows)


def test_a_column_of_groups_is_proposed(bench: Bench, project: Path) -> None:
    found = bench("init", grouped(project), "--lang", "en", "--json").json
    assert found["columns"]["group"] == ["movie_title"]
    assert "group" in [doubt["kind"] for doubt in found["doubts"]]
    task = load_task(project / "tasks" / "films.yaml")
    groups = {split: {row.group for row in load_examples(task, lang="en", split=split)} for split in ("train", "test")}
    assert groups["train"]
    assert groups["test"]
    assert not groups["train"] & groups["test"]


@pytest.mark.parametrize(("count", "few"), [(40, True), (100, False)])
def test_few_groups_of_test_rows(bench: Bench, project: Path, count: int, few: bool) -> None:
    found = bench("init", grouped(project, count=count), "--lang", "en", "--json").json
    assert found["columns"]["group"] == ["movie_title"]
    assert ("few-test-groups" in [doubt["kind"] for doubt in found["doubts"]]) == few


@pytest.mark.parametrize(("column", "count"), [("movie_year", 40), ("movie_title", 9), ("movie_title", 400), ("city", 40)])
def test_columns_that_are_no_groups(bench: Bench, project: Path, column: str, count: int) -> None:
    found = bench("init", grouped(project, column, count), "--text", "text", "--label", "topic", "--lang", "en", "--json").json
    assert found["columns"]["group"] == []


def test_a_named_column_of_groups(bench: Bench, project: Path) -> None:
    found = bench("init", grouped(project, "city"), "--lang", "en", "--group", "city", "--json").json
    assert found["columns"]["group"] == ["city"]
    assert load_task(project / "tasks" / "films.yaml").columns.group == "city"
    assert bench("init", grouped(project, "city"), "--group", "town").code == 2


def test_rows_that_no_split_has_are_counted(bench: Bench, project: Path) -> None:
    rows = [["nice film" if row % 10 == 0 else text_of(row), TOPICS[row % 3], f"m{row % 37}"] for row in range(600)]
    path = write_csv(project / "phrases.csv", ["text", "topic", "movie"], rows)
    found = bench("init", path, "--lang", "en", "--json").json
    left = found["used"] - sum(sum(counts.values()) for counts in found["splits"]["rows"].values())
    assert [doubt for doubt in found["doubts"] if doubt["kind"] == "left-out-of-train" and f"{left} rows" in doubt["text"]]


def test_texts_that_stand_once_are_in_one_split(bench: Bench, topics: Path) -> None:
    assert bench("init", topics, "--lang", "en", "--json").json["leaked"] == 0


@pytest.mark.parametrize(
    "named", [("--text", "text,text"), ("--label", "topic,topic"), ("--text", ","), ("--encoding", "base64")]
)
def test_options_that_can_not_be_meant(bench: Bench, topics: Path, project: Path, named: tuple[str, str]) -> None:
    said = bench("init", topics, "--lang", "en", *named)
    assert (said.code, named[0] in said.err, (project / "tasks").exists()) == (2, True, False), said.err


BREAKS = ["a\nb", "c\x85d", "e\u2028f", "g"]


@pytest.mark.slow
def test_names_with_line_breaks(bench: Bench, project: Path) -> None:
    """In labels, and in the name of the file, where they would end a comment."""
    path = write_csv(project / "nl\nname: x.csv", ["text", "topic"], [[text_of(row), BREAKS[row % 4]] for row in range(160)])
    assert bench("init", path, "--lang", "en", "--name", "breaks").code == 0
    assert load_task(project / "tasks" / "breaks.yaml").label_space.names == tuple(
        sorted(" ".join(name.split()) for name in BREAKS)
    )
    assert run_tfidf(bench, "breaks")[0]["state"] == "new"


def test_lists_with_rows_without_labels(bench: Bench, project: Path) -> None:
    path = project / "marks.jsonl"
    tags = [None, ["art", "work"], ["work"], []]
    path.write_text(
        "\n".join(json.dumps({"text": text_of(row), "tags": tags[row % 4]}) for row in range(200)), encoding="utf-8"
    )
    found = bench("init", path, "--lang", "en", "--json").json
    task = load_task(project / "tasks" / "marks.yaml")
    read = {split: len(load_examples(task, lang="en", split=split)) for split in ("train", "validation", "test")}
    assert {split: {"en": count} for split, count in read.items()} == found["splits"]["rows"]
    assert sum(read.values()) == 150


@pytest.mark.parametrize("folder", ["tasks", "prompts", "schemas"])
def test_all_files_or_none_are_written(bench: Bench, topics: Path, project: Path, folder: str) -> None:
    (project / folder).write_text("a file", encoding="utf-8")
    said = bench("init", topics, "--lang", "en")
    assert (said.code, f"{folder} is no folder" in said.err) == (2, True), said.err
    assert not [path for path in project.rglob("*") if path.suffix in (".yaml", ".j2")]


@pytest.mark.parametrize("index", ["", "Unnamed: 0", "__index_level_0__"])
def test_the_index_of_a_table_is_no_column(bench: Bench, project: Path, index: str) -> None:
    rows = [[row, text_of(row), TOPICS[row % 3], "x"] for row in range(90)]
    path = write_csv(project / "odd.csv", [index, "text", "topic", "place"], rows)
    assert "not used\tplace\n" in bench("init", path, "--lang", "en").out


def test_what_is_written_is_said_and_recorded_runs_of_the_name(bench: Bench, topics: Path, project: Path) -> None:
    said = bench("init", topics, "--lang", "en").out
    assert "Written: tasks/letters.yaml, prompts/letters.j2 and schemas/task.json." in said
    assert "results" not in said
    run_tfidf(bench, "letters")
    again = bench("init", topics, "--lang", "en", "--force").out
    assert "Written: tasks/letters.yaml and prompts/letters.j2." in again
    assert "results/runs" in again


def test_the_prompt_says_what_is_asked(bench: Bench, topics: Path, project: Path) -> None:
    assert bench("init", topics, "--lang", "en").code == 0
    assert "'topic'" in (project / "prompts" / "letters.j2").read_text(encoding="utf-8")
    flags = [[text_of(row), *(int(row % 3 == one) for one in range(3))] for row in range(120)]
    assert bench("init", write_csv(project / "flags.csv", ["text", *TOPICS], flags), "--lang", "en").code == 0
    flags_prompt = (project / "prompts" / "flags.j2").read_text(encoding="utf-8")
    assert "Which of these labels fit the text" in flags_prompt
    assert {"most: 1", "decoding: constrained"} <= set(re.findall(r"most: \d+|decoding: \w+", flags_prompt))


@pytest.mark.slow
def test_names_of_labels_on_the_command_line(bench: Bench, project: Path) -> None:
    names = ["very bad", "bad", "ok", "good", "very good"]
    rows = [[text_of(row), row % 5] for row in range(150)]
    path = write_csv(project / "rated.csv", ["text", "label"], rows)
    wrong = bench("init", path, "--lang", "en", "--kind", "ordinal", "--names", "bad,good")
    assert wrong.code == 2
    assert not (project / "tasks").exists()
    said = bench("init", path, "--lang", "en", "--kind", "ordinal", "--names", ", ".join(names), "--json")
    assert [label["name"] for label in said.json["labels"]] == names
    assert bench("prompts", "check", "rated", "--task", "rated", "--json").json["problems"] == []
    examples = load_examples(load_task(project / "tasks" / "rated.yaml"), lang="en", split="test")
    of_text = dict(rows)
    assert all(example.label == of_text[example.text] for example in examples)


@pytest.mark.slow
def test_the_advised_run_says_how_long_it_takes(bench: Bench, topics: Path) -> None:
    said = bench("init", topics, "--lang", "en", "--json").json
    (run,) = (command for command in said["next"] if command.startswith("bench run"))
    assert list(said["estimated"]) == shlex.split(run)[shlex.split(run).index("--backend") + 1].split(",")
    assert all(seconds > 0 for seconds in said["estimated"].values())


def test_mixed_languages_are_shown_with_their_shares(bench: Bench, project: Path) -> None:
    said = ["Der Stuhl ist nach zwei Wochen kaputt gegangen", "この椅子は二週間で壊れてしまいました"]
    rows = [[f"{said[row % 2]} {row}", TOPICS[row % 3]] for row in range(120)]
    shown = bench("init", write_csv(project / "mixed.csv", ["text", "topic"], rows)).out
    assert re.search(r"language\tmul, several: (de|ja) 50%, (de|ja) 50%\n", shown), shown


@pytest.mark.slow
def test_labels_that_no_train_row_has_are_said_by_init_and_run(bench: Bench, project: Path) -> None:
    for split, words in (("train", TOPICS), ("test", ("Art", "play"))):
        rows = [[f"{split} {text_of(row)}", words[row % len(words)]] for row in range(90)]
        (project / "letters").mkdir(exist_ok=True)
        write_csv(project / "letters" / f"{split}.csv", ["text", "topic"], rows)
    said = bench("init", "letters", "--lang", "en", "--json").json
    assert "unseen-test-labels" in {doubt["kind"] for doubt in said["doubts"]}
    (gate,) = [gate for gate in run_tfidf(bench, "letters")[0]["gates"] if gate["name"] == "unseen_labels"]
    assert (gate["outcome"], gate["value"]) == ("warned", 0.5)


@pytest.mark.slow
def test_hidden_test_labels_and_a_separator_are_read_by_run(bench: Bench, project: Path) -> None:
    splits = ["train", "train", "validation", "test"]
    rows = [[text_of(row), "?" if row % 4 == 3 else f"{TOPICS[row % 3]} / new", splits[row % 4]] for row in range(240)]
    path = write_csv(project / "letters.csv", ["text", "topic", "split"], rows)
    said = bench("init", path, "--lang", "en", "--separator", "/", "--json").json
    assert (said["kind"], [label["name"] for label in said["labels"]]) == ("multilabel", ["art", "food", "new", "work"])
    assert run_tfidf(bench, "letters")[0]["metrics"]["n"] == said["splits"]["rows"]["test"]["en"] == 60
