"""`bench analyze calibration`: does a model's confidence fit its accuracy, and what does temperature scaling change?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import RESULTS, Json, Results, open_store, print_json, print_table
from harness.core.plain import plain

if TYPE_CHECKING:
    from harness.analysis.calibration import Reliability, Scores
    from harness.core.record import Estimate


def calibration_command(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs with probabilities; the last digits of their ids are enough.")
    ],
    bins: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Bins of equal width for the table and the ECE.")
    ] = 15,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Show how well confidence fits accuracy, and the effect of temperature scaling.

    Shows the reliability table, the calibration error and its bias, and the accuracy of the most confident answers. The
    temperature is fitted on validation rows and judged on the run's own: where the results have no run of the same model on
    validation rows, the command that makes one is named.

    --json prints an object with sentence and runs: a list of run, n, answered, confidence, gap (mean confidence less accuracy:
    value, low, high), bins (low, high, count, confidence, accuracy), ece (value, calibrated, calibrated_high, p, debiased),
    classwise_ece, log_loss, brier, brier_parts (reliability, resolution, uncertainty, within), coverage (wanted, threshold,
    rows, accuracy), aurc, best_aurc, error, scaling (null, or temperature, run, rows, ece, classwise_ece, log_loss, brier,
    brier_parts, saved, decision, changed (answers that differ), accuracy, seen, labels), command,
    sentence.
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
    typer.echo(plain(f"{one.entry.run_id}: {one.n:,} rows, {one.n - one.answered:,} of them without an answer"))
    typer.echo(plain(f"\nAccuracy by confidence ({bins} bins of equal width)"))
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
    typer.echo("\nAccuracy where only the most confident rows are answered")
    print_table(
        ["coverage", "confidence from", "rows", "accuracy", "95% interval"],
        [[f"{c.rows / one.n:.0%}", f"{c.threshold:.3f}", f"{c.rows:,}", *_shares(c.accuracy)] for c in one.coverage],
    )
    typer.echo(plain(f"AURC {one.aurc:.3f} (of a random order {one.error:.3f}, of the best order {one.best_aurc:.3f})\n"))
    after = one.scaling
    heads = ["", "as recorded"] if after is None else ["", "as recorded", f"at T = {after.temperature.value:.2f}"]
    columns = [_measures(one.scores)] if after is None else [_measures(one.scores), _measures(after.scores)]
    print_table(heads, [[name, *(column[name] for column in columns)] for name in columns[0]])


def _measures(scores: Scores) -> dict[str, str]:
    ece, parts = scores.ece, scores.brier_parts
    return {
        "ECE": f"{ece.value:.3f}",
        "ECE if calibrated (and at most in 95% of samples)": f"{ece.calibrated:.3f} ({ece.calibrated_high:.3f})",
        "ECE, debiased": f"{ece.debiased:.3f}",
        "ECE by label": f"{scores.classwise_ece:.3f}",
        "log loss": f"{scores.log_loss:.3f}",
        "Brier score": f"{scores.brier:.3f}",
        "  reliability": f"{parts.reliability:.3f}",
        "  - resolution": f"{parts.resolution:.3f}",
        "  + uncertainty": f"{parts.uncertainty:.3f}",
        "  + within bins": f"{parts.within:.3f}",
    }


def _shares(value: Estimate) -> tuple[str, str]:
    return f"{value.value:.3f}", "n/a" if value.low is None else f"{value.low:.3f}-{value.high:.3f}"


def _verdict(confidence: float, accuracy: Estimate) -> str:
    if accuracy.low is None or accuracy.high is None:
        return ""
    return "overconfident" if confidence > accuracy.high else "underconfident" if confidence < accuracy.low else ""


def _as_json(one: Reliability) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    from harness.reports.text.calibration import of_one

    dumped = to_jsonable_python(one, exclude={"entry"}, inf_nan_mode="null")
    for part in (dumped, dumped["scaling"]):
        if part is not None:
            part.update(part.pop("scores"))
    return {"run": one.entry.run_id, **dumped, "sentence": of_one(one)}
