"""`bench label`, and what `bench run` and `bench study curve` make of the labels of a model."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from harness.core.engine import Encoded, Generation, LanguageModel, Messages, Scores
from harness.specs import backend_specs

TASK = """\
description: Whether a review is good.
source: {files: {train: train.csv, validation: test.csv, test: test.csv}}
labels: {kind: nominal, names: [bad, good]}
languages: [en]
"""
WORDS = ("lid", "pot", "cup", "tea", "box", "bag", "pen", "map")


class ReaderOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reader(LanguageModel):
    """Says `good` where the text does, answers nothing to one that says `odd`, and stops at one that says `stop`."""

    Options = ReaderOptions
    model_is = "name"
    stops = False
    asked = 0

    def load(self) -> None:
        pass

    def batch_size(self) -> int:
        return 4

    def encode(self, chats: Sequence[Messages], choices: Any) -> list[Encoded]:
        return [Encoded(10, chat[-1]["content"]) for chat in chats]

    def _read(self, prompts: Sequence[Encoded]) -> list[str]:
        if Reader.stops and any("stop" in prompt.content for prompt in prompts):
            raise KeyboardInterrupt
        Reader.asked += len(prompts)
        return ["" if "odd" in p.content else "good" if "good" in p.content.rpartition("Text")[2] else "bad" for p in prompts]

    def generate(self, prompts: Sequence[Encoded], max_new_tokens: int, choices: Any) -> list[Generation]:
        return [Generation(said, True, 10, 1) for said in self._read(prompts)]

    def score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        return [Scores(np.log([0.8 if said == choice else 0.2 for choice in choices]), 10) for said in self._read(prompts)]


def rows_of(count: int, start: int = 0) -> list[tuple[str, str]]:
    """Every fifth row says the opposite of its label."""
    found = []
    for number in range(start, start + count):
        label = "good" if number % 2 else "bad"
        says = label if number % 5 else {"good": "bad", "bad": "good"}[label]
        found.append((f"the {WORDS[number // 2 % 8]} is {says} number {number}", label))
    return found


def write_csv(path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


@pytest.fixture
def reader(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a task of good and bad reviews, and the backend `reader` at a price."""
    point = EntryPoint("reader", f"{__name__}:Reader", "bench.engines")
    ours = [*entry_points(group="bench.engines"), point]
    monkeypatch.setattr(
        backend_specs, "entry_points", lambda *, group: ours if group == "bench.engines" else entry_points(group=group)
    )
    monkeypatch.setattr(Reader, "stops", False)
    monkeypatch.setattr(Reader, "asked", 0)
    for folder in ("tasks", "backends", "prompts"):
        (project / folder).mkdir()
    (project / "tasks" / "kitchen.yaml").write_text(TASK)
    (project / "backends" / "reader.yaml").write_text(
        "engine: reader\nmodel: m\nprice: {prompt: 1000, completion: 2000, source: nowhere}\n"
    )
    prompt = "---\ndescription: d\nparser: label\n---\nOne of {{ labels | join(', ') }}. Text: {{ text }}\n"
    (project / "prompts" / "say.j2").write_text(prompt)
    write_csv(project / "tasks" / "train.csv", ("text", "label"), rows_of(40))
    write_csv(project / "tasks" / "test.csv", ("text", "label"), rows_of(30, 100))
    return project


LABEL = ("label", "--backend", "reader", "--prompt", "say")


