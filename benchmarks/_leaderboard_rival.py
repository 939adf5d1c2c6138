"""The ranks of a leaderboard with pandas and statsmodels, as a notebook would find them.

    python _leaderboard_rival.py RESULTS

Prints JSON: [run, rank] for every row, by run; a rank is 1 + the number of rows that are significantly better by accuracy
(McNemar, all pairs of a table, Holm). Of several seeds it takes the run in the middle, and bench the mean, so not all ranks are
the same.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any


def ranks(results: Path) -> list[list[Any]]:
    import pandas as pd

    runs = []
    for folder in sorted((results / "runs").iterdir()):
        identity = pd.read_json(folder / "run.json", typ="series")["identity"]
        metrics = pd.read_json(folder / "metrics.json", typ="series")
        configuration = json.dumps({key: value for key, value in identity.items() if key != "seed"}, sort_keys=True)
        accuracy = metrics["values"]["accuracy"]["value"]
        runs.append({"run": folder.name, "rows": identity["rows"], "configuration": configuration, "accuracy": accuracy})
    frame = pd.DataFrame(runs).sort_values(["accuracy", "run"], ascending=[False, True])
    middle = frame.groupby(["rows", "configuration"]).apply(lambda seeds: seeds.iloc[len(seeds) // 2], include_groups=False)
    found = []
    for _, group in middle.groupby("rows"):
        found += _ranked(results, group.sort_values(["accuracy", "run"], ascending=[False, True]))
    return sorted(found)


def _ranked(results: Path, group: Any) -> list[list[Any]]:
    import pandas as pd
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests

    correct = {}
    for run in group["run"]:
        rows = pd.read_json(results / "runs" / run / "predictions.jsonl", lines=True).set_index("id").sort_index()
        correct[run] = rows["label"] == rows["truth"]
    pairs = list(combinations(group["run"], 2))  # the better one first
    differ = (
        multipletests([mcnemar(_counts(correct[a], correct[b])).pvalue for a, b in pairs], method="holm")[0] if pairs else []
    )
    worse = Counter(b for (_, b), is_different in zip(pairs, differ, strict=True) if is_different)
    return [[run, 1 + worse[run]] for run in group["run"]]


def _counts(a: Any, b: Any) -> list[list[int]]:
    return [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]


if __name__ == "__main__":
    print(json.dumps(ranks(Path(sys.argv[1]))))
