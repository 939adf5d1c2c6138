"""What `bench recommend` says in a sentence, and the words of its tables."""

from __future__ import annotations

import math

from harness.analysis.candidates import Candidate, CandidatePool
from harness.analysis.findings import SHORT
from harness.analysis.recommend import Miss, Question, Recommendation, RunnerUp, Utility, misses
from harness.analysis.related_runs import speed_command
from harness.analysis.what_if import Changes, Move, Stretch
from harness.records.entries import TITLES
from harness.records.sizes import prompted_sizes, size_of
from harness.running.latency import needed

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
    """The answer, and how large the prompted models are that it was found among."""
    sizes = prompted_sizes(candidate.entry for candidate in found.field.candidates)
    return " ".join(part for part in (_answer(found, changes), sizes) if part)


def _answer(found: Recommendation, changes: Changes) -> str:
    """What to take for how many rows, what it gives and costs, what the cheaper choice would be, and the nearest change."""
    question, field = found.question, found.field
    rows = f"{question.predictions:,.0f} {field.lang} rows of {field.task}"
    if found.pick is None:
        return _nothing(found, rows)
    pick = found.pick
    title = TITLES[field.f1]
    told = f"For {rows} take {pick.name}{_how(pick)}: {figures(pick, question, title)} (tested on {field.n:,} rows)"
    looser = "; " + _move(changes.loosened[0]).replace(": ", " it would be ", 1) if changes.loosened else ""
    return f"{told}; {_beside(found, pick, title)}{looser}."


def _how(candidate: Candidate) -> str:
    """How it was made, and the size of its model."""
    size, made = size_of(candidate.entry), candidate.entry.made
    return ("" if made in candidate.name else f" ({made})") + (f", with {size}" if size else "")


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


def _beside(found: Recommendation, pick: Candidate, title: str) -> str:
    """Those that can't be told apart, and the best of those that are better (which a utility may pass over); else the best of
    those that are cheaper."""
    question, own = found.question, found.question.cost(pick)
    rivals = found.rivals
    better = [runner for runner in rivals if runner.apart and runner.difference.value > 0]
    said = [_tied(found, own, title), _passed_over(found, own, better)]
    if any(said):
        return "; ".join(part for part in said if part)
    cheaper = [runner for runner in rivals if _is_cheaper(question.cost(runner.candidate), own)]
    if cheaper:
        best = max(cheaper, key=lambda runner: (runner.difference.value, -_or_zero(question.cost(runner.candidate))))
        price = _times(own, question.cost(best.candidate))
        return f"{best.candidate.name} {price} and {_gap(best)}"
    looking = "" if len(found.field.offered) == len(found.field.candidates) else " that does better than chance"
    if not rivals:
        met = "meets the constraints" if _constrained(question) else "was tested on these rows"
        return f"nothing else{looking} {met}"
    known = own is not None and all(question.cost(runner.candidate) is not None for runner in rivals)
    none = "cheaper" if known else "known to be cheaper"
    n, limits = len(rivals), " that meets the constraints" if _constrained(question) else looking
    if n == 1:
        return f"the only other one{limits} is worse beyond chance, and is not {none}"
    return f"all {n} others{limits.replace('meets', 'meet').replace('does', 'do')} are worse beyond chance, and none is {none}"


def _tied(found: Recommendation, own: float | None, title: str) -> str:
    """The cheapest of those that can't be told apart from the pick; nothing where there are none."""
    ties = [(found.question.cost(runner.candidate), runner.candidate) for runner in found.rivals if not runner.apart]
    if not ties:
        return ""
    more = f"{len(ties) - 1} more" if len(ties) > 1 else ""
    cheaper = [(cost, candidate) for cost, candidate in ties if _is_cheaper(cost, own)]
    if cheaper:
        cost, other = min(cheaper, key=lambda pair: _or_zero(pair[0]))
        others = f" (as can't {more})" if more else ""
        told = f"{other.name} can't be told apart from it at this n{others} and {_times(own, cost)}"
        return f"{told}: {title} {other.f1['value']:.3f}"
    none = "cheaper" if own is not None and all(cost is not None for cost, _ in ties) else "known to be cheaper"
    beside = f", nor can {more}, and none of these is {none}" if more else f", and is not {none}"
    return f"{ties[0][1].name} can't be told apart from it at this n{beside}"


def _passed_over(found: Recommendation, own: float | None, better: list[RunnerUp]) -> str:
    """The best of those that are better beyond chance: only another utility than quality leaves any."""
    if not better:
        return ""
    best = max(better, key=lambda runner: runner.difference.value)
    told = f"{_gap(best)} and {_times(own, found.question.cost(best.candidate))}"
    if len(better) == 1:
        return f"{best.candidate.name} {told}"
    return f"{len(better)} others are better beyond chance, and the best of them, {best.candidate.name}, {told}"


def _gap(runner: RunnerUp) -> str:
    gap = 100 * runner.difference.value
    return f"is {abs(gap):.1f} points {'worse' if gap < 0 else 'better'}"


