"""The Batch API: requests are sent as a file, and answered within a day.

What was sent is noted in a file in the run's scratch folder before it is waited for, so that a killed run waits for the same
batch, and pays once. That file holds ids and digests, no text.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ValidationError, WrapValidator

from backends._openai_answers import or_none
from backends._openai_connection import Connection, all_of
from backends._openai_failures import Server
from harness.core.errors import BenchError, ModelUnavailable, RunError, UserError
from harness.core.json_files import write_atomically

if TYPE_CHECKING:
    from openai import OpenAIError

M = TypeVar("M", bound=BaseModel)
log = logging.getLogger("bench")

MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
"""Maximum requests and bytes of one file, as OpenAI documents them."""

FIRST_WAIT, LONGEST_WAIT, SLOWER = 5.0, 300.0, 1.5
"""Seconds between two questions for a batch's state; each wait is longer by the factor."""

MOST_MISSES = 20
"""Questions in a row without an answer, each with its own retries, after which the server counts as unavailable."""

ENDED = ("completed", "failed", "expired", "cancelled")
STATE = "batches.json"

_AGAIN = "When it is back, run the same command again: it waits for the same batch."


@dataclass(frozen=True, slots=True)
class BatchLine:
    """What became of one request. `status`: of HTTP; 0 where the server did not execute the request, for the reason `word`.
    `late`: the batch had ended before this process asked for it."""

    status: int = 0
    body: Any = None
    word: str = "bad_response"
    detail: str = ""
    late: bool = False


Found = Mapping[str, BatchLine | BenchError]
"""By custom id."""


class Submitted(BaseModel):
    """A file of requests; `batch` is None until the server has named the batch. `replaced`: fields that the requests lack, or
    have under another name, since the server refused them."""

    file: str
    batch: str | None = None
    requests: list[str]
    replaced: dict[str, str | None] = {}


class State(BaseModel):
    submitted: list[Submitted] = []


class BatchError(BaseModel):
    code: str | None = None
    message: str | None = None
    line: int | None = None


class BatchErrors(BaseModel):
    data: list[BatchError] | None = None


class BatchState(BaseModel):
    """The part of a batch object that matters here."""

    id: str
    status: str
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Annotated[BatchErrors | None, WrapValidator(or_none)] = None


class BatchList(BaseModel):
    data: list[BatchState]


class FileObject(BaseModel):
    id: str


