"""How well `bench analyze data` ranks rows by label errors: some labels of recorded runs are changed, and looked for.

    python benchmarks/label_errors.py
    python benchmarks/label_errors.py --task banking77 --lang en
    python benchmarks/label_errors.py --data DIR --repetitions 1

Takes all runs in results/runs on the test rows that most models share; without --task made-up runs of three models, one of 20
labels and one of an ordinal task of 5. With --data, cross-validated tfidf predictions of the train rows of a folder (a column
`text` and a column `label`): one model. In each repetition the labels of `--share` of the rows are replaced by others, drawn at
random (of an ordinal task two steps or more away), for all models alike. What is ranked high besides may be wrong in truth: so
the figures are lower bounds.

before:   the list up to version 0.9, of rows in which two models are confident of the same other label
cleanlab: self-confidence and normalized margin, of the most accurate model and of all of them (its ensemble score); only if it
          is installed
found in the first n: of the n labels that were changed, the share among the n rows ranked first
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.analysis import suspects
from harness.analysis.suspects import model_of, shortlist
from harness.core.arrays import FloatArray
from harness.core.predictions import Predictions
from harness.core.record import Identity
from harness.core.types import LabelKind, LabelSpace
from harness.data.formats import read_file
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


def made_up(chance: np.random.Generator, k: int, kind: LabelKind, rows: int = 1000) -> list[Predictions]:
    """Three models; each adds noise of its own to the noise that they share. Of an ordinal task labels near each other are
    alike."""
    truth = chance.integers(0, k, rows)
    labels = LabelSpace(kind, tuple(f"l{label}" for label in range(k)))
    steps = abs(np.arange(k) - truth[:, None])
    signal = -1.5 * steps if kind is LabelKind.ORDINAL else np.where(steps == 0, 5.0, 0.0)
    shared = chance.normal(size=(rows, k))
    return [
        _run(f"m{number}", labels, truth, signal + shared + noise * chance.normal(size=(rows, k)))
        for number, noise in enumerate((0.5, 1.0, 1.5))
    ]


def cross_validated(path: Path, kind: LabelKind, chance: np.random.Generator, share: float) -> tuple[Predictions, set[str]]:
    """Of a logistic regression on tf-idf that has learned from rows of which some labels are wrong."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline

    table = read_file(path)
    _, right = np.unique([str(label) for label in table["label"]], return_inverse=True)
    labels = LabelSpace(kind, tuple(f"l{label}" for label in range(int(right.max()) + 1)))
    start = _run("tfidf", labels, right, np.zeros((len(right), len(labels))))
    truth, wrong = planted(start, share, chance)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=30, max_iter=200))
    shares = cross_val_predict(model, [str(text) for text in table["text"]], truth, cv=5, method="predict_proba")
    return _run("tfidf", labels, truth, np.log(shares)), wrong


def _run(name: str, labels: LabelSpace, truth: np.ndarray, logits: FloatArray) -> Predictions:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    parts = {"version": 1, "task": "made-up", "lang": "en", "split": "test", "rows": "", "labels": list(labels.names)}
    parts |= {"label_kind": labels.kind, "backend": {"name": name, "engine": "none"}, "train": None, "prompt": None, "seed": 0}
    ids = np.array([f"{row:06}" for row in range(len(truth))], dtype=object)
    known = np.ones(len(truth), dtype=bool)
    return Predictions(name, Identity.model_validate(parts), labels, ids, truth, shares.argmax(axis=1), known, shares)


def old_list(voters: Sequence[suspects._Voter], ids: list[str], truth: np.ndarray, labels: LabelSpace) -> list[str]:
    """The list up to version 0.9: two models agree on another label, and more than on the given one; by difference of means."""
    n, k = voters[0].probabilities.shape
    votes, every = np.zeros((n, k)), np.arange(n)
    for voter in voters:
        sure = suspects._confident_in(voter, truth)
        votes[np.flatnonzero(sure >= 0), sure[sure >= 0]] += 1
    mean = np.mean([voter.probabilities for voter in voters], axis=0)
    others = votes + mean / 2
    others[every, truth] = -1
    other = others.argmax(axis=1)
    strength = mean[every, other] - mean[every, truth]
    listed = (votes[every, other] >= 2) & (votes[every, other] > votes[every, truth]) & (strength > 0)
    if labels.kind is LabelKind.ORDINAL and k > 2:
        listed &= abs(other - truth) > 1
    return [ids[row] for row in sorted(np.flatnonzero(listed), key=lambda row: (-strength[row], ids[row]))]


