"""What a server's tokens cost, and a limit that no command exceeds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from pydantic import ValidationError

from harness.analysis.pricing import cost_of
from harness.core.engine import Encoded, Scores
from harness.core.errors import BudgetReached, SpecError, UserError
from harness.core.record import Cost, Tokens
from harness.core.token_use import ChargedTokens, TokenUse
from harness.core.types import Calibration, Decoding
from harness.records.entries import read_entry
from harness.records.store import Store
from harness.running.calibration import CONTENT_FREE
from harness.running.plan import Plan
from harness.running.runner import EngineSlot, Result, run
from harness.specs.backend_specs import load_backend
from harness.specs.costs import MemoryBudget, Price
from harness.specs.prices import PriceFile, Prices

WORD, NEW = 1000 / 1e6, 2000 / 1e6  # the prices of `toy-server.yaml`


def server_plan(project: Path, **changes: Any) -> Plan:
    return toy.plan(project, "toy-server", **changes)


def go(plan: Plan, store: Store, limit: float | None) -> Result:
    return run(plan, store, None, toy.quiet, budget=None if limit is None else MemoryBudget(limit))


def paid(engine: Any, decoding: Decoding = Decoding.FREE) -> float:
    """US dollars for all that the server answered: an answer has two tokens, a score and an error have none."""
    texts = [text for batch in engine.batches for text in batch]
    silent = decoding is Decoding.SCORE
    return sum(len(text.split()) * WORD + (0 if silent or toy.said_in(text) == "fail" else 2 * NEW) for text in texts)


def test_price_is_per_million() -> None:
    price = Price(prompt=0.4, completion=1.6, source="s")
    assert price.of(1_000_000, 0) == pytest.approx(0.4)
    assert price.of(0, 1_000_000) == pytest.approx(1.6)
    assert price.of(1500, 250) == pytest.approx((0.4 * 1500 + 1.6 * 250) / 1e6)
    assert price.of(0, 0) == 0


def test_a_budget_holds_what_is_reserved_until_it_is_settled() -> None:
    budget = MemoryBudget(2.0)
    assert budget.reserve([0.5, 0.5, 0.75, 0.75]) == 3  # the fourth would exceed it
    assert budget.left == 0.25
    assert budget.reserve([0.5]) == 0
    budget.settle(1.75, 0.25)
    assert (budget.spent, budget.left) == (0.25, 1.75)
    assert budget.reserve([1.75]) == 1
    assert budget.left == 0


def test_cached_tokens_and_batches_have_their_own_prices() -> None:
    price = Price(prompt=2, completion=10, cached=0.2, cache_write=2.5, batch=0.5, source="s")
    use = TokenUse(prompt=1000, new=100, cached=600, cache_written=300)
    usd = (100 * 2 + 600 * 0.2 + 300 * 2.5 + 100 * 10) / 1e6
    assert price.charged(ChargedTokens(direct=use)) == pytest.approx(usd)
    assert price.charged(ChargedTokens(batched=use)) == pytest.approx(usd / 2)
    assert price.charged(ChargedTokens(use, use)) == pytest.approx(1.5 * usd)
    plain = Price(prompt=2, completion=10, source="s")  # which says nothing of them
    assert plain.charged(ChargedTokens(use, use)) == pytest.approx(2 * plain.of(1000, 100))
    # A bound holds whatever the cache does.
    assert price.most(1000, 100) == pytest.approx((1000 * 2.5 + 100 * 10) / 1e6)
    assert plain.most(1000, 100) == plain.of(1000, 100)


@pytest.mark.parametrize("batch", [0, 1.5, -1])
def test_the_share_of_a_batch_is_a_share(batch: float) -> None:
    with pytest.raises(ValidationError):
        Price(prompt=1, completion=1, batch=batch, source="s")


@pytest.mark.parametrize(
    "price", [{"prompt": -1, "completion": 0, "source": "s"}, {"prompt": 1, "completion": 0, "source": ""}, {"prompt": 1}]
)
def test_a_price_has_both_parts_and_a_source(price: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Price(**price)


def test_a_slip_in_a_price_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("engine: openai\nmodel: m\nprice: {prompt: 1, completion: 2}\n")
    with pytest.raises(SpecError, match="source"):
        load_backend(path)


def test_the_price_is_no_part_of_what_a_run_is(project: Path) -> None:
    """A server that becomes cheaper gives the same answers."""
    before = server_plan(project).run_id
    path = project / "backends" / "toy-server.yaml"
    path.write_text(path.read_text().replace("1000", "10"))
    assert server_plan(project).run_id == before


def test_a_record_says_what_it_cost(project: Path, store: Store) -> None:
    plan = server_plan(project)
    record = store.record(go(plan, store, None).run_id)
    assert record.cost is not None
    assert record.cost == Cost(usd=record.cost.usd, prompt=1000, completion=2000, source="nowhere")
    assert record.cost.usd == pytest.approx(paid(toy.engine_of(plan)), abs=1e-6)
    assert record.tokens.prompt is not None
    assert record.tokens.new is not None
    assert record.cost.usd == pytest.approx(record.tokens.prompt * WORD + record.tokens.new * NEW, abs=1e-6)
    assert store.record(go(toy.plan(project), store, None).run_id).cost is None


def test_a_record_counts_cached_tokens_at_their_price(project: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And `bench analyze cost` computes the same from the record, in which a kill between two batches loses nothing."""
    generate = toy.ToyServer.generate

    def half_cached(self: toy.ToyServer, *asked: Any) -> list[Any]:
        found = generate(self, *asked)
        return [replace(one, cached_tokens=one.prompt_tokens - 2, batched=n % 2 == 1) for n, one in enumerate(found)]

    monkeypatch.setattr(toy.ToyServer, "generate", half_cached)
    path = project / "backends" / "toy-server.yaml"
    path.write_text(path.read_text().replace("source", "cached: 100, batch: 0.5, source"))
    plan, budget = server_plan(project), MemoryBudget(10.0)

    def kill(texts: Sequence[str]) -> None:
        if len(toy.engine_of(plan).batches) == 2:
            raise KeyboardInterrupt

    toy.engine_of(plan).hook = kill
    with pytest.raises(KeyboardInterrupt):
        run(plan, store, None, toy.quiet, budget=budget)
    result = run(server_plan(project), store, None, toy.quiet, budget=budget)
    record = store.record(result.run_id)
    assert record.cost is not None
    assert (record.cost.cached, record.cost.batch) == (100, 0.5)
    words = sum(len(row.text.split()) for row in plan.rows)
    assert (record.tokens.prompt, record.tokens.cached) == (words, words - 2 * len(plan.rows))
    charged = record.tokens.charged
    assert 0 < charged.batched.cached < charged.total.cached
    by_hand = sum(
        share * (2 * WORD + part.cached * 100 / 1e6 + part.new * NEW + (part.prompt - part.cached - 2) * WORD)
        for share, part in ((1, charged.direct), (0.5, charged.batched))
    )
    assert record.cost.usd == pytest.approx(by_hand, abs=1e-6)
    assert budget.spent == pytest.approx(record.cost.usd, abs=1e-6)
    entry = read_entry(store, result.run_id)
    cost = cost_of(entry, Prices(PriceFile(hardware={}, models={}), PriceFile(hardware={}, models={})), 1000, 0)
    assert cost is not None
    assert cost.inference == pytest.approx(record.cost.usd / len(plan.rows) * 1000, rel=1e-4)
    assert "of the prompt tokens cached, at $100" in cost.basis
    assert "through the Batch API, at 0.5 of the price" in cost.basis
    # The time of a batch is no speed of the model.
    assert (record.timing.seconds, record.timing.rows_per_second) == (None, None)


