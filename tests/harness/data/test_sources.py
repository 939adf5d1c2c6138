"""Raw rows to examples: every kind of source and file, label maps, languages, splits, samples, and what is refused."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from harness.core.errors import BenchError, DataError, RunError, UnknownName
from harness.core.types import Example, text_digest
from harness.data.rows import fingerprint, load_examples, with_names
from harness.specs.tasks import SPLITS, TaskSpec, load_task

Rows = list[dict[str, Any]]
NASTY = [
    'a "quoted", b',
    "line\nbreak\r\nand\u2028more",
    "nul \x00 byte",
    "{{ 7*7 }}",
    "NA",
    "null",
    "007",
    " <b>|</b> ",
    "\U0001f600",
]


def _task(folder: Path, source: str, labels: str = "{kind: ordinal, names: [bad, fair, good]}", more: str = "") -> TaskSpec:
    languages = "" if "languages:" in more else "languages: [en]\n"
    path = folder / "mine.yaml"
    path.write_text(f"description: d\nsource: {source}\nlabels: {labels}\n{languages}{more}", encoding="utf-8")
    return load_task(path)


def _write(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def _many(count: int = 100, lang: str = "en") -> Rows:
    """Labels 0, 1, 2 in the proportions 70 : 20 : 10."""
    labels = [0] * 7 + [1] * 2 + [2]
    return [{"id": f"{lang}_{n:04d}", "text": f"text {n}", "label": labels[n % 10], "lang": lang} for n in range(count)]


def _refused(task: TaskSpec, *words: str, kind: type[BenchError] = DataError, **where: Any) -> None:
    with pytest.raises(kind) as caught:
        load_examples(task, **{"lang": "en", "split": "train", **where})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl", "json"])
def test_every_format_keeps_texts_and_ids_as_they_are(tmp_path: Path, suffix: str) -> None:
    rows: Rows = [{"id": f"00{n}", "text": text, "label": n % 3} for n, text in enumerate(NASTY)]
    _write(tmp_path / f"d/train.{suffix}", rows)
    task = _task(tmp_path, f"{{files: {{train: d/train.{suffix}}}}}", more="columns: {id: id}\n")
    examples = load_examples(task, lang="en", split="train")
    assert examples == [Example(row["id"], row["text"], row["label"], "en") for row in rows]


def test_columnar_json_without_names(tmp_path: Path) -> None:
    for name, labels in [("train", ["tea", "coffee", "tea"]), ("val", ["coffee"]), ("test", ["tea", "milk"])]:
        data = {"Text": [f"{name} {n}" for n in range(len(labels))], "Labels": labels}
        (tmp_path / f"{name}.json").write_text(json.dumps(data), encoding="utf-8")
    task = _task(tmp_path, "{files: {folder: .}}", "{kind: nominal}", "columns: {text: Text, label: Labels}\n")
    assert with_names(task).label_space.names == ("coffee", "tea")
    assert [row.label for row in load_examples(task, lang="en", split="train")] == [1, 0, 1]
    assert load_examples(task, lang="en", split="validation")[0].label == 0
    _refused(task, "test.json", "'milk'", "row 2", "coffee, tea", split="test")


def test_columnar_json_multilabel(tmp_path: Path) -> None:
    data = {"Text": ["a", "b", "c"], "Labels": [["y", "x"], [], "x"]}
    (tmp_path / "train.json").write_text(json.dumps(data), encoding="utf-8")
    task = _task(tmp_path, "{files: {folder: .}}", "{kind: multilabel}", "columns: {text: Text, label: Labels}\n")
    assert [row.label for row in load_examples(task, lang="en", split="train")] == [(0, 1), (), (0,)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train.json", '{"text": ["a", "b"], "label": [0]}', ["train.json", "text has 2, label has 1"]),
        ("train.json", '{"text": "a", "label": [0]}', ["no table of rows"]),
        ("train.json", '[{"text": "a"},\n {"text": }]', ["train.json:2", "not JSON"]),
        ("train.jsonl", '{"text": "a", "label": 0}\n\n{"text": oops}\n', ["train.jsonl:3", "not JSON"]),
        ("train.jsonl", '[1]\n', ["train.jsonl", "no table of rows", "JSON lines"]),
        ("train.jsonl", '{"text": ["a"], "label": 0}\n', ["train.jsonl", "row 1", "'text'", "no string, but list."]),
        ("train.jsonl", '{"text": "a", "label": 3}\n', ["label 3", "row 1", "Allowed: bad, fair, good, 0, 1, 2"]),
        ("train.jsonl", '{"text": "a", "label": "Bad"}\n', ["label 'Bad'"]),
        ("train.jsonl", '{"text": "a"}\n', ["no column 'label'", "columns: text"]),
        ("train.jsonl", '{"text": "a", "label": 0}\n{"text": "b"}\n', ["label None", "row 2"]),
        ("train.jsonl", '{"text": " \\n", "label": 0}\n{"label": 0}\n{"text": "b"}\n', ["2 of 3 rows", "no text: 1, 2."]),
        ("train.jsonl", "", ["no column 'label'"]),
        ("train.json", "[" * 200_000, ["train.json:1: ", "nested more than 50 deep"]),
        ("train.json", '[\n{"text": "a [[[", "label": 0},\n' + "[" * 60 + "]" * 61, ["train.json:3: ", "50 deep"]),
        ("train.json", '[{"text": "a"},\n{"text": "b", "label": ' + "9" * 5000 + "}]", ["train.json:2: ", "5,000 digits"]),
        ("train.jsonl", '{"text": "a", "label": 0}\n{"text": ' + '{"a":' * 20_000, ["train.jsonl:2: ", "nested more than 50"]),
        ("train.jsonl", '{"text": "a"}\n{"text": "b", "label": ' + "9" * 5000 + "}", ["train.jsonl:2: ", "5,000 digits"]),
        ("train.csv", "text,label\na,0\nb,c,1\n", ["train.csv:3", "3 fields", "(text, label)", "holds the delimiter"]),
        ("train.csv", "text,label\na,0\nb\n", ["train.csv:3", "1 field,", "Fields are missing", "holds a newline"]),
        ("train.md", "", ["'.md'", "Name it .tsv where tabs", ".parquet, .csv"]),
        ("train.XLSX", "", ["train.XLSX", "no spreadsheet"]),
        ("train.csv.gz", "text,label", ["holds text"]),
        ("train.zip", "", ["train.zip", "no zip file"]),
        ("train.csv.xz", "", ["train.csv.xz can't be read"]),
        ("train.pkl", "", ["can hold code"]),
        ("train.ndjson", "", ["no column 'label'"]),
        ("train.doc", "", ["the suffix '.doc' is not known.\nUse one of .parquet"]),
        ("train.csv", 'text,label\n"a"b,0\n', ["train.csv:2"]),
        ("train.csv", 'text,label\n"a,0\n', ["train.csv"]),
        ("train.csv", "text,text,label\na,b,0\n", ["train.csv:1", "twice"]),
        ("train.csv", "text,label\n", ["no rows in 'en'"]),
        ("train.parquet", "no parquet", ["train.parquet", "holds text"]),
    ],
)  # fmt: skip
def test_bad_files_are_refused(tmp_path: Path, name: str, content: str, words: list[str]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    _refused(_task(tmp_path, f"{{files: {{train: {name}}}}}"), *words)


@pytest.mark.parametrize("kind", [pyarrow.timestamp("us"), pyarrow.duration("s")])
def test_a_time_that_python_has_no_value_for(tmp_path: Path, kind: pyarrow.DataType) -> None:
    table = pyarrow.table({"text": ["a"], "label": pyarrow.array([2**61], kind)})
    parquet.write_table(table, tmp_path / "train.parquet")
    _refused(_task(tmp_path, "{files: {train: train.parquet}}"), "train.parquet holds a value that can't be read")


def test_labels_may_be_numbers_of_any_length(tmp_path: Path) -> None:
    labels = ["9" * 5000, "10", "1" + "0" * 4999, "9"]
    task = _task(tmp_path, "{files: {folder: none}}", "{kind: nominal}")
    for split in SPLITS:
        _write(tmp_path / f"d/{split}.jsonl", [{"text": label[:3], "label": label} for label in labels])
    assert with_names(task, tmp_path / "d").labels.names == ["9", "10", labels[2], labels[0]]


def test_a_text_that_is_no_string_is_not_shown(tmp_path: Path) -> None:
    _write(tmp_path / "train.parquet", [{"text": b"a secret \xff", "label": 0}])
    with pytest.raises(DataError, match="is no string, but bytes") as caught:
        load_examples(_task(tmp_path, "{files: {train: train.parquet}}"), lang="en", split="train")
    assert "secret" not in str(caught.value) + caught.value.hint


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes("text,label\né,0\n".encode("latin-1"))
    _refused(_task(tmp_path, "{files: {train: train.csv}}"), "train.csv can't be read", "UTF-8")


def test_missing_things_name_what_is_there(tmp_path: Path) -> None:
    _write(tmp_path / "d/train.jsonl", _many(10))
    task = _task(tmp_path, "{files: {folder: d}}", more="columns: {lang: lang}\nlanguages: [en, de]\n")
    _refused(task, "no test file", "found: train.jsonl", split="test")
    _refused(task, "no rows in 'de'", "languages there: en", lang="de")
    _refused(task, "no language 'fr'", "en, de", lang="fr")
    _refused(task, "no split 'dev'", "train, validation, test", split="dev")
    _refused(task, "no folder", "--data", data_dir=tmp_path / "nowhere")
    _refused(_task(tmp_path, "{files: {train: gone.csv}}"), "gone.csv", "does not exist")
    _refused(
        _task(tmp_path, "{files: {train: data/../gone.csv}}"), f"the file {tmp_path / 'gone.csv'}", "`source` in", "mine.yaml"
    )
    _refused(_task(tmp_path, "{files: {train: d/train.txt}}"), "does not exist")
    _refused(_task(tmp_path, "{files: {test: gone.csv}}"), "has no train file")
    _refused(_task(tmp_path, "{bundled: reviews_dem}"), "reviews_demo", kind=UnknownName)
    _write(tmp_path / "d/train.csv", _many(10))
    _refused(task, "holds both", "train.csv and train.jsonl")


def test_repeated_ids(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", _many(3) + _many(2))
    task = _task(tmp_path, "{files: {train: train.jsonl}}", more="columns: {id: id}\n")
    _refused(task, "2 ids", "en_0000, en_0001")


def test_empty_texts_can_be_left_out(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [{"text": None, "label": 9}, {"text": "b", "label": 1}])
    task = _task(tmp_path, "{files: {train: train.jsonl}}", more="drop_empty_text: true\n")
    assert [row.text for row in load_examples(task, lang="en", split="train")] == ["b"]
    _write(tmp_path / "train.jsonl", [{"text": "", "label": 1}])
    _refused(task, "no row has a text")


@pytest.mark.parametrize(
    ("labels", "raw", "expected"),
    [
        ("names: [bad, fair, good], first: 1", [1, 3, "2", "good", 2.0], [0, 2, 1, 2, 1]),
        ("names: [bad, fair, good], map: {1: bad, 2: bad, 3: fair, 4: 2, 5: good}", [1, 2, "3", 4, 5], [0, 0, 1, 2, 2]),
        ('names: [no, yes], map: {"true": "yes", "false": "no"}', [True, False], [1, 0]),
        ('names: ["1", "2", "3"], first: 1', [1, "3"], [0, 2]),
    ],
)
def test_label_maps(tmp_path: Path, labels: str, raw: list[Any], expected: list[int]) -> None:
    rows = [{"text": "t", "label": label} for label in raw]
    _write(tmp_path / "train.jsonl", rows)
    quoted = labels.replace("[no, yes]", '["no", "yes"]')
    task = _task(tmp_path, "{files: {train: train.jsonl}}", f"{{kind: ordinal, {quoted}}}")
    assert [row.label for row in load_examples(task, lang="en", split="train")] == expected
    _write(tmp_path / "train.jsonl", [*rows, {"text": "t", "label": 77}])
    _refused(task, "label 77", f"row {len(rows) + 1}")


def test_several_text_columns(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [{"title": "T", "body": "B", "label": 0}, {"title": None, "body": "B", "label": 0}])
    task = _task(tmp_path, "{files: {train: train.jsonl}}", more="columns: {text: [title, body]}\n")
    assert [row.text for row in load_examples(task, lang="en", split="train")] == ["T\nB", "B"]


def test_language_from_the_id(tmp_path: Path) -> None:
    _write(tmp_path / "train.csv", _many(10) + _many(20, "de"))
    task = _task(tmp_path, "{files: {train: train.csv}}", more="columns: {id: id, lang_from_id: true}\nlanguages: [en, de]\n")
    german = load_examples(task, lang="de", split="train")
    assert len(german) == 20
    assert all(row.id.startswith("de_") and row.lang == "de" for row in german)


def test_language_in_the_path(tmp_path: Path) -> None:
    for lang, count in [("en", 10), ("de", 20)]:
        _write(tmp_path / f"{lang}/train.csv", _many(count, lang))
    task = _task(tmp_path, '{files: {train: "{lang}/train.csv"}}', more="languages: [en, de]\n")
    assert all(row.id.startswith("de-train-") for row in load_examples(task, lang="de", split="train"))
    assert len(load_examples(task, lang="en", split="train")) == 10


@pytest.mark.parametrize("reverse", [False, True])
def test_stratified_splits(tmp_path: Path, reverse: bool) -> None:
    rows = _many(200) + _many(100, "de")
    _write(tmp_path / "all.jsonl", rows[::-1] if reverse else rows)
    more = "columns: {id: id, lang: lang}\nlanguages: [en, de]\nsplits: {stratified: {seed: 3}}\n"
    task = _task(tmp_path, "{files: {all: all.jsonl}}", more=more)
    found = {split: load_examples(task, lang="en", split=split) for split in SPLITS}
    assert {split: len(examples) for split, examples in found.items()} == {"train": 128, "validation": 32, "test": 40}
    assert len({row.id for examples in found.values() for row in examples}) == 200
    assert Counter(row.label for row in found["test"]) == {0: 28, 1: 8, 2: 4}
    _write(tmp_path / "all.jsonl", rows)
    assert load_examples(task, lang="en", split="test") == found["test"]
    other = _task(tmp_path, "{files: {all: all.jsonl}}", more=more.replace("seed: 3", "seed: 4"))
    assert load_examples(other, lang="en", split="test") != found["test"]


def test_stratified_splits_bear_a_label_with_one_row(tmp_path: Path) -> None:
    rows = [{**row, "label": 2 if n == 0 else n % 2} for n, row in enumerate(_many(50))]
    _write(tmp_path / "all.jsonl", rows)
    task = _task(tmp_path, "{files: {all: all.jsonl}}", more="columns: {id: id}\nsplits: {stratified: {}}\n")
    found = {split: Counter(row.label for row in load_examples(task, lang="en", split=split)) for split in SPLITS}
    assert sum(sum(counts.values()) for counts in found.values()) == 50
    assert {split: counts[0] + counts[2] for split, counts in found.items()} == {"train": 16, "validation": 4, "test": 5}
    _write(tmp_path / "all.jsonl", rows[:2])
    _refused(task, "2 rows are too few")


@pytest.mark.parametrize(("sample", "count"), [("share: 0.5", 50), ("count: 20", 20), ("count: 1000", 100)])
def test_samples(tmp_path: Path, sample: str, count: int) -> None:
    _write(tmp_path / "train.jsonl", _many(100))
    task = _task(
        tmp_path, "{files: {train: train.jsonl}}", more=f"columns: {{id: id}}\nsample: {{train: {{{sample}, seed: 7}}}}\n"
    )
    first = load_examples(task, lang="en", split="train")
    assert len(first) == count
    assert Counter(row.label for row in first) == {0: count * 0.7, 1: count * 0.2, 2: count * 0.1}
    _write(tmp_path / "train.jsonl", _many(100)[::-1])
    assert fingerprint(load_examples(task, lang="en", split="train")) == fingerprint(first)


def test_fingerprint() -> None:
    rows = [Example("a", "x", 0, "en"), Example("b", "y", 1, "en")]
    assert fingerprint(rows) == fingerprint(rows[::-1])
    assert len(fingerprint(rows)) == 64
    changed = [Example("c", "x", 0, "en"), Example("a", "z", 0, "en"), Example("a", "x", 1, "en"), Example("a", "x", 0, "de")]
    assert len({fingerprint([row, rows[1]]) for row in [rows[0], *changed]}) == 5


def test_data_dir_with_canonical_columns(tmp_path: Path) -> None:
    for split, count in [("train", 30), ("val", 10), ("test", 20)]:
        _write(tmp_path / f"data/{split}.parquet", _many(count) + _many(count, "de"))
    # the task's own columns and 1-based labels are those of the hub, and it divides the rows itself
    labels = '{kind: ordinal, names: ["1", "2", "3"], first: 1}'
    more = "columns: {text: review, label: star}\nsplits: {stratified: {}}\n"
    task = _task(tmp_path, "{hub: {id: owner/name}}", labels, more)
    examples = load_examples(task, lang="en", split="validation", data_dir=tmp_path / "data")
    assert examples == [Example(row["id"], row["text"], row["label"], "en") for row in _many(10)]
    (tmp_path / "data/val.parquet").unlink()
    divided = load_examples(task, lang="en", split="validation", data_dir=tmp_path / "data")
    assert len(divided) == 5  # 16% of the 30 rows of train


def test_data_dir_with_the_tasks_own_columns(tmp_path: Path) -> None:
    rows = [{"review": "a", "star": 3}]
    _write(tmp_path / "data/train.csv", rows)
    task = _task(
        tmp_path, "{hub: {id: o/n}}", "{kind: ordinal, names: [a, b, c], first: 1}", "columns: {text: review, label: star}\n"
    )
    assert load_examples(task, lang="en", split="train", data_dir=tmp_path / "data") == [
        Example(f"train-{text_digest('a')}", "a", 2, "en")
    ]


def test_data_dir_per_language(tmp_path: Path) -> None:
    _write(tmp_path / "data/de/test.csv", [{"text": "a", "label": 1}])
    _write(tmp_path / "data/test.csv", [{"text": "a", "label": 1}])
    task = _task(tmp_path, '{hub: {id: o/n, config: "{lang}"}}', more="languages: [en, de]\n")
    assert load_examples(task, lang="de", split="test", data_dir=tmp_path / "data") == [
        Example(f"de-test-{text_digest('a')}", "a", 1, "de")
    ]
    _refused(task, "nothing tells the rows' languages", "text, label", split="test", data_dir=tmp_path / "data")


def test_paths_that_spell_a_language_in_another_way(tmp_path: Path) -> None:
    """`lang_map`: in paths, in folders, and in folders of --data, which may have the code's name too."""
    for code, name in (("de", "German"), ("en", "english")):
        _write(tmp_path / "rows" / name / "test.csv", [{"text": code, "label": "1"}])
        _write(tmp_path / "other" / name / "test.csv", [{"text": f"other {code}", "label": "1"}])
    _write(tmp_path / "by code" / "de" / "test.csv", [{"text": "by code", "label": "1"}])
    spelled, more = "lang_map: {German: de, english: en}", "languages: [en, de]\n"
    for where in ('test: "rows/{lang}/test.csv"', 'folder: "rows/{lang}"'):
        task = _task(tmp_path, f"{{files: {{{where}, {spelled}}}}}", more=more)
        assert load_examples(task, lang="de", split="test") == [Example(f"de-test-{text_digest('de')}", "de", 1, "de")]
    for folder, text in (("other", "other de"), ("by code", "by code")):
        (row,) = load_examples(task, lang="de", split="test", data_dir=tmp_path / folder)
        assert row.text == text
    unlike = _task(tmp_path, '{files: {test: "rows/{lang}/test.csv"}}', more=more)
    _refused(unlike, "which does not exist", split="test")


