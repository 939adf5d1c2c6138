"""Help and version: complete, plain, and quick because nothing heavy is imported for them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from console import all_commands

from harness.cli import DAILY, GROUPS

HEAVY = ["torch", "transformers", "datasets", "evaluate", "vllm", "pandas", "pyarrow", "sklearn", "scipy", "bitsandbytes"]
HEAVY += ["optuna", "sqlalchemy", "altair", "vl_convert", "onnxruntime", "peft", "setfit", "sentence_transformers"]
HEAVY += ["huggingface_hub", "py3langid", "tensorboard", "wandb"]

PROBE = """
import json, sys
from harness.cli import main
sys.argv = ["bench", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as stop:
    code = stop.code
else:
    code = 0
print(json.dumps([code or 0, sorted(name for name in sys.modules if "." not in name)]), file=sys.stderr)
"""


def imported(arguments: list[str], environment: dict[str, str]) -> tuple[int, set[str]]:
    """Exit code, and the top-level modules that the command loaded in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(arguments)], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["list", "backends"], ["list", "tasks"]], ids=" ".join)
def test_nothing_heavy_is_imported(arguments: list[str], environment: dict[str, str]) -> None:
    code, modules = imported(arguments, environment)
    assert code == 0
    assert not modules & set(HEAVY)
    if "--help" in arguments:
        assert "numpy" not in modules


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["leaderboard"], ["list", "runs"]], ids=" ".join)
def test_records_are_ranked_without_any_model_library(
    arguments: list[str], environment: dict[str, str], two_runs: list[str]
) -> None:
    code, modules = imported(arguments, environment)
    assert code == 0
    assert not modules & {"torch", "transformers", "datasets", "evaluate", "vllm", "sklearn", "pandas"}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_help_has_one_whole_line_for_each_command(bench: Any, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = [line.split(maxsplit=1) for line in bench("--help").out.splitlines()]
    for name, (_, line) in [*DAILY.items(), *(item for _, commands in GROUPS.values() for item in commands.items())]:
        assert [name, line] in shown
    headed = {words[1].split()[0] for words in shown if len(words) > 1}
    assert {name.split()[0] for name in all_commands()} - set(DAILY) <= headed


@pytest.mark.parametrize("command", [*all_commands(), "cache"])
def test_help_of_every_command_is_plain_text_that_is_not_cut(bench: Any, command: str) -> None:
    said = bench(*command.split(), "--help")
    assert said.code == 0
    assert ("--json" in said.out) == (command != "cache dir")
    assert not set("│╭…") & set(said.out)
    assert max(map(len, said.out.splitlines())) <= 80


def test_help_of_run_names_every_option(bench: Any) -> None:
    said = bench("run", "-h")
    language_models = ("prompt", "decoding", "calibration", "decision", "max-cost")
    for option in ("backend", "lang", "task", *language_models, "train-lang", "seed", "split", "limit", "model", "data"):
        assert f"\n  --{option} " in said.out


def test_no_command_shows_the_help(bench: Any) -> None:
    said = bench()
    assert said.code == 2
    assert "bench study (" in said.out + said.err


def test_version(bench: Any) -> None:
    said = bench("--version")
    assert said.code == 0
    assert said.out.startswith("bench ")
    assert said.out.strip()[-1].isdigit()


def test_a_column_that_is_optional_twice_is_left_out_once(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from harness.cli.options import print_table

    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")  # of a dumb terminal Rich takes the width to be 80
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(["name", "wide"], [["a", "x" * 30]], optional=["wide", "wide"])
    assert "(not in 20 columns: wide)" in capsys.readouterr().err