def test_records_without_such_counts_read_as_before() -> None:
    tokens = Tokens(prompt=10, new=2)
    assert tokens.charged == ChargedTokens(TokenUse(10, 2))
    assert Tokens.of(tokens.charged).as_json() == {"prompt": 10, "new": 2}
    assert Tokens().charged == ChargedTokens()
    both = ChargedTokens(TokenUse(10, 2, 4), TokenUse(20, 4, 0, 5))
    assert Tokens.model_validate(Tokens.of(both).as_json()).charged == both


def usd(store: Store, run_id: str) -> float:
    cost = store.record(run_id).cost
    assert cost is not None
    return cost.usd


def test_a_server_is_asked_for_nothing_that_is_not_counted(project: Path, store: Store) -> None:
    plan = server_plan(project)
    go(plan, store, None)
    engine = toy.engine_of(plan)
    assert sorted(text for batch in engine.batches for text in batch) == sorted(row.text for row in plan.rows)  # no warm-up


def stopped(plan: Plan, store: Store, budget: MemoryBudget) -> BudgetReached | UserError | None:
    """What stopped the run; None where it was finished."""
    try:
        run(plan, store, None, toy.quiet, budget=budget)
    except (BudgetReached, UserError) as stop:
        return stop
    return None


@pytest.mark.slow
@pytest.mark.parametrize("decoding", list(Decoding))
@pytest.mark.parametrize("limit", [0.03, 0.047, 0.08, 0.1, 0.15, 0.3, 10.0])
def test_never_more_than_the_limit_and_the_same_command_goes_on(
    project: Path, store: Store, decoding: Decoding, limit: float
) -> None:
    whole = go(server_plan(project, decoding=decoding), Store(store.root / "whole"), None)
    answered: list[str] = []
    total = 0.0
    for _ in range(12):
        plan, budget = server_plan(project, decoding=decoding), MemoryBudget(limit)
        engine = toy.engine_of(plan)
        stop = stopped(plan, store, budget)
        spent = paid(engine, decoding)
        assert budget.spent == pytest.approx(spent)
        assert spent <= limit + 1e-9
        answered += [text for batch in engine.batches for text in batch]
        total += spent
        if stop is None:
            break
        assert store.ids() == []
        if isinstance(stop, UserError):  # too little for any request: the same command would never go on
            assert f"--max-cost {limit:g}: the first request may cost" in stop.message
            assert (engine.batches, limit < 0.07) == ([], True)
            return
        assert f"of ${limit:.4f}" in stop.message
        assert "Repeat the command" in stop.hint
    assert sorted(answered) == sorted(row.text for row in plan.rows)  # none lost, none paid for twice
    found = store.root / whole.run_id / "predictions.jsonl"
    assert found.read_bytes() == (whole.folder / "predictions.jsonl").read_bytes()
    assert usd(store, whole.run_id) == pytest.approx(total, abs=1e-6)