def test_names_of_labels_are_read_in_all_folders_however_spelled(tmp_path: Path) -> None:
    for name, labels in (("German", ["tea", "milk"]), ("english", ["tea", "cake"])):
        _write(tmp_path / "rows" / name / "train.csv", [{"text": "a", "label": label} for label in labels])
    source = '{files: {folder: "rows/{lang}", lang_map: {German: de, english: en}}}'
    task = _task(tmp_path, source, "{kind: nominal}", "languages: [en, de]\n")
    assert with_names(task).label_space.names == ("cake", "milk", "tea")
    assert with_names(task, tmp_path / "rows").label_space.names == ("cake", "milk", "tea")


class Hub:
    """Stands in for the hub: `datasets.load_dataset` and the check that the hub can be reached."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        self.calls: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets, "load_dataset", self.load)
        monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *args, **options: None)

    def load(self, path: str, config: str | None = None, **options: Any) -> Any:
        import datasets

        self.calls.append((path, config, options))
        if self.error is not None and path != "parquet":
            raise self.error
        return datasets.Dataset.from_list(_many(10, config or "en"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(monkeypatch)


HUB_SOURCE = '{hub: {id: owner/name, config: "{lang}", revision: abc}}'
HUB_MORE = "columns: {id: id}\nlanguages: [en, de]\nsplits: {validation: dev}\n"


@pytest.mark.slow
def test_hub(tmp_path: Path, hub: Hub) -> None:
    task = _task(tmp_path, HUB_SOURCE, more=HUB_MORE)
    examples = load_examples(task, lang="de", split="validation")
    assert examples == [Example(row["id"], row["text"], row["label"], "de") for row in _many(10, "de")]
    assert hub.calls == [("owner/name", "de", {"split": "dev", "revision": "abc"})]


def test_hub_stratified(tmp_path: Path, hub: Hub) -> None:
    task = _task(tmp_path, "{hub: {id: owner/name}}", more="splits: {stratified: {of: [train, extra]}}\n")
    sizes = [len(load_examples(task, lang="en", split=split)) for split in SPLITS]
    assert sizes == [14, 2, 4], "both splits have the same texts, and two rows of one text stay together"
    assert [call[2]["split"] for call in hub.calls[:2]] == ["train", "extra"]


def test_hub_script_is_never_run_and_its_export_is_read(tmp_path: Path, hub: Hub) -> None:
    hub.error = RuntimeError("Dataset scripts are no longer supported, but found name.py")
    task = _task(tmp_path, HUB_SOURCE, more=HUB_MORE)
    assert len(load_examples(task, lang="de", split="validation")) == 10
    path, _, options = hub.calls[1]
    assert path == "parquet"
    assert options["data_files"] == {"dev": "hf://datasets/owner/name@refs/convert/parquet/de/dev/*.parquet"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("Unknown split 'dev'"), DataError), (ConnectionError("reset"), RunError), (RuntimeError("odd"), RunError)],
)
def test_hub_errors(tmp_path: Path, hub: Hub, error: Exception, kind: type[BenchError]) -> None:
    hub.error = error
    _refused(_task(tmp_path, HUB_SOURCE, more=HUB_MORE), "owner/name", str(error), "--data DIR", kind=kind)


def test_no_such_data_set_is_the_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    def missing(*args: object, **options: object) -> None:
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", missing)
    _refused(_task(tmp_path, HUB_SOURCE, more=HUB_MORE), "no data set 'owner/name' at revision 'abc'")
    assert hub.calls == []


def test_unreachable_hub_fails_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def closed(*args: object, **options: object) -> None:
        assert options["timeout"] == 5.0
        raise OSError("Name or service not known")

    def retries(*args: object, **options: object) -> None:
        pytest.fail("load_dataset retries for 25 seconds: it must not be called")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", closed)
    monkeypatch.setattr(datasets, "load_dataset", retries)
    _refused(_task(tmp_path, HUB_SOURCE, more=HUB_MORE), "can't be reached", "--data DIR", "HF_HUB_OFFLINE=1", kind=RunError)


def test_offline_mode_reads_the_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    started = time.monotonic()
    _refused(_task(tmp_path, HUB_SOURCE, more=HUB_MORE), "owner/name", "--data DIR", kind=RunError)
    assert time.monotonic() - started < 10
