"""`bench show RUN`: one run in detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Results,
    catalog,
    check_data,
    one_line,
    open_store,
    plain,
    print_json,
    print_table,
)
from harness.cli.run_options import completion
from harness.core.types import LabelKind

if TYPE_CHECKING:
    from harness.core.record import Identity, Metrics, RunRecord, Runtime, Training
    from harness.records.entries import Entry
    from harness.specs.catalog import Catalog

MATRIX_LABELS = 12
"""With more labels the most frequent confusions are listed, because a matrix is mostly zeros."""


_NOT_SENT = {
    "temperature": "it samples at its own, so another run may answer differently",
    "seed": "none was sent, so another run may answer differently",
}


Run = Annotated[
    str,
    typer.Argument(help="Run: its id, the last digits of it, or its folder.", autocompletion=completion("run")),
]
Errors = Annotated[int, typer.Option(min=0, metavar="N", help="Number of worst errors to list.")]


def show_command(run: Run, errors: Errors = 10, data: Data = None, results: Results = RESULTS, as_json: Json = False) -> None:
    """Show one run.

    Prints metrics, a report per class, the confusion matrix and the worst errors. The texts of the errors are shown if the data
    is available, and the answers of a language model if this machine made the run.

    --json prints the run's record (schema: `bench schema`), with finding (kind, message; of a run that is no better than
    chance, else null) and worst_errors (id, truth, label, status, text, answer)."""
    from harness.analysis.findings import finding_of_entry
    from harness.records.entries import read_entry
    from harness.records.inspection import answers, texts, worst_errors

    check_data(data)
    store = open_store(results)
    entry = read_entry(store, store.find(_run_name(run)))
    name, record = entry.run_id, entry.record
    identity, predictions = record.identity, store.predictions(name)
    finding = finding_of_entry(store, entry)
    worst = worst_errors(predictions, identity.label_kind, errors)
    known = catalog()
    found = texts(identity, {row["id"] for row in predictions}, known, data)
    answered = answers(store.answers_file(name))
    for error in worst:
        error["text"], error["answer"] = found.get(error["id"]), answered.get(error["id"])
    if as_json:
        reported = finding and finding.as_json()
        print_json({**record.manifest(), "metrics": record.metrics.as_json(), "finding": reported, "worst_errors": worst})
        return
    _print_head(entry, has_finding=finding is not None)
    if finding is not None:
        typer.echo(plain(f"\n{entry.display_name} {finding.message}."))
    _print_classes(record.metrics)
    _print_confusion(record.metrics.confusion, predictions, identity)
    _print_errors(worst, identity.labels, "" if found else _why_no_texts(identity, known))


def _run_name(run: str) -> str:
    """`run` may also be the path of the run's folder or of its run.json."""
    path = Path(run)
    return path.parent.name if path.name == "run.json" else path.name


def _print_head(entry: Entry, *, has_finding: bool) -> None:
    from harness.analysis.ranks import has_seeds
    from harness.records.entries import gate_lines, leak_line
    from harness.reports.text.formats import listed, missing_intervals, shown

    record, metrics = entry.record, entry.record.metrics
    reasons = ", ".join(f"{name} {count}" for name, count in sorted(metrics.reasons.items()))
    lines = [
        entry.run_id,
        f"{metrics.n} rows: {metrics.ok} parsed, {metrics.unparsed} unparsed, {metrics.failed} failed",
        *([f"reasons: {reasons}"] if metrics.reasons else []),
        *([f"groups: {metrics.groups:,}; intervals are by group"] if metrics.groups is not None else []),
        *filter(None, [leak_line([record])]),
        *gate_lines(record.gates, has_finding=has_finding),
        *_truncated_lines(record),
        *_model_lines(entry),
        *(_training_lines(record.training) if record.training else []),
        *(_runtime_lines(record.runtime) if record.runtime else []),
        *_origin_lines(record),
        *([f"values: of this run alone (seed {entry.seed}); another seed may differ"] if has_seeds(entry) else []),
    ]
    for line in lines:
        typer.echo(plain(line))
    typer.echo("")
    ordered = [*metrics.headline, *(name for name in sorted(metrics.values) if name not in metrics.headline)]
    print_table(["metric", "value [95% interval]"], [[name, shown(metrics.values[name])] for name in ordered])
    for reason, names in missing_intervals(metrics.values):
        typer.echo(plain(f"no interval of {listed(names)}: {reason}"))


