"""The ranks of a leaderboard with pandas and statsmodels, as a notebook would find them.

    python _leaderboard_rival.py RESULTS

Prints JSON: [run, rank] for every row, by run. Sorts by accuracy, as the made-up records want it.
"""

from __future__ import annotations

import json
import sys
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
    rest, found = list(group["run"]), []
    while rest:
        best, others = rest[0], rest[1:]
        p = [mcnemar(_counts(correct[best], correct[other])).pvalue for other in others]
        apart = multipletests(p, method="holm")[0] if p else []
        level = [best, *(other for other, is_apart in zip(others, apart, strict=True) if not is_apart)]
        rank = len(found) + 1
        found += [[run, rank] for run in level]
        rest = [other for other in others if other not in level]
    return found


def _counts(a: Any, b: Any) -> list[list[int]]:
    return [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]


if __name__ == "__main__":
    print(json.dumps(ranks(Path(sys.argv[1]))))
