"""The openai engine against servers of models that reason: what they refuse, how they answer, what they charge."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fake_server import KEY, FakeServer, Handler, answered, fake_server, status
from served import NAME, TEXTS, Loaded, chat, engine_for

from backends._openai_options import OpenAIOptions
from backends.openai import OpenAI
from harness.core.engine import Generation
from harness.core.errors import UserError
from harness.core.token_use import ChargedTokens, TokenUse

DIGITS = ["0", "1", "2", "3", "4"]
EFFORTS = ("none", "low", "medium", "high")
THOUGHT = 40
"""Tokens of reasoning before each answer."""

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setenv(NAME, KEY)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server(reply=reasoning) as fake:
        yield fake


def refusal(body: dict[str, Any]) -> dict[str, Any] | None:
    """What a reasoning model of OpenAI does not accept."""
    effort = body.get("reasoning_effort", "medium")
    known = {"model", "messages", "temperature", "max_completion_tokens", "max_tokens", "response_format", "seed", "logprobs",
             "top_logprobs", "reasoning_effort", "verbosity"}  # fmt: skip

    def error(code: str, name: str, message: str) -> dict[str, Any]:
        return {"message": message, "type": "invalid_request_error", "param": name, "code": code}

    for name in body:
        if name not in known:
            return error("unknown_parameter", name, f"Unknown parameter: '{name}'.")
    if "max_tokens" in body:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        return error("unsupported_parameter", "max_tokens", message)
    if effort not in EFFORTS:
        message = f"Unsupported value: 'reasoning_effort' does not support '{effort}' with this model. Supported: {EFFORTS}."
        return error("unsupported_value", "reasoning_effort", message)
    if effort != "none" and body.get("temperature", 1) != 1:
        message = (
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
        )
        return error("unsupported_value", "temperature", message)
    if effort != "none" and body.get("logprobs"):
        return error("unsupported_parameter", "logprobs", "Unsupported parameter: 'logprobs' is not supported with this model.")
    return None


def reasoning(handler: Handler, body: dict[str, Any]) -> None:
    if (error := refusal(body)) is not None:
        return handler.send(400, {"error": error})
    code, answer = answered(handler.fake, body)
    if body.get("reasoning_effort") != "none":
        choice, most = answer["choices"][0], body["max_completion_tokens"]
        thought = min(THOUGHT, most)
        choice["message"]["reasoning_content"] = "Let me see."
        if thought == most:
            choice["message"]["content"], choice["finish_reason"] = "", "length"
        answer["usage"]["completion_tokens"] = thought + (0 if thought == most else 1)
        answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": thought}
    return handler.send(code, answer)


def ask(engine: OpenAI, texts: list[str] = TEXTS, choices: list[str] | None = None) -> list[Generation]:
    return engine.generate(engine.encode([chat(text) for text in texts], choices), 9, choices)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_each_refusal_is_learned_once(server: FakeServer, concurrency: int) -> None:
    with Loaded(server.url, concurrency=concurrency, reasoning_tokens=500) as engine:
        for texts in (TEXTS, [f"again {text}" for text in TEXTS]):
            assert [(answer.text, answer.error) for answer in ask(engine, texts)] == [(f"echo: {text}", None) for text in texts]
        assert engine.replaced_fields() == {"max_tokens": "max_completion_tokens", "temperature": None}
    assert len(server.bodies) == 2 + 2 * len(TEXTS)
    assert server.bodies[-1].keys() == {"model", "messages", "max_completion_tokens"}
    assert server.bodies[-1]["max_completion_tokens"] == 509


def test_a_refusal_that_comes_to_many_at_once_is_learned_once(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bench")
    server.reply = None
    with Loaded(server.url, concurrency=6, reasoning_tokens=500) as engine:
        ask(engine, ["first"])
        server.reply = reasoning
        found = ask(engine)
        assert {answer.error for answer in found} == {None}
        assert engine.replaced_fields() == {"max_tokens": "max_completion_tokens", "temperature": None}
    assert caplog.text.count("refuses max_tokens") == caplog.text.count("refuses temperature") == 1


def test_tokens_of_reasoning_are_tokens_of_the_answer(server: FakeServer) -> None:
    with Loaded(server.url, reasoning_tokens=500) as engine:
        (answer,) = ask(engine, ["x"])
    assert (answer.text, answer.prompt_tokens, answer.new_tokens) == ("echo: x", 8, THOUGHT + 1)


def test_without_reasoning_all_is_as_before(server: FakeServer) -> None:
    with Loaded(server.url, reasoning_effort="none", max_tokens_field="max_completion_tokens") as engine:
        assert {answer.error for answer in ask(engine)} == {None}
        scores = engine.score(engine.encode([chat(text) for text in TEXTS], DIGITS), DIGITS)
        assert all(score.log_p is not None for score in scores)
        assert engine.replaced_fields() == {}
    assert {body["reasoning_effort"] for body in server.bodies} == {"none"}
    assert {body["temperature"] for body in server.bodies} == {0}


def test_too_little_room_says_what_to_do(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bench")
    with Loaded(server.url) as engine:
        found = ask(engine)
    assert {(answer.error, answer.retryable) for answer in found} == {("cut", False)}
    assert {answer.new_tokens for answer in found} == {9}
    assert "reasoning_tokens=2000" in caplog.text
    assert "reasoning_effort=low" in caplog.text
    caplog.clear()
    message = "Could not finish the message because max_tokens or model output limit was reached. Please try again."
    server.reply = status(400, {"error": {"message": message, "type": "invalid_request_error"}})
    with Loaded(server.url, max_tokens_field="max_completion_tokens", temperature=None) as engine:
        assert [answer.error for answer in ask(engine)] == ["cut"] * len(TEXTS)
        with pytest.raises(UserError, match="reasons before it answers"):
            engine.score(engine.encode([chat("x")], DIGITS), DIGITS)
    assert "reasoning_tokens=2000" in caplog.text


def test_an_effort_that_is_refused_is_named(server: FakeServer) -> None:
    with Loaded(server.url, reasoning_effort="minimal") as engine, pytest.raises(UserError) as caught:
        ask(engine)
    assert "does not accept reasoning_effort: minimal: Unsupported value" in caught.value.message
    assert "reasoning_effort=null" in caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        None,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_kk"], "msg": "Extra inputs are not permitted"}]},
        {"error": {"message": "litellm.UnsupportedParamsError: openai does not support parameters: ['top_kk']"}},
        {"error": {"message": "top_kk must be at least 1"}},
    ],
)
def test_a_further_field_that_is_refused_is_named(server: FakeServer, body: dict[str, Any] | None) -> None:
    server.reply = reasoning if body is None else status(422 if "detail" in body else 400, body)
    with Loaded(server.url, extra_body={"verbosity": "low", "top_kk": 3}) as engine, pytest.raises(UserError) as caught:
        ask(engine)
    assert "does not accept 'top_kk' of the option `extra_body`" in caught.value.message
    assert "`top_kk`" in caught.value.hint


def test_a_text_that_names_a_further_field_changes_nothing(server: FakeServer) -> None:
    text = "the verbosity of this 'verbosity'"
    server.faults = {text: [status(400, {"error": {"message": f"I don't like {text}"}})]}
    with Loaded(server.url, extra_body={"verbosity": "low"}, reasoning_tokens=500) as engine:
        assert [answer.error for answer in ask(engine, [*TEXTS, text])] == [None] * len(TEXTS) + ["http_400"]


def test_a_temperature_that_is_refused_for_the_effort_is_left_out(server: FakeServer) -> None:
    """The server's words name both, and `param` the one that it means."""
    message = "'temperature' is supported only with 'reasoning_effort' none."

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        if "temperature" in body:
            return handler.send(400, {"error": {"message": message, "param": "temperature"}})
        return reasoning(handler, body)

    server.reply = reply
    with Loaded(server.url, reasoning_effort="low", reasoning_tokens=500) as engine:
        assert {answer.error for answer in ask(engine)} == {None}
        assert engine.replaced_fields() == {"temperature": None, "max_tokens": "max_completion_tokens"}


