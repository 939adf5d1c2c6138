"""The command line. Nothing heavy is imported here or in the commands' modules: each imports what it needs when it runs."""

from __future__ import annotations

import sys

import typer

from harness.cli import doctor, leaderboard, listing, prompts, run, show
from harness.errors import BenchError

app = typer.Typer(
    name="bench",
    help="For my text-classification task, in my languages: fine-tune an encoder or prompt an LLM?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run_command)
app.command("leaderboard")(leaderboard.leaderboard_command)
app.command("list")(listing.list_command)
app.command("show")(show.show_command)
app.command("doctor")(doctor.doctor_command)
app.add_typer(prompts.app, name="prompts")


def main() -> None:
    """Entry point of the console script: a `BenchError` becomes one message on stderr and its exit code."""
    try:
        app()
    except BenchError as error:
        report(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on where this one was.", err=True)
        sys.exit(130)


def report(error: BenchError) -> None:
    typer.echo(f"bench: {error.message}", err=True)
    if error.hint:
        typer.echo(f"       {error.hint}", err=True)
