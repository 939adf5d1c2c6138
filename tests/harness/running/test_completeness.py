"""A run with rows that may still be answered is not finished, and one without any answer is no result."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from harness.core.engine import Encoded, Generation, Scores
from harness.core.errors import ModelUnavailable, RunError, RunIncomplete, UserError
from harness.core.types import Calibration, Decoding, Prediction, Status
from harness.records.journal import JournalEntry, done_rows, measured_seconds, open_rows
from harness.records.store import Store
from harness.running.plan import Plan
from harness.running.runner import AGAIN, run
from harness.specs.costs import MemoryBudget

ROWS = 11


class Outage:
    """What a `ToyServer` does: `lost` are the texts that it does not answer; each try costs the tokens of the prompt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost: Callable[[str], bool] = lambda text: False
        self.down: Exception | None = None
        self.asked: list[str] = []
        generate, score = toy.ToyServer.generate, toy.ToyServer.score

        def or_lost(prompts: Sequence[Encoded], answers: Sequence[Any], nothing: Callable[[int], Any]) -> list[Any]:
            self.asked += [prompt.content[0] for prompt in prompts]
            pairs = zip(prompts, answers, strict=True)
            return [nothing(prompt.tokens) if self.lost(prompt.content[0]) else answer for prompt, answer in pairs]

        def failed_answer(tokens: int) -> Generation:
            return Generation("", False, tokens, 0, "timeout", retryable=True)

        def failed_score(tokens: int) -> Scores:
            return Scores(None, tokens, 0, "timeout", retryable=True)

        monkeypatch.setattr(toy.ToyServer, "generate", lambda s, p, n, c: or_lost(p, generate(s, p, n, c), failed_answer))
        monkeypatch.setattr(toy.ToyServer, "score", lambda s, p, c: or_lost(p, score(s, p, c), failed_score))
        monkeypatch.setattr(toy.ToyServer, "unavailable", lambda s: self.down)
        monkeypatch.setattr(toy.ToyServer, "replaced_fields", lambda s: {"temperature": None})


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(monkeypatch)


def plan_for(project: Path, **changes: Any) -> Plan:
    return toy.plan(project, "toy-server", **changes)


@pytest.mark.parametrize("decoding", [Decoding.FREE, Decoding.SCORE])
def test_the_same_command_asks_the_open_rows_and_no_others(
    project: Path, store: Store, outage: Outage, decoding: Decoding
) -> None:
    undisturbed = run(plan_for(project, decoding=decoding), Store(store.root / "elsewhere"))
    outage.asked.clear()
    outage.lost = lambda text: "says 2" in text
    plan, budget = plan_for(project, decoding=decoding), MemoryBudget(10.0)
    with pytest.raises(RunIncomplete, match=r"4 of 11 rows have no answer \(timeout 4\); the run is not finished"):
        run(plan, store, budget=budget)
    assert len(outage.asked) == ROWS
    assert plan.run_id not in store.ids()
    assert store.ids() == []
    missing = {row.text for row in plan.rows if "says 2" in row.text}
    outage.asked.clear()
    with pytest.raises(RunIncomplete, match="4 of 11"):
        run(plan_for(project, decoding=decoding), store, budget=budget)
    assert sorted(outage.asked) == sorted(missing)
    outage.asked.clear()
    outage.lost = lambda text: False
    result = run(plan_for(project, decoding=decoding), store, budget=budget)
    assert sorted(outage.asked) == sorted(missing)
    assert store.predictions(result.run_id) == Store(store.root / "elsewhere").predictions(undisturbed.run_id)
    record = store.record(result.run_id)
    # All that was paid is in the record, the attempts without an answer too.
    twice = sum(len(row.text.split()) for row in plan.rows if row.text in missing)
    assert record.tokens.prompt == (undisturbed.record.tokens.prompt or 0) + 2 * twice
    assert record.cost is not None
    assert record.cost.usd == pytest.approx(budget.spent)
    assert record.sent_instead == {"temperature": None}
    assert result.record.metrics.reasons.get("timeout") is None


def test_rows_that_fail_for_their_own_sake_do_not_keep_a_run_open(project: Path, store: Store, outage: Outage) -> None:
    result = run(plan_for(project), store)
    assert (result.record.metrics.failed, result.record.metrics.reasons["prompt_too_long"]) == (1, 1)


