"""Languages as columns: what stands in one line, in which section, in which order; and the pictures of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boards
import pytest
from boards import entry, prompt, value

from harness.analysis.ranks import fold_seeds, ranked
from harness.core.errors import MissingExtra
from harness.records.entries import Entry
from harness.reports.by_language import Section, sections
from harness.reports.pictures import Picture, file_name, pictures, write_pictures
from harness.reports.tables import Table, grouped


def tables(*entries: Entry, p: float = 0.0) -> list[Table]:
    """Of entries without predictions; `p` is what every test says."""
    folded = [(found, fold_seeds(found.entries)) for found in grouped(entries)]
    placed = [(found, tuple(ranked(rows, boards.apart(rows, p)))) for found, rows in folded]
    return [Table(found.group, places, (), found.when, found.outdated) for found, places in placed]


def run(name: str, lang: str, accuracy: float | None = 0.5, n: int = 200, **changes: Any) -> Entry:
    """Tested in `lang`; `on`: trained on (default: the same), `count`: how many rows; `settings`: by --set."""
    on, count, settings = changes.pop("on", lang), changes.pop("count", 9), changes.pop("settings", {})
    train = {"langs": on.split("+"), "train_count": count, "train_rows": on, "validation_rows": "v"}
    metrics = {"n": n, "ok": n, "unparsed": 0, **changes.pop("metrics", {})}
    changes["train"] = None if changes.get("prompt") else train
    made = entry(name, accuracy, lang=lang, rows=f"{n:08d}{lang}", metrics=metrics, **changes)
    return boards.renamed(boards.with_changes(made, settings=settings), f"{name}.{lang}.{made.seed}.{on}.{count}.{n}")


def shape(section: Section) -> list[tuple[str, str, list[str]]]:
    """Each line with the languages that it has."""
    langs = [table.group[2] for table in section.tables]
    return [(line.backend, line.how, [langs[column] for column in sorted(line.places)]) for line in section.lines]


def only(found: Sequence[Section]) -> Section:
    (section,) = found
    return section


def test_a_model_for_each_language_is_one_line() -> None:
    found = only(sections(tables(run("a", "en", 0.9), run("a", "fr", 0.8), run("b", "fr", 0.7))))
    own = "trained on 9 of its own language"
    assert shape(found) == [("a", own, ["en", "fr"]), ("b", own, ["fr"])]


def test_one_model_for_all_languages_is_another_and_holds_its_own_language_too() -> None:
    entries = [run("a", "en", 0.9), run("a", "fr", 0.5, on="en"), run("a", "fr", 0.8)]
    assert shape(only(sections(tables(*entries)))) == [
        ("a", "trained on 9 of its own language", ["en", "fr"]),
        ("a", "trained on 9 en", ["en", "fr"]),
    ]
    # Nothing to say of a model for each language where there is one alone.
    assert shape(only(sections(tables(*entries[:2])))) == [("a", "trained on 9 en", ["en", "fr"])]


def test_trained_on_two_languages_together() -> None:
    entries = [run("a", lang, on="en+fr") for lang in ("en", "fr", "ja")]
    assert shape(only(sections(tables(*entries)))) == [("a", "trained on 9 en+fr", ["en", "fr", "ja"])]


def test_the_prompt_of_a_language_is_no_line_of_its_own() -> None:
    entries = [run("llm", "en", prompt=prompt()), run("llm", "ja", prompt=prompt(variant="ja"))]
    assert shape(only(sections(tables(*entries)))) == [("llm", "strict · score", ["en", "ja"])]
    other = run("llm", "ja", 0.4, prompt=prompt(variant="formal"))
    assert ("llm", "strict.formal · score", ["ja"]) in shape(only(sections(tables(*entries, other))))


def test_what_a_name_does_not_tell_apart_is_not_mixed() -> None:
    pinned = {"name": "a", "revision": "1"}
    entries = [run("a", "en", backend=pinned), run("a", "fr", backend={**pinned, "revision": "2"})]
    assert [langs for _, _, langs in shape(only(sections(tables(*entries))))] == [["en"], ["fr"]]
    batches = [run("a", lang, backend={**pinned, "options": {"batch_size": size}}) for lang, size in (("en", 8), ("fr", 16))]
    assert [langs for _, _, langs in shape(only(sections(tables(*batches))))] == [["en", "fr"]]


def test_all_the_rows_that_each_language_has_are_one_setting() -> None:
    entries = [run("a", "en", 0.9, count=1100), run("a", "fr", 0.8, count=1000), run("a", "fr", 0.5, count=500)]
    assert shape(only(sections(tables(*entries)))) == [
        ("a", "trained on 1000 to 1100 of its own language", ["en", "fr"]),
        ("a", "trained on 500 of its own language", ["fr"]),
    ]


def test_the_order_is_by_the_mean_distance_from_the_best_of_each_column() -> None:
    entries = [
        *(run("even", lang, 0.7) for lang in ("en", "fr")),
        run("steep", "en", 0.9),
        run("steep", "fr", 0.3),
        run("alone", "fr", 0.69),
        run("none", "fr", None),
    ]
    # even: (0.2 + 0) / 2, steep: (0 + 0.4) / 2, alone: 0.01
    assert [line.backend for line in only(sections(tables(*entries))).lines] == ["alone", "even", "steep", "none"]
    mae = {"headline": ["mae"]}
    errors = [
        run(name, lang, metrics={**mae, "values": {"mae": value(error)}})
        for name, lang, error in (("good", "en", 0.2), ("good", "fr", 0.2), ("bad", "en", 0.9))
    ]
    assert [line.backend for line in only(sections(tables(*errors))).lines] == ["good", "bad"]


def test_two_sets_of_rows_of_a_language_are_never_in_one_section() -> None:
    entries = [run(name, lang, n=n) for n in (1000, 500) for lang in ("en", "fr") for name in ("a", "b")]
    found = sections(tables(*entries, run("a", "en", n=300)))
    assert [[(t.group[2], t.first.record.metrics.n) for t in section.tables] for section in found] == [
        [("en", 1000), ("fr", 1000)],
        [("en", 500), ("fr", 500)],
        [("en", 300)],
    ]
    # What has lines in common stands together, whatever the number of rows.
    unlike = sections(tables(run("a", "en", n=900), run("a", "fr", n=120), run("z", "ja", n=77)))
    assert [[t.group[2] for t in section.tables] for section in unlike] == [["en", "fr"], ["ja"]]


def test_settings_that_all_lines_share_are_named_once() -> None:
    short = {"max_length": 64}
    entries = [run("a", "en", settings={**short, "lr": 1}), run("b", "fr", settings={**short, "lr": 2})]
    found = only(sections(tables(*entries)))
    assert found.common == "max_length=64"
    assert {line.how.partition(", ")[2] for line in found.lines} == {"lr=1", "lr=2"}
    mixed = only(sections(tables(entries[0], run("c", "fr"))))
    assert mixed.common == ""
    assert only(sections(tables(entries[0]))).lines[0].how == "trained on 9 en, max_length=64, lr=1"


def lines_of(text: str) -> dict[str, list[str]]:
    """The cells behind `backend | how` of the first table, by backend."""
    first = text.split("<details>")[0].replace("&nbsp;", " ")
    rows = [line.strip("| ").split(" | ") for line in first.splitlines() if line.startswith("| ")]
    return {row[0]: row[2:] for row in rows}


def test_a_cell_is_rank_value_interval_and_a_link_and_a_gap_is_a_dash() -> None:
    entries = [run("a", "en", 0.9), run("a", "fr", 0.8), run("b", "fr", 0.6), run("c", "fr", 0.7, n=40)]
    text = boards.board_text(tables(*entries, p=1.0))
    found = lines_of(text)
    assert found["backend"] == ["en<br>n = 200", "fr<br>n = 200"]
    assert found["a"] == [
        "1 · **[0.900](runs/a.en.0.en.9.200/run.json)** ◇<br><sub>[0.250, 0.750]</sub>",
        "1= · **[0.800](runs/a.fr.0.fr.9.200/run.json)** ◇<br><sub>[0.250, 0.750]</sub>",
    ]
    assert found["b"] == ["–", "1= · **[0.600](runs/b.fr.0.fr.9.200/run.json)** ◇<br><sub>[0.250, 0.750]</sub>"]
    assert "| c | trained on 9 fr | 1 · **[0.700](runs/c.fr.0.fr.9.40/run.json)**" in text.replace("&nbsp;", " ")
    apart = lines_of(boards.board_text(tables(*entries)))
    assert apart["b"][1].startswith("2 · [0.600](runs/")
    unknown = lines_of(boards.board_text(tables(run("a", "en", None))))
    assert unknown["a"] == ["1 · **[n/a](runs/a.en.0.en.9.200/run.json)**<br>" + SUB]


SUB = "<sub>[0.250, 0.750]</sub>"


def test_seeds_are_counted_in_their_cell() -> None:
    seeds = [run("a", "en", accuracy, seed=seed) for seed, accuracy in enumerate((0.5, 0.9, 0.7))]
    (cell,) = lines_of(boards.board_text(tables(*seeds)))["a"]
    assert cell.startswith("1 · **[0.700](runs/a.en.2.en.9.200/run.json)** ×3<br>")


def test_no_section_mixes_labels() -> None:
    names = run("a", "en", 0.97, labels=["app one", "app two", "app three"]), run("a", "fr", 0.66)
    assert [len(section.tables) for section in sections(tables(*names))] == [1, 1]
    kinds = run("a", "en", label_kind="nominal"), run("a", "fr")
    assert [len(section.tables) for section in sections(tables(*kinds))] == [1, 1]
    assert not [name for name in pictures(tables(*names), {}) if name.endswith("languages.svg")]


def test_of_several_sets_of_rows_those_of_today_come_first_and_say_when() -> None:
    def at(day: int, rows: str) -> Entry:
        made = entry(f"{rows}{day}", rows=rows * 8)
        return boards.with_changes(made, finished=f"2026-01-0{day}T10:00:00+00:00")

    text = boards.board_text(tables(at(1, "b"), at(3, "c"), at(2, "a")))
    heads = [line for line in text.splitlines() if line.startswith("### ")]
    assert heads == [
        "### en: 200 rows (last run 2026-01-03)",
        "### en: 200 rows (outdated; last run 2026-01-02)",
        "### en: 200 rows (outdated; last run 2026-01-01)",
    ]
    assert "    - **en**, 200 rows (last run 2026-01-03): this run of c3 " in text
    assert "en<br>n = 200<br>2026-01-02" in text
    assert "(last run" not in boards.board_text(tables(at(1, "b")))


def test_lines_that_read_alike_say_what_differs_in_the_languages_that_both_have() -> None:
    """Only the batch size: it makes no line of its own where there is one run in each language."""
    small, large = ({"name": "llm", "model": None, "options": {"batch_size": size}} for size in (8, 16))
    entries = [run("llm", "en", backend=large, prompt=prompt()), run("llm", "ja", backend=large, prompt=prompt(variant="ja"))]
    again = run("llm", "ja", backend=small, prompt=prompt(variant="ja"))
    other = boards.renamed(again, "other")
    assert sorted(shape(only(sections(tables(*entries, other))))) == [
        ("llm", "strict · score, batch_size=16", ["en", "ja"]),
        ("llm", "strict · score, batch_size=8", ["ja"]),
    ]


def test_the_contents_say_who_is_first_and_what_is_tied(golden: Callable[[str, str], None]) -> None:
    entries = [run("a", "en", 0.9), run("b", "en", 0.8), run("c", "en", 0.7)]

    def said(*entries: Entry, p: float = 0.0) -> str:
        (line,) = (line for line in boards.board_text(tables(*entries, p=p)).splitlines() if line.startswith("    - "))
        return line

    some = tables(*entries)
    places = [p if p.row.entry.backend != "b" else type(p)(1, p.row, True) for p in some[0].places]
    text = boards.board_text([Table(some[0].group, tuple(places), ())])
    lines = [said(entries[0]), said(*entries), said(*entries[:2]), said(*entries[:2], p=1.0), said(*entries, p=1.0)]
    lines += [line for line in text.splitlines() if line.startswith("    - ")]
    golden("reports/contents", "\n".join(lines) + "\n")
    assert "- [toy (test)](#task-1)\n" in text
    assert '## <a id="task-1"></a>toy (test)\n' in text


def test_a_task_of_any_name_is_linked() -> None:
    text = boards.board_text(tables(run("a", "en", task="x] [y](z")))
    assert "- [x&#93; &#91;y&#93;&#40;z (test)](#task-1)" in text


def test_every_table_has_a_blank_line_around_it_and_cells_for_all_its_columns() -> None:
    entries = [run(name, lang, n=n) for n in (1000, 500) for lang in ("en", "fr") for name in ("a", "b|c")]
    lines = boards.board_text(tables(*entries)).splitlines()
    for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
        if line.startswith("| ") and not before.startswith("|"):
            assert before == ""
            assert line.count(" | ") == after.count("---") - 1
        if line.startswith(("<details>", "</details>")):
            assert "" in (before, after)


COST = {"a.en.0.en.9.200": 0.5, "b.en.0.en.9.200": 0.1, "a.fr.0.fr.9.200": None}


def test_the_pictures_are_named_by_their_rows_and_hold_the_records_numbers() -> None:
    found = tables(run("a", "en", 0.9, rate=5.0), run("b", "en", 0.8, rate=50.0), run("a", "fr", 0.7))
    drawn = pictures(found, COST)
    english = found[0]
    assert set(drawn) == {
        file_name([english], "speed"),
        file_name([english], "cost"),
        file_name(found, "languages"),
    }
    assert re.fullmatch(r"toy-test-en-[0-9a-f]{8}-speed\.svg", file_name([english], "speed"))
    speed = {row["name"]: (row["x"], row["value"], row["front"]) for row in drawn[file_name([english], "speed")].rows}
    assert speed == {"a": (5.0, 0.9, True), "b": (50.0, 0.8, True)}
    cells = [(row["name"], row["lang"], row["text"]) for row in drawn[file_name(found, "languages")].rows]
    assert cells == [
        ("1. a · trained on 9 of its own language", "en (n = 200)", "0.900"),
        ("1. a · trained on 9 of its own language", "fr (n = 200)", "0.700"),
        ("2. b · trained on 9 of its own language", "en (n = 200)", "0.800"),
    ]
    assert pictures(found, COST).keys() == drawn.keys()
    assert [row["shade"] for row in drawn[file_name(found, "languages")].rows] == pytest.approx([1, 0, 0.5])


def test_what_is_beaten_in_both_is_not_on_the_front() -> None:
    found = tables(run("a", "en", 0.9, rate=50.0), run("b", "en", 0.8, rate=5.0), run("c", "en", 0.8, rate=60.0))
    (picture,) = pictures(found, {}).values()
    assert {row["name"]: row["front"] for row in picture.rows} == {"a": True, "b": False, "c": True}


def test_what_costs_nothing_beats_though_it_has_no_place_on_the_axis() -> None:
    found = tables(run("free", "en", 0.9), run("a", "en", 0.8), run("b", "en", 0.95))
    costs = {place.row.entry.run_id: 0.0 if place.row.entry.backend == "free" else 0.5 for place in found[0].places}
    picture = pictures(found, costs)[file_name(found, "cost")]
    assert {row["name"]: row["front"] for row in picture.rows} == {"a": False, "b": True}
    spec = picture.spec()
    assert "1 at 0 not shown" in spec["layer"][2]["encoding"]["x"]["title"]


def test_speeds_of_two_machines_are_not_in_one_picture() -> None:
    def on(cpu: str, name: str) -> Entry:
        made = run(name, "en")
        return boards.renamed(boards.with_changes(made, machine={"cpu": cpu, "cores": 2, "gpu": None}), name)

    found = tables(on("fast", "a"), on("slow", "b"), on("slow", "c"))
    (picture,) = pictures(found, {}).values()
    assert {row["name"] for row in picture.rows} == {"b", "c"}
    assert picture.spec()["layer"][2]["encoding"]["x"]["title"] == "rows per second, on slow (2 cores)"


def test_pictures_are_shown_where_they_were_drawn() -> None:
    found = tables(run("a", "en", 0.9), run("b", "en", 0.8), run("a", "fr", 0.7))
    drawn = pictures(found, COST)
    text = boards.board_text(found, (), drawn)
    assert all(f"](charts/{name})\n" in text for name in drawn)
    assert "![" not in boards.board_text(found)


@pytest.mark.slow
def test_pictures_are_written_and_those_of_earlier_boards_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vl_convert")
    found = pictures(tables(run("a", "en", 0.9), run("b", "en", 0.8)), COST)
    folder = tmp_path / "charts"
    folder.mkdir()
    for name in ("gone-01234567-cost.svg", "mine.svg"):
        (folder / name).write_text("")
    drawn = write_pictures(found, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*found, "mine.svg"])
    first = [(folder / name).read_bytes() for name in drawn]
    assert write_pictures(found, folder) == drawn
    assert [(folder / name).read_bytes() for name in drawn] == first
    assert all(b">a<" in picture for picture in first)

    def missing(self: Picture) -> bytes:
        raise MissingExtra("altair", "charts", "Drawing")

    monkeypatch.setattr(Picture, "svg", missing)
    assert write_pictures(found, folder, drawn) == drawn, "nothing has changed, so nothing is drawn"
    changed = next(iter(found))
    (folder / changed).write_bytes(b"<svg/>")
    with pytest.raises(MissingExtra):
        write_pictures(found, folder, drawn)
    with pytest.raises(MissingExtra):
        write_pictures(found, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_pictures_of_any_language_can_be_written(tmp_path: Path) -> None:
    codes = ["x" * 250, "é" * 300, "../../up", "Zh", "zh", "ZH.", "CON", "", "a\x00b"]
    names = [file_name([table], "speed") for code in codes for table in tables(run("a", code))]
    assert len({name.casefold() for name in names}) == len(codes)
    for name in names:
        (tmp_path / f"{name}.0123abcd.tmp").touch()
        assert "/" not in name