@pytest.mark.parametrize("options", [{"reasoning_effort": "low"}, {"reasoning_tokens": 100}])
def test_a_score_after_reasoning_is_refused_without_a_request(server: FakeServer, options: dict[str, Any]) -> None:
    with (
        Loaded(server.url, **options) as engine,
        pytest.raises(UserError, match="first token are those of the reasoning") as caught,
    ):
        engine.score(engine.encode([chat("x")], DIGITS), DIGITS)
    assert "reasoning_effort=none" in caught.value.hint
    assert "enable_thinking=false" in caught.value.hint
    assert server.bodies == []


@pytest.mark.parametrize(
    ("message", "usage"),
    [
        ({"content": None, "reasoning_content": "Let"}, {}),
        ({"content": "", "reasoning": "Let"}, {}),
        ({"content": "<think>"}, {}),
        ({"content": ""}, {"completion_tokens_details": {"reasoning_tokens": 1}}),
    ],
)
def test_a_model_that_reasons_unasked_is_not_scored(server: FakeServer, message: dict[str, Any], usage: dict[str, Any]) -> None:
    def reply(handler: Handler, body: dict[str, Any]) -> None:
        code, answer = answered(handler.fake, body)
        answer["choices"][0]["message"] = message
        answer["usage"] |= usage
        handler.send(code, answer)

    server.reply = reply
    with Loaded(server.url) as engine, pytest.raises(UserError, match="reasons before it answers"):
        engine.score(engine.encode([chat("x")], DIGITS), DIGITS)


