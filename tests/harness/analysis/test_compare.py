"""Comparisons of runs: the metrics of the records, tested in pairs; who is named, what is said, what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chances import trained_on

from harness.analysis.compare import Comparison, Outcome, compare
from harness.core.errors import UserError
from harness.core.json_files import canonical_json
from harness.core.types import Example, Label, LabelKind, LabelSpace, Prediction, Status, text_digest
from harness.records.journal import prediction_record
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.reports.text.compare import pair_sentences, sentence
from harness.reports.text.formats import amount, interval_text, p_text
from harness.statistics.contrast import comparable, difference_of, value_of
from harness.statistics.metrics import evaluate_predictions
from harness.statistics.paired import mcnemar

ORDINAL = LabelSpace(LabelKind.ORDINAL, ("bad", "fair", "good"))
NOMINAL = LabelSpace(LabelKind.NOMINAL, ("sport", "politics", "weather"))
TAGS = LabelSpace(LabelKind.MULTILABEL, ("a", "b", "c"))
Answers = Sequence[Label | None]


def record(root: Path, name: str, truth: Answers, answers: Answers, labels: LabelSpace = ORDINAL, **changes: Any) -> str:
    """A finished run; None is no answer. `probable=True`: with probabilities; `first`: number of the first row."""
    probable, first = changes.pop("probable", False), changes.pop("first", 0)
    examples, predictions = [], []
    for number, (right, answer) in enumerate(zip(truth, answers, strict=True), start=first):
        row = f"row-{number:03}"
        assert right is not None
        examples.append(Example(row, "t", right, "en"))
        p = np.ones(3) + 3 * np.eye(3)[answer] if probable and isinstance(answer, int) else np.ones(3)
        given = tuple((p / p.sum()).tolist()) if probable and answer is not None else None
        predictions.append(Prediction(row, answer, Status.UNPARSED if answer is None else Status.OK, None, given))
    identity = {
        "task": "toy",
        "lang": "en",
        "split": "test",
        "rows": "one",
        "labels": list(labels.names),
        "label_kind": labels.kind,
        "version": 1,
        "backend": {"name": name.split(".")[0], "engine": "toy"},
        "prompt": None,
        "train": trained_on(9),
        "seed": 0,
        **changes,
    }
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps({"identity": identity, "n": len(examples), "timing": {"rows_per_second": None}})
    )
    lines = [canonical_json(prediction_record(e, p)) + "\n" for e, p in zip(examples, predictions, strict=True)]
    (folder / "predictions.jsonl").write_text("".join(lines))
    (folder / "metrics.json").write_text(json.dumps(evaluate_predictions(examples, predictions, labels).as_json()))
    return name


def drawn(seed: int, truth: Sequence[Any], right: float, lost: float = 0.0) -> list[int | None]:
    rng = np.random.default_rng(seed)
    answers = np.where(rng.random(len(truth)) < right, truth, rng.integers(0, 3, len(truth)))
    return [None if gone else int(answer) for answer, gone in zip(answers, rng.random(len(truth)) < lost, strict=True)]


TRUTH = [i % 3 for i in range(120)]


@pytest.fixture
def three(tmp_path: Path) -> Comparison:
    """A is a little better than C, and B worse than both."""
    for name, seed, right in (("good.aaa", 1, 0.9), ("poor.bbb", 2, 0.3), ("fine.ccc", 3, 0.85)):
        record(tmp_path, name, TRUTH, drawn(seed, TRUTH, right), probable=True)
    return compare(Store(tmp_path), ["good.aaa", "poor.bbb", "fine.ccc"])


@pytest.mark.parametrize("labels", [ORDINAL, NOMINAL, TAGS], ids=lambda labels: str(labels.kind))
def test_values_and_differences_are_those_of_the_records(tmp_path: Path, labels: LabelSpace) -> None:
    rng = np.random.default_rng(4)
    truth: Answers = TRUTH[:40]
    said: list[Answers] = [drawn(seed, TRUTH[:40], 0.6, 0.1) for seed in (1, 2)]
    if labels is TAGS:
        truth, *said = ([tuple(np.flatnonzero(row).tolist()) for row in rng.random((40, 3)) < 0.5] for _ in range(3))
        said[0] = [None, *said[0][1:]]
    store = Store(tmp_path)
    names = [record(tmp_path, f"m.{i}", truth, answers, labels, probable=labels is not TAGS) for i, answers in enumerate(said)]
    a, b = (read_predictions(store, name) for name in names)
    metrics = comparable(a)
    assert {"accuracy", "log_loss", "mae"} <= set(metrics) if labels is ORDINAL else "mae" not in metrics
    for metric in metrics:
        values = [store.record(name).metrics.values[metric].value or 0.0 for name in names]
        assert [value_of(metric, run).value for run in (a, b)] == pytest.approx(values, abs=1e-5)  # records are rounded
        found = difference_of(metric, a, b, replicates=199)
        assert found.value == pytest.approx(values[1] - values[0], abs=1e-5)
        assert found.low <= found.value <= found.high
        assert 0 < found.p <= 1


@pytest.mark.slow
def test_three_runs_make_three_pairs_that_are_tested_together(three: Comparison) -> None:
    assert three.metrics == ["accuracy", "macro_f1", "mae", "qwk", "log_loss"]
    assert [run.letter for run in three.runs] == ["A", "B", "C"]
    assert three.runs[0].values["accuracy"].low is not None
    for metric in three.metrics:
        verdicts = three.of(metric)
        assert [(v.a, v.b) for v in verdicts] == [(0, 1), (0, 2), (1, 2)]
        assert all(v.p_adjusted >= v.difference.p for v in verdicts)
        assert [v.better is None for v in verdicts] == [v.difference.low <= 0 <= v.difference.high for v in verdicts]
        assert [v.better for v in verdicts] == [0, None, 2], metric  # also where lower is better
    a, b = three.predictions[:2]
    assert three.of("accuracy")[1].difference.p == pytest.approx(mcnemar(a.correct, three.predictions[2].correct), abs=0.02)
    for pair in three.pairs:
        assert pair.both_right + pair.only_a + pair.only_b + pair.neither_right == 120
    first = three.pairs[0]
    assert (first.only_a, first.only_b) == (int((a.correct & ~b.correct).sum()), int((b.correct & ~a.correct).sum()))
    assert first.only_a > first.only_b


def test_more_pairs_ask_for_larger_differences(three: Comparison, tmp_path: Path) -> None:
    two = compare(Store(tmp_path), ["good.aaa", "fine.ccc"], ["accuracy"])
    alone, among = two.verdicts[0].difference, three.of("accuracy")[1].difference
    assert alone.detectable < among.detectable
    assert alone.p == pytest.approx(among.p, abs=0.02)
    assert alone.high < among.high


def test_rows_that_differ_those_that_some_have_right_first(tmp_path: Path) -> None:
    record(tmp_path, "one.1", [0, 1, 2, 0, 1], [0, 0, 2, None, 2])
    record(tmp_path, "two.2", [0, 1, 2, 0, 1], [0, 2, 2, 0, None])
    found = compare(Store(tmp_path), ["one.1", "two.2"])
    assert [found.predictions[0].ids[row] for row in found.differing] == ["row-003", "row-001", "row-004"]
    said = [(found.truth(row), found.answer(0, row), found.answer(1, row)) for row in found.differing]
    assert said == [("bad", "no answer", "bad"), ("fair", "bad", "good"), ("fair", "good", "no answer")]
    assert "one has no parsed answer in 1 row; these count as wrong." in found.notes
    assert any("only 5 rows" in note for note in found.notes)


def test_labels_of_a_multilabel_row(tmp_path: Path) -> None:
    record(tmp_path, "one.1", [(0, 2), ()], [(0,), ()], TAGS)
    record(tmp_path, "two.2", [(0, 2), ()], [(0, 2), None], TAGS)
    found = compare(Store(tmp_path), ["one.1", "two.2"])
    assert found.metrics == ["micro_f1", "macro_f1", "subset_accuracy"]
    assert [(found.truth(r), found.answer(0, r), found.answer(1, r)) for r in (0, 1)] == [
        ("a + c", "a", "a + c"),
        ("none", "none", "no answer"),
    ]


def test_only_shared_rows_count_and_that_is_said(tmp_path: Path) -> None:
    record(tmp_path, "long.1", TRUTH, drawn(1, TRUTH, 0.9))
    record(tmp_path, "part.2", TRUTH[30:], drawn(2, TRUTH[30:], 0.9), first=30, rows="other")
    found = compare(Store(tmp_path), ["long.1", "part.2"], ["accuracy"])
    assert found.n == 90
    assert "long was tested on 120 rows; 90 of them are compared." in found.notes
    correct = read_predictions(Store(tmp_path), "long.1").correct[30:]
    assert found.runs[0].values["accuracy"].value == correct.mean()
    assert sentence(found).startswith("On the 90 rows that both have, ")


def test_rows_that_are_not_the_same_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    record(tmp_path, "one.1", TRUTH, drawn(1, TRUTH, 0.9))
    record(tmp_path, "two.2", TRUTH, drawn(2, TRUTH, 0.9), rows="other")
    path = tmp_path / "two.2" / "predictions.jsonl"
    path.write_text(path.read_text().replace(text_digest("t"), text_digest("another"), 3))
    found = compare(Store(tmp_path), ["one.1", "two.2"])
    assert found.n == 117
    assert "3 rows have the same id and another text: left out." in found.notes


@pytest.mark.slow
def test_names_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    record(tmp_path, "x.111", TRUTH, TRUTH)
    record(tmp_path, "x.222", TRUTH, TRUTH, seed=3)
    record(tmp_path, "x.333", TRUTH, TRUTH, backend={"name": "x", "engine": "toy", "options": {"lr": 1}})
    record(tmp_path, "y.444", TRUTH, TRUTH)
    found = compare(Store(tmp_path), ["x.111", "x.222", "x.333", "y.444"], ["accuracy"], runs_only=True)
    names = [run.name for run in found.runs]
    assert names == ["x (trained on 9 en)", "x (trained on 9 en, seed 3)", "x (trained on 9 en, lr=1)", "y"]
    assert "A, B are one configuration under several seeds." in found.notes


@pytest.mark.slow
def test_the_sentence_of_two_runs(tmp_path: Path) -> None:
    record(tmp_path, "poor.1", TRUTH, drawn(2, TRUTH, 0.3))
    record(tmp_path, "good.2", TRUTH, drawn(1, TRUTH, 0.9))
    record(tmp_path, "fair.3", TRUTH, drawn(3, TRUTH, 0.88))
    store = Store(tmp_path)
    said = sentence(compare(store, ["poor.1", "good.2"], ["mae", "accuracy"]))
    turned = sentence(compare(store, ["good.2", "poor.1"], ["mae", "accuracy"]))
    assert said.startswith("On the 120 rows that both have, good is better than poor in MAE: it has 0.")
    assert " less (95% interval 0." in said
    assert "; in accuracy good is better too; with this many rows, a true difference in MAE below 0." in said
    assert turned[:100] == said[:100]
    level = sentence(compare(store, ["good.2", "fair.3"], ["accuracy", "qwk"]))
    assert "good and fair are not significantly different in accuracy: " in level
    assert "; in QWK they are not significantly different; " in level
    assert "exact McNemar p = " in level


def test_the_sentence_of_several_runs(three: Comparison) -> None:
    said = sentence(three)
    assert "On the 120 rows that all 3 have, good has the highest accuracy, 0." in said
    assert "it is better than poor and not significantly different from fine (5% level for all 3 pairs together)" in said


def test_the_same_answers_and_an_undefined_metric_have_words_too(tmp_path: Path) -> None:
    record(tmp_path, "one.1", [0, 0, 0], [0, 0, 0])
    record(tmp_path, "two.2", [0, 0, 0], [0, 0, 0])
    store = Store(tmp_path)
    assert "one and two give the same answers" in sentence(compare(store, ["one.1", "two.2"], ["accuracy"]))
    undefined = compare(store, ["one.1", "two.2"], ["qwk"])
    assert "can't be compared in QWK, which is not defined for both" in sentence(undefined)
    assert math.isnan(undefined.verdicts[0].p_adjusted)
    assert undefined.verdicts[0].better is None


def test_numbers_in_words() -> None:
    assert amount("accuracy", 0.0524) == "5.2 points"
    assert amount("accuracy", 0.00048) == "0.048 points"
    assert (amount("qwk", 0.0524), amount("qwk", -0.00123), amount("qwk", 0.0)) == ("0.052", "-0.0012", "0.000")
    assert interval_text("accuracy", -0.012, 0.045) == "-1.2 to 4.5"
    assert interval_text("mae", math.nan, 1.0) == ""
    assert interval_text("accuracy", -1.0, 1.0) == ""
    assert interval_text("accuracy", -1.0, 0.5) == "-100.0 to 50.0"
    assert interval_text("mae", -1.0, 1.0) == "-1.000 to 1.000"
    assert [p_text(p) for p in (0.00001, 0.0123, 0.456, math.nan)] == ["< 0.0001", "0.012", "0.46", "n/a"]


@pytest.mark.parametrize(
    ("names", "metrics", "says"),
    [
        (["one.1"], [], "A comparison needs two runs"),
        (["one.1", "one.1"], [], "one.1 is named 2 times"),
        (["one.1", "two.2"], ["beauty"], "There is no beauty to compare"),
        (["one.1", "two.2"], ["log_loss"], "two.2 has no probabilities"),
        (["one.1", "ja.3"], [], "differ in their lang: en and ja"),
    ],
)
def test_what_cannot_be_compared_is_the_users_to_mend(tmp_path: Path, names: list[str], metrics: list[str], says: str) -> None:
    record(tmp_path, "one.1", TRUTH, TRUTH, probable=True)
    record(tmp_path, "two.2", TRUTH, TRUTH)
    record(tmp_path, "ja.3", TRUTH, TRUTH, lang="ja")
    with pytest.raises(UserError, match=says) as error:
        compare(Store(tmp_path), names, metrics)
    assert error.value.hint


def test_log_loss_is_left_out_where_one_has_no_probabilities(tmp_path: Path) -> None:
    record(tmp_path, "one.1", TRUTH, TRUTH, probable=True)
    record(tmp_path, "two.2", TRUTH, TRUTH)
    assert "log_loss" not in compare(Store(tmp_path), ["one.1", "two.2"]).metrics


def seeds(tmp_path: Path, name: str, *rights: float, first: int = 0, **changes: Any) -> list[str]:
    """A configuration with a seed for each share of right answers."""
    return [
        record(tmp_path, f"{name}.s{seed}.{first + seed}", TRUTH, drawn(first + seed, TRUTH, right), seed=seed, **changes)
        for seed, right in enumerate(rights)
    ]


def test_a_run_stands_for_its_configuration(tmp_path: Path) -> None:
    ours, theirs = seeds(tmp_path, "a", 0.5, 0.7, 0.9), seeds(tmp_path, "b", 0.6, first=10)
    store = Store(tmp_path)
    found = compare(store, [ours[1], theirs[0]], ["accuracy"])
    every = [read_predictions(store, name).correct.mean() for name in ours]
    other = read_predictions(store, theirs[0]).correct.mean()
    assert found.runs[0].row.seeds == [0, 1, 2]
    assert found.runs[0].values["accuracy"].value == pytest.approx(np.mean(every))
    assert found.verdicts[0].difference.value == pytest.approx(other - np.mean(every))
    alone = compare(store, [ours[1], theirs[0]], ["accuracy"], runs_only=True)
    assert alone.verdicts[0].difference.value == pytest.approx(other - every[1])
    width, narrow = (v.difference.high - v.difference.low for v in (found.verdicts[0], alone.verdicts[0]))
    assert width > 1.3 * narrow  # the seeds are far apart
    assert [run.row.is_single for run in found.runs] == [False, True]
    assert "this holds for this run only" in sentence(found)


def test_seeds_of_one_configuration_are_runs(tmp_path: Path) -> None:
    one, two = seeds(tmp_path, "a", 0.5, 0.7)
    with pytest.raises(UserError, match="one configuration under two seeds"):
        compare(Store(tmp_path), [one, two])
    assert len(compare(Store(tmp_path), [one, two], runs_only=True).runs) == 2


def test_seeds_with_the_same_predictions_are_one_run(tmp_path: Path) -> None:
    answers = drawn(1, TRUTH, 0.7)
    ours = [record(tmp_path, f"a.s{seed}.{seed}", TRUTH, answers, seed=seed) for seed in range(3)]
    (theirs,) = seeds(tmp_path, "b", 0.6, first=10)
    found = compare(Store(tmp_path), [ours[2], theirs], ["accuracy"])
    assert len(found.runs[0].row.runs) == 1
    assert not found.runs[0].row.is_single
    assert found.verdicts[0].difference.method == "mcnemar"


def test_rows_of_groups_are_taken_together(tmp_path: Path) -> None:
    names = [*seeds(tmp_path, "a", 0.9), *seeds(tmp_path, "b", 0.6, first=10)]
    rows = compare(Store(tmp_path), names, ["accuracy"])
    for name in names:
        path = tmp_path / name / "predictions.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(canonical_json({**line, "group": f"g{i // 10}"}) + "\n" for i, line in enumerate(lines)))
    groups = compare(Store(tmp_path), names, ["accuracy"])
    assert (rows.groups, groups.groups) == (None, 12)
    assert (rows.verdicts[0].difference.method, groups.verdicts[0].difference.method) == ("mcnemar", "sign_flip")
    assert "(in 12 groups)" in sentence(groups)


@pytest.mark.parametrize(("rope", "outcome"), [(0.5, Outcome.EQUIVALENT), (0.001, Outcome.UNDECIDED)])
def test_a_region_of_practical_equivalence(tmp_path: Path, rope: float, outcome: Outcome) -> None:
    names = [*seeds(tmp_path, "a", 0.7), *seeds(tmp_path, "b", 0.7, first=10), *seeds(tmp_path, "c", 0.1, first=20)]
    found = compare(Store(tmp_path), names, ["accuracy"], rope=rope)
    assert found.verdicts[0].outcome is outcome
    assert len(pair_sentences(found)) == 3
    assert compare(Store(tmp_path), names, ["accuracy"], rope=0.01).verdicts[1].outcome is Outcome.DIFFERENT
    with pytest.raises(UserError, match="not above 0"):
        compare(Store(tmp_path), names, rope=0.0)


def test_few_rows_per_label_are_not_tested(tmp_path: Path) -> None:
    """At least four rows per label: twelve rows of three labels are enough, eleven are not."""
    for n, tested in ((12, True), (11, False)):
        truth = [i % 3 for i in range(n)]
        names = [record(tmp_path / str(n), f"{name}.toy", truth, drawn(i, truth, 0.5)) for i, name in enumerate("ab")]
        found = compare(Store(tmp_path / str(n)), names, ["accuracy", "macro_f1"])
        accuracy, f1 = found.verdicts
        assert not math.isnan(accuracy.p_adjusted)
        assert accuracy.not_tested is None
        assert (f1.not_tested is None) == tested
        assert math.isnan(f1.p_adjusted) != tested
        assert math.isnan(f1.difference.low) != tested
        assert not math.isnan(f1.difference.value)
        assert ("is not tested" in " ".join(found.notes)) != tested
        assert ("macro-F1" in sentence(found)) == tested
        ranked_by_it = compare(Store(tmp_path / str(n)), names, ["macro_f1"])
        assert ("which is not tested: 3.7 rows per label, at least 4 are needed" in sentence(ranked_by_it)) != tested
