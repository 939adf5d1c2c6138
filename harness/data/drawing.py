"""Which rows train, validate and test where the data do not say, and which rows a sample or a limit takes.

There is one way to draw. Rows that must not be parted form a unit. Units are ranked by a hash of their content, label by label,
and the first ones are drawn. So the order of the file, row numbers and ids change nothing, and an added row moves only the rows
at the border. In a split, rows of one group, or else of one text, are a unit. In a sample or a limit each row is a unit.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from harness.core.errors import DataError
from harness.core.types import Example, Label, text_digest
from harness.data.duplicates import normalized
from harness.specs.tasks import Sample, Split, Stratified

Stratum = tuple[str, Label]
"""A language and a label."""
ALONE = "\0"
"""The group of a row without one begins with it: such a row is a group of its own."""
NEAR = 0.02
"""How far the shares of rows and labels in a draw may be from those asked for, beside one row: large groups fit no share."""
DRAWS = 100
"""Draws, at most, of which the nearest is taken."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows that are drawn together, as positions. `key`: the part of their content that ranks them."""

    rows: list[int]
    key: str


def hash_rank(row_id: str, salt: str) -> tuple[bytes, str]:
    """What sorts rows at random, but always alike, and whatever other rows there are."""
    return hashlib.sha256((salt + row_id).encode(errors="surrogatepass")).digest(), row_id


def content_keys(texts: Sequence[str], labels: Sequence[Label]) -> list[str]:
    """A different key for each row, made of its text. The rows of one text are counted in the order of their labels, so that
    the order of the file changes nothing."""
    keys = list(map(text_digest, texts))
    repeated = {digest for digest, following in pairwise(sorted(keys)) if digest == following}
    alike: dict[str, list[int]] = defaultdict(list)  # of the few texts that several rows have
    for place, digest in enumerate(keys) if repeated else ():
        if digest in repeated:
            alike[digest].append(place)
    for digest, places in alike.items():
        for number, place in enumerate(sorted(places, key=lambda place: _sortable(labels[place])), start=1):
            keys[place] = digest + (f"-{number}" if number > 1 else "")
    return keys


def _sortable(label: Label) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else (label,)


def single_rows(examples: Sequence[Example]) -> list[Unit]:
    """Each row is a unit."""
    ordered = sorted(range(len(examples)), key=lambda row: examples[row].id)  # the ids part rows of one text and one label
    keys = content_keys([examples[row].text for row in ordered], [examples[row].label for row in ordered])
    return [Unit([row], key) for row, key in zip(ordered, keys, strict=True)]


