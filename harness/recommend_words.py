"""What `bench recommend` says in a sentence, and the words of its tables."""

from __future__ import annotations

import math

from harness.candidates import Candidate
from harness.entries import TITLES
from harness.recommend import Miss, Question, Recommendation, Utility, misses
from harness.what_if import Changes, Move, Stretch

OPTIONS = {
    "max_cost": "--max-cost",
    "max_p95_ms": "--max-p95-ms",
    "min_f1": "--min-f1",
    "min_accuracy": "--min-accuracy",
    "utility": "--utility",
}


def usd(amount: float) -> str:
    """Two digits that tell something, and never an exponent."""
    digits = 2 if amount == 0 else min(12, max(2, 1 - math.floor(math.log10(abs(amount)))))
    return f"${amount:,.{digits}f}"


def count(number: float) -> str:
    """Predictions, rounded to three digits."""
    return f"{float(f'{number:.3g}'):,.0f}"


def sentence(found: Recommendation, changes: Changes) -> str:
    """What to take for how many rows, what it gives and costs, what the cheaper choice would be, and the nearest change."""
    question, field = found.question, found.field
    rows = f"{question.predictions:,.0f} {field.lang} rows of {field.task}"
    if found.pick is None:
        return _nothing(found, rows)
    pick = found.pick
    title = TITLES[field.f1]
    ties = [runner.candidate for runner in found.runners_up if not runner.apart]
    told = f"For {rows} take {pick.name}{_how(pick)}: {figures(pick, question, title)} (tested on {field.n:,} rows)"
    looser = "; " + _move(changes.loosened[0]).replace(": ", " it would be ", 1) if changes.loosened else ""
    return f"{told}; {_beside(found, pick, ties, title)}{looser}."


def _how(candidate: Candidate) -> str:
    return "" if candidate.entry.made in candidate.name else f" ({candidate.entry.made})"


def figures(candidate: Candidate, question: Question, title: str) -> str:
    """`macro-F1 0.457 [0.418, 0.500], $0.03 per 1,000 rows, p95 12 ms`; what is unknown is said to be."""
    f1, cost = candidate.f1, question.cost(candidate)
    interval = "" if f1["low"] is None else f" [{f1['low']:.3f}, {f1['high']:.3f}]"
    parts = [
        f"{title} {'undefined' if f1['value'] is None else format(f1['value'], '.3f')}{interval}",
        "an unknown price" if cost is None else f"{usd(cost)} per 1,000 rows",
        "latency not measured" if candidate.p95_ms is None else f"p95 {candidate.p95_ms:.3g} ms",
    ]
    return ", ".join(parts)


def _beside(found: Recommendation, pick: Candidate, ties: list[Candidate], title: str) -> str:
    """Of those that can't be told apart the cheapest, else the best of those that are cheaper."""
    question, own = found.question, found.question.cost(pick)
    cheaper = [
        (cost, runner)
        for runner in found.runners_up
        if own is not None and (cost := question.cost(runner.candidate)) is not None and cost < own
    ]
    same = [(cost, runner) for cost, runner in cheaper if not runner.apart]
    if same:
        cost, runner = min(same, key=lambda pair: pair[0])
        others = f" (as can't {len(ties) - 1} more)" if len(ties) > 1 else ""
        return (
            f"{runner.candidate.name} can't be told apart from it at this n{others} and {_times(own, cost)}: "
            f"{title} {runner.candidate.f1['value']:.3f}"
        )
    if ties:
        others = f", nor can {len(ties) - 1} more" if len(ties) > 1 else ""
        return f"{ties[0].name} can't be told apart from it at this n{others}, and none of these is known to be cheaper"
    if cheaper:
        cost, runner = max(cheaper, key=lambda pair: (pair[1].candidate.f1["value"] or 0.0, -pair[0]))
        gap = 100 * runner.difference.value
        return f"{runner.candidate.name} {_times(own, cost)} and {abs(gap):.1f} points {'worse' if gap < 0 else 'better'}"
    if not found.runners_up:
        return "nothing else meets the constraints" if _constrained(question) else "nothing else was tested on these rows"
    return f"all of the {len(found.runners_up)} others that meet the constraints are worse beyond chance, and none is cheaper"


def _constrained(question: Question) -> bool:
    return any(getattr(question, name) is not None for name in OPTIONS if name != "utility")


