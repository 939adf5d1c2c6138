"""What is told of long steps: downloads above all, which lie far below the command that shows them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.core.progress_events import progress_listener, report_growth, tell
from harness.models.hub_access import telling_bar


def test_only_who_watches_hears_it() -> None:
    heard: list[tuple[str, int, int, str]] = []
    tell("read", 1, 2)
    with progress_listener(lambda *words: heard.append(words)):
        tell("read", 2, 2, "a.csv")
    tell("read", 3, 2)
    assert heard == [("read", 2, 2, "a.csv")]


def test_the_bytes_that_another_program_writes(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int, str]] = []
    seen = threading.Event()

    def hear(*words: object) -> None:
        heard.append(words)  # type: ignore[arg-type]
        if words[1] == 2000:
            seen.set()

    (tmp_path / "tmp").mkdir()
    with progress_listener(hear), report_growth(tmp_path, "some-wheel==1", every=0.001):
        (tmp_path / "tmp" / "part").write_bytes(b"x" * 2000)
        assert seen.wait(60)
    assert heard[0] == ("download", 0, 0, "some-wheel==1")  # so that a second wheel is not taken for more of the first
    assert heard[-1][0] == "download"
    assert heard[-1][2:] == (0, "some-wheel==1")


def test_the_hubs_client_tells_its_bytes_through_a_bar_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """By the steps of its `snapshot_download`: two bars of bytes, fed by all files, and one of files."""
    tqdm = pytest.importorskip("huggingface_hub.utils.tqdm")
    bar = telling_bar("org/name")
    make = tqdm._create_progress_bar
    came = make(cls=bar, log_level=40, name="a", desc="Downloading bytes", total=0, initial=0, unit="B", unit_scale=True)
    kept = make(cls=bar, log_level=40, name="b", desc="Reconstructing", total=0, initial=0, unit="B", unit_scale=True)
    heard: list[tuple[str, int, int, str]] = []
    with progress_listener(lambda *words: heard.append(words)):
        for total in (300, 700):
            came.total, kept.total = came.total + total, kept.total + total
            kept.refresh()
        kept.update(300)
        came.update(200)
        kept.update(700)
        kept.set_postfix_str("1 MB/s", refresh=False)
        kept.set_description("complete")
        assert list(bar(["one file"], desc="Fetching 1 files", total=1)) == ["one file"]
    assert heard == [("download", done, 1000, "org/name") for done in (300, 300, 1000)]
    assert capsys.readouterr().err == ""


def test_tokenized_texts_are_told_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    from backends import _text_encoder, encoder

    monkeypatch.setattr(_text_encoder, "CHUNK", 2)
    monkeypatch.setattr(encoder.Encoder, "_max_length", lambda self: 8)
    engine = object.__new__(encoder.Encoder)
    engine._tokenizer = lambda part, **options: {"input_ids": [[len(text)] for text in part]}
    heard: list[tuple[str, int, int, str]] = []
    with progress_listener(lambda *words: heard.append(words)):
        assert engine._fields(["a", "bb", "ccc"]) == [{"input_ids": [1]}, {"input_ids": [2]}, {"input_ids": [3]}]
        assert len(engine._fields(["a", "bb"])) == 2  # a batch of a run: nothing to tell
    assert heard == [("tokenize", done, 3, "") for done in (0, 2, 3)]
