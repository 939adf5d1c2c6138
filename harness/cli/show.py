"""`bench show RUN`: where a run is right and where it is wrong."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli.options import RESULTS, Data, Json, Results, catalog, print_json, print_table


def show_command(
    run: Annotated[str, typer.Argument(help="Id of the run, its first characters, or the digits at its end.")],
    errors: Annotated[int, typer.Option(min=0, help="How many of the worst errors to list.")] = 10,
    data: Data = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """Show a run: metrics, per-class report, confusion matrix, worst errors."""
    from harness.inspection import answers, texts, worst_errors
    from harness.store import Store

    store = Store(results / "runs")
    name = store.find(run)
    manifest, metrics = store.manifest(name), store.metrics(name)
    worst = worst_errors(store.predictions(name), manifest["identity"]["label_kind"], errors)
    found = texts(manifest["identity"], catalog(), data)
    said = answers(store.answers_file(name))
    for record in worst:
        record["text"], record["answer"] = found.get(record["id"]), said.get(record["id"])
    if as_json:
        print_json({"run": name, "manifest": manifest, "metrics": metrics, "worst_errors": worst})
        return
    _print_head(name, manifest, metrics)
    _print_classes(metrics, manifest["identity"]["labels"])
    _print_errors(worst, manifest["identity"]["labels"], bool(found))


def _print_head(name: str, manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    from harness.leaderboard import shown

    identity, timing = manifest["identity"], manifest["timing"]
    typer.echo(f"{name}\n{metrics['n']} rows: {metrics['ok']} read, {metrics['unparsed']} unparsed, {metrics['failed']} failed")
    if metrics["reasons"]:
        typer.echo("reasons: " + ", ".join(f"{reason} {count}" for reason, count in sorted(metrics["reasons"].items())))
    backend = identity["backend"]
    typer.echo(
        f"model: {backend['model'] or backend['engine']} ({backend.get('dtype', '-')} on {backend.get('device', 'cpu')})"
    )
    typer.echo(
        f"speed: {timing['rows_per_second']} rows/s, {manifest['machine']['cpu']}, GPU: {manifest['machine']['gpu'] or 'none'}"
    )
    typer.echo("")
    print_table(["metric", "value [95% interval]"], [[metric, shown(value)] for metric, value in metrics["values"].items()])


def _print_classes(metrics: dict[str, Any], labels: list[str]) -> None:
    typer.echo("")
    columns = ["class", "precision", "recall", "F1", "rows"]
    rows = [
        [row["name"], *(_number(row[key]) for key in ("precision", "recall", "f1")), str(row["support"])]
        for row in metrics["per_class"]
    ]
    print_table(columns, rows)
    if metrics.get("confusion"):
        typer.echo("\nconfusion matrix: a row per true class, a column per answer")
        counts = [[name, *map(str, row)] for name, row in zip(labels, metrics["confusion"], strict=True)]
        print_table(["", *labels, "no answer"], counts)


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _print_errors(worst: list[dict[str, Any]], labels: list[str], with_texts: bool) -> None:
    if not worst:
        return

    def named(label: Any) -> str:
        return "-" if label is None else ", ".join(labels[i] for i in (label if isinstance(label, list) else [label])) or "none"

    typer.echo(f"\nworst errors{'' if with_texts else ' (no texts: the data is not at hand; --data DIR points to it)'}")
    rows = [
        [record["id"], named(record["truth"]), record.get("reason") or named(record["label"]), *_quoted(record)]
        for record in worst
    ]
    print_table(["row", "truth", "answered", "text", "model said"], rows)


def _quoted(record: dict[str, Any]) -> list[str]:
    return [_one_line(record["text"]), _one_line(record["answer"])]


def _one_line(text: str | None, width: int = 100) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text or "").split())
    return line if len(line) <= width else line[: width - 1] + "…"
