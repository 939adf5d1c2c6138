"""The same configuration on several sets of rows: what makes it the same, where languages or tasks differ.

A model that was trained on its own test language alone is the same configuration in each language; one that was trained on
another language is one model for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.analysis.ranks import RankedEntry
from harness.core.json_files import canonical_json
from harness.records.entries import Entry, config_label
from harness.records.names import told_apart

NEARLY = 1.25
"""The largest ratio of the sizes of two training sets in one line, where they are not known to be all rows of their task."""

ONLY_SPEED = ("batch_size", "batch_tokens")
"""Options of a backend that do not give a separate line."""

Key = tuple[str, str, str]
"""Display name, configuration label and backend: the same for one line."""


@dataclass(frozen=True)
class Line:
    """One configuration over columns (languages, datasets); `backend`: as `Entry.display_name`. `places`: by column number."""

    backend: str
    how: str
    places: Mapping[int, RankedEntry]

    def value(self, column: int, metric: str) -> float | None:
        place = self.places.get(column)
        return None if place is None else place.row.estimate(metric).value


def lines_of(columns: Sequence[Sequence[RankedEntry]], common: Mapping[str, Any]) -> list[Line]:
    """Each configuration over the columns (sets of rows). `common`: settings that all share, which no line repeats.

    Two lines may have an entry in common: a model for all languages, with its value in its training language, and the models
    that were each trained on their own.
    """
    if len(columns) == 1:
        return _named(_lines(columns, common, False))
    own, other = _lines(columns, common, True), _lines(columns, common, False)
    across = [line for line in other if not all(_is_own(place.row.entry) for place in line.places.values())]
    there = set[str]().union(*map(_runs, across))
    per_language = [line for line in _nearly_the_same(own, common) if len(line.places) > 1 or not _runs(line) <= there]
    return _named([*per_language, *across])


def common_settings(entries: Iterable[Entry]) -> dict[str, Any]:
    """Settings that all of several configurations share; they are not repeated in each line."""
    several = list(entries)
    first = dict(several[0].record.options.settings)
    if len({entry.configuration for entry in several}) < 2:
        return {}
    for entry in several[1:]:
        settings = entry.record.options.settings
        first = {name: value for name, value in first.items() if name in settings and settings[name] == value}
    return {name: value for name, value in first.items() if name != "predict.runtime"}  # part of `how`


def _named(lines: Sequence[Line]) -> list[Line]:
    """Extend equal names by what differs in the languages that these lines share."""
    alike: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        alike.setdefault((line.backend, line.how), []).append(line)
    named = []
    for members in alike.values():
        shared = set.intersection(*(set(line.places) for line in members))
        runs = [
            [run for column, place in line.places.items() if column in shared or not shared for run in place.row.runs]
            for line in members
        ]
        hows = told_apart(runs, [line.how for line in members])
        named += [replace(line, how=how) for line, how in zip(members, hows, strict=True)]
    return named


def _lines(columns: Sequence[Sequence[RankedEntry]], common: Mapping[str, Any], per_language: bool) -> list[Line]:
    """`per_language`: models that were trained on their own test language; one line for all languages. Else: all models, by
    what they were trained on."""
    lines: dict[tuple[Key, int], dict[int, RankedEntry]] = {}
    for column, places_there in enumerate(columns):
        seen: dict[Key, int] = {}
        for place in places_there:
            if _is_own(place.row.entry) or not per_language:
                key = key_of(place.row.entry, common, per_language)
                seen[key] = seen.get(key, 0) + 1  # equal names have separate lines
                lines.setdefault((key, seen[key]), {})[column] = place
    return [Line(key[0], key[1], places) for (key, _), places in lines.items()]


def _runs(line: Line) -> set[str]:
    return {place.row.entry.key for place in line.places.values()}


def key_of(entry: Entry, common: Mapping[str, Any] | None = None, per_language: bool = False) -> Key:
    backend = entry.record.identity.backend
    options = {name: value for name, value in backend.options.items() if name not in ONLY_SPEED}
    return (
        entry.display_name,
        _how(entry, common or {}, per_language),
        canonical_json({**backend.as_json(), "options": options}),
    )


def _how(entry: Entry, common: Mapping[str, Any], per_language: bool, count: str | None = None) -> str:
    """`Entry.config_label` without the common settings, the language of a prompt's variant, and, if `per_language`, the
    training language."""
    record, identity = entry.record, entry.record.identity
    prompt, train = identity.prompt, identity.train
    if prompt is not None and prompt.variant == identity.lang:
        identity = identity.model_copy(update={"prompt": prompt.model_copy(update={"variant": None})})
    if train is not None and per_language and _is_own(entry):
        shown: dict[str, Any] = {"langs": ["of its own language"], "train_count": count or train.train_count}
        identity = identity.model_copy(update={"train": train.model_copy(update=shown)})
    settings = {name: value for name, value in record.options.settings.items() if name not in common}
    return config_label(record, identity, settings)


def _is_own(entry: Entry) -> bool:
    """Whether it was trained on its test language alone."""
    identity = entry.record.identity
    return identity.train is not None and identity.train.langs == [identity.lang]


def _nearly_the_same(lines: Sequence[Line], common: Mapping[str, Any]) -> list[Line]:
    """Join lines of one column each that were trained on all rows, or on similar numbers of rows (see `NEARLY`)."""
    kept, groups = [], dict[Key, list[tuple[int, Line]]]()
    for line in lines:
        entry = next(iter(line.places.values())).row.entry
        if len(line.places) > 1:
            kept.append(line)
        else:
            key = line.backend, _how(entry, common, True, "…"), key_of(entry)[2]
            train = entry.record.identity.train
            groups.setdefault(key, []).append((train.train_count if train else 0, line))
    for members in groups.values():
        left = sorted(members, key=lambda member: -member[0])
        while left:
            by_column: dict[int, tuple[int, Line]] = {}
            for count, line in left:
                if count * NEARLY >= left[0][0] or (_on_all_rows(line) and _on_all_rows(left[0][1])):
                    by_column.setdefault(next(iter(line.places)), (count, line))
            kept.append(_joined(list(by_column.values()), common))
            used = {id(line) for _, line in by_column.values()}
            left = [member for member in left if id(member[1]) not in used]
    return kept


def _on_all_rows(line: Line) -> bool:
    """Records of version 1 do not hold whether there was a limit."""
    record = next(iter(line.places.values())).row.entry.record
    return record.version > 1 and record.options.train_limit is None


def _joined(members: Sequence[tuple[int, Line]], common: Mapping[str, Any]) -> Line:
    (most, line), (least, _) = members[0], members[-1]
    if len(members) == 1:
        return line
    entry = next(iter(line.places.values())).row.entry
    places = {column: place for _, member in members for column, place in member.places.items()}
    count = f"{least} to {most}" if least < most else str(most)
    return Line(line.backend, _how(entry, common, True, count), dict(sorted(places.items())))
