"""The command line. Nothing heavy is imported here or in the commands' modules: each imports what it needs when it runs."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
    label,
    latency,
    leaderboard,
    listing,
    merge,
    overall,
    prompts,
    prompts_optimize,
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
from harness.cli.project_file import project_defaults
from harness.core.errors import as_bench_error
from harness.core.plain import plain

# Each process that vLLM starts imports this module, and logs before it has set that up: without any handler Python prints it.
logging.getLogger("vllm").addHandler(logging.NullHandler())

Commands = dict[str, tuple[Callable[..., None], str]]
"""Name -> function, and its line in `bench --help`, which fits a terminal of 60 columns."""

DAILY: Commands = {
    "init": (init.init_command, "Make a task from your data"),
    "run": (run.run_command, "Train or prompt backends"),
    "label": (label.label_command, "Label rows with a model"),
    "leaderboard": (leaderboard.leaderboard_command, "Rank the runs; write Markdown and a page"),
    "show": (show.show_command, "Show one run: metrics, classes, errors"),
    "compare": (compare.compare_command, "Test whether runs differ significantly"),
    "recommend": (recommend.recommend_command, "Recommend a model under your limits"),
    "list": (listing.list_command, "List tasks, backends, prompts, runs"),
    "doctor": (doctor.doctor_command, "Check what this machine can run"),
    "schema": (schema.schema_command, "Write JSON schemas for editors"),
}
GROUPS: dict[str, tuple[str, Commands]] = {
    "study": (
        "many runs for one question",
        {
            "tune": (tune.tune_command, "Search hyperparameters"),
            "curve": (curve.curve_command, "Plot quality against training-set size"),
            "transfer": (transfer.transfer_command, "Train per language, test in all"),
            "recipe": (recipe.recipe_command, "Repeat a published comparison"),
        },
    ),
    "analyze": (
        "compute from runs and data",
        {
            "cost": (cost.cost_command, "Dollars per 1,000 predictions"),
            "latency": (latency.latency_command, "Measure latency, throughput, memory"),
            "calibration": (calibration.calibration_command, "Check predicted probabilities"),
            "cascade": (cascade.cascade_command, "Combine a cheap and a strong model"),
            "overall": (overall.overall_command, "Compare over tasks and languages"),
            "data": (data_audit.data_command, "Find duplicates and suspect labels"),
        },
    ),
    "prompts": (
        "look at prompts, search for one",
        {
            "check": (prompts.check_command, "Check a prompt on real rows"),
            "show": (prompts.show_command, "Print the chat for one row"),
            "optimize": (prompts_optimize.optimize_command, "Search for a better prompt"),
            "spread": (prompts.spread_command, "Compare results across prompts"),
        },
    ),
    "model": (
        "publish a trained model",
        {
            "card": (card.card_command, "Write a model card"),
            "push": (push.push_command, "Upload a model and its card"),
        },
    ),
    "results": (
        "exchange run records",
        {
            "export": (export.export_command, "Write runs or predictions to a file"),
            "import": (import_.import_command, "Import lm-evaluation-harness results"),
            "merge": (merge.merge_command, "Make records of runs in shards"),
            "rescore": (rescore.rescore_command, "Compute intervals again"),
        },
    ),
}


class Grouped(TyperGroup):
    """Help that lists the commands of every group, one whole line each: click would cut the lines off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, command) for name, command in self.commands.items() if not command.hidden]
        sections = [("Commands", [item for item in commands if not hasattr(item[1], "commands")])]
        for name, command in commands:
            if isinstance(command, TyperGroup):
                sections.append((f"{ctx.command_path} {name} ({_line_of(command)})", list(command.commands.items())))
        for title, items in sections:
            if items:
                with formatter.section(title):
                    formatter.write_dl([(name, _line_of(command)) for name, command in items])


def _line_of(command: Any) -> str:
    return str(command.short_help or (command.help or "").partition("\n")[0].rstrip("."))


app = typer.Typer(
    name="bench",
    cls=Grouped,
    help="For my text-classification task, in my languages: fine-tune an encoder or prompt an LLM?",
    epilog="Most options can also be set by an environment variable (--lang: BENCH_LANG) or in bench.toml (lang = ...). "
    "Exit codes: 0 done; 1 a run failed, or --check found a stale leaderboard; 2 a mistake in the command; 130 Ctrl-C; "
    "143 SIGTERM; 129 SIGHUP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help and usage errors as plain text, in a terminal and in a pipe
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(group: typer.Typer, commands: Commands) -> None:
    for name, (command, line) in commands.items():
        group.command(name, short_help=line)(command)


_add(app, DAILY)
for _name, (_purpose, _commands) in GROUPS.items():
    _group = typer.Typer(cls=Grouped, help=_purpose, no_args_is_help=True, rich_markup_mode=None)
    _add(_group, _commands)
    app.add_typer(_group, name=_name)
app.add_typer(cache.app, name="cache", short_help="downloaded and trained models")


INTERRUPTED = 130


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(plain(f"bench {version('bench-harness')}"))
        raise typer.Exit()


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if not context.resilient_parsing:
        context.default_map = project_defaults(context.command)


def main() -> None:
    """Entry point of the console script: whatever goes wrong becomes one message on stderr and an exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell (`>&-`)
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (open as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may have no UTF-8, and reviews are in Japanese
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
    """Run the command. Where a launcher started several processes, all but the first one only take part in its trainings."""
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
