"""Records of `bench analyze latency`: `results/latency/<name>.json`, one for each backend, task, language, machine and
setting of the measurement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from pydantic import Field

from harness.core.json_files import digest, pretty_json, sealed, unsealed, write_atomically
from harness.core.record import BackendIdentity, Machine, Part, PromptIdentity, RunRecord, latency_key
from harness.records.entries import read_intact
from harness.records.store import damage_named

FOLDER = "latency"


class LatencyIdentity(Part):
    task: str
    lang: str
    split: str
    rows: str
    backend: BackendIdentity
    prompt: PromptIdentity | None
    trained: str | None = Field(default=None, description="key of the trained model")

    @cached_property
    def latency_key(self) -> str:
        return latency_key(self.task, self.lang, self.backend, self.prompt)


class LatencySettings(Part):
    batch_sizes: list[int] = Field(default_factory=list)
    lag_ms: float = 0.0
    rate: float | None = None
    limit: int | None = None


class LoadAverage(Part):
    before: float | None = None
    after: float | None = None


class MemoryBefore(Part):
    """Host memory in MiB, before a batch was computed."""

    before_loading: int | None = None
    loaded: int | None = None


class LatencyMemory(Part):
    """MiB. `host`: this process and its children, during this measurement; `host_since_start`: the peak of this process since
    its start, if the system reports only that; `host_increase`: over the memory held before loading. `gpu`: torch's peak in
    this process; `gpu_increase`: of the memory in use on the whole device."""

    host: int | None = None
    host_since_start: int | None = None
    host_increase: int | None = None
    gpu: int | None = None
    gpu_increase: int | None = None


class Percentiles(Part):
    """Milliseconds; None if there are too few observations (p50 needs 20, p95 200, p99 1,000)."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


class Figures(Percentiles):
    """Of the batches of one size. `intervals_ms`: 95% intervals, such as `{"p50": [32.8, 37.6]}`."""

    intervals_ms: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    mean_ms: float | None = None
    rows_per_second: float | None = None


class BatchFigures(Figures):
    """Of batches of `rows` rows; with an `error` nothing was measured. `with_lag`: for a client that sends one batch at a time
    through a network."""

    rows: int
    error: str | None = None
    batches: int | None = None
    failed: int = 0
    with_lag: Figures | None = None
    peak_memory_mib: LatencyMemory = LatencyMemory()


class OfflineFigures(Part):
    """All rows in the batches of a run; with an `error` nothing was measured."""

    batch_size: int | None = None
    batch_tokens: int | None = None
    error: str | None = None
    batches: int | None = None
    seconds: float | None = None
    rows_per_second: float | None = None
    peak_memory_mib: LatencyMemory = LatencyMemory()


class QueueFigures(Percentiles):
    """Simulated; percentiles of the time from arrival to answer, lag included."""

    up_to: int = Field(description="rows per batch, at most")
    keeps_up: bool
    capacity_rows_per_second: float
    utilisation: float
    mean_batch: float


class Arrivals(Part):
    rows_per_second: float
    queues: list[QueueFigures]


class LatencyRecord(Percentiles):
    """`n`: texts that were timed. The percentiles are of one row per call, without lag; `rows_per_second` is the offline
    throughput. `warm_up` and `counts` describe what is timed."""

    identity: LatencyIdentity
    finished: str
    settings: LatencySettings
    warm_up: str | None = None
    counts: str = ""
    machine: Machine
    threads: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    load_average: LoadAverage = LoadAverage()
    memory_mib: MemoryBefore = MemoryBefore()
    load_seconds: float | None = None
    n: int
    rows_per_second: float | None
    batches: list[BatchFigures] = Field(default_factory=list)
    offline: OfflineFigures = OfflineFigures()
    arrivals: Arrivals | None = None
    cost_usd: float | None = None
    warnings: list[str] = Field(default_factory=list)

    @property
    def under_load(self) -> bool:
        """Whether more processes were ready to run, before or after, than there are cores."""
        return max(self.load_average.before or 0, self.load_average.after or 0) > (self.machine.cores or 0)


def write_latency(results: Path, run_id: str, record: LatencyRecord) -> Path:
    """The file; it replaces an earlier one with the same settings. `run_id`: of the run that was timed."""
    content = record.as_json()
    name = digest({key: content[key] for key in ("identity", "machine", "threads", "settings")})[:10]
    path = results / FOLDER / f"{run_id.rpartition('.')[0]}.{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, pretty_json(sealed(content)))
    return path


def load_latencies(results: Path) -> list[LatencyRecord]:
    """All latency records under a folder of results, by name; a damaged one is left out with a warning."""
    return read_intact(sorted((results / FOLDER).glob("*.json")), _read)


def latency_of(record: RunRecord, latencies: Sequence[LatencyRecord]) -> LatencyRecord | None:
    """The latency record for the backend, prompt, task and language of a run, whatever it was trained on.

    Of several, one from the run's own machine is preferred, then the latest. A record of another machine counts too: see its
    `machine` if that matters.
    """
    identity = record.identity
    wanted = latency_key(identity.task, identity.lang, identity.backend, identity.prompt)
    fitting = [latency for latency in latencies if latency.identity.latency_key == wanted]
    return max(fitting, key=lambda latency: (latency.machine == record.machine, latency.finished), default=None)


def _read(path: Path) -> LatencyRecord:
    with damage_named(path, "Delete it and repeat `bench analyze latency`."):
        content, _ = unsealed(path.read_bytes())
        return LatencyRecord.model_validate(content)
