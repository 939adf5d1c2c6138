"""From the measurements of the encoder's benchmark to a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

WHAT = {
    "a.pipeline": "transformers pipeline, its defaults (batch 1)",
    "b.pipeline-64": "transformers pipeline, batch 64",
    "c.dataloader-64": "DataLoader loop, batch 64, padded to the longest",
    "d.torch": "bench, torch",
    "e.onnx": "bench, ONNX Runtime",
    "f.onnx-int8": "bench, ONNX Runtime, int8",
}


def page(record: Mapping[str, Any]) -> str:
    """Markdown of what was measured."""
    sections = [_preface(record)]
    if "inference" in record:
        sections += [inference_table(record["inference"]), _explain(record["inference"])]
    if "training" in record:
        sections += [training_table(record["training"], record["train_rows"] * record["options"]["train"]["epochs"])]
    return "\n\n".join(sections) + "\n"


def _table(head: Sequence[str], cells: Sequence[Sequence[str]], words: int) -> str:
    align = [*["---"] * words, *["---:"] * (len(head) - words)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, align, *cells])


def inference_table(found: Mapping[str, Any]) -> str:
    """Ratios are of rows a second, by medians; the share of the GEMM rate is of the median of all its measurements."""
    rows, gflops = len(found["truth"]), median(found["gflops"])
    seconds = {name: median(times) for name, times in found["seconds"].items()}
    reference = found["labels"]["a.pipeline"]
    cells = []
    for name, times in found["seconds"].items():
        labels = found["labels"][name]
        cells.append(
            [
                name,
                WHAT[name],
                f"{seconds[name]:.2f} ({min(times):.2f}-{max(times):.2f})",
                f"{rows / seconds[name]:.1f}",
                f"{found['tokens'] / seconds[name]:.0f}",
                f"{seconds['a.pipeline'] / seconds[name]:.2f}",
                f"{seconds['b.pipeline-64'] / seconds[name]:.2f}",
                f"{found['flops'] / seconds[name] / gflops / 1e9:.0%}",
                f"{_same(labels, reference):.1%}",
                f"{_same(labels, found['truth']):.4f}",
            ]
        )
    head = ["part", "what", "seconds", "rows/s", "tokens/s", "x over (a)", "x over (b)", "of GEMM rate", "same label as (a)"]
    return _table([*head, "accuracy"], cells, 2)


def _same(labels: Sequence[Any], others: Sequence[Any]) -> float:
    return mean(float(label == other) for label, other in zip(labels, others, strict=True))


def training_table(measured: Sequence[Mapping[str, Any]], rows: float) -> str:
    """`rows`: of all epochs. Accuracy is that of the best epoch for both, though the stock Trainer keeps the last one."""
    cells = []
    for name in ("stock", "ours"):
        mine = [entry for entry in measured if entry["trainer"] == name]
        for entry in mine:
            cells.append(_trained(name, str(entry["seed"]), [entry], rows))
        cells.append(_trained(name, "mean", mine, rows))
    ratio = _mean_seconds(measured, "stock") / _mean_seconds(measured, "ours")
    head = ["trainer", "seed", "seconds", "rows/s", "best epoch's validation accuracy", "last epoch's"]
    return _table(head, cells, 1) + f"\n\nOurs takes the stock Trainer's seconds over {ratio:.2f} (means of the seeds)."


def _trained(name: str, seed: str, entries: Sequence[Mapping[str, Any]], rows: float) -> list[str]:
    seconds = mean(entry["seconds"] for entry in entries)
    best, last = mean(max(entry["accuracy"]) for entry in entries), mean(entry["accuracy"][-1] for entry in entries)
    return [name, seed, f"{seconds:.1f}", f"{rows / seconds:.1f}", f"{best:.4f}", f"{last:.4f}"]


def _mean_seconds(measured: Sequence[Mapping[str, Any]], name: str) -> float:
    return mean(entry["seconds"] for entry in measured if entry["trainer"] == name)


def _preface(record: Mapping[str, Any]) -> str:
    machine, versions = record["machine"], record["versions"]
    device = f"{machine['gpu']}, " if machine["gpu"] else ""
    return (
        f"{record['rows']} test rows of {record['task']} ({record['lang']}), {record['train_rows']} for training, "
        f"{record['validation_rows']} for validation; checkpoint {record['model']}, float32.\n\n"
        f"{device}{machine['cpu']}, {machine['cores']} cores, {record['threads']} threads, {machine['memory_gib']} GiB; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f". Load average at the start: {record['load_start']}."
    )


def _explain(found: Mapping[str, Any]) -> str:
    rates = found["gflops"]
    text = [
        f"Medians (and ranges) of {len(found['seconds']['a.pipeline'])} rounds, all parts in each round, in one process.",
        "Seconds exclude loading, export and a warm-up of one text; they include tokenization and, for ours, cutting the",
        "batches. Tokens are those of the texts, padding not counted. Share of the GEMM rate: the operations of the matrix",
        "products that these tokens need (per layer 2 (4 h h + 2 h i) n + 4 h n n for a text of n tokens) by the seconds,",
        "over the rate of torch's linear layers of the same shapes, measured before each part:",
        f"{median(rates):.0f} GFLOP/s ({min(rates):.0f}-{max(rates):.0f}).",
    ]
    facts = [
        f"- {name}: " + ", ".join(f"{key} {value}" for key, value in said.items())
        for name, said in found["runtimes"].items()
        if said
    ]
    return "\n".join(text) + "".join(f"\n{fact}" for fact in ["", *facts])
