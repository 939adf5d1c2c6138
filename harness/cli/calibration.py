"""`bench analyze calibration`: can a model's confidence be believed, and what a temperature makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Results, open_store, print_json, print_table
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.calibration import Reliability, Scores
    from harness.statistics.intervals import MetricValue


def calibration_command(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs with probabilities; the digits of their ids will do.")
    ],
    bins: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Bins of equal width for table and ECE.")] = 15,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Reliability table, calibration error and its bias, accuracy of the surest answers, and temperature scaling.

    The temperature is fitted on validation rows and judged on the run's own: where the folder of results holds no run of the
    same model on validation rows, the command that makes one is named.

    --json prints an object with sentence and runs: a list of run, n, answered, confidence, gap (mean confidence less accuracy:
    value, low, high), bins (low, high, count, confidence, accuracy), ece (value, calibrated, calibrated_high, p, debiased),
    log_loss, brier, coverage (wanted, threshold, rows, accuracy), aurc, best_aurc, error, scaling (null, or temperature, run,
    rows, ece, log_loss, brier, saved, decision, changed (answers that are others), accuracy, seen), command, sentence.
    """
    from harness.analysis.calibration import reliability_of
    from harness.reports.text.calibration import of_one, of_several

    store = open_store(results)
    found = [reliability_of(store, name, bins) for name in dict.fromkeys(map(store.find, runs))]
    sentence = of_one(found[0]) if len(found) == 1 else of_several(found)
    if as_json:
        print_json({"runs": [_as_json(one) for one in found], "sentence": sentence})
        return
    for one in found:
        _print(one, bins)
        if len(found) > 1:
            typer.echo(plain(f"\n{of_one(one)}\n"))
    typer.echo(plain(("" if len(found) > 1 else "\n") + sentence))


def _print(one: Reliability, bins: int) -> None:
    typer.echo(plain(f"{one.run_id}: {one.rows:,} rows, {one.rows - one.answered:,} of them without an answer"))
    typer.echo(plain(f"\nHow often it is right when it is this sure ({bins} bins of equal width)"))
    print_table(
        ["confidence", "rows", "mean confidence", "accuracy", "95% interval", ""],
        [
            [
                f"{b.low:.3f}-{b.high:.3f}",
                f"{b.count:,}",
                f"{b.confidence:.3f}",
                *_shares(b.accuracy),
                _verdict(b.confidence, b.accuracy),
            ]
            for b in one.bins
        ],
    )
    typer.echo("\nAccuracy where only the surest are answered")
    print_table(
        ["coverage", "confidence from", "rows", "accuracy", "95% interval"],
        [[f"{c.rows / one.rows:.0%}", f"{c.threshold:.3f}", f"{c.rows:,}", *_shares(c.accuracy)] for c in one.coverage],
    )
    typer.echo(plain(f"AURC {one.aurc:.3f} (in any order {one.error:.3f}, in the best {one.best_aurc:.3f})\n"))
    after = one.scaling
    heads = ["", "as recorded"] if after is None else ["", "as recorded", f"at T = {after.temperature.value:.2f}"]
    columns = [_measures(one.scores)] if after is None else [_measures(one.scores), _measures(after.scores)]
    print_table(heads, [[name, *(column[name] for column in columns)] for name in columns[0]])


def _measures(scores: Scores) -> dict[str, str]:
    ece = scores.ece
    return {
        "ECE": f"{ece.value:.3f}",
        "ECE if calibrated (and in 95 of 100 samples at most)": f"{ece.calibrated:.3f} ({ece.calibrated_high:.3f})",
        "ECE, debiased": f"{ece.debiased:.3f}",
        "log loss": f"{scores.log_loss:.3f}",
        "Brier score": f"{scores.brier:.3f}",
    }


def _shares(value: MetricValue) -> tuple[str, str]:
    return f"{value['value']:.3f}", f"{value['low']:.3f}-{value['high']:.3f}"


def _verdict(confidence: float, accuracy: MetricValue) -> str:
    assert accuracy["low"] is not None
    assert accuracy["high"] is not None
    return "too sure" if confidence > accuracy["high"] else "too cautious" if confidence < accuracy["low"] else ""


def _as_json(one: Reliability) -> dict[str, Any]:
    from dataclasses import asdict

    from harness.reports.text.calibration import of_one

    scaling = one.scaling
    return {
        "run": one.run_id,
        "n": one.rows,
        "answered": one.answered,
        "confidence": one.confidence,
        "gap": _interval(one.gap),
        "bins": [asdict(b) for b in one.bins],
        **asdict(one.scores),
        "coverage": [asdict(c) for c in one.coverage],
        "aurc": one.aurc,
        "best_aurc": one.best_aurc,
        "error": one.error,
        "scaling": None
        if scaling is None
        else {
            "temperature": asdict(scaling.temperature),
            "run": scaling.run_id,
            "rows": scaling.rows,
            **asdict(scaling.scores),
            "saved": _interval(scaling.saved),
            "decision": scaling.decision,
            "changed": scaling.changed,
            "accuracy": scaling.accuracy,
            "seen": one.seen,
        },
        "command": one.command,
        "sentence": of_one(one),
    }


def _interval(values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), values, strict=True))
