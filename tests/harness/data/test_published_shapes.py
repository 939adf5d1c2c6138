"""More shapes in which people publish rows: `bench init` reads them, and the task that it writes reads the same rows.

A shape is a builder that writes files into a folder and returns the path for `bench init`, and what is expected there.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow
import pytest
from pyarrow import feather, ipc, parquet
from tables import english, seen

from harness.core.errors import MissingExtra, UserError
from harness.core.types import LabelKind
from harness.data import formats
from harness.data.guess.encodings import encoding_named
from harness.data.guess.files import ReadOptions
from harness.data.guess.task_yaml import task_yaml
from harness.data.rows import load_examples
from harness.specs.tasks import SPLITS, TaskSpec
from harness.specs.yamlspec import parse_yaml_spec

pytestmark = pytest.mark.slow  # test_shapes has the commonest ones

Row = dict[str, Any]
LABELS = ("art", "work")
COUNT = 60


def rows(count: int = COUNT, start: int = 0) -> list[Row]:
    return [{"text": english(start + row), "label": LABELS[row % 2]} for row in range(count)]


def delimited(table: list[Row], delimiter: str = ",", **form: Any) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(table[0]), delimiter=delimiter, lineterminator="\n", **form)
    writer.writeheader()
    writer.writerows(table)
    return file.getvalue()


def lines(table: list[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in table)


def sheet_xml(table: list[list[Any]]) -> str:
    """A worksheet with strings, numbers and empty cells."""
    body = ""
    for number, row in enumerate(table, start=1):
        cells = ""
        for index, cell in enumerate(row):
            at = f"{chr(65 + index)}{number}"
            if isinstance(cell, bool | int | float):
                cells += f'<c r="{at}"><v>{cell}</v></c>'
            elif cell != "":
                cells += f'<c r="{at}" t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
        body += f'<row r="{number}">{cells}</row>'
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f'<worksheet xmlns="{space}"><sheetData>{body}</sheetData></worksheet>'


def xlsx(path: Path, **sheets: list[list[Any]]) -> Path:
    """The smallest workbook that programs open."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    named = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, name in enumerate(sheets, start=1))
    related = "".join(
        f'<Relationship Id="rId{n}" Type="{office}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{kinds}.worksheet+xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType='
            f'"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType='
            f'"{kinds}.sheet.main+xml"/>{parts}</Types>',
        )
        book.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{office}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        book.writestr("xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{named}</sheets></workbook>')
        book.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}">{related}</Relationships>')
        for number, table in enumerate(sheets.values(), start=1):
            book.writestr(f"xl/worksheets/sheet{number}.xml", sheet_xml(table))
    return path


def grid(table: list[Row]) -> list[list[Any]]:
    return [list(table[0]), *(list(row.values()) for row in table)]


def numbered(table: list[list[Any]]) -> list[list[Any]]:
    """With a column without a name in front, and an empty one behind."""
    return [["" if number == 0 else number, *row, ""] for number, row in enumerate(table)]


@dataclass(frozen=True)
class Shape:
    """`write`: into the folder, returns the path for `bench init`. `splits`: rows of each given split; None: bench divides
    them. `roles`: text, label."""

    name: str
    write: Callable[[Path], Path]
    count: int = COUNT
    labels: tuple[str, ...] = LABELS
    kind: LabelKind = LabelKind.NOMINAL
    splits: dict[str, int] | None = None
    roles: tuple[str, str] = ("text", "label")


def file(name: str, content: str | bytes | Callable[[], str | bytes], shown: str = "", **expected: Any) -> Shape:
    """One file."""

    def write(folder: Path) -> Path:
        made = content() if callable(content) else content
        (folder / name).write_bytes(made if isinstance(made, bytes) else made.encode())
        return folder / name

    return Shape(shown or name, write, **expected)


def files(shown: str, content: Callable[[], dict[str, str | bytes]], **expected: Any) -> Shape:
    """A folder."""

    def write(folder: Path) -> Path:
        for name, made in content().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(made if isinstance(made, bytes) else made.encode())
        return folder

    return Shape(shown, write, **expected)


