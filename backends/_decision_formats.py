"""The two formats in which servers are asked for decisions: typed questions in, a probability for each option out.

`decisions`: OpenAI's `POST /v1/decisions`, which vLLM 0.33 and SGLang serve too. `systemone`: `POST /v1/systemone`, the format
of TypeSafe's Jev, which vLLM 0.32, llama.cpp and Ollama serve. A question is one of three kinds: which of several options
(`choice`), where on a scale (`score`), or how likely a statement is (`predicate`, there `noul`).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from backends._openai_answers import count_of
from backends._openai_failures import Failure
from harness.core.arrays import FloatArray, finite_log
from harness.core.token_use import NO_TOKENS, TokenUse
from harness.core.types import LabelKind, LabelSpace

Asked = Literal["choice", "score", "each"]
"""One question with the labels as options; one with them as the levels of a scale; or a statement for each label."""

ROUNDING = 0.05
"""How far from 1 the sum of probabilities may be: servers round them."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked of each text. `instructions`: of the one question; or, where each label has its own, of that, with {} for
    the label."""

    labels: LabelSpace
    asked: Asked
    instructions: str

    def statements(self) -> list[str]:
        """One for each label."""
        return [
            self.instructions.replace("{}", name) + (f" {name}: {told}" if told else "")
            for name, told in self.labels.described()
        ]


class Format(ABC):
    """How a request is written, and its answer read."""

    path: str
    most_options: int
    most_questions: int

    @abstractmethod
    def body(self, text: str, questions: Questions) -> dict[str, Any]:
        """The fields of a request, without the model."""

    @abstractmethod
    def probabilities(self, answer: Mapping[str, Any], questions: Questions) -> list[float]:
        """As the server gives them, one for each label. Raises `KeyError`, `TypeError` or `ValueError` for another answer, and
        `Refused`."""


class Refused(Exception):
    """The model declines to answer."""


class DecisionsFormat(Format):
    path = "/decisions"
    most_options, most_questions = 255, 400

    def body(self, text: str, questions: Questions) -> dict[str, Any]:
        labels = questions.labels.described()
        told = [{"description": description} if description else {} for _, description in labels]
        names = [name for name, _ in labels]
        if questions.asked == "each":
            asked: list[dict[str, Any]] = [
                {"type": "predicate", "name": f"label-{n}", "instructions": statement}
                for n, statement in enumerate(questions.statements())
            ]
        elif questions.asked == "score":
            levels = [{"label": name, **more} for name, more in zip(names, told, strict=True)]
            asked = [{"type": "score", "name": "label", "instructions": questions.instructions, "levels": levels}]
        else:
            choices = [{"value": name, **more} for name, more in zip(names, told, strict=True)]
            asked = [{"type": "choice", "name": "label", "instructions": questions.instructions, "choices": choices}]
        return {"input": text, "questions": asked}

    def probabilities(self, answer: Mapping[str, Any], questions: Questions) -> list[float]:
        answers = answer["answers"]
        if any(one["type"] == "refusal" for one in answers):
            raise Refused
        if questions.asked == "each":
            return [float(one["probability"]) for one in answers]
        (one,) = answers
        key = "label" if questions.asked == "score" else "value"
        found = {str(option[key]): float(option["probability"]) for option in one["probabilities"]}
        return [found[name] for name in questions.labels.names]


class SystemOneFormat(Format):
    path = "/systemone"
    most_options, most_questions = 26, 64  # those of vLLM; a server may take more

    def body(self, text: str, questions: Questions) -> dict[str, Any]:
        labels = questions.labels.described()
        if questions.asked == "each":
            asked: dict[str, dict[str, Any]] = {
                f"label-{n}": {"type": "noul", "instructions": statement} for n, statement in enumerate(questions.statements())
            }
        elif questions.asked == "score":
            levels = [f"{name}: {told}" if told else name for name, told in labels]
            asked = {"label": {"type": "score", "instructions": questions.instructions, "criteria": levels}}
        else:
            options = {name: told or None for name, told in labels}
            asked = {"label": {"type": "choice", "instructions": questions.instructions, "criteria": options}}
        return {"state": text, "questions": asked}

    def probabilities(self, answer: Mapping[str, Any], questions: Questions) -> list[float]:
        answers = answer["answers"]
        names = questions.labels.names
        if questions.asked == "each":
            return [float(answers[f"label-{n}"]["noul"]) for n in range(len(names))]
        found = answers["label"]["probabilities"]
        return [float(found[str(n) if questions.asked == "score" else name]) for n, name in enumerate(names)]


FORMATS: dict[str, Format] = {"decisions": DecisionsFormat(), "systemone": SystemOneFormat()}


def way_of_asking(labels: LabelSpace, format_: Format) -> Asked:
    """A scale for ordered labels, one question for others, as long as the format takes so many options."""
    if labels.kind is LabelKind.MULTILABEL or len(labels) > format_.most_options:
        return "each"
    return "score" if labels.kind is LabelKind.ORDINAL and len(labels) <= 10 else "choice"


@dataclass(frozen=True, slots=True)
class Decided:
    """log p of each label, shape (len(labels),)."""

    log_p: FloatArray
    use: TokenUse


def read_answer(body: bytes, format_: Format, questions: Questions) -> Decided | Failure:
    try:
        answer = json.loads(body)
        use = _use(answer)
        p = np.array(format_.probabilities(answer, questions), dtype=np.float64)
    except Refused:
        return Failure("content_filter", use, detail="the model declines to answer")
    except (ValueError, KeyError, TypeError, RecursionError):
        return Failure("bad_response", retryable=True, detail="a body that is not an answer to the questions")
    problem = _problem(p, questions)
    if problem is not None:
        return Failure("bad_response", use, detail=problem)
    if questions.labels.kind is not LabelKind.MULTILABEL:
        p = p / p.sum()
    return Decided(finite_log(p), use)


def _problem(p: FloatArray, questions: Questions) -> str | None:
    if p.shape != (len(questions.labels),):
        return f"{p.size} answers to {len(questions.labels)} questions"
    if not np.isfinite(p).all() or p.min() < 0 or p.max() > 1 + ROUNDING:
        return "probabilities that are none"
    if questions.asked != "each" and abs(p.sum() - 1) > ROUNDING:
        return f"probabilities that sum to {p.sum():.3g}"
    return "every label has the probability 0" if p.sum() == 0 and questions.labels.kind is not LabelKind.MULTILABEL else None


def _use(answer: Mapping[str, Any]) -> TokenUse:
    """Of an answer without counts, nothing: it is not lost because of odd counts beside it."""
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return NO_TOKENS
    details = usage.get("input_tokens_details")
    details = details if isinstance(details, Mapping) else {}
    prompt, new = count_of(usage.get("input_tokens")), count_of(usage.get("output_tokens"))
    cached = count_of(details.get("cached_tokens"), prompt)
    return TokenUse(prompt, new, cached, count_of(details.get("cache_write_tokens"), prompt - cached))
