"""Numbers of parameters of the models of runs, in words."""

from __future__ import annotations

from collections.abc import Iterable

from harness.records.entries import Entry
from harness.records.weights import count_told


def size(parameters: int) -> str:
    """`135M parameters`, `7.2B parameters`."""
    return f"{count_told(parameters)} parameters"


def size_of(entry: Entry) -> str:
    """Empty if it is unknown."""
    parameters = entry.checkpoint.parameters
    return "" if parameters is None else size(parameters)


def prompted_sizes(entries: Iterable[Entry]) -> str:
    """A sentence on the sizes of the prompted models among these runs: results of small ones do not transfer to large ones.

    Empty if none is prompted. A model counts once, however it was loaded and prompted.
    """
    sizes: dict[str, int | None] = {}
    names: dict[str, str] = {}
    for entry in entries:
        identity = entry.record.identity
        if identity.prompt is not None and identity.train is None:
            model = entry.record.identity.backend.model or entry.backend
            sizes[model] = sizes.get(model) or entry.checkpoint.parameters
            names.setdefault(model, entry.display_name)
    known = {model: found for model, found in sizes.items() if found is not None}
    if not sizes:
        return ""
    if len(sizes) == 1:
        (name,) = names.values()
        only = "The only prompted model"
        return f"{only} has {size(*known.values())}." if known else f"{only}, {name}, is of unknown size."
    if not known:
        return f"The sizes of the {len(sizes)} prompted models are unknown."
    largest = size(max(known.values()))
    if len(known) == len(sizes):
        return f"The largest of the {len(sizes)} prompted models has {largest}."
    unknown = len(sizes) - len(known)
    return f"Of the {len(sizes)} prompted models the size of {unknown} is unknown; the largest of the others has {largest}."