def _truncated_lines(record: RunRecord) -> list[str]:
    """Where no warning says it: of few texts, or of a record without gates."""
    from harness.core.record import GateOutcome

    cut, warned = record.cut, [gate.name for gate in record.gates if gate.outcome is GateOutcome.WARNED]
    if cut is None or not cut.texts or "texts_cut" in warned:
        return []
    return [f"truncated: {cut.share:.1%} of the texts ({cut.texts:,}), {cut.tokens_lost_share:.1%} of all tokens"]


def _model_lines(entry: Entry) -> list[str]:
    from harness.records.sizes import size_of
    from harness.records.weights import used_precision

    backend, size, checkpoint = entry.record.identity.backend, size_of(entry), entry.checkpoint
    where = [f"{backend.dtype} on {backend.device}"] if backend.dtype and backend.device else []
    facts = ", ".join([*([size] if size else []), *where])
    return [
        f"model: {backend.model or backend.engine}{f' ({facts})' if facts else ''}",
        *([f"base model: {checkpoint.base}"] if checkpoint.base else []),
        *([f"weights: stored in {checkpoint.stored}, used in {used_precision(entry.record)}"] if checkpoint.stored else []),
        f"configuration: {entry.how}",
    ]


def _origin_lines(record: RunRecord) -> list[str]:
    """Speed and cost of the run; of an imported one where it came from."""
    lines = []
    if record.imported is not None:
        origin = record.imported
        reported = ", ".join(f"{name} {value:.4g}" for name, value in sorted(origin.reported.items()))
        tool = f"{origin.origin} {origin.version or ''}".strip()
        lines.append(f"imported: from {tool}, task {origin.task}, filter {origin.filter}; time unknown")
        lines.append(f"reported there: {reported or 'nothing'}")
    else:
        rate = record.timing.rows_per_second
        speed = "n/a" if rate is None else f"{rate:.1f} rows/s"
        lines.append(f"speed: {speed}; {record.machine.cpu}, GPU: {record.machine.gpu or 'none'}")
    for field, other in (record.sent_instead or {}).items():
        sent = _NOT_SENT.get(field, "none was sent") if other is None else f"{other} was sent instead"
        lines.append(f"the server refused {field}: {sent}")
    if record.cost is not None:
        counted = record.tokens.charged
        tokens = f"{counted.total.prompt:,} read, {counted.total.new:,} written"
        tokens += f"; {counted.total.cached:,} of those read were in the server's cache" if counted.total.cached else ""
        batched = counted.batched.prompt + counted.batched.new
        tokens += f"; {batched:,} of all through the Batch API" if batched else ""
        lines.append(f"cost: ${record.cost.usd:.4f}; tokens: {tokens}")
    return lines


def _training_lines(training: Training) -> list[str]:
    """Records of earlier versions, and of engines without validation, hold less."""
    lines = (
        []
        if training.seconds is None
        else [f"training: {training.seconds:.0f} s" + (f", {training.steps} steps" if training.steps else "")]
    )
    if training.cached_seconds is not None:
        lines.append(f"of these {training.cached_seconds:.0f} s were spared: an earlier training had done the work")
    if training.best:
        step = training.best["step"]
        metric, value = next(item for item in training.best.items() if item[0] != "step")
        lines.append(f"checkpoint: step {step:g}, {metric} {value:.3f} on {training.validation_rows} validation rows")
    if training.train_windows:
        lines.append(f"windows while training: {training.train_windows:,} of {training.train_rows:,} texts")
    if training.compacted_vocabulary:
        kept, of = training.compacted_vocabulary
        lines.append(f"vocabulary while training: {kept:,} of {of:,} tokens")
    if training.thresholds:
        lines.append("thresholds: " + ", ".join(f"{threshold:.2f}" for threshold in training.thresholds))
    return lines


