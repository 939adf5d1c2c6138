"""The openai engine where a server refuses, dies, lies or sends too much."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_server import KEY, MODEL, FakeServer, Handler, Reply, cut, drop, fake_server, good, hang, raw, status
from served import NAME, TEXTS, Loaded, chat, engine_for, words

from backends._openai_connection import LARGEST_BODY, public_url
from backends._openai_options import OpenAIOptions
from backends._served import PATIENCE
from backends.openai import OpenAI
from harness.core.engine import Generation
from harness.core.errors import ModelUnavailable, RunError, UserError

pytestmark = pytest.mark.slow

DIGITS = ["0", "1", "2", "3", "4"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setenv(NAME, KEY)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as fake:
        yield fake


def ask(engine: OpenAI, texts: list[str], choices: list[str] | None = None) -> list[Generation]:
    return engine.generate(engine.encode([chat(text) for text in texts], choices), 9, choices)


def refusing(check: Any) -> Reply:
    """A server that answers 400 with what `check` says of a body, and well where it says nothing."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        error = check(body)
        return handler.send(400, {"error": error}) if error else good(handler, body)

    return reply


def all_rows(server: FakeServer, reply: Reply, texts: list[str] = TEXTS) -> None:
    server.faults = {text: [reply] * 50 for text in texts}


def newer(body: dict[str, Any]) -> dict[str, Any] | None:
    """As reasoning models refuse today."""
    if "max_tokens" in body:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        return {"message": message, "param": "max_tokens", "code": "unsupported_parameter"}
    if body.get("temperature", 1) != 1:
        return {"message": "Unsupported value: 'temperature' does not support 0 with this model.", "param": "temperature"}
    return None


# What a server refuses by name


