"""The command line. Nothing heavy is imported here or in the commands' modules: each imports what it needs when it runs."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import (
    cache,
    calibration,
    card,
    cascade,
    compare,
    cost,
    curve,
    data_audit,
    doctor,
    export,
    import_,
    init,
    latency,
    leaderboard,
    listing,
    prompts,
    push,
    recipe,
    recommend,
    rescore,
    run,
    schema,
    show,
    signals,
    transfer,
    tune,
)
from harness.cli.options import report, warnings_shown
from harness.core.errors import BenchError, RunError
from harness.core.plain import plain

# Each process that vLLM starts imports this module, and logs before it has set that up: without any handler Python prints it.
logging.getLogger("vllm").addHandler(logging.NullHandler())

app = typer.Typer(
    name="bench",
    help="For my text-classification task, in my languages: fine-tune an encoder or prompt an LLM?",
    epilog="Exit codes: 0 done; 1 a run failed, or --check found a stale leaderboard; 2 a mistake in the command; "
    "130 Ctrl-C; 143 SIGTERM; 129 SIGHUP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help and usage errors as plain text, in a terminal and in a pipe
    context_settings={"help_option_names": ["-h", "--help"]},
)
Command = Callable[..., None]

DAILY: dict[str, Command] = {
    "init": init.init_command,
    "run": run.run_command,
    "leaderboard": leaderboard.leaderboard_command,
    "show": show.show_command,
    "compare": compare.compare_command,
    "recommend": recommend.recommend_command,
    "list": listing.list_command,
    "doctor": doctor.doctor_command,
    "schema": schema.schema_command,
}
for name, command in DAILY.items():
    app.command(name)(command)

GROUPS: dict[str, tuple[str, dict[str, Command]]] = {
    "study": (
        "Many runs for one question: tune, curve, transfer, recipe.",
        {
            "tune": tune.tune_command,
            "curve": curve.curve_command,
            "transfer": transfer.transfer_command,
            "recipe": recipe.recipe_command,
        },
    ),
    "analyze": (
        "Compute from finished runs: cost, latency, calibration, cascade, data.",
        {
            "cost": cost.cost_command,
            "latency": latency.latency_command,
            "calibration": calibration.calibration_command,
            "cascade": cascade.cascade_command,
            "data": data_audit.data_command,
        },
    ),
    "model": ("Model cards: card, push.", {"card": card.card_command, "push": push.push_command}),
    "results": (
        "Move records in and out: export, import, rescore.",
        {
            "export": export.export_command,
            "import": import_.import_command,
            "rescore": rescore.rescore_command,
        },
    ),
}
for name, (purpose, commands) in GROUPS.items():
    group = typer.Typer(help=purpose, no_args_is_help=True, rich_markup_mode=None)
    for word, command in commands.items():
        group.command(word)(command)
    app.add_typer(group, name=name)
app.add_typer(prompts.app, name="prompts")
app.add_typer(cache.app, name="cache")


INTERRUPTED = 130


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(plain(f"bench {version('bench-harness')}"))
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the console script: whatever goes wrong becomes one message on stderr and an exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell (`>&-`)
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (open as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a review in Japanese must not end in an error where the terminal has no UTF-8
            stream.reconfigure(errors="backslashreplace")
    signals.end_as_ctrl_c_does()
    try:
        with warnings_shown():
            _run_app()
    except KeyboardInterrupt:
        sys.exit(signals.exit_code())
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer's code for Ctrl-C, whatever the signal was
            sys.exit(signals.exit_code())
        raise
    except Exception as error:
        if os.environ.get("BENCH_DEBUG"):
            raise
        known = as_bench_error(error)
        report(known)
        sys.exit(known.exit_code)


def _run_app() -> None:
    """The command; where a launcher started several processes, all but the first one only take part in its trainings."""
    from harness.core.distributed import OutOfStep, broadcast, end, is_first, leave, processes

    if processes() == 1:
        app()
        return
    if is_first():
        try:
            app()
        except OutOfStep:
            raise
        except (SystemExit, Exception):  # how every command ends
            broadcast(None)
            leave()
            raise
    else:
        from harness.cli.options import catalog
        from harness.running.training import train_along

        train_along(catalog())
        leave()
        end()


def as_bench_error(error: Exception) -> BenchError:
    """What a user should read of an error that nobody foresaw, or that the machine is the cause of."""
    if isinstance(error, BenchError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return RunError(f"{where}{error.strerror}.", "Mend that, and give the same command again.")
    said = (str(error).strip().splitlines() or [""])[0]
    return RunError(f"Unexpected {type(error).__name__}: {said}", "BENCH_DEBUG=1 before the command shows where it comes from.")
