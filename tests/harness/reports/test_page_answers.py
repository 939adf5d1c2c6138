"""The answers of all runs as letters: the right row, the right letter, and never more than the budget."""

from __future__ import annotations

from collections.abc import Sequence

import boards
import pytest
from boards import NAMES, record
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import RunError
from harness.records.entries import read_entries
from harness.records.store import Store
from harness.reports.page.answers import ALPHABET, Packed, common_limit, limit_of_ids, limit_of_pairs, pack
from harness.reports.tables import Table, read_tables

IDS = [f"row-{i}" for i in range(40)]
TRUTH = [i % 3 for i in range(40)]


def tables_of(store: Store) -> list[Table]:
    return read_tables(store, read_entries(store))


def only_rows(packed: Packed) -> tuple[list[str], str, int | None]:
    ((_, found),) = packed.rows.items()
    return found.ids, found.truth, found.sampled


def test_every_answer_stands_at_its_row(store: Store) -> None:
    given = [None if i % 7 == 3 else (i * i) % 3 for i in range(40)]
    name = record(store, "a", given, TRUTH, ids=IDS)
    turned = record(store, "b", given[::-1], TRUTH[::-1], ids=IDS[::-1])
    packed = pack(store, tables_of(store))
    ids, truth, sampled = only_rows(packed)
    assert (ids, sampled) == (sorted(IDS), None)
    at = {row: i for i, row in enumerate(IDS)}
    assert truth == "".join(str(TRUTH[at[row]]) for row in ids)
    assert packed.answers[name] == "".join("-" if given[at[row]] is None else str(given[at[row]]) for row in ids)
    assert packed.answers[turned] == packed.answers[name], "the order of a file is no difference between runs"


@pytest.mark.slow
def test_all_letters(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "NAMES", tuple(f"label {i}" for i in range(len(ALPHABET))))
    order = list(range(62))
    name = record(store, "a", order, order, ids=[f"{i:02}" for i in order])
    packed = pack(store, tables_of(store))
    assert len({*ALPHABET, "-"}) == 63
    assert packed.answers[name] == ALPHABET == only_rows(packed)[1]


def test_a_large_set_keeps_the_same_rows_of_all_runs(store: Store) -> None:
    names = [record(store, backend, [(i * k) % 3 for i in range(40)], TRUTH, ids=IDS) for k, backend in enumerate("abc", 1)]
    tables = tables_of(store)
    whole, some, fewer = (pack(store, tables, limit) for limit in (160, 100, 40))  # three runs and the truth: 4 letters a row
    ids, _, sampled = only_rows(whole)
    assert (len(ids), sampled) == (40, None)
    kept, truth, sampled = only_rows(some)
    assert (len(kept), sampled) == (25, 25)
    assert kept == sorted(kept) != ids[:25], "the first ids would be a sample of some kind of rows"
    assert set(only_rows(fewer)[0]) < set(kept), "a smaller sample is part of a larger one"
    for name in names:
        at = dict(zip(ids, whole.answers[name], strict=True))
        assert some.answers[name] == "".join(at[row] for row in kept)
    assert truth == "".join(str(TRUTH[IDS.index(row)]) for row in kept)


def test_the_sample_is_a_matter_of_the_ids_alone(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    record(store, "a", TRUTH, TRUTH, ids=IDS)
    other = Store(tmp_path_factory.mktemp("other") / "runs")
    record(other, "b", [0] * 40, TRUTH[::-1], ids=IDS[::-1])
    assert only_rows(pack(store, tables_of(store), 20))[0] == only_rows(pack(other, tables_of(other), 20))[0]


def test_long_ids_have_a_budget_of_their_own(store: Store) -> None:
    ids = [f"{'x' * 20}{i:02}" for i in range(40)]  # with quotes and a comma 25 bytes
    record(store, "a", TRUTH, TRUTH, ids=ids)
    kept, truth, sampled = only_rows(pack(store, tables_of(store), ids_limit=255))
    assert (len(kept), len(truth), sampled) == (10, 10, 10)


def test_ids_count_in_bytes(store: Store) -> None:
    record(store, "a", TRUTH, TRUTH, ids=[f"日本{i:02}" for i in range(40)])  # 6 + 2 and 3
    assert only_rows(pack(store, tables_of(store), ids_limit=115))[2] == 10


def test_small_sets_stay_whole_beside_large_ones(store: Store) -> None:
    record(store, "a", TRUTH, TRUTH, ids=IDS)
    record(store, "a", TRUTH[:5], TRUTH[:5], ids=IDS[:5])
    packed = pack(store, tables_of(store), 30)
    assert sorted((len(rows.ids), rows.sampled) for rows in packed.rows.values()) == [(5, None), (10, 10)]


def test_rows_whose_digests_begin_alike_are_kept_apart(store: Store) -> None:
    for lang in ("en", "fr"):
        record(store, "a", TRUTH, TRUTH, ids=[f"{lang}-{i}" for i in range(40)], lang=lang)
    packed = pack(store, tables_of(store))
    assert sorted({rows.ids[0] for rows in packed.rows.values()}) == ["en-0", "fr-0"]
    assert set(packed.row_sets.values()) == set(packed.rows)


sizes = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 9)), max_size=6)