def zipped(name: str, content: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(name, content)
        archive.writestr(f"__MACOSX/._{name}", "x")
    return held.getvalue()


def in_bytes(write: Callable[[pyarrow.Table, io.BytesIO], Any], table: pyarrow.Table) -> bytes:
    held = io.BytesIO()
    write(table, held)
    return held.getvalue()


def arrow_stream(table: list[Row]) -> bytes:
    made = pyarrow.Table.from_pylist(table)
    held = io.BytesIO()
    with ipc.new_stream(held, made.schema) as stream:
        stream.write_table(made)
    return held.getvalue()


def by_column(table: list[Row]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in table] for name in table[0]}


def saved(table: list[Row], folder: str) -> dict[str, str | bytes]:
    """As `save_to_disk` of the library `datasets` writes one split."""
    half = len(table) // 2
    return {
        f"{folder}state.json": json.dumps({"_data_files": [{"filename": "data-0.arrow"}, {"filename": "data-1.arrow"}]}),
        f"{folder}dataset_info.json": "{}",
        f"{folder}data-0.arrow": arrow_stream(table[:half]),
        f"{folder}data-1.arrow": arrow_stream(table[half:]),
    }


def of_parquet(table: pyarrow.Table) -> bytes:
    return in_bytes(parquet.write_table, table)


def dictionary_columns() -> bytes:
    text = pyarrow.array([row["text"] for row in rows()], pyarrow.large_string())
    label = pyarrow.array([row["label"] for row in rows()]).dictionary_encode()
    return of_parquet(pyarrow.table({"text": text, "label": label}))


def class_label() -> bytes:
    features = {"label": {"names": ["art", "work"], "_type": "ClassLabel"}}
    table = pyarrow.table({"text": [row["text"] for row in rows()], "label": [row % 2 for row in range(COUNT)]})
    return of_parquet(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}))


def in_classes(before: str = "", start: int = 0) -> dict[str, str | bytes]:
    return {f"{before}{row['label']}/{number}.txt": row["text"] for number, row in enumerate(rows(start=start))}


def fast_text(several: bool = False) -> str:
    other = "__label__art __label__work"
    return "".join(
        f"{other if several and number % 3 == 0 else '__label__' + row['label']} {row['text']}\n"
        for number, row in enumerate(rows())
    )


def with_number() -> str:
    return lines([{"text": 123 if number == 7 else row["text"], "label": row["label"]} for number, row in enumerate(rows())])


def two_parts() -> dict[str, Any]:
    return {"train": rows(), "test": rows(30, 100)}


