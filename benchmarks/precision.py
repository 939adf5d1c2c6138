"""What bfloat16 does to quality: the same model in float32 and in bfloat16, on the same validation rows, with a paired test.

    python benchmarks/precision.py --data amazon_reviews_multi=DIR --data app_reviews=DIR --data sst5=DIR --json precision.json

For each task: an encoder that is trained once in fp32 and predicts in both; the same encoder trained in both; a frozen encoder
with a head; a prompted language model. Validation rows, so that nothing is looked up on test rows. The runs go into --results,
and a second start goes on with them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _results import markdown, setup_here

from harness.core.errors import BenchError, UserError
from harness.core.json_files import write_atomically
from harness.core.options import RunOptions
from harness.core.predictions import Predictions
from harness.core.types import Calibration, Decoding
from harness.records.predictions import read_predictions
from harness.records.store import Store
from harness.running.plan import make_plan
from harness.running.runner import run
from harness.specs.catalog import Catalog
from harness.statistics.paired import share_difference

LEARNED = {"train.lr": 1e-4}
"""At the default rate a small model learns little from few rows, and one that gives one answer tells nothing of precision."""
EXACT = {**LEARNED, "train.precision": "fp32", "predict.dtype": "float32"}
HALF = {**LEARNED, "train.precision": "bf16", "predict.dtype": "bfloat16"}
HEAD = {"predict.dtype": "float32"}

LIBRARIES = ("torch", "transformers", "scikit-learn")

PAIRS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "predictions of an encoder": ("minilm", EXACT, {**EXACT, "predict.dtype": "bfloat16"}),
    "training and predictions of an encoder": (
        "minilm",
        EXACT,
        {**EXACT, "train.precision": "bf16", "predict.dtype": "bfloat16"},
    ),
    "frozen embeddings": ("embed-minilm", HEAD, {"predict.dtype": "bfloat16"}),
    "scores of a language model": ("qwen-coder-0.5b", {"dtype": "float32"}, {"dtype": "bfloat16"}),
}
"""What is compared: backend, and its settings in float32 and in bfloat16."""


def main() -> int:
    try:
        return _benchmark(_parser().parse_args())
    except BenchError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _benchmark(options: argparse.Namespace) -> int:
    catalog, store = Catalog(Path.cwd()), Store(options.results)
    folders = dict(pair.split("=", 1) for pair in options.data)
    chosen = [pair for pair in PAIRS if options.only is None or options.only in pair]
    if not chosen:
        raise UserError(f"Nothing that is compared has {options.only!r} in its name.", f"There are: {', '.join(PAIRS)}.")
    limits = {name: getattr(options, name) for name in ("limit", "train_limit", "prompted")}
    record: dict[str, Any] = {**setup_here(LIBRARIES).model_dump(mode="json"), "lang": options.lang, **limits, "results": []}
    for task in options.tasks.split(","):
        for pair in chosen:
            record["results"].append(_compared(pair, _asked(task, folders.get(task), options), catalog, store))
            print(json.dumps(record["results"][-1]), flush=True)
            if options.json is not None:
                write_atomically(options.json, json.dumps(record, indent=1) + "\n")
    print(table(record["results"]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="float32 and bfloat16 on the same validation rows.")
    parser.add_argument("--tasks", default="amazon_reviews_multi,app_reviews,sst5", metavar="NAMES", help="by commas")
    parser.add_argument("--lang", default="en", metavar="CODE", help="default: en")
    parser.add_argument("--data", action="append", default=[], metavar="TASK=DIR", help="folder with the task's files")
    parser.add_argument("--limit", type=int, metavar="N", help="validation rows; default: all")
    parser.add_argument("--prompted", type=int, default=200, metavar="N", help="rows of the language model; default: 200")
    parser.add_argument("--train-limit", type=int, metavar="N", help="training rows; default: all")
    parser.add_argument("--only", metavar="WORDS", help="what is compared, by a part of its name; default: all")
    parser.add_argument("--results", type=Path, default=Path("results/precision"), metavar="DIR", help="where the runs go")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    return parser


def _asked(task: str, data: str | None, options: argparse.Namespace) -> dict[str, Any]:
    asked = {
        "task": task,
        "lang": options.lang,
        "split": "validation",
        "limit": options.limit,
        "train_limit": options.train_limit,
    }
    if data is not None:
        asked["data"] = data
    return {**asked, "prompted": options.prompted}


def _compared(pair: str, asked: dict[str, Any], catalog: Catalog, store: Store) -> dict[str, Any]:
    backend, *settings = PAIRS[pair]
    given = {name: value for name, value in asked.items() if name != "prompted"} | {"backend": backend}
    if "language model" in pair:
        given |= {"decoding": Decoding.SCORE, "calibration": Calibration.BATCH, "train_limit": None}
        given["limit"] = min(asked["prompted"], asked["limit"] or asked["prompted"])
    exact, half = (_predicted(given, chosen, catalog, store) for chosen in settings)
    difference = share_difference(exact.correct, half.correct)
    return {
        "task": asked["task"],
        "what": pair,
        "backend": backend,
        "rows": len(exact),
        "accuracy": [float(predictions.correct.mean()) for predictions in (exact, half)],
        "difference": [difference.value, difference.low, difference.high],
        "p": difference.p,
        "same_label": float((exact.answers == half.answers).mean()),
    }


def _predicted(given: dict[str, Any], settings: dict[str, Any], catalog: Catalog, store: Store) -> Predictions:
    plan = make_plan(RunOptions(**given, settings=settings), catalog)
    return read_predictions(store, run(plan, store, gate=False).run_id)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown. `difference`: bf16 - fp32, of accuracy."""
    rows = []
    for row in found:
        exact, half = row["accuracy"]
        value, low, high = row["difference"]
        change = f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"
        counts = [f"{row['rows']:,}", f"{exact:.4f}", f"{half:.4f}", change, f"{row['p']:.2f}", f"{row['same_label']:.1%}"]
        rows.append([row["task"], f"{row['what']} (`{row['backend']}`)", *counts])
    return markdown(["task", "what", "rows", "fp32", "bf16", "difference [95%]", "p", "same label"], rows, 2)


if __name__ == "__main__":
    sys.exit(main())
