"""The result of `bench compare` in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.analysis.compare import Comparison, Outcome, Verdict
from harness.reports.text.formats import amount, interval_text, title
from harness.reports.text.templates import render
from harness.statistics.metrics import LOWER_IS_BETTER

TESTS = {
    "mcnemar": "exact McNemar",
    "sign_flip": "sign-flip test",
    "normal": "normal approximation",
}


def sentence(comparison: Comparison) -> str:
    """The first metric in full; of the others, what differs from it."""
    return _of_two(comparison) if len(comparison.runs) == 2 else _of_several(comparison)


def _of_two(comparison: Comparison) -> str:
    metric, names = comparison.metrics[0], [run.name for run in comparison.runs]
    (verdict,) = comparison.of(metric)
    difference, lower_is_better = verdict.difference, metric in LOWER_IS_BETTER
    is_defined, sign = not math.isnan(difference.value), -1 if difference.value < 0 else 1
    better = verdict.better if is_defined else None
    others: dict[int | None, list[str]] = {}
    tested = [other for other in comparison.metrics[1:] if comparison.of(other)[0].not_tested is None]
    for other in tested:
        others.setdefault(comparison.of(other)[0].better, []).append(other)
    behind, ahead = names if (difference.value > 0) != lower_is_better else reversed(names)
    return render(
        "compare_two",
        comparison=comparison,
        metric=metric,
        names=names,
        difference=difference,
        is_defined=is_defined,
        not_tested=verdict.not_tested,
        better=better,
        ahead=ahead,
        behind=behind,
        by=f"{amount(metric, abs(difference.value))} {'less' if lower_is_better else 'more'}" if is_defined else "",
        interval=interval_text(metric, *sorted((sign * difference.low, sign * difference.high))),
        test=TESTS[difference.method],
        others=sorted(others.items(), key=lambda group: group[0] != better),
        detectable=_detectable(metric, [verdict]),
        equivalent=is_defined and verdict.outcome is Outcome.EQUIVALENT,
        margin="" if comparison.rope is None else amount(metric, comparison.rope),
        scope=_scope(comparison, verdict),
    )


def _of_several(comparison: Comparison) -> str:
    metric = comparison.metrics[0]
    sign = 1 if metric in LOWER_IS_BETTER else -1
    values = [(sign * value, run) for run in comparison.runs if (value := run.values[metric].value) is not None]
    best = min(values, key=lambda pair: pair[0])[1] if values else None
    top = -1 if best is None else comparison.runs.index(best)
    against = [verdict for verdict in comparison.of(metric) if top in (verdict.a, verdict.b)]
    return render(
        "compare_several",
        comparison=comparison,
        metric=metric,
        best=best,
        superlative="lowest" if metric in LOWER_IS_BETTER else "highest",
        beaten=[comparison.runs[v.a + v.b - top].name for v in against if v.better == top],
        not_tested=against[0].not_tested if against else None,
        tied=[comparison.runs[v.a + v.b - top].name for v in against if v.better != top],
        detectable=_detectable(metric, against),
    )


def pair_sentences(comparison: Comparison) -> list[str]:
    """With --rope: for each pair, in the first metric, which is better, that they are practically equal, or undecided."""
    metric = comparison.metrics[0]
    return [] if comparison.rope is None else [_pair_sentence(comparison, verdict) for verdict in comparison.of(metric)]


def _pair_sentence(comparison: Comparison, verdict: Verdict) -> str:
    a, b = (comparison.runs[place].name for place in (verdict.a, verdict.b))
    metric, rope, found = verdict.metric, comparison.rope or 0.0, verdict.difference
    interval = interval_text(metric, found.low, found.high)
    within = f"within {amount(metric, rope)}"
    if verdict.outcome is Outcome.EQUIVALENT:
        said = f"{a} and {b} are practically equal {within}"
    elif verdict.better is not None:
        ahead, behind = (b, a) if verdict.better == verdict.b else (a, b)
        said = f"{ahead} is better than {behind}"
    else:
        said = f"Undecided: {a} and {b} may differ by more than {amount(metric, rope)}, or not"
    return f"{said} ({title(metric)}, {interval or 'no interval'})."


def _scope(comparison: Comparison, verdict: Verdict) -> str:
    """What a single seed limits the sentence to; empty where neither has one."""
    single = [comparison.runs[place] for place in (verdict.a, verdict.b) if comparison.runs[place].row.is_single]
    if not single:
        return ""
    return "this run" if len(single) == 1 else "these two runs"


def _detectable(metric: str, verdicts: Sequence[Verdict]) -> str:
    """The smallest difference that each of these tests would find in 80% of samples; empty where none would."""
    sizes = [v.difference.detectable for v in verdicts if not math.isnan(v.difference.detectable)]
    return amount(metric, max(sizes)) if sizes else ""