@pytest.mark.parametrize("concurrency", [1, 8])
def test_what_is_refused_by_name_is_left_out_once(
    server: FakeServer, concurrency: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bench")
    all_rows(server, refusing(newer))
    with Loaded(server.url, concurrency=concurrency) as engine:
        assert [answer.text for answer in ask(engine, TEXTS)] == [f"echo: {text}" for text in TEXTS]
        assert engine.replaced_fields() == {"max_tokens": "max_completion_tokens", "temperature": None}
        assert ask(engine, TEXTS)[0].error is None
    assert len(server.bodies) == 2 + 12  # each refusal once
    assert server.bodies[-1].keys() == {"model", "messages", "max_completion_tokens"}
    assert "Use 'max_completion_tokens' instead." in caplog.text
    assert "'temperature' does not support 0" in caplog.text


@pytest.mark.parametrize(
    ("error", "options", "instead"),
    [
        ({"message": "`temperature` must be strictly positive"}, {}, {"temperature": None}),
        ({"message": "seed is not supported"}, {"seed": 7}, {"seed": None}),
        ({"message": "Unknown field: max_completion_tokens"}, {"max_tokens_field": "max_completion_tokens"},
         {"max_completion_tokens": "max_tokens"}),
    ],
)  # fmt: skip
def test_other_fields_that_are_refused_by_name(
    server: FakeServer, error: dict[str, Any], options: dict[str, Any], instead: dict[str, str | None]
) -> None:
    (field,) = instead
    all_rows(server, refusing(lambda body: error if field in body else None))
    with Loaded(server.url, **options) as engine:
        assert [answer.error for answer in ask(engine, TEXTS)] == [None] * 6
        assert engine.replaced_fields() == instead


def test_a_text_that_names_a_field_changes_nothing(server: FakeServer) -> None:
    text = "The temperature of this max_tokens is unsupported"
    server.faults = {text: [status(400, {"error": {"message": f"I don't like: {text}"}})]}
    with Loaded(server.url) as engine:
        assert [answer.error for answer in ask(engine, [*TEXTS, text])] == [None] * 6 + ["http_400"]
        assert engine.replaced_fields() == {}


def test_a_limit_that_is_too_large_is_no_field_that_is_refused(server: FakeServer) -> None:
    too_large = {"message": "'max_tokens' is too large: 9. This model's maximum context length is 8 tokens."}
    all_rows(server, status(400, {"error": too_large}))
    assert words(server.url) == ["prompt_too_long"] * 6


def test_no_temperature_is_sent_where_none_is_wanted(server: FakeServer) -> None:
    with Loaded(server.url, temperature=None) as engine:
        ask(engine, ["x"])
    assert "temperature" not in server.bodies[0]
    assert engine.options.model_dump()["temperature"] is None
    assert "temperature" not in OpenAIOptions().model_dump()  # so that runs of before have the identity that they had


# What hits every row


@pytest.mark.parametrize(
    ("said", "hint"),
    [("Something is wrong with every request", "--set"), ("System role not supported", "`system`"),
     ("do not send a temperature", "temperature=null")],
)  # fmt: skip
def test_a_refusal_of_every_request_ends_the_run_at_once(server: FakeServer, said: str, hint: str) -> None:
    texts = [f"row {n}: the temperature" for n in range(30)]
    all_rows(server, status(400, {"error": {"message": said}}), texts)
    with Loaded(server.url) as engine, pytest.raises(UserError, match="refuses every request") as caught:
        ask(engine, texts)
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert len(server.bodies) == 3


def test_one_odd_row_among_good_ones_is_its_own_failure(server: FakeServer) -> None:
    odd = [*TEXTS[:2], *(f"long {n} " * 5 for n in range(8))]
    all_rows(server, status(400), odd)
    rows = [*odd, *TEXTS[2:]]
    with Loaded(server.url) as engine:
        found = ask(engine, rows)
    assert [answer.error for answer in found] == ["http_400"] * 10 + [None] * 4
    assert not any(answer.retryable for answer in found)


def test_a_server_that_begins_to_refuse_everything(server: FakeServer) -> None:
    with Loaded(server.url) as engine:
        ask(engine, ["first"])
        all_rows(server, status(400, {"error": {"message": "The model was retired."}}))
        with pytest.raises(UserError, match=r"The model was retired\."):
            ask(engine, TEXTS)


def test_what_was_answered_before_a_fatal_error_is_kept(server: FakeServer) -> None:
    server.faults = {TEXTS[5]: [status(402)]}
    with Loaded(server.url, concurrency=1) as engine:
        found = ask(engine, TEXTS)
        assert [answer.error for answer in found] == [None] * 5 + ["not_sent"]
        assert found[5].retryable
        assert isinstance(engine.unavailable(), RunError)
        engine.reset()
        assert engine.unavailable() is None


@pytest.mark.parametrize("allowed", ["must be less than or equal to 5.", "must be between 0 and 5", "at most 5"])
def test_fewer_top_logprobs(server: FakeServer, allowed: str) -> None:
    all_rows(
        server,
        refusing(lambda b: {"message": f"Invalid value for 'top_logprobs': {allowed}"} if b["top_logprobs"] > 5 else None),
    )
    with Loaded(server.url) as engine, pytest.raises(UserError) as caught:
        engine.score(engine.encode([chat(TEXTS[0])], DIGITS), DIGITS)
    assert "--set top_logprobs=5" in caught.value.hint
    assert "top_logprobs: 20" in caught.value.message
    with Loaded(server.url, top_logprobs=5) as engine:
        assert engine.score(engine.encode([chat(TEXTS[0])], DIGITS), DIGITS)[0].error is None


# What may pass


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (status(500), "http_500"), (status(408), "http_408"), (status(409), "http_409"), (status(429), "rate_limited"),
        (cut, "bad_response"), (drop, "bad_response"), (raw(b"<html>Log in</html>"), "bad_response"),
        (raw(b'data: {"choices": []}\n\n'), "bad_response"), (raw(b'{"choices": []}'), "bad_response"),
        (raw(b'{"error": {"message": "Provider returned error", "code": 502}}'), "http_502"),
        (raw(b'{"choices": null, "error": {"message": "slow down", "code": 429}}'), "rate_limited"),
        (raw(b'{"error": {"message": "busy", "type": "rate_limit_error"}}'), "rate_limited"),
        (raw(b'{"error": "overloaded"}'), "http_502"),
        (raw(b'{"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": {"code": 502}}]}'), "bad_response"),
        (raw(b'{"choices": [{"message": {"content": "half an"}, "finish_reason": "error"}]}'), "bad_response"),
        (raw(b'{"choices": [{"message": {"content": ""}, "error": {"message": "lost"}}]}'), "bad_response"),
    ],
)  # fmt: skip
def test_failures_that_may_pass_say_so(server: FakeServer, reply: Reply, word: str) -> None:
    server.faults = {TEXTS[1]: [reply] * 2}
    with Loaded(server.url) as engine:
        found = ask(engine, TEXTS)
        assert [(answer.error, answer.retryable) for answer in found] == [
            (None, False), (word, True), *[(None, False)] * 4,
        ]  # fmt: skip
        server.faults = {TEXTS[1]: [reply] * 2}
        score = engine.score(engine.encode([chat(TEXTS[1])], DIGITS), DIGITS)[0]
        assert (score.error, score.retryable) == (word, True)


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (raw(b'{"error": {"message": "no", "code": "content_filter"}}'), "content_filter"),
        (raw(b'{"error": {"message": "odd", "type": "invalid_request_error"}}'), "http_400"),
        (status(403, {"error": {"message": "Your input was flagged by moderation"}}), "content_filter"),
        (status(400, {"error": {"message": "prompt is too long: 212345 tokens > 200000 maximum"}}), "prompt_too_long"),
        (status(400, {"error": {"message": "Input length 5000 exceeds the maximum allowed 4096 tokens"}}), "prompt_too_long"),
        (raw(b'{"choices": [{"message": {"content": "half of \\ud83d"}, "finish_reason": "stop"}]}'), "bad_response"),
        (raw(b'{"choices": [{"message": {"content": 3}, "finish_reason": "stop"}]}'), "bad_response"),
        (raw(b'{"choices": [{"message": {"content": null, "reasoning": "I"}, "finish_reason": "length"}]}'), "cut"),
    ],
)  # fmt: skip
def test_failures_of_the_row_itself_do_not(server: FakeServer, reply: Reply, word: str) -> None:
    server.faults = {TEXTS[1]: [reply] * 2}
    with Loaded(server.url) as engine:
        assert [(answer.error, answer.retryable) for answer in ask(engine, TEXTS)][1] == (word, False)