def test_a_server_that_is_down_ends_the_run(project: Path, store: Store, outage: Outage) -> None:
    outage.lost, outage.down = lambda text: True, ModelUnavailable("The server at x gave no answer.", "Wait.")
    with pytest.raises(RunIncomplete, match=r"11 of 11 rows .*not_sent.*gave no answer") as caught:
        run(plan_for(project), store)
    assert caught.value.server is outage.down
    assert len(outage.asked) == 3  # of the first batch
    outage.lost, outage.down = lambda text: False, UserError("The key is refused.", "Set it.")
    with pytest.raises(UserError, match="refused"):
        run(plan_for(project), store)
    outage.down = None
    outage.asked.clear()
    run(plan_for(project), store)
    assert len(outage.asked) == ROWS - 3  # what was answered before the key was refused is kept


def test_a_content_free_input_that_failed_is_asked_again(project: Path, store: Store, outage: Outage) -> None:
    changes: dict[str, Any] = {"decoding": Decoding.SCORE, "calibration": Calibration.CONTEXTUAL}
    outage.lost = lambda text: "says" not in text
    with pytest.raises(RunIncomplete, match="content-free"):
        run(plan_for(project, **changes), store)
    outage.lost = lambda text: False
    plan = plan_for(project, **changes)
    tokens = store.record(run(plan, store).run_id).tokens.prompt
    assert tokens == sum(len(row.text.split()) for row in plan.rows) + 2 * len(["N/A", "[MASK]"])


@pytest.mark.parametrize("backend", ["toy-server", "toy-classifier"])
def test_a_run_without_any_answer_is_no_result(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    def fail(engine: Any, prompts: Sequence[Encoded], *_: object) -> Any:
        if backend == "toy-classifier":  # weights that diverged
            return np.full((len(prompts), 3), np.nan)
        return [Generation("", False, 0, 0, "content_filter") for _ in prompts]

    cls, method = (toy.ToyServer, "generate") if backend == "toy-server" else (toy.ToyClassifier, "predict")
    monkeypatch.setattr(cls, method, fail)
    reason = "content_filter" if backend == "toy-server" else "not_a_number"
    with pytest.raises(RunError, match=rf"none of its 11 rows has an answer \({reason} 11\)"):
        run(toy.plan(project, backend), store)
    assert store.ids() == []


def test_what_a_journal_says() -> None:
    def entry(seconds: float, again: list[str], **rows: str | None) -> JournalEntry:
        given = [Prediction(name, None, Status.FAILED, reason) for name, reason in rows.items()]
        return JournalEntry(seconds, 0, 0, 1, given, again)

    entries = [
        entry(1, ["b"], a=None, b="timeout"),
        entry(60, ["c", "d"], c="timeout", d="http_503"),
        entry(2, [], d="http_400"),
    ]
    assert open_rows(entries) == {"b": "timeout", "c": "timeout"}
    assert done_rows(entries) == {"a", "d"}
    assert measured_seconds(entries) == 3
    # What was lost may be answered later, and the other way round.
    assert open_rows([*entries, entry(1, [], b=None, c=None)]) == {}


@pytest.fixture
def bench(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str, str]]:
    """Exit code, stdout and stderr of a command in the toy project."""
    from harness.cli import main

    monkeypatch.chdir(project)

    def call(*arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        code: Any = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code or 0, said.out, said.err

    return call


def test_the_command_says_how_many_and_exits_with_1(
    project: Path, outage: Outage, bench: Callable[..., tuple[Any, str, str]]
) -> None:
    command = ("run", "--task", "toy", "--prompt", "echo", "--backend", "toy-server", "--json")
    outage.lost = lambda text: " en " in text and "says 2" in text
    code, out, err = bench(*command)
    assert code == 1
    assert "4 of 11 rows have no answer (timeout 4)" in err
    assert AGAIN in " ".join(err.split())
    assert "1 incomplete, 1 new" in err
    first, second = json.loads(out)
    assert (first["state"], first["run"], first["error"]["exit_code"]) == ("incomplete", None, 1)
    assert second["state"] == "new"
    assert len(list((project / "results" / "runs").glob("*.partial"))) == 1
    # A server that is down is not asked for the other languages.
    outage.lost, outage.down = lambda text: True, ModelUnavailable("The server at x gave no answer.", "Wait.")
    outage.asked.clear()
    code, out, err = bench(*command, "--seed", "3")
    assert (code, [done["state"] for done in json.loads(out)]) == (1, ["incomplete", "failed"])
    assert len(outage.asked) == 3
    outage.lost, outage.down = lambda text: False, None
    code, out, err = bench(*command)
    assert (code, [done["state"] for done in json.loads(out)]) == (0, ["new", "found"])
