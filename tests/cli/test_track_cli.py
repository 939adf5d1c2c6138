"""--track, --quiet, --verbose and the last lines of long commands, as a user sees them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core import library_logging
from harness.execution.worker import Worker
from harness.running.tracking import TensorBoard

pytestmark = pytest.mark.slow

BENCH = [sys.executable, "-c", "from harness.cli import main; main()"]
QUICK = ("--backend", "tfidf", "--lang", "en", "--limit", 20)


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.mark.slow
def test_tensorboard_has_the_figures_of_the_record(bench: Any, project: Path) -> None:
    pytest.importorskip("tensorboard")
    said = bench("run", *QUICK, "--track", "tensorboard", "--json")
    assert said.code == 0, said.err
    (done,) = said.json
    folder = project / "results" / "tensorboard" / "reviews_demo" / done["run"]
    assert events(folder)["test/accuracy"] == [(0, pytest.approx(done["metrics"]["values"]["accuracy"]["value"]))]
    assert "Tracked: tensorboard --logdir results/tensorboard" in said.err
    again = bench("run", *QUICK, "--json", "--track", "tensorboard")
    assert again.json[0]["state"] == "found", "what is tracked is no part of a run's identity"
    assert "Tracked" not in again.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("study", "tune", "--backend", "words", "--lang", "en", "--trials", 1, "--train-limit", 20),
        ("study", "transfer", "--backend", "majority", "--train-lang", "en", "--lang", "en,fr", "--limit", 5),
        ("study", "curve", "--encoder", "majority", "--lang", "en", "--sizes", "8", "--seed", 0, "--limit", 5),
    ],
    ids=lambda command: command[0],
)
def test_every_run_of_a_study_is_tracked(command: Any, bench: Any, project: Path) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("optuna")
    (project / "backends").mkdir()
    (project / "backends" / "words.yaml").write_text(
        "engine: baseline\noptions: {classifier: tfidf}\nsearch: {c: {choices: [1.0, 2.0]}}\n"
    )
    said = bench(*command, "--track", "tensorboard")
    assert said.code == 0, said.err
    assert "Tracked: tensorboard" in said.err
    folders = [
        path for path in (project / "results" / "tensorboard" / "reviews_demo").iterdir() if "accuracy" in str(events(path))
    ]
    assert len(folders) == (2 if "transfer" in command else 1)


def test_a_tracker_in_trouble_is_one_line_and_no_failure(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")

    def down(*words: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(TensorBoard, "start", down)
    said = bench("run", *QUICK, "--track", "tensorboard", "--json")
    assert said.code == 0
    assert said.json[0]["state"] == "new"
    (line,) = [line for line in said.err.splitlines() if "tensorboard" in line]
    assert "(ConnectionError: no route to host)" in line


def test_ctrl_c_while_a_tracker_is_waited_for_loses_nothing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from harness.running.tracking import Tracker

    def interrupted(self: Tracker, **options: Any) -> None:
        options["on_wait"]()
        raise KeyboardInterrupt

    monkeypatch.setattr(Tracker, "close", interrupted)
    said = bench("run", *QUICK, "--track", "tensorboard", "--force", "--json")
    assert said.code == 0
    assert said.json[0]["state"] == "new"
    assert "waiting for tensorboard, up to 15 s" in said.err
    assert "note: tensorboard did not receive everything (interrupted); the records are complete." in said.err


def test_an_unknown_or_missing_tracker_is_a_mistake_before_anything_runs(
    bench: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = bench("run", *QUICK, "--track", "wandbb")
    assert unknown.code == 2
    assert "wandb" in unknown.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = bench("run", *QUICK, "--track", "wandb")
    assert missing.code == 2
    assert "pip install wandb" in missing.err
    assert not (project / "results" / "runs").exists()


def test_quiet_leaves_the_result_and_where_it_is(bench: Any) -> None:
    plain = bench("run", *QUICK, "--prompt", "strict")
    quiet = bench("run", *QUICK, "--prompt", "strict", "-q")
    assert "note: --prompt has no effect" in plain.err
    assert quiet.err == "1 found; records: results/runs\n"
    assert quiet.out == plain.out.replace("\tnew\t", "\tfound\t")
    wrong = bench("run", "--backend", "tfidff", "--quiet")
    assert "tfidf" in wrong.err


@pytest.mark.slow
def test_quiet_says_in_one_line_where_things_are(bench: Any) -> None:
    pytest.importorskip("vl_convert")
    few = ("--backend", "majority", "--lang", "en", "--limit", 5, "-q")
    assert bench("study", "transfer", *few, "--train-lang", "en").err == "1 new; records: results/runs\n"
    curve = ("study", "curve", "--encoder", "majority", "--sizes", "8", "--seed", 0, *few[2:])
    assert bench(*curve).err == "1 new; records: results/runs\n"
    speed = bench("analyze", "latency", "--backend", "majority", *few[2:])
    assert re.fullmatch(r"Written: results/latency/.+\n", speed.err)


@pytest.mark.slow
def test_a_reader_who_stops_early_does_not_fail_the_command(environment: dict[str, str]) -> None:
    arguments = ["run", "--backend", "majority", "--lang", "en", "--limit", "5"]
    ours, theirs = os.pipe()
    os.close(ours)  # nobody reads any more
    done = subprocess.run(
        [*BENCH, *arguments], env=environment, stdout=theirs, stderr=subprocess.PIPE, encoding="utf-8", check=False
    )
    os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert "1 new in" in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--backend", "majority", "--lang", "en,fr", "--json"),
        ("study", "transfer", "--backend", "majority", "--train-lang", "en", "--lang", "en,fr"),
        ("study", "curve", "--encoder", "majority", "--lang", "en", "--sizes", "8", "--seed", "0,1"),
    ],
    ids=lambda command: command[0],
)
def test_half_a_series_is_counted_and_not_shown(
    command: Any, bench: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    one, calls = Worker._run, iter(range(9))

    def stopping(*words: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return one(*words)

    monkeypatch.setattr(Worker, "_run", stopping)
    said = bench(*command, "--limit", 5)
    assert said.code == 130
    assert said.out == ""
    assert "1 new in" in said.err
    assert "Stopped" in said.err.splitlines()[-1]
    assert [path.name for path in (project / "results").iterdir()] == ["runs"]


@pytest.mark.parametrize("command", ["run", "study transfer", "study curve"])
def test_a_series_of_mistakes_ends_as_a_mistake(command: str, bench: Any) -> None:
    backend = ("--encoder", "majority", "--sizes", "8") if command == "study curve" else ("--backend", "majority")
    said = bench(*command.split(), *backend, "--lang", "en", "--set", "nope=1")
    assert said.code == 2
    assert "nope" in said.err


def test_a_cache_that_can_not_be_written_is_named(bench: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(project / "file" / "cache"))
    said = bench("run", *QUICK)
    assert said.code == 1
    assert "BENCH_CACHE" in said.err
    assert "records:" not in said.err
    assert "BENCH_CACHE" in bench("analyze", "latency", "--backend", "tfidf", "--lang", "en", "--limit", 5).err


@pytest.mark.parametrize("command", ["run", "study tune", "study recipe", "study transfer", "study curve", "analyze latency"])
def test_quiet_and_verbose_exclude_each_other(command: str, bench: Any) -> None:
    arguments = {"study recipe": ["bert-douban"], "study curve": []}.get(command, ["--backend", "tfidf"])
    said = bench(*command.split(), *arguments, "-q", "-v")
    assert said.code == 2
    assert "--quiet" in said.err
    assert "--verbose" in said.err


def test_the_summary_counts_runs_and_says_what_next(bench: Any) -> None:
    bench("run", *QUICK)
    said = bench("run", *QUICK, "--backend", "majority", "--results", "results")
    assert re.search(r"^1 found, 1 new in \d+:\d\d; records: results/runs$", said.err, re.MULTILINE)
    digits = re.search(r"^Next: bench leaderboard, or bench show (\w+)$", said.err, re.MULTILINE)
    assert digits
    assert bench("show", digits[1]).code == 0


def test_what_libraries_say_is_heard_with_verbose_only(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library of ours for the purpose, which warns and logs while it trains."""
    import logging
    import types
    import warnings

    from backends.baseline import Baseline

    monkeypatch.setattr(library_logging, "_QUIET", {})
    library = types.ModuleType("somelibrary")
    source = """
def act():
    logging.getLogger("somelibrary").warning("a log line")
    warnings.warn("a warning", FutureWarning)
"""
    vars(library).update(logging=logging, warnings=warnings)
    exec(compile(source, "somelibrary.py", "exec"), vars(library))
    predict = Baseline.predict

    def noisy(self: Baseline, texts: Any) -> Any:
        library.act()
        return predict(self, texts)

    monkeypatch.setattr(Baseline, "predict", noisy)
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        root.handlers[:] = []
        quiet = bench("run", *QUICK)
        assert "a log line" not in quiet.err
        assert "a warning" not in quiet.err
        root.handlers[:] = []
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            loud = bench("run", *QUICK, "--force", "--verbose")
        assert "somelibrary: a log line" in loud.err
        assert "FutureWarning: a warning" in loud.err
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        library_logging._loud = False