def read_csv(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_output_has_the_columns_of_the_rows_and_the_labels(bench: Any, reader: Path) -> None:
    rows = [("7", "the lid is good"), ("8", ""), ("9", "an odd cup"), ("10", "bad")]
    write_csv(reader / "new.csv", ("number", "review"), rows)
    said = bench(*LABEL, "--rows", "new.csv", "--text", "review", "-o", "out.csv", "--json")
    assert said.code == 0, said.err
    made = read_csv("out.csv")
    assert [row["number"] for row in made] == ["7", "8", "9", "10"]
    assert [row["label"] for row in made] == ["good", "", "", "bad"]
    assert [row["status"] for row in made] == ["ok", "failed", "unparsed", "ok"]
    assert made[1]["reason"] == "no_text"
    assert made[2]["reason"]
    assert [row["prompt_tokens"] for row in made] == ["10", "", "10", "10"]
    assert float(made[0]["usd"]) == pytest.approx((1000 * 10 + 2000) / 1e6)
    assert list(made[0]) == ["number", "review", "label", "status", "reason", "prompt_tokens", "new_tokens", "usd"]
    told = said.json
    assert (told["rows"], told["no_text"], told["unlabelled"], told["state"]) == (4, 1, 2, "new")
    assert told["labels"] == {"bad": 1, "good": 1}
    assert told["usd"] == pytest.approx(3 * 0.012)
    assert (told["prompt_tokens"], told["new_tokens"]) == (30, 3)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_probabilities_in_every_format(bench: Any, reader: Path, suffix: str) -> None:
    from harness.data.formats import read_file

    write_csv(reader / "new.csv", ("text",), [("a good lid",), ("a bad cup, truly",)])
    first = bench(*LABEL, "--decoding", "score", "--rows", "new.csv", "-o", f"out.{suffix}")
    assert first.code == 0, first.err
    found = read_file(Path(f"out.{suffix}"))
    assert found["text"] == ["a good lid", "a bad cup, truly"]
    assert found["label"] == ["good", "bad"]
    assert [float(p) for p in found["p_good"]] == pytest.approx([0.8, 0.2])
    assert [float(p) for p in found["p_bad"]] == pytest.approx([0.2, 0.8])


@pytest.mark.slow
def test_a_stopped_labelling_continues_and_a_finished_one_is_found(
    bench: Any, reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"long {'and ' * (12 - number)} good {number}",) for number in range(12)]
    rows[6] = (rows[6][0] + " stop",)
    write_csv(reader / "new.csv", ("text",), rows)
    command = (*LABEL, "--rows", "new.csv", "-o", "out.jsonl")
    monkeypatch.setattr(Reader, "stops", True)
    said = bench(*command)
    assert said.code == 130
    assert "Repeat the command" in said.err
    assert not Path("out.jsonl").exists()
    asked = Reader.asked
    assert 0 < asked < 12
    monkeypatch.setattr(Reader, "stops", False)
    said = bench(*command)
    assert said.code == 0, said.err
    assert Reader.asked == 12
    assert "continues where it stopped" in said.err
    there = bench(*command)
    assert (there.code, "out.jsonl exists" in there.err, "--force" in there.err) == (2, True, True)
    Path("out.jsonl").unlink()
    assert bench(*command, "--json").json["state"] == "found"
    assert Reader.asked == 12
    assert bench(*command, "--force", "--json").json["state"] == "new"
    assert Reader.asked == 24


def test_a_budget_stops_a_labelling_and_keeps_what_was_paid(bench: Any, reader: Path) -> None:
    write_csv(reader / "new.csv", ("text",), [(f"good {number}",) for number in range(20)])
    said = bench(*LABEL, "--rows", "new.csv", "-o", "out.csv", "--max-cost", "0.2")
    assert said.code == 1
    assert "stopped at $" in said.err
    paid = Reader.asked
    assert 0 < paid < 20
    assert bench(*LABEL, "--rows", "new.csv", "-o", "out.csv").code == 0
    assert Reader.asked == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.csv"], "Which rows?"),
        (["--rows", "new.csv", "--split", "train", "-o", "out.csv"], "Which rows?"),
        (["--rows", "nothing.csv", "-o", "out.csv"], "no such file"),
        (["--rows", "new.csv", "-o", "out.xlsx"], "'.xlsx' is not known"),
        (["--rows", "new.csv", "-o", "there.csv"], "there.csv exists"),
        (["--rows", "new.csv", "-o", "no/where/out.csv"], "no file can be written"),
        (["--rows", "other.csv", "-o", "out.csv"], "has no column 'text'; its columns: review"),
        (["--rows", "labelled.csv", "-o", "out.csv"], "--prefix llm_"),
        (["--rows", "new.csv", "--backend", "tfidf", "-o", "out.csv"], "one value"),
        (["--rows", "new.csv", "--prompt", "strict", "-o", "out.csv"], "one value"),
        (["--split", "trian", "-o", "out.csv"], "trian"),
        (["--split", "train", "--text", "text", "-o", "out.csv"], "--text is for --rows"),
        (["--rows", "new.csv", "--lang", "xx", "-o", "out.csv"], "'xx'"),
        (["--rows", "empty.csv", "-o", "out.csv"], "no row has a text"),
    ],
)
def test_mistakes_are_named_before_anything_is_asked(bench: Any, reader: Path, arguments: list[str], message: str) -> None:
    write_csv(reader / "new.csv", ("text",), [("good",)])
    write_csv(reader / "other.csv", ("review",), [("good",)])
    write_csv(reader / "labelled.csv", ("text", "label"), [("good", "bad")])
    write_csv(reader / "empty.csv", ("text", "n"), [(" ", "1")])
    (reader / "there.csv").write_text("mine")
    said = bench(*LABEL, *arguments)
    assert said.code == 2
    assert message in said.err
    assert Reader.asked == 0
    assert (reader / "there.csv").read_text() == "mine"
    assert not Path("results").exists()


