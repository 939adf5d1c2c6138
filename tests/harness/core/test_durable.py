"""Sealed folders: what is damaged in them is found; and the order in which things reach the disk."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from harness.core.durable import DIGESTS, commit, damage_of, file_sha256, seal, set_aside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "new" / "inner").mkdir(parents=True)
    (tmp_path / "new" / "weights").write_bytes(b"w" * 1000)
    (tmp_path / "new" / "inner" / "state").write_bytes(b"s")
    seal(tmp_path / "new")
    return tmp_path / "new"


def test_an_intact_folder(folder: Path) -> None:
    assert damage_of(folder) == ""
    (folder / "later").write_text("of no concern")
    assert damage_of(folder) == ""
    done = subprocess.run(["sha256sum", "--check", "--quiet", DIGESTS], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0


def test_a_folder_of_an_earlier_version_is_not_checked(folder: Path) -> None:
    (folder / DIGESTS).unlink()
    (folder / "weights").write_bytes(b"")
    assert damage_of(folder) == ""


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("weights", b"w" * 999 + b"v", "is damaged: weights is not the file that was written"),
        ("weights", b"", "is damaged: weights is not the file that was written"),
        ("inner/state", None, "is damaged: state is missing"),
        (DIGESTS, b"", "is damaged: SHA256SUMS is empty"),
        (DIGESTS, b"\xff", "is damaged: SHA256SUMS can't be read"),
    ],
)
def test_damage_is_found(folder: Path, file: str, content: bytes | None, problem: str) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    assert damage_of(folder) == problem


def test_what_is_set_aside_replaces_nothing(folder: Path) -> None:
    assert set_aside(folder).name == "new.damaged-1"
    folder.mkdir()
    assert set_aside(folder).name == "new.damaged-2"
    assert not folder.exists()


def test_contents_reach_the_disk_before_the_name_and_the_name_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "weights").write_bytes(b"w")
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        steps.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def renamed(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    seal(tmp_path / "new")
    commit(tmp_path / "new", tmp_path / "final")
    assert steps == ["weights", DIGESTS, "new", "new", "rename", tmp_path.name]


def test_a_file_that_is_given_back_its_old_time_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    for content in (b"one", b"two"):
        (tmp_path / "new").write_bytes(content)
        os.utime(tmp_path / "new", (0, 0))
        (tmp_path / "new").replace(file)
        assert file_sha256(file) == hashlib.sha256(content).hexdigest()
