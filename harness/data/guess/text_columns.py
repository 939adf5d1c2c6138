"""Which columns hold the text: the body, a title before it, and texts that belong together."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from harness.core.errors import Unanswered, UserError
from harness.data.guess.cells import Column
from harness.data.guess.doubts import Doubt
from harness.data.guess.words import INDEX, PAIRS, TEXT, THINGS, TITLES

LONG = 3.0  # times as long on average: the other column is a title, a name or a note beside the text
LONGEST_TITLE = 1.5  # times as long as the body, on average: what is longer is no title
FEW_TITLES = 30  # single words that repeat, so few of them: categories, and no titles
_TWIN = re.compile(r"(.+?)_?(1|2|a|b|one|two|left|right)")


@dataclass(frozen=True, slots=True)
class TextGuess:
    """`names`: in the order in which they are joined. `question`: what only the user can answer; `names` are a guess then."""

    names: tuple[str, ...]
    notes: list[Doubt] = field(default_factory=list)
    question: Unanswered | None = None


def text_of(free: Sequence[Column], labels: Callable[[Column], bool]) -> TextGuess:
    """`labels`: whether a column may hold the labels. Raises `UserError` where no column may hold a text."""
    able = [column for column in free if not column.lists and not column.numeric and not column.dates and column.counts]
    titles = [column for column in able if column.speaks_of(TITLES) and not _is_all_labels(column, free, labels)]
    others = [column for column in titles if _is_category(column) or _names_a_thing(column, free)]
    titles = [column for column in titles if column not in others]
    bodies = _bodies([column for column in able if column not in titles and column not in others])
    bodies = bodies or _bodies(titles) or _bodies(others) or _only_by_name(free)
    if not bodies:
        return _asked_of_any(free, labels)
    pair = _pair([column for column in able if column.wordy or column in bodies])
    main = _one_text(bodies)
    if pair is not None and (main is None or main in pair):
        return _asked_of_pair(pair, [column for column in titles if column not in pair])
    if main is None:
        return _asked(bodies)
    front = [column for column in titles if column is not main and column.length < main.length * LONGEST_TITLE]
    front = [column for column in front if len(column.counts) > 1]
    names = tuple(column.name for column in (*front, main))
    return TextGuess(names, [*_joined(front, main), *_not_joined(others, main)])


def left_doubts(text: Sequence[str], unused: Sequence[Column], said: Sequence[Doubt]) -> list[Doubt]:
    """On columns of running text that are not used."""
    told = " ".join(doubt.text for doubt in said)
    left = [
        column.name
        for column in unused
        if column.name.strip()
        and column.wordy
        and not (column.lists or column.numeric or column.dates)
        and len(column.counts) > 1
        and repr(column.name) not in told
    ]
    if not left:
        return []
    hold = "hold running text too and are" if len(left) > 1 else "holds running text too and is"
    text = f"{_listed(left)} {hold} not used. If a reader needs it: {_option([*text, *left])}; instead: {_option(left[:1])}."
    return [Doubt("text-left", text)]


def _bodies(able: Sequence[Column]) -> list[Column]:
    """The columns of running text; or those of that name with texts of a word or two."""
    found = [column for column in able if column.wordy and (column.spread > 0.3 or len(column.counts) > 200)]
    return found or [column for column in able if column.key in TEXT[0] and column.spread > 0.2]


def _only_by_name(free: Sequence[Column]) -> list[Column]:
    """A sole column of that name is the text, whatever it holds."""
    found = [column for column in free if column.key in TEXT[0] and not column.lists]
    return found if len(found) == 1 else []


def _is_all_labels(column: Column, free: Sequence[Column], labels: Callable[[Column], bool]) -> bool:
    """Whether no other column may be the label."""
    return labels(column) and not any(labels(other) for other in free if other is not column)


def _is_category(column: Column) -> bool:
    """Whether a column named like a title holds a few single words (Mr, Ms), or a few subjects (of a school)."""
    if len(column.counts) > FEW_TITLES:
        return False
    several = sum(len(cell.split()) > 1 for cell in column.sample) / max(1, len(column.sample))
    return "subject" in column.words or (several < 0.1 and not column.wordy)


def _names_a_thing(title: Column, free: Sequence[Column]) -> bool:
    """Whether a title is that of a product, a film, ...: by its name, or as another column identifies the same thing."""
    if title.words & THINGS:
        return True
    if len(title.counts) > 0.5 * len(title.sample) or len(title.sample) < len(title.cells) / 2:
        return False
    marks = [column for column in free if column is not title and column.words & (THINGS | {"asin", "isbn", "sku"})]
    return any(len(set(zip(column.cells, title.cells, strict=True))) == len(column.counts) > 1 for column in marks)


def _pair(able: Sequence[Column]) -> tuple[Column, Column] | None:
    """Two columns whose texts belong together: premise and hypothesis, sentence1 and sentence2, pros and cons."""
    for one, other in combinations(able, 2):
        twins = [_TWIN.fullmatch(column.key) for column in (one, other)]
        alike = all(twin is not None for twin in twins) and twins[0][1] == twins[1][1]  # type: ignore[index]
        if alike or any({one.key, other.key} == pair for pair in PAIRS):
            return one, other
    return None


def _one_text(found: Sequence[Column]) -> Column | None:
    if len(found) == 1:
        return found[0]
    for names in TEXT:
        named = [column for column in found if column.key in names or (names is TEXT[1] and names & column.words)]
        if len(named) == 1:
            return named[0]
        if named:
            found = named
            break
    by_length = sorted(found, key=lambda column: column.length, reverse=True)
    return by_length[0] if by_length[0].length >= LONG * by_length[1].length else None


def _joined(front: Sequence[Column], main: Column) -> list[Doubt]:
    if not front:
        return []
    names = [column.name for column in (*front, main)]
    what = "the title" if len(front) == 1 else "the titles"
    return [
        Doubt("title-joined", f"The text is {_listed(names)}, joined by a newline. Without {what}: {_option([main.name])}.")
    ]


def _not_joined(others: Sequence[Column], main: Column) -> list[Doubt]:
    return [
        Doubt(
            "title-left",
            f"{column.name!r} is not taken for a part of the text ({len(column.counts):,} values): it seems to tell what the"
            f" text is about. If a reader sees it: {_option([column.name, main.name])}.",
        )
        for column in others
        if column is not main and len(column.counts) > 1
    ]


def _asked_of_pair(pair: tuple[Column, Column], titles: Sequence[Column]) -> TextGuess:
    names = [column.name for column in (*titles, *pair)]
    question = Unanswered(
        f"Several columns look like the text: {_listed([column.name for column in pair])} seem to belong together.",
        f"Say what a model is to read: joined by newlines: {_option(names)}; or one: {_option([pair[0].name])}.",
        {"--text": ",".join(names)},
    )
    return TextGuess(tuple(names), [], question)


def _asked(bodies: Sequence[Column]) -> TextGuess:
    shown = ", ".join(f"{column.name} ({column.length:.0f} characters on average)" for column in bodies)
    question = Unanswered(
        f"Several columns look like the text: {shown}.",
        f"Say which: {_option([bodies[0].name])}; or several, which are joined: {_option([one.name for one in bodies[:2]])}.",
        {"--text": ",".join(column.name for column in bodies)},
    )
    return TextGuess(tuple(column.name for column in bodies), [], question)


def _asked_of_any(free: Sequence[Column], labels: Callable[[Column], bool]) -> TextGuess:
    """No column is of running text: the longest that may be one is the guess."""
    names = ", ".join(column.name for column in free) or "none"
    able = [column for column in free if not column.lists and not column.numeric and not re.fullmatch(INDEX, column.name)]
    able = sorted(able, key=lambda column: (not labels(column), len(column.counts), column.length), reverse=True)
    if not able:
        raise UserError("No column looks like running text.", f"Say which it is: --text NAME. The columns: {names}.")
    question = Unanswered("No column looks like running text.", "Say which it is: --text NAME.", {"--text": able[0].name})
    return TextGuess((able[0].name,), [], question)


def _option(names: Sequence[str]) -> str:
    return f"--text {shlex.quote(','.join(names))}"


def _listed(names: Sequence[str]) -> str:
    shown = [repr(name) for name in names[:4]]
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
