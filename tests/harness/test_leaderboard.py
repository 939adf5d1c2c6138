"""The leaderboard: the same records give the same bytes; only what can be compared stands in one table."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from harness.leaderboard import LEGEND, Entry, cells, escape, markdown, read_entries, shown, tables
from harness.reported import Figure, Reported
from harness.runner import EngineSlot, run
from harness.store import Store


def value(number: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": number, "low": low, "high": high}


def entry(name: str, accuracy: float | None = 0.5, **changes: Any) -> Entry:
    identity = {
        "task": "toy",
        "split": "test",
        "lang": "en",
        "rows": "aaaaaaaa1",
        "labels": ["bad", "good"],
        "label_kind": "ordinal",
        "backend": {"name": name},
        "prompt": None,
        "train": {"langs": ["en"], "train_count": 9},
        "seed": 0,
    }
    metrics = {"n": 10, "ok": 9, "headline": ["accuracy"], "values": {"accuracy": value(accuracy, 0.25, 0.75)}}
    extra = {key: changes.pop(key) for key in ("metrics", "rate") if key in changes}
    timing = {"timing": {"rows_per_second": extra.get("rate", 12.34)}}
    return Entry(f"run.{name}", {"identity": {**identity, **changes}, **timing}, {**metrics, **extra.get("metrics", {})})


def table_rows(text: str) -> list[list[str]]:
    """Cells of the body rows of all tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if re.match(r"\| \d", line)]


def test_no_runs(tmp_path: Path) -> None:
    assert read_entries(Store(tmp_path / "none")) == []
    assert markdown([]).startswith("# Leaderboard\n")
    assert "No runs yet." in markdown([])
    assert LEGEND in markdown([])
    assert "No runs yet." not in markdown([entry("a")])


