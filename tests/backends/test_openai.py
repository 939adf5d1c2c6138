"""The openai engine against a server in this process that answers, fails, lies and hangs on demand."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_server import (
    CONTEXT,
    KEY,
    MODEL,
    FakeServer,
    Reply,
    answer_to,
    cut,
    drop,
    fake_server,
    hang,
    raw,
    status,
    top_tokens,
    trickle,
)
from faulty_proxy import faulty_proxy, seeded_faults
from served import NAME, TEXTS, Loaded, chat, engine_for, words

import backends
from backends._openai_answers import choice_in
from backends._openai_options import OpenAIOptions
from backends.openai import OpenAI
from harness.core.engine import ListOf
from harness.core.errors import BenchError, ModelUnavailable, RunError, UserError

DIGITS = ["0", "1", "2", "3", "4"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library waits for half a second and more before it tries again; what is tested is whether it does."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setenv(NAME, KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-server")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as fake:
        yield fake


def chain_of(error: BaseException | None) -> str:
    """All that a traceback of `error` would print of exceptions."""
    return "" if error is None else f"{error!r} {error} {chain_of(error.__cause__)} {chain_of(error.__context__)}"


LATE = 3
"""A batch that ended early leaves requests behind, which may reach the server in the next one and use a fault up."""


def fatal(
    fake: FakeServer, kind: type[BenchError], how: str = "free", texts: list[str] = TEXTS, **options: Any
) -> tuple[str, str]:
    """The error that ends the batch: its message and hint, which hold no key."""
    with Loaded(fake.url, **options) as engine:
        prompts = engine.encode([chat(t) for t in texts], None)
        ask = {
            "free": lambda: engine.generate(prompts, 9, None),
            "constrained": lambda: engine.generate(prompts, 9, DIGITS),
            "score": lambda: engine.score(prompts, DIGITS),
        }[how]

        def ends() -> None:
            ask()
            if (down := engine.unavailable()) is not None:  # some rows were answered, and are kept
                raise down

        with pytest.raises(BenchError) as caught:
            ends()
    assert type(caught.value) is kind
    assert KEY not in chain_of(caught.value)
    assert caught.value.hint
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()
    return caught.value.message, caught.value.hint


def test_free_answers_in_order_with_their_tokens(server: FakeServer) -> None:
    with Loaded(server.url, seed=7) as engine:
        prompts = engine.encode([chat(text) for text in TEXTS], None)
        answers = engine.generate(prompts, 9, None)
    for text, answer in zip(TEXTS, answers, strict=True):
        assert (answer.text, answer.complete, answer.error) == (f"echo: {text}", True, None)
        assert (answer.prompt_tokens, answer.new_tokens) == (len(text) + 7, 1)
    assert set(server.count.values()) == {1}
    for body in server.bodies:
        assert body == {"model": MODEL, "messages": chat(body["messages"][1]["content"]), "temperature": 0, "max_tokens": 9,
                        "seed": 7}  # fmt: skip


def test_requests_say_no_more_than_the_options(server: FakeServer) -> None:
    with Loaded(server.url, max_tokens_field="max_completion_tokens") as engine:
        engine.generate(engine.encode([chat("x")], None), 5, None)
        engine.score(engine.encode([chat("x")], DIGITS), DIGITS)
    free, scored = server.bodies
    assert {key: free[key] for key in free.keys() - {"messages"}} == {
        "model": MODEL, "temperature": 0, "max_completion_tokens": 5,
    }  # fmt: skip
    assert {key: scored[key] for key in scored.keys() - {"messages"}} == {
        "model": MODEL, "temperature": 0, "max_completion_tokens": 1, "logprobs": True, "top_logprobs": 20,
    }  # fmt: skip


@pytest.mark.parametrize("structured", ["json_schema", "choice"])
@pytest.mark.parametrize("choices", [DIGITS, ["very good", 'so "so"', "悪い", "1", "10"]], ids=["digits", "mixed"])
def test_constrained_answers_are_choices(server: FakeServer, structured: str, choices: list[str]) -> None:
    with Loaded(server.url, structured=structured) as engine:
        answers = engine.generate(engine.encode([chat(text) for text in TEXTS], choices), 60, choices)
    assert [answer.text for answer in answers] == [answer_to(text, choices) for text in TEXTS]
    assert len({answer.text for answer in answers}) > 1
    assert all(answer.complete and answer.error is None for answer in answers)
    for body in server.bodies:
        assert body["max_tokens"] == 60
        if structured == "choice":
            assert body["structured_outputs"] == {"choice": choices}
            assert "response_format" not in body
        else:
            schema = body["response_format"]["json_schema"]
            assert schema["strict"] is True
            assert schema["schema"]["additionalProperties"] is False
            assert "structured_outputs" not in body


@pytest.mark.parametrize("structured", ["json_schema", "choice"])
def test_constrained_lists_are_arrays_of_the_names(server: FakeServer, structured: str) -> None:
    lists = ListOf(("very good", 'so "so"', "悪い"), 2)
    with Loaded(server.url, structured=structured) as engine:
        answers = engine.generate(engine.encode([chat(text) for text in TEXTS], lists), 60, lists)
    found = [json.loads(answer.text) for answer in answers]
    assert all(answer.complete and answer.error is None for answer in answers)
    assert all(len(set(names)) == len(names) <= 2 and set(names) <= set(lists.names) for names in found)
    assert {len(names) for names in found} == {1, 2}
    array = {"type": "array", "items": {"type": "string", "enum": list(lists.names)}, "maxItems": 2}
    for body in server.bodies:
        if structured == "choice":
            assert body["structured_outputs"] == {"json": array}
        else:
            assert body["response_format"]["json_schema"]["schema"]["properties"] == {"answer": array}


@pytest.mark.parametrize("content", ['["good", "other"]', '"good"', "[1]", '["good"', "{}"])
def test_what_is_no_list_of_the_names_is_none(content: str) -> None:
    lists = ListOf(("good", "bad"), 2)
    assert choice_in(content, lists, "choice") is None
    assert choice_in(f'{{"answer": {content}}}', lists, "json_schema") is None
    assert choice_in('["bad", "bad"]', lists, "choice") == '["bad"]'


def test_scores_are_the_shown_log_p(server: FakeServer) -> None:
    with Loaded(server.url, top_logprobs=4) as engine:
        scores = engine.score(engine.encode([chat(text) for text in TEXTS], DIGITS), DIGITS)
    for text, score in zip(TEXTS, scores, strict=True):
        shown = sorted(top_tokens(text).items(), key=lambda pair: -pair[1])[:4]
        lowest = min(log_p for _, log_p in shown)  # what is not shown is at most this likely
        assert score.log_p is not None
        np.testing.assert_allclose(score.log_p, [dict(shown).get(digit, lowest) for digit in DIGITS])
        assert (score.prompt_tokens, score.new_tokens, score.error) == (len(text) + 7, 1, None)


def test_a_label_is_its_own_token_before_spaced_ones(server: FakeServer) -> None:
    server.top = lambda text: {"1": -2.0, " 1": -0.5, " 2": -3.0, "2\n": -4.0, "12": -0.1, "0.": -0.2}
    with Loaded(server.url) as engine:
        (score,) = engine.score(engine.encode([chat("x")], DIGITS), DIGITS)
    both = math.log(math.exp(-3.0) + math.exp(-4.0))
    assert score.log_p is not None
    np.testing.assert_allclose(score.log_p, [-4.0, -2.0, both, -4.0, -4.0])


@pytest.mark.slow
def test_a_row_that_shows_no_label_fails_alone(server: FakeServer) -> None:
    labels = ["good", "bad"]
    odd = {"odd": {"go": -0.1, "The": -1.0}, "empty": {}}
    server.top = lambda text: odd.get(text, {"good": -0.5, "bad": -1.0})
    with Loaded(server.url) as engine:
        scores = engine.score(engine.encode([chat(text) for text in ("odd", "a", "empty", "b")], labels), labels)
        assert [score.error for score in scores] == ["no_label_in_top_logprobs", None] * 2
        assert [score.log_p is None for score in scores] == [True, False] * 2
        # and so it does in a batch of its own, after labels have been seen whole
        (score,) = engine.score(engine.encode([chat("odd")], labels), labels)
        assert (score.error, score.new_tokens) == ("no_label_in_top_logprobs", 1)
    server.top = lambda text: {"The": -0.1}
    with Loaded(server.url) as engine:
        (score,) = engine.score(engine.encode([chat("x")], labels), labels)
        assert score.error == "no_label_in_top_logprobs"


def test_labels_of_several_tokens_can_not_be_scored(server: FakeServer) -> None:
    server.top = lambda text: {" pos": -0.1, "neg": -1.0, "The": -3.0}
    with Loaded(server.url) as engine:
        prompts = engine.encode([chat(text) for text in TEXTS], None)
        with pytest.raises(UserError, match="one token") as caught:
            engine.score(prompts, ["positive", "negative"])
        assert "constrained" in caught.value.hint
        sent = len(server.bodies)
        for choices in (["1", "10", "2"], ["10", "2", "1"]):
            with pytest.raises(UserError, match="one token"):
                engine.score(prompts, choices)
        assert len(server.bodies) == sent  # these two were told without a request


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (raw(b'{"choices": [{"mess'), "bad_response"),
        (raw(b"<html>hello</html>"), "bad_response"),
        (raw(b""), "bad_response"),
        (raw(b"[]"), "bad_response"),
        (raw(b'{"choices": []}'), "bad_response"),
        (raw(b'{"choices": [{"message": {"content": ["parts"]}}]}'), "bad_response"),
        (raw(b'{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}'), "content_filter"),
        (raw(b'{"choices": [{"message": {"refusal": "I will not."}, "finish_reason": "stop"}]}'), "content_filter"),
        (status(400, {"error": {"message": "no", "code": "content_filter"}}), "content_filter"),
        (status(400, {"error": {"message": "no", "code": "context_length_exceeded"}}), "prompt_too_long"),
        (status(400, {"error": {"message": "no", "code": 400, "type": "exceed_context_size_error"}}), "prompt_too_long"),
        (status(400, {"error": {"message": "Maximum Context Length is 7"}}), "prompt_too_long"),
        (status(400), "http_400"),
        (status(422, {"detail": [{"loc": ["body", "messages"]}]}), "http_422"),
        (status(413, b"<html>"), "http_413"),
        (status(429, Retry_After="300"), "rate_limited"),
        (status(500, x_should_retry="false"), "http_500"),
    ],
)  # fmt: skip
def test_a_row_fails_alone_and_at_once(server: FakeServer, reply: Reply, word: str) -> None:
    server.faults = {TEXTS[2]: [reply, reply]}
    assert words(server.url) == [None, None, word, None, None, None]
    assert server.count == dict.fromkeys(TEXTS, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "word", "timeout"),
    [
        (status(429, Retry_After="0.01"), "rate_limited", 20),
        (status(429), "rate_limited", 20),
        (status(500), "http_500", 20),
        (status(503, Retry_After="0"), "http_503", 20),
        (cut, "bad_response", 20),
        (drop, "bad_response", 20),
        (hang, "timeout", 1),
        (trickle, "timeout", 1),
    ],
    ids=["429", "429-plain", "500", "503", "cut", "drop", "hang", "trickle"],
)
def test_what_may_pass_is_tried_again(server: FakeServer, reply: Reply, word: str, timeout: float) -> None:
    server.faults = {TEXTS[1]: [reply], TEXTS[3]: [reply] * 2}
    assert words(server.url, timeout=timeout, retries=1) == [None, None, None, word, None, None]
    assert (server.count[TEXTS[1]], server.count[TEXTS[3]]) == (2, 2)


def test_the_wait_that_the_server_asks_for_is_kept(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own backoff would be beyond any patience here, so that only Retry-After can have ended the wait."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 1000)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 1000)
    server.faults = {TEXTS[0]: [status(429, Retry_After="0.02")], TEXTS[1]: [status(429, retry_after_ms="20")]}
    assert words(server.url, TEXTS[:3]) == [None] * 3
    assert [server.count[text] for text in TEXTS[:3]] == [2, 2, 1]


@pytest.mark.slow
def test_a_request_that_timed_out_may_have_been_charged_each_time() -> None:
    with fake_server() as fake:
        fake.faults = {"slow": [hang] * 6}
        with Loaded(fake.url, timeout=0.3, retries=2) as engine:
            prompts = engine.encode([chat("slow")], None)
            (slow,), (score,) = engine.generate(prompts, 9, None), engine.score(prompts, DIGITS)
        assert (slow.error, slow.prompt_tokens, slow.complete) == ("timeout", prompts[0].tokens * 3, False)
        assert (score.error, score.prompt_tokens, score.log_p) == ("timeout", prompts[0].tokens * 3, None)
        assert fake.count["slow"] == 6


def test_a_request_that_failed_costs_nothing(server: FakeServer) -> None:
    server.faults = {"broken": [status(500)] * 2}
    with Loaded(server.url) as engine:
        (broken,) = engine.generate(engine.encode([chat("broken")], None), 9, None)
    assert (broken.error, broken.prompt_tokens, broken.text, broken.complete) == ("http_500", 0, "", False)


def test_a_refusal_costs_what_the_server_says(server: FakeServer) -> None:
    reply = {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}], "usage": {"prompt_tokens": 11}}
    server.faults = {"x": [status(200, reply), status(200, reply)]}
    with Loaded(server.url) as engine:
        prompts = engine.encode([chat("x")], None)
        assert (engine.generate(prompts, 9, None)[0].prompt_tokens, engine.score(prompts, DIGITS)[0].prompt_tokens) == (11, 11)


def test_tokens_are_zero_where_the_server_sends_none(server: FakeServer) -> None:
    server.faults = {"x": [raw(b'{"choices": [{"message": {"content": "3"}, "finish_reason": "length"}], "usage": null}')]}
    with Loaded(server.url) as engine:
        (answer,) = engine.generate(engine.encode([chat("x")], None), 9, None)
    assert (answer.text, answer.complete, answer.prompt_tokens, answer.new_tokens, answer.error) == ("3", False, 0, 0, None)


@pytest.mark.slow
def test_a_text_that_is_too_long_fails_alone(server: FakeServer) -> None:
    """Also if it names, in the server's quote of it, what would end a batch."""
    long = "logprobs response_format json_schema structured_outputs " * CONTEXT
    with Loaded(server.url) as engine:
        prompts = engine.encode([chat("a"), chat(long), chat("b")], DIGITS)
        assert [answer.error for answer in engine.generate(prompts, 9, DIGITS)] == [None, "prompt_too_long", None]
        assert [score.error for score in engine.score(prompts, DIGITS)] == [None, "prompt_too_long", None]
        server.faults = {long: [status(400, {"error": {"message": f"I don't like {long}"}})] * 2}
        assert engine.generate(prompts, 9, DIGITS)[1].error == "http_400"
        assert engine.score(prompts, DIGITS)[1].error == "http_400"


