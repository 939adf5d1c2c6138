"""What went wrong with a request: the failure of its row, or an error that every other row would meet as well."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backends._openai_answers import Failure
from harness.core.engine import Messages
from harness.core.errors import ModelUnavailable, RunError, UserError

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAIError

# How servers name, in an error's `param` or text, what they can't do.
STRUCTURED_WORDS = ("response_format", "json_schema", "structured_outputs", "structured output")
LOGPROBS_WORDS = ("logprobs",)
_NO_CONSTRAINT_HINT = "Set the backend's option `structured` to {other!r}, or use --decoding free."
_NO_LOGPROBS_HINT = "Use --decoding constrained or free."
_NOT_TAKEN = re.compile(
    "unsupported|not supported|not support|unrecogni|unknown|unexpected|extra|not permitted|not allowed|instead"
)
_HELP = (  # what a server says of a request that it refuses, and what helps
    ("system", "Move what the prompt's front matter has under `system` into its text."),
    ("temperature", "Send none: --set temperature=null."),
    ("max_tokens|max_completion_tokens", "Try --set max_tokens_field=max_completion_tokens, or max_tokens."),
    ("seed", "Leave out the option `seed`."),
)
_HELP_ELSE = "Change what the server names: the prompt, --model NAME, or an option of the backend (--set OPTION=VALUE)."


@dataclass(frozen=True, slots=True)
class Server:
    """Whom we talk to, for messages. `key` and `secrets` are known here to be blotted out of what the server says."""

    host: str
    key_env: str | None
    key: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Parts of the address that may be secret, the longest first."""

    def plain(self, text: str, limit: int = 300) -> str:
        """One printable line of at most `limit` characters, without the key."""
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        line = line.replace(self.key, "[key]") if self.key else line
        for part in self.secrets:
            line = line.replace(part, "[...]")
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
        what = f"does not accept structured: {structured}: {said.rstrip('.')}" if said else f"ignores structured: {structured}"
        return UserError(f"The server at {self.host} {what}.", _NO_CONSTRAINT_HINT.format(other=other))

    def no_logprobs(self, said: str = "") -> UserError:
        return UserError(
            f"The server at {self.host} gives no log-probabilities{': ' + said.rstrip('.') if said else ''}.",
            _NO_LOGPROBS_HINT,
        )

    def fewer_logprobs(self, asked: int, said: str) -> UserError:
        allowed = [int(number) for number in re.findall(r"(?<![\w.])\d{1,3}(?![\w])", said) if 0 < int(number) < asked]
        return UserError(
            f"The server at {self.host} does not accept top_logprobs: {asked}: {said.rstrip('.')}.",
            f"Ask for fewer: --set top_logprobs={max(allowed, default=5)}. Or use --decoding constrained or free.",
        )

    def refuses_all(self, said: str) -> UserError:
        """`said`: the server's own words on a request that it does not accept, as it accepts no other."""
        hint = next((help for pattern, help in _HELP if re.search(rf"\b({pattern})\b", said.lower())), _HELP_ELSE)
        return UserError(f"The server at {self.host} refuses every request: {said.rstrip('.')}.", hint)

    def is_down(self, count: int, said: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"The server at {self.host} gave no answer to {count} requests in a row (the last: {said.rstrip('.')}).",
            "When it is back, run the same command again.",
        )


def failure_of(error: OpenAIError, server: Server, messages: Messages, structured: str | None, top_logprobs: int) -> Failure:
    """Why this row has no answer.

    `structured` and `top_logprobs` (0: none) say what the request asked for beyond a text.
    Raises `UserError` or `RunError` for what would hit every row alike.
    """
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIConnectionError):  # a timeout is one of these
        said = server.plain(str(error.__cause__ or error)) or type(error).__name__
        return Failure(_connection_word(error), passing=True, said=said)
    if not isinstance(error, APIStatusError):
        return Failure("bad_response", passing=True, said=server.plain(str(error)))
    status, said = error.status_code, server.plain(_said(error))
    if status == 401:
        raise server.refused_key()
    if status == 403 and top_logprobs and _is_about(LOGPROBS_WORDS, error, messages):  # the key may use the model, but for this
        raise server.no_logprobs(said)
    if status == 403 and not _MODERATED.search(said.lower()):
        raise server.refused_key(f": {said}" if said else "")
    if status == 404:
        raise UserError(f"The server at {server.host} answered 404: {said}", "Check --model NAME and the option `base_url`.")
    if status == 402 or "insufficient_quota" in (error.code, error.type):
        raise RunError(f"The account at {server.host} has no credit left.", "Add credit, and run the same command to go on.")
    word = _bad_request_word(error)
    if status in (400, 422) and word == f"http_{status}":
        if structured and _is_about(STRUCTURED_WORDS, error, messages):
            raise server.ignores_choices(structured, said)
        if top_logprobs and _is_about(("top_logprobs",), error, messages):
            raise server.fewer_logprobs(top_logprobs, said)
        if top_logprobs and _is_about(LOGPROBS_WORDS, error, messages):
            raise server.no_logprobs(said)
    said = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in (408, 409, 429) or status >= 500:
        return Failure("rate_limited" if status == 429 else word, passing=True, said=said)
    return Failure(word, refused=word == f"http_{status}" and status != 413, said=said)


def rejected_field(error: OpenAIError, fields: Iterable[str], messages: Messages) -> str | None:
    """The one of `fields` that the server says it does not take; None where it complains of something else.

    A temperature or a seed is refused by whatever is said of it. What is said of a limit of tokens may be about its size.
    """
    from openai import APIStatusError

    if not isinstance(error, APIStatusError) or error.status_code not in (400, 422):
        return None
    if _bad_request_word(error) != f"http_{error.status_code}":
        return None
    not_taken = _NOT_TAKEN.search(f"{error.code} {error.type} {_said(error)}".lower())
    for name in fields:
        if _is_about((name,), error, messages) and (not_taken or name in ("temperature", "seed")):
            return name
    return None


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


_TOO_LONG = re.compile(
    "maximum context length|context (window|size|length)|prompt is too long|input (is|was) too long"
    "|(input|prompt) .*exceeds? the max"
)
_MODERATED = re.compile("moderation|flagged|content.?(filter|policy)")


def _bad_request_word(error: APIStatusError) -> str:
    codes = {str(error.code), str(error.type)}
    # OpenAI, llama.cpp; vLLM and Mistral have no code for it.
    if codes & {"context_length_exceeded", "exceed_context_size_error"}:
        return "prompt_too_long"
    if error.status_code in (400, 422) and _TOO_LONG.search(_said(error).lower()):
        return "prompt_too_long"
    moderated = error.status_code == 403  # else it is a refused key
    return "content_filter" if moderated or codes & {"content_filter"} else f"http_{error.status_code}"


def _is_about(words: tuple[str, ...], error: APIStatusError, messages: Messages) -> bool:
    """Whether the server complains of one of `words`. Some quote the request: what a text says itself proves nothing."""
    if isinstance(error.param, str) and error.param.startswith(words):
        return True
    said, texts = _said(error).lower(), "\n".join(turn["content"] for turn in messages).lower()
    return any(re.search(rf"\b{re.escape(word)}", said) and word not in texts for word in words)


def _said(error: APIStatusError) -> str:
    body: Any = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