def cleanlab_orders(voters: Sequence[suspects._Voter], ids: list[str], truth: np.ndarray) -> dict[str, list[str]]:
    try:
        from cleanlab.rank import get_label_quality_ensemble_scores, get_label_quality_scores
    except ImportError:
        return {}
    shares = [voter.probabilities for voter in voters]
    best = max(shares, key=lambda found: np.mean(found.argmax(axis=1) == truth))
    scores = {}
    for method in ("self_confidence", "normalized_margin"):
        scores[f"cleanlab, best model, {method}"] = get_label_quality_scores(truth, best, method=method)
        if len(shares) > 1:
            together = get_label_quality_ensemble_scores(truth, shares, method=method, verbose=False)
            scores[f"cleanlab, all models, {method}"] = together
    return {name: [ids[row] for row in np.argsort(values, kind="stable")] for name, values in scores.items()}


def orders(runs: list[Predictions]) -> dict[str, list[str]]:
    """Method -> the ids of the rows, most suspect first."""
    ids, truth = suspects._rows(runs)
    probable = [run for run in runs if run.probabilities is not None]
    voters = [voter for voter in suspects._voters(probable, ids) if suspects._knows(voter, truth)]
    found = shortlist(runs)
    best = max(runs, key=lambda run: (run.probabilities is not None, np.count_nonzero(run.correct)))
    return {
        "before": old_list(voters, ids, truth, runs[0].labels),
        "bench": [suspect.id for suspect in found.suspects],
        **({"bench, best model alone": [one.id for one in shortlist([best]).suspects]} if len(voters) > 1 else {}),
        **cleanlab_orders(voters, ids, truth),
    }


def measure(samples: list[tuple[list[Predictions], set[str]]]) -> None:
    """`samples`: runs with wrong labels, and the rows that have them."""
    figures: dict[str, list[tuple[float, float, float]]] = {}
    for runs, wrong in samples:
        for name, order in orders(runs).items():
            first = len(wrong & set(order[: len(wrong)])) / len(wrong)
            figures.setdefault(name, []).append((first, len(wrong & set(order[:TOP])) / TOP, len(order)))
    print("| method | found in the first n | right among the first 10 | rows ranked |\n|---|---|---|---|")
    for name, values in figures.items():
        first, top, ranked = np.mean(values, axis=0)
        print(f"| {name} | {first:.2f} | {top:.0%} | {ranked:,.0f} |")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    chance = np.random.default_rng(options.seed)

    def changed(runs: list[Predictions]) -> tuple[list[Predictions], set[str]]:
        truth, wrong = planted(runs[0], options.share, chance)
        return [replace(run, truth=truth) for run in runs], wrong

    if options.task is None and options.data is None:
        for k, kind in ((20, LabelKind.NOMINAL), (5, LabelKind.ORDINAL)):
            print(f"\nMade up: 3 models, {k} labels, {kind}; {options.share:.0%} of the labels changed\n")
            measure([changed(made_up(chance, k, kind)) for _ in range(options.repetitions)])
        return 0
    if options.data is not None:
        kind = LabelKind.ORDINAL if options.ordinal else LabelKind.NOMINAL
        path = options.data / "train.parquet" if options.data.is_dir() else options.data
        print(f"{path.parent.name}: cross-validated tfidf; {options.share:.0%} of the labels changed\n")
        found = [cross_validated(path, kind, chance, options.share) for _ in range(options.repetitions)]
        measure([([run], wrong) for run, wrong in found])
        return 0
    runs = same_rows(Store(options.results / "runs"), options.task, options.lang)
    if not runs:
        print("There are no such runs.", file=sys.stderr)
        return 2
    models = ", ".join(shortlist(runs).models)
    print(f"{options.task}, {options.lang}: {len(runs)} runs of {models} on {len(runs[0])} rows;", end=" ")
    print(f"{options.share:.0%} of the labels changed, {options.repetitions} times\n")
    measure([changed(runs) for _ in range(options.repetitions)])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", metavar="NAME", help="of recorded runs; default: made-up runs")
    parser.add_argument("--lang", default="en")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="cross-validate a model on the rows of DIR/train.parquet, or a file"
    )
    parser.add_argument("--ordinal", action="store_true", help="the labels of --data are ordered")
    parser.add_argument("--share", type=float, default=0.05, metavar="SHARE", help="of the labels that are changed")
    parser.add_argument("--repetitions", type=int, default=20, metavar="N")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
