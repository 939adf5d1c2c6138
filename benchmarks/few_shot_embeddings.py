"""Frozen embeddings with few labels: the engine `embedding` beside plain sentence-transformers and scikit-learn.

    python benchmarks/few_shot_embeddings.py FOLDER --backend embed-minilm

FOLDER holds train.* and test.* (Parquet, JSON lines ...), with the columns `text` and `label`. The protocol is MTEB's for
classification (Muennighoff et al. 2023, arXiv:2210.07316): of each label 8 training rows, drawn 10 times; logistic regression
with at most 100 iterations; accuracy on all test rows, mean and standard deviation over draws. Both see the same draws.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backends.embedding import Embedding
from harness.core.engine import LabelledTexts, TrainingJob, ValidationScorer
from harness.core.errors import BenchError, UserError
from harness.core.types import LabelKind, LabelSpace
from harness.data.formats import read_file
from harness.specs.backend_specs import checkpoint_of, open_engine, with_settings
from harness.specs.catalog import Catalog

Floats = NDArray[np.float64]
SCORER = ValidationScorer(lambda probabilities: {"accuracy": 0.0}, "accuracy", frozenset())


def read(folder: Path, split: str) -> tuple[list[str], list[str]]:
    """Texts and labels. Raises `UserError` where the file or a column is missing."""
    found = sorted(folder.glob(f"{split}.*"))
    if not found:
        raise UserError(f"{folder} has no file {split}.*.")
    columns = read_file(found[0])
    if not {"text", "label"} <= columns.keys():
        raise UserError(f"{found[0]} lacks a column: it must have `text` and `label`.")
    return list(map(str, columns["text"])), list(map(str, columns["label"]))


def draw(labels: Sequence[int], per_label: int, seed: int) -> list[int]:
    """Indices of so many rows of each label."""
    left, chosen = dict.fromkeys(labels, per_label), []
    for row in np.random.default_rng(seed).permutation(len(labels)):
        if left[labels[row]]:
            left[labels[row]] -= 1
            chosen.append(int(row))
    return chosen


def opened(backend: str, c: float | None) -> Embedding:
    spec = with_settings(Catalog(Path.cwd()).backend(backend), {"c": c, "predict.dtype": "float32"})
    engine = open_engine(spec, checkpoint_of(spec))
    if not isinstance(engine, Embedding):
        raise UserError(f"The backend {backend!r} is of the engine {spec.engine!r}.", "Name one of the engine embedding.")
    return engine


class Ours:
    """The engine. `read` gets the embeddings of the test texts after the first training, which are the same for each draw and
    each `c`."""

    def __init__(self, engine: Embedding, labels: LabelSpace, test: Sequence[str], read: list[Floats]) -> None:
        self._engine, self._labels, self._test, self._read = engine, labels, test, read

    def probabilities(self, train: LabelledTexts, seed: int) -> Floats:
        nothing = LabelledTexts([], [])
        self._engine.fit(
            TrainingJob(train, nothing, self._labels, SCORER, seed, Path("unused"), lambda done, total, note: None)
        )
        if not self._read:
            rows = [text.content for text in self._engine.encode(self._test)]
            self._read.append(self._engine._outputs_of(rows, self._engine._launch))
        assert self._engine._head is not None
        return self._engine._head.probabilities(self._read[0])


class Theirs:
    """sentence-transformers and scikit-learn, as MTEB uses them. It reads each text once."""

    def __init__(self, like: Embedding, train: Sequence[str], test: Sequence[str]) -> None:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(like._source), device=like._device, local_files_only=True, trust_remote_code=False)
        model.max_seq_length = min(like.options.max_length, model.max_seq_length or like.options.max_length)
        texts = [*dict.fromkeys(train), *test]
        found = model.encode([like.options.prefix + text for text in texts], normalize_embeddings=True)
        self._train = dict(zip(texts, found[: len(texts) - len(test)], strict=False))
        self._test = found[len(texts) - len(test) :]

    def probabilities(self, train: LabelledTexts, seed: int) -> Floats:
        from sklearn.linear_model import LogisticRegression

        head = LogisticRegression(max_iter=100, random_state=seed)
        head.fit(np.stack([self._train[text] for text in train.texts]), train.labels)
        return np.asarray(head.predict_proba(self._test), dtype=np.float64)


def measure(folder: Path, backend: str, per_label: int, draws: int) -> dict[str, list[float]]:
    """Accuracy of each draw, by method."""
    (texts, train_names), (test, test_names) = read(folder, "train"), read(folder, "test")
    names = sorted(set(train_names))
    labels, truth = [names.index(name) for name in train_names], np.array([names.index(name) for name in test_names])
    space = LabelSpace(LabelKind.NOMINAL, tuple(names))
    samples = []
    for seed in range(draws):
        rows = draw(labels, per_label, seed)
        samples.append(LabelledTexts([texts[row] for row in rows], [labels[row] for row in rows]))
    fixed, chosen = opened(backend, 1.0), opened(backend, None)
    embeddings: list[Floats] = []
    methods = {
        "sentence-transformers + scikit-learn": Theirs(fixed, [text for sample in samples for text in sample.texts], test),
        "bench, c = 1": Ours(fixed, space, test, embeddings),
        "bench, c by cross-validation": Ours(chosen, space, test, embeddings),
    }
    return {
        name: [float((method.probabilities(sample, seed).argmax(1) == truth).mean()) for seed, sample in enumerate(samples)]
        for name, method in methods.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with train.* and test.*")
    parser.add_argument("--backend", default="embed-minilm")
    parser.add_argument("--per-label", type=int, default=8)
    parser.add_argument("--draws", type=int, default=10)
    try:
        options = parser.parse_args(arguments)
        found = measure(options.folder, options.backend, options.per_label, options.draws)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    print("| method | accuracy | SD | least | most |\n|---|---|---|---|---|")
    for name, values in found.items():
        spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
        print(f"| {name} | {np.mean(values):.3f} | {spread:.3f} | {min(values):.3f} | {max(values):.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
