"""One column of a file that nobody has described yet: what its cells look like."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.data.guess.name_keys import name_key
from harness.data.rows import label_key, separated

SAMPLE = 4000
"""Cells of a column that are looked at, evenly spread over the file."""

MOST_LABELS = 300
SEPARATORS = ("|", ";", "\n", ",", " ")

_COMPOUND = 7
"""Letters of a word, at least, that a longer one may end in: shorter ones are in others by chance (`operating`)."""

_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}([ ,].*)?|\d{4}年.*")
_SCRIPT_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_COMPOUNDS = re.compile(rf"{_SCRIPT_WITHOUT_SPACES.pattern}|[\uac00-\ud7a3]")  # Korean writes compounds as one word
ON_OFF = (frozenset({"0", "1"}), frozenset({"0.0", "1.0"}), frozenset({"true", "false"}))


@dataclass(frozen=True)
class Column:
    """A column; `cells` as strings, whole numbers without a point, missing ones as an empty string.

    `lists`: each row has a list; its cell is that list as JSON, each item as a string. `whole`: a cell is one label, whatever
    it holds.
    """

    name: str
    cells: Sequence[str]
    lists: bool = False
    whole: bool = False

    @cached_property
    def sample(self) -> list[str]:
        step = max(1, len(self.cells) // SAMPLE)
        return [cell for cell in self.cells[::step] if cell.strip()]

    @cached_property
    def counts(self) -> Counter[str]:
        """Of all rows, without the empty ones."""
        return Counter(cell for cell in self.cells if cell.strip())

    @property
    def words(self) -> set[str]:
        return set(re.split("_+", self.key))

    @property
    def key(self) -> str:
        """The name as the lists of words have it."""
        return name_key(self.name)

    def speaks_of(self, names: frozenset[str]) -> bool:
        """Whether the column's name is one of `names`, has it as a word, or as the last part of a compound (`Kundenbewertung`);
        in scripts without spaces, anywhere."""
        if self.key in names or self.words & names:
            return True
        return any(
            (len(name) >= 2 and _COMPOUNDS.match(name) is not None and name in self.key)
            or (len(name) >= _COMPOUND and any(word.endswith(name) for word in self.words))
            for name in names
        )

    def share(self, pattern: re.Pattern[str]) -> float:
        return sum(pattern.fullmatch(cell.strip()) is not None for cell in self.sample) / max(1, len(self.sample))

    @cached_property
    def length(self) -> float:
        return sum(map(len, self.sample)) / max(1, len(self.sample))

    @cached_property
    def spread(self) -> float:
        """Distinct cells of the sample, as a share of it."""
        return len(set(self.sample)) / max(1, len(self.sample))

    @property
    def numeric(self) -> bool:
        return self.share(_NUMBER) > 0.95

    @property
    def dates(self) -> bool:
        return self.share(_DATE) > 0.9

    @cached_property
    def wordy(self) -> bool:
        """Whether the cells are running text: several words, or a script that puts no spaces between them."""
        running = sum(len(cell.split()) >= 3 or len(_SCRIPT_WITHOUT_SPACES.findall(cell)) >= 4 for cell in self.sample)
        return running / max(1, len(self.sample)) > 0.4

    @property
    def on_off(self) -> bool:
        return any({cell.lower() for cell in self.counts} == values for values in ON_OFF)

    @cached_property
    def separator(self) -> str | None:
        """What stands between labels that are used over again in other company: `joy|anger`, `['joy', 'fear']`."""
        if self.whole:
            return None
        listed = sum(cell.strip()[:1] + cell.strip()[-1:] == "[]" for cell in self.sample) > 0.95 * len(self.sample)
        for separator in SEPARATORS:
            if not any(separator in cell for cell in self.sample):
                continue
            if separator == " " and not listed and self.share(re.compile(r"\d+( \d+)*")) < 0.99:
                continue
            cells = set(self.sample)
            parts = Counter(part for cell in cells for part in set(separated(cell, separator)))
            alone = sum(len(separated(cell, separator)) <= 1 for cell in cells)
            if listed or (len(parts) <= MOST_LABELS and sum(count > 1 for count in parts.values()) > len(parts) / 2 and alone):
                return separator if max(map(len, parts), default=0) <= 60 else None
        return "," if listed else None


def as_columns(columns: Mapping[str, list[Any]]) -> dict[str, Column]:
    """Columns as strings, as the harness reads labels: whole numbers without a point."""
    found = {}
    for name, values in columns.items():
        lists = any(isinstance(value, list) for value in values)
        written = _listed if lists else label_key
        found[name] = Column(name, ["" if _missing(value) else written(value) for value in values], lists)
    return found


def _listed(value: Any) -> str:
    items = value if isinstance(value, list) else [value]
    return json.dumps([label_key(item) for item in items], ensure_ascii=False)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