def test_a_limit_of_nothing_asks_nothing(project: Path, store: Store) -> None:
    plan = server_plan(project)
    with pytest.raises(UserError, match="--max-cost 0: the first request may cost"):
        go(plan, store, 0.0)
    assert toy.engine_of(plan).batches == []
    assert BudgetReached("", "").exit_code == 1  # the other case is no mistake


def test_what_costs_nothing_needs_no_budget(project: Path, store: Store) -> None:
    path = project / "backends" / "toy-server.yaml"
    path.write_text(path.read_text().replace("1000", "0").replace("2000", "0"))
    result = go(server_plan(project), store, 0.0)
    assert usd(store, result.run_id) == 0


def test_one_limit_for_all_runs_of_a_command(project: Path, store: Store) -> None:
    english, german = server_plan(project), server_plan(project, lang="de")
    slot = EngineSlot()
    budget = MemoryBudget(1.5 * paid_alone(project, store))
    run(english, store, slot, toy.quiet, budget=budget)
    with pytest.raises(BudgetReached):
        run(german, store, slot, toy.quiet, budget=budget)
    engine = toy.engine_of(english)
    assert engine.resets == 1
    assert paid(engine) == pytest.approx(budget.spent)
    assert 11 < sum(map(len, engine.batches)) < 22
    slot.close()


def paid_alone(project: Path, store: Store) -> float:
    plan = server_plan(project)
    go(plan, Store(store.root / "alone"), None)
    return paid(toy.engine_of(plan))


def test_content_free_inputs_count_too(project: Path, store: Store) -> None:
    plan, budget = server_plan(project, decoding=Decoding.SCORE, calibration=Calibration.CONTEXTUAL), MemoryBudget(10.0)
    result = run(plan, store, None, toy.quiet, budget=budget)
    assert toy.engine_of(plan).batches[0] == list(CONTENT_FREE)
    assert budget.spent == pytest.approx(usd(store, result.run_id))
    late = server_plan(project, lang="de", decoding=Decoding.SCORE, calibration=Calibration.CONTEXTUAL)
    with pytest.raises(UserError, match="first request"):
        go(late, store, 0.0)
    assert toy.engine_of(late).batches == []


