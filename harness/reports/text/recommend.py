"""The result of `bench recommend` in a few sentences, and the entries of its tables."""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis.candidates import Candidate
from harness.analysis.choice import Confirmed, Optimism
from harness.analysis.findings import SHORT
from harness.analysis.recommend import Changes, Miss, Move, Question, Recommendation, RunnerUp, Stretch, Utility, misses
from harness.analysis.related_runs import latency_command
from harness.records.sizes import prompted_sizes, size_of
from harness.reports.text.formats import count, rounded, shown, title, usd
from harness.reports.text.templates import render
from harness.running.latency import needed

OPTIONS = {
    "max_cost_per_1k": "--max-cost-per-1k",
    "max_p95_ms": "--max-p95-ms",
    "min_f1": "--min-f1",
    "min_accuracy": "--min-accuracy",
}


@dataclass(frozen=True)
class _Tied:
    """Those that are not significantly different from the recommended one; `cheapest` of those that are cheaper than it."""

    first: Candidate
    cheapest: Candidate | None
    more: int
    cheaper: str


def sentence(found: Recommendation, changes: Changes) -> str:
    """What to use, its quality and cost, the cheaper alternative, the nearest change, and the sizes of prompted models."""
    question, pool, best = found.question, found.pool, found.recommended
    own = None if best is None else question.cost(best)
    better = [runner for runner in found.runners_up if runner.significant and runner.gain > 0]
    cheaper = [runner for runner in found.runners_up if _is_cheaper(question.cost(runner.candidate), own)]
    nearest = found.nearest
    return render(
        "recommend",
        pool=pool,
        question=question,
        best=best,
        rivals=found.runners_up,
        tied=_tied(found, own),
        passed_over=sorted(better, key=lambda runner: -runner.gain),
        cheaper=max(cheaper, key=lambda r: (r.gain, -_or_zero(question.cost(r.candidate))), default=None),
        if_cheaper=_if_cheaper(own, [question.cost(runner.candidate) for runner in found.runners_up]),
        chance="" if len(pool.offered) == len(pool.candidates) else " that is better than chance",
        looser=_move(changes.loosened[0]).replace(": ", " it would be ", 1) if changes.loosened else "",
        refused=max(pool.candidates, key=lambda c: (not c.entry.is_blind, c.worst_first)),
        nearest=nearest,
        missed="" if nearest is None else " and ".join(missed_text(miss, nearest) for miss in misses(nearest, question)),
        sizes=prompted_sizes(candidate.entry for candidate in pool.candidates),
        figures=lambda candidate: figures(candidate, question, title(pool.metric)),
        label=_label,
        gap=_gap,
        times=lambda candidate: _times(own, question.cost(candidate)),
    )


def choice_told(found: Recommendation, optimism: Optimism | None, confirmed: Confirmed | None) -> str:
    """What the choice makes of the value: its correction, or the value on test rows; empty where there was no choice."""
    metric = found.pool.metric if optimism is None else optimism.metric
    return render("choice", found=found, metric=title(metric), optimism=optimism, confirmed=confirmed)


def figures(candidate: Candidate, question: Question, metric: str) -> str:
    """`macro-F1 0.457 [0.418, 0.500], $0.03 per 1,000 rows, p95 12 ms`; unknown figures are named too."""
    cost = question.cost(candidate)
    parts = [
        f"{metric} {'undefined' if candidate.quality.value is None else shown(candidate.quality)}",
        "cost unknown" if cost is None else f"{usd(cost)} per 1,000 rows",
        "latency not measured" if candidate.p95_ms is None else f"p95 {candidate.p95_ms:.3g} ms",
    ]
    return ", ".join(parts)


def _label(candidate: Candidate) -> str:
    """How it was made, and the size of its model."""
    size, label = size_of(candidate.entry), candidate.entry.config_label
    return ("" if label in candidate.name else f" ({label})") + (f", with {size}" if size else "")


def _tied(found: Recommendation, own: float | None) -> _Tied | None:
    ties = [(found.question.cost(runner.candidate), runner.candidate) for runner in found.runners_up if not runner.significant]
    if not ties:
        return None
    cheaper = [(cost, candidate) for cost, candidate in ties if _is_cheaper(cost, own)]
    cheapest = min(cheaper, key=lambda pair: _or_zero(pair[0]))[1] if cheaper else None
    return _Tied(ties[0][1], cheapest, len(ties) - 1, _if_cheaper(own, [cost for cost, _ in ties]))


def _if_cheaper(own: float | None, costs: list[float | None]) -> str:
    return "cheaper" if own is not None and None not in costs else "known to be cheaper"