def tied_rows(examples: Sequence[Example], texts: Sequence[str], rows: Sequence[int]) -> list[Unit]:
    """Those of `rows` that have one group are a unit; so are, without a group, those with the same of `texts` (normalized).

    A text does not tie groups to each other: stock phrases ("nice app") would tie nearly all of them. Rows with such a text are
    left out of the train rows by `divide`. Each language has its own texts, as it is divided by itself.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        group = examples[row].group
        alone = group is None or group.startswith(ALONE)
        members[("text " + examples[row].lang, texts[row]) if alone else ("group", str(group))].append(row)
    # Of a text as it stands, so that a change of the normalization changes no rank.
    return [
        Unit(tied, text_digest(name) if kind == "group" else min(text_digest(examples[row].text) for row in tied))
        for (kind, name), tied in members.items()
    ]


def _normalized(examples: Sequence[Example]) -> list[str]:
    return [normalized(example.text) or example.text for example in examples]


def draw(examples: Sequence[Example], count: int, salt: str) -> tuple[list[Example], list[Example]]:
    """`count` single rows and the rest, with the same shares of labels. 100 rows are among 500."""
    taken, left = _draw(examples, single_rows(examples), count, salt)
    return [examples[row] for row in _positions(taken)], [examples[row] for row in _positions(left)]


def _draw(
    examples: Sequence[Example], units: Sequence[Unit], count: int, salt: str, leave: int = 1
) -> tuple[list[Unit], list[Unit]]:
    """Units of about `count` rows and the rest, in the order of the draw, with the same shares of labels as far as the sizes of
    the units allow: the first draw within `NEAR`, as of single rows each is, or else the nearest of many.

    `leave`: units that are left, at least; there are more.
    """
    strata = [(example.lang, example.label) for example in examples]
    counts = Counter(strata[row] for unit in units for row in unit.rows)
    shares = {stratum: rows / counts.total() for stratum, rows in counts.items()}
    found: list[tuple[float, tuple[list[Unit], list[Unit]]]] = []
    for number in range(DRAWS if any(len(unit.rows) > 1 for unit in units) else 1):
        parts = _first(_ordered(strata, shares, units, f"{salt} {number}" if number else salt), count, leave)
        drawn = Counter(strata[row] for unit in parts[0] for row in unit.rows)
        gaps = [abs(drawn[stratum] / drawn.total() - share) for stratum, share in shares.items()]
        found.append((max(*gaps, abs(drawn.total() - count) / counts.total()), parts))
        if found[-1][0] <= NEAR + 1 / count:
            return parts
    return min(found, key=lambda one: one[0])[1]


def _ordered(strata: Sequence[Stratum], shares: Mapping[Stratum, float], units: Sequence[Unit], salt: str) -> list[Unit]:
    """Units by their place in their stratum, from 0 to 1: the first fifth of all units holds a fifth of each stratum."""
    alike: dict[Stratum, list[Unit]] = defaultdict(list)
    for unit in sorted(units, key=lambda unit: hash_rank(unit.key, f"{salt}\n")):
        alike[_stratum([strata[row] for row in unit.rows], shares)].append(unit)
    places: list[tuple[float, str, Unit]] = []
    for (_, label), members in alike.items():
        start = hash_rank(str(label), f"label {salt}\n")[0][0] / 256  # in [0, 1): else rare labels are all drawn, or none
        before, total = 0, sum(len(unit.rows) for unit in members)
        for unit in members:
            places.append(((before + start * len(unit.rows)) / total, unit.key, unit))
            before += len(unit.rows)
    return [unit for _, _, unit in sorted(places, key=lambda place: place[:2])]


def _stratum(strata: Sequence[Stratum], shares: Mapping[Stratum, float]) -> Stratum:
    """The one of which a unit has the most rows above its share."""
    if len(strata) == 1:
        return strata[0]
    counts = Counter(strata)
    return max(counts, key=lambda one: (counts[one] - len(strata) * shares[one], one[0], _sortable(one[1])))


def _first(ordered: Sequence[Unit], count: int, leave: int) -> tuple[list[Unit], list[Unit]]:
    """The first units of about `count` rows, exactly `count` where small units can fill up; and the rest."""
    taken: list[Unit] = []
    left: list[Unit] = []
    room = count
    for number, unit in enumerate(ordered):
        if len(unit.rows) <= room and len(left) + len(ordered) - number > leave:
            taken.append(unit)
            room -= len(unit.rows)
        else:
            left.append(unit)
    if room and len(left) > leave:  # no unit fits any more: one too many may be nearer to `count`
        least = min(left, key=lambda unit: len(unit.rows))
        if not taken or len(least.rows) < 2 * room:
            taken.append(least)
            left.remove(least)
    return taken, left


def _positions(units: Sequence[Unit]) -> list[int]:
    return [row for unit in units for row in unit.rows]


def divide(
    examples: list[Example], how: Stratified, origin: str, frozen: Mapping[str, Sequence[str]] | None = None
) -> dict[Split, list[Example]]:
    """Three splits that share no text and no group. `frozen`: the ids of the test rows by language.

    Where test rows are frozen, or a text stands in several groups, a row that is no test row may have the text or the group of
    one; it is in no split, and so is a train row with the text of a validation row. Raises `DataError`.
    """
    total = len(examples)
    test = round(total * how.shares.test) if frozen is None else sum(map(len, frozen.values()))
    validation = round(total * how.shares.validation)
    if min(test, validation, total - test - validation) < 1:
        raise DataError(f"{origin}: {total} rows are too few for three splits.")
    salt, texts = f"split {how.seed}", _normalized(examples)
    if frozen is None:
        units = tied_rows(examples, texts, range(total))
        _check(units, 3, origin)
        tested, others = map(_positions, _draw(examples, units, test, salt, leave=2))
    else:
        tested, others = _parted(examples, frozen, origin)
    left = _unlike(examples, texts, others, tested)
    validated, trained = _validated(examples, texts, left, validation, salt, origin)
    found: dict[Split, list[int]] = {"train": trained, "validation": validated, "test": tested}
    return {split: [examples[row] for row in rows] for split, rows in found.items()}


def _validated(
    examples: Sequence[Example], texts: Sequence[str], rows: Sequence[int], count: int, salt: str, origin: str
) -> tuple[list[int], list[int]]:
    """Of `rows` those that validate, about `count`, and those that train."""
    units = tied_rows(examples, texts, rows)
    _check(units, 2, origin)
    validated, trained = map(_positions, _draw(examples, units, count, salt))
    return validated, _unlike(examples, texts, trained, validated)


def _unlike(examples: Sequence[Example], texts: Sequence[str], rows: Sequence[int], others: Sequence[int]) -> list[int]:
    """Those of `rows` that share neither a text nor a group with `others`."""
    known = {(examples[row].lang, texts[row]) for row in others}
    groups = {examples[row].group for row in others if examples[row].group is not None}
    return [row for row in rows if (examples[row].lang, texts[row]) not in known and examples[row].group not in groups]


def _check(units: Sequence[Unit], least: int, origin: str) -> None:
    if len(units) < least:
        raise DataError(
            f"{origin}: rows of one text or group stay together, and that leaves {len(units)} part{'s' * (len(units) != 1)} to"
            f" divide; {least} are needed.",
            "Add rows. If `columns.group` in the task's YAML names a column with few values, leave it out.",
        )


def _parted(examples: Sequence[Example], frozen: Mapping[str, Sequence[str]], origin: str) -> tuple[list[int], list[int]]:
    """Those with the ids `frozen`, and the rest. A test row whose text was changed must not become a train row in silence."""
    wanted = [(lang, row_id) for lang, ids in frozen.items() for row_id in ids]
    places = {(example.lang, example.id): row for row, example in enumerate(examples)}
    gone = [row_id for lang, row_id in wanted if (lang, row_id) not in places]
    if gone:
        raise DataError(
            f"{origin}: {len(gone)} of the {len(wanted)} rows of `test_ids` are gone or have other texts, first {gone[0]!r}.",
            "Take their ids out of the file of `test_ids`; or draw anew: `bench init FILE --freeze-test --force`.",
        )
    kept = set(wanted)
    return [places[name] for name in wanted], [row for name, row in places.items() if name not in kept]


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


def set_aside(examples: list[Example], share: float, origin: str) -> dict[Split, list[Example]]:
    """Train rows, and the share of them that validates; they share no text and no group. Raises `DataError`."""
    count = round(len(examples) * share)
    if not 0 < count < len(examples):
        rows = f"{len(examples)} train row{'s are' if len(examples) > 1 else ' is'} too few"
        hint = "Add rows, or a file with validation rows."
        raise DataError(f"{origin}: {rows} to set {share:.0%} aside for validation.", hint)
    salt = f"split {Stratified().seed}"
    validated, trained = _validated(examples, _normalized(examples), range(len(examples)), count, salt, origin)
    return {"train": [examples[row] for row in trained], "validation": [examples[row] for row in validated]}


def sampled(examples: list[Example], how: Sample) -> list[Example]:
    """Single rows, also of a task with groups: a sample has as many groups as it can."""
    count = how.count if how.count is not None else max(1, round(len(examples) * (how.share or 0.0)))
    return examples if count >= len(examples) else draw(examples, count, f"split {how.seed}")[0]


def first_rows(rows: Sequence[Example], limit: int | None, seed: int | None = None, stratify: bool = False) -> list[Example]:
    """`limit` rows, the same for every backend, in their order: those with the lowest hashed ids, so that 100 are among 500,
    and a file sorted by label gives no sample of one class. Each `seed` is another sample. `stratify`: with the same share of
    each label as all rows (`stratify_limits` of a task)."""
    if limit is None or limit >= len(rows):
        return list(rows)
    salt = "" if seed is None else f"{seed}\n"
    if stratify:
        chosen = {row.id for row in draw(rows, limit, f"limit {salt}")[0]} if limit else set()
    else:
        chosen = set(sorted((row.id for row in rows), key=lambda row_id: hash_rank(row_id, salt))[:limit])
    return [row for row in rows if row.id in chosen]
