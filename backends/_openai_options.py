"""Options of the engine `openai`, and what they may not hold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from backends._served import ServerOptions
from harness.core.engine import later_option
from harness.core.errors import UserError
from harness.core.json_files import canonical_json

_WAYS = {  # fields that bench sets -> how they are chosen
    "model": "`model`, or --model",
    "messages": "the prompt",
    "temperature": "the option `temperature`",
    "seed": "the option `seed`",
    "max_tokens": "`max_new_tokens` in the front matter of the prompt, and the option `reasoning_tokens`",
    "response_format": "--decoding constrained, and the option `structured`",
    "logprobs": "--decoding score",
    "top_logprobs": "the option `top_logprobs`",
    "reasoning_effort": "the option `reasoning_effort`",
}
_WAYS |= {"max_completion_tokens": _WAYS["max_tokens"], "structured_outputs": _WAYS["response_format"]}
_ONE_ANSWER = ("n", "stream", "stream_options")

_SECRET_NAME = re.compile(
    r"(api|access|private|secret|auth)[-_]?key|secret|passw|authorization|credential|bearer|cookie|headers"
    r"|(^|(auth|access|api|id|refresh|session)[-_]?)token$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"\s*(sk-|Bearer\s)", re.IGNORECASE)


class OpenAIOptions(ServerOptions):
    mode: Literal["interactive", "batch"] = Field(
        "interactive",
        exclude=True,
        description="`batch`: through the server's Batch API, within a day and for less (`batch` of the price)",
    )
    structured: Literal["json_schema", "choice"] = Field(
        "json_schema",
        description="how constrained answers are requested: `json_schema` (OpenAI, Mistral, llama.cpp, Ollama, vLLM), "
        "`choice` (vLLM's structured_outputs: no JSON around the answer)",
    )
    top_logprobs: int = Field(20, ge=1, description="tokens whose log p `score` requests; few servers give more than 20")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="newer OpenAI models accept only `max_completion_tokens`; if refused, the other one is sent"
    )
    temperature: Literal[0] | None = Field(
        0, description="null: none is sent, and the server's default applies, as it does where a server refuses 0"
    )
    seed: int | None = Field(None, description="sent with every request if given, unless the server refuses it")
    reasoning_effort: str | None = later_option(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$",
        description="sent as it is, if given: none, minimal, low, medium, high, or another word that the server knows",
    )
    reasoning_tokens: int = later_option(
        0, ge=0, description="room for reasoning, added to the prompt's `max_new_tokens`; both together are what is asked for"
    )
    extra_body: dict[str, Any] = later_option(
        {}, description="further fields of each request: {chat_template_kwargs: {enable_thinking: false}}. No secrets"
    )

    @model_serializer(mode="wrap")
    def _public(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As records hold it: possible secrets in the address are masked, and a temperature of 0 is left out (older records
        have no temperature)."""
        fields = super()._public(serialize)
        return {name: value for name, value in fields.items() if (name, value) != ("temperature", 0)}

    @property
    def extras(self) -> dict[str, Any]:
        """Fields of each request that bench knows nothing of."""
        effort = {} if self.reasoning_effort is None else {"reasoning_effort": self.reasoning_effort}
        return {**effort, **self.extra_body}

    @property
    def reasons(self) -> bool:
        """Whether the model is asked to reason before its answer."""
        return self.reasoning_tokens > 0 or (self.reasoning_effort or "none").lower() != "none"


def check_options(options: OpenAIOptions) -> None:
    """Raise `UserError` for what pydantic's messages, which show the value, must not say: the value may be a secret here."""
    for name in options.extra_body:
        if name in _WAYS:
            raise UserError(f"The option `extra_body` has {name!r}, which bench sets itself.", f"Use {_WAYS[name]}.")
        if name in _ONE_ANSWER:
            raise UserError(f"The option `extra_body` has {name!r}: bench reads one whole answer per request.", "Leave it out.")
    key = os.environ.get(options.api_key_env or "", "").strip()
    for path, value in _leaves(options.extra_body):
        named = next((part for part in path if _SECRET_NAME.search(part)), None)
        if named is not None or (isinstance(value, str) and (_SECRET_VALUE.match(value) or (key and key in value))):
            raise UserError(
                f"The option `extra_body` seems to hold a secret (under {(named or path[-1])!r}), and records show it.",
                "A key belongs in the environment variable that `api_key_env` names.",
            )
    try:
        canonical_json(options.extra_body)
    except (TypeError, ValueError):
        hint = "Put dates between quotes; JSON has text, finite numbers, true, false, null, lists and mappings."
        raise UserError("The option `extra_body` holds a value that JSON does not have.", hint) from None


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is no mapping or list, with the keys above it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, value
