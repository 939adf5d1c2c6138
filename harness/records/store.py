"""Run records: one folder per run, written whole or not at all; a journal while the run is under way.

    results/runs/<run id>/           a finished run
        run.json                     identity, machine, versions, training, timing
        predictions.jsonl            one line per row, in the task's order: id, truth, label, status, probabilities
        metrics.json
    results/runs/<run id>.partial/   a run under way, or one that was killed
        journal.jsonl                one line per batch, fsynced

Records carry row ids and labels, never a text. The answers of a language model may quote the text, so they stay in
the user's cache (`answers_file`) and never enter a record.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.errors import RunBusy, RunError, UserError
from harness.file_names import cut, file_stem
from harness.models.checkpoints import cache_dir
from harness.types import Example, Prediction, Status


def canonical_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Half a surrogate pair (JSON files may hold one) has no UTF-8; escaped it is still the same JSON.
    return text.encode(errors="backslashreplace").decode()


def digest(value: Any) -> str:
    """sha256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def run_id(identity: Mapping[str, Any]) -> str:
    """A readable name that ends in a digest of all that determines the run's outcome."""
    prompt = identity["prompt"]
    parts = [identity["task"], identity["lang"], identity["backend"]["name"]]
    if prompt:
        parts += [prompt["name"], prompt["decoding"], *(prompt[key] for key in ("calibration", "decision") if key in prompt)]
    else:
        parts.append(f"from-{'-'.join(identity['train']['langs'])}")
    parts.append(f"s{identity['seed']}")
    return f"{file_stem(parts, '.')}.{digest(identity)[:10]}"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole: a reader (or a crash) sees the old content or the new, never a part.

    Text becomes UTF-8, its line ends stay. Of several processes that write the same file the last one wins. A link stays one:
    what it points to is written. The folder must be there. Raises `OSError` with the name of `path`.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")  # of this call alone; in the same file system
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = str(path)  # nobody asked for the temporary one
        raise


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; what a kill left of a last line is dropped, its rows are computed again."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries


def prediction_record(example: Example, prediction: Prediction) -> dict[str, Any]:
    record: dict[str, Any] = {"id": example.id, "truth": example.label, "label": prediction.label, "status": prediction.status}
    if prediction.reason is not None:
        record["reason"] = prediction.reason
    if prediction.probabilities is not None:
        record["probabilities"] = [round(p, 6) for p in prediction.probabilities]
    if prediction.log_p is not None:
        record["log_p"] = prediction.log_p  # to the last digit: a resumed run must settle on the same labels
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


@dataclass(frozen=True)
class Journal:
    """The open record of a run under way."""

    folder: Path
    answers: Path

    def entries(self) -> list[dict[str, Any]]:
        return read_journal(self.folder / "journal.jsonl")

    def clear(self) -> None:
        (self.folder / "journal.jsonl").unlink(missing_ok=True)
        self.answers.unlink(missing_ok=True)

    def append(self, entry: Mapping[str, Any], answers: Sequence[Mapping[str, Any]] = ()) -> None:
        """Add a batch; it is on disk when this returns."""
        if answers:
            self.answers.parent.mkdir(parents=True, exist_ok=True)
            with self.answers.open("a", encoding="utf-8") as file:
                file.writelines(canonical_json(answer) + "\n" for answer in answers)
        with (self.folder / "journal.jsonl").open("a", encoding="utf-8") as file:
            file.write(canonical_json(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Store:
    """The folder of all run records (`results/runs`)."""

    root: Path

    def ids(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if (path / "run.json").is_file() and path.suffix != ".partial")

    def has(self, name: str) -> bool:
        return (self.root / name / "run.json").is_file()

    def find(self, part: str) -> str:
        """The run whose id is `part`, or the only one that contains it. Raises `UserError`."""
        names = self.ids()
        if part in names:
            return part
        if not names:
            raise UserError(f"There are no runs in {self.root}.", "Begin with `bench run`, or name the folder: --results DIR.")
        hits = [name for name in names if part in name]
        if not hits:
            raise UserError(f"There is no run {part!r} in {self.root}.", "`bench list runs` shows all of them.")
        if len(hits) > 1:
            some = ", ".join(hits[:6]) + (", ..." if len(hits) > 6 else "")
            raise UserError(f"{part!r} may be any of {len(hits)} runs.", f"Say which, the digits at the end will do: {some}")
        return hits[0]

    def manifest(self, name: str) -> dict[str, Any]:
        return _read_json(self.root / name / "run.json")

    def metrics(self, name: str) -> dict[str, Any]:
        return _read_json(self.root / name / "metrics.json")

    def predictions(self, name: str) -> list[dict[str, Any]]:
        with _damage_named(self.root / name / "predictions.jsonl") as path, path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def answers_file(self, name: str) -> Path:
        """Raw answers of a language model, on this machine only."""
        return cache_dir() / "answers" / f"{cut(name)}.jsonl"  # a folder from elsewhere may have a longer name

    @contextmanager
    def journal(self, name: str) -> Iterator[Journal]:
        """Open (or go on with) the journal of a run. Raises `RunBusy` if another process has it open."""
        lock_file = cache_dir() / "locks" / f"{digest([str(self.root.resolve()), name])[:16]}.lock"
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock_file, timeout=0):
                folder = self.root / f"{name}.partial"
                folder.mkdir(parents=True, exist_ok=True)
                _drop_torn_line(folder / "journal.jsonl")
                _drop_torn_line(self.answers_file(name))
                yield Journal(folder, self.answers_file(name))
        except Timeout as error:
            raise RunBusy(f"Another process is working on the run {name}.", "Wait for it, or stop it.") from error

    def finish(
        self, name: str, manifest: Mapping[str, Any], records: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]
    ) -> Path:
        """Turn the open journal into a finished record, in one rename."""
        partial, final = self.root / f"{name}.partial", self.root / name
        write_atomically(partial / "predictions.jsonl", "".join(canonical_json(record) + "\n" for record in records))
        write_atomically(partial / "metrics.json", pretty_json(metrics))
        write_atomically(partial / "run.json", pretty_json(manifest))
        for left in partial.glob("*.tmp"):  # of a write that was killed
            left.unlink()
        replaced = self.root / f"{name}.replaced.partial"
        if final.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            final.replace(replaced)  # in one step: a kill while files are deleted would leave half a record
        partial.replace(final)
        shutil.rmtree(replaced, ignore_errors=True)
        (final / "journal.jsonl").unlink(missing_ok=True)  # not before: a kill between the two would cost the whole run
        return final


def _drop_torn_line(path: Path) -> None:
    """What follows would otherwise be appended to half a line."""
    if path.exists():
        whole = "".join(canonical_json(entry) + "\n" for entry in read_journal(path))
        if whole.encode() != path.read_bytes():
            write_atomically(path, whole)


def pretty_json(value: Any) -> str:
    """As records hold it: sorted keys, an indent, and a lone half of a surrogate pair as its escape."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace").decode() + "\n"


def _read_json(path: Path) -> dict[str, Any]:
    with _damage_named(path):
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


@contextmanager
def _damage_named(path: Path) -> Iterator[Path]:
    try:
        yield path
    except (FileNotFoundError, ValueError) as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise RunError(f"{path} {problem}.", "Delete that run's folder (`bench run` makes it anew), or restore it.") from error
