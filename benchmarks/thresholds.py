"""What ways to choose the thresholds of a multilabel task are worth on rows that chose nothing: micro-F1 and macro-F1.

    python benchmarks/thresholds.py --task TASK --lang en --data DIR

Trains `tfidf` (and `majority`) on train rows of the task; test rows take no part. Its validation rows are divided in two at
random, again and again: a few of the one half choose the thresholds, the other half tells what these are worth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.core.engine import Classifier, LabelledTexts, TrainingJob, ValidationScorer
from harness.core.errors import BenchError, UserError
from harness.core.options import RunOptions
from harness.core.types import Example, LabelKind
from harness.running.plan import make_plan
from harness.running.thresholds import each_threshold, micro_f1, one_threshold, tuned_thresholds
from harness.specs.catalog import Catalog

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SCORER = ValidationScorer(lambda probabilities: {"micro_f1": 0.0}, "micro_f1", frozenset())


def label_f1(p: Floats, truth: Ints) -> Floats:
    """The rule of earlier versions of bench: for each label by itself the threshold with the highest F1."""
    return np.array([one_threshold(p[:, [k]], truth[:, [k]]) for k in range(truth.shape[1])])


RULES: dict[str, Callable[[Floats, Ints], Floats | float]] = {
    "a half": lambda p, truth: 0.5,
    "each label's F1": label_f1,
    "one for all": one_threshold,
    "one for each": lambda p, truth: each_threshold(p, truth, one_threshold(p, truth)),
    "bench": lambda p, truth: np.array(tuned_thresholds(p, truth)),
}


def macro_f1(p: Floats, truth: Ints, thresholds: Floats | float) -> float:
    """The mean over the labels that are given or true anywhere."""
    from sklearn.metrics import f1_score

    return float(f1_score(truth, p >= thresholds, average="macro", zero_division=np.nan))


def validation_scores(request: RunOptions, catalog: Catalog) -> tuple[Floats, Ints]:
    """Probabilities and truth (0 or 1) of the task's validation rows, both of shape (rows, labels)."""
    plan = make_plan(request, catalog)
    labels = plan.task.label_space
    if labels.kind is not LabelKind.MULTILABEL:
        raise UserError(f"The task {plan.task.name!r} is {labels.kind}.", "Name a multilabel one.")
    assert plan.training is not None
    assert isinstance(plan.engine, Classifier)
    rows = plan.training.validation
    train = _texts(plan.training.train)
    plan.engine.fit(TrainingJob(train, _texts([]), labels, SCORER, 0, Path("unused"), lambda done, total, note: None))
    p = plan.engine.predict(plan.engine.encode([row.text for row in rows]))
    truth = [[int(isinstance(row.label, tuple) and k in row.label) for k in range(len(labels))] for row in rows]
    return p, np.array(truth, dtype=np.int64)


def _texts(rows: Sequence[Example]) -> LabelledTexts:
    return LabelledTexts([row.text for row in rows], [row.label for row in rows])


def worth(p: Floats, truth: Ints, count: int, repetitions: int, seed: int) -> dict[str, tuple[float, float]]:
    """By rule: mean micro-F1 and macro-F1 of halves of the rows, the thresholds chosen on `count` rows of the other half."""
    chance, half = np.random.default_rng(seed), len(p) // 2
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES}
    for _ in range(repetitions):
        order = chance.permutation(len(p))
        few, rest = order[:half][:count], order[half:]
        for name, rule in RULES.items():
            chosen = rule(p[few], truth[few])
            found[name].append((micro_f1(p[rest], truth[rest], chosen), macro_f1(p[rest], truth[rest], chosen)))
    means = {name: np.mean(values, axis=0) for name, values in found.items()}
    return {name: (float(micro), float(macro)) for name, (micro, macro) in means.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    print(f"| model | rows that choose | {' | '.join(RULES)} |\n|---|---|{'---|' * len(RULES)}")
    try:
        for backend in ("tfidf", "majority"):
            request = RunOptions(
                task=options.task, backend=backend, lang=options.lang, train_limit=options.train_rows, data=options.data
            )
            p, truth = validation_scores(request, Catalog(Path.cwd()))
            for count in options.rows:
                if count > len(p) // 2:
                    print(f"Half of the {len(p)} validation rows are fewer than {count}.", file=sys.stderr)
                    continue
                found = worth(p, truth, count, options.repetitions, options.seed)
                cells = [f"{micro:.3f} / {macro:.3f}" for micro, macro in found.values()]
                print(f"| {backend} | {count} | {' | '.join(cells)} |", flush=True)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument("--lang", required=True)
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--train-rows", type=int, default=3000, metavar="N")
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 200, 1000], metavar="N", help="that choose the thresholds")
    parser.add_argument("--repetitions", type=int, default=40, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