def test_a_backend_that_is_not_trained_is_refused(bench: Any, reader: Path) -> None:
    write_csv(reader / "new.csv", ("text",), [("good",)])
    said = bench("label", "--backend", "tfidf", "--rows", "new.csv", "-o", "out.csv")
    assert said.code == 2
    assert "Train it: bench run --backend tfidf" in said.err


def test_the_next_command_trains_on_the_labels(bench: Any, reader: Path) -> None:
    whole = bench(*LABEL, "--split", "train", "-o", "train.csv")
    assert "Next: bench study curve --encoder NAME --labels-from" in whole.err
    some = bench(*LABEL, "--split", "train", "--limit", 5, "-o", "some.csv")
    assert "--train-limit 5 --validation-limit 0" in some.err  # a curve needs the labels of all training rows


def test_a_prefix_keeps_the_label_that_is_there(bench: Any, reader: Path) -> None:
    write_csv(reader / "new.csv", ("text", "label"), [("good", "mine")])
    assert bench(*LABEL, "--rows", "new.csv", "--prefix", "llm_", "-o", "out.csv").code == 0
    (row,) = read_csv("out.csv")
    assert (row["label"], row["llm_label"], row["llm_status"]) == ("mine", "good", "ok")


@pytest.mark.slow
def test_a_part_of_the_training_rows_suggests_no_curve(bench: Any, reader: Path) -> None:
    whole = bench(*LABEL, "--split", "train", "-o", "whole.csv")
    part = bench(*LABEL, "--split", "train", "--limit", 5, "-o", "part.csv")
    assert ("bench study curve" in whole.err, "bench study curve" in part.err) == (True, False)


@pytest.mark.slow
def test_a_trained_model_labels(bench: Any, reader: Path) -> None:
    write_csv(reader / "new.csv", ("text",), [("the lid is good number 3",), ("the cup is bad number 4",)])
    assert bench("run", "--backend", "tfidf").code == 0
    said = bench("label", "--backend", "tfidf", "--rows", "new.csv", "-o", "out.csv")
    assert said.code == 0, said.err
    assert [row["label"] for row in read_csv("out.csv")] == ["good", "bad"]
    assert "p_good" in read_csv("out.csv")[0]


@pytest.mark.slow
def test_a_run_on_the_labels_of_a_model(bench: Any, reader: Path) -> None:
    made = bench(*LABEL, "--split", "train", "-o", "train.csv", "--json").json["labelling"]
    digits = made.rpartition(".")[2]
    refused = bench("run", "--backend", "tfidf", "--labels-from", digits)
    assert refused.code == 2
    assert "--validation-limit 0" in refused.err
    said = bench("run", "--backend", "tfidf", "--labels-from", digits, "--validation-limit", 0, "--json")
    assert said.code == 0, said.err
    (run,) = said.json
    assert "labelled-by-reader" in run["run"]
    assert run["labels_from"] == f"results/labels/{made}"
    again = bench("run", "--backend", "tfidf", "--labels-from", run["labels_from"], "--validation-limit", 0, "--json")
    assert again.json[0]["state"] == "found"
    assert bench("run", "--backend", "tfidf", "--validation-limit", 0).code == 0
    board = bench("leaderboard")
    assert board.code == 0
    written = [path.read_text(encoding="utf-8") for path in Path("results").rglob("*") if path.suffix in (".md", ".html")]
    assert written
    assert all("labels of reader (say · free)" in text for text in written)
    cost = bench("analyze", "cost", run["run"], "--label-usd", 1, "--json").json["runs"][0]
    assert cost["labels"] == 0
    assert cost["labelling"] == pytest.approx(40 * 0.012 / 1e6 * 1000)


