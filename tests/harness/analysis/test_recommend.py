"""Recommendations: the pick, the front, the ties and what would change it, against brute force and by hand."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chances import PROMPT, draw, entry_of, trained_on, write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from unsealed import unseal

from harness.analysis.candidates import Candidate, CandidatePool, pool_of
from harness.analysis.findings import Finding, FindingKind
from harness.analysis.ranks import Configuration, metric_family
from harness.analysis.recommend import (
    Question,
    Recommendation,
    RunnerUp,
    Stretch,
    Utility,
    best_of,
    changes_of,
    misses,
    nearest_of,
    pareto,
    recommend,
    stretches,
    worth,
)
from harness.cli.recommend import about_rows
from harness.core.errors import UnknownName, UserError
from harness.core.record import Estimate
from harness.core.types import LabelKind
from harness.records.latency import LatencyRecord
from harness.records.store import Store
from harness.reports.text.formats import count, rounded, usd
from harness.reports.text.recommend import change_lines, sentence, state
from harness.specs.prices import HardwarePrice, PriceFile, Prices

FREE = PriceFile(hardware={}, models={})
TOY = {"cpu": "toy", "usd_per_core_hour": 3.6, "date": "2026-01-01", "source": "nowhere"}
PRICED = Prices(PriceFile(hardware={"toy": HardwarePrice.model_validate(TOY)}, models={}), FREE)
F1 = Utility.F1_COST_LATENCY


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def value(number: float | None) -> Estimate:
    return Estimate(value=number, low=number, high=number)


def candidate(
    name: str,
    f1: float | None = 0.5,
    inference: float | None = 1.0,
    training: float = 0.0,
    labels: int = 0,
    p50: float | None = 5.0,
    p95: float | None = 10.0,
    accuracy: float = 0.5,
) -> Candidate:
    identity = {"task": "toy", "backend": {"name": name, "engine": "toy"}, "train": trained_on(labels)}
    row = Configuration((entry_of({"identity": identity}, f"run.{name}"),))
    once = None if inference is None else training
    return Candidate(name, row, "macro_f1", value(f1), value(f1), value(accuracy), inference, once, labels, "", False, p50, p95)


few = st.one_of(st.none(), st.integers(1, 4).map(float))
candidates = st.lists(
    st.builds(candidate, st.just("x"), few, few, st.integers(0, 3).map(float), st.integers(0, 3), few, few), max_size=7
)


@given(found=candidates)
@settings(deadline=None)
def test_the_front_is_what_brute_force_finds(found: list[Candidate]) -> None:
    question = Question(predictions=1000, label_usd=1)

    def figures(c: Candidate) -> tuple[float, float, float]:
        cost, p95 = question.cost(c), c.p95_ms
        return (c.f1.value or 0.0, -math.inf if cost is None else -cost, -math.inf if p95 is None else -p95)

    def beaten(one: Candidate) -> bool:
        mine = figures(one)
        return any(
            all(theirs[i] >= mine[i] for i in range(3)) and any(theirs[i] > mine[i] for i in range(3))
            for theirs in map(figures, found)
        )

    front = pareto(found, question)
    assert [c for c in found if not beaten(c)] == front
    assert bool(front) == bool(found)


@given(found=candidates, utility=st.sampled_from(list(Utility)), limit=st.one_of(st.none(), st.floats(0.5, 6)))
@settings(deadline=None)
def test_the_pick_meets_all_and_nothing_that_does_is_worth_more(
    found: list[Candidate], utility: Utility, limit: float | None
) -> None:
    question = Question(max_cost_per_1k=limit, max_p95_ms=limit, min_f1=limit and limit / 2, utility=utility, predictions=1000)
    pick = best_of(found, question)
    fitting = [worth(c, question) for c in found if not misses(c, question) and worth(c, question) is not None]
    if pick is None:
        assert not fitting
    else:
        assert not misses(pick, question)
        assert worth(pick, question) == max(value for value in fitting if value is not None)


def test_what_is_unknown_meets_no_limit() -> None:
    question = Question(max_cost_per_1k=1, max_p95_ms=10)
    found = misses(candidate("a", inference=None, p95=None), question)
    assert [(miss.constraint, miss.value) for miss in found] == [("max_cost_per_1k", None), ("max_p95_ms", None)]
    assert misses(candidate("b", inference=1.0, p95=10.0), question) == []  # a limit may be reached
    command = "bench analyze latency --backend a --task toy --lang en"
    assert state(candidate("a", p95=None), question) == f"unknown latency: run `{command}`"


def test_too_few_texts_are_told_with_how_many_would_do() -> None:
    question = Question(max_p95_ms=10)
    few_texts = replace(candidate("a", p95=None), timed=(60, 60))
    assert "p95 needs 200 different texts, and 60 were timed: run `bench analyze latency " in state(few_texts, question)
    assert "--limit 200`, if there are so many test rows" in state(few_texts, question)
    repeated = replace(few_texts, timed=(190, 200))  # ten of the 200 were the same
    assert "--limit 400`" in state(repeated, question)
    assert "p50 needs 20" in state(replace(few_texts, p50_ms=None, timed=(9, 9)), Question(utility=F1))


def test_a_price_that_is_missing_is_no_reason_for_an_unknown_latency() -> None:
    unpriced = replace(candidate("a", inference=None, p50=None, p95=None), unpriced="no price for it")
    assert "no price" not in state(unpriced, Question(max_p95_ms=10))
    assert state(unpriced, Question(max_cost_per_1k=10)) == "no price for it"
    assert state(unpriced, Question(utility=F1)).startswith("no price for it and unknown latency: run `bench analyze latency")
    assert state(replace(unpriced, p50_ms=1.0), Question(utility=F1)) == "no price for it"
    changes = changes_of([unpriced], Question(max_p95_ms=10, utility=F1))
    assert changes.unknown == [(unpriced, ["max_p95_ms", "utility"])]


def beside(pick: Candidate, *others: tuple[Candidate, float, bool], **asked_for: Any) -> str:
    """What the sentence says of the others: each with its difference to the pick, and whether that is significant."""
    from harness.statistics.paired import share_difference

    truth = np.array([True, False])
    runners = [
        RunnerUp(other, replace(share_difference(truth, truth), value=gap), 0.5, differs) for other, gap, differs in others
    ]
    pool = CandidatePool(("toy", "test", "en", "r"), 9, "macro_f1", "macro_f1", "accuracy", [pick, *(o[0] for o in others)])
    question = Question(**asked_for)
    found = Recommendation(pool, question, [], pick, runners, None)
    return sentence(found, changes_of([], question)).partition("rows); ")[2]


def test_what_is_said_of_those_beside_the_pick() -> None:
    pick, best, fair = candidate("pick"), candidate("best", 0.8, 30.0), candidate("fair", 0.7, 20.0)
    worse = candidate("worse", 0.2, 3.0)
    assert (
        beside(pick, (best, 0.3, True), (worse, -0.3, True), utility=F1)
        == "best is 30.0 points better and is 30 times more expensive."
    )
    assert beside(pick, (best, 0.3, True), (fair, 0.2, True)) == (
        "2 others are significantly better, and the best of them, best, is 30.0 points better and is 30 times more expensive."
    )
    unknown = candidate("unknown", 0.8, None)
    assert beside(pick, (unknown, 0.3, True)) == "unknown is 30.0 points better and has an unknown cost."
    tied = candidate("tied", 0.5, 0.5)
    assert beside(pick, (tied, 0.0, False), (best, 0.3, True)).startswith(
        "tied is not significantly different at this n and is 2 times"
    )
    assert beside(pick, (tied, 0.0, False), (best, 0.3, True)).endswith(
        "; best is 30.0 points better and is 30 times more expensive."
    )
    assert beside(pick, (worse, -0.3, True)) == "the only other one is significantly worse, and is not cheaper."
    assert beside(pick, (worse, -0.3, True), max_cost_per_1k=5.0) == (
        "the only other one that meets the constraints is significantly worse, and is not cheaper."
    )
    assert beside(pick, (worse, -0.3, True), (unknown, -0.2, True)) == (
        "all 2 others are significantly worse, and none is known to be cheaper."
    )
    assert beside(unknown, (worse, -0.3, True)).endswith("and is not known to be cheaper.")
    assert (
        beside(unknown, (tied, 0.0, False)) == "tied is not significantly different at this n, but is not known to be cheaper."
    )
    assert beside(pick, (fair, 0.0, False), (best, 0.0, False)) == (
        "fair and 1 more are not significantly different at this n, but none of them is cheaper."
    )


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (0.95, "costs about the same"),
        (0.5, "is 2 times cheaper"),
        (0.001, "is 1,000 times cheaper"),
        (0.0, "costs nothing"),
    ],
)
def test_how_much_cheaper(cost: float, said: str) -> None:
    other = candidate("other", 0.4, cost)
    assert beside(candidate("pick"), (other, -0.1, True)) == f"other {said} and is 10.0 points worse."


def test_the_utility_of_cost_and_latency() -> None:
    question = Question(utility=F1, tau=100.0, predictions=1000, label_usd=0.5)
    one = candidate("a", f1=0.6, inference=0.1, training=0.2, labels=4, p50=50.0)
    assert question.cost(one) == pytest.approx(0.1 + 0.2 + 2.0)
    assert worth(one, question) == pytest.approx((0.6 / 2.3 * math.exp(-0.5),))
    free = worth(candidate("free", inference=0.0), question)
    assert free is not None
    assert math.isfinite(free[0])
    assert worth(candidate("slow", p50=None), question) is None
    assert worth(candidate("slow", p50=None), Question()) is not None


def test_of_equal_quality_the_cheapest_then_the_quickest() -> None:
    dear, slow, quick = candidate("dear", inference=2.0), candidate("slow"), candidate("quick", p95=5.0)
    unknown = candidate("unknown", inference=None)
    assert best_of([dear, slow, quick, unknown], Question()) is quick
    assert best_of([unknown, dear], Question()) is dear


def test_where_nothing_meets_all_the_nearest_is_named() -> None:
    question = Question(max_cost_per_1k=1.0, min_f1=0.8)
    dear, worse = candidate("dear", f1=0.9, inference=1.5), candidate("worse", f1=0.7)
    both, unknown = candidate("both", f1=0.75, inference=1.4), candidate("unknown", f1=0.9, inference=None)
    assert nearest_of([unknown, dear, both, worse], question) is worse
    assert nearest_of([unknown, dear], question) is dear


def test_the_numbers_of_predictions_at_which_the_answer_changes() -> None:
    """Trained: 1 + 1000 * 200 / N a thousand; prompted: 5. Below N = 50,000 the trained one costs more."""
    trained, prompted = candidate("trained", f1=0.6, training=200.0), candidate("prompted", f1=0.6, inference=5.0)
    assert stretches([trained, prompted], Question(), "predictions") == [
        Stretch(1.0, pytest.approx(50_000), prompted),
        Stretch(pytest.approx(50_000), 1e12, trained),
    ]
    better = candidate("better", f1=0.7, training=200.0)
    found = stretches([better, prompted], Question(max_cost_per_1k=6.0), "predictions")
    assert [(part.low, part.recommended) for part in found] == [(1.0, prompted), (pytest.approx(40_000), better)]


def test_where_utilities_cross() -> None:
    """0.6 / (1 + 1000 * 200 / N) = 0.3 / 1 at N = 200,000; the latencies are equal."""
    better, cheaper = candidate("better", f1=0.6, training=200.0), candidate("cheaper", f1=0.3)
    found = stretches([better, cheaper], Question(utility=F1), "predictions")
    assert [(part.low, part.recommended) for part in found] == [(1.0, cheaper), (pytest.approx(200_000), better)]


def test_the_price_of_a_label_at_which_the_answer_changes() -> None:
    many, few_labels = candidate("many", f1=0.7, labels=1000), candidate("few", f1=0.6, labels=10)
    found = stretches([many, few_labels], Question(max_cost_per_1k=2.0, predictions=1e5), "label_usd")
    assert [(part.low, part.recommended) for part in found] == [
        (0.0, many),
        (pytest.approx(0.1), few_labels),
        (pytest.approx(10.0), None),
    ]


@given(found=candidates, utility=st.sampled_from(list(Utility)), at=st.floats(0.5, 9))
@settings(deadline=None, max_examples=60)
def test_stretches_say_what_asking_again_would_say(found: list[Candidate], utility: Utility, at: float) -> None:
    question = Question(max_cost_per_1k=3.0, utility=utility, predictions=2000.0, label_usd=0.5)
    for name, where in (("predictions", 10**at), ("label_usd", at)):
        parts = stretches(found, question, name)
        assert all(a.high == b.low and a.recommended is not b.recommended for a, b in pairwise(parts))
        (part,) = [part for part in parts if part.low < where <= part.high]
        if min(abs(where - part.low), abs(where - part.high)) > 1e-6 * where:
            best = best_of(found, question.changed(name, where))
            mine, theirs = (None if c is None else worth(c, question.changed(name, where)) for c in (part.recommended, best))
            assert mine == theirs or part.recommended is best


def test_moves_of_the_limits() -> None:
    cheap, fair, dear = (candidate(n, f, c) for n, f, c in (("cheap", 0.4, 1.0), ("fair", 0.5, 2.0), ("dear", 0.6, 3.0)))
    slow = candidate("slow", 0.9, 2.5, p95=90.0)
    changes = changes_of([dear, cheap, slow, fair], Question(max_cost_per_1k=1.5, max_p95_ms=50))
    assert [(m.constraint, m.bound, m.recommended) for m in changes.loosened] == [
        ("max_cost_per_1k", 2.0, fair),
        ("max_cost_per_1k", 3.0, dear),
    ]
    assert [(m.constraint, m.bound, m.recommended) for m in changes.tightened] == [
        ("max_cost_per_1k", 1.0, None),
        ("max_p95_ms", 10.0, None),
        ("min_f1", 0.4, None),
        ("min_accuracy", 0.5, None),
    ]
    (move,) = [m for m in changes_of([dear, cheap], Question(max_cost_per_1k=5)).tightened if m.constraint == "max_cost_per_1k"]
    assert (move.bound, move.recommended) == (3.0, cheap)


def test_a_figure_that_is_missing_may_change_the_answer() -> None:
    known, better, worse = candidate("known"), candidate("better", 0.9, p95=None), candidate("worse", 0.1, p95=None)
    changes = changes_of([known, better, worse], Question(max_p95_ms=50))
    assert changes.unknown == [(better, ["max_p95_ms"])]
    assert changes_of([known, better, worse], Question()).unknown == []
    unmeasured = candidate("unmeasured", p50=None)
    assert changes_of([known, unmeasured], Question(utility=F1)).unknown == [(unmeasured, ["utility"])]


def told(field_candidates: list[Candidate], store: Store, question: Question) -> Recommendation:
    pool = CandidatePool(("toy", "test", "en", "r"), 9, "macro_f1", "macro_f1", "accuracy", field_candidates)
    return recommend(store, pool, question)


def test_the_words_for_nothing_and_for_what_would_change(store: Store) -> None:
    question = Question(max_cost_per_1k=0.5, max_p95_ms=50)
    found = told([candidate("a", inference=0.75), candidate("b", inference=3.0, p95=None)], store, question)
    changes = changes_of(found.pool.candidates, question)
    assert sentence(found, changes) == (
        "For 1,000,000 en rows of toy, no recorded run meets all constraints; a (trained on 0 en) comes nearest: "
        "$0.75 where --max-cost-per-1k is $0.50."
    )
    assert change_lines(found, changes) == ["with --max-cost-per-1k 0.750: a"]
    known, open_one = candidate("a", f1=0.5, training=100.0, labels=10), candidate("b", f1=0.6, inference=2.0, p95=None)
    limits = Question(max_cost_per_1k=2.0, max_p95_ms=50, label_usd=1.0)
    assert change_lines(told([known], store, limits), changes_of([known, open_one], limits)) == [
        "with --max-cost-per-1k below 1.11: nothing meets all",
        "with --max-p95-ms below 10.0: nothing meets all",
        "up to 110,000 predictions: nothing meets all",
        "from 110,000 predictions on: a",
        "up to $90.0 per label: a",
        "from $90.0 per label on: nothing meets all",
        "might be the answer: b (unknown latency: run `bench analyze latency --backend b --task toy --lang en`)",
    ]
    alone = told([candidate("a", inference=0.25)], store, question)
    assert sentence(alone, changes_of(alone.pool.candidates, question)).endswith("; nothing else meets the constraints.")


def test_how_numbers_are_written() -> None:
    assert [usd(x) for x in (0, 12.345, 0.5, 0.0301, 1.219e-5)] == ["$0.00", "$12.35", "$0.50", "$0.030", "$0.000012"]
    assert count(41_234) == "41,200"
    assert [rounded(0.0006861, up=up) for up in (True, False)] == ["0.000687", "0.000686"]
    assert [rounded(x, up=True) for x in (0.25, 3.0, 1234.5, 0)] == ["0.250", "3.00", "1235", "0"]


def latency_record(backend: str, p50: float, p95: float) -> LatencyRecord:
    told = {"name": backend, "engine": "toy", "model": None, "revision": None, "options": {}, "device": "cpu"}
    identity = {"task": "toy", "lang": "en", "split": "test", "rows": "r", "prompt": None, "trained": "k", "backend": told}
    figures = {"n": 200, "settings": {"limit": 200}, "p50_ms": p50, "p95_ms": p95, "rows_per_second": 1.0}
    return LatencyRecord.model_validate({"identity": identity, "machine": {}, "finished": "2026-01-01", **figures})


def test_a_field_from_records(store: Store) -> None:
    probabilities, truth = draw(120, sharpness=1.0)
    rng = np.random.default_rng(0)
    for seed, right in ((0, 0.9), (1, 0.6), (2, 0.7)):
        labels = np.where(rng.random(120) < right, truth, (truth + 1) % 3)
        write_run(store, truth, labels=labels, backend="large", seed=seed, prompt=dict(PROMPT), seconds=12.0)
    write_run(store, truth, probabilities, backend="small", train=trained_on(50), seconds=0.12)
    write_run(store, truth, probabilities, backend="small", train=trained_on(20), seconds=0.12)
    write_run(store, truth[:30], probabilities[:30], backend="small", train=trained_on(50))  # other rows
    write_run(store, truth, probabilities, backend="small", lang="de")
    pool = pool_of(store, "toy", "en", "test", PRICED, [latency_record("small", 2.0, 3.0)])
    assert (pool.n, pool.f1, pool.accuracy) == (120, "macro_f1", "accuracy")
    assert [(rows.n, len(rows.entries)) for rows in pool.left_out] == [(30, 1)]
    by_name = {c.name: c for c in pool.candidates}
    assert set(by_name) == {"large", "small (trained on 50 en)", "small (trained on 20 en)"}
    large, small = by_name["large"], by_name["small (trained on 50 en)"]
    assert [entry.seed for entry in large.row.runs] == [0, 2, 1]
    assert large.accuracy.value == pytest.approx(0.7, abs=0.1)
    assert (large.p95_ms, small.p50_ms, small.p95_ms) == (None, 2.0, 3.0)
    assert (large.inference, large.training, large.labels) == (pytest.approx(0.1), 0.0, 0)
    assert (small.inference, small.training, small.labels) == (pytest.approx(0.001), pytest.approx(0.01), 50)
    assert (large.timed, small.timed) == (None, (200, 200))
    assert small.cost(1000, 0.1) == pytest.approx(0.001 + 0.01 + 5.0)


def test_ties_with_the_pick_are_tested(store: Store) -> None:
    _, truth = draw(300)
    for backend, right, shift, seconds in (("best", 45, 0, 30.0), ("tied", 44, 20, 3.0), ("worse", 25, 0, 0.3)):
        labels = np.where((np.arange(300) + shift) % 50 < right, truth, (truth + 1) % 3)
        write_run(store, truth, labels=labels, backend=backend, seconds=seconds)
    pool = pool_of(store, "toy", "en", "test", PRICED, [])
    question = Question()
    found = recommend(store, pool, question)
    assert found.recommended is not None
    assert found.recommended.name == "best"
    assert [(r.candidate.name, r.significant) for r in found.runners_up] == [("tied", False), ("worse", True)]
    family = metric_family(store, [c.row for c in pool.candidates], "accuracy")
    assert [r.p_adjusted for r in found.runners_up] == [pytest.approx(p) for p in family.p_adjusted[:2]]
    said = sentence(found, changes_of(pool.candidates, question))
    assert said.startswith("For 1,000,000 en rows of toy, use best (strict · score): accuracy 0.")
    assert "tied is not significantly different at this n and is 10 times cheaper" in said
    cheap = Question(max_cost_per_1k=0.05)
    said = sentence(recommend(store, pool, cheap), changes_of(pool.candidates, cheap))
    assert "use tied" in said
    assert "worse is 10 times cheaper and" in said
    assert "with --max-cost-per-1k 0.100 it would be best" in said


def test_the_sentence_says_how_large_the_models_are(store: Store) -> None:
    _, truth = draw(120)
    wrong = np.where(np.arange(120) < 60, truth, (truth + 1) % 3)
    write_run(store, truth, labels=truth, backend="encoder", train=trained_on(50), parameters=117_653_760)
    write_run(store, truth, labels=wrong, backend="llm", parameters=134_515_008)

    def said(question: Question) -> str:
        pool = pool_of(store, "toy", "en", "test", PRICED, [])
        return sentence(recommend(store, pool, question), changes_of(pool.candidates, question))

    assert "use encoder (trained on 50 en), with 118M parameters: accuracy 1.000" in said(Question())
    assert said(Question()).endswith(". The only prompted model has 135M parameters.")
    assert said(Question(min_accuracy=1.0, max_cost_per_1k=0.0)).endswith(". The only prompted model has 135M parameters.")


def test_the_newest_of_rows_that_were_corrected(store: Store) -> None:
    _, truth = draw(60)
    changed = truth.copy()
    runs = {}
    for day in ("03", "01", "02"):  # three rounds of correcting labels, and the digits of the rows in no order
        changed = (changed + (np.arange(60) < 9)) % 3
        for backend in ("one", "two") if day > "01" else ("one", "two", "three"):
            name = write_run(store, changed, labels=truth, backend=f"{backend}{day}", finished=f"2026-01-{day}T10:00:00+00:00")
            _with_rows(store, name, {"03": "c", "01": "d", "02": "b"}[day] * 64)
        runs[day] = {f"one{day}", f"two{day}"}
    pool = pool_of(store, "toy", "en", "test", PRICED, [])
    assert {c.name for c in pool.candidates} == runs["03"]
    assert (pool.when, pool.outdated) == ("2026-01-03", False)
    assert [(rows.when, rows.outdated) for rows in pool.left_out] == [("2026-01-02", True), ("2026-01-01", True)]
    assert about_rows(pool) == [
        "Runs on other rows of this task and language are left out: 2 runs on 60 rows (outdated, last run 2026-01-02), "
        "3 runs on 60 rows (outdated, last run 2026-01-01). The last run on these is of 2026-01-03."
    ]


def _with_rows(store: Store, name: str, rows: str) -> None:
    unseal(store.root / name, lambda manifest: manifest["identity"].update(rows=rows))


def test_a_quick_look_at_few_rows_does_not_outdate_the_rest(store: Store) -> None:
    _, truth = draw(60)
    for backend in ("one", "two"):
        write_run(store, truth, labels=truth, backend=backend, finished="2026-01-01T10", limit=60)
    write_run(store, truth[:10], labels=truth[:10], backend="one", finished="2026-01-02T10", limit=10)
    assert pool_of(store, "toy", "en", "test", PRICED, []).n == 60


ONE_ANSWER = Finding(FindingKind.CONSTANT, "gives one answer, 'good', to all 9 rows")


def test_a_language_model_on_fewer_rows_is_compared_on_these(store: Store) -> None:
    """A pick on 1,000 rows of which the language model saw 200: all figures are of the 200, and tests too."""
    _, truth = draw(1000)
    wrong = np.where(np.arange(1000) % 4 == 0, (truth + 1) % 3, truth)
    write_run(store, truth, labels=wrong, backend="encoder", train=trained_on(50), seconds=10.0)
    write_run(store, truth, labels=np.zeros(1000, dtype=np.int64), backend="majority", train=trained_on(50))
    write_run(store, truth[:200], labels=truth[:200], backend="llm", prompt=dict(PROMPT))
    pool = pool_of(store, "toy", "en", "test", PRICED, [])
    assert (pool.n, pool.left_out) == (200, ())
    assert {c.name: c.entry.tested_on for c in pool.candidates} == {"llm": None, "encoder": 1000, "majority": 1000}
    assert about_rows(pool)[0] == "Run on more rows, scored on the 200 that all runs share: encoder, majority."
    found = recommend(store, pool, Question())
    assert found.recommended is not None
    assert found.recommended.name == "llm"
    (encoder,) = [runner for runner in found.runners_up if runner.candidate.name == "encoder"]
    assert encoder.significant
    assert encoder.candidate.accuracy.value == pytest.approx(0.75)
    assert encoder.candidate.inference == pytest.approx(0.01)  # its 10 s were for 1,000 rows


def blind(name: str = "majority", f1: float = 0.1, inference: float = 0.001) -> Candidate:
    made = candidate(name, f1, inference)
    backend = {"name": name, "engine": "baseline", "options": {"classifier": "majority"}}
    entry = entry_of({"identity": {"task": "toy", "backend": backend, "train": trained_on(0)}}, made.entry.run_id)
    return replace(made, row=Configuration((entry,)), finding=ONE_ANSWER)


def test_what_does_no_better_than_chance_is_not_offered(store: Store) -> None:
    alone = CandidatePool(("toy", "test", "en", "r"), 9, "macro_f1", "macro_f1", "accuracy", [candidate("pick"), blind()])
    found = recommend(store, alone, Question())
    assert (found.recommended and found.recommended.name, found.runners_up) == ("pick", [])
    said = sentence(found, changes_of(alone.offered, Question()))
    assert said.endswith("nothing else that is better than chance was tested on these rows.")
    pool = CandidatePool(("toy", "test", "en", "r"), 9, "macro_f1", "macro_f1", "accuracy", [blind()])
    assert pool.offered == []
    nothing = recommend(store, pool, Question())
    assert (nothing.recommended, nothing.nearest, nothing.runners_up) == (None, None, [])
    assert sentence(nothing, changes_of(pool.offered, Question())) == (
        "For 1,000,000 en rows of toy, nothing can be recommended: only majority, which reads no text, was tested on these 9 "
        "rows."
    )
    both = replace(pool, candidates=[blind(), candidate("dear", inference=2.0)])
    assert [c.name for c in both.offered] == ["dear"]
    found = recommend(store, both, Question(max_cost_per_1k=1.0))
    assert (found.recommended, found.nearest and found.nearest.name) == (None, "dear")
    assert {c.name for c in found.pareto_front} == {"majority", "dear"}


def test_a_multilabel_task_is_judged_by_micro_f1(store: Store) -> None:
    name = write_run(store, [0, 1, 2], np.eye(3) * 0.7 + 0.1)
    folder = store.root / name
    manifest, metrics = (json.loads((folder / f"{file}.json").read_text()) for file in ("run", "metrics"))
    manifest["identity"]["label_kind"] = LabelKind.MULTILABEL
    metrics["headline"] = ["micro_f1", "macro_f1", "subset_accuracy"]
    metrics["values"] |= {"micro_f1": value(0.75).as_json(), "subset_accuracy": value(0.25).as_json()}
    (folder / "run.json").write_text(json.dumps(manifest))
    unseal(folder)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    path = folder / "predictions.jsonl"
    path.write_text(re.sub(r'"(label|truth)":(\d)', r'"\1":[\2]', path.read_text()))
    pool = pool_of(store, "toy", "en", "test", PRICED, [])
    assert (pool.candidates[0].f1.value, pool.candidates[0].accuracy.value) == (0.75, 0.25)


def test_no_runs_and_the_way_out(store: Store) -> None:
    with pytest.raises(UserError, match="no runs of the task 'toy' in 'en'") as error:
        pool_of(store, "toy", "en", "test", PRICED, [])
    assert "bench run" in error.value.hint
    write_run(store, [0, 1, 2], np.eye(3) * 0.7 + 0.1)
    with pytest.raises(UserError, match="in 'ja'") as error:
        pool_of(store, "toy", "ja", "test", PRICED, [])
    assert "toy (en, test)" in error.value.hint
    with pytest.raises(UnknownName, match="no task with runs named 'toi'") as slip:
        pool_of(store, "toi", "en", "test", PRICED, [])
    assert slip.value.hint == "Did you mean toy?"
