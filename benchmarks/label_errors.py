"""How many wrong labels the shortlist of `bench analyze data` finds: some labels of recorded runs are changed, and looked for.

    python benchmarks/label_errors.py --task amazon_reviews_multi --lang en

Takes all runs in results/runs on the test rows that most models share. In each repetition the labels of `--share` of these
rows are replaced by others, drawn at random (of an ordinal task two steps or more away), for all runs alike. What is on the
list besides may be wrong in truth: so its precision is a lower bound.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.analysis.suspects import model_of, shortlist
from harness.core.predictions import Predictions
from harness.core.types import LabelKind
from harness.records.predictions import read_predictions
from harness.records.store import Store

TOP = 10


def same_rows(store: Store, task: str, lang: str) -> list[Predictions]:
    """The runs on the rows that most models of this task and language were tested on."""
    identities = {name: store.record(name).identity for name in store.ids()}
    tested = {
        name: found for name, found in identities.items() if (found.task, found.lang, found.split) == (task, lang, "test")
    }
    models = Counter(rows for rows, _ in {(found.rows, model_of(found)) for found in tested.values()})
    most = max(models, key=lambda rows: (models[rows], rows), default=None)
    return [read_predictions(store, name) for name, found in tested.items() if found.rows == most]


def planted(run: Predictions, share: float, chance: np.random.Generator) -> tuple[np.ndarray, set[str]]:
    """The labels with some changed, and the ids of these rows."""
    k, truth = len(run.labels), run.truth.copy()
    far = run.labels.kind is LabelKind.ORDINAL and k > 2
    rows = chance.choice(len(run), max(1, round(share * len(run))), replace=False)
    for row in rows:
        steps = abs(np.arange(k) - truth[row])
        truth[row] = chance.choice(np.flatnonzero(steps > 1 if far and steps.max() > 1 else steps > 0))
    return truth, set(run.ids[rows].tolist())


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    runs = same_rows(Store(options.results / "runs"), options.task, options.lang)
    if not runs:
        print("There are no such runs.", file=sys.stderr)
        return 2
    chance = np.random.default_rng(options.seed)
    top, listed, recall = [], [], []
    for _ in range(options.repetitions):
        truth, wrong = planted(runs[0], options.share, chance)
        found = shortlist([replace(run, truth=truth) for run in runs])
        ids = [suspect.id for suspect in found.suspects]
        top.append(len(wrong & set(ids[:TOP])) / TOP)
        recall.append(len(wrong & set(ids)) / len(wrong))
        listed.append(len(ids))
    print(f"{len(runs)} runs of {len(found.models)} models ({', '.join(found.models)}) on {len(runs[0])} rows;", end=" ")
    print(f"{options.share:.0%} of the labels changed, {options.repetitions} times")
    print("\n| of the first 10 | of those changed, on the list | rows on the list |\n|---|---|---|")
    print(f"| {np.mean(top):.0%} were changed | {np.mean(recall):.0%} | {np.mean(listed):.0f} |")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument("--lang", required=True)
    parser.add_argument("--share", type=float, default=0.05, metavar="SHARE", help="of the labels that are changed")
    parser.add_argument("--repetitions", type=int, default=100, metavar="N")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
