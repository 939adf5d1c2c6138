"""A file of rows is read once in a process, and again when it was changed."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from harness.data import read_once


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read in truth."""
    names: list[str] = []
    reader = read_once.read_file

    def listener(path: Path, *how: Any) -> Any:
        names.append(path.name)
        return reader(path, *how)

    monkeypatch.setattr(read_once, "read_file", listener)
    monkeypatch.setattr(read_once, "_remembered", OrderedDict())
    return names


def write(path: Path, text: str, time: int) -> Path:
    path.write_text(f"text,label\n{text},1\n")
    os.utime(path, ns=(time, time))
    return path


def test_once_until_it_changes(tmp_path: Path, read: list[str]) -> None:
    path = write(tmp_path / "a.csv", "one", 10**18)
    assert read_once.read_once(path) is read_once.read_once(path)
    assert read == ["a.csv"]
    write(path, "two", 10**18 + 1)
    assert read_once.read_once(path)["text"] == ["two"]
    assert read == ["a.csv", "a.csv"]


def test_another_format_is_another_table(tmp_path: Path, read: list[str]) -> None:
    path = write(tmp_path / "a.csv", "one", 10**18)
    read_once.read_once(path)
    found = read_once.read_once(path, read_once.USUAL.model_copy(update={"header": ["x", "y"]}))
    assert list(found) == ["x", "y"]


def test_the_memory_is_bounded(tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_once, "MOST_BYTES", 30)  # two of them
    paths = [write(tmp_path / f"{name}.csv", name, 10**18) for name in "abc"]
    for path in [*paths, *paths[::-1]]:
        read_once.read_once(path)
    assert read == ["a.csv", "b.csv", "c.csv", "a.csv"]


def test_shards_are_looked_at_one_by_one(tmp_path: Path, read: list[str]) -> None:
    for name in "12":
        write(tmp_path / f"part-{name}.csv", name, 10**18)
    for _ in range(2):
        assert read_once.read_once(tmp_path / "part-*.csv")["text"] == ["1", "2"]
    write(tmp_path / "part-2.csv", "3", 10**18 + 1)
    assert read_once.read_once(tmp_path / "part-*.csv")["text"] == ["1", "3"]
    assert len(read) == 2
