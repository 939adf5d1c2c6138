"""Which checkpoint of a short training two rules keep, and what it is worth on rows that chose nothing.

    python benchmarks/checkpoints.py --task sst5 --lang en --data DIR --backend minilm --predictions FOLDER

For each seed, draws a few training rows, trains the backend on them, and keeps the predictions of every checkpoint on rows of
the validation split in FOLDER (a second call finds them there). Test rows take no part. These rows are divided at random, again
and again: a few of them choose the checkpoint, the others tell its worth. `first best` is the rule of earlier versions: the
highest value of the metric, and of equal ones the earliest. Both rules stop a training by the same patience.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from harness.core.engine import Classifier, Evaluated, LabelledTexts, Standing, TrainingJob, ValidationScorer
from harness.core.errors import BenchError
from harness.core.options import RunOptions
from harness.core.types import Example, LabelKind, LabelSpace
from harness.running.plan import make_plan
from harness.specs.catalog import Catalog
from harness.statistics.checkpoint_choice import CheckpointChoice, ranked_probability_score
from harness.statistics.metrics import LOWER_IS_BETTER
from harness.statistics.row_means import SMOOTH, features

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONSTANT = 0.95
"""Share of one label among the answers from which on a checkpoint counts as nearly constant."""


@dataclass(frozen=True, slots=True)
class Course:
    """One training. `probabilities`: shape (checkpoints, rows, labels); `truth`: shape (rows,)."""

    seed: int
    probabilities: Floats
    truth: Ints


def trained(request: RunOptions, catalog: Catalog, pool: int) -> Course:
    """Train to the end, and predict `pool` validation rows with every checkpoint."""
    plan = make_plan(request.changed(validation_limit=pool), catalog)
    assert plan.training is not None
    assert isinstance(plan.engine, Classifier)
    found: list[Floats] = []

    def metrics(probabilities: Floats) -> dict[str, float]:
        found.append(np.asarray(probabilities, dtype=np.float64))
        return {"accuracy": float(len(found))}  # each is better than the one before: nothing stops the training

    def texts(rows: Sequence[Example]) -> LabelledTexts:
        return LabelledTexts([row.text for row in rows], [row.label for row in rows])

    scorer = ValidationScorer(metrics, "accuracy", frozenset())
    train, validation = texts(plan.training.train), texts(plan.training.validation)
    with TemporaryDirectory() as scratch:
        job = TrainingJob(
            train, validation, plan.task.label_space, scorer, request.seed, Path(scratch), lambda done, total, note: None
        )
        plan.engine.fit(job)
    plan.engine.close()
    return Course(request.seed, np.stack(found), np.array(validation.labels, dtype=np.int64))


def first_best(values: Sequence[float], patience: int) -> int:
    """The rule of earlier versions: the number of the checkpoint that it keeps."""
    best = waited = 0
    for number, value in enumerate(values[1:], 1):
        best, waited = (number, 0) if value > values[best] else (best, waited + 1)
        if waited >= patience:
            break
    return best


def bench(choice: CheckpointChoice, metric: str, found: Sequence[tuple[Floats, dict[str, float]]], patience: int) -> int:
    """That of bench."""
    standing: Standing = {}
    best = waited = 0
    for number, (probabilities, metrics) in enumerate(found):
        evaluated = Evaluated(metric, metrics, probabilities, metric in LOWER_IS_BETTER)
        replaced, standing = choice(standing, evaluated)
        best, waited = (number, 0) if replaced else (best, waited + 1)
        if waited >= patience:
            break
    return best


def scores(probabilities: Floats, truth: Ints, labels: LabelSpace) -> dict[str, float]:
    """What a training computes on validation rows, without intervals."""
    answers = probabilities.argmax(axis=1)

    def value(name: str) -> float:
        means = features(name, labels, truth, answers).mean(axis=0, keepdims=True)
        return float(SMOOTH[name](means)[0][0])

    given = np.clip(probabilities[np.arange(len(truth)), truth], np.finfo(float).eps, 1)
    found = {"accuracy": float((answers == truth).mean()), "macro_f1": value("macro_f1"), "loss": float(-np.log(given).mean())}
    if labels.kind is LabelKind.ORDINAL:
        found |= {"qwk": value("qwk"), "rps": ranked_probability_score(probabilities, truth)}
    return found


def worth(course: Course, labels: LabelSpace, metric: str, count: int, options: argparse.Namespace) -> Floats:
    """Shape (2 rules, 4): whether the kept checkpoint gives nearly one label only, and its accuracy, macro-F1 and `metric` on
    held-out rows; means over random divisions of the rows."""
    chance, total = np.random.default_rng(course.seed), np.zeros((2, 4))
    for _ in range(options.divisions):
        order = chance.permutation(len(course.truth))
        few, rest = order[:count], order[count:]
        truth = course.truth[few]
        found = [(p[few], scores(p[few], truth, labels)) for p in course.probabilities]
        choice = CheckpointChoice(labels, truth, lambda p: np.asarray(p.argmax(axis=1)))
        numbers = (
            first_best([metrics[metric] for _, metrics in found], options.patience),
            bench(choice, metric, found, options.patience),
        )
        for rule, number in enumerate(numbers):
            p = course.probabilities[number][rest]
            held_out = scores(p, course.truth[rest], labels)
            often = np.bincount(p.argmax(axis=1)).max() / len(p)
            total[rule] += [often > CONSTANT, held_out["accuracy"], held_out["macro_f1"], held_out[metric]]
    return total / options.divisions


def table(courses: Sequence[Course], labels: LabelSpace, options: argparse.Namespace) -> None:
    metrics = ["accuracy", "qwk"] if labels.kind is LabelKind.ORDINAL else ["accuracy", "macro_f1"]
    print("| chosen by | rows that choose | rule | nearly constant | accuracy | macro-F1 | the metric itself |")
    print("|---|---|---|---|---|---|---|")
    for metric in metrics:
        for count in options.rows:
            found = np.stack([worth(course, labels, metric, count, options) for course in courses])
            means = found.mean(axis=0)
            for name, row in zip(("first best", "bench"), means, strict=True):
                print(f"| {metric} | {count} | {name} | {row[0]:.0%} | {row[1]:.3f} | {row[2]:.3f} | {row[3]:.3f} |")
            gain = found[:, 1, 3] - found[:, 0, 3]
            error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.nan
            print(f"| | | gain, over {len(gain)} seeds | | | | {gain.mean():+.3f} ± {error:.3f} |", flush=True)


def read_courses(options: argparse.Namespace, catalog: Catalog) -> list[Course]:
    options.predictions.mkdir(parents=True, exist_ok=True)
    courses = []
    for seed in options.seeds:
        path = options.predictions / f"{seed}.npz"
        if not path.exists():
            settings = {"train.epochs": options.epochs, "max_length": options.max_length, "train.patience": options.epochs}
            request = RunOptions(
                task=options.task,
                backend=options.backend,
                lang=options.lang,
                data=options.data,
                train_limit=options.train_rows,
                resample_train=True,
                seed=seed,
                settings=settings,
            )
            course = trained(request, catalog, options.pool)
            np.savez_compressed(path, probabilities=course.probabilities, truth=course.truth)
        with np.load(path) as kept:
            courses.append(Course(seed, kept["probabilities"], kept["truth"]))
    return courses


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        catalog = Catalog(Path.cwd())
        table(read_courses(options, catalog), catalog.task(options.task).label_space, options)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument("--lang", required=True)
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--backend", default="minilm", metavar="NAME", help="one that trains an encoder")
    parser.add_argument("--predictions", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--train-rows", type=int, default=150, metavar="N")
    parser.add_argument("--pool", type=int, default=450, metavar="N", help="validation rows that are predicted")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 200], metavar="N", help="of these, the ones that choose")
    parser.add_argument("--epochs", type=int, default=10, metavar="N")
    parser.add_argument("--max-length", type=int, default=48, metavar="N")
    parser.add_argument("--patience", type=int, default=2, metavar="N")
    parser.add_argument("--divisions", type=int, default=100, metavar="N", help="of the rows, at random")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3], metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main())