def _is_cheaper(cost: float | None, own: float | None) -> bool:
    return cost is not None and own is not None and cost < own


def _or_zero(cost: float | None) -> float:
    return 0.0 if cost is None else cost


def _constrained(question: Question) -> bool:
    return any(getattr(question, name) is not None for name in OPTIONS if name != "utility")


def _times(own: float | None, cost: float | None) -> str:
    """What `cost` is beside the pick's `own`."""
    if own is None or cost is None:
        return f"costs {'an unknown price' if cost is None else usd(cost) + ' per 1,000 rows'}"
    if max(own, cost) < 1.1 * min(own, cost) or own == cost:
        return "costs about the same"
    if not min(own, cost):
        return "costs nothing" if not cost else f"costs {usd(cost)} per 1,000 rows"
    ratio = max(own, cost) / min(own, cost)
    return f"is {ratio:{'.2g' if ratio < 10 else ',.0f'}} times {'cheaper' if cost < own else 'dearer'}"


def _nothing(found: Recommendation, rows: str) -> str:
    question, nearest = found.question, found.nearest
    if not found.field.offered:
        return f"For {rows} nothing can be recommended: {_refused(found.field)}."
    if nearest is None:
        need = " (it needs a price and a latency: see `bench analyze cost` and `bench analyze latency`)"
        return f"For {rows} nothing can be recommended: no run has the figures that the utility needs{need}."
    missed = " and ".join(missed_text(miss, nearest) for miss in misses(nearest, question))
    return f"For {rows} no recorded run meets all constraints; {nearest.name}{_how(nearest)} comes nearest: {missed}."


def _refused(field: CandidatePool) -> str:
    """What was found of the best one; of `majority` only where nothing else was run."""
    best = max(field.candidates, key=lambda c: (not c.entry.is_blind, c.f1["value"] or 0.0))
    if best.entry.is_blind or best.finding is None:
        return f"only {best.name}, which reads no text, was tested on these {field.n:,} rows"
    others = len(field.candidates) - 1
    more = f" (nor does any of the {others} others do better than chance)" if others > 1 else ""
    return f"{best.name}{_how(best)} {best.finding.message}{more}"


def missed_text(miss: Miss, candidate: Candidate) -> str:
    """`$0.30 where --max-cost is $0.10`."""
    if miss.value is None:
        return _unknown(miss.constraint, candidate)
    return f"{amount(miss.constraint, miss.value)} where {OPTIONS[miss.constraint]} is {amount(miss.constraint, miss.bound)}"


def _unknown(constraint: str, candidate: Candidate) -> str:
    """Why a figure is missing, and what to do about it."""
    price = candidate.unpriced or "unknown cost"
    if constraint == "max_cost":
        return price
    if constraint == "max_p95_ms":
        return _untimed(candidate, 95)
    if constraint == "utility":
        missing = [price] if candidate.inference is None else []
        return " and ".join([*missing, *([_untimed(candidate, 50)] if candidate.p50_ms is None else [])])
    return "undefined"


def _untimed(candidate: Candidate, percent: int) -> str:
    manifest, enough = candidate.entry.manifest, needed(percent)
    if "imported" in manifest:
        return "unknown latency: the run was imported"
    if candidate.timed is None:
        return f"unknown latency: run `{speed_command(manifest)}`"
    texts, limit = candidate.timed
    # Texts that occur twice are timed once, so that a limit that should have done may not have.
    again = speed_command(manifest, enough if limit < enough else 2 * limit)
    return f"p{percent} needs {enough} different texts, and {texts} were timed: run `{again}`, if there are so many test rows"


def measured_elsewhere(hardware: str) -> str:
    return f"times are those of the machines that they were measured on, at the price of {hardware}"


def lacks_latency(candidate: Candidate, question: Question) -> bool:
    """Whether a latency that was asked about is unknown."""
    utility = question.utility is Utility.F1_COST_LATENCY and candidate.p50_ms is None
    return utility or (question.max_p95_ms is not None and candidate.p95_ms is None)


def amount(constraint: str, value: float) -> str:
    if constraint == "max_cost":
        return usd(value)
    return f"{value:.3g} ms" if constraint == "max_p95_ms" else f"{value:.3f}"


def state(candidate: Candidate, question: Question) -> str:
    """`meets all`, what it misses, or why it is not recommended, for the table."""
    if candidate.finding is not None:
        return f"not recommended: {SHORT[candidate.finding.kind]}"
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
    for candidate, missing in changes.unknown:
        open_questions.setdefault(_missing(candidate, missing), []).append(candidate.name)
    lines += [f"might be the answer: {' or '.join(names)} ({missing})" for missing, names in open_questions.items()]
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


def _missing(candidate: Candidate, constraints: list[str]) -> str:
    return " and ".join(dict.fromkeys(_unknown(constraint, candidate) for constraint in constraints))
