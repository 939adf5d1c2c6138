"""Run by `torch.distributed.run` from `test_encoder_processes.py`: model, folder, options, step to be killed at."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from encoder_toy import LABELS, accuracy_and_error, new_engine, rows, weights_of

from backends._batches import TrainBatches
from harness.core.arrays import FloatArray
from harness.core.distributed import end, leave
from harness.core.engine import TrainingJob, ValidationScorer


def main(bert: Path, folder: Path, options: dict[str, Any], stop_at: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    train, validation = rows(61, 0), rows(15, 1)
    scored: list[dict[str, float]] = []
    scored_rows: list[int] = []

    def metrics(probabilities: FloatArray) -> dict[str, float]:
        scored.append(accuracy_and_error(validation)(probabilities))
        scored_rows.append(len(probabilities))
        return scored[-1]

    def on_progress(done: int, total: int, note: str) -> None:
        if stop_at and done == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    seen: list[list[int]] = []
    plain = TrainBatches.__iter__

    def progress_listener(self: TrainBatches) -> Any:
        seen.append([])
        for batch in plain(self):
            seen[-1] += batch
            yield batch

    TrainBatches.__iter__ = progress_listener  # type: ignore[method-assign]
    exact = {"epochs": 2, "batch_size": 4, "precision": "fp32"}  # this process asks the real processor
    engine = new_engine(bert, {"predict": {"batch_size": 4, "dtype": "float32"}}, **{**exact, **options})
    scorer = ValidationScorer(metrics, "accuracy", frozenset({"mae"}))
    report = engine.fit(TrainingJob(train, validation, LABELS, scorer, 0, folder / "scratch", on_progress))
    weights = b"".join(value.numpy().tobytes() for value in weights_of(engine).values())
    said = {
        "report": report,
        "rows": seen,
        "scored": scored,
        "scored_rows": scored_rows,
        "weights": hashlib.sha256(weights).hexdigest(),
    }
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(said), encoding="utf-8")
    leave()
    end()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4]))