class Batches:
    """The batches of one run on one server."""

    def __init__(self, connection: Connection, server: Server, scratch: Path, retries: int) -> None:
        """Reads nothing yet. `retries`: further attempts to create a batch."""
        self._connection, self._server, self._retries = connection, server, retries
        self._scratch = scratch

    async def earlier(self, ids: Collection[str]) -> tuple[Found, dict[str, str | None]]:
        """The answers to these requests in batches that an earlier start of the run sent, once the batches have ended; and the
        fields that were replaced in them."""
        wanted = set(ids)
        known = [one for one in _read(self._scratch).submitted if wanted.intersection(one.requests)]
        for one in known:
            if one.batch is None and (batch := await self._named(one.file)) is not None:
                one.batch = batch
                self._note(one)
        found: dict[str, BatchLine | BenchError] = {}
        there = [one for one in known if one.batch is not None]
        for _, lines in await self._all(there, earlier=True):
            # A later batch asked again what an earlier one did not answer.
            answered = {name for name, line in found.items() if isinstance(line, BatchLine) and line.status == 200}
            found |= {name: line for name, line in lines.items() if name in wanted - answered}
        return found, {name: other for one in there for name, other in one.replaced.items()}

    async def ask(self, requests: Mapping[str, Mapping[str, Any]], replaced: Mapping[str, str | None]) -> Found:
        """Send the requests (custom id -> body) in as few batches as the API allows, and wait for them. Every request has an
        entry in the result. `replaced`: as in `Submitted`."""
        sent: list[Submitted] = []
        found: dict[str, BatchLine | BenchError] = {}
        error: BenchError | None = None
        for part in files_of(requests):
            if error is None:
                try:
                    sent.append(await self._submit(part, replaced))
                    continue
                except BenchError as problem:
                    error = problem
            found |= dict.fromkeys(part, error)
        for one, lines in await self._all(sent, earlier=False):
            found |= {name: lines.get(name, BatchLine(detail="no line in the batch's files")) for name in one.requests}
        return found

    async def _all(self, submitted: Sequence[Submitted], earlier: bool) -> list[tuple[Submitted, Found]]:
        """The lines of each batch; of one that can't be read, the error for each of its requests."""
        pairs = zip(submitted, await all_of([self._lines(one, earlier) for one in submitted], keep=BenchError), strict=True)
        results: list[tuple[Submitted, Found]] = []
        for one, lines in pairs:
            if isinstance(lines, BenchError):
                results.append((one, dict.fromkeys(one.requests, lines)))
            elif isinstance(lines, BaseException):
                raise lines
            else:
                results.append((one, lines or {}))
        return results

    async def _submit(self, part: Mapping[str, bytes], replaced: Mapping[str, str | None]) -> Submitted:
        from openai import OpenAIError

        try:
            file = _parsed(FileObject, await self._connection.upload(b"".join(part.values())))
        except OpenAIError as error:
            problem = error
        else:
            if file is None:
                raise self._no_batch_api("its answer to a file is none of OpenAI's")
            submitted = Submitted(file=file.id, requests=list(part), replaced=dict(replaced))
            self._note(submitted)
            submitted.batch = await self._create(file.id)
            self._note(submitted)
            log.info(
                f"{self._server.host}: {submitted.batch} with {len(part):,} requests is on its way; it takes up to 24 hours. "
                "The command can be stopped: repeated, it waits for the same batch."
            )
            return submitted
        raise self._refused(problem)

    async def _create(self, file: str) -> str:
        """The id of a batch of this file. After an answer that was lost the batch may be there: it is looked for first."""
        from openai import OpenAIError

        for attempt in range(self._retries + 1):
            if attempt and (found := await self._named(file)) is not None:
                return found
            try:
                batch = _parsed(BatchState, await self._connection.create_batch(file))
            except OpenAIError as error:
                problem: OpenAIError | None = error
                if not _may_pass(error):
                    break
            else:
                if batch is not None:
                    return batch.id
                problem = None
            await asyncio.sleep(FIRST_WAIT * SLOWER**attempt)
        if problem is None:
            raise self._no_batch_api("its answer to a batch is none of OpenAI's")
        raise self._refused(problem)

    async def _named(self, file: str) -> str | None:
        """The batch of a file, if the server lists one."""
        from openai import OpenAIError

        try:
            listed = _parsed(BatchList, await self._connection.batches())
        except OpenAIError:
            return None
        return next((batch.id for batch in listed.data if batch.input_file_id == file), None) if listed else None

    async def _lines(self, submitted: Submitted, earlier: bool) -> dict[str, BatchLine | BenchError]:
        """By custom id, once the batch has ended. `earlier`: an earlier start of the run sent it."""
        assert submitted.batch is not None
        batch, looks = await self._ended(submitted.batch)
        late = earlier and looks == 1
        found: dict[str, BatchLine | BenchError] = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            found |= lines_in(await self._content(file, batch.id), late)
        missing = [name for name in submitted.requests if name not in found]
        if not missing or late:  # those of an earlier start are asked again
            return found
        if batch.status == "failed":
            return found | dict.fromkeys(missing, self._failed(batch))
        word = f"batch_{batch.status}" if batch.status in ("expired", "cancelled") else "bad_response"
        return found | dict.fromkeys(missing, BatchLine(word=word, detail=f"{batch.id} is {batch.status}"))

    async def _ended(self, name: str) -> tuple[BatchState, int]:
        """The batch at its end, and how many looks that took."""
        from openai import OpenAIError

        wait, misses, looks, seen = FIRST_WAIT, 0, 0, ""
        while True:
            try:
                batch = _parsed(BatchState, await self._connection.batch(name))
            except OpenAIError as error:
                batch, problem = None, self._server.plain(str(error.__cause__ or error))
                if not _may_pass(error):
                    raise self._lost(name, error) from None
            else:
                problem = "its answer is no batch"
            if batch is not None:
                misses, looks = 0, looks + 1
                if batch.status in ENDED:
                    return batch, looks
                if batch.status != seen:
                    seen = batch.status
                    log.info("%s: %s is %s", self._server.host, name, self._server.plain(seen, 40))
            elif (misses := misses + 1) >= MOST_MISSES:
                raise ModelUnavailable(
                    f"The server at {self._server.host} did not say {misses} times in a row how {name} goes ({problem}).",
                    _AGAIN,
                )
            await asyncio.sleep(wait)
            wait = min(wait * SLOWER, LONGEST_WAIT)

    async def _content(self, file: str, batch: str) -> bytes:
        from openai import APIStatusError, OpenAIError

        try:
            return await self._connection.download(file)
        except OpenAIError as error:
            gone = isinstance(error, APIStatusError) and error.status_code == 404
            detail = self._server.plain(str(error.__cause__ or error))
        problem = f"The answers of {batch} can't be read from {self._server.host}: {detail}"
        if gone:
            raise RunError(problem, "Servers delete such files after some weeks. --force asks, and pays, again.")
        raise ModelUnavailable(problem, "When it is back, run the same command again: it reads the same answers.")

    def _failed(self, batch: BatchState) -> RunError:
        errors = (batch.errors and batch.errors.data) or []
        words = [": ".join(filter(None, (error.code, error.message))) for error in errors[:3]]
        detail = self._server.plain("; ".join(filter(None, words))) or "it does not say why"
        hint = (
            "Change what the server names, or wait if it is a limit; then repeat the command. The failed batch is not charged."
        )
        return RunError(f"The server at {self._server.host} did not accept {batch.id}: {detail.rstrip('.')}.", hint)

    def _lost(self, batch: str, error: OpenAIError) -> BenchError:
        from openai import APIStatusError

        if isinstance(error, APIStatusError) and error.status_code in (401, 403):
            return self._server.refused_key()
        hint = "Use the key and the `base_url` with which the run began; or --force asks, and pays, again."
        return UserError(f"The server at {self._server.host} does not know {batch}, which an earlier start sent.", hint)

    def _refused(self, error: OpenAIError) -> BenchError:
        """Why a batch could not be sent."""
        from openai import APIStatusError

        detail = self._server.plain(str(error.__cause__ or error))
        if isinstance(error, APIStatusError) and not _may_pass(error):
            if error.status_code in (401, 403):
                return self._server.refused_key(detail if error.status_code == 403 else "")
            if error.status_code == 402 or "insufficient_quota" in (error.code, error.type):
                return RunError(
                    f"The account at {self._server.host} has no credit left.", "Add credit, and run the same command again."
                )
            if error.status_code in (404, 405, 501):
                return self._no_batch_api(detail)
            return self._server.error("does not accept a batch", detail, "Send single requests: --set mode=interactive.")
        return ModelUnavailable(f"The server at {self._server.host} took no batch: {detail}", "Run the same command again.")

    def _no_batch_api(self, detail: str) -> UserError:
        return self._server.error("has no Batch API", detail, "Send single requests: --set mode=interactive.")

    def _note(self, submitted: Submitted) -> None:
        """Keep it on the disk, in place of what is there of the same file."""
        others = [one for one in _read(self._scratch).submitted if one.file != submitted.file]
        self._scratch.mkdir(parents=True, exist_ok=True)
        write_atomically(self._scratch / STATE, State(submitted=[*others, submitted]).model_dump_json())


