"""Imports run one way: a layer imports from those below it, and `backends` only from `harness.core`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYERS = [
    "cli",
    "reports",
    "studies",
    "execution",
    "analysis",
    "running",
    "records",
    "data",
    "parsing",
    "specs",
    "statistics",
    "models",
    "storage",
    "core",
]


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith(("harness.", "backends."))}


def test_no_layer_imports_from_one_above_it() -> None:
    upward = [
        f"{path.relative_to(ROOT)} -> {name}"
        for position, layer in enumerate(LAYERS)
        for path in (ROOT / "harness" / layer).rglob("*.py")
        for name in imported(path)
        if name.split(".")[0] == "backends" or name.split(".")[1] not in LAYERS[position:]
    ]
    assert upward == []


def test_backends_import_only_the_core_of_the_harness() -> None:
    names = {name for path in (ROOT / "backends").glob("*.py") for name in imported(path) if name.startswith("harness.")}
    assert len(names) > 5
    assert {name for name in names if name.split(".")[1] != "core"} == set()


def test_every_folder_is_a_layer() -> None:
    assert {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")} == set(LAYERS)
