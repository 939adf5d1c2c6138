"""Cross-lingual matrices, found in the records whoever made them."""

from __future__ import annotations

from typing import Any

import pytest
from boards import TRAIN, prompt, record

from harness.records.entries import read_entries
from harness.records.store import Store
from harness.reports.page.model import Matrix
from harness.reports.page.transfers import matrices

TRUTH = [i % 3 for i in range(30)]


def trained(store: Store, langs: str, lang: str, right: int = 20, **changes: Any) -> str:
    """A run trained on 9 rows of each of `langs` and tested on `rows` rows in `lang`."""
    given = [t if i < right else (t + 1) % 3 for i, t in enumerate(TRUTH)]
    train = {**TRAIN, "langs": langs.split("+"), "train_count": 9 * len(langs.split("+")), "train_rows": langs}
    train |= changes.pop("train", {})
    rows = changes.pop("rows", lang).ljust(64, "0")
    seed, backend = changes.pop("seed", 0), changes.pop("backend", "enc")
    return record(store, backend, given, TRUTH, lang=lang, train=train, rows=rows, seed=seed, manifest=changes)


def found(store: Store) -> list[Matrix]:
    return matrices(read_entries(store))


def square(store: Store, **changes: Any) -> dict[tuple[str, str], str]:
    pairs = [(train, test) for train in ("en", "fr") for test in ("en", "fr")]
    least = changes.pop("least", 12)
    return {pair: trained(store, *pair, right=least + 4 * i, **changes) for i, pair in enumerate(pairs)}


def values(matrix: Matrix) -> list[float]:
    return [round(cell["value"], 6) for cell in matrix.block.rows]


def test_a_square_and_a_row_of_both_languages(store: Store) -> None:
    names = square(store)
    trained(store, "en+fr", "fr", right=28)
    (matrix,) = found(store)
    assert (matrix.task, matrix.n) == ("toy", {"en": 30, "fr": 30})
    assert matrix.name == "enc · accuracy · 9 training rows per language · 30 test rows each"
    cells = matrix.block.rows
    assert [(cell["train"], cell["lang"][:2]) for cell in cells] == [
        *(("en", "en"), ("en", "fr"), ("fr", "en"), ("fr", "fr")),
        ("en+fr", "fr"),  # there is no such run in en
    ]
    assert [cell["best"] for cell in cells] == [False, False, True, False, True]
    assert [cell["trained"] for cell in cells] == [True, False, False, True, True]
    assert values(matrix) == [*SQUARE, 0.933333]
    value = store.record(names["en", "fr"]).metrics.values["accuracy"]
    assert cells[1]["below"] == f"[{value.low:.3f}, {value.high:.3f}]"
    assert [line[4] for line in matrix.block.figures.lines] == ["", "", "yes", "", "yes"]


def test_each_way_to_validate_is_a_row(store: Store) -> None:
    square(store)
    trained(store, "fr", "en", train={"validation_langs": ["en"]})
    (matrix,) = found(store)
    assert list(dict.fromkeys(cell["train"] for cell in matrix.block.rows)) == ["en", "fr", "fr (en)"]


def test_several_seeds_are_a_mean_and_a_range(store: Store) -> None:
    square(store)
    for seed, right in ((1, 10), (2, 26)):
        trained(store, "en", "fr", right=right, seed=seed)
    (matrix,) = found(store)
    cell = matrix.block.rows[1]
    assert cell["value"] == pytest.approx((10 + 16 + 26) / 90)
    assert cell["below"] == "0.333–0.867"
    assert "3 seeds" in matrix.block.words


@pytest.mark.parametrize("pairs", [[("en", "en"), ("en", "fr")], [("en", "fr"), ("fr", "fr")], [("en", "en"), ("fr", "fr")]])
def test_less_than_two_by_two_or_never_abroad_is_no_matrix(store: Store, pairs: list[tuple[str, str]]) -> None:
    for pair in pairs:
        trained(store, *pair)
    assert found(store) == []


SQUARE = [0.4, 0.533333, 0.666667, 0.8]
OTHERWISE: list[dict[str, Any]] = [{"train": {"train_count": 90}}, {"train": {"drawn": True}}, {"limit": 5}, {"backend": "b"}]


@pytest.mark.slow
@pytest.mark.parametrize("change", OTHERWISE)
def test_what_was_made_in_another_way_is_another_matrix(store: Store, change: dict[str, Any]) -> None:
    square(store)
    trained(store, "fr", "en", right=7, rows="other", **change)
    (matrix,) = found(store)
    assert values(matrix) == SQUARE
    square(store, rows="third", least=0, **change)
    assert sorted(map(values, found(store))) == [[0.0, 0.133333, 0.266667, 0.4], SQUARE]


def test_changed_settings_are_named(store: Store) -> None:
    square(store, settings={"max_length": 64, "train.schedule": "linear"})
    assert "9 training rows per language, max_length=64, train.schedule=linear" in found(store)[0].name


def test_a_language_has_one_set_of_rows(store: Store) -> None:
    square(store)
    trained(store, "en", "en", right=29, rows="other")
    (matrix,) = found(store)
    assert values(matrix) == SQUARE, "most runs in English were on the other rows"


def test_of_one_seed_the_latest_run_counts(store: Store) -> None:
    square(store, finished="2026-01-02")
    train = {"train_rows": "other data"}
    trained(store, "en", "fr", right=1, train=train, finished="2026-01-01")
    (matrix,) = found(store)
    assert values(matrix) == SQUARE
    trained(store, "en", "fr", right=30, train={"train_rows": "newer data"}, finished="2026-01-03")
    (matrix,) = found(store)
    assert values(matrix) == [SQUARE[0], 1.0, *SQUARE[2:]]


def test_prompted_runs_are_in_no_matrix(store: Store) -> None:
    for lang in ("en", "fr"):
        for name in ("strict", "chatty"):
            record(store, "llm", TRUTH, TRUTH, prompt=prompt(name), lang=lang)
    assert found(store) == []
