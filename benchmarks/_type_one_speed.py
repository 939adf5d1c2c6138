"""What comparing two long runs costs, and what the same questions cost with pandas and statsmodels."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from harness.core.types import LabelKind
from harness.statistics.metrics import HEADLINES


def write_record(folder: Path, name: str, rows: int, seed: int) -> None:
    """A run of `rows` rows with probabilities, as `bench run` writes it."""
    rng = np.random.default_rng(seed)
    truth = np.arange(rows) % 5
    answers = np.where(rng.random(rows) < 0.5, truth, rng.integers(0, 5, rows))
    path = folder / "results" / "runs" / name
    path.mkdir(parents=True)
    with (path / "predictions.jsonl").open("w", encoding="utf-8") as file:
        for row, (right, answer, sure) in enumerate(
            zip(truth.tolist(), answers.tolist(), rng.random(rows).tolist(), strict=True)
        ):
            p = [round(0.15 * (1 - sure), 6)] * 5
            p[answer] = round(1 - 4 * p[0], 6)
            file.write(f'{{"id":"row-{row:07}","label":{answer},"probabilities":{p},"status":"ok","truth":{right}}}\n')
    identity = {
        "task": "synthetic",
        "lang": "en",
        "split": "test",
        "rows": "synthetic",
        "labels": [f"{i} stars" for i in range(1, 6)],
        "label_kind": "ordinal",
        "version": 1,
        "backend": {"name": name.split(".")[0], "engine": "synthetic"},
        "prompt": None,
        "train": {"langs": ["en"], "train_rows": "t", "train_count": 1, "validation_rows": "v"},
        "seed": seed,
    }
    undefined = {"value": None, "low": None, "high": None, "method": None}
    headline = HEADLINES[LabelKind.ORDINAL]
    counts = {"n": rows, "ok": rows, "unparsed": 0, "failed": 0}
    values = dict.fromkeys([*headline, "log_loss"], undefined) | {"accuracy": {**undefined, "value": (truth == answers).mean()}}
    metrics = {**counts, "headline": headline, "values": values}
    (path / "run.json").write_text(json.dumps({"identity": identity, "timing": {"rows_per_second": None}}))
    (path / "metrics.json").write_text(json.dumps(metrics))


RIVAL = """
import sys, numpy as np, pandas as pd
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar
a, b = (pd.read_json(f"results/runs/{name}/predictions.jsonl", lines=True).set_index("id") for name in sys.argv[1:])
both = a[["truth", "label"]].join(b[["label"]], rsuffix="_b", how="inner")
right_a, right_b = both.label == both.truth, both.label_b == both.truth
print(mcnemar(pd.crosstab(right_a, right_b), exact=True).pvalue)
rng, found = np.random.default_rng(0), []
truth, first, second = (both[c].to_numpy() for c in ("truth", "label", "label_b"))
for _ in range(100):
    i = rng.integers(0, len(both), len(both))
    found.append(f1_score(truth[i], second[i], average="macro") - f1_score(truth[i], first[i], average="macro"))
print(np.quantile(found, (0.025, 0.975)))
"""


def speed(rows: int) -> list[str]:
    """Markdown: seconds by the clock, of processor time, and peak memory, of whole processes."""
    commands = {
        "bench compare: accuracy, macro-F1, MAE, QWK, log loss": ["-m", "harness.cli", "compare", "one.0", "two.1"],
        "pandas, statsmodels' mcnemar, 100 row-wise bootstraps of macro-F1": ["-c", RIVAL, "one.0", "two.1"],
    }
    lines = [f"| two runs of {rows:,} rows | seconds | processor seconds | peak memory |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for seed, name in enumerate(("one.0", "two.1")):
            write_record(Path(folder), name, rows, seed)
        for what, command in commands.items():
            seconds, busy, mebibytes = _measured([sys.executable, *command], folder)
            lines.append(f"| {what} | {seconds:.1f} | {busy:.1f} | {mebibytes:,.0f} MiB |")
    return lines


def _measured(command: list[str], folder: str) -> tuple[float, float, float]:
    """Run by a process of its own, so that the peak is that of this command and no other."""
    runner = "import json,resource,subprocess,sys,time;t=time.perf_counter();subprocess.run(sys.argv[1:],check=True,stdout=2);"
    runner += "u=resource.getrusage(resource.RUSAGE_CHILDREN);"
    runner += "print(json.dumps([time.perf_counter()-t,u.ru_utime+u.ru_stime,u.ru_maxrss]))"
    done = subprocess.run([sys.executable, "-c", runner, *command], cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    seconds, busy, peak = json.loads(done.stdout)
    return seconds, busy, peak / 1024
