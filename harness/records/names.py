"""What configurations are called wherever people read of them: no two that differ have the same name."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from harness.core.json_files import digest
from harness.records.entries import Entry

LONGEST = 40
"""Characters of a list of settings that is shown as it is; of a longer one its digest is shown."""
DIGITS = 8
"""Of a digest that is shown; more where two digests begin alike."""
_DIGEST = re.compile(r"[0-9a-f]{32,64}")


def names_of(items: Sequence[Sequence[Entry]], words: Sequence[str]) -> list[str]:
    """The shortest that tells them apart: the display name, or `name (words)`; arguments as in `told_apart`."""
    labels = Counter(runs[0].display_name for runs in items)
    told = told_apart(items, words)
    return [
        runs[0].display_name if labels[runs[0].display_name] == 1 else f"{runs[0].display_name} ({said})"
        for runs, said in zip(items, told, strict=True)
    ]


def told_apart(items: Sequence[Sequence[Entry]], words: Sequence[str]) -> list[str]:
    """`words`, and where an item reads as another one does, also what their identities differ in: `…, batch_size=16`.

    An item is what has one line, with its runs (of several seeds, or languages); what these do not share is no part of its
    name. Where the identities don't tell two items apart, the end of the id of the run in the middle does.
    """
    found = list(words)
    for facts_of in (_facts, _digits, _run):
        for places in _alike(items, found):
            for place, said in zip(places, _differences([facts_of(items[place]) for place in places]), strict=True):
                found[place] = ", ".join(part for part in (found[place], *said) if part)
    return found


def _alike(items: Sequence[Sequence[Entry]], words: Sequence[str]) -> list[list[int]]:
    """The places of those that read alike."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, (runs, said) in enumerate(zip(items, words, strict=True)):
        places.setdefault((runs[0].display_name, said), []).append(place)
    return [alike for alike in places.values() if len(alike) > 1]


def _facts(runs: Sequence[Entry]) -> dict[str, Any]:
    """What all runs of an item have in common, by its name in the identity."""
    first, *others = ({"n": run.record.n, **_flat(run.record.identity.as_json())} for run in runs)
    shared = {name: value for name, value in first.items() if all(name in other and other[name] == value for other in others)}
    return {_shortened(name, shared): value for name, value in shared.items()}


def _shortened(name: str, names: Collection[str]) -> str:
    """An option as `--set` calls it, unless the backend has a fact of the same name."""
    option = name.removeprefix("backend.options.")
    if option != name and f"backend.{option}" not in names and option not in names:
        return option
    plain = name.removeprefix("backend.")
    return name if plain in names else plain


def _digits(runs: Sequence[Entry]) -> dict[str, Any]:
    return {"run": runs[len(runs) // 2].run_id.rpartition(".")[2]}


def _run(runs: Sequence[Entry]) -> dict[str, Any]:
    """All of the id: a folder that was copied under another name has the digits of the first."""
    return {"id": runs[len(runs) // 2].run_id}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return found


def _differences(facts: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Of each what is set there, and not the same in all of them."""
    names = list(dict.fromkeys(name for own in facts for name in own))
    said: list[list[str]] = [[] for _ in facts]
    for name in names:
        values = [own.get(name) for own in facts]
        if any(value != values[0] for value in values):
            for parts, text in zip(said, _texts(values), strict=True):
                parts += [] if text is None else [text if name == "run" else f"{name}={text}"]
    return said


def _texts(values: Sequence[Any]) -> list[str | None]:
    """None for what is not set. Only digests are cut, and none so far that two of them look the same."""
    texts = [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
    texts = [
        digest([text]) if text is not None and isinstance(value, list) and len(text) > LONGEST else text
        for value, text in zip(values, texts, strict=True)
    ]
    digests = {text for text in texts if text is not None and _DIGEST.fullmatch(text)}
    kept = digits_of(digests)
    return [text[:kept] if text is not None and text in digests else text for text in texts]


def digits_of(digests: Collection[str]) -> int:
    """How many of their first digits tell these digests apart: `DIGITS` at least."""
    kept = DIGITS
    while len({text[:kept] for text in digests}) < len(set(digests)):
        kept += 1
    return kept
