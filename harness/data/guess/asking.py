"""All questions of `bench init` in one error, with a whole command that would answer them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.core.errors import Unanswered
from harness.data.guess.cells import Column
from harness.data.guess.columns import shown_values

OPTIONS = ("--text", "--label", "--kind", "--lang", "--lang-map")
"""The options whose answers are guessed, in the order of the command."""

MOST_SHOWN = 30


def together(
    questions: Sequence[Unanswered], columns: Mapping[str, Column], path: Path, guessed: Mapping[str, str], said: Sequence[str]
) -> Unanswered:
    """One error of all. `guessed`: option -> what the user or a guess says of what was not asked. `said`: the other words of
    the command."""
    answers = dict(guessed)
    for question in questions:
        answers |= question.answers
    options = [part for option in OPTIONS if option in answers for part in (option, answers[option])]
    command = shlex.join(["bench", "init", str(path), *said, *options])
    asked = {option for question in questions for option in question.answers}
    message = "\n".join(question.message for question in questions)
    listed = _listed(columns) if asked & {"--text", "--label"} else ""
    hints = [*dict.fromkeys(question.hint for question in questions), *([listed] if listed else [])]
    look = "With a guess for each, to be looked over" if len(asked) > 1 else "For example"
    return Unanswered(message, "\n".join([*hints, f"{look}: {command}"]), answers)


def _listed(columns: Mapping[str, Column]) -> str:
    named = {name: column for name, column in columns.items() if name.strip()}
    shown = "; ".join(f"{name}: {_looks(column)}" for name, column in list(named.items())[:MOST_SHOWN])
    return f"The columns: {shown}" + ("; ..." if len(named) > MOST_SHOWN else ".")


def _looks(column: Column) -> str:
    """What a column looks like, without a text of a row."""
    if not column.counts:
        return "empty"
    if column.dates:
        return "dates"
    if column.wordy:
        return f"text, {column.length:.0f} characters on average"
    return ("numbers, " if column.numeric else "") + shown_values(column)
