"""`bench analyze data`: what it counts, what it says, and what it shows only when asked."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from unsealed import unseal

SECRET = "SENTINEL"
TASK = """\
description: d
source: {files: {train: train.jsonl, validation: validation.jsonl, test: test.jsonl}}
columns: {id: id}
labels: {kind: KIND, names: [bad, fair, good, "[red]"]}
languages: [en]
published: 2020-10
"""


def write(folder: Path, split: str, rows: list[tuple[str, int]]) -> None:
    records = [{"id": f"{split}-{number:02}", "text": text, "label": label} for number, (text, label) in enumerate(rows)]
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def torn(project: Path) -> Path:
    """A task with two test rows that have twins in train, one text with two labels, and an empty text."""
    folder = project / "tasks"
    folder.mkdir()
    (folder / "torn.yaml").write_text(TASK.replace("KIND", "ordinal"))
    words = ["bad", "fair", "good"]
    write(folder, "train", [(f"this is {words[n % 3]} and the number is {n * 7919}", n % 3) for n in range(24)] + [("", 0)])
    write(folder, "validation", [(f"a {words[n % 3]} thing for {n * 104729} people", n % 3) for n in range(6)])
    test = [(f"it was {words[n % 3]} in {n * 1299709} ways", n % 3) for n in range(12)]
    test += [("THIS is bad and the number is 0", 0), ("this is fair and the number is 7919!", 2)]
    write(folder, "test", [*test, (f"{SECRET} \x1b[31m twice", 0), (f"{SECRET} \x1b[31m  Twice", 1)])
    return folder


def test_without_runs(bench: Any, torn: Path) -> None:
    said = bench("analyze", "data", "--task", "torn", "--json")
    assert said.code == 0, said.err
    (found,) = said.json
    assert found["rows"] == {"train": 24, "validation": 6, "test": 16}
    assert found["empty"] == 1
    assert found["labels"]["bad"] == {"train": 8, "validation": 2, "test": 6}
    assert found["labels"]["[red]"] == {"train": 0, "validation": 0, "test": 0}
    twins = {(pair["of"], pair["among"]): pair for pair in found["duplicates"]}
    assert twins["test", "train"]["ids"] == ["test-12", "test-13"]
    assert [twins["test", "train"][key] for key in ("rows", "exact", "near", "other_label")] == [16, 1, 1, 1]
    assert twins["test", "test"]["exact"] == 2
    assert (found["conflicts"]["rows"], found["conflicts"]["ceiling"]["test"]) == (2, 15 / 16)
    assert found["conflicts"]["ids"] == ["test-14", "test-15"]
    assert found["runs"] == found["without_duplicates"] == found["suspects"]["list"] == []
    dates = {line["backend"]: line for line in found["dates"]}
    assert dates["gpt-4.1-mini"]["may_have_read"] is True
    assert dates["bert"] == {"backend": "bert", "published": "2020-10", "training_cutoff": "2018-10", "may_have_read": False}
    assert "gpt-4.1-mini (2024-06)" in found["sentence"]
    assert "bert (" not in found["sentence"]


def test_labels_that_only_one_split_has(bench: Any, torn: Path) -> None:
    write(torn, "test", [("it was bad", 0), ("it was fair", 1), ("it was red", 3)])
    (found,) = bench("analyze", "data", "--task", "torn", "--json").json
    assert (found["unseen_labels"], found["untested_labels"]) == (["[red]"], ["good"])
    assert all(name in found["sentence"] for name in ("[red]", "good"))


def test_as_a_table(bench: Any, torn: Path) -> None:
    said = bench("analyze", "data", "--task", "torn")
    lines = said.out.splitlines()
    assert "label\ttrain\tvalidation\ttest" in lines
    assert "[red]\t0\t0\t0" in lines
    assert "test\ttrain\t1\t1\t1\ttest-12, test-13" in lines
    assert "Texts with conflicting labels: 1, in 2 rows (2 test), such as test-14, test-15" in lines
    assert lines[-1].startswith("2 of 16 test rows have duplicates")
    assert "1 row without text" in said.err


@pytest.mark.slow
def test_texts_are_shown_only_when_asked_and_can_not_steer_the_terminal(bench: Any, torn: Path, cache: Path) -> None:
    assert SECRET not in bench("analyze", "data", "--task", "torn").out
    said = bench("analyze", "data", "--task", "torn", "--show-texts")
    assert f"test-14\t{SECRET} \\x1b[31m twice" in said.out.splitlines()
    assert "\x1b" not in said.out
    assert SECRET not in bench("analyze", "data", "--task", "torn", "--json").out
    (found,) = bench("analyze", "data", "--task", "torn", "--json", "--show-texts").json
    assert found["texts"]["test-14"] == f"{SECRET} \x1b[31m twice"
    for file in cache.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


@pytest.mark.slow
def test_with_runs(bench: Any, torn: Path) -> None:
    (torn / "train.jsonl").write_text((torn / "train.jsonl").read_text().replace('"text": ""', '"text": "says nothing"'))
    assert bench("run", "--task", "torn", "--backend", "majority,tfidf").code == 0
    (found,) = bench("analyze", "data", "--task", "torn", "--json").json
    assert len(found["runs"]) == 2
    assert found["suspects"]["models"] in (["tfidf"], [])
    best = found["without_duplicates"][0]
    assert (best["backend"], best["n"]) == ("tfidf", 14)
    assert f"and in {best['without']['value']:.3f} of the 14 rows without a duplicate" in found["sentence"]
    (only,) = bench("analyze", "data", "--task", "torn", "--json", "--backend", "majority").json
    assert [name.split(".")[2] for name in only["runs"]] == ["majority"]
    (named,) = bench("analyze", "data", "--task", "torn", "--json", "--run", best["run"][-10:]).json
    assert named["runs"] == [best["run"]]


@pytest.mark.slow
def test_named_runs_say_the_languages_and_vote_each_in_its_own(bench: Any) -> None:
    made = bench("run", "--backend", "majority,tfidf", "--lang", "en,ja", "--limit", 10, "--json").json
    run = {(made_run["lang"], made_run["backend"]): made_run["run"] for made_run in made}

    def audited(*options: str) -> dict[str, list[str]]:
        said = bench("analyze", "data", "--json", *options)
        assert said.code == 0, said.err
        return {report["lang"]: report["runs"] for report in said.json}

    en, ja = run["en", "tfidf"], run["ja", "tfidf"]
    assert audited("--run", ja[-10:]) == {"ja": [ja]}
    assert audited("--run", f"{ja[-10:]},{en[-10:]}") == {"en": [en], "ja": [ja]}
    assert audited("--lang", "en,ja", "--run", f"{en},{ja}") == {"en": [en], "ja": [ja]}
    assert audited("--lang", "en,ja", "--run", en) == {"en": [en], "ja": []}
    for options, why in (
        (["--lang", "en"], f"{ja} is a run in 'ja', which --lang leaves out"),
        (["--backend", "majority"], f"{ja} is a run of tfidf, which --backend leaves out"),
        (["--split", "validation"], f"{ja} is a run on the test rows of reviews_demo, not on the validation rows"),
    ):
        said = bench("analyze", "data", "--run", ja, *options)
        assert (said.code, said.out) == (2, "")
        assert why in said.err


@pytest.mark.slow
def test_runs_on_other_rows_are_left_out(bench: Any, torn: Path) -> None:
    (torn / "train.jsonl").write_text((torn / "train.jsonl").read_text().replace('"text": ""', '"text": "says nothing"'))
    (run,) = bench("run", "--task", "torn", "--backend", "majority", "--json").json
    (torn / "test.jsonl").write_text((torn / "test.jsonl").read_text().replace("in 0 ways", "in no way"))
    said = bench("analyze", "data", "--task", "torn")
    assert "1 run on other rows" in said.err
    said = bench("analyze", "data", "--task", "torn", "--run", run["run"])
    assert said.code == 2
    assert "not a run on these rows" in said.err


def rows_of(torn: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (torn / "test.jsonl").read_text().splitlines()]


def planted(results: Path, like: str, model: str, labels: list[int]) -> None:
    """A copy of the record `like`, as if of a model that is sure of `labels`."""
    source, folder = results / "runs" / like, results / "runs" / f"torn.en.{model}.from-en.s0.{model}"
    shutil.copytree(source, folder)
    unseal(folder, lambda manifest: manifest["identity"]["backend"].update(name=model, model=f"packaged:{model}"))
    records = [json.loads(line) for line in (source / "predictions.jsonl").read_text().splitlines()]
    for record, label in zip(records, labels, strict=True):
        record["label"], record["probabilities"] = label, [0.8 if index == label else 0.2 / 3 for index in range(4)]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["values"]["accuracy"]["value"] = sum(record["label"] == record["truth"] for record in records) / len(records)
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ordinal", "nominal"])
def test_a_shortlist_of_likely_label_errors(bench: Any, torn: Path, project: Path, kind: str) -> None:
    (torn / "torn.yaml").write_text(TASK.replace("KIND", kind))
    (torn / "train.jsonl").write_text((torn / "train.jsonl").read_text().replace('"text": ""', '"text": "says nothing"'))
    (run,) = bench("run", "--task", "torn", "--backend", "majority", "--json").json
    rows = [json.loads(line) for line in (torn / "test.jsonl").read_text().splitlines()]
    said = [row["label"] for row in rows]
    said[0], said[1] = 2, 2  # bad as good: two steps; fair as good: one
    for model in ("minilm", "e5-small"):
        planted(project / "results", run["run"], model, said)
    (found,) = bench("analyze", "data", "--task", "torn", "--json").json
    listed = found["suspects"]["list"]
    assert len(listed) == 16
    assert {name: listed[0][name] for name in ("id", "given", "suggested", "votes", "against", "models")} == {
        "id": "test-00",
        "given": "bad",
        "suggested": "good",
        "votes": 2,
        "against": 0,
        "models": 2,
    }
    assert listed[0]["score"] == pytest.approx(0.2 / 3 * (1.25 if kind == "ordinal" else 1))
    assert listed[1]["id"] == "test-01"
    assert listed[1]["score"] == pytest.approx(0.2 / 3 + (0.25 * (0.8 + 0.2 / 3) if kind == "ordinal" else 0))
    assert found["suspects"]["estimated"] == (1 if kind == "ordinal" else 2)
    assert f"In about {1 if kind == 'ordinal' else 2} of 16 rows" in found["sentence"]
    assert ("hard rows, not errors" in found["sentence"]) == (kind == "ordinal")
    said = bench("analyze", "data", "--task", "torn", "--show-texts", "--top", 1)
    score = f"{listed[0]['score']:.3f}"
    assert f"test-00\tbad\tgood\t{score}\t2 of 2\tit was bad in 0 ways" in said.out.splitlines()
    assert "test-01\t" not in said.out.split("suggested")[1]
    assert "the 1 most suspect of 16 rows" in said.err
    (cut,) = bench("analyze", "data", "--task", "torn", "--json", "--top", 3).json
    assert cut["suspects"]["list"] == listed[:3]


@pytest.mark.slow
def test_a_file_of_suspects_in_rank_order(bench: Any, torn: Path, project: Path) -> None:
    (torn / "train.jsonl").write_text((torn / "train.jsonl").read_text().replace('"text": ""', '"text": "says nothing"'))
    (run,) = bench("run", "--task", "torn", "--backend", "majority", "--json").json
    audit = ("analyze", "data", "--task", "torn", "--suspects")
    said = bench(*audit, "look.csv")
    assert said.code == 2
    assert "has probabilities and is better" in said.err
    planted(project / "results", run["run"], "minilm", [2, *(row["label"] for row in rows_of(torn)[1:])])
    (found,) = bench(*audit, "look.csv", "--json").json
    with (project / "look.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["lang", "rank", "id", "label", "suggested", "score", "votes", "models"]
    listed = found["suspects"]["list"]
    assert [(row["id"], row["label"], row["suggested"]) for row in rows] == [
        (one["id"], one["given"], one["suggested"]) for one in listed
    ]
    assert [float(row["score"]) for row in rows] == pytest.approx([one["score"] for one in listed], abs=1e-6)
    assert [int(row["rank"]) for row in rows] == list(range(1, 17))
    assert bench(*audit, "look.jsonl", "--top", 4, "--show-texts").code == 0
    few = [json.loads(line) for line in (project / "look.jsonl").read_text().splitlines()]
    assert [row["id"] for row in few] == [row["id"] for row in rows[:4]]
    assert all(row["text"] for row in few)


@pytest.mark.slow
def test_every_language_that_has_rows(bench: Any, project: Path) -> None:
    data = project / "data"
    data.mkdir()
    for split in ("train", "validation", "test"):
        rows = [
            {"id": f"{split}{n}", "text": f"text {n} of {split if n != 3 else 'all'}", "label": n % 5, "lang": lang}
            for n, lang in enumerate(["en", "ja"] * 5)
        ]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = bench("analyze", "data", "--task", "reviews_demo", "--data", data, "--json")
    assert [report["lang"] for report in said.json] == ["en", "ja"]
    with_dates = [{line["backend"] for line in report["dates"]} for report in said.json]
    assert with_dates[0] - with_dates[1] >= {"bert", "roberta"}  # for English texts
    assert "gpt-4.1-mini" in with_dates[1]
    said = bench("analyze", "data", "--task", "reviews_demo", "--data", data)
    assert "gpt-4.1-mini" not in said.out  # nobody knows since when these rows are public
    assert said.out.splitlines()[-1] == (
        "All 2 languages, 10 test rows. Rows with a duplicate among the training rows: 1 (ja 1); "
        "texts with conflicting labels: none."
    )
    assert said.out.count("Each of the 5 labels has 1 train, 1 validation, 1 test rows.") == 2
    said = bench("analyze", "data", "--task", "reviews_demo", "--data", data, "--lang", "fr")
    assert said.code == 2
    assert "no rows in 'fr'" in said.err


def test_a_missing_split_is_named(bench: Any, torn: Path) -> None:
    (torn / "train.jsonl").unlink()
    said = bench("analyze", "data", "--task", "torn")
    assert said.code == 0
    assert "no train rows" in said.err
    assert "test rows can't be compared with training rows" in said.out


@pytest.mark.slow
def test_the_bundled_rows_have_no_twins(bench: Any) -> None:
    for report in bench("analyze", "data", "--json").json:
        assert all(pair["exact"] == 0 for pair in report["duplicates"]), report["sentence"]
        assert report["conflicts"]["rows"] == report["empty"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "nothing"], "There is no task named 'nothing'"),
        (["--split", "train"], "test or validation"),
        (["--data", "nowhere"], "no such folder"),
        (["--suspects", "look.doc"], "the suffix '.doc' is not known"),
        (["--backend", "tfdif"], "Did you mean tfidf"),
        (["--run", "0123456789"], "There are no runs"),
        (["--lang", "xx"], "no language 'xx'"),
    ],
)
def test_mistakes(bench: Any, project: Path, arguments: list[str], said: str) -> None:
    found = bench("analyze", "data", *arguments)
    assert found.code == 2
    assert said in found.err


def test_without_duplicates_one_line_says_so(bench: Any) -> None:
    lines = bench("analyze", "data", "--task", "reviews_demo", "--lang", "en").out.splitlines()
    assert lines[:3] == [
        "reviews_demo · en: 125 rows",
        "Each of the 5 labels has 12 train, 3 validation, 10 test rows.",
        "No row has a duplicate, in its own split or in another.",
    ]
    assert not any(line.startswith("All ") for line in lines)
