"""Failures of a chat server: of one row, or of all; what the server refuses, and what helps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.core.engine import Generation, Messages, Scores
from harness.core.errors import ModelUnavailable, RunError, UserError
from harness.core.token_use import NO_TOKENS, TokenUse

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAIError

NO_ROOM = "its tokens were used up before the answer: raise `max_new_tokens` in the front matter of the prompt"
NO_ROOM_AFTER_REASONING = (
    "its tokens were used up by the reasoning before the answer: give it room (--set reasoning_tokens=2000), or less effort "
    "(--set reasoning_effort=low, or none)"
)
WITHOUT_REASONING = "--set reasoning_effort=none, or --set extra_body.chat_template_kwargs.enable_thinking=false"
"""How reasoning is turned off: OpenAI and those like it; vLLM and SGLang."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row without an answer: the word for it, and the tokens it used.

    `retryable`: as in `Generation`. `refused`: the server does not accept the request, for no reason that bench knows.
    `detail`: the server's own words on one line, for messages. `batched`: as in `Generation`.
    """

    word: str
    use: TokenUse = NO_TOKENS
    retryable: bool = False
    refused: bool = False
    detail: str = ""
    batched: bool = False

    def generation(self) -> Generation:
        use = self.use
        return Generation(
            "", False, use.prompt, use.new, self.word, self.retryable, use.cached, use.cache_written, self.batched
        )

    def scores(self) -> Scores:
        use = self.use
        return Scores(None, use.prompt, use.new, self.word, self.retryable, use.cached, use.cache_written, self.batched)


@dataclass(frozen=True, slots=True)
class AskedFor:
    """What a request asks for beyond a text, as far as a server may refuse it. `structured`: the option, where answers are
    constrained. `top_logprobs`: 0 for none. `extras`: fields of the options `reasoning_effort` and `extra_body`."""

    structured: str | None = None
    top_logprobs: int = 0
    extras: Mapping[str, Any] = field(default_factory=dict)


_NOT_ACCEPTED = re.compile(
    "unsupported|not supported|not support|unrecogni|unknown|unexpected|extra|not permitted|not allowed|instead"
)
_TOO_LONG = re.compile(
    "maximum context length|context (window|size|length)|prompt is too long|input (is|was) too long"
    "|(input|prompt) .*exceeds? the max"
)
_USED_UP = re.compile("could not finish the message because .*(max_tokens|output limit)")
"""Of OpenAI's reasoning models: no token is left for the answer."""
_MODERATED = re.compile("moderation|flagged|content.?(filter|policy)")
# How servers name, in an error's `param` or text, what they can't do.
STRUCTURED_WORDS = ("response_format", "json_schema", "structured_outputs", "structured output")
LOGPROBS_WORDS = ("logprobs",)
_HELP = (  # a pattern in the server's words -> what helps
    ("system", "Move what the prompt's front matter has under `system` into its text."),
    ("temperature", "Send none: --set temperature=null."),
    ("max_tokens|max_completion_tokens", "Try --set max_tokens_field=max_completion_tokens, or max_tokens."),
    ("seed", "Leave out the option `seed`."),
)
_HELP_ELSE = "Change what the server names: the prompt, --model NAME, or an option of the backend (--set OPTION=VALUE)."


