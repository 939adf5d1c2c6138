"""The toy project of `toy.py`, with its engines installed."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy

from harness.records.store import Store


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    toy.install(monkeypatch)
    return toy.write_project(tmp_path / "project")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results" / "runs")