def test_what_a_server_says_inside_of_an_answer_is_made_plain(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bench")
    error = {"message": f"{KEY}\x1b[31m" + "x" * 5000}
    said = json.dumps({"choices": [{"message": {"content": ""}, "error": error}]}).encode()
    server.faults = {TEXTS[1]: [raw(said)]}
    with Loaded(server.url) as engine:
        assert ask(engine, TEXTS)[1].error == "bad_response"
    assert "an error in place of an answer" in caplog.text
    assert KEY not in caplog.text
    assert "x" * 400 not in caplog.text


@pytest.mark.parametrize("usage", [[], "none", {"prompt_tokens": 5.5, "completion_tokens": "many"}, {"prompt_tokens": 1e30}])
def test_an_answer_is_not_lost_for_odd_counts_of_tokens(server: FakeServer, usage: Any) -> None:
    choice = {"message": {"content": "2"}, "finish_reason": "stop"}
    server.faults = {TEXTS[1]: [raw(json.dumps({"choices": [choice], "usage": usage}).encode())]}
    with Loaded(server.url) as engine:
        answer = ask(engine, TEXTS)[1]
    assert (answer.text, answer.error, answer.prompt_tokens, answer.new_tokens) == ("2", None, 0, 0)


@pytest.mark.parametrize("shown", [0.9, 12.5, 1e308])
def test_numbers_that_are_no_log_probabilities(server: FakeServer, shown: float) -> None:
    server.top = lambda text: {digit: shown if digit == "2" else 0.02 for digit in DIGITS}
    with Loaded(server.url) as engine, pytest.raises(UserError, match="no log-probabilities"):
        engine.score(engine.encode([chat(TEXTS[0])], DIGITS), DIGITS)


def test_log_probabilities_that_a_model_may_not_show(server: FakeServer) -> None:
    all_rows(server, status(403, {"error": {"message": "You are not allowed to request logprobs from this model"}}))
    with Loaded(server.url) as engine:
        with pytest.raises(UserError, match="gives no log-probabilities: You are not allowed") as caught:
            engine.score(engine.encode([chat(TEXTS[0])], DIGITS), DIGITS)
        assert "--decoding constrained" in caught.value.hint
        with pytest.raises(UserError, match="refused the key"):  # nothing of the kind was asked for
            ask(engine, TEXTS)


def test_an_error_inside_of_an_answer_is_tried_again(server: FakeServer) -> None:
    server.faults = {text: [raw(b'{"error": {"message": "Provider returned error", "code": 502}}')] for text in TEXTS}
    assert words(server.url) == [None] * 6
    server.faults = {TEXTS[0]: [raw(b'{"error": {"message": "You are out", "code": "insufficient_quota"}}')] * 2}
    with Loaded(server.url) as engine, pytest.raises(RunError, match="no credit"):
        ask(engine, TEXTS[:1])


@pytest.mark.slow
@pytest.mark.parametrize("reply", [status(503), hang])
def test_a_dead_server_is_not_asked_for_every_row(server: FakeServer, reply: Reply) -> None:
    texts = [f"row {n:03}" for n in range(200)]
    all_rows(server, reply, texts[30:])
    with Loaded(server.url, concurrency=4, retries=0, timeout=0.5 if reply is hang else 20) as engine:
        found = ask(engine, texts)
        down = engine.unavailable()
        assert isinstance(down, ModelUnavailable)
        assert "in a row" in down.message
        assert sum(answer.error is None for answer in found) == 30
        assert all(answer.retryable for answer in found if answer.error)
        assert [answer.error for answer in found].count(
            "not_sent"
        ) >= 170 - PATIENCE - 2 * 4  # in flight at the last answer, and at the end
        assert len(server.bodies) <= 30 + PATIENCE + 4
        asked = len(server.bodies)
        assert {answer.error for answer in ask(engine, texts[30:])} == {"not_sent"}
        assert len(server.bodies) == asked
        server.faults.clear()
        engine.reset()
        assert {answer.error for answer in ask(engine, texts[30:])} == {None}


# What a server sends


def test_content_in_parts(server: FakeServer) -> None:
    def parts(*content: dict[str, Any]) -> Reply:
        return status(200, {"choices": [{"message": {"content": list(content)}, "finish_reason": "stop"}]})

    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "maybe 4"}]}
    server.faults = {
        TEXTS[0]: [parts({"type": "text", "text": "3"})],
        TEXTS[1]: [parts(thinking, {"type": "text", "text": "3"}, {"type": "text", "text": ", surely"})],
        TEXTS[2]: [parts(thinking)],
    }
    with Loaded(server.url) as engine:
        found = ask(engine, TEXTS)
    assert [answer.text for answer in found[:3]] == ["3", "3, surely", ""]
    assert [answer.error for answer in found] == [None] * 6


