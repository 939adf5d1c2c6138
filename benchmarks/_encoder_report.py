"""From the measurements of the encoder's benchmark to a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median, stdev
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
        rows = record["train_rows"] * record["options"]["train"]["epochs"]
        sections += [training_table(record["training"], rows), differences_table(record["training"])]
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


QUALITIES = ("accuracy, last epoch", "accuracy, best epoch", "loss, last epoch", "loss, best epoch")
"""On the validation rows. The best epoch is that of the quality itself, for both trainers."""


def _qualities(entry: Mapping[str, Any]) -> dict[str, float]:
    accuracy, loss = ([one[name] for one in entry["evaluations"]] for name in ("accuracy", "loss"))
    return dict(zip(QUALITIES, (accuracy[-1], max(accuracy), loss[-1], min(loss)), strict=True))


def training_table(measured: Sequence[Mapping[str, Any]], rows: float) -> str:
    """Means over the seeds, and ranges of the seconds. `rows`: of all epochs."""
    cells = []
    for name in ("stock", "ours"):
        mine = [entry for entry in measured if entry["trainer"] == name]
        seconds = [entry["seconds"] for entry in mine]
        qualities = [_qualities(entry) for entry in mine]
        cells.append(
            [
                name,
                str(len(mine)),
                f"{mean(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f})",
                f"{mean(entry['cpu_seconds'] for entry in mine):.1f}",
                f"{rows / mean(seconds):.1f}",
                *(f"{mean(each[quality] for each in qualities):.4f}" for quality in QUALITIES),
            ]
        )
    return _table(["trainer", "seeds", "seconds", "CPU seconds", "rows/s", *QUALITIES], cells, 1)


def differences_table(measured: Sequence[Mapping[str, Any]]) -> str:
    """Ours minus stock in each seed that both have: the mean, and its 95% t interval over the seeds."""
    by_seed: dict[str, dict[int, Mapping[str, Any]]] = {"ours": {}, "stock": {}}
    for entry in measured:
        by_seed[entry["trainer"]][entry["seed"]] = entry
    pairs = [(ours, by_seed["stock"][seed]) for seed, ours in by_seed["ours"].items() if seed in by_seed["stock"]]
    cells = []
    for quality in QUALITIES:
        found = [_qualities(ours)[quality] - _qualities(stock)[quality] for ours, stock in pairs]
        cells.append([quality, str(len(found)), f"{mean(found):+.4f}", _interval(found)])
    ratios = [{name: stock[name] / ours[name] for name in ("seconds", "cpu_seconds")} for ours, stock in pairs]
    for name, what in (("seconds", "seconds, stock / ours"), ("cpu_seconds", "CPU seconds, stock / ours")):
        found = [ratio[name] for ratio in ratios]
        cells.append([what, str(len(found)), f"{mean(found):.2f}", f"{min(found):.2f}-{max(found):.2f} (range)"])
    return _table(["ours - stock", "seeds", "mean", "95% interval"], cells, 1)


def _interval(differences: Sequence[float]) -> str:
    from scipy.stats import t

    count = len(differences)
    if count < 2:
        return "-"
    half = float(t.ppf(0.975, count - 1)) * stdev(differences) / count**0.5
    return f"[{mean(differences) - half:+.4f}, {mean(differences) + half:+.4f}]"


def _preface(record: Mapping[str, Any]) -> str:
    machine, versions = record["machine"], record["versions"]
    device = f"{machine['gpu']}, " if machine["gpu"] else ""
    return (
        f"{record['rows']} test rows of {record['task']} ({record['lang']}), {record['train_rows']} for training, "
        f"{record['validation_rows']} for validation; checkpoint {record['model']}, "
        f"trained in {record['options']['train']['precision']}.\n\n"
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
