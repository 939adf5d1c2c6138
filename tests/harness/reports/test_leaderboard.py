"""The leaderboard: the same records give the same bytes; only what can be compared stands in one table."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import boards
import pytest
import toy
from boards import entry, packaged, prompt, record, value
from unsealed import unseal

from harness.analysis.ranks import fold_seeds, ranked
from harness.core.record import Estimate
from harness.core.types import LabelKind
from harness.records.entries import Entry, read_entries
from harness.records.store import Store
from harness.reports.leaderboard import left_out, sentence, summary
from harness.reports.tables import Table, grouped, read_tables
from harness.reports.text.formats import shown
from harness.reports.words import part
from harness.running.runner import EngineSlot, run
from harness.specs.reported import Figure, Reported
from harness.statistics.intervals import small


def board(entries: Sequence[Entry], p: float = 0.0) -> list[Table]:
    """Tables of entries without predictions; `p` is what every test says."""
    folded = [(found, fold_seeds(found.entries)) for found in grouped(entries)]
    placed = [(found, tuple(ranked(rows, boards.apart(rows, p)))) for found, rows in folded]
    return [Table(found.group, places, (), found.when, found.outdated) for found, places in placed]


def said_of(tables: Sequence[Table]) -> str:
    return sentence(list(map(summary, tables)))


def page(entries: Sequence[Entry], reported: Sequence[Reported] = (), p: float = 0.0) -> str:
    return boards.board_text(board(entries, p), reported)


def table_rows(text: str) -> list[list[str]]:
    """Cells of the body rows of the tables that hold all metrics."""
    lines = (line.replace("&nbsp;", " ") for line in text.splitlines() if re.match(r"\| [\d‡]", line))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_no_runs(tmp_path: Path) -> None:
    assert read_entries(Store(tmp_path / "none")) == []
    assert page([]).startswith("# Leaderboard\n")
    assert "No runs yet." in page([])
    assert "## How to read this\n" in page([])
    assert "No runs yet." not in page([entry("a")])


def test_best_first_and_without_a_value_last() -> None:
    entries = [entry("low", 0.25), entry("none", None), entry("high", 0.75), entry("same-b", 0.5), entry("same-a", 0.5)]
    rows = table_rows(page(entries))
    assert [row[1] for row in rows] == ["high", "same-a", "same-b", "low", "none"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[0][3] == "0.750 [0.250, 0.750] ◇"
    assert rows[4][3] == "n/a"


def test_a_seed_is_shown_where_it_is_not_the_first() -> None:
    rows = table_rows(page([entry("a"), entry("b", seed=1)]))
    assert [row[2] for row in rows] == ["trained on 9 en", "trained on 9 en, seed 1"]


def test_where_lower_is_better_the_lowest_comes_first() -> None:
    entries = [
        entry(name, metrics={"headline": ["mae", "accuracy"], "values": {"mae": value(error), "accuracy": value(0.5)}})
        for name, error in (("worse", 1.5), ("best", 0.0), ("none", None), ("good", 0.25))
    ]
    assert [row[1] for row in table_rows(page(entries))] == ["best", "good", "worse", "none"]
    assert "| MAE | accuracy |" in page(entries)


@pytest.mark.parametrize(
    "other",
    [
        {"rows": "bbbbbbbb2"},
        {"lang": "de"},
        {"split": "validation"},
        {"task": "other"},
        {"labels": ["bad", "fine"]},
        {"label_kind": "nominal"},
    ],
    ids=str,
)
def test_only_runs_on_the_same_rows_and_labels_share_a_table(other: dict[str, Any]) -> None:
    entries = [entry("a"), entry("b"), entry("c", **other)]
    assert sorted(len(found.entries) for found in grouped(entries)) == [1, 2]
    text = page(entries)
    assert text.count("| # |") == 2
    assert [row[0] for row in table_rows(text)].count("1") == 2


def test_larger_row_sets_come_first() -> None:
    text = page([entry("few", rows="aaaaaaaa1"), entry("many", rows="cccccccc3", metrics={"n": 500, "ok": 500})])
    assert text.index("500 rows (<code>cccccccc</code>)") < text.index("200 rows (<code>aaaaaaaa</code>)")
    assert text.count("</a>toy (test)") == 1


def test_unread_and_failed_rows_have_columns_where_there_are_any() -> None:
    all_read = {"ok": 200, "unparsed": 0}
    assert "unparsed |" not in page([entry("a", metrics=all_read)])
    failing = entry("b", 0.4, metrics={"unparsed": 0, "failed": 1, "ok": 199})
    lines = page([entry("a", metrics=all_read), failing]).splitlines()
    assert "| accuracy | failed | rows/s | run |" in next(line for line in lines if line.startswith("| #"))
    found = table_rows(page([entry("a", 0.5), entry("b", 0.4, metrics={"unparsed": 0, "failed": 2})]))
    assert [row[4:6] for row in found] == [["10.0%", "–"], ["–", "1.0%"]]


@pytest.mark.parametrize(("share", "shown"), [(None, False), (0.0, False), (0.01, False), (0.011, True), (1.0, True)])
def test_truncated_texts_have_a_column_from_1_percent_on(share: float | None, shown: bool) -> None:
    cut = None if share is None else {"texts": round(share * 200), "share": share, "tokens_lost_share": share / 4}
    long = boards.with_changes(entry("long"), cut=cut)
    few = boards.with_changes(entry("few", 0.4), cut={"texts": 1, "share": 0.005, "tokens_lost_share": 0.0001})
    entries = [long, few, entry("prompted", 0.3, prompt=prompt(), train=None)]
    head = next(line for line in page(entries).splitlines() if line.startswith("| #"))
    assert ("| truncated |" in head) is shown
    if shown:
        assert share is not None
        column = [row[5] for row in table_rows(page(entries))]
        assert column == [f"{share:.1%} ({share / 4:.1%} of tokens)", "0.5% (&#60;0.1% of tokens)", "–"]


def test_a_share_that_is_not_nothing_does_not_look_like_it() -> None:
    assert [part(share) for share in (0, 0.0004, 0.001, 0.5, 1)] == ["–", "<0.1%", "0.1%", "50.0%", "100.0%"]


def test_the_speed() -> None:
    assert table_rows(page([entry("a")]))[0][5] == "12.3"
    assert table_rows(page([entry("a", rate=None)]))[0][5] == "n/a"
    assert table_rows(page([entry("a", rate=12345.6)]))[0][5] == "12,346"


def test_rows_that_cannot_be_told_apart_share_a_rank() -> None:
    entries = [entry("a", 0.5), entry("b", 0.6), entry("c", 0.4)]
    assert [row[0] for row in table_rows(page(entries, p=1.0))] == ["1=", "1=", "1="]
    assert [row[0] for row in table_rows(page(entries, p=0.0))] == ["1", "2", "3"]


def test_seeds_share_a_row_with_their_spread_and_a_link_each() -> None:
    made = [entry("a", accuracy, seed=seed) for seed, accuracy in enumerate((0.5, 0.9, 0.7))]
    entries = [boards.renamed(e, f"run.{e.seed}") for e in made]
    text = page([*entries, entry("b", 0.1)])
    both = table_rows(text)
    assert both[0][1:3] == ["a", "trained on 9 en, 3 seeds"]
    assert both[0][3].startswith("0.700 [")
    assert both[0][4] == "0.500 – 0.700 – 0.900 (3)"
    assert both[0][-1] == "seeds [0](runs/run.0/run.json), [1](runs/run.1/run.json), [2](runs/run.2/run.json)"
    assert both[1][4] == "–"
    assert "| accuracy | accuracy over seeds |" in text
    assert "| accuracy over seeds |" not in page([entry("b", 0.1)])


def supported(*rows: int) -> list[dict[str, Any]]:
    return [{"name": str(i), "precision": None, "recall": None, "f1": None, "support": n} for i, n in enumerate(rows)]


@pytest.mark.parametrize(("n", "supports"), [(40, [20, 20]), (999, [3, 996])], ids=["few in all", "few of a label"])
def test_few_rows_are_flagged(n: int, supports: list[int]) -> None:
    lines = page([entry("a", metrics={"n": n, "per_class": supported(*supports)})]).splitlines()
    assert "| en †<br>n = " in next(line for line in lines if line.startswith("| backend"))
    assert " rows † (<code>" in next(line for line in lines if line.startswith("<summary>"))
    assert small(n, supports) is not None
    assert f"† {small(n, supports)}" in lines
    plenty = page([entry("a", metrics={"n": 2000, "per_class": supported(1000, 1000)})])
    assert "†" not in plenty.partition("[More]")[2].partition("## How to read this")[0]


def test_the_sentence_says_how_large_the_models_are() -> None:
    trained = entry("e5", 0.6, backend={"name": "e5", **packaged("e5-small")})
    asked = entry("llm", 0.5, backend={"name": "llm", **packaged("smollm2")}, prompt=prompt(), train=None)
    said = said_of(board([trained, asked]))
    assert (said.count("118M"), said.count("135M")) == (1, 1)
    assert "135M" not in said_of(board([trained]))
    assert said_of(board([asked])).count("135M") <= 1, "nothing is compared"
    assert page([trained, asked]).count("e5 (118M parameters, trained on 9 en)") == 1


def test_what_the_weights_are_stands_in_each_table_that_ranks() -> None:
    expanded = entry("e5", 0.6, backend={"name": "e5", "dtype": "float32", **packaged("e5-small")})
    bags, served = entry("tfidf", 0.5), entry("api", 0.4, backend={"name": "api", "model": "gpt"}, prompt=prompt(), train=None)
    text = page([expanded, bags, served])
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("| ")]
    cells = [[[cell.strip() for cell in line.strip("|").split("|")] for line in lines] for lines in tables]
    assert [[line[lines[0].index("weights")] for line in lines[2:]] for lines in cells] == [
        ["118M, 4-bit → fp32", "–", "–"]
    ] * 2
    assert all("weights" not in line for line in page([bags, served]).splitlines() if line.startswith("| "))


def test_the_sentences(golden: Callable[[str, str], None]) -> None:
    one = [entry("a", 0.6), entry("b", 0.5), entry("c", 0.4)]
    two = one[:2]
    lonely = entry("d", rows="other")
    several = [*two, lonely, entry("e", rows="more"), entry("f", rows="more")]
    apart, level = board(several), board(several, p=1.0)
    some = [*(table for table in apart if len(table.places) > 1)][:1]
    rest = [table for table in level if len(table.places) > 1]
    boards = {
        "nothing": [],
        "one run": board(one[:1]),
        "another is worse": board(two),
        "two are worse": board(one),
        "two are tied with the first": board(one, p=1.0),
        "two tables of one run": board([two[0], lonely]),
        "one of two tables has runs to compare": board([*two, lonely]),
        "first in each table": apart,
        "tied in each table": level,
        "first in one table, tied in another": [*some, rest[1]],
        "first in each of ten tables": [*apart] * 5,
        "tied in each of ten tables": [*level] * 5,
        "first in eight tables, tied in one": [*some * 8, rest[1]],
        "first in four tables, tied in eight": [*some, *rest] * 4,
    }
    text = "".join(f"{name}: {said_of(tables)}\n" for name, tables in boards.items())
    golden("reports/sentences", text + f"damaged: {left_out(['a'])}\ndamaged: {left_out(['a', 'b'])}\n")


TRUTH = [i % 3 for i in range(300)]


def answers(right: int) -> list[int]:
    return [label if (i * 7) % 300 < right else (label + 1) % 3 for i, label in enumerate(TRUTH)]


def test_ranks_come_from_the_predictions(store: Store) -> None:
    for name, right in (("best", 240), ("near", 238), ("far", 120)):
        record(store, name, answers(right), TRUTH)
    (table,) = read_tables(store, read_entries(store))
    assert [(p.row.entry.backend, p.rank, p.tied) for p in table.places] == [
        ("best", 1, True),
        ("near", 1, True),
        ("far", 3, False),
    ]
    assert table.spreads == ()


def test_several_prompts_of_one_model_are_a_row_of_a_table_below(store: Store) -> None:
    for name, right in (("strict", 240), ("loose", 120), ("terse", 200)):
        record(store, "llm", answers(right), TRUTH, prompt=prompt(name))
    record(store, "tfidf", answers(150), TRUTH)
    text = boards.board_text(read_tables(store, read_entries(store)))
    ranking, prompts = text.split("The same models with each of their prompts")
    assert [row[1] for row in table_rows(ranking)] == ["llm", "llm", "tfidf", "llm"]
    (line,) = (line for line in prompts.splitlines() if line.startswith("| llm"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:6] == ["llm", "score", "strict, terse, loose", "–, –, –", "0.400 – 0.667 – 0.800", "0.400&#42;"]


def test_a_multilabel_group_is_ranked_by_its_own_metric(store: Store) -> None:
    truth = [(i % 3,) for i in range(90)]
    for name, right in (("good", 80), ("bad", 50)):
        given = [t if i < right else ((t[0] + 1) % 3,) for i, t in enumerate(truth)]
        record(store, name, given, truth, kind=LabelKind.MULTILABEL)
    (table,) = read_tables(store, read_entries(store))
    assert [(p.row.entry.backend, p.rank) for p in table.places] == [("good", 1), ("bad", 2)]
    assert table.metric == "micro_f1"


def test_a_record_whose_predictions_are_damaged_is_left_out(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    whole = record(store, "a", answers(200), TRUTH)
    name = record(store, "b", answers(100), TRUTH)
    (store.root / name / "predictions.jsonl").write_text("{\n")
    (table,) = read_tables(store, read_entries(store))
    assert [place.row.entry.run_id for place in table.places] == [whole]
    assert name in caplog.text


def test_what_was_left_out_stands_at_the_end() -> None:
    assert left_out([]) == ""
    assert boards.board_text([], note=left_out(["a", "b"])).endswith(f"\n{left_out(['a', 'b'])}\n")


def figure(**changes: Any) -> Figure:
    return Figure.model_validate(
        {"model": "m", "task": "toy", "lang": "en", "metric": "accuracy", "value": 0.4, "n": 10, **changes}
    )


def test_reported_figures_come_last_and_are_not_ranked() -> None:
    sources = [
        Reported(name="one", source="a report", note="ten rows", figures=[figure(note="by hand")]),
        Reported(
            name="two", source="a card", figures=[figure(value=0.99, lang=None, n=None, split="validation", metric="qwk")]
        ),
    ]
    text = page([entry("a", 0.2)], sources)
    before, section = text.split("## Reported by others, not measured here\n")
    contents = "- [Reported by others, not measured here](#reported-by-others-not-measured-here)\n"
    assert before.replace(contents, "") == page([entry("a", 0.2)]) + "\n"
    assert table_rows(text) == table_rows(before)
    assert "### one\n\nSource: a report.\n\nNote: ten rows\n" in section
    assert "| m | toy | en |  | n = 10 | accuracy | 0.400 [0.122, 0.738] | by hand |" in section
    assert "| m | toy | all |  | validation, n unknown | QWK | 0.99 |  |" in section


def test_hostile_reported_words_stay_in_their_cell() -> None:
    words = dict.fromkeys(("model", "task", "lang", "train", "split", "metric", "note"), HOSTILE)
    source = Reported(name=HOSTILE, source=HOSTILE, note=HOSTILE, figures=[figure(**words)])
    section = page([], [source]).split("## Reported")[1]
    lines = section.splitlines()
    (row,) = (line for line in lines if line.startswith("| a&#124;"))
    assert row.count("|") == 9
    assert sum(line.startswith("#") for line in lines) == 1
    assert "<script" not in section
    assert "](javascript" not in section


def test_values_with_and_without_an_interval() -> None:
    assert shown(Estimate(value=0.51249, low=0.4, high=0.61)) == "0.512 [0.400, 0.610]"
    assert shown(Estimate(value=1.0, low=None, high=None)) == "1.000"
    assert shown(Estimate(value=None, low=None, high=None)) == "n/a"


HOSTILE = "a|b\\|c`d`<script>alert(1)</script>\n| x | [y](javascript:z) **w** &amp;\u2028\r&"


def test_hostile_names_stay_in_their_cell() -> None:
    hostile = prompt(HOSTILE, variant=HOSTILE, decoding="free")
    entries = [entry(HOSTILE, prompt=hostile, task=HOSTILE, lang=HOSTILE), entry("fine")]
    text = page(entries)
    rows = table_rows(text)
    assert [len(row) for row in rows] == [7] * 2
    assert "<script" not in text
    assert "](javascript" not in text
    headings = [line.partition("</a>")[2] or line for line in text.splitlines() if line.startswith("#")]
    for name in [row[1] for row in rows] + headings:
        assert not set("|\\<>*") & set(name)
    assert len(headings) == 6
    for line in text.splitlines():
        if line.startswith("| a&#124;"):
            assert line.count("|") == 4


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = [Store(tmp_path / folder / "runs") for folder in "ab"]
    plans = [(backend, lang, seed) for backend in ("toy-model", "toy-classifier") for lang in ("en", "de") for seed in (0, 1)]
    for store in stores:
        for backend, lang, seed in plans:
            result = run(toy.plan(project, backend, lang=lang, seed=seed), store, EngineSlot(), toy.quiet)
            manifest = (result.folder / "run.json").read_text(encoding="utf-8")
            rate = re.sub(r'"rows_per_second": [^,\n]+', '"rows_per_second": 1.0', manifest)  # the only thing that may differ
            (result.folder / "run.json").write_text(rate, encoding="utf-8")
            unseal(result.folder)
        plans.reverse()
    iterdir = Path.iterdir

    def shuffled(self: Path) -> Iterator[Path]:
        found = list(iterdir(self))
        random.shuffle(found)
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", shuffled)
    texts = {boards.board_text(read_tables(store, read_entries(store))) for store in stores for _ in range(5)}
    assert len(texts) == 1
    text = texts.pop()
    assert len(table_rows(text)) == 4  # two seeds share a row
    for name in stores[0].ids():
        assert f"](runs/{name}/run.json)" in text
    entries = read_entries(stores[0])
    assert boards.board_text(read_tables(stores[0], entries[::-1])) == boards.board_text(read_tables(stores[0], entries))


def test_the_record_of_a_run_with_an_odd_name_is_linked() -> None:
    odd = entry("a")
    text = page([boards.renamed(odd, "run a](b")])
    assert "[record](runs/run%20a%5D%28b/run.json)" in text
