"""Which rows of a task are those of today? Its file may have been corrected, or made anew, since it was tested first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.records.entries import Entry, Group


@dataclass(frozen=True)
class RowSet:
    """The runs on the same rows with the same labels.

    `newest`: when the last of them ended (ISO 8601), "" where no record says it. `when`: as much of it as tells the sets of as
    many rows of one task, split and language apart; "" where there is only one set. `outdated`: later runs that asked for the
    same rows got others, or the task has other labels now; never where no time is known.
    """

    group: Group
    entries: tuple[Entry, ...]
    newest: str
    when: str
    outdated: bool

    @property
    def n(self) -> int:
        return int(self.entries[0].metrics["n"])


def row_sets(entries: Iterable[Entry]) -> list[RowSet]:
    """By task, split and language; of each the sets of today first, then the larger ones, then the newer ones."""
    groups: dict[Group, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    found = []
    for _, same in groupby(sorted(groups), key=lambda group: group[:3]):
        several = [(group, groups[group], _newest(groups[group])) for group in same]
        old, length = _outdated(several), _length([(members[0].metrics["n"], newest) for _, members, newest in several])
        sets = [
            RowSet(group, tuple(members), newest, _words(newest, length) if len(several) > 1 else "", group in old)
            for group, members, newest in several
        ]
        newest_first = sorted(sets, key=lambda one: (one.newest, one.group), reverse=True)
        found += sorted(newest_first, key=lambda one: (one.outdated, -one.n if not one.outdated else 0))
    return found


def _newest(members: Iterable[Entry]) -> str:
    return max(str(entry.manifest.get("finished") or "") for entry in members)


def _outdated(several: Sequence[tuple[Group, Sequence[Entry], str]]) -> Collection[Group]:
    """Newest first: what asks for as many rows as a newer set does would get that one today; and what is as old as rows that
    have gone was read from the same file. Rows of `--data` and of the task itself say nothing of each other."""
    ordered = sorted(several, key=lambda one: (one[2], one[0]), reverse=True)
    today, asked, old, gone = labels_of(ordered[0][1][0]), set[tuple[bool, int | None]](), set[Group](), set[bool]()
    for group, members, newest in ordered:
        own = {(is_given(entry), _asked(entry)) for entry in members}
        origins = {given for given, _ in own}
        if newest and (labels_of(members[0]) != today or asked & own or origins <= gone):
            old.add(group)
            gone |= origins
        else:
            asked |= own
    return old


def is_given(entry: Entry) -> bool:
    """Whether its rows came by `--data`, so that the task's own files say nothing of them."""
    return (entry.manifest.get("rows_from") or {}).get("source") == "data"


def labels_of(entry: Entry) -> tuple[str, ...]:
    """The label space: its kind and its names."""
    identity = entry.manifest["identity"]
    return str(identity["label_kind"]), *map(str, identity["labels"])


def _asked(entry: Entry) -> int | None:
    """How many rows the run asked for; None for all of them, also where it asked for more than there are."""
    limit = entry.manifest.get("limit")
    return limit if isinstance(limit, int) and entry.metrics["n"] >= limit else None


DAY, MINUTE, SECOND = len("2026-11-23"), len("2026-11-23T14:05"), len("2026-11-23T14:05:59")


def _length(times: Sequence[tuple[int, str]]) -> int:
    """The day, unless two sets of one size are of one day; then the minute, or the second. `times`: with the number of rows."""
    return next((length for length in (DAY, MINUTE) if len({(n, time[:length]) for n, time in times}) == len(times)), SECOND)


def _words(time: str, length: int) -> str:
    return time[:length].replace("T", " ")
