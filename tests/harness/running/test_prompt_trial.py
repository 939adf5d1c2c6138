"""A prompt tried on validation rows: what a model answered, and nothing of the test rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy

from harness.core.errors import UserError
from harness.core.types import Decoding
from harness.running.prompt_trial import try_prompt

SAYS = ["0", "1", "mumble", "1", "fail"]


@pytest.fixture
def said(project: Path) -> Path:
    toy.write_rows(project, "validation", [toy.row("validation", "en", n, says, n % 3) for n, says in enumerate(SAYS)])
    return project


def test_what_was_answered_is_counted(said: Path) -> None:
    plan = toy.plan(said, split="validation")
    trial = try_prompt(plan, toy.quiet)
    assert (trial.backend, trial.lang, trial.decoding) == ("toy-model", "en", "free")
    assert (trial.rows, trial.readable) == (5, 3)
    assert trial.answers == {"fair": 2, "bad": 1}
    assert trial.refused == {"no_answer": 1, "prompt_too_long": 1}
    assert (trial.one_answer, trial.label_mass, trial.context) == (False, None, None)
    assert trial.tokens == max(len(row.text.split()) for row in plan.rows)
    assert toy.engine_of(plan).closes == 1


def test_scores_tell_the_mass_of_the_labels(said: Path) -> None:
    trial = try_prompt(toy.plan(said, split="validation", decoding=Decoding.SCORE, calibration="contextual"), toy.quiet)
    masses = [float(np.exp(toy._scores(word, 3)).sum()) for word in SAYS if word != "fail"]
    assert trial.label_mass == pytest.approx(np.median(masses))
    assert trial.readable + sum(trial.refused.values()) == trial.rows


@pytest.mark.parametrize(("says", "one"), [(["1", "1", "mumble"], True), (["1", "mumble"], False), (["mumble"] * 3, False)])
def test_one_answer_for_all(project: Path, says: list[str], one: bool) -> None:
    toy.write_rows(project, "validation", [toy.row("validation", "en", n, word, 0) for n, word in enumerate(says)])
    trial = try_prompt(toy.plan(project, split="validation"), toy.quiet)
    assert (trial.readable, trial.one_answer) == (says.count("1"), one)


def test_test_rows_and_trained_backends_are_refused(project: Path) -> None:
    with pytest.raises(UserError, match="validation"):
        try_prompt(toy.plan(project), toy.quiet)
    with pytest.raises(UserError, match="reads no prompt"):
        try_prompt(toy.plan(project, "toy-classifier", split="validation"), toy.quiet)
