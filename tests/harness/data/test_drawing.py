"""Rows without an id column: their ids, and the splits that are drawn of them, follow the texts and not the places."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import DataError
from harness.core.types import Example, text_digest
from harness.data.drawing import first_rows, frozen_text
from harness.data.rows import fingerprint, load_examples
from harness.specs.tasks import SPLITS, Split, TaskSpec, load_task

Rows = list[dict[str, Any]]
LABELS = "labels: {kind: nominal, names: [bad, good, odd]}\n"
STRATIFIED = "source: {files: {all: all.jsonl}}\nsplits: {stratified: {}}\n"


def task_of(folder: Path, rows: Rows, source: str = STRATIFIED, file: str = "all.jsonl", labels: str = LABELS) -> TaskSpec:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / "mine.yaml"
    path.write_text(f"description: d\n{source}{labels}languages: [en]\n", encoding="utf-8")
    return load_task(path)


def many(count: int, start: int = 0) -> Rows:
    return [{"text": f"note number {n}", "label": n % 10 // 5 if n % 40 else 2} for n in range(start, start + count)]


def splits_of(task: TaskSpec) -> dict[Split, set[tuple[str, str]]]:
    return {split: {(row.id, row.text) for row in load_examples(task, lang="en", split=split)} for split in SPLITS}


def test_an_id_is_made_of_the_text_and_shows_nothing_of_it(tmp_path: Path) -> None:
    task = task_of(tmp_path, [{"text": "a secret", "label": 0}, {"text": "half \ud83d", "label": 1}],
                   "source: {files: {train: all.jsonl}}\n")  # fmt: skip
    rows = load_examples(task, lang="en", split="train")
    assert [row.id for row in rows] == [f"train-{text_digest(row.text)}" for row in rows]
    assert all(len(row.id) == len("train-") + 16 for row in rows)


def test_a_text_that_stands_several_times_is_counted_by_label_and_not_by_place(tmp_path: Path) -> None:
    rows = [{"text": "ok", "label": label} for label in (1, 0, 1)] + [{"text": "no", "label": 0}]
    source = "source: {files: {train: all.jsonl}}\n"
    found = {(row.id, row.label) for row in load_examples(task_of(tmp_path, rows, source), lang="en", split="train")}
    ok = f"train-{text_digest('ok')}"
    assert found == {(ok, 0), (f"{ok}-2", 1), (f"{ok}-3", 1), (f"train-{text_digest('no')}", 0)}
    again = load_examples(task_of(tmp_path / "b", rows[::-1], source), lang="en", split="train")
    assert {(row.id, row.label) for row in again} == found


def test_sets_of_labels_are_counted_in_order_too(tmp_path: Path) -> None:
    rows = [{"text": "ok", "label": labels} for labels in (["bad", "odd"], [], ["bad"])]
    labels = LABELS.replace("nominal", "multilabel")
    task = task_of(tmp_path, rows, "source: {files: {train: all.jsonl}}\n", labels=labels)
    found = {
        row.label: row.id.removeprefix(f"train-{text_digest('ok')}") for row in load_examples(task, lang="en", split="train")
    }
    assert found == {(): "", (0,): "-2", (0, 2): "-3"}


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_order_of_the_file_changes_nothing(tmp_path: Path, shuffled: bool) -> None:
    rows = many(200) + many(20)
    moved = sorted(rows, key=lambda row: (row["label"], row["text"]))
    if shuffled:
        random.Random(1).shuffle(moved)
    assert splits_of(task_of(tmp_path / "a", rows)) == splits_of(task_of(tmp_path / "b", moved))


@pytest.mark.parametrize("where", ["top", "bottom"])
def test_rows_that_are_added_move_only_rows_at_the_border(tmp_path: Path, where: str) -> None:
    rows, new = many(300), many(6, start=1000)
    before = splits_of(task_of(tmp_path / "a", rows))
    after = splits_of(task_of(tmp_path / "b", new + rows if where == "top" else rows + new))
    assert len(before["test"]) == 60
    assert len(before["test"] & after["test"]) >= 57
    assert not before["train"] & after["test"]
    assert len(before["validation"] & after["validation"]) >= 44
    assert len(before["train"] - after["train"]) <= 3


def test_the_splits_have_the_same_shares_of_labels(tmp_path: Path) -> None:
    task = task_of(tmp_path, [{"text": f"t{n}", "label": 0 if n % 10 < 7 else 1} for n in range(1000)])
    counts = {split: Counter(row.label for row in load_examples(task, lang="en", split=split)) for split in SPLITS}
    assert {split: counts[split].total() for split in SPLITS} == {"train": 640, "validation": 160, "test": 200}
    for split in SPLITS:
        assert abs(counts[split][0] - 0.7 * counts[split].total()) <= 1


def test_labels_of_one_row_are_not_all_drawn_nor_left_out(tmp_path: Path) -> None:
    """Sets of labels are often rare: with 60 that stand once, about a fifth test."""
    names = [f"l{n}" for n in range(60)]
    labels = f"labels: {{kind: nominal, names: {json.dumps(names)}}}\n"
    rows = [{"text": f"t{n}", "label": name} for n, name in enumerate(names)] + [
        {"text": f"u{n}", "label": "l0"} for n in range(60)
    ]
    tested = load_examples(task_of(tmp_path, rows, labels=labels), lang="en", split="test")
    assert len(tested) == 24
    assert 5 <= sum(row.label != 0 for row in tested) <= 19


def test_the_validation_share_and_samples_hardly_move(tmp_path: Path) -> None:
    source = (
        "source: {files: {train: all.jsonl, test: all.jsonl}}\nsplits: {validation_share: 0.1}\nsample: {test: {count: 50}}\n"
    )
    before, after = (
        splits_of(task_of(tmp_path / n, rows, source)) for n, rows in (("a", many(200)), ("b", many(4, 999) + many(200)))
    )
    assert not before["train"] & before["validation"]
    assert len(before["train"]) == 180
    assert len(before["validation"] & after["validation"]) >= 18
    assert len(before["test"] & after["test"]) >= 47


@pytest.mark.parametrize("own", [True, False])
def test_the_validation_share_of_a_data_folder_without_validation_rows(tmp_path: Path, own: bool) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = many(200)
    for name, part in {"train": rows[:150], "test": rows[150:], **({"validation": rows[:7]} if own else {})}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
    task = task_of(tmp_path, rows, "source: {files: {all: all.jsonl}}\nsplits: {validation_share: 0.2}\n")
    found = {split: load_examples(task, lang="en", split=split, data_dir=folder) for split in SPLITS}
    assert [len(found[split]) for split in ("train", "validation", "test")] == ([150, 7, 50] if own else [120, 30, 50])
    assert own or not {row.id for row in found["train"]} & {row.id for row in found["validation"]}


def test_the_rows_of_a_limit_stay_when_the_file_grows(tmp_path: Path) -> None:
    source = "source: {files: {test: all.jsonl}}\n"
    before, after = (
        {row.text for row in first_rows(load_examples(task_of(tmp_path / n, rows, source), lang="en", split="test"), 50)}
        for n, rows in (("a", many(200)), ("b", many(10, 999) + many(200)))
    )
    assert len(before & after) >= 45


def test_equal_texts_in_two_splits_have_two_ids(tmp_path: Path) -> None:
    rows = [{"text": "ok", "label": 0, "part": part} for part in ("train", "dev", "test")]
    source = "source: {files: {all: all.jsonl}}\nsplits: {validation: dev}\ncolumns: {split: part}\n"
    task = task_of(tmp_path, rows, source)
    found = [load_examples(task, lang="en", split=split)[0].id for split in SPLITS]
    assert found == [f"{split}-{text_digest('ok')}" for split in SPLITS]


def with_ids(rows: Rows, start: int = 0) -> Rows:
    return [{"id": f"r{number:04}", **row} for number, row in enumerate(rows, start)]


@pytest.mark.parametrize("start", [0, 1], ids=["ids that stay", "ids that count the rows"])
def test_an_id_column_changes_no_split(tmp_path: Path, start: int) -> None:
    ids = STRATIFIED + "columns: {id: id}\n"
    plain = splits_of(task_of(tmp_path / "a", many(300)))
    before = splits_of(task_of(tmp_path / "b", with_ids(many(300)), ids))
    new = {"id": "0" if start == 0 else "r0000", "text": "in front", "label": 0}
    after = splits_of(task_of(tmp_path / "c", [new, *with_ids(many(300), start)], ids))
    texts = [{split: {text for _, text in rows} for split, rows in found.items()} for found in (plain, before, after)]
    assert texts[0] == texts[1]
    assert len(texts[0]["test"] & texts[2]["test"]) >= 59
    assert not texts[0]["train"] & texts[2]["test"]


def test_texts_that_are_alike_after_normalization_are_in_one_split(tmp_path: Path) -> None:
    rows = [{"text": text, "label": n % 2} for n in range(150) for text in (f"Note {n}", f"  note   {n}", f"NOTE {n}")]
    found = splits_of(task_of(tmp_path, rows))
    numbers = {split: {text.split()[1] for _, text in part} for split, part in found.items()}
    assert {split: len(part) for split, part in found.items()} == {"train": 288, "validation": 72, "test": 90}
    assert sum(map(len, numbers.values())) == len(set.union(*numbers.values())) == 150


def test_validation_rows_that_are_set_aside_share_no_text_with_train_rows(tmp_path: Path) -> None:
    rows = [{"text": f"note {n % 70}", "label": n % 2} for n in range(210)]
    source = "source: {files: {train: all.jsonl, test: all.jsonl}}\nsplits: {validation_share: 0.2}\n"
    found = splits_of(task_of(tmp_path, rows, source))
    texts = {split: {text for _, text in part} for split, part in found.items()}
    assert not texts["train"] & texts["validation"]
    assert len(found["validation"]) == 42


# groups


GROUPED = STRATIFIED + "columns: {group: film}\n"


def films(count: int, rows: int = 12, start: int = 0) -> Rows:
    """Some films are liked more than others; a few have many more comments."""
    rng = random.Random(start)
    found = []
    for film in range(start, start + count):
        liked = rng.random()
        for n in range(rows * (5 if film % 10 == 0 else 1)):
            found.append({"text": f"film {film} comment {n}", "label": int(rng.random() < liked), "film": f"f{film}"})
    return found


def loaded(task: TaskSpec, lang: str = "en") -> dict[Split, list[Example]]:
    return {split: load_examples(task, lang=lang, split=split) for split in SPLITS}


def test_no_group_is_in_two_splits_and_the_shares_stay(tmp_path: Path) -> None:
    rows = films(120)
    found = loaded(task_of(tmp_path, rows, GROUPED))
    groups = {split: {row.group for row in part} for split, part in found.items()}
    assert sum(map(len, groups.values())) == len(set.union(*groups.values())) == 120
    assert sum(map(len, found.values())) == len(rows)
    ones = sum(row["label"] for row in rows) / len(rows)
    for split, share in {"train": 0.64, "validation": 0.16, "test": 0.2}.items():
        assert abs(len(found[split]) / len(rows) - share) <= 0.02
        assert abs(sum(row.label == 1 for row in found[split]) / len(found[split]) - ones) <= 0.03


def test_few_large_groups_are_drawn_as_evenly_as_they_can(tmp_path: Path) -> None:
    rows = [{"text": f"{app} {n}", "label": int(n % 10 < share), "film": f"a{app}"}
            for app, (size, share) in enumerate([(300, 9), (280, 1), (90, 9), (90, 1), (80, 5), (60, 9), (60, 1), (40, 5)])
            for n in range(size)]  # fmt: skip
    found = loaded(task_of(tmp_path, rows, GROUPED))
    ones = sum(row["label"] for row in rows) / len(rows)
    assert 150 <= len(found["test"]) <= 250
    assert abs(sum(row.label == 1 for row in found["test"]) / len(found["test"]) - ones) <= 0.1


def test_a_row_that_is_added_to_a_group_follows_it_and_moves_no_other(tmp_path: Path) -> None:
    rows = films(120)
    before = loaded(task_of(tmp_path / "a", rows, GROUPED))
    after = loaded(task_of(tmp_path / "b", [{"text": "one more", "label": 0, "film": "f7"}, *rows], GROUPED))
    of = [{row.text: split for split, part in found.items() for row in part} for found in (before, after)]
    assert of[1].pop("one more") == of[0]["film 7 comment 0"]
    assert sum(of[0][text] != of[1][text] for text in of[0]) <= 60, "at most the group at the border"


def test_a_text_of_several_groups_does_not_tie_them_and_is_not_trained_on(tmp_path: Path) -> None:
    rows = films(60)
    phrases = [{"text": "Nice film" if n % 2 else "nice  film", "label": 1, "film": f"f{n}"} for n in range(60)]
    found = loaded(task_of(tmp_path, rows + phrases, GROUPED))
    nice = {split: sum(row.text.startswith(("Nice", "nice")) for row in part) for split, part in found.items()}
    assert nice["test"] > 0
    assert (nice["train"], nice["validation"]) == (0, 0)
    assert len({row.group for part in found.values() for row in part}) == 60


def test_rows_without_a_group_are_groups_of_their_own(tmp_path: Path) -> None:
    cells = [None, "", " ", "a", "a", 3, 3.0, None]
    rows = [{"text": f"t{n}", "label": n % 2, "film": cell} for n, cell in enumerate(cells)]
    task = task_of(tmp_path, rows, "source: {files: {train: all.jsonl}}\ncolumns: {group: film}\n")
    groups = [row.group for row in load_examples(task, lang="en", split="train")]
    assert (groups[3], groups[4], groups[5], groups[6]) == ("a", "a", "3", "3")
    assert len({groups[n] for n in (0, 1, 2, 7)} - {None, "", "a", "3"}) == 4
    again = load_examples(task_of(tmp_path / "b", rows[::-1], "source: {files: {train: all.jsonl}}\ncolumns: {group: film}\n"),
                          lang="en", split="train")  # fmt: skip
    assert [row.group for row in again][::-1] == groups


def test_several_columns_and_a_pattern_name_a_group(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": n % 2, "film": f"{n % 3}", "who": f"w{n % 2}-x"} for n in range(12)]
    train = "source: {files: {train: all.jsonl}}\n"
    both = load_examples(task_of(tmp_path, rows, train + "columns: {group: [film, who]}\n"), lang="en", split="train")
    assert len({row.group for row in both}) == 6
    cut = load_examples(
        task_of(tmp_path, rows, train + "columns: {group: who, group_pattern: '^(w.)-'}\n"), lang="en", split="train"
    )
    assert {row.group for row in cut} == {"w0", "w1"}
    odd = task_of(tmp_path, rows, train + "columns: {group: who, group_pattern: '[0-9]{3}'}\n")
    with pytest.raises(DataError, match="group_pattern"):
        load_examples(odd, lang="en", split="train")


def test_without_a_group_column_nothing_has_a_group(tmp_path: Path) -> None:
    rows = load_examples(task_of(tmp_path, films(20)), lang="en", split="test")
    assert {row.group for row in rows} == {None}
    assert fingerprint(rows) == fingerprint([replace(row, group=None) for row in rows])
    assert fingerprint(rows) != fingerprint([replace(row, group="g") for row in rows])


def test_a_group_is_on_one_side_in_all_languages(tmp_path: Path) -> None:
    """As of parallel sentences; here with other labels in each language, so that each alone would be divided differently."""
    rows = [{"text": f"{lang} sentence {n}", "label": (n + shift) % 3 // 2, "lang": lang, "film": n}
            for shift, lang in enumerate(("en", "de", "fr")) for n in range(200)]  # fmt: skip
    source = STRATIFIED + "columns: {group: film, lang: lang}\n"
    path = tmp_path / "mine.yaml"
    task_of(tmp_path, rows, source)
    path.write_text(path.read_text().replace("languages: [en]", "languages: [en, de, fr]"))
    task = load_task(path)
    found = {lang: loaded(task, lang) for lang in task.languages}
    groups = {split: [{row.group for row in found[lang][split]} for lang in task.languages] for split in SPLITS}
    assert groups["test"][0] == groups["test"][1] == groups["test"][2]
    assert len(groups["test"][0]) == 40
    assert not set.union(*groups["test"]) & set.union(*groups["train"])
    assert {row.lang for row in found["de"]["train"]} == {"de"}


def test_one_group_can_not_be_divided(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": n % 2, "film": n % 2} for n in range(100)]
    with pytest.raises(DataError, match="2 parts"):
        load_examples(task_of(tmp_path, rows, GROUPED), lang="en", split="test")


def test_new_rows_of_a_frozen_group_or_text_are_in_no_split(tmp_path: Path) -> None:
    rows = films(60)
    tested = load_examples(task_of(tmp_path, rows, GROUPED), lang="en", split="test")
    (tmp_path / "ids.json").write_text(frozen_text({"en": sorted(row.id for row in tested)}))
    texts = [("of a tested film", tested[0].group), (tested[0].text.upper(), "new"), ("quite new", "new")]
    new = [{"text": text, "label": 0, "film": film} for text, film in texts]
    grown = loaded(task_of(tmp_path, rows + new, GROUPED.replace("{}", "{test_ids: ids.json}")))
    assert {row.text for row in grown["test"]} == {row.text for row in tested}
    learned = {row.text for split in ("train", "validation") for row in grown[split]}
    assert learned & {row["text"] for row in new} == {"quite new"}


# limits that are stratified


def test_a_stratified_limit_has_the_shares_of_all_rows_and_grows(tmp_path: Path) -> None:
    rows = [Example(f"r{n}", f"text {n}", min(76, n // 8), "en") for n in range(1000)]
    hundred, half = ({row.id for row in first_rows(rows, limit, stratify=True)} for limit in (100, 500))
    assert (len(hundred), len(half)) == (100, 500)
    assert hundred < half
    counts = Counter(row.label for row in rows if row.id in half)
    assert all(abs(counts[label] - total / 2) <= 1 for label, total in Counter(row.label for row in rows).items())
    assert first_rows(rows, 500, stratify=True) == [row for row in rows if row.id in half]
    assert {row.id for row in first_rows(rows, 100, seed=1, stratify=True)} != hundred
    assert first_rows(rows, 0, stratify=True) == []


# frozen test rows


FROZEN = STRATIFIED.replace("{}", "{test_ids: ids.json}")


def frozen(folder: Path, rows: Rows) -> set[tuple[str, str]]:
    """Writes down the test rows that are drawn; the same as `bench init --freeze-test`."""
    tested = load_examples(task_of(folder, rows), lang="en", split="test")
    (folder / "ids.json").write_text(frozen_text({"en": sorted(row.id for row in tested)}))
    return {(row.id, row.text) for row in tested}


def test_frozen_rows_stay_whatever_is_added(tmp_path: Path) -> None:
    tested = frozen(tmp_path, many(100))
    same = splits_of(task_of(tmp_path, many(100), FROZEN))
    assert same["test"] == tested
    grown = splits_of(task_of(tmp_path, many(400, start=900) + many(100), FROZEN))
    assert grown["test"] == tested
    assert {split: len(rows) for split, rows in grown.items()} == {"train": 400, "validation": 80, "test": 20}
    assert not grown["test"] & (grown["train"] | grown["validation"])


def test_a_frozen_row_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """Its text was corrected, say: it must not become a train row in silence."""
    tested = sorted(text for _, text in frozen(tmp_path, many(100)))
    rows = [{**row, "text": row["text"] + "!"} if row["text"] in tested[:2] else row for row in many(100)]
    with pytest.raises(DataError, match=r"2 of the 20 rows of `test_ids` are gone or have other texts, first 'all-"):
        load_examples(task_of(tmp_path, rows, FROZEN), lang="en", split="train")


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"de": []}', '{"en": 3}', '{"en": ["a", "a"]}', '{"en": [1]}', "[" * 9999]
)
def test_a_file_of_test_ids_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    task = task_of(tmp_path, many(100), FROZEN)
    if content is not None:
        (tmp_path / "ids.json").write_text(content)
    with pytest.raises(DataError, match=r"ids\.json"):
        load_examples(task, lang="en", split="test")


def test_other_data_have_no_frozen_rows(tmp_path: Path) -> None:
    frozen(tmp_path, many(100))
    task = task_of(tmp_path, many(100), FROZEN)
    task_of(tmp_path / "other", many(50, start=500), file="train.jsonl")
    assert len(load_examples(task, lang="en", split="test", data_dir=tmp_path / "other")) == 10