def _times(own: float | None, cost: float) -> str:
    ratio = math.inf if not cost or own is None else own / cost
    return (
        "costs nothing"
        if math.isinf(ratio)
        else f"is {ratio:.2g} times cheaper"
        if ratio < 10
        else f"is {ratio:,.0f} times cheaper"
    )


def _nothing(found: Recommendation, rows: str) -> str:
    question, nearest = found.question, found.nearest
    if nearest is None:
        need = " (it needs a price and a latency: see `bench cost` and `bench speed`)"
        return f"For {rows} nothing can be recommended: no run has the figures that the utility needs{need}."
    missed = " and ".join(missed_text(miss, nearest) for miss in misses(nearest, question))
    return f"For {rows} no recorded run meets all constraints; {nearest.name}{_how(nearest)} comes nearest: {missed}."


def missed_text(miss: Miss, candidate: Candidate) -> str:
    """`$0.30 where --max-cost is $0.10`."""
    if miss.value is None:
        return _unknown(miss.constraint, candidate)
    return f"{amount(miss.constraint, miss.value)} where {OPTIONS[miss.constraint]} is {amount(miss.constraint, miss.bound)}"


def _unknown(constraint: str, candidate: Candidate) -> str:
    if constraint == "max_cost":
        return candidate.unpriced or "unknown cost"
    if constraint in ("max_p95_ms", "utility"):
        return candidate.unpriced or f"unknown latency: run `bench speed --backend {candidate.entry.backend}`"
    return "undefined"


def amount(constraint: str, value: float) -> str:
    if constraint == "max_cost":
        return usd(value)
    return f"{value:.3g} ms" if constraint == "max_p95_ms" else f"{value:.3f}"


def state(candidate: Candidate, question: Question) -> str:
    """`meets all`, or what it misses, for the table."""
    missed = [missed_text(miss, candidate) for miss in misses(candidate, question)]
    if question.utility is Utility.F1_COST_LATENCY and (candidate.p50_ms is None or question.cost(candidate) is None):
        missed = missed or [_unknown("utility", candidate)]
    return "; ".join(missed) or "meets all"


def change_lines(found: Recommendation, changes: Changes) -> list[str]:
    """What would change the answer, a line each; one line where nothing would."""
    given = [move for move in changes.tightened if move.pick or getattr(found.question, move.constraint) is not None]
    lines = [_move(move) for move in [*changes.loosened, *given]]
    lines += [*_stretches("predictions", changes.predictions), *_stretches("label_usd", changes.label_usd)]
    open_questions: dict[str, list[str]] = {}
    for candidate, needed in changes.unknown:
        open_questions.setdefault(_needed(candidate, needed), []).append(candidate.name)
    lines += [f"might be the answer: {' or '.join(names)} ({needed})" for needed, names in open_questions.items()]
    return lines or ["nothing that was tried: no constraint, number of predictions or price of a label gives another answer"]


def _move(move: Move) -> str:
    """The bound rounded to the side on which the words are still true."""
    is_max = move.constraint.startswith("max")
    bound = rounded(move.bound, up=is_max != move.beyond)
    other = ("below " if is_max else "above ") if move.beyond else ""
    asked = f"{OPTIONS[move.constraint]} {other}{bound}"
    return f"with {asked}: {'nothing meets all' if move.pick is None else move.pick.name}"


def rounded(value: float, *, up: bool) -> str:
    """Three digits that tell something, rounded up or down, and never an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    scaled = round(value * 10**digits, 6)  # what floating point added is nothing to round
    return f"{(math.ceil(scaled) if up else math.floor(scaled)) / 10**digits:.{digits}f}"


def _stretches(name: str, parts: list[Stretch]) -> list[str]:
    """A line for each stretch; none where the answer is the same everywhere."""
    lines = []
    for i, part in enumerate(parts):
        edge = part.high if i == 0 else part.low
        limit = f"{count(edge)} predictions" if name == "predictions" else f"${rounded(edge, up=True)} a label"
        pick = "nothing meets all" if part.pick is None else part.pick.name
        lines.append(f"{'up to' if i == 0 else 'from'} {limit}{'' if i == 0 else ' on'}: {pick}")
    return lines if len(parts) > 1 else []


def _needed(candidate: Candidate, needed: list[str]) -> str:
    return " and ".join(dict.fromkeys(_unknown(constraint, candidate) for constraint in needed))