def sent_requests(scratch: Path) -> int:
    """How many requests an earlier start of the run sent in batches."""
    return sum(len(one.requests) for one in _read(scratch).submitted)


def _read(scratch: Path) -> State:
    path = scratch / STATE
    if not path.exists():
        return State()
    try:
        return State.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        hint = "Delete the file: its batches are then forgotten, and their requests are paid for again."
        raise RunError(f"{path} can't be read ({type(error).__name__}).", hint) from error


def files_of(requests: Mapping[str, Mapping[str, Any]]) -> list[dict[str, bytes]]:
    """Files within the limits, each as custom id -> line."""
    files: list[dict[str, bytes]] = []
    size = 0
    for name, body in requests.items():
        request = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        line = json.dumps(request, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        if not files or len(files[-1]) == MOST_REQUESTS or size + len(line) > MOST_BYTES:
            files.append({})
            size = 0
        files[-1][name] = line
        size += len(line)
    return files


def lines_in(content: bytes, late: bool = False) -> dict[str, BatchLine]:
    """By custom id; what is no line of answers is left out. A request that was not executed has an `error`."""
    found = {}
    for text in content.split(b"\n"):
        try:
            line = json.loads(text)
            name, response, error = line["custom_id"], line.get("response"), line.get("error")
            if isinstance(response, dict) and type(response.get("status_code")) is int:
                found[name] = BatchLine(response["status_code"], response.get("body"), late=late)
            elif isinstance(error, dict):
                code = str(error.get("code"))
                word = code if re.fullmatch("batch_[a-z]{1,20}", code) else "bad_response"
                found[name] = BatchLine(word=word, detail=f"{code}: {error.get('message')}", late=late)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
    return found


def _may_pass(error: OpenAIError) -> bool:
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        no_credit = "insufficient_quota" in (error.code, error.type)
        return (error.status_code in (408, 409, 429) or error.status_code >= 500) and not no_credit and error.status_code != 501
    return isinstance(error, APIConnectionError)


def _parsed(model: type[M], body: bytes) -> M | None:
    try:
        return model.model_validate_json(body)
    except ValidationError:
        return None
