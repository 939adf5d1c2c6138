"""A run in the layout of lm-evaluation-harness 0.4.13 (`--log_samples`), for tools that read its files.

    RUN/results_DATE.json             results, configs, versions, n-shot, higher_is_better, n-samples, ...
    RUN/samples_TASK_LANG_DATE.jsonl  a line per row

A run whose answers are the likeliest labels becomes a multiple_choice task: a choice per label, its log-likelihood the log of
the recorded probability. Any other becomes a generate_until task, whose responses are the names of the labels; what could
not be read is an empty one. A record holds neither texts nor outputs, so a document is an id and a label, and prompts are
empty. What lm-eval's layout has no place for, such as intervals and the fingerprint of the rows, stands under `bench`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.core.json_files import pretty_json
from harness.core.types import LabelKind, Status
from harness.records.entries import Entry
from harness.statistics.metrics import LOWER_IS_BETTER

Record = Mapping[str, Any]
CHOICE, TEXT = "multiple_choice", "generate_until"
METRIC = {CHOICE: "acc", TEXT: "exact_match"}
FILTER = "none"
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}")


def lm_eval_files(entry: Entry, records: Sequence[Record]) -> dict[str, bytes]:
    """Name -> content of the two files of a run, from its record; `records` are its predictions."""
    identity = entry.manifest["identity"]
    task = re.sub(r"\W", "_", "_".join([identity["task"], identity["lang"], *_unless_test(identity["split"])]))
    kind = CHOICE if _is_by_choice(identity["label_kind"], records) else TEXT
    samples = [_sample(place, record, identity["labels"], kind) for place, record in enumerate(records)]
    date = _finished(entry.manifest).strftime("%Y-%m-%dT%H-%M-%S.%f")
    lines = "".join(_line(sample) for sample in samples)
    return {
        f"samples_{task}_{date}.jsonl": lines.encode(),
        f"results_{date}.json": pretty_json(_results(entry, task, kind, samples)).encode(),
    }


def outdated_files(folder: Path, written: Collection[str]) -> list[Path]:
    """What an export left here when the run was finished another time: files named like these, but for the date."""
    alike = {_DATE.sub("", name) for name in written}
    return [path for path in folder.iterdir() if path.name not in written and _DATE.sub("", path.name) in alike]


def _line(value: Mapping[str, Any]) -> str:
    """JSON in the order of its keys, with a lone half of a surrogate pair as its escape."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace").decode() + "\n"


def _unless_test(split: str) -> list[str]:
    return [] if split == "test" else [split]


def _is_by_choice(kind: str, records: Sequence[Record]) -> bool:
    """Whether every label is the likeliest one, or as likely as any."""

    def likeliest(record: Record) -> bool:
        given = record.get("probabilities")
        return given is not None and record["label"] is not None and given[record["label"]] == max(given)

    answered = [record for record in records if record["status"] != Status.FAILED]
    return kind != LabelKind.MULTILABEL and bool(answered) and all(map(likeliest, answered))


