"""The learning curves that `bench study curve` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.json_files import unsealed
from harness.records.entries import read_intact
from harness.records.store import damage_named

FIELDS = {"sentence": str, "task": str, "lang": str, "metric": str, "n": int, "curves": list, "lines": list, "crossings": list}


def read_curves(results: Path) -> list[dict[str, Any]]:
    """The content of results/curves/*.json, by name; a damaged file is left out with a warning."""
    return read_intact(sorted((results / "curves").glob("*.json")), _read)


def _read(path: Path) -> dict[str, Any]:
    with damage_named(path, "Delete it, or repeat `bench study curve`."):
        found, _ = unsealed(path.read_bytes())
        _look_over(found)
        return found


def _look_over(found: Any) -> None:
    """Touch what a chart needs; raises whatever a wrong shape raises."""
    for name, kind in FIELDS.items():
        if not isinstance(found[name], kind):
            raise TypeError(f"{name!r} is no {kind.__name__}")
    for curve in found["curves"]:
        _ = curve["name"], [(point["labels"], *map(_number, _estimate(point))) for point in curve["points"]]
    for line in found["lines"]:
        _ = line["name"], line["labels"], [*map(_number, _estimate(line))]
    for crossing in found["crossings"]:
        _ = crossing["curve"], crossing["line"], [_number(crossing[key]) for key in ("labels", "low", "high")]


def _estimate(point: Any) -> list[Any]:
    return [point[key] for key in ("value", "low", "high")] + list(point.get("by_seed") or [])


def _number(value: Any) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise TypeError(f"{value!r} is no number")
