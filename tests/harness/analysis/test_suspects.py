"""A shortlist of likely label errors: several models, and not several runs of one, are sure of another label."""

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


def test_what_two_models_are_sure_of_and_one_is_not_enough() -> None:
    one, other = columns("m1", TRUTH, sure(SAID)), columns("m2", TRUTH, sure(SAID, p=0.8))
    strength = ((0.9 - 0.05) + (0.8 - 0.1)) / 2
    assert shortlist([one, other]) == Shortlist(30, ("m1", "m2"), [Suspect("r000", 0, 1, 2, 0, 2, pytest.approx(strength))], 0)
    assert shortlist([one]) == Shortlist(0, ("m1",), [], 0)
    assert shortlist([one, columns("m2", TRUTH, sure(TRUTH))]).suspects == []


def test_twenty_runs_of_one_model_are_one_vote() -> None:
    runs = [columns("m1", TRUTH, sure(SAID, p=0.7 + number / 100)) for number in range(20)]
    assert shortlist(runs).suspects == []
    (found,) = shortlist([*runs, columns("m2", TRUTH, sure(SAID))]).suspects
    assert (found.votes, found.models) == (2, 2)
    assert found.strength == pytest.approx(((0.7 - 0.15) + (0.9 - 0.05)) / 2)  # of runs that are equally good the first


def test_of_the_runs_of_a_model_the_best_one_votes() -> None:
    """That one is poor (eight training rows, a bad prompt) says nothing about what another one is sure of."""
    good, poor = columns("m1", TRUTH, sure(SAID)), columns("m1", TRUTH, sure([*SAID[:15], *[0] * 15], p=0.99))
    other = columns("m2", TRUTH, sure(SAID))
    assert shortlist([poor, good, other]) == shortlist([good, other])


def test_backends_of_one_checkpoint_are_one_model_and_baselines_go_by_their_names() -> None:
    assert model_of(identity_of(backend={"model": "packaged:x", "name": "x-4bit", "engine": "toy"})) == "packaged:x"
    assert model_of(identity_of(backend={"model": None, "name": "tfidf", "engine": "toy"})) == "tfidf"
    runs = [columns("m", TRUTH, sure(SAID), name="plain"), columns("m", TRUTH, sure(SAID), name="4bit")]
    assert shortlist(runs).models == ("m",)
    assert shortlist(runs).suspects == []


def test_models_that_stay_with_the_label_count_against() -> None:
    against = [columns(f"n{number}", TRUTH, sure(TRUTH, p=0.6)) for number in range(2)]
    runs = [columns("m1", TRUTH, sure(SAID, p=0.99)), columns("m2", TRUTH, sure(SAID, p=0.99)), against[0]]
    (found,) = shortlist(runs).suspects
    assert (found.votes, found.against, found.models) == (2, 1, 3)
    assert shortlist([*runs, against[1]]).suspects == []


def test_a_timid_model_is_measured_by_itself() -> None:
    """It never gives more than 0.4, and 0.4 is much for it."""
    timid = columns("m1", TRUTH, sure(SAID, p=0.4))
    assert [suspect.id for suspect in shortlist([timid, columns("m2", TRUTH, sure(SAID))]).suspects] == ["r000"]
    bold = sure(TRUTH, p=0.99)
    bold[0] = [0.3, 0.6, 0.1]  # the most probable label, but it gives `b` 0.99 where it is one
    assert shortlist([columns("m3", TRUTH, bold), columns("m2", TRUTH, sure(SAID))]).suspects == []


def test_who_knows_nothing_and_who_says_nothing_have_no_vote() -> None:
    good = columns("m1", TRUTH, sure(SAID))
    constant = columns("majority", TRUTH, np.tile([0.34, 0.33, 0.33], (30, 1)))
    wrong = columns("wrong", TRUTH, sure([(label + 1) % 3 for label in TRUTH]))
    silent = columns("silent", TRUTH, None)
    assert shortlist([good, constant, wrong, silent]) == Shortlist(0, ("m1",), [], 0)
    assert shortlist([silent]) == Shortlist(0, (), [], 0)
    assert shortlist([]) == Shortlist(0, (), [], 0)


def test_stars_next_to_each_other_are_no_errors() -> None:
    truth = [0, 1, 2, 3, 4] * 6
    said = [1, *truth[1:]]  # r000: one step
    said[6] = 4  # r006 is a 1: three steps
    found = shortlist([columns(model, truth, sure(said, k=5), STARS) for model in ("m1", "m2")])
    assert [(suspect.id, suspect.given, suspect.suggested) for suspect in found.suspects] == [("r006", 1, 4)]
    assert found.neighbours == 1


def test_two_ordered_labels_have_no_room_for_two_steps() -> None:
    labels = LabelSpace(LabelKind.ORDINAL, ("bad", "good"))
    truth = [0, 1] * 10
    found = shortlist([columns(model, truth, sure([1, *truth[1:]], k=2), labels) for model in ("m1", "m2")])
    assert [suspect.id for suspect in found.suspects] == ["r000"]
    assert found.neighbours == 0


def test_strongest_first() -> None:
    first = sure(TRUTH)
    first[3], first[6] = [0.04, 0.92, 0.04], [0.01, 0.98, 0.01]
    found = shortlist([columns("m1", TRUTH, first), columns("m2", TRUTH, first)]).suspects
    assert [suspect.id for suspect in found] == ["r006", "r003"]


def test_runs_with_other_rows_are_put_together_by_id() -> None:
    """Of `m2` only the last rows are there, in another order: r000 has one model and no shortlist."""
    ids = [f"r{row:03}" for row in range(30)]
    said = [*SAID[:29], 0]
    part = list(range(29, 9, -1))
    run = columns("m2", [TRUTH[row] for row in part], sure([said[row] for row in part]), ids=[ids[row] for row in part])
    found = shortlist([columns("m1", TRUTH, sure(said)), run])
    assert [(suspect.id, suspect.models) for suspect in found.suspects] == [("r029", 2)]
    assert found.rows == 20


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
        listed = shortlist(runs).suspects
        found |= {(sample, suspect.id) for suspect in listed[:5]}
        planted |= {(sample, f"r{row:03}") for row in wrong}
    assert len(found & planted) >= 65  # of 100 (a model is sure of two rows in three); by chance there would be 2.5
