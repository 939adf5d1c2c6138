"""Files in the layout of lm-evaluation-harness 0.4.13, made by hand: what `--log_samples --output_path` leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DATE = "2026-01-02T03-04-05.678901"
TEXTS = ("Broke at once.", "It is  a hat.", "Lovely, all of it!", "I like it.", "Meh | {{ 7*7 }}", "日本語のレビュー")
LABELS = (0, 1, 2, 2, 1, 0)
NAMES = ("bad", "fair", "good")
IDS = tuple(f"r{n}" for n in range(len(TEXTS)))


def write_project(project: Path, texts: Sequence[str] = TEXTS, kind: str = "ordinal", labels: Sequence[Any] = LABELS) -> Path:
    """A project folder with the task `mood`, its rows in all splits."""
    rows = [
        {"id": f"r{n}", "text": text, "label": label, "lang": "en"}
        for n, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
    (project / "tasks" / "mood").mkdir(parents=True)
    for split in ("train", "validation", "test"):
        write_lines(project / "tasks" / "mood" / f"{split}.jsonl", rows)
    (project / "tasks" / "mood.yaml").write_text(
        "description: Moods.\nsource: {files: {folder: mood}}\ncolumns: {id: id, text: text, label: label, lang: lang}\n"
        f"labels: {{kind: {kind}, names: [{', '.join(NAMES)}]}}\nlanguages: [en]\n",
        encoding="utf-8",
    )
    return project


def write_lines(path: Path, lines: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def scored(
    n: int, log_p: Sequence[float | str], choices: Sequence[str] = ("0", "1", "2"), target: Any = None, **changes: Any
) -> dict[str, Any]:
    """A multiple_choice sample of row n."""
    answers = [[str(value), "False"] for value in log_p]
    arguments = [{"arg_0": f"Review: {TEXTS[n]}\nMood?", "arg_1": f" {choice}"} for choice in choices]
    return _sample(n, LABELS[n] if target is None else target, arguments, [[a] for a in answers], answers, **changes)


def written(n: int, said: Any, target: Any = None, kept: str = "none", **changes: Any) -> dict[str, Any]:
    """A generate_until sample of row n."""
    arguments = [{"arg_0": f"Review: {TEXTS[n]}\nMood?", "arg_1": {"until": ["\n"], "do_sample": False}}]
    return _sample(n, LABELS[n] if target is None else target, arguments, [[said]], [said], filter=kept, **changes)


def _sample(
    n: int, target: Any, arguments: Sequence[Any], resps: Sequence[Any], filtered: Sequence[Any], **changes: Any
) -> dict[str, Any]:
    return {
        "doc_id": n,
        "doc": {"id": IDS[n], "text": TEXTS[n], "label": LABELS[n], "lang": "en"},
        "target": str(target),
        "arguments": {f"gen_args_{i}": argument for i, argument in enumerate(arguments)},
        "resps": resps,
        "filtered_resps": filtered,
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": "d",
        "prompt_hash": "p",
        "target_hash": "t",
        **changes,
    }


def results_of(figures: Mapping[str, Mapping[str, Any]], model: str = "owner/tiny-7b", **changes: Any) -> dict[str, Any]:
    return {
        "results": {task: {"alias": task, "sample_len": 6, **values} for task, values in figures.items()},
        "configs": {task: {"task": task, "doc_to_text": "Review: {{text}}\nMood?"} for task in figures},
        "versions": dict.fromkeys(figures, 1.0),
        "n-shot": dict.fromkeys(figures, 0),
        "config": {"model": "hf", "model_args": {"pretrained": model}, "model_sha": "abc"},
        "date": 1767323045.0,
        "total_evaluation_time_seconds": "5.5",
        "lm_eval_version": "0.4.13",
        "model_name": model,
        **changes,
    }


def write_evaluation(
    folder: Path, samples: Mapping[str, Sequence[Any]], results: Mapping[str, Any] | None = None, date: str = DATE
) -> Path:
    """The folder, with a file of samples for each task and, unless `results` is empty, one of results."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, lines in samples.items():
        write_lines(folder / f"samples_{task}_{date}.jsonl", lines)
    results = results_of({task: {} for task in samples}) if results is None else results
    if results:
        (folder / f"results_{date}.json").write_text(json.dumps(results), encoding="utf-8")
    return folder
