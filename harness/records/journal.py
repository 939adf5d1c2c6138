"""The journal of an unfinished run: one line per batch, with a digest and fsynced by a thread, so that a killed run loses only
what the thread had not written yet."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.core.errors import RunBusy
from harness.core.json_files import canonical_json, sealed_line, unsealed, write_atomically, write_parts_atomically
from harness.core.locks import Lock
from harness.core.token_use import NO_TOKENS, ChargedTokens, TokenUse
from harness.core.types import Example, Prediction, Status, text_digest
from harness.records.journal_writer import JournalWriter

log = logging.getLogger("bench")

JOURNAL = "journal.jsonl"
SCRATCH = "scratch"
"""Folder beside the journal, for what an engine must remember while the run is unfinished."""
SELDOM_COUNTED = ("cached_tokens", "cache_written_tokens")
OPTIONAL = ("ask_again", "sent_instead", "cut", "content_free", "row_tokens")
"""Fields of an entry that are written only where they hold something."""
DIGITS = 6
"""Significant digits of a probability. Six decimals would make 0 of a small one, whose logarithm counts."""
CutCounts = Mapping[str, int]
"""Of a batch: number of `rows`, truncated rows (`cut`), `tokens` that were read, truncated tokens (`lost`)."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One batch. `rows`: `rounded`. `ask_again`: ids of rows that failed for a temporary reason. `batch`: number of prompts
    computed together. `content_free`: log p of the answers to the inputs of contextual calibration. `cached_tokens`,
    `cache_written_tokens`: of `prompt_tokens`; `batched`: of all tokens, those of a batch API. `row_tokens`: row id -> tokens
    of its prompt and answer, for a labelling; a text that several rows have counts for the first of them."""

    seconds: float
    prompt_tokens: int
    new_tokens: int
    batch: int
    rows: Sequence[Prediction] = ()
    ask_again: Sequence[str] = ()
    sent_instead: Mapping[str, str | None] = field(default_factory=dict)
    cut: CutCounts | None = None
    content_free: Sequence[Sequence[float] | None] | None = None
    row_tokens: Mapping[str, Sequence[int]] = field(default_factory=dict)
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    batched: TokenUse = NO_TOKENS

    @property
    def charged(self) -> ChargedTokens:
        batched = self.batched
        direct = TokenUse(
            self.prompt_tokens - batched.prompt,
            self.new_tokens - batched.new,
            self.cached_tokens - batched.cached,
            self.cache_written_tokens - batched.cache_written,
        )
        return ChargedTokens(direct, batched)

    def as_json(self) -> dict[str, Any]:
        optional = {name: value for name in (*OPTIONAL, *SELDOM_COUNTED) if (value := getattr(self, name))}
        if self.batched != NO_TOKENS:
            optional["batched"] = asdict(self.batched)
        figures = {name: getattr(self, name) for name in ("prompt_tokens", "new_tokens", "batch")}
        return {"seconds": round(self.seconds, 6), **figures, "rows": [_fields(row) for row in self.rows], **optional}


def prediction_record(example: Example, prediction: Prediction) -> dict[str, Any]:
    """A line of predictions.jsonl: the prediction, the true label and digests of the text and of the group."""
    group = {} if example.group is None else {"group": text_digest(example.group)}
    return {**_fields(rounded(prediction)), "text": text_digest(example.text), **group, "truth": example.label}


def labelled_record(example: Example, prediction: Prediction, tokens: Sequence[int] | None) -> dict[str, Any]:
    """A line of a labelling: the prediction, a digest of the text, and the tokens of prompt and answer."""
    found = {**_fields(rounded(prediction)), "text": text_digest(example.text)}
    return found if tokens is None else {**found, "tokens": list(tokens)}


def row_tokens(entries: Iterable[JournalEntry]) -> dict[str, tuple[int, int]]:
    """Row id -> tokens of its prompts and answers, those of repeated requests included."""
    found: dict[str, tuple[int, int]] = {}
    for entry in entries:
        for row_id, (prompt, new) in entry.row_tokens.items():
            before = found.get(row_id, (0, 0))
            found[row_id] = before[0] + prompt, before[1] + new
    return found


def rounded(prediction: Prediction) -> Prediction:
    """As a record holds it."""
    if prediction.probabilities is None:
        return prediction
    few = tuple([float(f"{p:.{DIGITS}g}") for p in prediction.probabilities])
    return prediction if few == prediction.probabilities else replace(prediction, probabilities=few)


def _fields(prediction: Prediction) -> dict[str, Any]:
    """Of one that is `rounded`."""
    record: dict[str, Any] = {"id": prediction.id, "label": prediction.label, "status": prediction.status}
    if prediction.reason is not None:
        record["reason"] = prediction.reason
    if prediction.probabilities is not None:
        record["probabilities"] = list(prediction.probabilities)
    if prediction.log_p is not None:
        record["log_p"] = prediction.log_p  # not rounded: a resumed run must decide on the same labels
    return record


def prediction_from(record: Mapping[str, Any]) -> Prediction:
    label, probabilities, log_p = record["label"], record.get("probabilities"), record.get("log_p")
    return Prediction(
        record["id"],
        tuple(label) if isinstance(label, list) else label,
        Status(record["status"]),
        record.get("reason"),
        None if probabilities is None else tuple(probabilities),
        None if log_p is None else tuple(log_p),
    )


class Journal:
    """The open journal of a run. A thread writes it; `flush` and all that reads wait for the thread."""

    def __init__(self, folder: Path, answers: Path, lock: Lock) -> None:
        """`answers`: the file for a language model's answers, on this machine only."""
        self.folder, self.answers, self._lock = folder, answers, lock
        self._writer = JournalWriter(folder / JOURNAL, answers)

    def flush(self) -> None:
        """Wait until all batches are on the disk. Raises `OSError` if one could not be written."""
        self._writer.flush()

    def close(self) -> None:
        """Raises `OSError` if a batch could not be written."""
        self._writer.close()

    @property
    def scratch(self) -> Path:
        """Where an engine notes what it must remember; it may not exist yet."""
        return self.folder / SCRATCH

    def entries(self) -> list[JournalEntry]:
        self._writer.flush()
        return read_journal(self.folder / JOURNAL)

    def clear(self) -> None:
        self._writer.flush()
        (self.folder / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.answers.unlink(missing_ok=True)

    def append(self, entry: JournalEntry, answers: Sequence[Mapping[str, Any]] = ()) -> JournalEntry:
        """Have a batch written; returns it as it will be read. Raises `RunBusy` if another process has taken the run over, and
        `OSError` if an earlier batch could not be written."""
        if self._lock.is_lost():
            name = self.folder.name.removesuffix(".partial")
            raise RunBusy(f"Another process has taken over the run {name}: this one did not respond.", "Wait for it.")
        entry = replace(entry, seconds=round(entry.seconds, 6), rows=tuple(map(rounded, entry.rows)))
        self._writer.put(sealed_line(entry.as_json()), list(map(canonical_json, answers)))
        return entry


def read_journal(path: Path) -> list[JournalEntry]:
    """The intact lines of a journal; the rows of damaged ones are computed again."""
    return [entry for _, entry in _whole_lines(path) if entry is not None] if path.exists() else []


def _whole_lines(path: Path) -> Iterator[tuple[bytes, JournalEntry | None]]:
    """The lines of a journal with their entries, None of a damaged one. An incomplete last line is left out."""
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            entry = None
            with suppress(ValueError, LookupError, TypeError, AttributeError):
                entry = _entry(line)
            yield line, entry


def _entry(line: bytes) -> JournalEntry:
    value, _ = unsealed(line)
    fields = {name: value[name] + 0 for name in ("seconds", "prompt_tokens", "new_tokens", "batch")}
    fields |= {name: value[name] for name in OPTIONAL if name in value}
    fields |= {name: value[name] + 0 for name in SELDOM_COUNTED if name in value}
    if "batched" in value:
        fields["batched"] = TokenUse(**value["batched"])
    return JournalEntry(**fields, rows=tuple(prediction_from(record) for record in value["rows"]))


def drop_damaged_lines(path: Path, name: str) -> None:
    """Remove damaged lines before new ones are appended."""
    if not path.exists():
        return
    damaged = rows = size = 0
    for line, entry in _whole_lines(path):
        damaged += entry is None
        rows += 0 if entry is None else len(entry.rows)
        size += len(line)
    if damaged:
        lines = f"{damaged} damaged line{'s' if damaged > 1 else ''}"
        log.warning("%s: %s of its journal left out: those rows are predicted again, %d are kept.", name, lines, rows)
    if damaged or size < path.stat().st_size:
        write_parts_atomically(path, (line for line, entry in _whole_lines(path) if entry is not None))


def drop_partial_line(path: Path) -> None:
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_atomically(path, whole)


def open_rows(entries: Iterable[JournalEntry]) -> dict[str, str | None]:
    """Row id -> the reason of its latest failure, for the rows to retry."""
    found: dict[str, str | None] = {}
    for entry in entries:
        for row in entry.rows:
            if row.id in entry.ask_again:
                found[row.id] = row.reason
            else:
                found.pop(row.id, None)
    return found


def done_rows(entries: Sequence[JournalEntry]) -> set[str]:
    return {row.id for entry in entries for row in entry.rows} - open_rows(entries).keys()


def measured_seconds(entries: Iterable[JournalEntry]) -> float:
    """Without batches for which a dead server gave no answer: waiting for it is not the model's time."""
    return float(sum(entry.seconds for entry in entries if len(entry.ask_again) < max(1, len(entry.rows))))
