"""fsspec behind one small interface: names, stamps, what is missing, what goes wrong."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.storage.remote import Remote, StorageError, with_patience


@pytest.fixture
def remote() -> Remote:
    return Remote(f"memory://remote-{secrets.token_hex(4)}/inner")


def test_files_have_names_below_the_url(remote: Remote) -> None:
    remote.write("a/b", b"1")
    remote.write("c", b"2")
    assert set(remote.listing()) == {"a/b", "c"}
    assert set(remote.listing("a")) == {"a/b"}
    assert remote.listing("none") == {}


def test_a_replaced_file_has_another_stamp(remote: Remote) -> None:
    remote.write("a", b"1")
    before = remote.stamp("a")
    remote.write("a", b"2")
    assert remote.stamp("a") != before
    assert remote.listing() == {"a": remote.stamp("a")}


def test_what_is_not_there(remote: Remote, tmp_path: Path) -> None:
    assert remote.stamp("a") is None
    assert remote.read("a") is None
    assert remote.modified("a") is None
    assert remote.fetch("a", tmp_path / "a") is False
    assert list(remote.read_all(["a"])) == [("a", None)]
    remote.delete("a")


def test_create_refuses_what_is_there(remote: Remote) -> None:
    assert remote.creates_alone
    assert remote.create("a", b"1")
    assert not remote.create("a", b"2")
    assert remote.read("a") == b"1"
    assert set(remote.listing()) == {"a"}


def test_a_store_that_ignores_the_condition_is_found_out(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(remote._fs).pipe_file
    monkeypatch.setattr(type(remote._fs), "pipe_file", lambda self, path, value, mode="overwrite": real(self, path, value))
    assert not remote.creates_alone


def test_errors_of_the_library_have_the_place(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError("not\nyours")

    for name in ("cat_file", "pipe_file", "find", "rm_file", "info"):
        monkeypatch.setattr(type(remote._fs), name, refuse)
    for call in (lambda: remote.read("a"), lambda: remote.write("a", b""), remote.listing, lambda: remote.delete("a")):
        with pytest.raises(StorageError, match="not yours") as caught:
            call()
        assert remote.url in caught.value.message


@pytest.mark.parametrize(
    ("url", "library", "command"),
    [
        ("s3://bucket/results", "s3fs", "pip install 'bench-harness[s3]'"),
        ("gs://bucket/results", "gcsfs", "pip install fsspec gcsfs"),
    ],
)
def test_a_missing_library_is_named_with_the_command(
    url: str, library: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    from fsspec.registry import _registry

    for protocol in ("s3", "gs"):
        monkeypatch.delitem(_registry, protocol, raising=False)
    with pytest.raises(UserError) as caught:
        Remote(url)
    assert caught.value.exit_code == 2
    assert command in caught.value.hint


def test_an_unknown_protocol() -> None:
    with pytest.raises(UserError):
        Remote("nowhere://results")


def test_patience_ends() -> None:
    waited: list[float] = []

    def fail() -> None:
        raise StorageError("away")

    with pytest.raises(StorageError):
        with_patience(fail, 10.0, waited.append, lambda: sum(waited))
    assert sum(waited) <= 10.0
    assert len(waited) > 3
    answers = iter([StorageError("away"), None])

    def once() -> int:
        if (error := next(answers)) is not None:
            raise error
        return 1

    assert with_patience(once, 10.0, waited.append, lambda: 0.0) == 1
