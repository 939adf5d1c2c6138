"""Records of `bench analyze latency`: `results/speed/<name>.json`, one by backend, task, language, machine and method.

identity         task, lang, split, rows, backend, prompt (as in run.json), trained (key of the trained model, or null)
machine          as in run.json; threads, versions, load_average {before, after}, finished, load_seconds
settings         batch_sizes, lag_ms, rate, limit; warm_up and counts say in words what is timed
n                texts that were timed
p50_ms p95_ms p99_ms   latency of a row at a time, without lag; null where n is too small (20, 200, 1,000)
rows_per_second  offline: all rows in the harness's own batches; null where memory did not suffice
batches          a list, by rows a batch: rows, batches, failed, p50_ms, p95_ms, p99_ms, intervals_ms {p50: [low, high]}
                 (95%), mean_ms, rows_per_second, with_lag (the same figures for a client that sends one batch at a time
                 through the network; or null), peak_memory_mib {host, host_since_start, host_increase, gpu,
                 gpu_increase}; or rows, error
offline          batch_size, batch_tokens, batches, seconds, rows_per_second, peak_memory_mib; or error
arrivals         null, or rows_per_second, queues: a list of up_to (rows a batch), keeps_up, capacity_rows_per_second,
                 utilisation, mean_batch, p50_ms, p95_ms, p99_ms (from arrival to answer, lag included; simulated)
memory_mib       before_loading, loaded: of the host
cost_usd         what a server charged for the measurement; null without a price
warnings         a list of sentences
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.json_files import digest, pretty_json, sealed, unsealed, write_atomically
from harness.core.record import BackendIdentity, PromptIdentity, RunRecord, speed_key
from harness.records.entries import read_intact
from harness.records.store import damage_named

Speed = dict[str, Any]


def write_speed(results: Path, run_id: str, record: Speed) -> Path:
    """The file, in place of an earlier one that was measured in the same way. `run_id`: of the run that was timed."""
    told = {key: record[key] for key in ("identity", "machine", "threads", "settings")}
    folder = results / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run_id.rpartition('.')[0]}.{digest(told)[:10]}.json"
    write_atomically(path, pretty_json(sealed(record)))
    return path


def load_speeds(results: Path) -> list[Speed]:
    """All speed records under a folder of results, by name; a damaged one is left out with a warning."""
    return read_intact(sorted((results / "speed").glob("*.json")), _read)


def speed_of(record: RunRecord, speeds: Sequence[Speed]) -> Speed | None:
    """The latency record of what a run did: same backend, prompt, task and language, whatever it was trained on.

    Of several, one from the run's own machine before others, and the latest of these. Other machines count too: see its
    `machine` where that matters.
    """
    identity = record.identity
    wanted = speed_key(identity.task, identity.lang, identity.backend, identity.prompt)
    machine = record.machine.as_json()
    fitting = [speed for speed in speeds if _key(speed["identity"]) == wanted]
    return max(fitting, key=lambda speed: (speed["machine"] == machine, speed["finished"]), default=None)


def _key(identity: Mapping[str, Any]) -> str:
    prompt = identity["prompt"]
    asked = None if prompt is None else PromptIdentity.model_validate(prompt)
    return speed_key(identity["task"], identity["lang"], BackendIdentity.model_validate(identity["backend"]), asked)


def _read(path: Path) -> Speed:
    with damage_named(path, "Delete it, and repeat `bench analyze latency`."):
        record, _ = unsealed(path.read_bytes())
        _key(record["identity"])
        if not {"machine", "finished", "p50_ms", "p95_ms", "rows_per_second"} <= record.keys():
            raise ValueError("figures are missing")
        return record