@pytest.mark.slow
def test_never_more_requests_at_a_time_than_allowed_and_connections_are_kept() -> None:
    with fake_server() as fake:
        texts = [f"text {i}" for i in range(12)]
        with Loaded(fake.url, concurrency=3) as engine:
            engine.generate(engine.encode([chat("first")], None), 9, None)  # which is sent alone
            fake.count.clear()
            fake.barrier = threading.Barrier(3)  # nobody is answered before three are there
            for start in (0, 6):
                prompts = engine.encode([chat(text) for text in texts[start : start + 6]], None)
                assert all(answer.error is None for answer in engine.generate(prompts, 9, None))
        assert fake.peak == 3
        assert fake.count == dict.fromkeys(texts, 1)
        assert fake.connections <= 4  # one of them asked for the models


@pytest.mark.slow
def test_a_row_that_waits_to_be_tried_again_keeps_its_slot(server: FakeServer) -> None:
    server.faults = {text: [status(500), status(429, Retry_After="0.01")] for text in TEXTS}
    assert words(server.url, retries=2, concurrency=2) == [None] * 6
    assert server.peak <= 2
    assert server.count == dict.fromkeys(TEXTS, 3)


@pytest.mark.slow
def test_faults_in_any_order_lose_and_double_nothing(server: FakeServer) -> None:
    texts = [f"row {i}" for i in range(40)]
    faults = [None, *seeded_faults(3, 30, faults=["429:0.01", "500", "cut"]), "hang", "hang"]
    with faulty_proxy(server.url, faults) as proxy, Loaded(proxy.url, retries=1, timeout=4, concurrency=4) as engine:
        answers = engine.generate(engine.encode([chat(text) for text in texts], None), 9, None)
    assert [a.text for a in answers] == [f"echo: {t}" if a.error is None else "" for t, a in zip(texts, answers, strict=True)]
    assert {answer.error for answer in answers} <= {None, "rate_limited", "http_500", "bad_response", "timeout"}
    posts = [event for event in proxy.log if event.method == "POST"]
    assert sum(server.count.values()) == sum(event.upstream_status == 200 for event in posts)
    assert sum(event.fault is None for event in posts) == sum(answer.error is None for answer in answers)
    assert [event.fault for event in sorted(proxy.log, key=lambda event: event.number)][: len(faults)] == faults
    assert 0 < sum(answer.error is None for answer in answers) < len(answers)


