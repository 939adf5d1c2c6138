"""Rows ranked by likely label errors: one model is enough, and several runs of one are one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from chances import identity_of

from harness.analysis.suspects import Shortlist, Suspect, model_of, shortlist
from harness.core.errors import UserError
from harness.core.predictions import Predictions
from harness.core.types import LabelKind, LabelSpace

NOMINAL = LabelSpace(LabelKind.NOMINAL, ("a", "b", "c"))
STARS = LabelSpace(LabelKind.ORDINAL, ("1", "2", "3", "4", "5"))


def columns(
    model: str | None,
    truth: Sequence[int],
    probabilities: Any,
    labels: LabelSpace = NOMINAL,
    ids: Sequence[str] = (),
    name: str = "backend",
) -> Predictions:
    """A run whose rows are r000, r001, ... unless `ids` say otherwise."""
    right = np.array(truth, dtype=np.int64)
    shares = None if probabilities is None else np.array(probabilities, dtype=np.float64)
    rows = np.array(ids or [f"r{row:03}" for row in range(len(right))], dtype=object)
    answers = right if shares is None else shares.argmax(axis=1)
    identity = identity_of(backend={"model": model, "name": name, "engine": "toy"})
    return Predictions(f"run.{model}", identity, labels, rows, right, answers, np.ones(len(right), dtype=bool), shares)


def sure(labels: Sequence[int], k: int = 3, p: float = 0.9) -> np.ndarray[Any, Any]:
    """Probabilities of a model that gives `p` to each of `labels`, and the same to all others."""
    found = np.full((len(labels), k), (1 - p) / (k - 1))
    found[np.arange(len(labels)), labels] = p
    return found


TRUTH = [0, 1, 2] * 10
SAID = [1, *TRUTH[1:]]  # row r000 looks like a `b`


def test_runs_that_differ_in_a_label_are_an_error() -> None:
    with pytest.raises(UserError) as caught:
        shortlist([columns("m1", TRUTH, sure(SAID)), columns("m2", SAID, sure(SAID))])
    assert "'r000'" in caught.value.message
    assert caught.value.hint.endswith("--run.")


def scored(found: Shortlist) -> dict[str, float]:
    return {suspect.id: suspect.score for suspect in found.suspects}


def test_all_rows_are_ranked_and_one_model_is_enough() -> None:
    found = shortlist([columns("m1", TRUTH, sure(SAID))])
    assert (found.models, found.estimated, len(found.suspects)) == (("m1",), 1, 30)
    assert found.suspects[0] == Suspect("r000", 0, 1, pytest.approx(0.05), 1, 0, 1)
    assert found.suspects[1:] == [
        Suspect(f"r{row:03}", TRUTH[row], found.suspects[row].suggested, pytest.approx(0.9), 0, 1, 1) for row in range(1, 30)
    ]


def test_of_one_model_the_score_is_the_probability_of_the_given_label() -> None:
    shares = np.random.default_rng(1).dirichlet([1, 1, 1], 30)
    shares[:15] = sure(TRUTH[:15])
    found = shortlist([columns("m1", TRUTH, shares)])
    wanted = shares[np.arange(30), TRUTH]
    assert scored(found) == pytest.approx({f"r{row:03}": p for row, p in enumerate(wanted)})
    assert [suspect.id for suspect in found.suspects] == sorted(scored(found), key=lambda name: (scored(found)[name], name))


def test_of_several_models_the_score_is_between_theirs_and_nearer_to_the_better_one() -> None:
    one, other = columns("m1", TRUTH, sure(SAID)), columns("m2", TRUTH, sure(SAID, p=0.5))
    found = scored(shortlist([one, other]))
    assert 0.05 < found["r000"] < (0.05 + 0.25) / 2
    assert found == pytest.approx(scored(shortlist([other, one])))
    same = scored(shortlist([one, columns("m2", TRUTH, sure(SAID))]))
    assert same == pytest.approx(scored(shortlist([one])))


def test_twenty_runs_of_one_model_are_one() -> None:
    runs = [columns("m1", TRUTH, sure(SAID, p=0.7 + number / 100)) for number in range(20)]
    assert shortlist(runs) == shortlist(runs[:1])  # of runs that are equally good the first
    both = shortlist([*runs, columns("m2", TRUTH, sure(SAID))]).suspects[0]
    assert (both.id, both.votes, both.models) == ("r000", 2, 2)


def test_of_the_runs_of_a_model_the_best_one_counts() -> None:
    """That one is poor (eight training rows, a bad prompt) says nothing about what another one is sure of."""
    good, poor = columns("m1", TRUTH, sure(SAID)), columns("m1", TRUTH, sure([*SAID[:15], *[0] * 15], p=0.99))
    other = columns("m2", TRUTH, sure(SAID))
    assert shortlist([poor, good, other]) == shortlist([good, other])


def test_backends_of_one_checkpoint_are_one_model_and_baselines_go_by_their_names() -> None:
    assert model_of(identity_of(backend={"model": "packaged:x", "name": "x-4bit", "engine": "toy"})) == "packaged:x"
    assert model_of(identity_of(backend={"model": None, "name": "tfidf", "engine": "toy"})) == "tfidf"
    runs = [columns("m", TRUTH, sure(SAID), name="plain"), columns("m", TRUTH, sure(SAID), name="4bit")]
    assert shortlist(runs).models == ("m",)


def test_models_that_stay_with_the_label_count_against() -> None:
    against = [columns(f"n{number}", TRUTH, sure(TRUTH)) for number in range(2)]
    runs = [columns("m1", TRUTH, sure(SAID)), columns("m2", TRUTH, sure(SAID))]
    alone, disputed = shortlist(runs), shortlist([*runs, *against])
    found = next(suspect for suspect in disputed.suspects if suspect.id == "r000")
    assert (found.votes, found.against, found.models) == (2, 2, 4)
    assert found.score > scored(alone)["r000"]
    assert (alone.estimated, disputed.estimated) == (1, 0)


def test_how_many_is_counted_by_what_is_much_for_the_model() -> None:
    """One that never gives more than 0.4 is confident at 0.4; one that gives 0.99 where it is right is not at 0.6."""
    assert shortlist([columns("m1", TRUTH, sure(SAID, p=0.4))]).estimated == 1
    bold = sure(TRUTH, p=0.99)
    bold[0] = [0.3, 0.6, 0.1]
    found = shortlist([columns("m3", TRUTH, bold)])
    assert (found.estimated, found.suspects[0].id, found.suspects[0].votes) == (0, "r000", 0)


def test_who_knows_nothing_and_who_says_nothing_do_not_count() -> None:
    good = columns("m1", TRUTH, sure(SAID))
    constant = columns("majority", TRUTH, np.tile([0.34, 0.33, 0.33], (30, 1)))
    wrong = columns("wrong", TRUTH, sure([(label + 1) % 3 for label in TRUTH]))
    silent = columns("silent", TRUTH, None)
    assert shortlist([good, constant, wrong, silent]) == shortlist([good])
    assert shortlist([silent]) == shortlist([wrong]) == shortlist([]) == Shortlist((), [], 0)


def test_stars_next_to_each_other_are_less_suspect() -> None:
    truth = [0, 1, 2, 3, 4] * 6
    said = [1, *truth[1:]]  # r000: one step
    said[6] = 4  # r006 is a 1: three steps
    found = shortlist([columns(model, truth, sure(said, k=5), STARS) for model in ("m1", "m2")])
    assert [(one.id, one.given, one.suggested) for one in found.suspects[:2]] == [("r006", 1, 4), ("r000", 0, 1)]
    assert found.suspects[0].score == pytest.approx(0.025 * (1 + 2 * 0.25))  # a quarter of both neighbours
    assert found.suspects[1].score == pytest.approx(0.025 + 0.25 * 0.9)
    assert found.estimated == 1  # r000 is one step away


def test_two_ordered_labels_have_no_room_for_two_steps() -> None:
    labels = LabelSpace(LabelKind.ORDINAL, ("bad", "good"))
    truth = [0, 1] * 10
    found = shortlist([columns(model, truth, sure([1, *truth[1:]], k=2), labels) for model in ("m1", "m2")])
    assert (found.suspects[0].id, found.suspects[0].score) == ("r000", pytest.approx(0.1))
    assert found.estimated == 1


def test_runs_with_other_rows_are_put_together_by_id() -> None:
    """Of `m2` only the last rows are there, in another order."""
    ids = [f"r{row:03}" for row in range(30)]
    said = [*SAID[:29], 0]
    part = list(range(29, 9, -1))
    run = columns("m2", [TRUTH[row] for row in part], sure([said[row] for row in part]), ids=[ids[row] for row in part])
    found = {suspect.id: suspect for suspect in shortlist([columns("m1", TRUTH, sure(said)), run]).suspects}
    assert len(found) == 30
    assert [(found[name].models, found[name].score) for name in ("r000", "r029")] == [
        (1, pytest.approx(0.05)),
        (2, pytest.approx(0.05)),
    ]


def test_other_data_under_the_same_ids() -> None:
    with pytest.raises(UserError, match="'r000'"):
        shortlist([columns("m1", TRUTH, sure(SAID)), columns("m2", [1, *TRUTH[1:]], sure(SAID))])


def test_a_row_with_several_labels_is_not_judged() -> None:
    labels = LabelSpace(LabelKind.MULTILABEL, ("a", "b", "c"))
    with pytest.raises(UserError, match="multilabel"):
        shortlist([columns("m", TRUTH, sure(SAID), labels)])


def test_most_planted_errors_are_found() -> None:
    """Three models that are right 199 times in 200, each by itself; 5 labels of 200 are wrong. In 20 such samples."""
    chance = np.random.default_rng(0)
    found, planted = set(), set()
    for sample in range(20):
        right = chance.integers(0, 3, 200)
        wrong = chance.choice(200, 5, replace=False)
        truth = right.copy()
        truth[wrong] = (truth[wrong] + chance.integers(1, 3, 5)) % 3
        runs = []
        for model in ("m1", "m2", "m3"):
            logits = chance.normal(size=(200, 3))
            logits[np.arange(200), right] += 4
            shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            runs.append(columns(model, truth.tolist(), shares))
        found |= {(sample, suspect.id) for suspect in shortlist(runs).suspects[:5]}
        planted |= {(sample, f"r{row:03}") for row in wrong}
    assert len(found & planted) >= 85  # of 100; by chance there would be 2.5


@pytest.mark.parametrize("kind", [LabelKind.NOMINAL, LabelKind.ORDINAL])
def test_the_ranking_is_that_of_cleanlab_or_better(kind: LabelKind) -> None:
    """Its self-confidence, written down here: of one model the same order, but for neighbours on an ordinal scale."""
    chance = np.random.default_rng(2)
    k, n = 5, 2000
    right = chance.integers(0, k, n)
    steps = abs(np.arange(k) - right[:, None])
    logits = chance.normal(size=(n, k)) * 1.2 - (1.5 * steps if kind is LabelKind.ORDINAL else np.where(steps > 0, 3, 0))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth, wrong = right.copy(), chance.choice(n, 100, replace=False)
    for row in wrong:
        truth[row] = chance.choice(np.flatnonzero(abs(np.arange(k) - right[row]) > (1 if kind is LabelKind.ORDINAL else 0)))
    labels = LabelSpace(kind, tuple("abcde"))
    ids = [f"r{row:05}" for row in range(n)]
    found = [one.id for one in shortlist([columns("m", truth.tolist(), shares, labels, ids=ids)]).suspects[:100]]
    theirs = np.argsort(shares[np.arange(n), truth], kind="stable")[:100]
    hits = [len(set(ranked) & set(wrong.tolist())) for ranked in ([int(name[1:]) for name in found], theirs.tolist())]
    assert hits[0] == hits[1] if kind is LabelKind.NOMINAL else hits[0] > hits[1]
    assert hits[0] > 50
