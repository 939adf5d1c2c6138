"""Unique names of configurations."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from harness.core.json_files import digest
from harness.records.entries import Entry

LONGEST = 40
"""Characters of a list that is shown; a longer one is shown as its digest."""
DIGITS = 8
"""Least number of digits of a digest that are shown."""
_DIGEST = re.compile(r"[0-9a-f]{32,64}")


def names_of(items: Sequence[Sequence[Entry]], words: Sequence[str]) -> list[str]:
    """The display name if it is unique, else `name (words)`; arguments as in `told_apart`."""
    names = [runs[0].display_name for runs in items]
    unique = zip(names, told_apart(items, words), strict=True)
    return [name if names.count(name) == 1 else f"{name} ({label})" for name, label in unique]


def told_apart(items: Sequence[Sequence[Entry]], words: Sequence[str]) -> list[str]:
    """`words`, extended for items with equal names by the differences of their identities: `…, batch_size=16`.

    An item is one entry of a table with its runs (of several seeds or languages); only what these share is part of its name. If
    two identities are equal, the end of the id of the middle run is added.
    """
    found = list(words)
    for facts_of in (_facts, _digits, _run):
        for places in _alike(items, found):
            for place, parts in zip(places, _differences([facts_of(items[place]) for place in places]), strict=True):
                found[place] = ", ".join(part for part in (found[place], *parts) if part)
    return found


def _alike(items: Sequence[Sequence[Entry]], words: Sequence[str]) -> list[list[int]]:
    """The indices of items with equal names."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, (runs, label) in enumerate(zip(items, words, strict=True)):
        places.setdefault((runs[0].display_name, label), []).append(place)
    return [alike for alike in places.values() if len(alike) > 1]


def _facts(runs: Sequence[Entry]) -> dict[str, Any]:
    """The parts of the identity that all runs of an item share, by name."""
    first, *others = ({"n": run.record.n, **_flat(run.record.identity.as_json())} for run in runs)
    shared = {name: value for name, value in first.items() if all(name in other and other[name] == value for other in others)}
    return {_shortened(name, shared): value for name, value in shared.items()}


def _shortened(name: str, names: Collection[str]) -> str:
    """An option as `--set` names it, unless the backend has a fact of that name."""
    option = name.removeprefix("backend.options.")
    if option != name and f"backend.{option}" not in names and option not in names:
        return option
    plain = name.removeprefix("backend.")
    return name if plain in names else plain


def _digits(runs: Sequence[Entry]) -> dict[str, Any]:
    return {"run": runs[len(runs) // 2].run_id.rpartition(".")[2]}


def _run(runs: Sequence[Entry]) -> dict[str, Any]:
    """The whole id: a folder that was copied under another name has the same digits."""
    return {"id": runs[len(runs) // 2].run_id}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return found


def _differences(facts: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """For each, the values that are set and not the same in all of them."""
    names = list(dict.fromkeys(name for own in facts for name in own))
    found: list[list[str]] = [[] for _ in facts]
    for name in names:
        values = [own.get(name) for own in facts]
        if any(value != values[0] for value in values):
            for parts, text in zip(found, _texts(values), strict=True):
                parts += [] if text is None else [text if name == "run" else f"{name}={text}"]
    return found


def _texts(values: Sequence[Any]) -> list[str | None]:
    """None for what is not set. Digests are cut as far as they stay different."""
    texts = [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
    texts = [
        digest([text]) if text is not None and isinstance(value, list) and len(text) > LONGEST else text
        for value, text in zip(values, texts, strict=True)
    ]
    digests = {text for text in texts if text is not None and _DIGEST.fullmatch(text)}
    kept = digits_of(digests)
    return [text[:kept] if text is not None and text in digests else text for text in texts]


def digits_of(digests: Collection[str]) -> int:
    """The number of first digits in which these digests differ; `DIGITS` at least."""
    kept = DIGITS
    while len({text[:kept] for text in digests}) < len(set(digests)):
        kept += 1
    return kept
