"""The learning curves that `bench curve` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from harness.errors import RunError

FIELDS = {"sentence": str, "task": str, "lang": str, "metric": str, "n": int, "curves": list, "lines": list, "crossings": list}


def read_curves(results: Path) -> list[dict[str, Any]]:
    """The content of results/curves/*.json, by name. Raises `RunError` that names a file that is not of `bench curve`."""
    return [_read(path) for path in sorted((results / "curves").glob("*.json"))]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        _look_over(found)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is not what `bench curve` writes ({type(error).__name__}: {error}).",
            "Delete it, or run `bench curve` again.",
        ) from error
    return dict(found)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


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
