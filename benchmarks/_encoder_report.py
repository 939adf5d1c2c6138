"""From the measurements of the encoder's benchmark to a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median, stdev
from typing import Any

from _results import markdown

OURS = {
    "ours.fp32": "bench, torch, fp32",
    "ours.bf16": "bench, torch, bf16",
    "ours.onnx": "bench, ONNX Runtime, fp32",
    "ours.onnx-int8": "bench, ONNX Runtime, int8",
    "ours.auto": "bench, runtime auto for a million rows",
}


def page(record: Mapping[str, Any]) -> str:
    """Markdown of what was measured."""
    sections = [_preface(record)]
    if "inference" in record:
        sections += [inference_table(record["inference"]), _explain(record["inference"]), sizes_table(record["inference"])]
    if "training" in record:
        rows = record["train_rows"] * record["options"]["train"]["epochs"]
        sections += [training_table(record["training"], rows), differences_table(record["training"])]
    return "\n\n".join(sections) + "\n"


def inference_table(found: Mapping[str, Any]) -> str:
    """Of the pipeline the fastest batch size of each dtype and order. Ratios of rows a second are medians (and ranges) of the
    rounds' own; the share of the GEMM rate is that of the way's dtype, by medians."""
    from _encoder_inference import best_of_each_kind

    best = best_of_each_kind(found["seconds"])
    names = [*best, *(name for name in found["seconds"] if name in OURS)]
    rivals = {dtype: fastest(found, best, dtype) for dtype in found["gflops"]}
    cells = []
    for name in names:
        times = found["seconds"][name]
        share = _share(found, name)
        cells.append(
            [
                OURS.get(name) or _rival(name),
                f"{median(times):.2f} ({min(times):.2f}-{max(times):.2f})",
                f"{median(found['cpu_seconds'][name]):.2f}",
                f"{found['rows'] / median(times):.1f}",
                *(_ratios(found["seconds"][rival], times) for rival in rivals.values()),
                "" if share is None else f"{share:.0%}",
                f"{found['same_label'][name]:.1%}",
                f"{found['accuracy'][name]:.4f}",
            ]
        )
    over = [f"x over {_rival(rival)}" for rival in rivals.values()]
    return markdown(["what", "seconds", "CPU s", "rows/s", *over, "of GEMM rate", "same label", "accuracy"], cells, 1)


def fastest(found: Mapping[str, Any], best: Sequence[str], dtype: str) -> str:
    """The fastest way of the pipeline in a dtype, by the median."""
    return min((name for name in best if f".{dtype}." in name), key=lambda name: median(found["seconds"][name]))


def _rival(name: str) -> str:
    _, dtype, order, size = name.split(".")
    return f"pipeline, {dtype}, batch {size}{', sorted by length' if order == 'sorted' else ''}"


def _ratios(slower: Sequence[float], times: Sequence[float]) -> str:
    ratios = [one / other for one, other in zip(slower, times, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def _share(found: Mapping[str, Any], name: str) -> float | None:
    """None for int8, and for `auto`, which may be that."""
    dtype = {"ours.onnx": "fp32", "ours.onnx-int8": None, "ours.auto": None}.get(name, name.split(".")[1])
    if dtype is None:
        return None
    return float(found["flops"] / median(found["seconds"][name]) / median(found["gflops"][dtype]) / 1e9)


def sizes_table(found: Mapping[str, Any]) -> str:
    """Rows a second of the pipeline in the first round, by batch size."""
    rates = {name: found["rows"] / times[0] for name, times in found["seconds"].items() if name.startswith("pipeline.")}
    kinds = list(dict.fromkeys(name.rpartition(".")[0] for name in rates))
    sizes = list(dict.fromkeys(name.rpartition(".")[2] for name in rates))
    cells = [[size, *(f"{rates[name]:.1f}" if (name := f"{kind}.{size}") in rates else "" for kind in kinds)] for size in sizes]
    titles = [f"{kind.split('.')[1]}{', sorted' if kind.endswith('sorted') else ''}" for kind in kinds]
    return markdown(["pipeline, batch size", *titles], cells, 1)


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
    return markdown(["trainer", "seeds", "seconds", "CPU seconds", "rows/s", *QUALITIES], cells, 1)


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
    return markdown(["ours - stock", "seeds", "mean", "95% interval"], cells, 1)


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
    rates = [f"{dtype} {median(each):.0f} ({min(each):.0f}-{max(each):.0f})" for dtype, each in found["gflops"].items()]
    text = [
        f"Medians (and ranges) of {len(found['seconds']['ours.fp32'])} rounds in one process. All ways of the pipeline are in",
        "the first round; the later ones have the fastest batch size of each dtype and order.",
        "Seconds exclude loading, export and a warm-up of one text; they include tokenization and making the batches.",
        "Same label: as the pipeline in fp32 with single rows. Share of the GEMM rate: the operations of the matrix",
        "products that the texts' tokens need, padding not counted (per layer 2 (4 h h + 2 h i) n + 4 h n n for a text of n",
        "tokens) by the seconds, over the rate of torch's linear layers of the same shapes and dtype, measured in each round,",
        f"in GFLOP/s: {', '.join(rates)}.",
    ]
    facts = [
        f"- {name}: " + ", ".join(f"{key} {value}" for key, value in said.items())
        for name, said in found["runtimes"].items()
        if said
    ]
    return "\n".join(text) + "".join(f"\n{fact}" for fact in ["", *facts])
