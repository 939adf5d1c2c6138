"""Decision models behind a server: both formats, against a server on loopback that answers by the words of the text."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from backends._decision_formats import FORMATS, Questions, read_answer
from backends._openai_failures import Failure
from backends.decisions import Decisions, DecisionsOptions
from harness.core.errors import ModelUnavailable, UserError
from harness.core.types import LabelKind, LabelSpace

NAMES = ("red", "green", "blue")
SEVERAL = LabelSpace(LabelKind.MULTILABEL, NAMES)
ONE = LabelSpace(LabelKind.NOMINAL, NAMES, ("like blood", "", "like the sky"))
SCALE = LabelSpace(LabelKind.ORDINAL, NAMES)


def share(text: str, names: list[str]) -> dict[str, float]:
    """A label that stands in the text gets nine tenths."""
    weights = {name: 9.0 if name in text else 0.5 for name in names}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def decide(body: Mapping[str, Any]) -> dict[str, Any]:
    """As OpenAI answers."""
    answers: list[dict[str, Any]] = []
    for asked in body["questions"]:
        text = body["input"]
        if "never" in text:
            answers.append({"type": "refusal", "name": asked["name"]})
        elif asked["type"] == "predicate":
            stated = [name for name in NAMES if f"label {name} " in asked["instructions"]]
            answers.append({"type": "predicate", "name": asked["name"], "probability": 0.9 if stated[0] in text else 0.2})
        elif asked["type"] == "score":
            p = share(text, [level["label"] for level in asked["levels"]])
            options = [{"label": name, "value": n, "probability": value} for n, (name, value) in enumerate(p.items())]
            answers.append({"type": "score", "name": "label", "score": 1.0, "confidence": 1, "probabilities": options})
        else:
            p = share(text, [choice["value"] for choice in asked["choices"]])
            options = [{"value": name, "probability": value} for name, value in p.items()]
            answers.append({"type": "choice", "choice": max(p, key=p.__getitem__), "confidence": 1, "probabilities": options})
    details = {"input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2}}
    return {"answers": answers, "model": body["model"], "usage": {"input_tokens": 11, "output_tokens": 1, **details}}


def system_one(body: Mapping[str, Any]) -> dict[str, Any]:
    """As vLLM 0.32 answers."""
    answers: dict[str, Any] = {}
    for name, asked in body["questions"].items():
        text = body["state"]
        if asked["type"] == "noul":
            stated = [label for label in NAMES if f"label {label} " in asked["instructions"]]
            p = 0.9 if stated[0] in text else 0.2
            answers[name] = {"type": "noul", "noul": p, "probabilities": {"yes": p, "no": 1 - p}}
        elif asked["type"] == "score":
            found = share(text, [level.split(":")[0] for level in asked["criteria"]])
            answers[name] = {"type": "score", "probabilities": {str(n): p for n, p in enumerate(found.values())}}
        else:
            answers[name] = {"type": "choice", "probabilities": share(text, list(asked["criteria"]))}
    return {"answers": answers, "model": body["model"], "usage": {"input_tokens": 11, "output_tokens": 1}}


@dataclass
class Served:
    """`answer` makes status and body of a request; `bodies`: what was sent."""

    answer: Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""


def answered(path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 200, decide(body) if path.endswith("/decisions") else system_one(body)


@contextmanager
def serving(answer: Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]] = answered) -> Iterator[Served]:
    served = Served(answer)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": "decider", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.bodies.append(body)
            self._send(*served.answer(self.path, body))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


MADE: list[Decisions] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Each engine has a thread, which would be left to other tests."""
    yield
    while MADE:
        MADE.pop().close()


def engine(url: str, labels: LabelSpace, model: str | None = "decider", **options: Any) -> Decisions:
    given = {"base_url": url, "api_key_env": None, "retries": 0, **options}
    made = Decisions(DecisionsOptions.model_validate(given), model)
    MADE.append(made)
    made.load(labels)
    return made


def probabilities(made: Decisions, texts: list[str]) -> list[list[float]]:
    scores = made.score(made.encode(texts))
    return [[] if row.log_p is None else np.exp(row.log_p).round(4).tolist() for row in scores]


@pytest.mark.parametrize("format_", ["decisions", "systemone"])
@pytest.mark.parametrize("labels", [ONE, SCALE, SEVERAL], ids=lambda labels: labels.kind)
def test_both_formats_give_the_same_probabilities(format_: str, labels: LabelSpace) -> None:
    with serving() as served:
        made = engine(served.url, labels, format=format_)
        found = probabilities(made, ["it is red", "green \ud800 and blue"])
        made.close()
    if labels is SEVERAL:
        assert found == [[0.9, 0.2, 0.2], [0.2, 0.9, 0.9]]
    else:
        assert found == [[0.9, 0.05, 0.05], [0.027, 0.4865, 0.4865]]
    assert {body["model"] for body in served.bodies} == {"decider"}


def test_what_is_asked() -> None:
    asked = {name: FORMATS[name].body("x", Questions(ONE, "choice", "Which?")) for name in FORMATS}
    described = [
        {"value": "red", "description": "like blood"},
        {"value": "green"},
        {"value": "blue", "description": "like the sky"},
    ]
    question = {"type": "choice", "name": "label", "instructions": "Which?", "choices": described}
    assert asked["decisions"] == {"input": "x", "questions": [question]}
    criteria = {"red": "like blood", "green": None, "blue": "like the sky"}
    one = {"type": "choice", "instructions": "Which?", "criteria": criteria}
    assert asked["systemone"] == {"state": "x", "questions": {"label": one}}
    statements = Questions(ONE, "each", "It is {}.").statements()
    assert statements == ["It is red. red: like blood", "It is green.", "It is blue. blue: like the sky"]
    scale = FORMATS["systemone"].body("x", Questions(ONE, "score", "Where?"))["questions"]["label"]["criteria"]
    assert scale == ["red: like blood", "green", "blue: like the sky"]


