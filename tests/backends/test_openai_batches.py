"""The openai engine through a Batch API that answers late, in any order, in part or not at all."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_batches import FakeBatches, answer_line, executed, not_executed, text_of
from fake_server import KEY, MODEL, FakeServer, fake_server, status
from served import NAME, chat, engine_for

from backends._openai_batches import STATE, files_of, lines_in, sent_requests
from backends.openai import OpenAI
from harness.core.engine import Generation
from harness.core.errors import BudgetReached, ModelUnavailable, RunError, RunIncomplete, UserError
from harness.core.options import RunOptions
from harness.core.token_use import TokenUse
from harness.records.store import Store
from harness.running.plan import Plan, make_plan
from harness.running.runner import run
from harness.specs.catalog import Catalog
from harness.specs.costs import MemoryBudget, Price

ROWS = [f"row {n}" for n in range(12)]
DIGITS = ["0", "1", "2"]

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr("backends._openai_batches.FIRST_WAIT", 0.001)
    monkeypatch.setattr("backends._openai_batches.LONGEST_WAIT", 0.01)
    monkeypatch.setenv(NAME, KEY)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as fake:
        fake.batch_api = FakeBatches(fake)
        yield fake


@pytest.fixture
def api(server: FakeServer) -> FakeBatches:
    assert isinstance(server.batch_api, FakeBatches)
    return server.batch_api


class Started:
    """`with Started(...) as engine`: one start of a run, whose scratch folder stays."""

    def __init__(self, server: FakeServer, scratch: Path, **options: Any) -> None:
        self.engine, self.scratch = engine_for(server.url, mode="batch", **options), scratch

    def __enter__(self) -> OpenAI:
        self.engine.load()
        self.engine.use_scratch(self.scratch)
        return self.engine

    def __exit__(self, *_: object) -> None:
        self.engine.close()


def ask(engine: OpenAI, texts: list[str] = ROWS, choices: list[str] | None = None) -> list[Generation]:
    return engine.generate(engine.encode([chat(text) for text in texts], choices), 9, choices)


def in_batches(api: FakeBatches) -> list[str]:
    return [text_of(request) for name in api.batches for request in api.requests(name)]


def test_a_batch_answers_all_but_the_first_request(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    """Answers come in any order, and each finds its row; one request is sent directly, so that refusals show at once."""
    with Started(server, tmp_path, seed=3) as engine:
        found = ask(engine)
        assert [answer.text for answer in found] == [f"echo: {text}" for text in ROWS]
        assert [answer.batched for answer in found].count(False) == 1
        assert all(answer.prompt_tokens == len(text) + 7 for answer, text in zip(found, ROWS, strict=True))
    assert len(server.bodies) == 1
    assert sorted([*in_batches(api), server.bodies[0]["messages"][-1]["content"]]) == sorted(ROWS)
    (name,) = api.batches
    first = api.requests(name)[0]
    assert (first["method"], first["url"]) == ("POST", "/v1/chat/completions")
    assert first["body"] == {"model": MODEL, "messages": chat(text_of(first)), "temperature": 0, "max_tokens": 9, "seed": 3}
    state = (tmp_path / STATE).read_text()
    assert "row" not in state.replace('"requests"', "")  # no text is on the disk


def test_scores_and_choices_too(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    direct = engine_for(server.url)
    direct.load()
    expected = direct.score(direct.encode([chat(text) for text in ROWS], DIGITS), DIGITS)
    chosen = ask(direct, ROWS, DIGITS)
    direct.close()
    with Started(server, tmp_path) as engine:
        scores = engine.score(engine.encode([chat(text) for text in ROWS], DIGITS), DIGITS)
        assert [answer.text for answer in ask(engine, ROWS, DIGITS)] == [answer.text for answer in chosen]
    for score, other in zip(scores, expected, strict=True):
        assert score.log_p is not None
        assert other.log_p is not None
        np.testing.assert_array_equal(score.log_p, other.log_p)
    assert [score.batched for score in scores].count(True) == len(ROWS) - 1


def test_what_the_server_refuses_is_learned_before_the_batch(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    refusal = status(400, {"error": {"message": "no temperature, please", "param": "temperature"}})
    server.faults = {text: [refusal] for text in ROWS}
    with Started(server, tmp_path) as engine:
        assert {answer.error for answer in ask(engine)} == {None}
        assert engine.replaced_fields() == {"temperature": None}
    assert all("temperature" not in request["body"] for request in api.requests("batch_1"))
    # A later start reads the same answers, and knows how they were asked for.
    direct = server.bodies[-1]["messages"][-1]["content"]
    with Started(server, tmp_path) as engine:
        assert {answer.error for answer in ask(engine, [text for text in ROWS if text != direct])} == {None}
        assert engine.replaced_fields() == {"temperature": None}
    assert len(api.batches) == 1


def test_a_batch_that_ends_before_the_first_look(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    api.steps, api.errors = ("failed",), [{"code": "empty_file"}]
    with Started(server, tmp_path) as engine:
        ask(engine)
        assert isinstance(engine.unavailable(), RunError)
    api.steps = ("expired",)
    with Started(server, tmp_path / "other") as engine:
        assert [answer.error for answer in ask(engine)].count("batch_expired") == len(ROWS) - 1


def test_a_wrong_option_costs_no_batch(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    server.faults = {text: [status(400, {"error": {"message": "I refuse."}})] * 3 for text in ROWS}
    with Started(server, tmp_path) as engine, pytest.raises(UserError, match="refuses every request"):
        ask(engine)
    assert api.asked == []


def test_errors_in_some_rows(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    def line(request: dict[str, Any]) -> dict[str, Any] | None:
        error = {
            "row 3": (400, {"error": {"message": "no", "code": "context_length_exceeded"}}),
            "row 4": (500, {"error": {"message": "the server had an error"}}),
            "row 5": (200, {"choices": "none"}),
        }.get(text_of(request))
        if text_of(request) == "row 6":
            return None
        return answer_line(server, request) if error is None else executed(request, *error)

    api.line = line
    with Started(server, tmp_path) as engine:
        found = dict(zip(ROWS, ask(engine), strict=True))
    words = {text: (answer.error, answer.retryable) for text, answer in found.items() if answer.error}
    assert words == {
        "row 3": ("prompt_too_long", False),
        "row 4": ("http_500", True),
        "row 5": ("bad_response", False),
        "row 6": ("bad_response", True),
    }
    # The same command asks only what may have another answer; so few without a batch.
    api.line = None
    with Started(server, tmp_path) as engine:
        again = ask(engine, ["row 4", "row 6"])
    assert [answer.error for answer in again] == [None, None]
    assert [body["messages"][-1]["content"] for body in server.bodies[1:]] == ["row 4", "row 6"]
    assert len(api.batches) == 1


def test_an_error_of_all_rows_is_the_error_of_the_run(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    api.line = lambda request: executed(request, 401, {"error": {"message": "gone"}})
    with Started(server, tmp_path) as engine:
        found = ask(engine)
        assert [answer.error for answer in found].count("not_sent") == len(ROWS) - 1
        down = engine.unavailable()
        assert isinstance(down, UserError)
        assert "refused the key" in down.message


def started_and_killed(server: FakeServer, api: FakeBatches, scratch: Path, until: Callable[[], bool]) -> None:
    """A start that never gets its answers: its thread ends with the connection."""
    api.held.set()
    with Started(server, scratch) as engine:
        errors: list[BaseException] = []

        def wait() -> None:
            try:
                ask(engine)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        waiter = threading.Event()
        for _ in range(2000):
            if until():
                break
            waiter.wait(0.005)
        assert until()
        engine.close()
        thread.join(20)
    assert errors
    api.held.clear()


def test_a_killed_run_waits_for_the_same_batch(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    started_and_killed(server, api, tmp_path, lambda: "GET /batches/ID" in api.asked)
    direct = server.bodies[0]["messages"][-1]["content"]
    assert sent_requests(tmp_path) == len(ROWS) - 1
    with Started(server, tmp_path) as engine:
        # The direct answer was lost with the process, and is asked again; nothing else is.
        found = ask(engine)
    assert [answer.text for answer in found] == [f"echo: {text}" for text in ROWS]
    assert len(api.batches) == 1
    assert api.asked.count("POST /files") == 1
    assert [body["messages"][-1]["content"] for body in server.bodies] == [direct, direct]


def test_a_kill_between_file_and_batch(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    """The batch was made, and its id never arrived: the server's list has it. Without a list entry nothing was made."""
    with Started(server, tmp_path) as engine:
        ask(engine)
    state = json.loads((tmp_path / STATE).read_text())
    state["submitted"][0]["batch"] = None
    (tmp_path / STATE).write_text(json.dumps(state))
    with Started(server, tmp_path) as engine:
        assert {answer.error for answer in ask(engine)} == {None}
    assert len(api.batches) == 1
    state["submitted"][0]["file"] = "file-unknown"
    (tmp_path / STATE).write_text(json.dumps(state))
    with Started(server, tmp_path) as engine:
        assert {answer.error for answer in ask(engine)} == {None}
    assert len(api.batches) == 2