def test_a_wrong_key_is_refused_at_loading(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "sk-wrong")
    engine = engine_for(server.url)
    with pytest.raises(UserError, match=rf"refused the key in \${NAME}") as caught:
        engine.load()
    assert "sk-wrong" not in chain_of(caught.value)
    assert server.bodies == []
    with pytest.raises(UserError, match="refused"):
        engine_for(server.url, None).facts()
    with pytest.raises(UserError, match="requires a key"):
        engine_for(server.url, api_key_env=None).load()


def test_a_key_that_is_no_longer_good_ends_the_batch(server: FakeServer) -> None:
    quoting = {"error": {"message": f"Region not allowed for {KEY}"}}
    for reply, text in ((status(401, quoting), "refused the key"), (status(403, quoting), r"Region not allowed for \[key\]")):
        server.faults = {TEXTS[2]: [reply]}
        message, hint = fatal(server, UserError)
        assert text.replace("\\", "") in message
        assert NAME in message
        assert "api_key_env" in hint


@pytest.mark.slow
def test_an_error_for_all_cancels_the_others(server: FakeServer) -> None:
    server.faults = {text: [hang] for text in TEXTS[1:]}
    server.faults[TEXTS[0]] = [lambda handler, _: (handler.fake.hanging.wait(20), status(401)(handler, {}))[1]]
    fatal(server, UserError, timeout=600)  # a batch that waited for the others would not end
    assert server.count[TEXTS[0]] == 1