def _gap(runner: RunnerUp) -> str:
    """In points of a share; of a metric in steps between labels as it is."""
    size, word = abs(runner.gain), "worse" if runner.gain < 0 else "better"
    return f"is {size:.2f} {word}" if runner.candidate.metric == "mae" else f"is {100 * size:.1f} points {word}"


def _is_cheaper(cost: float | None, own: float | None) -> bool:
    return cost is not None and own is not None and cost < own


def _or_zero(cost: float | None) -> float:
    return 0.0 if cost is None else cost


def _times(own: float | None, cost: float | None) -> str:
    """`cost` compared with that of the recommended one, `own`."""
    if own is None or cost is None:
        return "has an unknown cost" if cost is None else f"costs {usd(cost)} per 1,000 rows"
    if max(own, cost) < 1.1 * min(own, cost) or own == cost:
        return "costs about the same"
    if not min(own, cost):
        return "costs nothing" if not cost else f"costs {usd(cost)} per 1,000 rows"
    ratio = max(own, cost) / min(own, cost)
    return f"is {ratio:{'.2g' if ratio < 10 else ',.0f'}} times {'cheaper' if cost < own else 'more expensive'}"


def missed_text(miss: Miss, candidate: Candidate) -> str:
    """`$0.30 where --max-cost-per-1k is $0.10`."""
    if miss.value is None:
        return _unknown(miss.constraint, candidate)
    return f"{_amount(miss.constraint, miss.value)} where {OPTIONS[miss.constraint]} is {_amount(miss.constraint, miss.bound)}"


def _unknown(constraint: str, candidate: Candidate) -> str:
    """Why a figure is missing, and what to do about it."""
    price = candidate.unpriced or "unknown cost"
    if constraint == "max_cost_per_1k":
        return price
    if constraint == "max_p95_ms":
        return _untimed(candidate, 95)
    if constraint == "utility":
        missing = [price] if candidate.inference is None else []
        return " and ".join([*missing, *([_untimed(candidate, 50)] if candidate.p50_ms is None else [])])
    return "undefined"


def _untimed(candidate: Candidate, percent: int) -> str:
    record, enough = candidate.entry.record, needed(percent)
    if record.imported is not None:
        return "unknown latency: the run was imported"
    if candidate.timed is None:
        return f"unknown latency: run `{latency_command(record)}`"
    texts, limit = candidate.timed
    # Duplicate texts are timed once, so a limit that should be enough may not be.
    again = latency_command(record, enough if limit < enough else 2 * limit)
    return f"p{percent} needs {enough} different texts, and {texts} were timed: run `{again}`, if there are so many test rows"


def measured_elsewhere(hardware: str) -> str:
    return f"times were measured on the machines of the runs; they are priced as {hardware}"


def lacks_latency(candidate: Candidate, question: Question) -> bool:
    """Whether a latency that was asked about is unknown."""
    utility = question.utility is Utility.F1_COST_LATENCY and candidate.p50_ms is None
    return utility or (question.max_p95_ms is not None and candidate.p95_ms is None)


def _amount(constraint: str, value: float) -> str:
    if constraint == "max_cost_per_1k":
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
    given = [move for move in changes.tightened if move.recommended or found.question.bound(move.constraint) is not None]
    lines = [_move(move) for move in [*changes.loosened, *given]]
    lines += [*_stretches("predictions", changes.predictions), *_stretches("label_usd", changes.label_usd)]
    unknown: dict[str, list[str]] = {}
    for candidate, constraints in changes.unknown:
        missing = " and ".join(dict.fromkeys(_unknown(constraint, candidate) for constraint in constraints))
        unknown.setdefault(missing, []).append(candidate.name)
    lines += [f"might be the answer: {' or '.join(names)} ({missing})" for missing, names in unknown.items()]
    return lines or [
        "nothing that was tried: no other constraint, number of predictions or price of a label changes the answer"
    ]


def _move(move: Move) -> str:
    """The bound is rounded to the side on which the statement is still true."""
    is_max = move.constraint.startswith("max")
    bound = rounded(move.bound, up=is_max != move.beyond)
    other = ("below " if is_max else "above ") if move.beyond else ""
    return f"with {OPTIONS[move.constraint]} {other}{bound}: {_name(move.recommended)}"


def _stretches(name: str, parts: list[Stretch]) -> list[str]:
    """A line for each stretch; none where the answer is the same everywhere."""
    lines = []
    for i, part in enumerate(parts):
        edge = part.high if i == 0 else part.low
        limit = f"{count(edge)} predictions" if name == "predictions" else f"${rounded(edge, up=True)} per label"
        lines.append(f"{'up to' if i == 0 else 'from'} {limit}{'' if i == 0 else ' on'}: {_name(part.recommended)}")
    return lines if len(parts) > 1 else []


def _name(candidate: Candidate | None) -> str:
    return "nothing meets all" if candidate is None else candidate.name