GIVEN = {"train": COUNT, "test": 30}
MANY = COUNT + 30
BOM = "\ufeff"
SHAPES = [
    file("rows.csv", lambda: delimited(rows())),
    file("rows.tsv", lambda: delimited(rows(), "\t")),
    file("rows.tab", lambda: delimited(rows(), "\t")),
    file("rows.dat", lambda: delimited(rows(), "|")),
    file("rows.txt", lambda: delimited(rows(), "\t")),
    file("rows.csv", lambda: delimited(rows(), "\t"), "tabs in a csv"),
    file("rows.tsv", lambda: delimited(rows()), "commas in a tsv"),
    file("rows.txt", lambda: delimited(rows(), ";"), "semicolons in a txt"),
    file("ROWS.CSV", lambda: delimited(rows()), "capitals in the suffix"),
    file("rows.csv", lambda: BOM + delimited(rows()), "byte order mark"),
    file("rows.csv", lambda: delimited(rows()).replace("\n", "\r\n"), "CRLF"),
    file("rows.csv", lambda: delimited(rows()).replace("\n", "\r"), "CR"),
    file("rows.csv", lambda: "sep=;\n" + delimited(rows(), ";"), "sep line of Excel"),
    file("rows.csv", lambda: BOM + "sep=|\r\n" + delimited(rows(), "|"), "sep line and mark"),
    file("rows.csv", lambda: delimited(rows()).replace("\n", ",\n"), "trailing delimiter everywhere"),
    file("rows.csv", lambda: delimited(rows()).replace("\n", ",\n").replace("label,", "label"), "trailing delimiter in rows"),
    file("rows.csv", lambda: delimited(rows()).replace("\n", ",,,\n"), "three empty columns"),
    file("rows.csv", lambda: delimited(rows()) + "\n\n\r\n", "empty lines at the end"),
    file("rows.csv", lambda: "\n\n" + delimited(rows()), "empty lines above"),
    file("rows.csv", lambda: "# made by a program\n# in 2024, for fun, really\n" + delimited(rows()), "comments above"),
    file("rows.csv", lambda: "Export of the reviews\n\n" + delimited(rows()), "title above"),
    file("rows.csv", lambda: "Export of the reviews,\n,\n" + delimited(rows()), "title above, as Excel saves it"),
    file("rows.csv", lambda: "text, label\n" + "".join(f'"well, {r["text"]}", "{r["label"]}"\n' for r in rows()), "spaces"),
    file("rows.jsonl", lambda: "\n".join(json.dumps(row, indent=1) for row in rows()), "objects one after another"),
    file("rows.json", lambda: json.dumps({"features": [{"name": "text"}, {"name": "label"}], "rows": rows()}), "features"),
    file("rows.json", lambda: json.dumps({"labels": {"0": "a"}, "examples": rows()}), "names beside"),
    file("rows.txt", lambda: "".join(f"{r['label']}\t{r['text']}\n" for r in rows()), "SMS", roles=("column_2", "column_1")),
    file("rows.csv", lambda: delimited(rows(), quotechar="'", quoting=csv.QUOTE_ALL), "single quotes"),
    file(
        "rows.csv",
        lambda: delimited([row | {"text": f"well, {row['text']}"} for row in rows()], quotechar="'"),
        "single quotes where needed",
    ),
    file(
        "rows.csv",
        lambda: delimited([row | {"text": 'so "good", ' + row["text"]} for row in rows()], escapechar="\\", doublequote=False),
        "escaped quotes",
    ),
    file("rows.csv", lambda: delimited(rows()).removeprefix("text,label\n"), "no header", roles=("column_1", "column_2")),
    file("rows.csv", lambda: delimited([{"": n, **row} for n, row in enumerate(rows())]), "index of pandas"),
    file("rows.csv", lambda: delimited([{"Unnamed: 0": n, **row} for n, row in enumerate(rows())]), "named index of pandas"),
    file("rows.csv", lambda: delimited(rows()).encode("utf-16"), "UTF-16"),
    file("rows.csv", lambda: delimited(rows()).encode("utf-16-le"), "UTF-16 LE without a mark"),
    file("rows.csv", lambda: delimited(rows()).encode("utf-16-be"), "UTF-16 BE without a mark"),
    file("rows.csv", lambda: delimited(rows()).encode("utf-32"), "UTF-32"),
    file(
        "rows.csv",
        lambda: delimited([row | {"text": f"the café’s {row['text']}"} for row in rows()]).encode("cp1252"),
        "cp1252",
    ),
    file("rows.csv.gz", lambda: gzip.compress(delimited(rows()).encode())),
    file("rows.tsv.bz2", lambda: bz2.compress(delimited(rows(), "\t").encode())),
    file("rows.jsonl.xz", lambda: lzma.compress(lines(rows()).encode())),
    file("rows.jsonl.gz", lambda: gzip.compress(lines(rows()).encode())),
    file("rows.csv.zip", lambda: zipped("rows.csv", delimited(rows()))),
    file("data.zip", lambda: zipped("inner.csv", delimited(rows()))),
    file("rows.jsonl", lambda: lines(rows())),
    file("rows.ndjson", lambda: lines(rows())),
    file("rows.json", lambda: lines(rows()), "JSON lines in a json"),
    file("rows.jsonl", lambda: json.dumps(rows()), "list in a jsonl"),
    file("rows.jsonl", lambda: json.dumps(rows(), indent=1), "list of many lines in a jsonl"),
    file("rows.jsonl", lambda: BOM + lines(rows()).replace("\n", "\r\n"), "JSON lines with a mark and CRLF"),
    file("rows.jsonl", lambda: lines(rows()).encode("utf-16"), "JSON lines in UTF-16"),
    file("rows.jsonl", with_number, "a number among texts"),
    file("rows.json", lambda: json.dumps(rows(), indent=2), "list of objects"),
    file("rows.json", lambda: json.dumps(by_column(rows())), "lists by column"),
    file("rows.json", lambda: json.dumps({name: dict(enumerate(of)) for name, of in by_column(rows()).items()}), "columns"),
    file("rows.json", lambda: json.dumps(dict(enumerate(rows()))), "index"),
    file("rows.json", lambda: json.dumps({f"r{n}": row for n, row in enumerate(rows())}), "rows by their ids"),
    file(
        "rows.json",
        lambda: json.dumps({"columns": ["text", "label"], "index": list(range(COUNT)), "data": grid(rows())[1:]}),
        "split",
    ),
    file("rows.json", lambda: json.dumps(grid(rows())[1:]), "values", roles=("column_1", "column_2")),
    file("rows.json", lambda: json.dumps(grid(rows())), "values with names"),
    file("rows.jsonl", lambda: "".join(json.dumps(row) + "\n" for row in grid(rows())), "lines of lists"),
    file(
        "rows.json",
        lambda: json.dumps({"schema": {"fields": [{"name": "text"}, {"name": "label"}], "primaryKey": []}, "data": rows()}),
        "table",
    ),
    file("rows.json", lambda: json.dumps({"version": "1.0", "data": rows()}), "rows within data"),
    file("rows.json", lambda: json.dumps({"meta": {"n": 1}, "result": {"items": rows(), "page": 1}}), "rows two deep"),
    file("rows.json", lambda: json.dumps(two_parts()), "splits in JSON", splits=GIVEN, count=MANY),
    file("rows.json", lambda: json.dumps({"v": 1, "data": two_parts()}), "splits two deep", splits=GIVEN, count=MANY),
    file(
        "rows.json",
        lambda: json.dumps({name: by_column(of) for name, of in two_parts().items()}),
        "splits by column",
        splits=GIVEN,
        count=MANY,
    ),
    file(
        "rows.jsonl",
        lambda: lines([{"review": {"text": row["text"], "by": "me"}, "label": row["label"]} for row in rows()]),
        "objects in rows",
        roles=("review.text", "label"),
    ),
    file("rows.parquet", dictionary_columns, "dictionary and large strings"),
    file("rows.parquet", class_label, "ClassLabel"),
    file(
        "rows.parquet",
        lambda: of_parquet(
            pyarrow.Table.from_pylist([{"review": {"text": row["text"], "n": 1}, "label": row["label"]} for row in rows()])
        ),
        "struct column",
        roles=("review.text", "label"),
    ),
    file(
        "rows.parquet",
        lambda: of_parquet(pyarrow.Table.from_pylist([row | {"label": [row["label"]]} for row in rows()])),
        "list column",
    ),
    file("rows.feather", lambda: in_bytes(feather.write_feather, pyarrow.Table.from_pylist(rows()))),
    file("rows.arrow", lambda: arrow_stream(rows())),
    file("rows.txt", fast_text, "fastText"),
    file("rows.txt", lambda: fast_text(True), "fastText, several labels", kind=LabelKind.MULTILABEL),
    files("a folder for each label", in_classes),
    files("a folder for each label, with a readme", lambda: {"README.txt": "about", **in_classes()}),
    files(
        "splits of folders for each label",
        lambda: {**in_classes("train/"), **in_classes("test/", 100), "train/unsup/1.txt": "nothing", "README": "x"},
        splits={"train": COUNT, "test": COUNT},
        count=2 * COUNT,
    ),
    files(
        "shards of splits",
        lambda: {
            "data/train-00000-of-00002.parquet": of_parquet(pyarrow.Table.from_pylist(rows(40))),
            "data/train-00001-of-00002.parquet": of_parquet(pyarrow.Table.from_pylist(rows(20, 40))),
            "data/test-00000-of-00001.parquet": of_parquet(pyarrow.Table.from_pylist(rows(30, 100))),
        },
        splits=GIVEN,
        count=MANY,
    ),
    files(
        "numbered csv files",
        lambda: {
            **{f"train_{n}.csv": delimited(rows(5, 5 * n)) for n in range(12)},
            "test.csv": delimited(rows(30, 100)),
            "train_notes.txt": "x",
        },
        splits=GIVEN,
        count=MANY,
    ),
    files("parts of all rows", lambda: {f"part-{n:04d}.jsonl": lines(rows(30, 30 * n)) for n in range(2)}),
    files(
        "packed splits",
        lambda: {
            "train.csv.gz": gzip.compress(delimited(rows()).encode()),
            "test.csv.gz": gzip.compress(delimited(rows(30, 100)).encode()),
        },
        splits=GIVEN,
        count=MANY,
    ),
    files(
        "txt splits beside a readme",
        lambda: {
            "train.txt": delimited(rows(), "\t"),
            "test.txt": delimited(rows(30, 100), "\t"),
            "README.txt": "about",
        },
        splits=GIVEN,
        count=MANY,
    ),
    files(
        "folders named after splits",
        lambda: {"train/rows.csv": delimited(rows()), "test/rows.csv": delimited(rows(30, 100))},
        splits=GIVEN,
        count=MANY,
    ),
    files("one split saved by datasets", lambda: saved(rows(), "")),
    files(
        "splits saved by datasets",
        lambda: {"dataset_dict.json": "{}", **saved(rows(), "train/"), **saved(rows(30, 100), "test/")},
        splits=GIVEN,
        count=MANY,
    ),
    Shape("rows.xlsx", lambda folder: xlsx(folder / "rows.xlsx", Sheet1=grid(rows()))),
    Shape(
        "xlsx with a title and empty columns",
        lambda folder: xlsx(folder / "rows.xlsx", Sheet1=[["Our reviews"], [], *numbered(grid(rows()))]),
    ),
    Shape(
        "xlsx with splits, and a sheet of notes",
        lambda folder: xlsx(folder / "rows.xlsx", train=grid(rows()), test=grid(rows(30, 100)), notes=[["by me"]]),
        splits=GIVEN,
        count=MANY,
    ),
    Shape(
        "xlsx with numbers as labels",
        lambda folder: xlsx(
            folder / "rows.xlsx", Data=[["text", "stars"], *([english(n), float(1 + n % 3)] for n in range(COUNT))]
        ),
        labels=("1 star", "2 stars", "3 stars"),
        kind=LabelKind.ORDINAL,
        roles=("text", "stars"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_a_shape_is_read_and_its_task_reads_the_same(tmp_path: Path, shape: Shape) -> None:
    folder, tasks = tmp_path / "data", tmp_path / "tasks"
    folder.mkdir()
    tasks.mkdir()
    path = shape.write(folder)
    found = seen(path, lang="en")
    assert (found.roles.text, found.roles.label) == ((shape.roles[0],), (shape.roles[1],))
    assert (found.total, tuple(found.labels.names), found.labels.kind) == (shape.count, shape.labels, shape.kind)
    given = None if found.division.stratified else {split: sum(of.values()) for split, of in found.counted.rows.items()}
    if shape.splits is None:
        assert given is None
    else:
        assert given is not None
        assert given["train"] + given["validation"] == shape.splits["train"]
        assert given["test"] == shape.splits["test"]
    spec = parse_yaml_spec(task_yaml(found, "mine", tasks), tasks / "mine.yaml", TaskSpec, name="mine", folder=tasks)
    read = {split: load_examples(spec, lang="en", split=split) for split in SPLITS}
    assert {split: len(of) for split, of in read.items()} == {split: of["en"] for split, of in found.counted.rows.items()}
    names = spec.label_space.names
    answers = [
        one for of in read.values() for row in of for one in (row.label if isinstance(row.label, tuple) else (row.label,))
    ]
    assert {names[index]: count for index, count in Counter(answers).items()} == found.labels.rows
    texts = {row.text for of in read.values() for row in of}
    assert all(text == text.strip() and ("number" in text or text == "123") for text in texts)


REFUSED: list[tuple[Shape, str]] = [
    (file("rows.csv", "text,label\na fine thing,art\nb,work,c\n" + delimited(rows()).partition("\n")[2], "ragged"), ":3"),
    (file("rows.csv", lambda: delimited(rows()) + "\x00\n", "zero bytes"), "--encoding"),
    (file("rows.csv", lambda: "text,label,text\n" + "a fine thing,art,b\n" * 9, "a name twice"), "twice"),
    (file("rows.txt", "one line of text\nand another\n" * 30, "plain text"), "--delimiter"),
    (file("rows.json", lambda: json.dumps({"a": rows(), "b": rows(40)}), "two tables"), "file of its own"),
    (file("rows.jsonl", lambda: ",\n".join(map(json.dumps, rows())), "commas between lines"), "[ and ]"),
    (file("rows.json", lambda: "\n".join(map(str, rows())), "the notation of Python"), "json.dumps"),
    (file("rows.json", '{"text": {"a": 1}, "other": 3}', "no table"), "list of objects"),
    (file("data.zip", lambda: zipped("notes.md", "x"), "no table in a zip"), "Use one of"),
    (file("rows.txt", lambda: fast_text() + "no label here\n", "fastText with another line"), ":61"),
    (files("a shard is missing", lambda: {f"train-0000{n}-of-00003.csv": delimited(rows()) for n in (0, 2)}), "2 of the 3"),
    (
        files("shards with other columns", lambda: {"a-1.csv": delimited(rows()), "a-2.csv": "text,topic\na,b\n"}),
        "label, topic",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "named"), REFUSED, ids=[shape.name for shape, _ in REFUSED])
def test_a_shape_is_refused_with_the_way_out(tmp_path: Path, shape: Shape, named: str) -> None:
    with pytest.raises(UserError) as error:
        seen(shape.write(tmp_path), lang="en")
    assert named in str(error.value)


POLISH = "Obsługa była bardzo miła, ale jedzenie zimne, więc już tu nie wrócę; żałuję"
ASKED = [
    ("cp1250", POLISH),
    ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy, obsluha byla hrozná a jídlo studené"),
    ("cp1250", "Az étel nagyon hideg volt, és a kiszolgálás is rossz, őszintén szörnyű"),
    ("cp1251", "Обслуживание было очень плохим, еда холодная, больше сюда не приду"),
    ("cp1253", "Το φαγητό ήταν πολύ κακό και η εξυπηρέτηση αργή, δεν θα ξαναέρθω"),
    ("cp1254", "Yemekler çok güzeldi ama garson ilgisizdi, bir daha gelmeyeceğim, ışık yoktu"),
    ("cp1255", "האוכל היה קר והשירות היה גרוע מאוד לא נחזור לכאן לעולם"),
    ("cp1256", "الطعام كان باردا والخدمة كانت سيئة للغاية لن نعود إلى هنا أبدا"),
    ("cp1257", "Maistas buvo labai skanus, bet aptarnavimas lėtas, daugiau čia negrįšiu už žuvį"),
    ("koi8-r", "Обслуживание было очень плохим, еда холодная, больше сюда не приду"),
    ("mac-roman", "Le service était très lent et la nourriture froide, je ne reviendrai jamais à cet hôtel"),
    ("gb18030", "这家餐厅的服务非常差，菜都是冷的，我再也不会来了"),
    ("big5", "這家餐廳的服務非常差，菜都是冷的，我再也不會來了"),
    ("cp932", "このレストランのサービスはとても悪かった。料理も冷たくて、もう来ません"),
    ("euc-jp", "このレストランのサービスはとても悪かった。料理も冷たくて、もう来ません"),
    ("cp949", "이 식당의 서비스는 정말 나빴고 음식도 차가웠어요. 다시는 오지 않겠습니다"),
]


@pytest.mark.parametrize(
    ("encoding", "text"), ASKED, ids=[f"{encoding}-{number}" for number, (encoding, _) in enumerate(ASKED)]
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_another_encoding_is_asked_for_and_the_likeliest_is_named_first(
    tmp_path: Path, encoding: str, text: str, suffix: str
) -> None:
    table = [{"text": f"{text} {number}", "label": LABELS[number % 2]} for number in range(COUNT)]
    content = delimited(table) if suffix == "csv" else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(content.encode(encoding))
    with pytest.raises(UserError) as error:
        seen(path)
    assert error.value.hint.startswith(f"Say in what it is: --encoding {encoding.replace('-', '_')} (")
    words = [word for word in text.split() if not word.isascii() and len(word) > 2]
    assert not any(word in str(error.value).replace(" ", "") for word in words)  # no text of a row is printed
    found = seen(path, read_options=ReadOptions(encoding=encoding), lang="en")
    assert found.opened.columns["text"][0] == f"{text} 0"
    assert encoding_named(found.opened.csv.encoding) == encoding_named(encoding)


WESTERN = [
    "Le service était très lent et la nourriture froide, je ne reviendrai jamais à cet hôtel",
    "Das Essen war schön heiß, aber der Kellner war unhöflich und viel zu langsam für uns",
    "El niño comió una piña; ¿qué pasó después? ¡Qué mala atención!",
    "I don’t like this café – it costs £5 or €6…",
    "Maturinn var kaldur og þjónustan ömurleg, við komum aldrei aftur hingað því miður",
]


@pytest.mark.parametrize("text", WESTERN)
def test_western_text_is_read_as_cp1252_with_a_note(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.csv"
    table = [{"text": f"{text} {number}", "label": LABELS[number % 2]} for number in range(COUNT)]
    path.write_bytes(delimited(table).encode("cp1252"))
    found = seen(path)
    assert found.opened.columns["text"][0] == f"{text} 0"
    assert found.opened.csv.encoding == "cp1252"
    assert any("--encoding" in note for note in found.opened.notes)


def test_files_in_two_encodings_are_refused(tmp_path: Path) -> None:
    texts = [{"text": f"the café {english(number)}", "label": LABELS[number % 2]} for number in range(COUNT)]
    (tmp_path / "train.csv").write_bytes(delimited(texts).encode("cp1252"))
    (tmp_path / "test.csv").write_bytes(delimited(texts).encode("utf-8"))
    with pytest.raises(UserError, match="written in another way") as error:
        seen(tmp_path)
    assert "Save both" in error.value.hint


def test_a_first_text_longer_than_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.guess.files.SAMPLE", 500)
    table = rows()
    table[0]["text"] = 'Fine, says "buyer" one.\n' * 100 + "number"
    (tmp_path / "rows.csv").write_text(delimited(table), encoding="utf-8")
    assert seen(tmp_path / "rows.csv").total == COUNT


def test_a_title_is_said(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("Export of the reviews\n" + delimited(rows()), encoding="utf-8")
    found = seen(tmp_path / "rows.csv")
    assert found.opened.csv.skip == 1
    assert any("--no-header" in note for note in found.opened.notes)


def test_spreadsheets_need_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = xlsx(tmp_path / "rows.xlsx", A=grid(rows()))
    monkeypatch.setitem(__import__("sys").modules, "python_calamine", None)
    with pytest.raises(MissingExtra, match="python-calamine"):
        seen(path)


def test_dates_and_numbers_of_a_sheet_are_as_shown() -> None:
    import datetime

    cells = [True, 3.0, 2.5, datetime.date(2024, 5, 31), "x", ""]
    assert [formats._written(cell) for cell in cells] == ["True", "3", "2.5", "2024-05-31", "x", ""]