@pytest.mark.slow
def test_the_batch_after_a_fatal_error_is_sound(server: FakeServer) -> None:
    server.faults = {TEXTS[0]: [status(404)], TEXTS[1]: [hang]}
    with Loaded(server.url) as engine:
        prompts = engine.encode([chat(text) for text in TEXTS], None)
        with pytest.raises(UserError):
            engine.generate(prompts, 9, None)
        assert [answer.text for answer in engine.generate(prompts, 9, None)] == [f"echo: {text}" for text in TEXTS]


def test_an_unknown_model(server: FakeServer) -> None:
    message, hint = fatal(server, UserError, model="nope")
    assert "The model `nope` does not exist." in message
    assert "--model" in hint
    assert len(message) < 400


@pytest.mark.parametrize("reply", [
    status(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}),
    status(402),
])  # fmt: skip
def test_no_credit_left(server: FakeServer, reply: Reply) -> None:
    server.faults = {TEXTS[2]: [reply] * 2}
    assert "no credit left" in fatal(server, RunError)[0]


@pytest.mark.parametrize("structured", ["json_schema", "choice"])
def test_a_server_that_ignores_the_constraint(server: FakeServer, structured: str) -> None:
    server.obeys = ()
    message, hint = fatal(server, UserError, "constrained", structured=structured)
    assert server.url.split("/")[2] in message
    assert f"structured: {structured}" in message
    assert ("'choice'" if structured == "json_schema" else "'json_schema'") in hint
    assert "free" in hint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "structured"),
    [('{"answer": 3}', "json_schema"), ('{"answer": "5"}', "json_schema"), ('["3"]', "json_schema"), ("3", "json_schema"),
     ("3.", "choice"), ("", "choice")],
)  # fmt: skip
def test_an_answer_that_is_no_choice(server: FakeServer, content: str, structured: str) -> None:
    """Whole, it proves that the constraint is ignored; cut, it is the row's own failure."""
    for reason in ("stop", "length"):
        reply = {"choices": [{"message": {"content": content}, "finish_reason": reason}]}
        server.faults = {TEXTS[0]: [status(200, reply)] * LATE}
        if reason == "stop":
            assert "ignores" in fatal(server, UserError, "constrained", structured=structured)[0]
        else:
            with Loaded(server.url, structured=structured) as engine:
                answers = engine.generate(engine.encode([chat(text) for text in TEXTS], DIGITS), 1, DIGITS)
            assert [answer.error for answer in answers] == ["cut"] + [None] * 5