@dataclass(frozen=True, slots=True)
class Server:
    """The server in messages, without the `key` and `secrets` that its own words may contain."""

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

    def error(self, problem: str, detail: str, hint: str) -> UserError:
        """`detail`: the server's own words, if any."""
        return UserError(f"The server at {self.host} {problem}{': ' + detail.rstrip('.') if detail else ''}.", hint)

    def refused_key(self, detail: str = "") -> UserError:
        if self.key_env is None:
            return self.error("requires a key", detail, "Name its variable in the option `api_key_env`.")
        hint = f"Set ${self.key_env} to a key of this server, or name another variable in the option `api_key_env`."
        return self.error(f"refused the key in ${self.key_env}", detail, hint)

    def ignores_choices(self, structured: str, detail: str = "") -> UserError:
        other = "choice" if structured == "json_schema" else "json_schema"
        problem = f"{'does not accept' if detail else 'ignores'} structured: {structured}"
        return self.error(problem, detail, f"Set the backend's option `structured` to {other!r}, or use --decoding free.")

    def no_logprobs(self, detail: str = "") -> UserError:
        hint = "Use --decoding constrained or free."
        if detail:
            hint += f" A reasoning model may give them with its reasoning turned off: {WITHOUT_REASONING}."
        return self.error("gives no log-probabilities", detail, hint)

    def reasons_first(self) -> UserError:
        return UserError(
            f"The model at {self.host} reasons before it answers, so the log-probabilities of the first token are those of the "
            "reasoning.",
            f"Turn the reasoning off ({WITHOUT_REASONING}), or use --decoding constrained or free.",
        )

    def refuses_extra(self, name: str, value: object, detail: str) -> UserError:
        if name == "reasoning_effort":
            hint = "Choose another one that the server names, or leave it out: --set reasoning_effort=null."
            return self.error(f"does not accept reasoning_effort: {value}", detail, hint)
        hint = f"Remove `{name}` from the backend's option `extra_body`, or correct its value."
        return self.error(f"does not accept {name!r} of the option `extra_body`", detail, hint)

    def fewer_logprobs(self, asked: int, detail: str) -> UserError:
        allowed = [int(number) for number in re.findall(r"(?<![\w.])\d{1,3}(?![\w])", detail) if 0 < int(number) < asked]
        hint = f"Ask for fewer: --set top_logprobs={max(allowed, default=5)}. Or use --decoding constrained or free."
        return self.error(f"does not accept top_logprobs: {asked}", detail, hint)

    def refuses_all(self, detail: str) -> UserError:
        hint = next((hint for pattern, hint in _HELP if re.search(rf"\b({pattern})\b", detail.lower())), _HELP_ELSE)
        return self.error("refuses every request", detail, hint)

    def is_down(self, count: int, detail: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"The server at {self.host} did not answer {count} requests in a row (the last: {detail.rstrip('.')}).",
            "When it is back, run the same command again.",
        )