@pytest.mark.parametrize("nothing", ["-Infinity", "null", "-9999.0"])
def test_a_label_without_probability(server: FakeServer, nothing: str) -> None:
    def shown(**log_p: str) -> Reply:
        tops = ",".join(f'{{"token": "{token[1:]}", "logprob": {value}}}' for token, value in log_p.items())
        body = f'{{"choices": [{{"message": {{}}, "logprobs": {{"content": [{{"top_logprobs": [{tops}]}}]}}}}]}}'
        return raw(body.encode())

    server.faults = {
        "some": [shown(_0="-0.5", _1=nothing, _2="-1.0")],
        "none": [shown(_0=nothing, _1=nothing, _2=nothing)],
        "nan": [shown(_0="-0.5", _1="NaN", _2="-1.0")],
    }
    with Loaded(server.url) as engine:
        some, none, nan = engine.score(engine.encode([chat(t) for t in server.faults], DIGITS[:3]), DIGITS[:3])
    assert some.log_p is not None
    np.testing.assert_array_equal(some.log_p, [-0.5, -np.inf, -1.0])
    assert (none.log_p, none.error, none.retryable) == (None, "no_label_in_top_logprobs", False)
    assert nan.log_p is not None
    np.testing.assert_array_equal(nan.log_p, [-0.5, -1.0, -1.0])  # as if it were not shown


def test_tokens_that_no_server_can_have_counted(server: FakeServer) -> None:
    usage = {"prompt_tokens": -5, "completion_tokens": 10**30}
    server.faults = {"x": [status(200, {"choices": [{"message": {"content": "3"}, "finish_reason": "stop"}], "usage": usage})]}
    with Loaded(server.url) as engine:
        (answer,) = ask(engine, ["x"])
    assert (answer.prompt_tokens, answer.new_tokens) == (0, 10_000_000)