@pytest.mark.slow
@pytest.mark.parametrize("body", [
    {"error": {"message": "Unrecognized argument", "param": "response_format.type"}},
    {"error": {"message": "This model does not support `structured_outputs`."}},
    {"detail": [{"type": "extra_forbidden", "loc": ["body", "structured_outputs"]}]},
])  # fmt: skip
@pytest.mark.parametrize("code", [400, 422])
def test_a_server_that_refuses_the_constraint(server: FakeServer, body: dict[str, Any], code: int) -> None:
    server.faults = {TEXTS[3]: [status(code, body)] * LATE}
    assert "does not accept structured: json_schema" in fatal(server, UserError, "constrained")[0]
    server.faults = {TEXTS[3]: [status(code, body)] * LATE}
    assert words(server.url)[3] == f"http_{code}"  # nobody had asked for it


def test_a_server_without_log_probabilities(server: FakeServer) -> None:
    server.logprobs = False
    message, hint = fatal(server, UserError, "score")
    assert message == f"The server at {server.url.split('/')[2]} gives no log-probabilities."
    assert "constrained or free" in hint
    server.logprobs = True
    server.faults = {TEXTS[3]: [status(400, {"detail": [{"loc": ["body", "logprobs"]}]})] * LATE}
    assert "gives no log-probabilities: " in fatal(server, UserError, "score")[0]
    only_chosen = {"message": {}, "logprobs": {"content": [{"token": "3", "logprob": -0.1}]}}
    server.faults = {TEXTS[3]: [status(200, {"choices": [only_chosen]})] * LATE}
    assert "gives no log-probabilities" in fatal(server, UserError, "score")[0]


