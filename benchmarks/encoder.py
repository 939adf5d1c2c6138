"""How fast the encoder engine is, and how fast transformers' own ways are, on the same rows and weights in the same run.

    python benchmarks/encoder.py --task amazon_reviews_multi --data DIR --rows 1000 --train-rows 2000 --json speed.json

Run it in the root of a checkout, on a machine with nothing else to do. Training: the encoder engine against the stock Trainer,
seed by seed; with `--json` a second start goes on with the trainings that the file lacks. Inference, on a checkpoint of ours:
the text-classification pipeline in fp32 and (where the device computes in it) bf16, in batches of 1 to 64, with the rows as
they come and sorted by length; ours in torch in both dtypes, on ONNX Runtime in fp32 and int8, and what `auto` takes; and the
machine's own matrix product. All parts alternate in one process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PARTS = ("training", "inference")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    from harness.core.errors import BenchError

    try:
        print(_benchmark(options))
    except BenchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Speed of the encoder engine, against rivals in the same run.")
    parser.add_argument("--parts", type=_parts, default=PARTS, metavar="PARTS", help=f"by commas; default: {','.join(PARTS)}")
    parser.add_argument("--task", default="reviews_demo", metavar="NAME", help="default: reviews_demo")
    parser.add_argument("--lang", default="en", metavar="CODE", help="default: en")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the task's files, in place of its source")
    parser.add_argument("--model", default="packaged:minilm", metavar="PATH", help="checkpoint; default: packaged:minilm")
    parser.add_argument("--rows", type=_count, default=1000, metavar="N", help="test rows, at most; default: 1000")
    parser.add_argument("--train-rows", type=_count, default=2000, metavar="N", help="at most; default: 2000")
    parser.add_argument("--epochs", type=_count, default=3, metavar="N", help="of every training; default: 3")
    parser.add_argument("--seeds", type=_seeds, default=(0, 1, 2), metavar="N,N", help="of the trainings; default: 0,1,2")
    parser.add_argument("--rounds", type=_count, default=3, metavar="N", help="of the inference parts; default: 3")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of our engine; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements here, trainings one by one")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if not set(chosen) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"parts are {', '.join(PARTS)}")
    return chosen


def _benchmark(options: argparse.Namespace) -> str:
    from _encoder_inference import infer
    from _encoder_report import page
    from _encoder_training import train
    from _encoder_work import Work, preface

    from harness.core.json_files import write_atomically
    from harness.running.training import ensure_trained, trained_folder

    work = Work(options)
    record: dict[str, Any] = preface(work)

    def keep() -> None:
        if options.json is not None:
            write_atomically(options.json, json.dumps(record, indent=1) + "\n")

    with tempfile.TemporaryDirectory(prefix="bench-speed-") as scratch:
        folder = Path(scratch)
        if "training" in options.parts:
            record["training"] = _trained_before(options.json, record)
            known = {(entry["trainer"], entry["seed"]) for entry in record["training"]}
            for entry in train(work, options.seeds, known, folder, _tell):
                record["training"].append(entry)
                keep()
        if "inference" in options.parts:
            plan = work.plan(options.seeds[0], {})
            ensure_trained(plan, lambda phase, done, total, note: None)
            plan.engine.close()
            record["inference"] = infer(work, trained_folder(plan) / "model", options.rounds, folder, _tell)
    keep()
    return page(record)


def _trained_before(file: Path | None, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The trainings of an earlier start, which must have had the same rows and settings."""
    from harness.core.errors import UserError
    from harness.core.json_files import read_json

    if file is None or not file.is_file():
        return []
    before = read_json(file)
    same = ("task", "lang", "model", "options", "train_rows", "validation_rows")
    if different := [name for name in same if before.get(name) != record[name]]:
        raise UserError(f"{file} has measurements with another {different[0]}.", "Choose another file.")
    return list(before.get("training", []))


def _tell(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