LINES = [
    r"\[1/1\] reviews_demo\.en\.tiny\.from-en\.s0\.\w+",
    r"\[1/1\] tiny en [a-z ]+: .+",
    r"1 new in \d+:\d\d; records: results/runs",
    r"Next: bench leaderboard, or bench show \w+",
    r"tiny en: warning \(texts_cut\): .+",
    r"note: tiny \(en\) .+",
]
"""All that a run may say on stderr."""


@pytest.mark.slow
def test_training_an_encoder_says_nothing_but_our_own_lines(environment: dict[str, str], project: Path) -> None:
    """In a process of its own, where the libraries do what they like; and with a wandb that nobody asked for."""
    pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backends"))
    try:
        from tiny_models import write_bert
    finally:
        sys.path.pop(0)
    write_bert(project / "model")
    spy = project / "spy" / "wandb"
    spy.mkdir(parents=True)
    (spy / "__init__.py").write_text("raise SystemExit('wandb was imported, and nobody asked for it')\n")
    (project / "backends").mkdir()
    (project / "backends" / "tiny.yaml").write_text(
        "engine: encoder\nmodel: ./model\noptions: {train: {epochs: 1}, device: cpu}\n"
    )
    own = {"PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(spy.parent)]), "WANDB_API_KEY": "x" * 40}
    arguments = ["run", "--backend", "tiny", "--lang", "en", "--limit", "6", "--train-limit", "8", "--validation-limit", "4"]
    done = subprocess.run(
        [*BENCH, *arguments], env={**environment, **own}, capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    odd = [line for line in re.split(r"[\r\n]+", done.stderr) if line and not any(re.fullmatch(p, line) for p in LINES)]
    assert odd == []
    assert done.stdout.startswith("task\t")
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.slow
def test_ctrl_c_while_a_bar_is_shown(environment: dict[str, str], project: Path) -> None:
    pty = pytest.importorskip("pty")
    seeds = ",".join(map(str, range(300)))
    arguments = ["run", "--backend", "majority", "--lang", "en", "--limit", "5", "--seed", seeds]
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [*BENCH, *arguments], env={**environment, "TERM": "xterm"}, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    shown = ""
    while "[3/300]" not in shown:
        shown += os.read(ours, 10_000).decode(errors="replace")
    running.send_signal(signal.SIGINT)
    try:
        while part := os.read(ours, 10_000):
            shown += part.decode(errors="replace")
    except OSError:  # how a terminal ends on Linux
        pass
    os.close(ours)
    assert running.wait(timeout=300) == 130
    assert "━" in shown
    assert "Stopped" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back
    assert "Traceback" not in shown