def test_answers_that_failed_are_paid_for(project: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: toy.ToyServer, prompts: Sequence[Encoded], choices: Sequence[str]) -> list[Scores]:
        lost = Scores(None, prompts[0].tokens, 1, error="no_label_in_top_logprobs")
        return [
            replace(lost, prompt_tokens=p.tokens) if "says mumble" not in p.content[0] else Scores(np.zeros(3), p.tokens, 1)
            for p in prompts
        ]

    monkeypatch.setattr(toy.ToyServer, "score", failing)
    plan, budget = server_plan(project, decoding=Decoding.SCORE), MemoryBudget(10.0)
    result = run(plan, store, None, toy.quiet, budget=budget)
    assert result.metrics.failed == 10
    assert budget.spent == pytest.approx(sum(len(row.text.split()) * WORD + NEW for row in plan.rows))


# On the command line


@pytest.fixture
def bench(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout and stderr of a command in the toy project."""
    from harness.cli import main

    monkeypatch.chdir(project)
    monkeypatch.delenv("BENCH_DEBUG", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        common = [] if arguments[0] == "show" else ["run", "--task", "toy", "--prompt", "echo"]
        monkeypatch.setattr(sys, "argv", ["bench", *common, *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code or 0, said.out, said.err

    return call


@pytest.mark.slow
def test_max_cost_stops_the_command_and_the_same_one_goes_on(bench: Callable[..., Any], project: Path) -> None:
    command = ("--backend", "toy-server", "--lang", "en,de", "--max-cost", 0.09)
    store = Store(project / "results" / "runs")
    codes = []
    for _ in range(8):
        code, _, err = bench(*command)
        codes.append(code)
        if code == 0:
            break
        assert err.count("bench: ") == 1  # the next language could not be paid for either: it is not begun
        assert "of $0.0900; the next request could exceed it" in err
        assert "Repeat the command" in err
    assert codes[-1] == 0
    assert set(codes[:-1]) == {1}
    assert len(codes) > 2
    assert len(store.ids()) == 2
    for name in store.ids():
        assert len(store.predictions(name)) == 11
        cost = store.record(name).cost
        assert cost is not None
        assert cost.usd > 0
        assert f"${cost.usd:.4f}" in bench("show", name)[1]


def test_max_cost_without_a_price_is_refused(bench: Callable[..., Any], project: Path) -> None:
    path = project / "backends" / "unpriced.yaml"
    path.write_text("engine: toy_server\nmodel: served\n")
    code, out, err = bench("--backend", "toy-server,unpriced,toy-model", "--max-cost", 1.5)
    assert (code, out) == (2, "")
    assert "--max-cost 1.5: unpriced has no price" in err
    assert "prices.yaml" in err
    assert not (project / "results").exists()


def test_max_cost_without_a_server_is_noted(bench: Callable[..., Any]) -> None:
    code, _, err = bench("--backend", "toy-model", "--lang", "en", "--max-cost", 0)
    assert code == 0
    assert [line for line in err.splitlines() if line.startswith("note: --max-cost")] == [
        "note: --max-cost has no effect: none of toy-model is a server."
    ]


def test_max_cost_counts_the_model_that_is_asked(bench: Callable[..., Any], project: Path) -> None:
    """The price in the backend's YAML is of the model that stands there; another one's stands in prices.yaml, or nowhere."""
    command = ("--backend", "toy-server", "--lang", "en", "--model", "other", "--max-cost", 10)
    code, out, err = bench(*command)
    assert (code, out) == (2, "")
    assert "--max-cost 10: toy-server has no price" in err
    assert not (project / "results").exists()
    (project / "prices.yaml").write_text(
        "models: {other: {prompt: 10, completion: 20, date: 2026-01-02, source: my contract}}\n"
    )
    assert bench(*command)[0] == 0
    store = Store(project / "results" / "runs")
    cost = store.record(store.ids()[0]).cost
    assert cost is not None
    assert (cost.prompt, cost.source) == (10, "my contract, 2026-01-02")


def test_the_own_prices_go_before_the_backends(bench: Callable[..., Any], project: Path) -> None:
    (project / "prices.yaml").write_text("models: {served: {prompt: 0, completion: 1, date: 2026-01-02, source: s}}\n")
    assert bench("--backend", "toy-server", "--lang", "en", "--max-cost", 1)[0] == 0
    store = Store(project / "results" / "runs")
    cost = store.record(store.ids()[0]).cost
    assert cost is not None
    assert cost.completion == 1
