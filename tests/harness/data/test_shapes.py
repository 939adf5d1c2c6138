"""Shapes in which people publish texts and labels: what `bench init` finds, and what the task that it writes reads."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import ipc, parquet
from tables import english, seen

from harness.core.errors import UserError
from harness.core.types import LabelKind
from harness.data.guess.files import ReadOptions
from harness.data.guess.task_yaml import task_yaml
from harness.data.rows import load_examples
from harness.specs.tasks import SPLITS, TaskSpec
from harness.specs.yamlspec import parse_yaml_spec

ROWS = [{"text": english(row), "label": ("art", "work")[row % 2]} for row in range(60)]
POLISH = "Jestem zadowolona z zakupu, wszystko działa świetnie i żałuję, że nie kupiłam wcześniej"
FRENCH = "L'été dernier j'ai acheté cette machine à café et elle est arrivée cassée, très déçu"
TURKISH = "Ürün çok güzel, beklediğimden hızlı geldi ama şarj aleti çalışmıyor, teşekkürler"
RUSSIAN = "Товар пришёл быстро, качество хорошее, но инструкция только на английском языке"
JAPANESE = "届くのが早くて助かりました。品質も値段のわりにとても良いです"

Builder = Callable[[Path], Path]


def text_of(rows: list[dict[str, Any]], delimiter: str = ",", end: str = "\n", header: bool = True, **form: Any) -> str:
    held = io.StringIO(newline="")
    writer = csv.writer(held, delimiter=delimiter, lineterminator=end, **form)
    writer.writerows([list(rows[0])] if header else [])
    writer.writerows([list(row.values()) for row in rows])
    return held.getvalue()


def put(name: str, content: str | bytes) -> Builder:
    def build(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return build


def several(files: Mapping[str, str | bytes]) -> Builder:
    def build(folder: Path) -> Path:
        for name, content in files.items():
            put(f"mine/{name}", content)(folder)
        return folder / "mine"

    return build


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(path: Path, rows: list[dict[str, Any]], names: list[str] | None = None, kind: Any = None) -> Path:
    """A parquet or arrow file, with the label names of the `datasets` library where there are some."""
    columns = pyarrow.table({key: [row[key] for row in rows] for key in rows[0]})
    if kind is not None:
        columns = columns.set_column(columns.schema.get_field_index("text"), "text", columns["text"].cast(kind))
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        columns = columns.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(columns, path)
    else:
        with ipc.new_stream(path, columns.schema) as writer:
            writer.write_table(columns)
    return path


def spreadsheet(sheets: dict[str, list[list[Any]]]) -> Builder:
    """A minimal .xlsx file: what a program for spreadsheets writes, without its styles."""

    def cell(value: Any) -> str:
        if isinstance(value, int | float):
            return f"<c><v>{value}</v></c>"
        return "<c/>" if value == "" else f'<c t="inlineStr"><is><t>{value}</t></is></c>'

    def build(folder: Path) -> Path:
        main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
        office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        package = "http://schemas.openxmlformats.org/package/2006"
        kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
        path = folder / "mine.xlsx"
        with zipfile.ZipFile(path, "w") as archive:
            parts = "".join(
                f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{kinds}.worksheet+xml"/>'
                for number in range(1, len(sheets) + 1)
            )
            archive.writestr(
                "[Content_Types].xml",
                f'<Types xmlns="{package}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-'
                f'package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
                f"{parts}</Types>",
            )
            archive.writestr(
                "_rels/.rels",
                f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{office}/officeDocument"'
                ' Target="xl/workbook.xml"/></Relationships>',
            )
            named = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(sheets, start=1))
            archive.writestr("xl/workbook.xml", f'<workbook {main} xmlns:r="{office}"><sheets>{named}</sheets></workbook>')
            links = "".join(
                f'<Relationship Id="r{n}" Type="{office}/worksheet" Target="worksheets/sheet{n}.xml"/>'
                for n in range(1, len(sheets) + 1)
            )
            archive.writestr(
                "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{links}</Relationships>'
            )
            for number, rows in enumerate(sheets.values(), start=1):
                body = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
                archive.writestr(
                    f"xl/worksheets/sheet{number}.xml", f"<worksheet {main}><sheetData>{body}</sheetData></worksheet>"
                )
        return path

    return build


def packed(name: str, inner: str, content: str) -> Builder:
    def build(folder: Path) -> Path:
        path = folder / name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(inner, content)
        return path

    return build


def classes(splits: list[str], extra: str | None = None) -> Builder:
    def build(folder: Path) -> Path:
        for place, split in enumerate(splits):
            for number in range(40):
                put(f"mine/{split}{('pos', 'neg')[number % 2]}/{number}.txt", english(100 * place + number))(folder)
            if extra is not None:
                put(f"mine/{split}{extra}/0.txt", english(999))(folder)
        return folder / "mine"

    return build


def in_words(sentence: str) -> list[dict[str, Any]]:
    return [{"text": f"{sentence} {row}", "label": ("art", "work")[row % 2]} for row in range(60)]


CSV, JSONL = text_of(ROWS), lines(ROWS)
HALVES = {"train": ROWS[:40], "test": ROWS[40:]}
NUMBERED = [{"text": row["text"], "label": ("art", "work").index(row["label"])} for row in ROWS]
HEADED = [["text", "label"], *([row["text"], row["label"]] for row in ROWS)]
COLUMNS = {"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS]}
BY_INDEX = {str(number): row for number, row in enumerate(ROWS)}
NESTED = [{"id": f"r{n}", "review": {"body": row["text"], "lang": "en"}, "label": row["label"]} for n, row in enumerate(ROWS)]
LONG_FIRST = [{"text": "It is fine, says the buyer. " * 40_000, "label": "art"}, *ROWS[1:]]

DATED = "".join(f"{row['text']},{row['label']},2024\n" for row in ROWS)

ALL = {"art": 30, "work": 30}
READ: dict[str, tuple[Builder, dict[str, int]]] = {
    "csv": (put("mine.csv", CSV), ALL),
    "csv with a byte order mark": (put("mine.csv", b"\xef\xbb\xbf" + CSV.encode()), ALL),
    "csv with CRLF": (put("mine.csv", text_of(ROWS, end="\r\n")), ALL),
    "csv with CR alone": (put("mine.csv", text_of(ROWS, end="\r")), ALL),
    "csv with semicolons": (put("mine.csv", text_of(ROWS, ";")), ALL),
    "csv with pipes": (put("mine.csv", text_of(ROWS, "|")), ALL),
    "csv that is a tsv": (put("mine.csv", text_of(ROWS, "\t")), ALL),
    "tsv that is a csv": (put("mine.tsv", CSV), ALL),
    "tsv": (put("mine.tsv", text_of(ROWS, "\t")), ALL),
    "tab": (put("mine.tab", text_of(ROWS, "\t")), ALL),
    "txt with tabs": (put("mine.txt", text_of(ROWS, "\t")), ALL),
    "txt with commas": (put("mine.txt", CSV), ALL),
    "sep=; of Excel": (put("mine.csv", "sep=;\n" + text_of(ROWS, ";")), ALL),
    "sep=; of Excel in UTF-16": (put("mine.csv", ("sep=;\r\n" + text_of(ROWS, ";", "\r\n")).encode("utf-16")), ALL),
    "no header": (put("mine.csv", text_of(ROWS, header=False)), ALL),
    "all quoted": (put("mine.csv", text_of(ROWS, quoting=csv.QUOTE_ALL)), ALL),
    "quotes escaped": (
        put(
            "mine.csv",
            text_of([{**row, "text": f'He said "{row["text"]}", twice'} for row in ROWS], doublequote=False, escapechar="\\"),
        ),
        ALL,
    ),
    "the index of pandas": (put("mine.csv", text_of([{"": n, **row} for n, row in enumerate(ROWS)])), ALL),
    "a delimiter at the end of each line": (put("mine.csv", text_of([{**row, "": ""} for row in ROWS])), ALL),
    "empty lines at the end": (put("mine.csv", CSV + "\n\n\n"), ALL),
    "a first text over a mebibyte": (put("mine.csv", text_of(LONG_FIRST)), ALL),
    "UTF-16": (put("mine.csv", CSV.encode("utf-16")), ALL),
    "UTF-16 without a mark": (put("mine.csv", CSV.encode("utf-16-le")), ALL),
    "French in cp1252": (put("mine.csv", text_of(in_words(FRENCH)).encode("cp1252")), ALL),
    "curly quotes in cp1252": (
        put("mine.csv", text_of(in_words("It’s a great chair – I’d buy it “again”")).encode("cp1252")),
        ALL,
    ),
    "csv.gz": (lambda folder: put("mine.csv.gz", gzip.compress(CSV.encode()))(folder), ALL),
    "jsonl.gz": (lambda folder: put("mine.jsonl.gz", gzip.compress(JSONL.encode()))(folder), ALL),
    "zip of one csv": (packed("mine.zip", "reviews/mine.csv", CSV), ALL),
    "jsonl": (put("mine.jsonl", JSONL), ALL),
    "ndjson": (put("mine.ndjson", JSONL), ALL),
    "lines in .json": (put("mine.json", JSONL), ALL),
    "an array in .jsonl": (put("mine.jsonl", json.dumps(ROWS)), ALL),
    "json, indented": (put("mine.json", json.dumps(ROWS, indent=2)), ALL),
    "pandas: columns": (put("mine.json", json.dumps({key: dict(enumerate(column)) for key, column in COLUMNS.items()})), ALL),
    "pandas: index": (put("mine.json", json.dumps(BY_INDEX)), ALL),
    "pandas: split": (
        put("mine.json", json.dumps({"columns": HEADED[0], "index": list(range(60)), "data": HEADED[1:]})),
        ALL,
    ),
    "pandas: values, with a header": (put("mine.json", json.dumps(HEADED)), ALL),
    "pandas: table": (put("mine.json", json.dumps({"schema": {"fields": []}, "data": ROWS})), ALL),
    "an object of lists": (put("mine.json", json.dumps(COLUMNS)), ALL),
    "rows in an envelope": (put("mine.json", json.dumps({"version": "1.0", "data": ROWS})), ALL),
    "splits in an object": (put("mine.json", json.dumps(HALVES)), ALL),
    "objects in cells": (put("mine.jsonl", lines(NESTED)), ALL),
    "a number among texts": (put("mine.jsonl", lines([{"text": 123, "label": "art"}, *ROWS[1:]])), ALL),
    "fastText": (put("mine.txt", "".join(f"__label__{row['label']} {row['text']}\n" for row in ROWS)), ALL),
    "parquet": (lambda folder: table(folder / "mine.parquet", ROWS), ALL),
    "parquet with names of classes": (lambda folder: table(folder / "mine.parquet", NUMBERED, ["art", "work"]), ALL),
    "parquet of large strings": (lambda folder: table(folder / "mine.parquet", ROWS, kind=pyarrow.large_string()), ALL),
    "parquet of a dictionary": (
        lambda folder: table(folder / "mine.parquet", ROWS, kind=pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
        ALL,
    ),
    "arrow": (lambda folder: table(folder / "mine.arrow", NUMBERED, ["art", "work"]), ALL),
    "xlsx": (spreadsheet({"Sheet1": HEADED}), ALL),
    "xlsx with a title above": (spreadsheet({"Sheet1": [["Reviews of 2024"], *HEADED]}), ALL),
    "xlsx with columns without names": (
        spreadsheet(
            {"Sheet1": [["", "text", "", "label"], *([n, text, "", label] for n, (text, label) in enumerate(HEADED[1:]))]}
        ),
        ALL,
    ),
    "a folder of splits": (several({"train.csv": text_of(ROWS[:40]), "test.csv": text_of(ROWS[40:])}), ALL),
    "a folder of splits in folders": (
        several({"train/data.csv": text_of(ROWS[:40]), "test/data.csv": text_of(ROWS[40:])}),
        ALL,
    ),
    "shards": (several({f"part-{n}.jsonl": lines(ROWS[20 * n : 20 * n + 20]) for n in range(3)}), ALL),
    "shards of splits": (
        several(
            {f"train-0000{n}-of-00002.csv": text_of(ROWS[20 * n : 20 * n + 20]) for n in range(2)}
            | {"test-00000-of-00001.csv": text_of(ROWS[40:]), "README.txt": "Reviews of chairs."}
        ),
        ALL,
    ),
    "numbers of rows without a name, as R writes them": (
        put("mine.csv", "text,label\n" + "".join(f"{n},{row['text']},{row['label']}\n" for n, row in enumerate(ROWS, start=1))),
        ALL,
    ),
    "a title of several cells": (put("mine.csv", "Reviews,,\nmade by,us,\n,,\ntext,label,when\n" + DATED), ALL),
    "names of groups of columns": (put("mine.csv", "Review,,Time\ntext,label,when\n" + DATED), ALL),
    "xlsx with a title of several cells": (
        spreadsheet(
            {
                "Sheet1": [
                    ["Reviews", "", ""],
                    ["made by", "us", ""],
                    ["text", "label", "when"],
                    *([*r, 2024] for r in HEADED[1:]),
                ]
            }
        ),
        ALL,
    ),
    "labels in objects in lists": (
        put("mine.jsonl", lines([{"text": row["text"], "label": [{"label": row["label"]}]} for row in ROWS])),
        ALL,
    ),
    "annotations of Label Studio": (
        put(
            "mine.json",
            json.dumps(
                [
                    {
                        "id": n,
                        "data": {"text": row["text"]},
                        "annotations": [{"result": [{"value": {"choices": [row["label"]]}}]}],
                    }
                    for n, row in enumerate(ROWS)
                ]
            ),
        ),
        ALL,
    ),
    "parquet of bytes": (lambda folder: table(folder / "mine.parquet", ROWS, kind=pyarrow.binary()), ALL),
    "splits of lists of pairs, as CLINC150": (
        put("mine.json", json.dumps({name: [list(row.values()) for row in part] for name, part in HALVES.items()})),
        ALL,
    ),
    "cp1252 in the second file alone": (
        several(
            {
                "train.csv": text_of(ROWS),
                "test.csv": text_of(in_words(FRENCH)).encode("cp1252"),
            }
        ),
        {"art": 60, "work": 60},
    ),
    "shards with digests in their names": (
        several(
            {f"data/train-0000{n}-of-00002-6ef3991c0608{n}e1{n}.jsonl": lines(ROWS[20 * n : 20 * n + 20]) for n in range(2)}
            | {"data/test-00000-of-00001-5ad4c0a1b25f9e33.jsonl": lines(ROWS[40:]), ".gitattributes": "*", "README.md": "-"}
        ),
        ALL,
    ),
    "files of other programs": (
        several(
            {
                "train.csv": text_of(ROWS[:40]),
                "._train.csv": "x",
                "~$train.xlsx": "x",
                ".ipynb_checkpoints/train.csv": CSV,
                "test.csv": text_of(ROWS[40:]),
            }
        ),
        ALL,
    ),
    "second downloads": (
        several({"My Train (1).csv": text_of(ROWS[:40]), "My Test (2).csv": text_of(ROWS[40:])}),
        ALL,
    ),
    "texts with a number for a name, as 20 Newsgroups": (
        several({f"{row['label']}/{50_000 + n}": row["text"] for n, row in enumerate(ROWS)}),
        ALL,
    ),
    "one folder around the classes": (
        several({f"inner/{row['label']}/{n}.txt": row["text"] for n, row in enumerate(ROWS)}),
        ALL,
    ),
    "texts of classes in cp1252": (
        several({f"{row['label']}/{n}.txt": row["text"].encode("cp1252") for n, row in enumerate(in_words(FRENCH))}),
        ALL,
    ),
    "a folder of texts for each class": (classes([""]), {"pos": 20, "neg": 20}),
    "the same in splits, with texts without a label": (classes(["train/", "test/"], "unsup"), {"pos": 40, "neg": 40}),
}


SLOW = {"objects in cells", "a first text over a mebibyte"}


@pytest.mark.parametrize("shape", [pytest.param(shape, marks=[pytest.mark.slow] * (shape in SLOW)) for shape in READ])
def test_a_shape_is_read_and_its_task_reads_the_same(tmp_path: Path, shape: str) -> None:
    build, labels = READ[shape]
    found = seen(build(tmp_path))
    assert found.labels.rows == labels
    assert found.labels.kind is LabelKind.NOMINAL
    folder = tmp_path / "tasks"
    task = parse_yaml_spec(task_yaml(found, "mine", folder), folder / "mine.yaml", TaskSpec, name="mine", folder=folder)
    (lang,) = found.languages.codes
    rows = {split: load_examples(task, lang=lang, split=split) for split in SPLITS}
    assert {split: {lang: len(examples)} for split, examples in rows.items()} == found.counted.rows
    counts = Counter(
        found.labels.names[row.label] for examples in rows.values() for row in examples if isinstance(row.label, int)
    )
    assert counts == labels


SEVERAL = {
    "fastText with several labels": put(
        "mine.txt", "".join(f"__label__{['a', 'b', 'c'][n % 3]} __label__d {english(n)}\n" for n in range(60))
    ),
    "lists in jsonl": put(
        "mine.jsonl", lines([{"text": english(n), "label": [["a"], ["a", "b"], []][n % 3]} for n in range(60)])
    ),
}


@pytest.mark.parametrize("shape", SEVERAL)
def test_a_shape_with_several_labels(tmp_path: Path, shape: str) -> None:
    found = seen(SEVERAL[shape](tmp_path))
    assert found.labels.kind is LabelKind.MULTILABEL


ASKED: dict[str, tuple[Builder, str]] = {
    "Polish in cp1250": (put("mine.csv", text_of(in_words(POLISH)).encode("cp1250")), "--encoding cp1250"),
    "Turkish in cp1254": (put("mine.csv", text_of(in_words(TURKISH)).encode("cp1254")), "--encoding cp1254"),
    "Russian in cp1251": (put("mine.csv", text_of(in_words(RUSSIAN)).encode("cp1251")), "--encoding cp1251"),
    "Russian in koi8-r": (put("mine.csv", text_of(in_words(RUSSIAN)).encode("koi8-r")), "--encoding koi8_r"),
    "Japanese in cp932": (put("mine.csv", text_of(in_words(JAPANESE)).encode("cp932")), "--encoding cp932"),
    "Polish JSON in cp1250": (put("mine.jsonl", lines(in_words(POLISH)).encode("cp1250")), "--encoding cp1250"),
    "a zip of two": (lambda folder: _two(folder), "Unpack it"),
    "ragged lines": (put("mine.csv", CSV + "one,two,three\n"), "double quotes"),
    "one line that is not in UTF-8": (
        put("mine.csv", text_of(in_words(FRENCH)).encode() + "caf\xe9,art\n".encode("latin-1")),
        "Correct the letters there",
    ),
    "JSON with a line that is not in UTF-8": (
        put("mine.json", json.dumps([*in_words(FRENCH), {}], ensure_ascii=False).encode().replace(b"{}", b'{"text": "\xe9"}')),
        "Correct the letters there",
    ),
    "Japanese in ISO-2022": (put("mine.csv", text_of(in_words(JAPANESE)).encode("iso2022_jp")), "--encoding iso2022_jp"),
    "UTF-16 that is cut off": (put("mine.csv", CSV.encode("utf-16") + b"\x00"), "cut off"),
    "JSON lines that are cut off": (put("mine.jsonl", JSONL + '{"text": "cut o'), "cut off"),
    "a packed file that is cut off": (put("mine.csv.gz", gzip.compress(CSV.encode())[:-20]), "cut off"),
    "parquet by the name of csv": (lambda folder: table(folder / "m.parquet", ROWS).rename(folder / "m.csv"), ".parquet"),
    "a packed file by the name of csv": (put("mine.csv", gzip.compress(CSV.encode())), ".csv.gz"),
    "a spreadsheet by the name of csv": (
        lambda folder: spreadsheet({"A": HEADED})(folder).rename(folder / "mine.csv"),
        ".xlsx",
    ),
    "csv by the name of a spreadsheet": (put("mine.xls", CSV), "suffix .csv"),
    "csv by the name of parquet": (put("mine.parquet", CSV), "suffix .csv"),
    "csv by the name of gzip": (put("mine.csv.gz", CSV), "suffix .csv"),
    "a web page": (put("mine.csv", "<!DOCTYPE html>\n<html><body>Not found, sorry</body></html>"), "the file itself"),
    "a web page by the name of a spreadsheet": (put("mine.xls", "<html><table></table></html>"), "the file itself"),
    "a pointer of Git LFS": (put("mine.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs"),
    "two files in one": (put("mine.csv", CSV + CSV), "see whether texts stand there twice"),
    "a table in Markdown": (put("mine.csv", "text|label\n---|---\n" + text_of(ROWS, "|", header=False)), "Take that line away"),
    "versions of a file": (several({"train_v1.csv": CSV, "train_v2.csv": CSV, "test.csv": CSV}), "Keep one"),
    "sizes of a file": (several({"train_100.csv": CSV, "train_1000.csv": CSV, "test.csv": CSV}), "Keep one"),
    "labels in a file of their own": (
        several({f"{split}_{kind}.txt": "a\nb\n" for split in ("train", "test") for kind in ("text", "labels")}),
        "into one table",
    ),
    "a file of texts for each class": (several({"pos.txt": "Good chair\n", "neg.txt": "Bad chair\n"}), "a text and a label"),
    "classes in folders of languages": (
        several({f"{code}/{row['label']}/{n}.txt": row["text"] for code in ("en", "de") for n, row in enumerate(ROWS)}),
        "name one of them: de, en",
    ),
    "a missing shard": (
        several({"train-00000-of-00003.csv": CSV, "train-00002-of-00003.csv": CSV}),
        "Add the missing ones",
    ),
    "shards in two encodings": (
        several(
            {
                "part-1.csv": text_of(in_words(FRENCH)).encode("cp1252"),
                "part-2.csv": text_of(in_words(FRENCH)),
            }
        ),
        "Save both alike",
    ),
    "a pickle": (put("mine.pkl", b"\x80"), "can hold code"),
    "two files that could be the train rows": (several({"train.csv": CSV, "train.jsonl": JSONL}), "Keep one"),
}


def _two(folder: Path) -> Path:
    path = folder / "mine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.csv", CSV)
    return path


@pytest.mark.parametrize("shape", ASKED)
def test_a_shape_is_asked_about(tmp_path: Path, shape: str) -> None:
    build, way_out = ASKED[shape]
    with pytest.raises(UserError) as refused:
        seen(build(tmp_path))
    assert way_out in refused.value.hint


@pytest.mark.parametrize(("words", "encoding"), [(POLISH, "cp1250"), (TURKISH, "cp1254"), (JAPANESE, "cp932")])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_encoding_that_was_asked_for(tmp_path: Path, words: str, encoding: str, suffix: str) -> None:
    rows = in_words(words)
    path = put(f"mine.{suffix}", (text_of(rows) if suffix == "csv" else lines(rows)).encode(encoding))(tmp_path)
    found = seen(path, read_options=ReadOptions(encoding=encoding))
    assert found.opened.columns["text"][0] == rows[0]["text"]
    assert found.opened.csv.encoding == encoding


def test_one_sheet_of_several(tmp_path: Path) -> None:
    path = spreadsheet({"About": [["Reviews"]], "2023": HEADED[:41], "2024": HEADED})(tmp_path)
    found = seen(path)
    assert found.total == 40
    assert any("--sheet" in note for note in found.notes)
    assert seen(path, read_options=ReadOptions(sheet="2024")).total == 60
    with pytest.raises(UserError, match="no sheet"):
        seen(path, read_options=ReadOptions(sheet="2025"))


def test_letters_that_were_encoded_twice_are_said(tmp_path: Path) -> None:
    misread = [row | {"text": row["text"].encode().decode("cp1252")} for row in in_words(FRENCH.replace("à", "a"))]
    notes = seen(put("mine.csv", text_of(misread))(tmp_path)).opened.notes
    assert any("cp1252" in note for note in notes)
    assert not seen(put("other.csv", text_of(in_words(FRENCH)))(tmp_path)).opened.notes