def test_an_answer_that_is_lost_makes_no_second_batch(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    api.faults = {"after POST /batches": [0], "POST /files": [500]}
    with Started(server, tmp_path) as engine:
        assert {answer.error for answer in ask(engine)} == {None}
    assert len(api.batches) == 1
    api.faults = {"POST /batches": [503, 429]}
    with Started(server, tmp_path / "other", retries=2) as engine:
        assert {answer.error for answer in ask(engine)} == {None}
    assert len(api.batches) == 2


@pytest.mark.parametrize("end", ["expired", "cancelled"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_batch_that_ends_early_keeps_its_rows(
    server: FakeServer, api: FakeBatches, tmp_path: Path, end: str, listed: bool
) -> None:
    late = {"row 5", "row 6", "row 7", "row 8"}
    api.end = end
    unanswered = (lambda request: not_executed(request, f"batch_{end}")) if listed else (lambda request: None)
    api.line = lambda request: unanswered(request) if text_of(request) in late else answer_line(server, request)
    with Started(server, tmp_path) as engine:
        found = dict(zip(ROWS, ask(engine), strict=True))
        assert engine.unavailable() is None
    assert {text for text, answer in found.items() if answer.error} == late
    assert {(answer.error, answer.retryable) for text, answer in found.items() if text in late} == {(f"batch_{end}", True)}
    api.end, api.line = "completed", None
    with Started(server, tmp_path) as engine:
        assert {answer.error for answer in ask(engine)} == {None}
    rest = [text_of(request) for request in api.requests("batch_2")]
    direct = [body["messages"][-1]["content"] for body in server.bodies[1:]]
    # The lost direct answer of the first start, and what the batch did not answer.
    assert sorted([*rest, *direct]) == sorted([*late, server.bodies[0]["messages"][-1]["content"]])


def test_a_batch_that_the_server_does_not_accept(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    api.end = "failed"
    api.errors = [{"code": "token_limit_exceeded", "message": f"Enqueued token limit reached {KEY}", "line": None}]
    with Started(server, tmp_path) as engine:
        found = ask(engine)
        down = engine.unavailable()
    assert isinstance(down, RunError)
    assert "token_limit_exceeded: Enqueued token limit reached [key]" in down.message
    assert [answer.error for answer in found].count(None) == 1  # the direct one is kept
    api.end, api.errors = "completed", None
    with Started(server, tmp_path) as engine:
        assert {answer.error for answer in ask(engine)} == {None}
    assert len(api.batches) == 2


def test_questions_that_fail_are_asked_again(
    server: FakeServer, api: FakeBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.faults = {"GET /batches/ID": [500, 500, 0, 429, None, 503], "GET /files/ID/content": [500]}
    with Started(server, tmp_path) as engine:
        assert {answer.error for answer in ask(engine)} == {None}
    monkeypatch.setattr("backends._openai_batches.MOST_MISSES", 3)
    api.faults = {"GET /batches/ID": [500] * 100}
    with Started(server, tmp_path / "other", retries=0) as engine:
        ask(engine)
        down = engine.unavailable()
    assert isinstance(down, ModelUnavailable)
    assert "waits for the same batch" in down.hint
    api.faults.clear()
    with Started(server, tmp_path / "other") as engine:
        assert {answer.error for answer in ask(engine)} == {None}
    assert len(api.batches) == 2


@pytest.mark.parametrize(("code", "said"), [(404, "does not know batch_1"), (401, "refused the key")])
def test_a_batch_that_is_not_there(server: FakeServer, api: FakeBatches, tmp_path: Path, code: int, said: str) -> None:
    with Started(server, tmp_path) as engine:
        ask(engine)
    api.faults = {"GET /batches/ID": [code]}
    with Started(server, tmp_path) as engine, pytest.raises(UserError, match=said):
        ask(engine)
    assert len(api.batches) == 1  # nothing was asked again unasked


def test_answers_that_can_not_be_read(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    for code, kind, hint in ((503, ModelUnavailable, "reads the same answers"), (404, RunError, "--force")):
        api.faults = {"GET /files/ID/content": [code] * 2}
        with Started(server, tmp_path / str(code)) as engine:
            ask(engine)
            down = engine.unavailable()
        assert type(down) is kind
        assert hint in down.hint


@pytest.mark.parametrize(("most", "limit"), [("MOST_REQUESTS", 4), ("MOST_BYTES", 1000)])
def test_several_files(
    server: FakeServer, api: FakeBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: str, limit: int
) -> None:
    monkeypatch.setattr(f"backends._openai_batches.{most}", limit)
    with Started(server, tmp_path) as engine:
        assert [answer.text for answer in ask(engine)] == [f"echo: {text}" for text in ROWS]
    assert len(api.batches) >= 3
    for name, batch in api.batches.items():
        size = len(api.requests(name)) if most == "MOST_REQUESTS" else len(api.files[batch["input_file_id"]])
        assert size <= limit
    # One of them fails: the rows of the others are kept.
    api.faults = {"POST /batches": [None, 400]}
    with Started(server, tmp_path / "other") as engine:
        found = ask(engine, [f"other {text}" for text in ROWS])
        assert isinstance(engine.unavailable(), UserError)
    assert 0 < [answer.error for answer in found].count(None) < len(ROWS)


def test_a_server_without_a_batch_api(server: FakeServer, tmp_path: Path) -> None:
    server.batch_api = None
    with Started(server, tmp_path) as engine:
        ask(engine)
        down = engine.unavailable()
    assert isinstance(down, UserError)
    assert "has no Batch API" in down.message
    assert "mode=interactive" in down.hint


def test_two_rows_of_one_prompt_are_two_requests(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    with Started(server, tmp_path) as engine:
        found = ask(engine, ["1", "same", "same", "other"])
    assert [answer.text for answer in found] == ["echo: 1", "echo: same", "echo: same", "echo: other"]
    assert len(in_batches(api)) == 3
    assert len({request["custom_id"] for name in api.batches for request in api.requests(name)}) == len(in_batches(api))


def test_other_uses_than_a_run_are_refused(server: FakeServer) -> None:
    engine = engine_for(server.url, mode="batch")
    engine.load()
    with pytest.raises(UserError, match="only runs") as caught:
        ask(engine)
    engine.close()
    assert "mode=interactive" in caught.value.hint


def test_single_requests_after_a_batch_are_warned_of(
    server: FakeServer, api: FakeBatches, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Started(server, tmp_path) as engine:
        ask(engine)
    caplog.set_level(logging.WARNING, "bench")
    plain = engine_for(server.url)
    plain.use_scratch(tmp_path)
    assert "11 requests to the Batch API" in caplog.text
    caplog.clear()
    plain.use_scratch(tmp_path / "none")
    assert caplog.text == ""


def test_a_damaged_state_is_not_passed_over(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text("{")
    with Started(server, tmp_path) as engine, pytest.raises(RunError, match="can't be read") as caught:
        ask(engine)
    assert "paid for again" in caught.value.hint


def test_lines_that_are_no_answers_are_left_out() -> None:
    good = {"custom_id": "a", "response": {"status_code": 200, "body": {"choices": []}}}
    content = b"\n".join([b"{", b"[]", b"null", json.dumps(good).encode(), b'{"custom_id": "b"}', b"\xff", b"[" * 100_000, b""])
    assert list(lines_in(content)) == ["a"]


def test_files_keep_the_order_of_the_requests() -> None:
    (file,) = files_of({"a": {"x": "日本"}, "b": {"x": "\ud83d"}})
    assert list(file) == ["a", "b"]
    assert json.loads(file["a"])["body"] == {"x": "日本"}
    assert files_of({}) == []


def test_the_mode_is_no_part_of_what_a_run_is(server: FakeServer) -> None:
    assert engine_for(server.url, mode="batch").options.model_dump() == engine_for(server.url).options.model_dump()


# A run as a whole


PRICE = "price: {prompt: 10, completion: 40, batch: 0.5, source: here}"
COUNT = 30


def plan_of(folder: Path, server: FakeServer, **settings: Any) -> Plan:
    for name in ("tasks", "prompts", "backends"):
        (folder / name).mkdir(exist_ok=True)
    rows = [{"id": str(n), "text": f"parcel {n}", "label": n % 2} for n in range(COUNT)]
    (folder / "tasks" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tasks" / "parcels.yaml").write_text(
        "description: d\nsource: {files: {test: rows.jsonl}}\ncolumns: {id: id}\n"
        "labels: {kind: ordinal, names: [bad, good]}\nlanguages: [en]\n"
    )
    (folder / "prompts" / "echo.j2").write_text("---\ndescription: d\nparser: integer\n---\n{{ text }}\n")
    options = f"{{base_url: '{server.url}', api_key_env: {NAME}, retries: 0}}"
    (folder / "backends" / "cheap.yaml").write_text(f"engine: openai\nmodel: {MODEL}\noptions: {options}\n{PRICE}\n")
    request = RunOptions(task="parcels", backend="cheap", lang="en", prompt="echo", settings=settings)
    return make_plan(request, Catalog(folder))


@pytest.fixture
def labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fake_server.content_for", lambda fake, text, body: str(len(text) % 2))


@pytest.mark.usefixtures("labels")
def test_a_run_through_batches_is_the_same_run_for_less(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    direct = run(plan_of(tmp_path, server), Store(tmp_path / "direct"))
    server.bodies.clear()
    store, budget = Store(tmp_path / "runs"), MemoryBudget(1.0)
    result = run(plan_of(tmp_path, server, mode="batch"), store, budget=budget)
    assert result.run_id == direct.run_id
    assert store.predictions(result.run_id) == Store(tmp_path / "direct").predictions(result.run_id)
    record, before = store.record(result.run_id), direct.record
    assert (len(server.bodies), len(api.batches), len(api.requests("batch_1"))) == (1, 1, COUNT - 1)
    tokens = record.tokens.charged
    assert tokens.total == before.tokens.charged.total
    assert tokens.direct == TokenUse(len(server.bodies[0]["messages"][-1]["content"]) + 7, 1)
    assert record.cost is not None
    assert before.cost is not None
    price = Price(prompt=10, completion=40, source="here")
    share = price.of(tokens.direct.prompt, 1) + price.of(tokens.batched.prompt, tokens.batched.new) / 2
    assert record.cost.usd == pytest.approx(share, abs=1e-6)
    assert budget.spent == pytest.approx(share, abs=1e-6)
    assert share < 0.55 * before.cost.usd
    assert record.timing.seconds is None
    assert "mode" not in json.dumps(record.options.model_dump(mode="json")["settings"])
    assert {path.name for path in result.folder.iterdir()} == {"run.json", "metrics.json", "predictions.jsonl"}


@pytest.mark.usefixtures("labels")
def test_the_same_command_goes_on_and_force_begins_again(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    store, late = Store(tmp_path / "runs"), {f"parcel {n}" for n in range(9)}
    api.end = "expired"
    api.line = lambda request: (
        not_executed(request, "batch_expired") if text_of(request) in late else answer_line(server, request)
    )
    plan = plan_of(tmp_path, server, mode="batch")
    with pytest.raises(RunIncomplete, match="batch_expired"):
        run(plan, store)
    scratch = store.root / f"{plan.run_id}.partial" / "scratch"
    assert (scratch / STATE).exists()
    api.end, api.line = "completed", None
    result = run(plan_of(tmp_path, server, mode="batch"), store)
    direct = [body["messages"][-1]["content"] for body in server.bodies]
    asked = [text_of(request) for request in api.requests("batch_2")] + direct
    assert sorted(set(asked)) == sorted({*late, direct[0]})
    assert result.record.metrics.ok == COUNT
    count = len(api.batches)
    again = run(plan_of(tmp_path, server, mode="batch"), store, force=True)
    assert again.record.metrics.ok == COUNT
    assert len(api.batches) == count + 1


@pytest.mark.usefixtures("labels")
def test_a_run_that_is_killed_while_it_waits(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    api.faults = {"GET /batches/ID": [404]}  # the process ends here; the batch goes on
    plan = plan_of(tmp_path, server, mode="batch")
    with pytest.raises(UserError, match="does not know"):
        run(plan, store)
    result = run(plan_of(tmp_path, server, mode="batch"), store)
    assert result.record.metrics.ok == COUNT
    assert len(api.batches) == 1
    assert len(server.bodies) == 1  # the direct answer was in the journal


@pytest.mark.usefixtures("labels")
def test_a_budget_is_kept_at_the_price_of_batches(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    """The bound of a batch is half of that of single requests, without their retries."""
    plan = plan_of(tmp_path, server, mode="batch")
    store, totals = Store(tmp_path / "runs"), []
    engine = plan.engine
    assert isinstance(engine, OpenAI)
    most = Price(prompt=10, completion=40, source="s").of(engine.encode([chat("parcel 10")[1:]], None)[0].tokens, 16)
    enough = most * (COUNT / 2 + 3) * 1.02
    run(plan, store, budget=MemoryBudget(enough))
    assert len(api.batches) == 1
    for _ in range(20):
        budget = MemoryBudget(most * 3)
        try:
            run(plan_of(tmp_path, server, mode="batch"), Store(tmp_path / "little"), budget=budget)
        except BudgetReached:
            totals.append(budget.spent)
            continue
        break
    assert len(totals) >= 1
    assert all(0 < spent <= most * 3 for spent in totals)
    assert len(Store(tmp_path / "little").ids()) == 1


@pytest.mark.usefixtures("labels")
def test_a_command_that_is_killed_pays_once(server: FakeServer, api: FakeBatches, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, server, mode="batch")
    command = [sys.executable, "-m", "harness.cli", *plan.options.arguments()]
    command.insert(3, "run")
    api.held.set()
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    waiter = threading.Event()
    for _ in range(1200):
        if "GET /batches/ID" in api.asked or first.poll() is not None:
            break
        waiter.wait(0.05)
    first.kill()
    _, said = first.communicate(timeout=30)
    assert "batch_1 with 29 requests is on its way" in said
    api.held.clear()
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert second.returncode == 0, second.stderr
    assert len(api.batches) == 1
    assert len(server.bodies) == 2  # the direct answer was lost with the process
    record = Store(tmp_path / "results" / "runs").record(plan.run_id)
    assert record.metrics.ok == COUNT
    assert record.tokens.batched is not None
    shown = subprocess.run(
        [sys.executable, "-m", "harness.cli", "show", plan.run_id],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "through the Batch API" in shown.stdout