@given(sizes, st.integers(0, 3000))
def test_the_limit_is_the_largest_that_fits(sets: Sequence[tuple[int, int]], budget: int) -> None:
    def total(limit: int) -> int:
        return sum(min(n, limit) * strings for n, strings in sets)

    limit, largest = common_limit(sets, budget), max((n for n, _ in sets), default=0)
    assert total(limit) <= budget
    assert limit == largest or total(limit + 1) > budget


@given(st.lists(st.lists(st.integers(3, 60), max_size=40), max_size=5), st.integers(0, 3000))
def test_the_limit_of_ids_is_the_largest_that_fits(sets: Sequence[Sequence[int]], budget: int) -> None:
    def total(limit: int) -> int:
        return sum(sum(found[:limit]) for found in sets)

    limit, largest = limit_of_ids(sets, budget), max(map(len, sets), default=0)
    assert total(limit) <= budget
    assert limit == largest or total(limit + 1) > budget


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id":"row-0","truth":9,"label":0,"status":"ok"}', "holds a label that is none of the 3"),
        ('{"id":"row-0","truth":0,"label":-5,"status":"ok"}', "holds a label that is none of the 3"),
        ('{"id":"row-0","truth":null,"label":0,"status":"ok"}', "holds a label that is none of the 3"),
        ('{"id":"row-0","truth":0,"label":0,"status":"ok"}\n' * 3, "does not hold the rows that the run was tested on"),
        ('{"id":"row-9","truth":0,"label":0,"status":"ok"}\n' * 2, "does not hold the rows that the run was tested on"),
        ('{"id":"row-0","truth":0,"label":0}\n{"id":"row-1","truth":0,"label":0}', "does not hold the rows that the run was"),
        ('{"id":null,"truth":0,"label":0,"status":"ok"}', "does not hold the rows that the run was tested on"),
        ('{"id":"row-0","truth":0,"la', "is damaged"),
    ],
)
def test_damaged_predictions_are_named(store: Store, line: str, problem: str) -> None:
    rows = 3 if line.count("}") == 3 else 1
    name = record(store, "a", [0] * rows, [0] * rows)
    tables = tables_of(store)
    path = store.root / name / "predictions.jsonl"
    path.write_text(line.rstrip("\n") + "\n", encoding="utf-8")
    with pytest.raises(RunError, match=problem) as caught:
        pack(store, tables)
    assert str(path) in str(caught.value)


def test_a_run_on_other_rows_is_named(store: Store) -> None:
    record(store, "a", TRUTH, TRUTH, ids=IDS)
    name = record(store, "b", TRUTH, TRUTH, ids=IDS)
    tables = tables_of(store)
    path = store.root / name / "predictions.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"row-7"', '"row-x"'), encoding="utf-8")
    with pytest.raises(RunError, match=f"{name}.*does not hold the rows"):
        pack(store, tables)


def test_labels_are_indices_of_the_table(store: Store) -> None:
    name = record(store, "a", [2, 1, 0], [0, 1, 2])
    assert pack(store, tables_of(store)).answers[name] == "210"
    assert len(NAMES) == 3


def test_each_two_runs_are_tested_on_all_rows(store: Store) -> None:
    """By McNemar's exact test, whatever the order of the rows in a file, and however few answers the page holds."""
    from scipy.stats import binomtest

    rights = {"a": 36, "b": 30, "c": 12}
    names = {
        key: record(
            store, key, [t if i < right else (t + 1) % 3 for i, t in enumerate(TRUTH)][::turn], TRUTH[::turn], ids=IDS[::turn]
        )
        for (key, right), turn in zip(rights.items(), (1, -1, 1), strict=True)
    }
    ((_, rows),) = pack(store, tables_of(store), answers_limit=40).rows.items()
    assert rows.sampled == 10
    assert rows.tests.runs == [names["a"], names["b"], names["c"]]
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    exact = [binomtest(0, rights[one] - rights[other], 0.5).pvalue for one, other in pairs]
    assert rows.tests.p == [0 if p < 0.001 else round(1000 * p) for p in exact]
    assert rows.tests.better == "".join("A" if p <= 0.05 else "=" for p in exact)


def test_of_many_runs_the_first_are_tested(store: Store) -> None:
    for key in "abcd":
        record(store, key, TRUTH, TRUTH, ids=IDS)
    ((_, rows),) = pack(store, tables_of(store), pairs_limit=3).rows.items()
    assert (len(rows.tests.runs), len(rows.tests.p), rows.tests.better) == (3, 3, "===")


@given(st.lists(st.integers(0, 60), max_size=5), st.integers(0, 3000))
def test_the_limit_of_pairs_is_the_largest_that_fits(runs: Sequence[int], budget: int) -> None:
    def total(limit: int) -> int:
        return sum(min(many, limit) * (min(many, limit) - 1) // 2 for many in runs)

    limit, largest = limit_of_pairs(runs, budget), max(runs, default=0)
    assert total(limit) <= budget
    assert limit == largest or total(limit + 1) > budget
