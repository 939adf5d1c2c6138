"""Engines that get further batches before the runner waits for the oldest, and engines that are sized by their prompts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from harness.core.engine import Allowed, Encoded, Generation, Messages, Pending, Scores
from harness.core.errors import BudgetReached, OutOfMemory
from harness.core.types import Calibration, Decoding
from harness.records.store import Store
from harness.running.plan import Plan
from harness.running.prompt_trial import try_prompt
from harness.running.runner import EngineSlot, run
from harness.running.timing import LatencyOptions, measure
from harness.specs.costs import Budget

AHEAD = 2


class Ahead(toy.ToyModel):
    """Computes when it is waited for. `open`: batches that were launched and not waited for."""

    open = most_open = 0
    full_from: int | None = None
    """Rows of a batch for which there is no memory, at its launch."""

    def ahead(self) -> int:
        return AHEAD

    def speed_settings(self) -> dict[str, Any]:
        return {"open": AHEAD}

    def launch_generate(self, prompts: Sequence[Encoded], new: int, choices: Allowed | None) -> Pending[list[Generation]]:
        assert choices is None or not isinstance(choices, tuple)
        return self._launch(len(prompts), lambda: self.generate(prompts, new, choices))  # type: ignore[arg-type]

    def launch_score(self, prompts: Sequence[Encoded], choices: Sequence[str]) -> Pending[list[Scores]]:
        return self._launch(len(prompts), lambda: self.score(prompts, choices))

    def _launch(self, rows: int, compute: Callable[[], Any]) -> Pending[Any]:
        if self.full_from is not None and rows >= self.full_from:
            raise OutOfMemory("full")
        self.open += 1
        self.most_open = max(self.most_open, self.open)

        def collect() -> Any:
            self.open -= 1
            return compute()

        return collect


class Sized(toy.ToyModel):
    """Has room for `room` tokens once it is loaded. Its encoder works before."""

    room: int | None = None

    def is_sized(self) -> bool:
        return True

    def make_room(self, tokens: int) -> bool:
        if self.loads:
            return self.room is not None and tokens <= self.room
        self.room = tokens
        return True

    def encode(self, chats: Sequence[Messages], choices: Sequence[str] | None) -> list[Encoded]:
        texts = [chat[-1]["content"] for chat in chats]
        return [Encoded(len(text.split()), (text, choices)) for text in texts]


def with_engine(plan: Plan, kind: type[toy.ToyModel]) -> Plan:
    given = toy.engine_of(plan)
    return replace(plan, engine=kind(given.options, given.model))


def predictions(store: Store, run_id: str) -> list[dict[str, Any]]:
    return [dict(row) for row in store.predictions(run_id)]


@pytest.mark.parametrize("decoding", list(Decoding))
def test_the_answers_are_those_of_one_batch_after_the_other(project: Path, tmp_path: Path, decoding: Decoding) -> None:
    found = []
    for kind in (toy.ToyModel, Ahead):
        plan = with_engine(toy.plan(project, decoding=decoding), kind)
        store = Store(tmp_path / kind.__name__)
        done = run(plan, store, None, toy.quiet)
        found.append((predictions(store, done.run_id), toy.engine_of(plan).batches))
    assert found[0] == found[1]
    assert toy.engine_of(plan).most_open == AHEAD + 1
    assert toy.engine_of(plan).open == 0


def test_the_record_names_the_settings_of_speed(project: Path, tmp_path: Path) -> None:
    settings = [
        run(with_engine(toy.plan(project), kind), Store(tmp_path / kind.__name__), None, toy.quiet).record.timing.settings
        for kind in (toy.ToyModel, Ahead)
    ]
    assert settings == [None, {"open": AHEAD}]


def test_a_batch_that_is_too_large_is_halved_and_the_others_are_kept(project: Path, tmp_path: Path) -> None:
    plan = with_engine(toy.plan(project), Ahead)
    engine = toy.engine_of(plan)
    engine.full_from = engine.options.batch
    done = run(plan, Store(tmp_path), None, toy.quiet)
    assert sorted(engine.counted) == sorted({row.text for row in plan.rows})
    assert max(map(len, engine.batches)) < engine.options.batch
    assert done.record.n == len(plan.rows)


def test_a_resumed_run_asks_only_for_what_was_not_written(project: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    whole = with_engine(toy.plan(project), Ahead)
    expected = predictions(Store(tmp_path / "whole"), run(whole, Store(tmp_path / "whole"), None, toy.quiet).run_id)
    store, first, second = Store(tmp_path / "cut"), *(with_engine(toy.plan(project), Ahead) for _ in range(2))
    asked = itertools.count()

    def hook(texts: Sequence[str]) -> None:
        if next(asked) == 3:  # the warm-up and two batches before it
            raise Killed

    toy.engine_of(first).hook = hook
    with pytest.raises(Killed):
        run(first, store, None, toy.quiet)
    done = run(second, store, None, toy.quiet)
    assert predictions(store, done.run_id) == expected
    before, after = toy.engine_of(first).counted, toy.engine_of(second).counted
    assert before
    assert sorted([*before, *after]) == sorted(toy.engine_of(whole).counted)


def test_a_budget_pays_for_each_batch_before_the_next(project: Path, tmp_path: Path) -> None:
    class Server(Ahead, toy.ToyServer):
        pass

    plan = with_engine(toy.plan(project, "toy-server"), Server)
    price = plan.backend.price
    assert price is not None
    once = price.most(100, 100)
    with pytest.raises(BudgetReached):
        run(plan, Store(tmp_path), None, toy.quiet, budget=Budget(once / 2), gate=False)
    assert toy.engine_of(plan).most_open == 1


def test_latency_and_prompt_trials_work_ahead_too(project: Path) -> None:
    plan = with_engine(toy.plan(project), Ahead)
    measured = measure(plan, LatencyOptions((1,)))
    assert measured.offline.batches is not None
    assert toy.engine_of(plan).most_open == AHEAD + 1
    tried = with_engine(toy.plan(project, split="validation"), Ahead)
    assert try_prompt(tried, toy.quiet).rows == len(tried.rows)
    assert toy.engine_of(tried).open == 0


@pytest.mark.parametrize("calibration", [Calibration.NONE, Calibration.CONTEXTUAL])
def test_an_engine_is_sized_by_the_longest_prompt_before_it_is_loaded(
    project: Path, tmp_path: Path, calibration: Calibration
) -> None:
    decoding = Decoding.FREE if calibration is Calibration.NONE else Decoding.SCORE
    plan = with_engine(toy.plan(project, decoding=decoding, calibration=calibration), Sized)
    run(plan, Store(tmp_path), None, toy.quiet)
    longest = max(len(row.text.split()) for row in plan.rows)
    assert plan.prompt is not None
    assert toy.engine_of(plan).room == longest + (plan.prompt.prompt.spec.max_new_tokens if decoding is Decoding.FREE else 1)


def test_a_loaded_engine_without_room_is_loaded_again(project: Path, tmp_path: Path) -> None:
    """A run of shorter rows uses the engine of the one before, and one of longer rows does not."""
    store, slot = Store(tmp_path), EngineSlot()
    plans = [with_engine(toy.plan(project, seed=seed, lang=lang), Sized) for seed, lang in enumerate(("en", "de", "en"))]
    longer = replace(plans[2].rows[0], text=f"{'word ' * 99}says 1")
    plans[2] = replace(plans[2], rows=[longer, *plans[2].rows[1:]])
    for plan in plans:
        run(plan, store, slot, toy.quiet)
    slot.close()
    assert [toy.engine_of(plan).loads for plan in plans] == [1, 0, 1]
    assert [toy.engine_of(plan).closes for plan in plans] == [1, 0, 1]
