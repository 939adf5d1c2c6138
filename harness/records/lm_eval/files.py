"""The files that lm-evaluation-harness leaves with `--log_samples`, read and looked over.

    results_DATE.json          figures and configurations of all tasks of one evaluation
    samples_TASK_DATE.jsonl    a line per document and filter: doc, target, arguments, resps, filtered_resps

Every value in them is data of others: nothing is believed before it is looked at, and a damaged line is named.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import DataError, UserError

HOW = "Run lm-eval with --log_samples --output_path DIR, and name that folder or one of its files."


@dataclass(frozen=True, slots=True)
class Sample:
    """One document under one filter. `choices`: what each request asked the probability of; `answers`: `filtered_resps`."""

    where: str
    doc_id: str
    doc: Mapping[str, Any]
    target: str
    prompt: str
    choices: tuple[str, ...]
    answers: tuple[Any, ...]


@dataclass(frozen=True)
class Evaluation:
    """The samples of one task and filter, with what the results beside them say; `results` is empty where there are none."""

    task: str
    filter: str
    samples: list[Sample]
    path: Path
    sha256: str
    results: Mapping[str, Any]

    @property
    def by_choice(self) -> bool:
        """Whether the model scored choices (`multiple_choice`); else it wrote text (`generate_until`)."""
        return isinstance(self.samples[0].answers[0], list) and len(self.samples[0].answers) > 1

    def of_task(self, key: str) -> Any:
        """What `results` says of this task under `key`; None where it does not."""
        return _mapping(self.results.get(key)).get(self.task)

    @property
    def reported(self) -> dict[str, float]:
        """lm-eval's own figures under this filter."""
        figures = _mapping(self.of_task("results"))
        named = {name.rpartition(",")[0]: value for name, value in figures.items() if name.rpartition(",")[2] == self.filter}
        return {name: float(value) for name, value in named.items() if _is_finite(value) and not name.endswith("_stderr")}


def _is_finite(value: Any) -> bool:
    """Whether it is a number that a float can hold; JSON knows integers of any length."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def read_evaluation(path: Path, task: str | None = None, kept: str | None = None) -> Evaluation:
    """The samples in `path`, a folder or a file; `task` and `kept` (a filter) say which, where there are several.

    Raises `UserError` where nothing or too much is there, `DataError` for what is damaged.
    """
    file = _only(_sample_files(path), path, task)
    content = file.read_bytes()
    lines = _lines(file, content)
    chosen = _chosen_filter([_text(line.get("filter")) for _, line in lines], file, kept)
    samples = [_sample(where, line) for where, line in lines if _text(line.get("filter")) == chosen]
    _no_repeats(samples, file)
    results = _results(file)
    return Evaluation(_task_of(file), chosen, samples, file, hashlib.sha256(content).hexdigest(), results)


def _sample_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob("samples_*.jsonl"))
    if not path.is_file():
        raise UserError(f"{path} is not there.", HOW)
    if path.suffix == ".jsonl":
        return [path]
    return sorted(path.parent.glob(f"samples_*_{_date_of(path)}.jsonl"))


def _only(files: Sequence[Path], path: Path, task: str | None) -> Path:
    if not files:
        raise UserError(f"There are no samples in or beside {path}: no file is called samples_TASK_DATE.jsonl.", HOW)
    tasks = sorted({_task_of(file) for file in files})
    if task is None and len(tasks) > 1:
        raise UserError(f"{path} holds samples of several tasks of lm-eval.", f"Say which: --from-task {' or '.join(tasks)}.")
    if task is not None and task not in tasks:
        raise UserError(f"{path} holds no samples of a task {task!r} of lm-eval.", f"There are: {', '.join(tasks)}.")
    found = [file for file in files if task is None or _task_of(file) == task]
    if len(found) > 1:
        raise UserError(
            f"{path} holds {len(found)} results of {_task_of(found[0])}.", f"Name one file: {' or '.join(map(str, found[:4]))}."
        )
    return found[0]


def _task_of(file: Path) -> str:
    return file.stem.removeprefix("samples_").rpartition("_")[0] or file.stem


def _date_of(file: Path) -> str:
    return file.stem.rpartition("_")[2]


def _results(file: Path) -> Mapping[str, Any]:
    """The JSON file of the same evaluation: it ends in the same date, whatever `--output_path` called it."""
    found = sorted(file.parent.glob(f"*_{_date_of(file)}.json"))
    if not found:
        return {}
    try:
        content = json.loads(found[0].read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{found[0]} is damaged ({error}).", "Restore it, or move it away: then only the samples are read."
        ) from error
    return _mapping(content)


def _lines(file: Path, content: bytes) -> list[tuple[str, Mapping[str, Any]]]:
    found: list[tuple[str, Mapping[str, Any]]] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{where}: the line is damaged ({error}).", "Restore the file; half a file is no result."
            ) from error
        if not isinstance(value, dict) or not {"doc", "target", "filtered_resps"} <= value.keys():
            raise DataError(f"{where} is no sample of lm-eval: it needs doc, target and filtered_resps.", HOW)
        found.append((where, value))
    if not found:
        raise DataError(f"{file} holds no samples.", HOW)
    return found


def _chosen_filter(there: Sequence[str], file: Path, kept: str | None) -> str:
    names = list(dict.fromkeys(there))
    if kept is None and len(names) > 1:
        raise UserError(f"{file} holds the answers under several filters.", f"Say which: --filter {' or '.join(names)}.")
    if kept is not None and kept not in names:
        raise UserError(f"{file} has no filter {kept!r}.", f"There is: {', '.join(names)}.")
    return names[0] if kept is None else kept


def _sample(where: str, line: Mapping[str, Any]) -> Sample:
    answers, requests = line["filtered_resps"], _requests(line.get("arguments"))
    if not isinstance(answers, list) or not answers:
        raise DataError(f"{where} holds no answer: `filtered_resps` is no list with something in it.")
    return Sample(
        where=where,
        doc_id=_text(line.get("doc_id")),
        doc=_mapping(line["doc"]),
        target=_text(line["target"]),
        prompt=_text(requests[0][0]) if requests and requests[0] else "",
        choices=tuple(_text(request[1]) if len(request) > 1 else "" for request in requests),
        answers=tuple(answers),
    )


def _requests(arguments: Any) -> list[list[Any]]:
    """Each request's arguments: `{"gen_args_0": {"arg_0": ...}}` in a file, lists in files of older versions."""
    parts = arguments.values() if isinstance(arguments, dict) else arguments if isinstance(arguments, list) else []
    return [list(part.values()) if isinstance(part, dict) else part if isinstance(part, list) else [part] for part in parts]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _no_repeats(samples: Sequence[Sample], file: Path) -> None:
    """lm-eval appends to a file of the same name, so that one may hold two evaluations."""
    doc_id, count = Counter(sample.doc_id for sample in samples).most_common(1)[0]
    if count > 1:
        raise DataError(f"{file} holds the document {doc_id} {count} times.", "Two evaluations in one file: keep one of them.")
