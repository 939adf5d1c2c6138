"""How long the first runs on new data take: what `bench init` advises, and the limits that keep it short.

The rates are those of the records in `results/`, measured on machines with two CPU cores without a GPU; other machines of this
kind differ by up to a factor of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from harness.core.types import LabelKind
from harness.specs.backend_specs import engine_class
from harness.specs.catalog import Catalog
from harness.specs.prices import tokens_of

BUDGET = 15 * 60.0
"""Seconds that all advised runs together may take, if limits can make them so short."""

ADVISED_PER_LABEL = 25
"""Test rows per label, at least: more than an interval of macro-F1 needs (`by_label.rows_needed_per_label`), as some labels are
rarer than others."""

ENGLISH = ("tfidf", "embed-minilm", "minilm", "qwen-coder-0.5b")
MULTILINGUAL = ("tfidf", "embed-e5", "e5-small", "qwen-coder-0.5b")


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one backend. `start`: seconds of imports, loading and saving; `train`, `predict`: tokens a second; `epochs`: passes
    over the train rows; `mib`: to download before the first run."""

    start: float
    train: float
    epochs: float
    predict: float
    mib: int = 0


RATES = {
    "tfidf": Rate(4, 60_000, 1, 100_000),
    "embed-minilm": Rate(12, 2_000, 1, 2_000, 84),
    "minilm": Rate(15, 700, 3, 2_000, 84),
    "embed-e5": Rate(15, 1_000, 1, 1_000, 95),
    "e5-small": Rate(20, 350, 3, 1_000, 95),
    "qwen-coder-0.5b": Rate(20, 0, 0, 200, 470),
}
LONGEST = 128
"""Tokens of a text that the trained ones read."""
TURN = 25
"""Tokens of a prompt behind the text; what stands before it is read once for all rows."""
HEAD_SECONDS = 1.5
"""Of the logistic regressions on frozen embeddings, of each label of a multilabel task and 1,000 train rows."""
NAME_SECONDS = 0.15
"""Of each name in a constrained list: its tokens come one after the other."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Of a new task. `train`, `validation`, `test`: rows by language; `tokens`: of a text, on the mean; `names`: of the labels;
    `most_labels`: of a row."""

    train: dict[str, int]
    validation: dict[str, int]
    test: dict[str, int]
    tokens: float
    kind: LabelKind
    names: Sequence[str]
    most_labels: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows per language; None: all."""

    test: int | None = None
    train: int | None = None
    validation: int | None = None

    @property
    def arguments(self) -> str:
        options = {"--limit": self.test, "--train-limit": self.train, "--validation-limit": self.validation}
        return "".join(f" {name} {value}" for name, value in options.items() if value is not None)


STEPS = (
    Limits(),
    Limits(500, 4000, 500),
    Limits(200, 2000, 500),
    Limits(200, 1000, 200),
    Limits(100, 500, 100),
    Limits(100, 250, 100),
)


@dataclass(frozen=True, slots=True)
class Advice:
    """`seconds`: of each backend, over `languages`; `mib`: to download where nothing is cached; `extras`: not installed yet."""

    languages: tuple[str, ...]
    limits: Limits
    seconds: dict[str, float]
    mib: int
    extras: tuple[str, ...]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def first_runs(rows: Rows, catalog: Catalog) -> Advice:
    """The first limits of `STEPS` with which all runs fit into `BUDGET`, with `ADVISED_PER_LABEL` test rows per label or more;
    of many languages, those with the most rows. Rather fewer languages than the shortest step, with which little is learned."""
    languages = sorted(rows.test, key=lambda lang: -rows.train[lang])
    least = ADVISED_PER_LABEL * len(rows.names)
    whole = least >= max(rows.test.values())
    steps = [replace(step, test=None if whole else step.test and max(step.test, least)) for step in STEPS]
    backends = [name for name in (ENGLISH if languages == ["en"] else MULTILINGUAL) if name in catalog.names("backend")]
    parts = [languages[:count] for count in range(len(languages), 0, -1)]
    tried = [(part, limits) for part in parts for limits in steps[:-1]] + [(languages[:1], steps[-1])]
    needed = _needed(catalog, backends)
    found = [Advice(tuple(part), limits, _seconds(rows, backends, part, limits), *needed) for part, limits in tried]
    return next((advice for advice in found if advice.total <= BUDGET), found[-1])


def _seconds(rows: Rows, backends: Sequence[str], languages: Sequence[str], limits: Limits) -> dict[str, float]:
    def count(split: dict[str, int], limit: int | None) -> int:
        return sum(min(split[lang], limit or split[lang]) for lang in languages)

    train, validation = count(rows.train, limits.train), count(rows.validation, limits.validation)
    test = count(rows.test, limits.test)
    found = {}
    for name in backends:
        rate = RATES[name]
        if rate.epochs:
            tokens = min(rows.tokens, LONGEST)
            trained = rate.epochs * (train * tokens / rate.train + validation * tokens / rate.predict)
            several = len(rows.names) if rows.kind is LabelKind.MULTILABEL and name.startswith("embed-") else 0
            heads = HEAD_SECONDS * several * train / 1000
            found[name] = len(languages) * rate.start + trained + heads + test * tokens / rate.predict
        else:
            found[name] = len(languages) * rate.start + test * _answer(rows, rate)
    return found


def _answer(rows: Rows, rate: Rate) -> float:
    """Seconds of one constrained answer."""
    read = (rows.tokens + TURN) / rate.predict
    if rows.kind is LabelKind.MULTILABEL:
        return read + NAME_SECONDS * rows.most_labels
    # All answers are read behind the prompt, in one pass; a number of a scale is one token.
    names = 0.0 if rows.kind is LabelKind.ORDINAL else len(rows.names) * (tokens_of(rows.names) - 2)
    return read + names / rate.predict


def _needed(catalog: Catalog, backends: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """MiB to download, each model once; the extras whose libraries are missing."""
    models = {catalog.backend(name).model: RATES[name].mib for name in backends}
    engines = [engine_class(catalog.backend(name).engine) for name in backends]
    lacking = [engine.extra for engine in engines if any(find_spec(library) is None for library in engine.libraries)]
    return sum(models.values()), tuple(dict.fromkeys(lacking))
