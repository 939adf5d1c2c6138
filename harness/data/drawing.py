"""Which rows of a file train, validate and test where the file does not say, and which ones a sample holds."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.core.errors import DataError
from harness.core.types import Example, Label
from harness.specs.tasks import Sample, Split, Stratified

Draw = Callable[[list[Example], int, int], tuple[list[Example], list[Example]]]
"""(examples, count, seed) -> `count` of them and the rest, each with the same shares of labels where the numbers allow it."""


def hash_rank(row_id: str, salt: str) -> tuple[bytes, str]:
    """What sorts rows at random, but always alike, and whatever other rows there are."""
    return hashlib.sha256((salt + row_id).encode(errors="surrogatepass")).digest(), row_id


def divide(
    examples: list[Example], how: Stratified, origin: str, draw: Draw, frozen: list[str] | None = None
) -> dict[Split, list[Example]]:
    """Three splits that do not overlap and do not depend on the order of `examples`. `frozen`: the ids of the test rows."""
    total = len(examples)
    test = round(total * how.shares.test) if frozen is None else len(frozen)
    validation = round(total * how.shares.validation)
    if min(test, validation, total - test - validation) < 1:
        raise DataError(f"{origin}: {total} rows are too few for three splits.")
    tested, others = draw(examples, test, how.seed) if frozen is None else _parted(examples, frozen, origin)
    validated, trained = draw(others, validation, how.seed)
    return {"train": trained, "validation": validated, "test": tested}


def _parted(examples: list[Example], frozen: list[str], origin: str) -> tuple[list[Example], list[Example]]:
    """Those with the ids `frozen`, and the rest. A test row whose text was changed must not become a train row in silence."""
    by_id = {example.id: example for example in examples}
    gone = [row_id for row_id in frozen if row_id not in by_id]
    if gone:
        raise DataError(
            f"{origin}: {len(gone)} of the {len(frozen)} rows of `test_ids` are gone or have other texts, first {gone[0]!r}.",
            "Take their ids out of the file of `test_ids`; or draw anew: `bench init FILE --freeze-test --force`.",
        )
    kept = set(frozen)
    return [by_id[row_id] for row_id in frozen], [example for example in examples if example.id not in kept]


def frozen_text(ids: Mapping[str, Sequence[str]]) -> str:
    """What a file of `test_ids` holds: by language the ids of the test rows, each on a line of its own."""
    return json.dumps(ids, indent=1, ensure_ascii=False).encode(errors="backslashreplace").decode() + "\n"


def frozen_ids(path: Path, lang: str) -> list[str]:
    """The ids of the test rows in a language. Raises `DataError` for a file that is not there, or holds none."""
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))[lang]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path} does not hold the ids of the test rows in {lang!r} ({reason}).",
            "`bench init FILE --freeze-test` writes it; without `test_ids` in the task's YAML, bench draws the test rows.",
        ) from error
    if not isinstance(ids, list) or not all(isinstance(row_id, str) for row_id in ids) or len(set(ids)) < len(ids):
        raise DataError(f"{path}: {lang!r} must be a list of different ids, as texts.")
    return ids


def set_aside(examples: list[Example], share: float, origin: str, draw: Draw) -> dict[Split, list[Example]]:
    """Train rows, and the share of them that validates; neither depends on the order of `examples`."""
    count = round(len(examples) * share)
    if not 0 < count < len(examples):
        rows = f"{len(examples)} train row{'s are' if len(examples) > 1 else ' is'} too few"
        hint = "Add rows, or a file with validation rows."
        raise DataError(f"{origin}: {rows} to set {share:.0%} aside for validation.", hint)
    validated, trained = draw(examples, count, Stratified().seed)
    return {"train": trained, "validation": validated}


def sampled(examples: list[Example], how: Sample, draw: Draw) -> list[Example]:
    count = how.count if how.count is not None else max(1, round(len(examples) * (how.share or 0.0)))
    return examples if count >= len(examples) else draw(examples, count, how.seed)[0]


def draw_by_shuffle(examples: list[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """A shuffle of the rows by id: one row more is another shuffle. See `Draw`."""
    from sklearn.model_selection import train_test_split

    ordered = sorted(examples, key=lambda example: example.id)
    counts = Counter(example.label for example in ordered)
    commonest = counts.most_common(1)[0][0]
    # a label with a single row can't be in both parts: it is drawn together with the commonest label
    strata = [str(example.label if counts[example.label] > 1 else commonest) for example in ordered]
    possible = len(set(strata)) <= min(count, len(ordered) - count) and Counter(strata).most_common()[-1][1] > 1
    drawn, rest = train_test_split(
        ordered, train_size=count, test_size=len(ordered) - count, random_state=seed, stratify=strata if possible else None
    )
    return list(drawn), list(rest)


def draw_by_rank(examples: list[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """The first of each label in the order of their hashed ids: rows that are added move only the rows at the border.

    For ids that are made of texts. See `Draw`.
    """
    by_label: dict[Label, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda example: hash_rank(example.id, f"split {seed}\n")):
        by_label[example.label].append(example)
    places: dict[str, tuple[float, str]] = {}
    for label, alike in by_label.items():
        start = hash_rank(str(label), f"label {seed}\n")[0][0] / 256  # in [0, 1): else rare labels are all drawn, or none
        places |= {example.id: ((place + start) / len(alike), example.id) for place, example in enumerate(alike)}
    ordered = sorted(examples, key=lambda example: places[example.id])
    return ordered[:count], ordered[count:]