def test_the_key_is_looked_for_at_loading(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, "  "):
        if value is None:
            monkeypatch.delenv(NAME)
        else:
            monkeypatch.setenv(NAME, value)
        engine = engine_for(server.url)
        assert engine.facts() == {}
        with pytest.raises(UserError, match=NAME):
            engine.load()
    for value in ("sk with space", "sk-\N{HORIZONTAL ELLIPSIS}", "sk\nnew"):
        monkeypatch.setenv(NAME, value)
        with pytest.raises(UserError, match=NAME) as caught:
            engine_for(server.url).load()
        assert value not in chain_of(caught.value)
    assert server.headers == []
    monkeypatch.setenv(NAME, f"{KEY}\n")  # as `$(cat file)` of some shells leaves it
    assert words(server.url) == [None] * 6


def test_a_server_that_wants_no_key_is_shown_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-custom")
    with fake_server(key=None) as fake:
        assert words(fake.url, api_key_env=None) == [None] * 6
        assert [headers.get("authorization") for headers in fake.headers] == [None] * 7
        assert words(fake.url) == [None] * 6
        assert {headers.get("authorization") for headers in fake.headers[7:]} == {f"Bearer {KEY}"}


def test_the_key_and_the_texts_are_shown_nowhere(
    server: FakeServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, name)
    server.faults = {TEXTS[1]: [status(500)] * 2, TEXTS[2]: [cut] * 2, TEXTS[3]: [status(400, {"error": KEY})]}
    with Loaded(server.url) as engine:
        answers = engine.generate(engine.encode([chat(text) for text in TEXTS], None), 9, None)
        assert KEY not in repr(answers) + repr(engine) + repr(vars(engine)) + repr(engine.facts())
    assert any(record.name.startswith("openai") for record in caplog.records)  # they did log
    assert KEY not in caplog.text
    assert all(KEY not in str(vars(record)) for record in caplog.records)