def _runtime_lines(runtime: Runtime) -> list[str]:
    line = f"runtime: {runtime.runtime} ({runtime.library})"
    if runtime.drop is not None:
        worth = f"{runtime.validation_int8:.4f} on validation rows, {runtime.validation_fp32:.4f} in fp32"
        line += f": {worth}; a drop of {runtime.max_drop:g} is allowed"
    if runtime.chosen is None:
        return [line]
    times = ", ".join(f"{name} {each:.3g} ms" for name, each in runtime.chosen.milliseconds.items())
    failed = f"; not exported: {runtime.chosen.failed}" if runtime.chosen.failed else ""
    return [line, f"chosen by time per row on {runtime.chosen.timed_rows} validation rows: {times}{failed}"]


def _print_classes(metrics: Metrics) -> None:
    rows = [[row.name, *map(_number, (row.precision, row.recall, row.f1)), str(row.support)] for row in metrics.per_class]
    typer.echo("")
    print_table(["class", "precision", "recall", "F1", "rows"], rows, text=["class"])


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _print_confusion(confusion: list[list[int]] | None, predictions: Sequence[Mapping[str, Any]], identity: Identity) -> None:
    labels = identity.labels
    answers = [*labels, "no answer"]
    if confusion and len(labels) <= MATRIX_LABELS:
        typer.echo("\nconfusion matrix: rows are true classes, columns are answers")
        print_table(["", *answers], [[name, *map(str, row)] for name, row in zip(labels, confusion, strict=True)], text=answers)
    elif identity.label_kind is not LabelKind.MULTILABEL:
        pairs = Counter((record["truth"], -1 if record["label"] is None else record["label"]) for record in predictions)
        wrong = sorted(
            ((count, *pair) for pair, count in pairs.items() if pair[0] != pair[1]), key=lambda one: (-one[0], one[1:])
        )
        typer.echo("\nmost frequent confusions")
        rows = [[labels[truth], answers[label], str(count)] for count, truth, label in wrong[:20]]
        print_table(["truth", "answered", "rows"], rows, text=["truth", "answered"])


def _why_no_texts(identity: Identity, known: Catalog) -> str:
    """The data is not on this machine, or has changed since the run."""
    from harness.core.errors import BenchError
    from harness.data.rows import load_examples

    not_here = "no texts: the data is not on this machine; give its folder with --data"
    try:
        task = known.task(identity.task)
        if task.source.hub is not None:
            return not_here
        load_examples(task, lang=identity.lang, split=identity.split)
    except BenchError:
        return not_here
    return "no texts: the data has changed since this run; give the rows of the run with --data"


def _print_errors(worst: list[dict[str, Any]], labels: list[str], why_no_texts: str) -> None:
    if not worst:
        return

    def named(label: Any) -> str:
        return "-" if label is None else ", ".join(labels[i] for i in (label if isinstance(label, list) else [label])) or "none"

    columns = {
        "row": [str(record["id"]) for record in worst],
        "truth": [named(record["truth"]) for record in worst],
        "answered": [record.get("reason") or named(record["label"]) for record in worst],
        "text": [one_line(record["text"]) for record in worst],
        "model said": [one_line(record["answer"]) for record in worst],
    }
    shown = [name for name, cells in columns.items() if name not in ("text", "model said") or any(cells)]
    typer.echo(plain(f"\nworst errors{f' ({why_no_texts})' if why_no_texts else ''}"))
    rows = [list(row) for row in zip(*(columns[name] for name in shown), strict=True)]
    print_table(shown, rows, text=["row", "truth", "answered", "text", "model said"])