def test_a_model_that_gives_no_log_probabilities_while_it_reasons(server: FakeServer) -> None:
    with Loaded(server.url) as engine, pytest.raises(UserError, match="gives no log-probabilities") as caught:
        engine.score(engine.encode([chat("x")], DIGITS), DIGITS)
    assert "reasoning_effort=none" in caught.value.hint


# extra_body


def test_further_fields_are_sent_and_recorded() -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 1}
    with fake_server() as fake, Loaded(fake.url, extra_body=extra) as engine:
        ask(engine)
        assert all({name: body[name] for name in extra} == extra for body in fake.bodies)
        assert engine.options.model_dump(mode="json")["extra_body"] == extra
    before = OpenAIOptions().model_dump(mode="json")
    assert before.keys() & {"extra_body", "reasoning_effort", "reasoning_tokens", "mode"} == set()


@pytest.mark.parametrize(
    ("name", "way"),
    [("model", "--model"), ("temperature", "`temperature`"), ("max_completion_tokens", "max_new_tokens"), ("logprobs", "score"),
     ("reasoning_effort", "`reasoning_effort`"), ("n", "Leave it out"), ("stream", "Leave it out")],
)  # fmt: skip
def test_fields_that_bench_sets_are_refused(name: str, way: str) -> None:
    with pytest.raises(UserError, match=f"'{name}'") as caught:
        engine_for("http://localhost/v1", extra_body={name: 1})
    assert way in caught.value.hint


@pytest.mark.parametrize(
    "extra",
    [{"api_key": "canary"}, {"extra_headers": {"X": "canary"}}, {"metadata": {"Authorization": "canary"}},
     {"user": "sk-canary"}, {"a": [{"access_token": "canary"}]}, {"user": f"x {KEY} canary"}],
)  # fmt: skip
def test_secrets_are_refused_and_not_repeated(extra: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="secret") as caught:
        engine_for("http://localhost/v1", extra_body=extra)
    assert "canary" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_names_that_only_look_like_secrets_are_accepted() -> None:
    extra = {"thinking_token_budget": 5, "stop_token_ids": [2], "skip_special_tokens": True, "prompt_cache_key": "bench"}
    assert engine_for("http://localhost/v1", extra_body=extra).options.extra_body == extra


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_values_that_json_does_not_have(value: Any) -> None:
    with pytest.raises(UserError, match="JSON"):
        engine_for("http://localhost/v1", extra_body={"x": value})


# Cached tokens


def cached(handler: Handler, body: dict[str, Any]) -> None:
    code, answer = answered(handler.fake, body)
    answer["usage"] = {"prompt_tokens": 100, "completion_tokens": 2,
                       "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 20}}  # fmt: skip
    handler.send(code, answer)


def test_cached_tokens_are_counted(server: FakeServer) -> None:
    server.reply = cached
    with Loaded(server.url) as engine:
        (answer,) = ask(engine, ["x"])
        (score,) = engine.score(engine.encode([chat("x")], DIGITS), DIGITS)
    assert answer.charged == score.charged == ChargedTokens(TokenUse(100, 2, 64, 20))


@pytest.mark.parametrize(
    ("details", "expected"),
    [(None, (0, 0)), ([], (0, 0)), ({"cached_tokens": "many"}, (0, 0)), ({"cached_tokens": 500}, (100, 0)),
     ({"cached_tokens": -1}, (0, 0)), ({"cached_tokens": 60, "cache_write_tokens": 60}, (60, 40))],
)  # fmt: skip
def test_counts_that_can_not_be_are_bounded(server: FakeServer, details: Any, expected: tuple[int, int]) -> None:
    def reply(handler: Handler, body: dict[str, Any]) -> None:
        code, answer = answered(handler.fake, body)
        answer["usage"] = {"prompt_tokens": 100, "completion_tokens": 2, "prompt_tokens_details": details}
        handler.send(code, answer)

    server.reply = reply
    with Loaded(server.url) as engine:
        (answer,) = ask(engine, ["x"])
    assert (answer.error, answer.cached_tokens, answer.cache_written_tokens) == (None, *expected)
