"""What a sweep of 20 backends x 30 languages x 5 prompts takes on 1, 8, 64 and 512 GPUs: a simulation, and its check.

    python benchmarks/scale.py --json benchmarks/results/scale.json --parts run,check          # 25 minutes on two cores
    python benchmarks/scale.py --json benchmarks/results/scale.json --parts langs --sib DIR    # test.parquet of SIB-200
    python benchmarks/scale.py --json benchmarks/results/scale.json --parts estimate           # 5 minutes

run:      what a run takes beside its model: plan, rows, metrics with their intervals, record
langs:    tokens of the same sentences in several languages, by the tokenizer of e5-small
check:    a small sweep by one and by two worker processes, beside what the simulation predicts for it (`_scale_check.py`)
estimate: the sweep (`_sweep.py`), from what the other parts and other scripts measured, published figures, and assumptions

Without --parts those are measured that the file lacks; the estimate is made anew. No GPU is needed, and none was measured:
rates of GPUs are published figures times an assumed share.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import mean, median
from time import perf_counter, process_time
from typing import Any

from _results import Setup, described, earlier, markdown, setup_here, spread
from _scale_check import Check, Sweep, check
from _sweep import BACKENDS, LONGEST, REPEATS, TEST, TRAIN, Estimate, Input, Kind, estimates
from million import write_project
from pydantic import BaseModel, ConfigDict

from harness.core.cache_folder import cache_dir
from harness.core.errors import UserError
from harness.core.json_files import write_atomically

LIBRARIES = ("torch", "transformers", "scikit-learn")
RESULTS = Path(__file__).parent / "results"
PARTS = ("run", "langs", "check", "estimate")
SIZES = (1, 8, 64, 512)
LANGS = 30
PRICE = "h100"
SENTENCES = 200


class RunCost(BaseModel):
    """Of a run of `rows` rows by `majority`: processor seconds beside loading and predicting, in each repeat; the files of its
    record and their size together. `start`: processor seconds of a process that imports torch and transformers."""

    model_config = ConfigDict(frozen=True)

    rows: int
    seconds: list[float]
    start: list[float]
    kib: float
    files: int


class Record(BaseModel):
    """The file. `langs`: tokens of the same sentences over those in English; English comes first."""

    model_config = ConfigDict(frozen=True)

    setup: Setup
    run: RunCost | None = None
    langs: dict[str, float] | None = None
    check: Check | None = None
    inputs: dict[str, Input] | None = None
    draws: int | None = None
    estimates: list[Estimate] | None = None


# Measurements.


def measured_run(repeats: int) -> RunCost:
    """The first of the runs, which imports libraries, does not count."""
    from harness.core.options import RunOptions
    from harness.records.store import Store
    from harness.running.plan import make_plan
    from harness.running.runner import EngineSlot, run
    from harness.specs.catalog import Catalog

    with tempfile.TemporaryDirectory() as name:
        folder, before = Path(name), Path.cwd()
        write_project(folder, TEST, seed=0)
        os.chdir(folder)  # the task's files are named from there
        try:
            options = RunOptions(task="million", backend="majority", lang="en")
            known, store, slot, seconds = Catalog(folder), Store(folder / "runs"), EngineSlot(), []
            for _ in range(repeats + 1):
                began, cpu = perf_counter(), process_time()
                done = run(make_plan(options, known), store, slot, force=True, gate=False)
                wall, cpu = perf_counter() - began, process_time() - cpu
                seconds.append(cpu * (1 - (done.record.timing.seconds or 0.0) / wall))
            slot.close()
        finally:
            os.chdir(before)
        files = [path for path in done.folder.iterdir() if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 1024
        start = [round(_start_seconds(), 2) for _ in range(repeats)]
        kept = [round(one, 3) for one in seconds[1:]]
        return RunCost(rows=TEST, seconds=kept, start=start, kib=round(size, 1), files=len(files))


def _start_seconds() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import torch, transformers.models.auto.modeling_auto"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured_langs(folder: Path) -> dict[str, float]:
    """The rows of SIB-200 are the same sentences in all languages, in one order by id. Raises `UserError` without the file."""
    import pyarrow.parquet
    from transformers import AutoTokenizer

    from harness.models.packaged import packaged_folder

    file = folder / "test.parquet"
    if not file.exists():
        raise UserError(f"{file.name} is not in the folder of --sib.", "Pass the folder of SIB-200, columns `lang` and `text`.")
    texts: dict[str, list[str]] = defaultdict(list)
    for row in pyarrow.parquet.read_table(file, columns=["lang", "text"]).to_pylist():
        texts[row["lang"]].append(row["text"])
    tokenizer = AutoTokenizer.from_pretrained(packaged_folder("e5-small", cache_dir() / "models"), trust_remote_code=False)
    tokens = {lang: mean(map(len, tokenizer(rows[:SENTENCES])["input_ids"])) for lang, rows in sorted(texts.items())}
    english = tokens.pop("eng_Latn")
    return {"eng_Latn": 1.0, **{lang: round(count / english, 3) for lang, count in tokens.items()}}


# Inputs of the estimate.


CARD = "NVIDIA H100 data sheet: H100 NVL, half of the 1,671 with sparsity"
NOT_MEASURED: Mapping[str, tuple[str, float, float, Kind, str]] = {
    "peak": ("TFLOP/s of a GPU in bf16", 835.5, 835.5, Kind.PUBLISHED, CARD),
    "share": ("share of it in predictions", 0.1, 0.4, Kind.ASSUMED, "on a CPU 55% to 60% (encoder.json, llm.json)"),
    "training": ("share of it in training", 0.15, 0.4, Kind.ASSUMED, "as above"),
    "writing": ("share of it while a model writes", 0.05, 0.24, Kind.ASSUMED, "an 8B model: 2,500 to 12,500 tokens/s"),
    "rows": ("rows/s at most, encoders", 2000, 10000, Kind.ASSUMED, "work of the processor: tokens, batches"),
    "prompts": ("rows/s at most, language models", 200, 1000, Kind.ASSUMED, "work of the processor: tokens, scheduling"),
    "steps": ("training rows/s at most", 500, 2000, Kind.ASSUMED, "small batches"),
    "fit": ("seconds to fit a classifier on embeddings", 10, 60, Kind.ASSUMED, f"logistic regression, {TRAIN:,} rows"),
    "read": ("GB/s from the disk to the GPU", 1, 4, Kind.ASSUMED, "a local NVMe disk"),
    "vllm": ("further seconds to start vllm", 30, 120, Kind.ASSUMED, "compilation, CUDA graphs"),
    "download": ("GB/s of checkpoints to a machine", 0.1, 1.0, Kind.ASSUMED, "a hub, or a store near by"),
    "driver": ("seconds of the driver for each run", 0.005, 0.05, Kind.ASSUMED, "to send a request and read an outcome"),
    "latency": ("seconds to upload a small file", 0.03, 0.2, Kind.ASSUMED, "an object store"),
    "requests": ("uploads per second that the store takes", 3500, 3500, Kind.PUBLISHED, "Amazon S3, for each prefix"),
}


def read_inputs(record: Record, results: Path = RESULTS) -> dict[str, Input]:
    """Raises `UserError` where a part was not measured yet."""
    if record.run is None or record.langs is None or record.check is None:
        raise UserError("The file lacks measurements of this script.", "Measure them first: --parts run,langs,check")
    from harness.specs.prices import load_prices

    encoder = json.loads((results / "encoder.json").read_text(encoding="utf-8"))["inference"]
    parts = json.loads((results / "million_tfidf.json").read_text(encoding="utf-8"))["parts"]
    price = load_prices(Path.cwd()).named(PRICE)
    run = [*record.run.seconds, max(rate.overhead for rates in record.check.rates for rate in rates.values())]
    measured = {
        "tokens": ("tokens of a text in English", [encoder["tokens"] / encoder["rows"]], "encoder.json"),
        "run": ("seconds of a run beside its model", run, "scale.json"),
        "imports": ("seconds to start a worker and import torch", record.run.start, "scale.json"),
        "files": ("files of a record", [record.run.files], "scale.json"),
        "tfidf": ("rows/s of `tfidf`", [part["rate"] for part in parts if part["part"] == "tfidf"], "million_tfidf.json"),
    }
    lines = {name: (what, min(found), max(found), Kind.MEASURED, file) for name, (what, found, file) in measured.items()}
    dollars, source = price.per_hour(0), f"prices.yaml, {PRICE}, {price.date}"
    lines |= {**NOT_MEASURED, "usd": ("US dollars per GPU hour", dollars, dollars, Kind.PUBLISHED, source)}
    return {
        name: Input(what=what, low=low, high=high, kind=kind, source=source)
        for name, (what, low, high, kind, source) in lines.items()
    }


def values_of(inputs: Mapping[str, Input]) -> dict[str, Input]:
    """In the units of the simulation: operations per second."""
    peak = inputs["peak"]
    return {**inputs, "peak": peak.model_copy(update={"low": peak.low * 1e12, "high": peak.high * 1e12})}


def languages(measured: Mapping[str, float]) -> dict[str, float]:
    """`LANGS` languages with the measured ratios, used again from the first one where there are fewer."""
    ratios = list(islice(cycle(measured.values()), LANGS))
    return {"en": ratios[0], **{f"language {number}": ratio for number, ratio in enumerate(ratios[1:], 2)}}


# Tables.

SHARDS = "the longest runs"
BOTTLENECKS = {
    "no model had to be loaded": "loading models",
    "no checkpoint had to be downloaded": "downloads",
    "no run waited for the training of another": "trainings that others wait for",
    "runs were cut into shards of a minute": SHARDS,
    "metrics and records took no time": "metrics and records",
    "the driver took no time": "the driver",
    "uploads took no time": "uploads",
}
LITTLE = 0.01


def bottleneck(estimate: Estimate) -> str:
    """The bound that holds the time up, and what else would save the most of it."""
    long = estimate.chain_minutes > estimate.work_minutes
    others = {what: name for what, name in BOTTLENECKS.items() if not (long and name == SHARDS)}
    saved, what = max((estimate.what_if[what], name) for what, name in others.items())
    after = f", then {what} ({saved:.0%})" if saved >= LITTLE else ""
    return ("the longest run" if long else "the GPUs' work") + after


def table(content: Mapping[str, Any]) -> str:
    """The sweep by number of GPUs."""
    rows = []
    for one in Record.model_validate(content).estimates or []:
        ends = [
            _ends(one.hours, 1),
            _ends(one.gpu_hours, 1),
            _ends(one.usd, 1),
            _ends(one.used, 100, "%"),
            _ends(one.speedup, 1),
        ]
        rows.append([f"{one.gpus:,}", *ends, f"{one.loads:,}", bottleneck(one)])
    head = ["GPUs", "hours", "GPU hours", "US dollars", "GPUs in use", "times as fast as one", "model loads", "bottleneck"]
    return markdown(head, rows, 0) if rows else ""


def _ends(ends: Any, factor: float, unit: str = "") -> str:
    values = [ends.low * factor, ends.middle * factor, ends.high * factor]
    form = ".2f" if values[1] < 10 else ".1f" if values[1] < 100 and not unit else ",.0f"
    low, middle, high = (f"{value:{form}}" for value in values)
    return f"{middle}{unit}" if low == high else f"{middle}{unit} ({low}-{high})"


def what_if_table(content: Mapping[str, Any]) -> str:
    """Share of the hours that would be saved."""
    found = Record.model_validate(content).estimates or []
    rows = [
        [what, *(f"{round(100 * one.what_if[what])}%" for one in found)]  # an integer has no -0
        for what in (found[0].what_if if found else ())
    ]
    return markdown(["hours saved if", *(_gpus(one.gpus) for one in found)], rows, 1) if rows else ""


def policy_table(content: Mapping[str, Any]) -> str:
    """Hours by how runs are grouped, at the middle of all inputs."""
    found = Record.model_validate(content).estimates or []
    rows = [[what, *(_hours(one.policies[what]) for one in found)] for what in (found[0].policies if found else ())]
    return markdown(["hours where", *(_gpus(one.gpus) for one in found)], rows, 1) if rows else ""


def _gpus(count: int) -> str:
    return f"{count:,} GPU{'' if count == 1 else 's'}"


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 10 else f"{hours:.2f}"


def input_table(content: Mapping[str, Any]) -> str:
    """Every input with its source."""
    inputs = Record.model_validate(content).inputs or {}
    rows = []
    for one in inputs.values():
        low, high = (f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in (one.low, one.high))
        rows.append([one.what, one.source, str(one.kind), low if low == high else f"{low} - {high}"])
    return markdown(["input", "source", "kind", "value"], rows, 3) if rows else ""


def check_table(content: Mapping[str, Any]) -> str:
    """The small sweep: predicted and measured."""
    found = Record.model_validate(content).check
    if found is None:
        return ""
    by_workers: dict[int, list[Sweep]] = defaultdict(list)
    for sweep in found.sweeps:
        by_workers[sweep.workers].append(sweep)
    rows = []
    for workers, sweeps in sorted(by_workers.items()):
        for what, predicted, measured in (
            ("seconds", "predicted", "measured"),
            ("processor seconds of the busiest worker", "predicted_cpu", "measured_cpu"),
            ("model loads", "predicted_loads", "measured_loads"),
        ):
            pairs = [(float(getattr(one, predicted)), float(getattr(one, measured))) for one in sweeps]
            form = ".0f" if what == "model loads" else ""
            errors = [100 * (told / found - 1) for told, found in pairs]
            columns = [spread(values, form) for values in zip(*pairs, strict=True)]
            rows.append([str(workers), what, *columns, _error(errors)])
    head = ["workers", "what", "predicted", "measured", "error"]
    return markdown(head, rows, 2)


def _error(errors: Sequence[float]) -> str:
    low, middle, high = (round(value) for value in (min(errors), median(errors), max(errors)))
    return f"{middle:+}%" if low == high else f"{middle:+}% ({low:+} to {high:+})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def setup_line(content: Mapping[str, Any]) -> str:
    record = Record.model_validate(content)
    lines = [described(content["setup"])]
    if record.check is not None:
        loads = [one.load_average for one in record.check.sweeps]
        counts = f"{record.check.runs} runs in {record.check.groups} groups; measured {_times(len(record.check.rates))}"
        lines.append(f"{counts}; load average of the machine before each sweep: {min(loads):.1f} to {max(loads):.1f}.")
    return "\n".join(lines)


def sweep_line(content: Mapping[str, Any]) -> str:
    record = Record.model_validate(content)
    if record.estimates is None or record.langs is None:
        return ""
    ratios = record.langs.values()
    return (
        f"{len(BACKENDS)} backends x {LANGS} languages x {REPEATS} = {len(BACKENDS) * LANGS * REPEATS:,} runs of {TEST:,} test "
        f"rows; {TRAIN:,} training rows; {record.draws} draws. A text has {min(ratios):.2f} to {max(ratios):.2f} times the "
        f"tokens of the English one ({len(record.langs)} languages of SIB-200, used again up to {LANGS}). A shard has "
        f"{LONGEST:.0f} s of predictions at most."
    )


def _parts(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(PARTS)}")
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=_parts, metavar="PART,...", help=f"of {', '.join(PARTS)}; default: what is missing")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="of run and check; default: 3")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="of check; default: 1 2")
    parser.add_argument("--draws", type=int, default=40, metavar="N", help="of estimate; default: 40")
    parser.add_argument("--sib", type=Path, metavar="DIR", help="of langs: the folder of SIB-200")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="read, if it is there, and written")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    record = earlier(asked.json, Record) or Record(setup=setup_here(LIBRARIES))
    try:
        for part in PARTS:
            if part in asked.parts if asked.parts else part == "estimate" or getattr(record, part) is None:
                record = record.model_copy(update=_measured(part, asked, record))
                _write(asked.json, record)
    except UserError as error:
        print(f"{error.message} {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def _write(file: Path, record: Record) -> None:
    write_atomically(file, record.model_dump_json(indent=1, exclude_none=True) + "\n")


def _measured(part: str, asked: argparse.Namespace, record: Record) -> dict[str, Any]:
    """The fields of the record that the part gives."""
    if part == "run":
        return {"run": measured_run(asked.repeats), "setup": setup_here(LIBRARIES)}
    if part == "check":
        setup = setup_here(LIBRARIES)

        def save(found: Check) -> None:
            _write(asked.json, record.model_copy(update={"check": found, "setup": setup}))

        return {"check": check(asked.repeats, asked.workers, save), "setup": setup}
    if part == "langs":
        if asked.sib is None:
            raise UserError("The part langs reads SIB-200.", "Pass --sib DIR, or leave it out: --parts run,check,estimate")
        return {"langs": measured_langs(asked.sib)}
    inputs = read_inputs(record)
    assert record.langs is not None
    found = estimates(values_of(inputs), languages(record.langs), SIZES, asked.draws)
    return {"inputs": inputs, "draws": asked.draws, "estimates": found}


if __name__ == "__main__":
    sys.exit(main())
