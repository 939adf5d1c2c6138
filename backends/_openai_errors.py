"""What went wrong with a request: a word for its row, or an error that every other row would meet as well."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backends.base import Messages
from harness.errors import ModelUnavailable, RunError, UserError

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAIError

# How servers name, in an error's `param` or text, what they can't do.
STRUCTURED_WORDS = ("response_format", "json_schema", "structured_outputs", "structured output")
LOGPROBS_WORDS = ("logprobs",)
_NO_CONSTRAINT_HINT = "Set the backend's option `structured` to {other!r}, or use --decoding free."
_NO_LOGPROBS_HINT = "Use --decoding constrained or free."


@dataclass(frozen=True, slots=True)
class Server:
    """Whom we talk to, for messages. `key` is known here to be blotted out of what the server says."""

    host: str
    key_env: str | None
    key: str = field(repr=False)

    def plain(self, text: str, limit: int = 300) -> str:
        """One printable line of at most `limit` characters, without the key."""
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        line = line.replace(self.key, "[key]") if self.key else line
        return line if len(line) <= limit else line[: limit - 3] + "..."

    def refused_key(self, why: str = "") -> UserError:
        if self.key_env is None:
            return UserError(f"The server at {self.host} wants a key{why}.", "Name its variable in the option `api_key_env`.")
        return UserError(
            f"The server at {self.host} refused the key in ${self.key_env}{why}.",
            f"Set ${self.key_env} to a key of this server, or name another variable in the option `api_key_env`.",
        )

    def ignores_choices(self, structured: str, said: str = "") -> UserError:
        """`structured`: the option's value, which the server does not honour."""
        other = "choice" if structured == "json_schema" else "json_schema"
        what = f"does not accept structured: {structured}: {said}" if said else f"ignores structured: {structured}"
        return UserError(f"The server at {self.host} {what}.", _NO_CONSTRAINT_HINT.format(other=other))

    def no_logprobs(self, said: str = "") -> UserError:
        return UserError(
            f"The server at {self.host} gives no log-probabilities{': ' + said if said else ''}.", _NO_LOGPROBS_HINT
        )


def word_of(error: OpenAIError, server: Server, messages: Messages, structured: str | None, logprobs: bool) -> str:
    """The reason why this row has no answer.

    `structured` and `logprobs` say what the request asked for beyond a text.
    Raises `UserError` or `RunError` for what would hit every row alike.
    """
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIConnectionError):  # a timeout is one of these
        return _connection_word(error)
    if not isinstance(error, APIStatusError):
        return "bad_response"
    status, said = error.status_code, server.plain(_said(error))
    if status == 401:
        raise server.refused_key()
    if status == 403:
        raise server.refused_key(f": {said}" if said else "")
    if status == 404:
        raise UserError(f"The server at {server.host} answered 404: {said}", "Check --model NAME and the option `base_url`.")
    if status == 402 or "insufficient_quota" in (error.code, error.type):
        raise RunError(f"The account at {server.host} has no credit left.", "Add credit, and run the same command to go on.")
    if status in (400, 422):
        if structured and _is_about(STRUCTURED_WORDS, error, messages):
            raise server.ignores_choices(structured, said)
        if logprobs and _is_about(LOGPROBS_WORDS, error, messages):
            raise server.no_logprobs(said)
        return _bad_request_word(error)
    return "rate_limited" if status == 429 else f"http_{status}"


def unreachable(error: OpenAIError, server: Server) -> UserError | ModelUnavailable | None:
    """Why the first request of all failed; None where the server is there, and lacks this endpoint only."""
    from openai import APIStatusError

    hint = "Start it, or set the backend's option `base_url`."
    if not isinstance(error, APIStatusError):
        why = server.plain(str(error.__cause__ or error)) or type(error).__name__
        return ModelUnavailable(f"The server at {server.host} can't be reached: {why}", hint)
    if error.status_code == 401:
        return server.refused_key()
    if error.status_code == 403:
        return server.refused_key(f": {server.plain(_said(error))}")
    if error.status_code >= 500:
        return ModelUnavailable(f"The server at {server.host} answers HTTP {error.status_code} only.", hint)
    return None


def _connection_word(error: OpenAIError) -> str:
    import httpx2
    from openai import APITimeoutError

    if isinstance(error, APITimeoutError):
        return "timeout"
    # The server answered, and what came is no whole HTTP response.
    broken = isinstance(error.__cause__, httpx2.RemoteProtocolError | httpx2.DecodingError)
    return "bad_response" if broken else "connection"


def _bad_request_word(error: APIStatusError) -> str:
    codes = {error.code, error.type}
    # OpenAI, llama.cpp; vLLM and Mistral have no code for it.
    if codes & {"context_length_exceeded", "exceed_context_size_error"} or "maximum context length" in _said(error).lower():
        return "prompt_too_long"
    return "content_filter" if "content_filter" in codes else f"http_{error.status_code}"


def _is_about(words: tuple[str, ...], error: APIStatusError, messages: Messages) -> bool:
    """Whether the server complains of one of `words`. Some quote the request: what a text says itself proves nothing."""
    if error.param and error.param.startswith(words):
        return True
    said, texts = _said(error).lower(), "\n".join(turn["content"] for turn in messages).lower()
    return any(word in said and word not in texts for word in words)


def _said(error: APIStatusError) -> str:
    body: Any = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
