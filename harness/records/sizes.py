"""Numbers of parameters of the models of runs, in words."""

from __future__ import annotations

from collections.abc import Iterable

from harness.core.record import RunRecord
from harness.models.packaged import PACKAGED
from harness.records.entries import Entry

UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def parameters_of(record: RunRecord) -> int | None:
    """Of the run's model; None if it has none or if the number is unknown."""
    kind, _, name = str(record.identity.backend.model).partition(":")
    if record.parameters is None and kind == "packaged" and name in PACKAGED:
        return PACKAGED[name].parameters
    return record.parameters


def size(parameters: int) -> str:
    """`135M parameters`, `7.2B parameters`."""
    for unit, letter in UNITS:
        if parameters >= 0.9995 * unit:  # 999,900,000 reads as 1.0B
            share = parameters / unit
            return f"{share:.1f}{letter} parameters" if share < 9.95 else f"{share:,.0f}{letter} parameters"
    return f"{parameters:,} parameters"


def size_of(entry: Entry) -> str:
    """Empty if it is unknown."""
    parameters = parameters_of(entry.record)
    return "" if parameters is None else size(parameters)


def prompted_sizes(entries: Iterable[Entry]) -> str:
    """A sentence on the sizes of the prompted models among these runs: results of small ones do not transfer to large ones.

    Empty if none is prompted. A model counts once, however it was loaded and prompted.
    """
    sizes: dict[str, int | None] = {}
    names: dict[str, str] = {}
    for entry in entries:
        if entry.record.identity.prompt is not None:
            model = entry.record.identity.backend.model or entry.backend
            sizes[model] = sizes.get(model) or parameters_of(entry.record)
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
