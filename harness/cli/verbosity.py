"""How much a long command prints on stderr: `--quiet`, normal, or `--verbose`."""

from __future__ import annotations

import typer

from harness.core.plain import plain

_quiet = False


def begin(quiet: bool, verbose: bool) -> None:
    """Call this first in a long command, before a library is imported. Raises `UserError` for both at once."""
    from harness.core import library_logging
    from harness.core.errors import UserError

    global _quiet
    if quiet and verbose:
        raise UserError("--quiet and --verbose exclude each other.", "Remove one of them.")
    _quiet = quiet
    if verbose:
        library_logging.speak()
    else:
        library_logging.hush()


def is_quiet() -> bool:
    return _quiet


def note(text: str) -> None:
    """A line on stderr that `--quiet` leaves out."""
    if not _quiet:
        typer.echo(plain(text), err=True)
