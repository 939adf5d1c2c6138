"""`bench show RUN`: where a run is right and where it is wrong."""

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

if TYPE_CHECKING:
    from harness.core.record import RunRecord
    from harness.specs.catalog import Catalog

MATRIX_LABELS = 12
"""With more labels a matrix is mostly zeros; the most frequent confusions are listed instead."""


_LEFT_OUT = {
    "temperature": "answers are drawn at its own, and another run may answer differently",
    "seed": "none was sent, and another run may answer differently",
}


def show_command(
    run: Annotated[str, typer.Argument(help="Id of the run, a part that only it has (the digits at the end), or its folder.")],
    errors: Annotated[int, typer.Option(min=0, metavar="N", help="How many of the worst errors to list.")] = 10,
    data: Data = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Show a run: metrics, per-class report, confusion matrix, worst errors.

    The texts of the errors are shown where the data is at hand, and what a language model said where this machine made the
    run. --json prints an object with run, manifest, metrics, finding (kind, message; of a
    run that does no better than chance, else null), worst_errors (id, truth, label, status, text, answer).
    """
    from harness.analysis.findings import finding_of_entry
    from harness.records.entries import read_entry
    from harness.records.inspection import answers, texts, worst_errors

    check_data(data)
    store = open_store(results)
    name = store.find(_named(run))
    entry = read_entry(store, name)
    manifest, metrics = dict(entry.manifest), dict(entry.metrics)
    predictions = store.predictions(name)
    finding = finding_of_entry(store, entry)
    worst = worst_errors(predictions, manifest["identity"]["label_kind"], errors)
    known = catalog()
    found = texts(manifest["identity"], {record["id"] for record in predictions}, known, data)
    said = answers(store.answers_file(name))
    for record in worst:
        record["text"], record["answer"] = found.get(record["id"]), said.get(record["id"])
    if as_json:
        told = finding and finding.as_json()
        print_json({"run": name, "manifest": manifest, "metrics": metrics, "finding": told, "worst_errors": worst})
        return
    _print_head(name, entry.how, manifest, metrics, entry.record, has_finding=finding is not None)
    if finding is not None:
        typer.echo(plain(f"\n{entry.display_name} {finding.message}."))
    _print_classes(metrics)
    _print_confusion(metrics.get("confusion"), predictions, manifest["identity"])
    _print_errors(worst, manifest["identity"]["labels"], "" if found else _why_no_texts(manifest["identity"], known))


def _named(run: str) -> str:
    """What the run is called; `run` may also be the path of its folder or of its run.json."""
    path = Path(run)
    return path.parent.name if path.name == "run.json" else path.name


def _print_head(
    name: str, how: str, manifest: dict[str, Any], metrics: dict[str, Any], record: RunRecord, *, has_finding: bool
) -> None:
    from harness.records.entries import gate_lines
    from harness.records.sizes import parameters_of, size
    from harness.reports.words import shown

    identity, timing, machine = manifest["identity"], manifest["timing"], manifest["machine"]
    backend, rate = identity["backend"], timing["rows_per_second"]
    typer.echo(
        plain(f"{name}\n{metrics['n']} rows: {metrics['ok']} read, {metrics['unparsed']} unparsed, {metrics['failed']} failed")
    )
    if metrics["reasons"]:
        typer.echo(plain("reasons: " + ", ".join(f"{reason} {count}" for reason, count in sorted(metrics["reasons"].items()))))
    for line in gate_lines(record.gates, has_finding=has_finding):
        typer.echo(plain(line))
    loaded = [f"{backend['dtype']} on {backend['device']}"] if "dtype" in backend and "device" in backend else []
    parameters = parameters_of(record)
    facts = [*([] if parameters is None else [size(parameters)]), *loaded]
    where = f" ({', '.join(facts)})" if facts else ""
    typer.echo(plain(f"model: {backend['model'] or backend['engine']}{where}"))
    typer.echo(plain(f"how: {how}"))
    for line in (*_training_lines(manifest.get("training") or {}), *_runtime_lines(manifest.get("runtime") or {})):
        typer.echo(plain(line))
    imported = manifest.get("imported")
    if imported:
        origin = f"{imported['from']} {imported['version'] or ''}".strip()
        reported = ", ".join(f"{name} {value:.4g}" for name, value in sorted(imported["reported"].items()))
        typer.echo(plain(f"imported: from {origin}, task {imported['task']}, filter {imported['filter']}; time unknown"))
        typer.echo(plain(f"reported there: {reported or 'nothing'}"))
    else:
        speed = "n/a" if rate is None else f"{rate:.1f} rows/s"
        typer.echo(plain(f"speed: {speed}; {machine['cpu']}, GPU: {machine['gpu'] or 'none'}"))
    for field, other in (manifest.get("sent_instead") or {}).items():
        meant = _LEFT_OUT.get(field, "none was sent") if other is None else f"{other} was sent instead"
        typer.echo(plain(f"the server refused {field}: {meant}"))
    cost, tokens = manifest.get("cost"), manifest["tokens"]
    if cost is not None:
        typer.echo(plain(f"cost: ${cost['usd']:.4f}; tokens: {tokens['prompt']:,} read, {tokens['new']:,} written"))
    typer.echo("")
    values, headline = metrics["values"], metrics["headline"]
    ordered = [*headline, *(metric for metric in sorted(values) if metric not in headline)]
    print_table(["metric", "value [95% interval]"], [[metric, shown(values[metric])] for metric in ordered])


def _training_lines(training: Mapping[str, Any]) -> list[str]:
    """Records of earlier versions, and of engines that look at no validation rows, say less."""
    best, steps, vocabulary = training.get("best"), training.get("steps"), training.get("compacted_vocabulary")
    lines = [f"training: {training['seconds']:.0f} s" + (f", {steps} steps" if steps else "")] if training else []
    if best:
        (metric, value), step = next(item for item in best.items() if item[0] != "step"), best["step"]
        lines.append(f"checkpoint: step {step}, {metric} {value:.3f} on {training['validation_rows']} validation rows")
    if vocabulary:
        lines.append(f"vocabulary while training: {vocabulary[0]:,} of {vocabulary[1]:,} tokens")
    if training.get("thresholds"):
        lines.append("thresholds: " + ", ".join(f"{threshold:.2f}" for threshold in training["thresholds"]))
    return lines


def _runtime_lines(runtime: Mapping[str, Any]) -> list[str]:
    if "drop" not in runtime:
        return [f"runtime: {runtime['runtime']} ({runtime['library']})"] if runtime else []
    worth = f"{runtime['validation_int8']:.4f} on validation rows, {runtime['validation_fp32']:.4f} in fp32"
    return [f"runtime: {runtime['runtime']} ({runtime['library']}): {worth}; a drop of {runtime['max_drop']:g} is allowed"]


def _print_classes(metrics: dict[str, Any]) -> None:
    rows = [
        [row["name"], *(_number(row[key]) for key in ("precision", "recall", "f1")), str(row["support"])]
        for row in metrics["per_class"]
    ]
    typer.echo("")
    print_table(["class", "precision", "recall", "F1", "rows"], rows, text=["class"])


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _print_confusion(
    confusion: list[list[int]] | None, predictions: Sequence[Mapping[str, Any]], identity: Mapping[str, Any]
) -> None:
    labels = identity["labels"]
    answers = [*labels, "no answer"]
    if confusion and len(labels) <= MATRIX_LABELS:
        typer.echo("\nconfusion matrix: a row per true class, a column per answer")
        print_table(["", *answers], [[name, *map(str, row)] for name, row in zip(labels, confusion, strict=True)], text=answers)
    elif identity["label_kind"] != "multilabel":
        pairs = Counter((record["truth"], -1 if record["label"] is None else record["label"]) for record in predictions)
        wrong = sorted(
            ((count, *pair) for pair, count in pairs.items() if pair[0] != pair[1]), key=lambda one: (-one[0], one[1:])
        )
        typer.echo("\nmost frequent confusions")
        rows = [[labels[truth], answers[label], str(count)] for count, truth, label in wrong[:20]]
        print_table(["truth", "answered", "rows"], rows, text=["truth", "answered"])


def _why_no_texts(identity: Mapping[str, Any], known: Catalog) -> str:
    """Why the texts of a run's rows can't be had without `--data`: the data is not here, or is not what the run saw."""
    from harness.core.errors import BenchError
    from harness.data.rows import load_examples

    not_here = "no texts: the data is not at hand; --data DIR points to it"
    try:
        task = known.task(identity["task"])
        if task.source.hub is not None:
            return not_here
        load_examples(task, lang=identity["lang"], split=identity["split"])
    except BenchError:
        return not_here
    return "no texts: rows of the data have changed since this run; --data DIR points to those that it saw"


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
