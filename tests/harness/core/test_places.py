"""Folders and URLs: what an option names, where it is on this machine, and how a message and another machine name it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from harness.core.cache_folder import cache_dir
from harness.core.errors import UserError
from harness.core.options import ExecutionOptions, RunOptions
from harness.core.places import folder_of, is_url, place_of, shared_place
from harness.core.plain import plain

URL = "s3://bucket/some/results"


@pytest.mark.parametrize("place", ["results", "/mnt/nfs/results", "a:b", "C:/results", "."])
def test_a_path_is_a_path(place: str) -> None:
    assert not is_url(place)
    assert folder_of(place) == Path(place)
    assert shared_place(Path(place)) is None
    assert place_of(Path(place)) == str(Path(place))


@pytest.mark.parametrize("place", ["s3:/bucket/results", "file:/mnt/nfs", "s3://", "s3:///"])
def test_a_part_of_a_url_is_no_folder(place: str) -> None:
    for read in (folder_of, lambda place: ExecutionOptions.model_validate({"results": place})):
        with pytest.raises(UserError):
            read(place)


def test_file_urls_are_folders_of_this_machine() -> None:
    assert folder_of("file:///mnt/nfs/my%20results") == Path("/mnt/nfs/my results")


def test_a_url_has_a_copy_in_the_cache() -> None:
    folder = folder_of(URL)
    assert folder.is_relative_to(cache_dir())
    assert folder == folder_of(URL + "/") == folder_of(folder)
    assert folder != folder_of(URL + "2")
    assert shared_place(folder / "runs" / "one") == (folder, URL)
    assert place_of(folder) == URL
    assert place_of(folder / "runs" / "one") == f"{URL}/runs/one"


def test_messages_name_the_url() -> None:
    folder = folder_of(URL)
    assert plain(f"There are no runs in {folder / 'runs'}.") == f"There are no runs in {URL}/runs."


def test_options_name_the_url_to_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execution, options = ExecutionOptions.model_validate({"results": URL}), RunOptions(data="s3://bucket/data")  # type: ignore[arg-type]
    assert execution.results == folder_of(URL)
    sent = pickle.dumps((execution, options))
    assert execution.model_dump(mode="json")["results"] == URL
    assert options.arguments() == ["--data", "s3://bucket/data"]
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "other"))
    execution, options = pickle.loads(sent)
    assert execution.results == folder_of(URL)
    assert execution.results.is_relative_to(tmp_path / "other")
    assert options.data is not None
    assert place_of(options.data) == "s3://bucket/data"


def test_a_record_names_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    assert RunOptions(data="s3://bucket/data").public({}).data == Path("DIR")  # type: ignore[arg-type]


def test_a_password_in_a_url_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        folder_of("ftp://me:secret@host/results")
    assert "secret" not in str(caught.value)