def _finished(manifest: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(manifest["finished"]).astimezone(UTC)
    except (LookupError, TypeError, ValueError):  # a record of an earlier version
        return datetime.fromtimestamp(0, UTC)


def _sample(place: int, record: Record, labels: Sequence[str], kind: str) -> dict[str, Any]:
    """In lm-eval's order of keys, and all answers as strings, as it writes them."""
    doc = {"id": record["id"], "label": record["truth"]}
    if kind == CHOICE:
        target = str(record["truth"])
        arguments: dict[str, Any] = {f"gen_args_{i}": {"arg_0": "", "arg_1": f" {name}"} for i, name in enumerate(labels)}
        filtered: list[Any] = _log_likelihoods(record, len(labels))
        responses: list[Any] = [[answer] for answer in filtered]
    else:
        target = _written(record["truth"], labels)
        arguments = {"gen_args_0": {"arg_0": "", "arg_1": {"until": [], "do_sample": False}}}
        filtered = ["" if record["label"] is None else _written(record["label"], labels)]
        responses = [filtered]
    return {
        "doc_id": place,
        "doc": doc,
        "target": target,
        "arguments": arguments,
        "resps": responses,
        "filtered_resps": filtered,
        "filter": FILTER,
        "metrics": [METRIC[kind]],
        "doc_hash": _sha256(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _sha256(""),
        "target_hash": _sha256(target),
        METRIC[kind]: float(record["label"] == record["truth"]),
    }


def _log_likelihoods(record: Record, k: int) -> list[list[str]]:
    """Of each label, and whether it is the answer; NaN where the model gave none, so that no reader takes one."""
    given, answer = record.get("probabilities"), record["label"]
    if given is None or answer is None:
        return [["nan", "False"] for _ in range(k)]
    logs = [math.log(p) if p > 0 else -math.inf for p in given]
    if logs.index(max(logs)) != answer:  # as likely as an earlier one: readers take the first of equals
        logs[answer] = math.nextafter(logs[answer], math.inf)
    return [[str(log), str(i == answer)] for i, log in enumerate(logs)]


def _written(label: int | list[int], labels: Sequence[str]) -> str:
    return labels[label] if isinstance(label, int) else json.dumps([labels[i] for i in label], ensure_ascii=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def _results(entry: Entry, task: str, kind: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    manifest, identity, n = entry.manifest, entry.manifest["identity"], entry.metrics["n"]
    backend, prompt = identity["backend"], identity["prompt"] or {}
    name = str(backend.get("model") or backend["name"])
    figures = _figures(entry, kind)
    seconds = manifest["timing"].get("seconds")
    hashes = "".join(sample["doc_hash"] + sample["prompt_hash"] + sample["target_hash"] for sample in samples)
    shots = len(prompt.get("shots", []))
    return {
        "results": {task: {"name": task, "alias": task, "sample_len": n, **_with_errors(figures, n, kind)}},
        "group_subtasks": {},
        "configs": {task: _task_config(task, kind, identity, shots)},
        "versions": {task: identity.get("version")},
        "n-shot": {task: shots},
        "higher_is_better": {task: {metric: metric not in LOWER_IS_BETTER for metric in figures}},
        "n-samples": {task: {"original": n, "effective": n}},
        "config": {
            "model": backend.get("engine"),
            "model_args": {"model": name},
            "model_revision": backend.get("revision"),
            "model_dtype": backend.get("dtype"),
            "batch_size": str(manifest["timing"].get("batch_size")),
            "batch_sizes": [],
            "device": backend.get("device"),
            "limit": manifest.get("limit"),
            "random_seed": identity["seed"],
        },
        "git_hash": None,
        "date": _finished(manifest).timestamp() - (seconds or 0.0),
        "transformers_version": (manifest.get("versions") or {}).get("transformers"),
        "task_hashes": {task: _sha256(hashes)},
        "model_source": backend.get("engine"),
        "model_name": name,
        "model_name_sanitized": re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name),
        **dict.fromkeys(("system_instruction", "system_instruction_sha", "fewshot_as_multiturn", "chat_template")),
        "chat_template_sha": None,
        "total_evaluation_time_seconds": None if seconds is None else str(seconds),
        "bench": _bench(entry),
    }


def _figures(entry: Entry, kind: str) -> dict[str, float]:
    """By name; the share of right answers, which is that of the samples, under lm-eval's own name."""
    values = {name: value["value"] for name, value in entry.metrics["values"].items() if value["value"] is not None}
    share = "accuracy" if "accuracy" in values else "subset_accuracy"
    return {METRIC[kind] if name == share else name: value for name, value in sorted(values.items())}


def _with_errors(figures: Mapping[str, float], n: int, kind: str) -> dict[str, Any]:
    """Keys as lm-eval has them; the standard error of a mean as it computes it, N/A where ours is an interval alone."""
    found: dict[str, Any] = {}
    for name, value in figures.items():
        of_mean = name == METRIC[kind] and n > 1
        found[f"{name},{FILTER}"] = value
        found[f"{name}_stderr,{FILTER}"] = math.sqrt(value * (1 - value) / (n - 1)) if of_mean else "N/A"
    return found


def _task_config(task: str, kind: str, identity: Mapping[str, Any], shots: int) -> dict[str, Any]:
    split = identity["split"]
    own = (
        {"doc_to_choice": list(identity["labels"])}
        if kind == CHOICE
        else {"generation_kwargs": {"until": [], "do_sample": False}}
    )
    return {
        "task": task,
        f"{split}_split": split,
        "doc_to_text": "",
        "doc_to_target": "{{label}}",
        **own,
        "description": "",
        "target_delimiter": " ",
        "num_fewshot": shots,
        "metric_list": [{"metric": METRIC[kind], "aggregation": "mean", "higher_is_better": True}],
        "output_type": kind,
        "repeats": 1,
        "should_decontaminate": False,
        "metadata": {"version": None},
    }


def _bench(entry: Entry) -> dict[str, Any]:
    """What makes the run one of ours; `rows` lets `bench results import` see that it pairs the same rows."""
    identity, values = entry.manifest["identity"], entry.metrics["values"]
    return {
        "run": entry.run_id,
        "how": entry.how,
        **{key: identity[key] for key in ("task", "split", "lang", "rows", "labels", "label_kind")},
        "intervals_95": {name: [value["low"], value["high"]] for name, value in values.items() if value["low"] is not None},
    }
