"""Ask a server for decisions: the probability of each label, without a prompt and without text to parse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from backends._decision_formats import (
    FORMATS,
    Asked,
    Decided,
    Questions,
    read_answer,
    way_of_asking,
)
from backends._openai_connection import Connection
from backends._openai_failures import AskedFor, Failure, failure_of
from backends._served import ServedEngine, ServerOptions, sendable
from harness.core.engine import Encoded, Scores, ZeroShot
from harness.core.errors import UserError
from harness.core.token_use import TokenUse
from harness.core.types import LabelKind, LabelSpace

INSTRUCTIONS: dict[Asked, str] = {
    "choice": "Which label fits the text best?",
    "score": "Where on this scale is the text?",
    "each": "The label {} fits the text.",
}
NEW_TOKENS = 16
"""Upper bound of the tokens that a server charges for the answer to one question. Most charge none."""


class DecisionsOptions(ServerOptions):
    format: Literal["decisions", "systemone"] = Field(
        "decisions", description="what the server is asked with: OpenAI's /decisions, or /systemone (vLLM 0.32, Jev, llama.cpp)"
    )
    ask: Literal["auto", "choice", "score", "each"] = Field(
        "auto",
        description="choice: one question with the labels as options; score: with them as the levels of a scale; each: a "
        "statement for each label; auto: by the kind and number of labels",
    )
    instructions: str | None = Field(
        None, min_length=1, description="of the question, or with {} for the label of each statement; default: by `ask`"
    )
    threshold: float = Field(
        0.5, gt=0, lt=1, description="multilabel tasks: the probability from which a label is given; it is never tuned"
    )


class Decisions(ServedEngine, ZeroShot):
    """A model behind a server that answers typed questions."""

    Options = DecisionsOptions
    options: DecisionsOptions

    def __init__(self, options: BaseModel, model: Path | str | None) -> None:
        super().__init__(options, model)
        self._format = FORMATS[self.options.format]
        self._questions: Questions | None = None

    def threshold(self) -> float:
        return self.options.threshold

    def new_tokens(self, labels: LabelSpace) -> int:
        return NEW_TOKENS * (len(labels) if self._way(labels) == "each" else 1)

    def _way(self, labels: LabelSpace) -> Asked:
        """Raises `UserError` for what can't be asked so."""
        asked = way_of_asking(labels, self._format) if self.options.ask == "auto" else self.options.ask
        if labels.kind is LabelKind.MULTILABEL and asked != "each":
            raise UserError(f"ask: {asked} gives one label a text, and this task has several.", "Use --set ask=each.")
        if asked == "score" and labels.kind is not LabelKind.ORDINAL:
            raise UserError("ask: score is for ordinal labels.", "Use --set ask=choice, or ask=each.")
        if asked == "each" and len(labels) > self._format.most_questions:
            raise UserError(
                f"{len(labels)} labels are more questions than a request of the format {self.options.format} takes "
                f"({self._format.most_questions}).",
                "Use --set ask=choice.",
            )
        return asked

    def load(self, labels: LabelSpace) -> None:
        asked = self._way(labels)
        instructions = self.options.instructions or INSTRUCTIONS[asked]
        if (asked == "each") != ("{}" in instructions):
            hint = (
                "Put {} where the label is to stand."
                if asked == "each"
                else "Leave {} out: there is one question for all labels."
            )
            raise UserError(f"The option `instructions` does not fit ask: {asked}.", hint)
        self._questions = Questions(labels, asked, instructions)
        self._open()

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """`tokens` is an upper bound: no tokenizer makes more tokens than there are bytes. A server may read the text once for
        each question."""
        assert self._questions is not None, "load() comes first"
        times = len(self._questions.labels) if self._questions.asked == "each" else 1
        encoded = []
        for text in map(sendable, texts):
            body = self._format.body(text, self._questions)
            size = len(json.dumps(body, ensure_ascii=False).encode())
            encoded.append(Encoded(size + (times - 1) * len(text.encode()), body))
        return encoded

    def score(self, texts: Sequence[Encoded]) -> list[Scores]:
        """Raises `UserError` or `RunError` for what would hit every row. If some rows are answered by then, they are returned,
        and `unavailable` has the error."""
        assert self._connection is not None, "load() comes first"
        ask = partial(self._asked, self._connection)
        rows = self._answers(partial(self._directly, self._connection, texts, ask))
        return [row.scores() if isinstance(row, Failure) else _scores(row) for row in rows]

    async def _asked(self, connection: Connection, text: Encoded) -> Decided | Failure:
        from openai import OpenAIError

        assert self._questions is not None
        try:
            body = await connection.post(self._format.path, {"model": self._model, **text.content})
        except OpenAIError as error:
            failed = error
        else:
            return read_answer(body, self._format, self._questions)
        # Outside of `except`: an error raised in there would carry the library's, whose request holds the key.
        turns = [{"role": "user", "content": json.dumps(text.content, ensure_ascii=False)}]
        if getattr(failed, "status_code", None) in (404, 405, 501):
            raise UserError(
                f"The server at {self._host} answers no {self._format.path} for this model: {self._known.plain(str(failed))}",
                "Check --model NAME and `base_url`, or try the other --set format=decisions or systemone.",
            )
        found = failure_of(failed, self._known, turns, AskedFor())
        if found.word != "timeout":
            return found
        # The server may have worked, and may charge, for each attempt that timed out.
        return Failure(found.word, TokenUse(text.tokens * self.attempts()), retryable=True, detail=found.detail)


def _scores(row: Decided) -> Scores:
    use = row.use
    return Scores(row.log_p, use.prompt, use.new, cached_tokens=use.cached, cache_written_tokens=use.cache_written)
