"""Where a curve crosses a line, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from chances import identity_of

from harness.analysis.break_even import (
    BreakEven,
    Crossing,
    Curve,
    Estimate,
    Line,
    Pass,
    Stretch,
    break_even,
    crossing,
    resampled,
)
from harness.core.errors import UserError
from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace
from harness.reports.curve_page import best_line, chart_rows, crossing_words, markdown, sentence, svg

LABELS = LabelSpace(LabelKind.ORDINAL, ("bad", "fair", "good"))
IDENTITY = identity_of(labels=list(LABELS.names))


def run_of(hits: Any, name: str = "run", **changes: Any) -> Predictions:
    """A run that is right where `hits` is true, and one label off elsewhere."""
    hits = np.asarray(hits, dtype=bool)
    truth = np.arange(len(hits)) % 3
    answers = np.where(hits, truth, (truth + 1) % 3)
    ids = np.array([f"{row:05}" for row in range(len(hits))], dtype=object)
    columns = Predictions(name, IDENTITY, LABELS, ids, truth, answers, np.ones(len(hits), dtype=bool), None)
    return columns if not changes else Predictions(**{**columns.__dict__, **changes})


def with_accuracy(accuracy: float, n: int, rng: np.random.Generator) -> Predictions:
    return run_of(rng.random(n) < accuracy)


@pytest.mark.parametrize(
    ("values", "line", "labels"),
    [
        ([0.2, 0.4, 0.6], 0.4, 32),  # met exactly at the second size
        ([0.2, 0.4, 0.6], 0.5, 64),  # halfway between 32 and 128 on a logarithmic scale
        ([0.2, 0.4, 0.6], 0.2, 0),  # from the first size on
        ([0.2, 0.4, 0.6], 0.7, math.inf),  # never
        ([0.5, 0.3, 0.6], 0.45, 2 ** (5 + 2 * 0.05 / 0.2)),  # the dip is levelled: 0.4, 0.4, 0.6
    ],
)
def test_a_crossing_lies_where_the_rising_curve_meets_the_line(values: list[float], line: float, labels: float) -> None:
    drawn = {size: np.array([value, value]) for size, value in zip((8, 32, 128), values, strict=True)}
    found = crossing("curve", "line", drawn, np.array([line, line]))
    assert found.labels == pytest.approx(labels)
    assert found.low == found.high == pytest.approx(labels)
    assert found.never == (1.0 if math.isinf(labels) else 0.0)


def test_lower_is_better_turns_it_round() -> None:
    drawn = {8: np.array([0.8, 0.8]), 32: np.array([0.4, 0.4])}
    found = crossing("curve", "line", drawn, np.array([0.6, 0.6]), lower_is_better=True)
    assert found.labels == pytest.approx(16)
    assert crossing("curve", "line", drawn, np.array([0.6, 0.6])).labels == 0


def test_an_interval_may_reach_beyond_what_was_tried() -> None:
    ends = np.concatenate([[0.5], np.linspace(0.3, 0.7, 101)])  # at 32 labels; below the line of 0.4 in a quarter of them
    found = crossing("curve", "line", {8: np.full(102, 0.1), 32: ends}, np.full(102, 0.4))
    assert found.never == pytest.approx(25 / 101)
    assert math.isinf(found.high)
    assert 8 < found.low < found.labels < 32


def test_estimates_are_the_metric_itself() -> None:
    rng = np.random.default_rng(3)
    runs = {seed: with_accuracy(0.6, 300, rng) for seed in range(3)}
    result = break_even({"tfidf": {8: runs}}, {"llm": (0, {0: runs[1]})}, "accuracy", replicates=200)
    point = result.curves[0].points[8]
    assert point.by_seed == pytest.approx(tuple(runs[seed].correct.mean() for seed in range(3)))
    assert point.value == pytest.approx(np.mean(point.by_seed))
    assert result.lines[0].estimate.value == pytest.approx(runs[1].correct.mean())
    assert point.low < point.value < point.high
    assert result.n == 300


@pytest.mark.slow
def test_rows_and_seeds_both_widen_an_interval() -> None:
    """Of the mean of S seeds: the variance of the rows that they share, and that between seeds over S."""
    rng = np.random.default_rng(5)
    n, seeds, between = 2000, 6, 0.05
    alike = [run_of(rng.permutation(n) < 0.5 * n) for _ in range(seeds)]
    apart = [run_of(rng.permutation(n) < (0.5 + shift) * n) for shift in np.linspace(-1, 1, seeds) * between * 1.2]
    one, two = (
        break_even({"c": {8: dict(enumerate(runs))}}, {}, "accuracy", replicates=2000).curves[0].points[8]
        for runs in (alike, apart)
    )
    spread = np.std([run.correct.mean() for run in apart], ddof=1) / math.sqrt(seeds)
    rows = np.std(np.mean([run.correct for run in apart], axis=0)) / math.sqrt(n)
    assert two.high - two.low == pytest.approx(2 * 1.96 * math.hypot(spread, rows), rel=0.1)
    assert two.high - two.low > 2 * (one.high - one.low)


def test_runs_are_resampled_together() -> None:
    """Equal runs have equal values in every replicate, so that their difference has no noise of its own."""
    rng = np.random.default_rng(0)
    run = with_accuracy(0.4, 50, rng)
    values = resampled([run, run], "macro_f1", 20)
    assert values.shape == (21, 2)
    assert (values[:, 0] == values[:, 1]).all()
    assert values[1:, 0].std() > 0


def test_rows_in_groups_are_resampled_by_group() -> None:
    """Each row three times, in a group of its own, is the same as each row once."""
    hits = np.random.default_rng(0).random(40) < 0.6
    once = run_of(hits)
    groups = np.repeat([f"film {n}" for n in range(10, 50)], 3).astype(object)
    thrice = replace(run_of(np.repeat(hits, 3)), groups=groups)
    assert resampled([thrice], "accuracy", 50) == pytest.approx(resampled([once], "accuracy", 50))


@pytest.mark.slow
def test_the_interval_of_a_crossing_holds_it() -> None:
    """Accuracies rise by 0.1 a doubling from 0.3 at 8 labels, a seed is off by 0.03, the line is 0.55: so it is 45 labels."""
    truth, hits, finite = 8 * 2**2.5, 0, 0
    for trial in range(40):
        rng = np.random.default_rng(trial)
        shifts = rng.normal(0, 0.03, 5)
        curve = {
            size: {seed: with_accuracy(0.3 + 0.1 * place + shift, 400, rng) for seed, shift in enumerate(shifts)}
            for place, size in enumerate((8, 16, 32, 64, 128))
        }
        result = break_even({"c": curve}, {"l": (0, {0: with_accuracy(0.55, 400, rng)})}, "accuracy", replicates=300)
        found = result.crossings[0]
        hits += found.low <= truth <= found.high
        finite += not math.isinf(found.high)
    assert hits >= 34  # of 40; 95% of them would be 38
    assert finite >= 30  # and not by being so wide that it says nothing


def test_a_seed_that_one_size_lacks_changes_nothing_there() -> None:
    rng = np.random.default_rng(1)
    runs = {seed: with_accuracy(0.5, 100, rng) for seed in range(3)}
    sizes = {8: runs, 16: {seed: runs[seed] for seed in (0, 2)}}
    points = break_even({"c": sizes}, {}, "accuracy", replicates=300).curves[0].points
    assert len(points[16].by_seed) == 2
    assert points[16].low <= points[16].value <= points[16].high


def test_a_metric_that_a_run_lacks_is_named() -> None:
    run = run_of([True, False])
    with pytest.raises(UserError, match="has no log_loss"):
        resampled([run], "log_loss", 10)


@pytest.mark.parametrize(
    ("labels", "low", "high", "words"),
    [
        (127, 91, 212, "about 130 labels (95%: between 91 and 210)"),
        (0, 0, 0, "from 8 labels on, or fewer (the smallest number tried)"),
        (12, 0, 33, "about 12 labels (95%: at most 33)"),
        (0, 0, 33, "8 labels or fewer (95%: at most 33)"),
        (200, 90, math.inf, "about 200 labels (95%: at least 90, perhaps more than 2,000)"),
        (math.inf, math.inf, math.inf, "no crossing up to 2,000 labels"),
        (math.inf, 700, math.inf, "no crossing up to 2,000 labels, though 700 can't be ruled out (95%)"),
        (math.inf, 0, math.inf, "no crossing up to 2,000 labels, though 8 or fewer can't be ruled out (95%)"),
        (50, 0, math.inf, "about 50 labels, but anything is possible (95%: from 8 or fewer to more than 2,000)"),
        (1234, 1000, 1500, "about 1,200 labels (95%: between 1,000 and 1,500)"),
    ],
)
def test_a_crossing_in_words(labels: float, low: float, high: float, words: str) -> None:
    assert crossing_words(Crossing("c", "l", labels, low, high, 0.0), [8, 2000]) == words


SIZES = (8, 16, 32, 64, 128)


def drawn_curve(means: list[float], noise: float, seed: int = 0, replicates: int = 400) -> dict[int, Any]:
    """Values of SIZES, the means first, with independent noise in each replicate."""
    rng = np.random.default_rng(seed)
    return {
        size: np.concatenate([[mean], mean + noise * rng.normal(size=replicates)])
        for size, mean in zip(SIZES, means, strict=True)
    }


def test_a_curve_that_rises_and_falls_has_all_its_crossings() -> None:
    found = crossing("c", "l", drawn_curve([0.3, 0.5, 0.6, 0.5, 0.2], 0.02), np.full(401, 0.4))
    assert [one.upward for one in found.passes] == [True, False]
    assert [one.labels for one in found.passes] == pytest.approx([8 * 2**0.5, 64 * 2 ** (1 / 3)])
    for one in found.passes:
        assert one.low < one.labels < one.high
        assert one.high / one.low < 2
    assert [(one.better, one.sure) for one in found.stretches] == [(False, True), (True, True), (False, True)]
    assert [one.start for one in found.stretches[1:]] == [one.labels for one in found.passes]
    assert (found.stretches[0].start, found.stretches[-1].end) == (0, math.inf)
    assert found.falls_back


def test_a_curve_that_rises_crosses_once_and_where_it_says() -> None:
    found = crossing("c", "l", drawn_curve([0.2, 0.3, 0.45, 0.5, 0.6], 0.01), np.full(401, 0.4))
    (only,) = found.passes
    assert (only.upward, only.labels) == (True, pytest.approx(found.labels))
    assert (only.low, only.high) == pytest.approx((found.low, found.high), rel=0.05)
    assert not found.falls_back


def test_crossings_within_chance_are_no_evidence() -> None:
    found = crossing("c", "l", drawn_curve([0.39, 0.41, 0.39, 0.41, 0.39], 0.05), np.full(401, 0.4))
    assert len(found.passes) == 4
    assert not any(one.sure for one in found.stretches)
    assert not found.falls_back
    assert "cross it 4 times, which may be chance" in crossing_words(found, SIZES)


def test_of_errors_the_sides_are_turned_round() -> None:
    drawn = drawn_curve([0.9, 0.5, 0.4, 0.5, 0.9], 0.02)
    found = crossing("c", "l", drawn, np.full(401, 0.6), lower_is_better=True)
    assert [one.better for one in found.stretches] == [False, True, False]
    assert found.falls_back


def test_a_value_that_is_missing_shows_no_side() -> None:
    drawn = drawn_curve([0.3, 0.5, 0.6, 0.5, 0.2], 0.02)
    drawn[32][5] = math.nan
    found = crossing("c", "l", drawn, np.full(401, 0.4))
    assert found.stretches == ()
    assert not found.falls_back


@pytest.mark.slow
def test_the_intervals_of_both_crossings_hold_them() -> None:
    """Accuracies of 0.3, 0.5, 0.6, 0.5, 0.3 at five sizes, and a line of 0.4: at 11.3 and 90.5 labels."""
    truth, hits, seen, trials = (8 * 2**0.5, 64 * 2**0.5), [0, 0], 0, 40
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        curve = {
            size: {seed: with_accuracy(p, 400, rng) for seed in range(4)}
            for size, p in zip(SIZES, (0.3, 0.5, 0.6, 0.5, 0.3), strict=True)
        }
        line = {"l": (0, {0: with_accuracy(0.4, 400, rng)})}
        (found,) = break_even({"c": curve}, line, "accuracy", replicates=300).crossings
        seen += found.falls_back
        assert len(found.passes) == 2
        for place, one in enumerate(found.passes):
            hits[place] += one.low <= truth[place] <= one.high
    assert seen >= 25  # the last size is one of five, and noise moves the line, too
    assert min(hits) >= 35  # 95% of 40 would be 38


def test_a_line_pays_for_its_examples() -> None:
    rng = np.random.default_rng(0)
    curve = {size: {0: with_accuracy(p, 2000, rng)} for size, p in ((8, 0.3), (64, 0.7))}
    lines = {"zero": (0, {0: with_accuracy(0.5, 2000, rng)}), "few": (12, {0: with_accuracy(0.5, 2000, rng)})}
    zero, few = break_even({"c": curve}, lines, "accuracy", replicates=100).crossings
    assert (zero.line_labels, few.line_labels) == (0, 12)


@pytest.mark.parametrize(
    ("labels", "used", "words"),
    [
        (90, 0, ""),
        (90, 5, ", 85 more than the 5 that the prompt used"),
        (90, 2000, ", no more than the 2,000 that the prompt used"),
        (0, 8, ", no more than the 8 that the prompt used"),
        (0, 5, ", 3 more than the 5 that the prompt used"),
        (math.inf, 5, ""),
    ],
)
def test_labels_of_the_prompt_in_words(labels: float, used: int, words: str) -> None:
    plain, paid = (crossing_words(Crossing("c", "l", labels, 0, 100, 0, n), [8, 2000]) for n in (0, used))
    assert paid == plain + words


def test_several_crossings_in_words_and_in_the_picture() -> None:
    passes = (Pass(11.3, 9.2, 14.7, True), Pass(81, 0, math.inf, False))
    stretches = (Stretch(0, 11.3, False, False), Stretch(11.3, 81, True, True), Stretch(81, math.inf, False, True))
    found = Crossing("tfidf", "few", 11, 9, 15, 0, 5, passes, stretches)
    words = crossing_words(found, [8, 2000])
    assert words == (
        "several crossings: worse (perhaps by chance) up to 11 labels (95%: 9 to 15), then better up to 81 labels "
        "(95%: fewer to more), then worse; the prompt used 5 labels"
    )
    made = result_of(found)
    assert f"tfidf has {words}" in sentence(made, "en")
    assert [row["labels"] for row in chart_rows(made) if row["kind"] == "crossing"] == [11.3, 81]


def result_of(*crossings: Crossing, metric: str = "accuracy") -> BreakEven:
    def estimate(value: float) -> Estimate:
        return Estimate(value, value - 0.1, value + 0.1, (value,))

    curves = (Curve("tfidf", {8: estimate(0.2), 2000: estimate(0.6)}), Curve("e5", {8: estimate(0.4), 2000: estimate(0.5)}))
    lines = (Line("zero", 0, estimate(0.3)), Line("few", 5, estimate(0.45)))
    return BreakEven(metric, 500, curves, lines, crossings)


def test_the_sentence_is_about_the_best_line() -> None:
    made = result_of(
        Crossing("tfidf", "zero", 20, 10, 30, 0), Crossing("tfidf", "few", 90, 70, 120, 0), Crossing("e5", "few", 0, 0, 0, 0)
    )
    assert best_line(made).name == "few"
    assert best_line(result_of(metric="mae")).name == "zero"
    assert sentence(made, "en") == (
        "On 500 en rows, few has accuracy 0.450 with 5 labels; "
        "tfidf is at least as good with about 90 labels (95%: between 70 and 120); "
        "e5 is at least as good from 8 labels on, or fewer (the smallest number tried)."
    )


def test_the_page_shows_all_of_it_and_names_are_text() -> None:
    page = markdown(result_of(Crossing("tfidf", "few", math.inf, 700, math.inf, 0.9)), "a|b<i>", "en", "plot.svg")
    assert "![accuracy by number of labels](plot.svg)" in page
    assert "a&#124;b&#60;i&#62;" in page
    assert "| tfidf | 2,000 | 0.600 [0.500, 0.700] | – | 1 |" in page
    assert "| few | 5 | 0.450 [0.350, 0.550] | – | 1 |" in page
    assert "no crossing up to 2,000 labels, though 700 can't be ruled out (95%) | 90% |" in page


@pytest.mark.slow
def test_the_picture_shows_curves_lines_and_crossings() -> None:
    pytest.importorskip("vl_convert")
    crossings = [
        Crossing("tfidf", "few", 90, 70, 120, 0),
        Crossing("e5", "few", 0, 0, 0, 0),
        Crossing("e5", "zero", math.inf, 0, 9, 1),
    ]
    made = result_of(*crossings)
    rows = chart_rows(made)
    assert [(row["name"], row["labels"], row["value"]) for row in rows if row["kind"] == "crossing"] == [("tfidf", 90, 0.45)]
    assert [row["name"] for row in rows if row["kind"] == "prompted"] == ["zero", "few · 5 labels used"]
    assert not [row for row in rows if row["kind"] == "seed"]  # of one seed the dot would be the point itself
    assert rows[0] == {"name": "tfidf", "kind": "trained", "labels": 8, "value": 0.2, "low": 0.1, "high": pytest.approx(0.3)}
    picture = svg(made, "a|b<i>", "en")
    assert svg(made, "a|b<i>", "en") == picture
    text = picture.decode()
    for said in ("few · 5 labels used", "2,000", "accuracy (higher is better)", "a|b&lt;i&gt; · en · 500 test rows"):
        assert f">{said}<" in text
    assert ">MAE (lower is better)<" in svg(result_of(metric="mae"), "toy", "en").decode()


def test_an_interval_that_is_none_is_no_number_in_a_picture() -> None:
    nothing = Estimate(0.5, math.nan, math.nan, (0.4, 0.6))
    rows = chart_rows(BreakEven("accuracy", 9, (Curve("a", {8: nothing}),), (), ()))
    assert [(row["kind"], row["value"], row.get("low")) for row in rows] == [
        ("trained", 0.5, None),
        ("seed", 0.4, None),
        ("seed", 0.6, None),
    ]


def test_rows_that_are_all_wrong_give_no_interval() -> None:
    result = break_even({"c": {8: {0: run_of([False] * 30)}}}, {}, "accuracy", replicates=50)
    point = result.curves[0].points[8]
    assert (point.value, math.isnan(point.low), math.isnan(point.high)) == (0.0, True, True)
    assert "| c | 8 | 0.000 | – | 1 |" in markdown(result, "toy", "en", None)


# Two curves of one backend


PAIR = ("c · human labels", "c · LLM labels")


def contrasted(human: dict[int, float], model: dict[int, float], n: int = 400, seeds: int = 3, **noise: Any) -> Any:
    """Curves with these accuracies; the runs of a seed share no errors."""
    rng = np.random.default_rng(7)
    curves = {
        name: {size: {seed: with_accuracy(p, n, rng) for seed in range(seeds)} for size, p in points.items()}
        for name, points in zip(PAIR, (human, model), strict=True)
    }
    return break_even(curves, {}, "accuracy", replicates=400, pairs=[PAIR]), curves


def test_labels_of_a_model_are_equal_up_to_where_they_fall_behind() -> None:
    result, curves = contrasted({8: 0.4, 32: 0.6, 128: 0.8, 512: 0.9}, {8: 0.4, 32: 0.6, 128: 0.65, 512: 0.65})
    (found,) = result.contrasts
    assert (found.curve, found.other, found.most) == (*PAIR, 512)
    assert found.equal_up_to == 32
    for size, difference in found.differences.items():
        runs = [curves[name][size] for name in PAIR]
        wanted = [
            theirs.correct.mean() - ours.correct.mean() for ours, theirs in zip(*(one.values() for one in runs), strict=True)
        ]
        assert difference.by_seed == pytest.approx(tuple(wanted))
        assert difference.low <= difference.value <= difference.high
    assert 32 < found.worth.labels < 128  # human labels for 0.65
    assert found.worth.low <= found.worth.labels <= found.worth.high


def test_a_model_whose_labels_are_worse_from_the_start() -> None:
    result, _ = contrasted({8: 0.6, 32: 0.8}, {8: 0.3, 32: 0.4})
    (found,) = result.contrasts
    assert found.equal_up_to == 0
    assert (found.crossing.labels, found.worth.labels) == (0, 0)


def test_a_model_whose_labels_are_better_than_all_that_people_gave() -> None:
    result, _ = contrasted({8: 0.3, 32: 0.4}, {8: 0.6, 32: 0.8})
    (found,) = result.contrasts
    assert found.equal_up_to == 32
    assert math.isinf(found.crossing.labels)
    assert math.isinf(found.worth.labels)


def test_a_contrast_is_paired_by_seed() -> None:
    """Where a seed has one kind of labels only, it says nothing of their difference."""
    rng = np.random.default_rng(2)
    curves = {
        PAIR[0]: {8: {seed: with_accuracy(0.5, 100, rng) for seed in (0, 1)}},
        PAIR[1]: {8: {seed: with_accuracy(0.5, 100, rng) for seed in (1, 2)}},
    }
    (found,) = break_even(curves, {}, "accuracy", replicates=50, pairs=[PAIR]).contrasts
    wanted = curves[PAIR[1]][8][1].correct.mean() - curves[PAIR[0]][8][1].correct.mean()
    assert found.differences[8].by_seed == pytest.approx((wanted,))
    del curves[PAIR[1]][8][1]
    with pytest.raises(UserError, match="no size and seed in common"):
        break_even(curves, {}, "accuracy", replicates=50, pairs=[PAIR])


@pytest.mark.parametrize(
    ("labels", "low", "high", "words"),
    [
        (29.4, 15.0, 31.0, "about 29 human labels (95%: from 15 to 31)"),
        (0.0, 0.0, 0.0, "at most 8 human labels"),
        (math.inf, 20.0, math.inf, "more than 60 human labels (95%: from 20 to more than 60)"),
        (0.0, 0.0, math.inf, "at most 8 human labels (95%: from at most 8 to more than 60)"),
    ],
)
def test_what_labels_are_worth_in_words(labels: float, low: float, high: float, words: str) -> None:
    from harness.reports.label_curve import _human_labels

    assert _human_labels(Crossing("c", "l", labels, low, high, 0.0), [8, 60]) == words