def failure_of(error: OpenAIError, server: Server, messages: Messages, asked: AskedFor) -> Failure:
    """Why this row has no answer. Raises `UserError` or `RunError` for what would hit every row."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIConnectionError):  # a timeout is one of these
        return Failure(_connection_word(error), retryable=True, detail=_cause(error, server))
    if not isinstance(error, APIStatusError):
        return Failure("bad_response", retryable=True, detail=server.plain(str(error)))
    status, detail = error.status_code, server.plain(_body_text(error))
    if status == 401:
        raise server.refused_key()
    structured, top_logprobs = asked.structured, asked.top_logprobs
    if status == 403 and top_logprobs and _is_about(LOGPROBS_WORDS, error, messages):  # the key is valid for other requests
        raise server.no_logprobs(detail)
    if status == 403 and not _MODERATED.search(detail.lower()):
        raise server.refused_key(detail)
    if status == 404:
        raise UserError(f"The server at {server.host} answered 404: {detail}", "Check --model NAME and the option `base_url`.")
    if status == 402 or "insufficient_quota" in (error.code, error.type):
        raise RunError(f"The account at {server.host} has no credit left.", "Add credit, and run the same command again.")
    word = _bad_request_word(error)
    if status in (400, 422) and word == f"http_{status}":
        extra = next((name for name in asked.extras if _names(name, error, messages)), None)
        if extra is not None:
            raise server.refuses_extra(extra, asked.extras[extra], detail)
        if structured and _is_about(STRUCTURED_WORDS, error, messages):
            raise server.ignores_choices(structured, detail)
        if top_logprobs and _is_about(("top_logprobs",), error, messages):
            raise server.fewer_logprobs(top_logprobs, detail)
        if top_logprobs and _is_about(LOGPROBS_WORDS, error, messages):
            raise server.no_logprobs(detail)
    if word == "cut":
        if top_logprobs:
            raise server.reasons_first()
        return Failure(word, detail=NO_ROOM_AFTER_REASONING)
    detail = f"HTTP {status}: {detail}" if detail else f"HTTP {status}"
    if status in (408, 409, 429) or status >= 500:
        return Failure("rate_limited" if status == 429 else word, retryable=True, detail=detail)
    return Failure(word, refused=word == f"http_{status}" and status != 413, detail=detail)


def rejected_field(error: OpenAIError, fields: Iterable[str], messages: Messages, asked: AskedFor) -> str | None:
    """The one of `fields` that the server does not accept; None where it complains of something else.

    Any complaint about a temperature or a seed refuses it. One about a limit of tokens may concern only its size.
    """
    from openai import APIStatusError

    if not isinstance(error, APIStatusError) or error.status_code not in (400, 422):
        return None
    if _bad_request_word(error) != f"http_{error.status_code}":
        return None
    if isinstance(error.param, str) and re.split(r"[.\[]", error.param)[0] in asked.extras:
        return None
    not_accepted = _NOT_ACCEPTED.search(f"{error.code} {error.type} {_body_text(error)}".lower())
    for name in fields:
        if _is_about((name,), error, messages) and (not_accepted or name in ("temperature", "seed")):
            return name
    return None


def unreachable(error: OpenAIError, server: Server) -> UserError | ModelUnavailable | None:
    """Why the very first request failed; None where the server is there, and lacks only this endpoint."""
    from openai import APIStatusError

    hint = "Start it, or set the backend's option `base_url`."
    if not isinstance(error, APIStatusError):
        return ModelUnavailable(f"The server at {server.host} can't be reached: {_cause(error, server)}", hint)
    if error.status_code in (401, 403):
        return server.refused_key(server.plain(_body_text(error)) if error.status_code == 403 else "")
    if error.status_code >= 500:
        return ModelUnavailable(f"The server at {server.host} answers only with HTTP {error.status_code}.", hint)
    return None


def _cause(error: OpenAIError, server: Server) -> str:
    return server.plain(str(error.__cause__ or error)) or type(error).__name__


def _connection_word(error: OpenAIError) -> str:
    import httpx2
    from openai import APITimeoutError

    if isinstance(error, APITimeoutError):
        return "timeout"
    # The server answered, but not with a whole HTTP response.
    broken = isinstance(error.__cause__, httpx2.RemoteProtocolError | httpx2.DecodingError)
    return "bad_response" if broken else "connection"


def _bad_request_word(error: APIStatusError) -> str:
    codes = {str(error.code), str(error.type)}
    # OpenAI, llama.cpp; vLLM and Mistral have no code for it.
    if codes & {"context_length_exceeded", "exceed_context_size_error"}:
        return "prompt_too_long"
    if error.status_code in (400, 422) and _TOO_LONG.search(_body_text(error).lower()):
        return "prompt_too_long"
    if error.status_code in (400, 422) and _USED_UP.search(_body_text(error).lower()):
        return "cut"
    moderated = error.status_code == 403  # otherwise it is a refused key
    return "content_filter" if moderated or codes & {"content_filter"} else f"http_{error.status_code}"


def _is_about(words: tuple[str, ...], error: APIStatusError, messages: Messages) -> bool:
    """Whether the server complains of one of `words`. Some servers quote the request: words of the text prove nothing."""
    if isinstance(error.param, str) and error.param.startswith(words):
        return True
    text, texts = _body_text(error).lower(), "\n".join(turn["content"] for turn in messages).lower()
    return any(re.search(rf"\b{re.escape(word)}", text) and word not in texts for word in words)


def _names(field: str, error: APIStatusError, messages: Messages) -> bool:
    """Whether the server complains of a field of the request that may have any name: it names the field as such."""
    if isinstance(error.param, str) and error.param:
        return re.split(r"[.\[]", error.param)[0] == field
    text, texts = _body_text(error), "\n".join(turn["content"] for turn in messages)
    quoted = re.search(rf"""['"`]{re.escape(field)}\b""", text)
    plain = "_" in field and re.search(rf"\b{re.escape(field)}\b", text)
    return bool(quoted or plain) and field not in texts


def _body_text(error: APIStatusError) -> str:
    body: Any = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