@pytest.mark.parametrize("format_", ["decisions", "systemone"])
def test_more_labels_than_options_are_asked_one_by_one(format_: str) -> None:
    many = LabelSpace(LabelKind.NOMINAL, tuple(f"label{n}" for n in range(30)))
    with serving() as served:
        made = engine(served.url, many, format=format_)
        body = made.encode(["x"])[0].content
    assert len(body["questions"]) == (1 if format_ == "decisions" else 30)
    assert made.new_tokens(many) == 16 * len(body["questions"])
    most = LabelSpace(LabelKind.MULTILABEL, tuple(f"label{n}" for n in range(401)))
    with serving() as served, pytest.raises(UserError, match="401 labels"):
        engine(served.url, most, format=format_)


def test_one_by_one_a_single_label_has_probabilities_that_sum_to_1() -> None:
    with serving() as served:
        (found,) = probabilities(engine(served.url, ONE, ask="each"), ["it is red"])
    assert found == [0.6923, 0.1538, 0.1538]


def test_tokens_are_counted() -> None:
    with serving() as served:
        made = engine(served.url, ONE)
        (row,) = made.score(made.encode(["it is red"]))
    assert (row.prompt_tokens, row.new_tokens, row.cached_tokens, row.cache_written_tokens) == (11, 1, 3, 2)


def test_a_refusal_is_a_row_without_an_answer() -> None:
    with serving() as served:
        made = engine(served.url, ONE)
        rows = made.score(made.encode(["it is red", "never say it", "blue"]))
    assert [row.error for row in rows] == [None, "content_filter", None]
    assert rows[1].retryable is False


GOOD = decide(
    {"model": "m", "input": "red", "questions": FORMATS["decisions"].body("red", Questions(ONE, "choice", "?"))["questions"]}
)


@pytest.mark.parametrize(
    ("change", "retryable"),
    [
        (lambda body: body.pop("answers"), True),
        (lambda body: body.update(answers=[]), True),
        (lambda body: body["answers"][0]["probabilities"].pop(), True),
        (lambda body: body["answers"][0]["probabilities"][0].update(probability=float("nan")), False),
        (lambda body: body["answers"][0]["probabilities"][0].update(probability=-0.1), False),
        (lambda body: body["answers"][0]["probabilities"][0].update(probability=7), False),
        (lambda body: body["answers"][0]["probabilities"][0].update(probability=0.1), False),
        (lambda body: body["answers"].append(body["answers"][0]), True),
    ],
)
def test_an_answer_that_is_none_is_a_failure(change: Callable[[Any], None], retryable: bool) -> None:
    body = json.loads(json.dumps(GOOD))
    change(body)
    found = read_answer(json.dumps(body).encode(), FORMATS["decisions"], Questions(ONE, "choice", "?"))
    assert isinstance(found, Failure)
    assert (found.word, found.retryable) == ("bad_response", retryable)


def test_odd_counts_lose_no_answer() -> None:
    for usage in (None, 7, {"input_tokens": "many"}, {"input_tokens_details": []}):
        found = read_answer(json.dumps({**GOOD, "usage": usage}).encode(), FORMATS["decisions"], Questions(ONE, "choice", "?"))
        assert not isinstance(found, Failure)
        assert found.use.prompt == 0


@pytest.mark.parametrize(
    ("options", "labels", "match"),
    [
        ({"ask": "choice"}, SEVERAL, "several"),
        ({"ask": "score"}, ONE, "ordinal"),
        ({"ask": "each", "instructions": "Is it so?"}, ONE, "does not fit"),
        ({"instructions": "Is it {}?"}, ONE, "does not fit"),
    ],
)
def test_what_can_not_be_asked_is_refused_before_a_request(options: dict[str, Any], labels: LabelSpace, match: str) -> None:
    with serving() as served, pytest.raises(UserError, match=match):
        engine(served.url, labels, **options)
    assert served.bodies == []


@pytest.mark.slow
@pytest.mark.parametrize("status", [404, 405, 501])  # 501: vLLM, for a model that can't
def test_a_server_without_the_endpoint_and_one_that_is_not_there(status: int) -> None:
    with serving(lambda path, body: (status, {"error": {"message": "Not Found"}})) as served:
        made = engine(served.url, ONE)
        with pytest.raises(UserError, match="answers no /decisions"):
            made.score(made.encode(["red"]))
    with pytest.raises(ModelUnavailable, match="can't be reached"):
        engine(served.url, ONE)


def test_a_server_that_refuses_every_request_ends_the_run() -> None:
    with serving(lambda path, body: (400, {"error": {"message": "at most 2 options for this model"}})) as served:
        made = engine(served.url, ONE)
        with pytest.raises(UserError, match="at most 2 options"):
            made.score(made.encode([f"red {n}" for n in range(20)]))
    assert len(served.bodies) == 3


def test_a_server_with_one_model_needs_no_name() -> None:
    with serving() as served:
        made = engine(served.url, ONE, model=None)
        assert made.facts() == {"model": "decider"}
        probabilities(made, ["red"])
    assert served.bodies[0]["model"] == "decider"
