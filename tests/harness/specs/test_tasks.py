"""The YAML of a task: what it accepts, what it refuses and where, and the tasks that come with bench."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.core.errors import SpecError
from harness.core.types import LabelKind
from harness.data.rows import load_examples
from harness.specs.tasks import SPLITS, TaskSpec, load_task

TASKS = Path(__file__).resolve().parents[3] / "tasks"
BASE = """\
description: d
source: {files: {train: train.jsonl}}
labels: {kind: ordinal, names: [bad, fair, good]}
languages: [en]
"""


def _load(tmp_path: Path, text: str) -> TaskSpec:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_task(path)


def test_name_and_label_space(tmp_path: Path) -> None:
    task = _load(tmp_path, BASE)
    assert task.name == "mine"
    assert task.label_space.kind is LabelKind.ORDINAL
    assert task.label_space.names == ("bad", "fair", "good")
    assert task.languages == ["en"]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("languages: [en]", "languages: [en]\nlanguage: en", 5, "unknown key 'language'"),
        ("{files: {train: train.jsonl}}", "{files: {train: t.csv}, bundled: reviews_demo}", 2, "exactly one of `hub`, `files`"),
        ("{files: {train: train.jsonl}}", "{files: {}}", 2, "name at least one file"),
        ("{files: {train: train.jsonl}}", "{files: {folder: d, all: a.csv}}", 2, "not both"),
        ("train.jsonl}", "train.jsonl, lang_map: {English: en}}", 2, "needs `{lang}` in a path"),
        ("train.jsonl}", '"{lang}.jsonl", lang_map: {English: en, eng: en}}', 2, "a language has one path"),
        ("[bad, fair, good]", "[bad, bad]", 3, "at least two different labels"),
        ("[bad, fair, good]", '["1", "2", "3"]', 3, "the name '1' is a number"),
        ("names: [bad, fair, good]", "names: [a, b], map: {x: c}", 3, "'x' to 'c'"),
        ("names: [bad, fair, good]", "names: [a, b], map: {x: 2}", 3, "'x' to 2"),
        ("names: [bad, fair, good]", "names: [a, b], map: {yes: a, no: b}", 3, "quote yes, no"),
        ("languages: [en]", "languages: [en, de]", 1, "the language of a row is unknown"),
        ("languages: [en]", "languages: [en, en]", 4, "twice"),
        ("languages: [en]", "languages: [en]\nthreshold: 2", 5, "`threshold` must be below 2"),
        ("languages: [en]", "languages: [en]\nsample: {train: {share: 0.5, count: 3}}", 5, "exactly one of `share`"),
        ("languages: [en]", "languages: [en]\nsample: {dev: {count: 3}}", 5, "'train', 'validation' or 'test'"),
        ("languages: [en]", "languages: [en]\nsplits: {stratified: {}}", 1, "`source.files.all`, which is missing"),
        ("languages: [en]", "languages: [en]\nsplits: {stratified: {shares: {train: 0.7}}}", 5, "must sum to 1"),
        ("languages: [en]", "languages: [en]\nsplits: {test: x, stratified: {}}", 5, "not both"),
        ("languages: [en]", "languages: [en]\ncolumns: {lang_from_id: true}", 5, "`lang_from_id` needs an `id` column"),
        ("ordinal, names: [bad, fair, good]", "nominal, names: [a, b]}\nthreshold: 0 #", 4, "ordinal labels only"),
        ("{files: {train: train.jsonl}}\nlabels: {kind: ordinal, names: [bad, fair, good]}",
         "{hub: {id: o/n}}\nlabels: {kind: nominal}", 1, "may be left out only for `files`"),
        ("good]}", "good], merge: {low: [bad], high: [good]}}", 3, "must join each of `names` once"),
        ("good]}", "good], merge: {low: [bad, fair], high: [fair, good]}}", 3, "must join each of `names` once"),
        ("good]}", "good], merge: {low: [bad, fair], high: [good], top: []}}", 3, "must join each of `names` once"),
        ("good]}", "good], merge: {low: [bad, fair, good]}}", 3, "at least two labels"),
        ("good]}", "good], merge: {low: [bad, good], high: [fair]}}", 3, "joins neighbours"),
        ("good]}", "good], merge: {high: [good], low: [bad, fair]}}", 3, "joins neighbours"),
        ("good]}", "good], merge: {fair: [bad], high: [fair, good]}}", 3, "calls 'fair' what does not hold"),
        ("names: [bad, fair, good]", "merge: {a: [b], c: [d]}", 3, "`merge` needs `names`"),
        ("good]}", "good], merge: {low: [bad, fair], high: [good]}}\nthreshold: 1 #", 4, "`threshold` must be below 1"),
    ],
)  # fmt: skip
def test_bad_yaml_says_file_line_and_field(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in BASE
    with pytest.raises(SpecError) as caught:
        _load(tmp_path, BASE.replace(old, new))
    assert f"mine.yaml:{line}: " in caught.value.message
    assert words in caught.value.message


STARS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
OTHER_LABELS = {
    **dict.fromkeys(("amazon_reviews_3", "reviews_demo_3"), ("negative", "neutral", "positive")),
    **dict.fromkeys(("choosing", "deciding"), None),  # those of the user's files
    "nsmc_5": ("1-2", "3-4", "5-6", "7-8", "9-10"),
    "sst5": ("very negative", "negative", "neutral", "positive", "very positive"),
}
MANY_LABELS = {"banking77": 77, "go_emotions": 28, "intents_demo": 12}


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_tasks_load(path: Path) -> None:
    task = load_task(path)
    names = None if task.labels.answers is None else task.label_space.names
    if path.stem in MANY_LABELS:
        assert names is not None
        assert len(set(names)) == MANY_LABELS[path.stem]
    else:
        assert names == OTHER_LABELS.get(path.stem, STARS)
    assert task.note
    assert bool(task.licence) == (names is not None)


def test_merged_labels_are_the_label_space(tmp_path: Path) -> None:
    text = BASE.replace("good]}", "good], merge: {low: [bad, fair], high: [good]}}\nthreshold: 0")
    task = _load(tmp_path, text)
    assert task.label_space.names == ("low", "high")
    assert [task.labels.merged(index) for index in range(3)] == [0, 0, 1]
    nominal = _load(
        tmp_path, BASE.replace("ordinal", "nominal").replace("good]}", "good], merge: {ends: [bad, good], fair: [fair]}}")
    )
    assert [nominal.labels.merged(index) for index in range(3)] == [0, 1, 0]


def test_every_key_is_described() -> None:
    def undescribed(schema: object) -> list[str]:
        found = []
        if isinstance(schema, dict):
            for name, value in schema.get("properties", {}).items():
                if "description" not in value:
                    found.append(name)
            for value in schema.values():
                found += undescribed(value)
        return found

    assert undescribed(TaskSpec.model_json_schema()) == []


@pytest.mark.parametrize(("name", "languages", "rows"), [("reviews_demo", 6, 25), ("intents_demo", 3, 30)])
def test_a_demo_task_is_complete_and_clean(name: str, languages: int, rows: int) -> None:
    task = load_task(TASKS / f"{name}.yaml")
    ids: Counter[str] = Counter()
    texts: Counter[str] = Counter()
    for lang in task.languages:
        per_label: Counter[object] = Counter()
        for split in SPLITS:
            examples = load_examples(task, lang=lang, split=split)
            ids.update(example.id for example in examples)
            texts.update(" ".join(example.text.split()).casefold() for example in examples)
            labels = Counter(example.label for example in examples)
            assert len(set(labels.values())) == 1, (lang, split, labels)
            per_label += labels
        assert per_label == dict.fromkeys(range(len(task.label_space)), rows)
    assert len(task.languages) == languages
    assert max(ids.values()) == 1
    assert max(texts.values()) == 1