def test_best_first_and_without_a_value_last() -> None:
    entries = [entry("low", 0.25), entry("none", None), entry("high", 0.75), entry("same-b", 0.5), entry("same-a", 0.5)]
    rows = table_rows(markdown(entries))
    assert [row[1] for row in rows] == ["high", "same-a", "same-b", "low", "none"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[0][3] == "0.750 [0.250, 0.750]"
    assert rows[4][3] == "n/a"


def test_a_seed_is_shown_where_it_is_not_the_first() -> None:
    rows = table_rows(markdown([entry("a"), entry("b", seed=1)]))
    assert [row[2] for row in rows] == ["trained on 9 en", "trained on 9 en, seed 1"]


def test_where_lower_is_better_the_lowest_comes_first() -> None:
    entries = [
        entry(name, metrics={"headline": ["mae", "accuracy"], "values": {"mae": value(error), "accuracy": value(0.5)}})
        for name, error in (("worse", 1.5), ("best", 0.0), ("none", None), ("good", 0.25))
    ]
    assert [row[1] for row in table_rows(markdown(entries))] == ["best", "good", "worse", "none"]
    assert "| MAE | accuracy |" in markdown(entries)


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
    assert sorted(len(members) for _, members in tables(entries)) == [1, 2]
    text = markdown(entries)
    assert text.count("| # |") == 2
    assert [row[0] for row in table_rows(text)].count("1") == 2


def test_larger_row_sets_come_first() -> None:
    text = markdown([entry("few", rows="aaaaaaaa1"), entry("many", rows="cccccccc3", metrics={"n": 500, "ok": 500})])
    assert text.index("en: 500 rows (`cccccccc`)") < text.index("en: 10 rows (`aaaaaaaa`)")
    assert text.count("## toy (test)") == 1


def test_the_share_that_could_be_read_and_the_speed() -> None:
    assert table_rows(markdown([entry("a")]))[0][4:6] == ["90.0%", "12.3"]
    assert table_rows(markdown([entry("a", rate=None)]))[0][5] == "n/a"


def test_how_a_run_was_made() -> None:
    assert entry("a", train={"langs": ["en", "de"], "train_count": 400}).how == "trained on 400 en+de"
    prompt = {"name": "strict", "variant": "ja", "decoding": "score", "shots": ["x", "y"]}
    assert entry("a", prompt=prompt, train=None).how == "strict.ja · score, 2 exemplars"
    assert entry("a", prompt={**prompt, "variant": None, "shots": []}, train=None).how == "strict · score"
    even = {**prompt, "variant": None, "calibration": "batch", "decision": "expected"}
    assert entry("a", prompt=even, train=None).how == "strict · score, batch calibration, expected value, 2 exemplars"


def test_what_was_changed_and_where_it_came_from_stands_with_how() -> None:
    train = {
        "langs": ["fr"],
        "train_count": 1000,
        "validation_langs": ["en", "fr"],
        "continued_from": {"langs": ["en"], "key": "k"},
    }
    made = entry("a", train=train, seed=1, decision="median")
    settings = {"train.lr": 3e-05, "train.lora": {"rank": 8}, "train.schedule": "cosine", "predict.runtime": "onnx-int8"}
    manifest = {**made.manifest, "settings": settings, "runtime": {"runtime": "onnx-int8", "drop": 0.0}}
    assert Entry("a", manifest, made.metrics).how == (
        "trained on 1000 fr, validated on en+fr, continued from en, median, "
        'train.lr=3e-05, train.lora={"rank": 8}, train.schedule=cosine, onnx-int8, seed 1'
    )
    assert Entry("a", {**made.manifest, "settings": {}, "runtime": None}, made.metrics).how == made.how
    prompt = {"name": "strict", "variant": None, "decoding": "score", "shots": ["x"], "decision": "median"}
    prompted = entry("a", prompt=prompt, train=None)
    changed = Entry("a", {**prompted.manifest, "settings": {"max_length": 64}}, prompted.metrics)
    assert changed.how == "strict · score, median, 1 exemplars, max_length=64"


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
    text = markdown([entry("a", 0.2)], sources)
    before, section = text.split("## Reported by others, not measured here\n")
    assert before == markdown([entry("a", 0.2)]) + "\n"
    assert table_rows(text) == table_rows(before)
    assert "### one\n\nSource: a report.\n\nten rows\n" in section
    assert "| m | toy | en |  | n = 10 | accuracy | 0.400 [0.122, 0.738] | by hand |" in section
    assert "| m | toy | all |  | validation, n unknown | QWK | 0.99 |  |" in section


def test_hostile_reported_words_stay_in_their_cell() -> None:
    words = dict.fromkeys(("model", "task", "lang", "train", "split", "metric", "note"), HOSTILE)
    source = Reported(name=HOSTILE, source=HOSTILE, note=HOSTILE, figures=[figure(**words)])
    section = markdown([], [source]).split("## Reported")[1]
    lines = section.splitlines()
    (row,) = (line for line in lines if line.startswith("| a&#124;"))
    assert row.count("|") == 9
    assert sum(line.startswith("#") for line in lines) == 1
    assert "<script" not in section
    assert "](javascript" not in section


def test_values_with_and_without_an_interval() -> None:
    assert shown(value(0.51249, 0.4, 0.61)) == "0.512 [0.400, 0.610]"
    assert shown(value(1.0)) == "1.000"
    assert shown(value(None)) == "n/a"


HOSTILE = "a|b\\|c`d`<script>alert(1)</script>\n| x | [y](javascript:z) **w** &amp;\u2028\r&"


def test_hostile_names_stay_in_their_cell() -> None:
    prompt = {"name": HOSTILE, "variant": HOSTILE, "decoding": "free", "shots": []}
    entries = [entry(HOSTILE, prompt=prompt, task=HOSTILE, lang=HOSTILE, split=HOSTILE), entry("fine")]
    text = markdown(entries)
    rows = table_rows(text)
    assert [len(row) for row in rows] == [len(cells(1, entries[0]))] * 2
    assert "<script" not in text
    assert "](javascript" not in text
    names = [row[1] for row in rows] + [line for line in text.splitlines() if line.startswith("#") and "script" in line]
    for name in names:
        assert not set("|\\<>*") & set(name)
    assert sum(line.startswith("#") for line in text.splitlines()) == 5


@given(st.text())
def test_an_escaped_text_is_one_plain_line(text: str) -> None:
    escaped = escape(text)
    assert len(escaped.splitlines()) <= 1
    assert not set("<>|`*\\") & set(escaped)
    assert "](" not in escaped


def test_plain_names_are_left_alone() -> None:
    assert escape("bert-base_uncased · 0.5 [0.4, 0.6], 星 é") == "bert-base_uncased · 0.5 [0.4, 0.6], 星 é"


def test_the_same_records_give_the_same_bytes(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = [Store(tmp_path / folder / "runs") for folder in "ab"]
    plans = [(backend, lang, seed) for backend in ("toy-model", "toy-classifier") for lang in ("en", "de") for seed in (0, 1)]
    for store in stores:
        for backend, lang, seed in plans:
            result = run(toy.plan(project, backend, lang=lang, seed=seed), store, EngineSlot(), toy.quiet)
            manifest = (result.folder / "run.json").read_text(encoding="utf-8")
            rate = re.sub(r'"rows_per_second": [^,\n]+', '"rows_per_second": 1.0', manifest)  # the only thing that may differ
            (result.folder / "run.json").write_text(rate, encoding="utf-8")
        plans.reverse()
    iterdir = Path.iterdir

    def shuffled(self: Path) -> Iterator[Path]:
        found = list(iterdir(self))
        random.shuffle(found)
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", shuffled)
    texts = {markdown(read_entries(store)) for store in stores for _ in range(5)}
    assert len(texts) == 1
    text = texts.pop()
    assert len(table_rows(text)) == 8
    for name in stores[0].ids():
        assert f"[record](runs/{name}/run.json)" in text
    entries = read_entries(stores[0])
    assert markdown(entries[::-1]) == markdown(entries)


def test_the_record_of_a_run_with_an_odd_name_is_linked() -> None:
    odd = entry("a")
    text = markdown([Entry("run a](b", odd.manifest, odd.metrics)])
    assert "[record](runs/run%20a%5D%28b/run.json)" in text
