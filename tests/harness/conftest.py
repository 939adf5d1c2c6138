"""The toy project of `toy.py`, with its engines installed."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    toy.install(monkeypatch)
    return toy.write_project(tmp_path / "project")