@pytest.mark.slow
def test_a_curve_on_both_kinds_of_labels(bench: Any, reader: Path) -> None:
    made = bench(*LABEL, "--decoding", "score", "--split", "train", "-o", "train.csv", "--json").json["labelling"]
    curve = ("study", "curve", "--encoder", "tfidf", "--labels-from", made[-6:], "--sizes", "16,all", "--seed", "0,1")
    said = bench(*curve, "--soft-labels", "--label-usd", 0.1, "--json")
    assert said.code == 0, said.err
    (found,) = said.json
    names = [one["name"] for one in found["curves"]]
    assert names == ["tfidf · human labels", "tfidf · LLM labels", "tfidf · LLM probabilities"]
    assert [[point["labels"] for point in one["points"]] for one in found["curves"]] == [[16, 40]] * 3
    (line,) = found["lines"]
    assert line["name"] == "reader (say · score), teacher"
    assert line["value"] == pytest.approx(0.8)  # every fifth row says the opposite
    assert [one["other"] for one in found["contrasts"]] == names[1:]
    assert [one["name"] for one in found["log_loss"]["curves"]] == names
    assert found["log_loss"]["lines"][0]["name"] == line["name"]
    teaching = found["teaching"]
    assert (teaching["labelling"], teaching["rows"], teaching["unlabelled"]) == (made, 40, 0)
    assert teaching["agreement"] == pytest.approx(0.8)
    assert teaching["usd_per_label"] == pytest.approx(0.01)
    kept = {point["labels"]: point["value"] for point in found["contrasts"][0]["differences"]}
    ours, theirs = ({point["labels"]: point["value"] for point in one["points"]} for one in found["curves"][:2])
    assert kept == pytest.approx({size: theirs[size] - ours[size] for size in (16, 40)})
    shown = bench(*curve, "--soft-labels", "--label-usd", 0.1)
    assert "80% of the labels of reader on 40 training rows agree with those of people" in shown.out
    page = Path("results/curves", found["page"]).read_text(encoding="utf-8")
    assert "LLM probabilities" in page
    assert json.loads(Path("results/curves", found["page"]).with_suffix(".json").read_text())["teaching"] == teaching


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--soft-labels"], "--soft-labels needs --labels-from"),
        (["--label-usd", "1"], "--label-usd needs --labels-from"),
        (["--labels-from", "nothing"], "no labelling 'nothing'"),
        (["--labels-from", "LABELS", "--label-usd", "-1"], "at least 0"),
        (["--labels-from", "LABELS", "--soft-labels"], "no probabilities"),
        (["--labels-from", "LABELS", "--task", "reviews_demo", "--lang", "en"], "is of kitchen in en"),
        (["--labels-from", "PARTIAL"], "30 of 40 training rows are not in the labelling"),
    ],
)
def test_mistakes_of_a_curve_with_a_teacher(bench: Any, reader: Path, arguments: list[str], message: str) -> None:
    whole = bench(*LABEL, "--split", "train", "-o", "train.csv", "--json").json["labelling"]
    partial = bench(*LABEL, "--split", "train", "--limit", 10, "-o", "some.csv", "--json").json["labelling"]
    given = [{"LABELS": whole, "PARTIAL": partial}.get(part, part) for part in arguments]
    said = bench("study", "curve", "--encoder", "tfidf", "--seed", "0", *given)
    assert said.code == 2
    assert message in said.err
    assert not Path("results/runs").exists() or not list(Path("results/runs").glob("*tfidf*"))