def endless(handler: Handler, body: dict[str, Any]) -> None:
    """2 GB, in pieces, until the client leaves."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(2 * 10**9))
    handler.end_headers()
    handler.close_connection = True
    for _ in range(2000):
        handler.wfile.write(b" " * 1_000_000)
        SENT.append(1_000_000)


SENT: list[int] = []


def bomb(handler: Handler, body: dict[str, Any]) -> None:
    packed = gzip.compress(b" " * 50_000_000 + json.dumps({"choices": []}).encode())
    handler.send(200, packed, {"Content-Encoding": "gzip"})


@pytest.mark.slow
@pytest.mark.parametrize("reply", [endless, bomb])
def test_an_answer_is_read_up_to_a_bound(server: FakeServer, reply: Reply) -> None:
    SENT.clear()
    server.faults = {TEXTS[2]: [reply], "/v1/models": [reply] * 2}
    with pytest.raises(ModelUnavailable, match="more than 8 MiB"):
        engine_for(server.url).load()
    with Loaded(server.url, retries=0) as engine:
        assert [answer.error for answer in ask(engine, TEXTS)] == [None, None, "bad_response", None, None, None]
    # Of each answer the bound, and what lies in the sockets' buffers.
    assert sum(SENT) <= 3 * (LARGEST_BODY + 16_000_000)


def test_a_packed_answer_is_read(server: FakeServer) -> None:
    body = {"choices": [{"message": {"content": "3"}, "finish_reason": "stop"}]}
    packed = gzip.compress(json.dumps(body).encode())
    server.faults = {"x": [lambda handler, _: handler.send(200, packed, {"Content-Encoding": "gzip"})]}
    with Loaded(server.url) as engine:
        assert ask(engine, ["x"])[0].text == "3"


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"data": ' + b"[" * 100_000])
def test_deep_json_is_a_bad_response(server: FakeServer, body: bytes) -> None:
    deep = {"choices": [{"message": {"content": "[" * 100_000}, "finish_reason": "length"}]}
    server.faults = {"/v1/models": [raw(body)], TEXTS[0]: [raw(body)], TEXTS[1]: [status(200, deep)]}
    with Loaded(server.url, retries=0) as engine:
        assert [answer.error for answer in ask(engine, TEXTS[:2], DIGITS)] == ["bad_response", "cut"]


# Where requests go


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_to_another_server_are_refused(server: FakeServer, code: int) -> None:
    with fake_server() as other:
        there = other.url.replace("127.0.0.1", "localhost")
        for target in (there, other.url):  # another host; another port
            server.faults = {"/v1/models": [status(code, Location=f"{target}/models")]}
            with pytest.raises(UserError, match="redirects") as caught:
                engine_for(server.url).load()
            assert "base_url" in caught.value.hint
            server.faults = {TEXTS[0]: [status(code, Location=f"{target}/chat/completions")]}
            with Loaded(server.url) as engine, pytest.raises(UserError, match="redirects"):
                ask(engine, TEXTS[:1])
        assert other.headers == []


def test_redirects_within_a_server_are_followed(server: FakeServer) -> None:
    server.faults = {
        "/v1/models": [status(302, Location="/v1/models")],
        TEXTS[0]: [status(307, Location=f"{server.url}/chat/completions/"), good],
    }
    assert words(server.url) == [None] * 6
    server.faults = {TEXTS[0]: [status(302, Location="/v1/chat/completions")]}  # what would be sent there has no body
    with Loaded(server.url) as engine, pytest.raises(UserError, match="loses their content"):
        ask(engine, TEXTS[:1])
    server.faults = {TEXTS[0]: [status(307, Location="/v1/chat/completions")] * 50}
    assert words(server.url, retries=0)[0] == "connection"


# Secrets in an address


@pytest.mark.parametrize("url", [
    "https://api.openai.com/v1", "http://localhost:8000/v1", "http://localhost:8000/v1/", "http://localhost:8000",
    "https://openrouter.ai/api/v1", "https://host/v1beta/openai/", "https://api.groq.com/openai/v1",
])  # fmt: skip
def test_an_ordinary_address_is_recorded_as_it_is(url: str) -> None:
    assert OpenAIOptions.model_validate({"base_url": url}).model_dump()["base_url"] == url


def test_a_path_that_may_be_a_secret_is_recorded_as_a_digest() -> None:
    secret, other = "http://host:81/s3cr%2Fet/v1", "http://host:81/another/v1"
    assert public_url(secret).startswith("http://host:81/<")
    assert public_url(secret).endswith(">/v1")
    assert len({public_url(secret), public_url(other), public_url("http://host:82/another/v1")}) == 3
    for dumped in (OpenAIOptions(base_url=secret).model_dump(), OpenAIOptions(base_url=secret).model_dump_json()):
        assert "s3cr" not in str(dumped)


def test_messages_do_not_show_a_path_that_may_be_a_secret(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)  # as with --verbose: the HTTP library would log each address
    url = server.url.replace("/v1", "/CANARY%2Fx/v1")
    quoting = {"error": {"message": "no route /CANARY%2Fx/v1 (CANARY/x)"}}
    for reply in (status(404, quoting), status(403, quoting), status(400, quoting)):
        server.faults = {"/CANARY%2Fx/v1/models": [raw(b"{}")], **{text: [reply] * 2 for text in TEXTS}}
        with pytest.raises(UserError) as caught:
            words(url)
        assert "CANARY" not in str(caught.value)
        assert "[...]" in str(caught.value)
    assert "CANARY" not in caplog.text


# A run as a whole


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str]]:
    """Exit code and output of a command in a project with a task of ten rows."""
    from harness.cli import main

    def call(*arguments: str) -> tuple[Any, str]:
        monkeypatch.setattr("sys.argv", ["bench", *arguments])
        code: Any = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code or 0, said.out + said.err

    for folder in ("tasks", "prompts", "backends"):
        (tmp_path / folder).mkdir()
    rows = [{"id": str(n), "text": f"parcel {n}", "label": n % 2} for n in range(10)]
    (tmp_path / "tasks" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks" / "parcels.yaml").write_text(
        "description: d\nsource: {files: {test: rows.jsonl}}\ncolumns: {id: id}\n"
        "labels: {kind: ordinal, names: [bad, good]}\nlanguages: [en]\n"
    )
    (tmp_path / "prompts" / "echo.j2").write_text("---\ndescription: d\nparser: integer\n---\n{{ text }}\n")
    monkeypatch.chdir(tmp_path)
    return call


@pytest.mark.slow
def test_what_a_run_leaves(bench: Callable[..., tuple[Any, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server refused stands in the record and in `bench show`; what may be a secret in its address stands nowhere."""
    monkeypatch.setattr("fake_server.content_for", lambda fake, text, body: "1")
    refusal = refusing(lambda body: {"message": "no temperature, please"} if "temperature" in body else None)
    with fake_server(key=None) as server:
        all_rows(server, refusal, [f"parcel {n}" for n in range(10)])
        gateway = server.url.replace("/v1", "/CANARY-1/v1")
        spec = f"engine: openai\nmodel: {MODEL}\noptions: {{base_url: '{gateway}', api_key_env: null}}\n"
        (tmp_path / "backends" / "gateway.yaml").write_text(spec)
        common = ("run", "--task", "parcels", "--prompt", "echo", "--backend", "gateway")
        first, said = bench(*common)
        second, more = bench(*common, "--set", f"base_url={server.url.replace('/v1', '/CANARY-2/v1')}")
    assert (first, second) == (0, 0)
    assert "no temperature, please" in said
    records = [json.loads(path.read_text()) for path in (tmp_path / "results" / "runs").glob("*/run.json")]
    assert len({record["run_id"] for record in records}) == 2
    assert [record["sent_instead"] for record in records] == [{"temperature": None}] * 2
    _, shown = bench("show", records[0]["run_id"])
    assert "\nthe server refused temperature: " in shown
    assert bench("leaderboard")[0] == 0
    files = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    left = [path for path in files if ".index" not in path.parts]  # which is made of the records
    written = "".join(path.read_text() for path in left)
    assert "CANARY" not in written + said + more + shown + bench("doctor")[1]