def test_nothing_is_printed(server: FakeServer, capfd: pytest.CaptureFixture[str]) -> None:
    server.faults = {TEXTS[1]: [status(500)] * 2, TEXTS[2]: [cut] * 2}
    words(server.url)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("url", [
    "https://user:hunter2@example.org/v1", "https://hunter2@example.org/v1", "https://example.org/v1?key=hunter2",
    "https://example.org/v1#hunter2", "hunter2", "ftp://example.org/hunter2", "http://", "http://example.org:hunter2/v1",
    "http://[hunter2/v1",
])  # fmt: skip
def test_an_address_is_an_address_only(url: str) -> None:
    with pytest.raises(UserError, match="base_url") as caught:
        engine_for(url)
    assert "hunter2" not in chain_of(caught.value)


def test_a_key_in_place_of_its_name_is_not_repeated() -> None:
    with pytest.raises(UserError, match="api_key_env") as caught:
        engine_for("http://localhost/v1", api_key_env=KEY)
    assert KEY not in chain_of(caught.value)


def test_the_model_of_a_server_that_has_one(server: FakeServer) -> None:
    engine = engine_for(server.url, None)
    assert engine.facts() == {"model": MODEL}
    assert engine.facts() == {"model": MODEL}
    assert len(server.headers) == 1
    assert engine_for(server.url).facts() == {}
    with Loaded(server.url, None) as loaded:
        assert loaded.generate(loaded.encode([chat("x")], None), 9, None)[0].text == "echo: x"
        assert loaded.facts() == {"model": MODEL}
    assert len(server.headers) == 3  # models, and a chat


@pytest.mark.slow
@pytest.mark.parametrize(
    ("full", "public"),
    [("/home/me/models/tiny", "tiny"), ("/home/me/tiny/", "tiny"), ("~/tiny", "tiny"), (r"C:\Users\me\tiny", "tiny"),
     ("D:/models/tiny", "tiny"), (r"\\host\share\tiny", "tiny"), ("./me/tiny.gguf", "tiny.gguf"), ("org/tiny", "org/tiny")],
)  # fmt: skip
def test_a_folder_of_the_server_stays_its_own(server: FakeServer, full: str, public: str) -> None:
    server.models = [full]
    with Loaded(server.url, None) as engine:
        assert engine.facts() == {"model": public}
        assert engine.generate(engine.encode([chat("x")], None), 9, None)[0].error is None
    assert server.bodies[0]["model"] == full


@pytest.mark.slow
def test_a_server_with_several_models_or_none(server: FakeServer) -> None:
    server.models = ["one", "two"]
    for ask in (lambda: engine_for(server.url, None).facts(), lambda: engine_for(server.url, None).load()):
        with pytest.raises(UserError, match="one, two") as caught:
            ask()
        assert "--model" in caught.value.hint
    for reply in (status(404), raw(b"<html>"), status(200, {"data": None}), status(200, [])):
        server.faults = {"/v1/models": [reply]}
        with pytest.raises(UserError, match="does not say"):
            engine_for(server.url, None).facts()


@pytest.mark.slow
@pytest.mark.parametrize("reply", [status(404), status(405), raw(b"not json"), status(200, [])])
def test_a_server_that_lists_no_models_is_fine(server: FakeServer, reply: Reply) -> None:
    server.faults = {"/v1/models": [reply]}
    assert words(server.url) == [None] * 6


def test_a_server_that_is_not_there() -> None:
    with fake_server() as fake:
        url = fake.url
    for ask in (lambda: engine_for(url).load(), lambda: engine_for(url, None).facts()):
        with pytest.raises(ModelUnavailable, match="can't be reached") as caught:
            ask()
        assert "base_url" in caught.value.hint
        assert KEY not in chain_of(caught.value)


@pytest.mark.slow
def test_a_server_that_is_ill_at_loading(server: FakeServer) -> None:
    server.faults = {"/v1/models": [status(503)]}
    with Loaded(server.url):  # once is tried again
        pass
    server.faults = {"/v1/models": [status(503)] * 2}
    with pytest.raises(ModelUnavailable, match="503"):
        engine_for(server.url).load()
    server.faults = {"/v1/models": [hang] * 2}
    with pytest.raises(ModelUnavailable, match="can't be reached"):
        engine_for(server.url, timeout=0.2).load()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name == "bench-openai"}


def test_the_thread_ends_with_the_engine(server: FakeServer) -> None:
    engine = engine_for(server.url, None)
    engine.close()
    engine.facts()
    assert threads() == set()
    engine.load()
    assert threads()
    engine.load()
    engine.close()
    engine.close()
    assert threads() == set()
    server.models = []
    with pytest.raises(UserError):
        engine_for(server.url, None).load()
    assert threads() == set()
    engine.load()
    assert engine.generate(engine.encode([], None), 9, None) == []
    assert engine.score([], DIGITS) == []
    engine.close()


def test_ctrl_c_leaves_at_once_and_closing_ends_all(server: FakeServer) -> None:
    server.faults = {text: [hang] for text in TEXTS}

    def interrupt() -> None:
        assert server.hanging.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    with Loaded(server.url, timeout=10, concurrency=6) as engine:
        prompts = engine.encode([chat(text) for text in TEXTS], None)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            engine.generate(prompts, 9, None)
        thread.join()
        # Nothing of the batch holds a slot any more, or is tried again.
        assert [answer.error for answer in engine.generate(engine.encode([chat("x")] * 20, None), 9, None)] == [None] * 20
        assert max(server.count[text] for text in TEXTS) == 1
    assert threads() == set()


def test_the_length_of_a_prompt_is_an_upper_bound() -> None:
    engine = engine_for("http://localhost/v1")
    assert [encoded.content for encoded in engine.encode([chat("日本"), chat("")], None)] == [chat("日本"), chat("")]
    assert [encoded.tokens for encoded in engine.encode([chat("日本"), chat("")], None)] == [8 + 6 + 48, 8 + 48]


def test_a_text_that_is_no_unicode_is_sent_all_the_same(server: FakeServer) -> None:
    with Loaded(server.url) as engine:
        answers = engine.generate(engine.encode([chat("half \ud83d of it"), chat("x")], None), 9, None)
    assert [answer.text for answer in answers] == ["echo: half ? of it", "echo: x"]


def test_batches_keep_the_slots_busy() -> None:
    assert engine_for("http://localhost/v1", concurrency=16).batch_size() == 128


@pytest.mark.parametrize(
    "name", ["gpt-4.1-mini", "gpt-6-luna", "gpt-6.2-sol", "mistral-small-api", "mistral-small-4-api", "local-server"]
)
def test_the_named_backends(name: str) -> None:
    folder = Path(backends.__file__ or "").parent
    spec = yaml.safe_load((folder / f"{name}.yaml").read_text())
    assert spec["engine"] == "openai"
    engine = OpenAI(OpenAIOptions.model_validate(spec.get("options", {})), spec.get("model"))
    assert (engine.options.api_key_env is None) == (name == "local-server")
