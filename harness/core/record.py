"""The record of a run, as one model: what `run.json` and `metrics.json` hold.

To add a field to a record: add it here, with its description, and set it where the run is made (`harness.running.runner`).
`RunRecord.read` knows records of earlier versions; nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.core.file_names import file_stem
from harness.core.json_files import digest
from harness.core.options import CHECKPOINT, FOLDER, RunOptions, Split
from harness.core.token_use import NO_TOKENS, ChargedTokens, TokenUse
from harness.core.types import Calibration, Decision, Decoding, LabelKind, LabelSpace, ShotsBy

RECORD_VERSION = 2
"""Raised when the form of a record changes. 2: `options` in place of `settings`, `limit` and `model_given`."""
RESULT_VERSION = 1
"""Raised when a change to bench changes what the same command yields (a parser's rule, say)."""
TRAINING_VERSION = 2
"""Likewise, for a change to training alone. 2: rows are sorted by id first, so that the order in a file changes nothing."""
MODEL_FORMATS = {"baseline": 2}
"""Engines whose trained models are kept in another form than before: older ones are not found. 2: arrays, not a pickle."""
CACHED_SECONDS = "cached_seconds"
"""What an engine's report of a training calls the time of work that it took from a cache; see `Training`."""
HOW_ANSWERS_ARE_READ = ("decoding", "calibration", "decision")
"""What of a prompt a language model that is trained with it does not depend on."""
LEARN_FROM_PREDICTION = ("embedding",)
"""Engines that learn from what their prediction pass computes."""


P = TypeVar("P", bound="Part")


class Part(BaseModel):
    """A part of a record. Unknown keys are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Without the cached properties, such as digests, which are those of the old values."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def as_json(self) -> dict[str, Any]:
        """The fields that were set, as JSON: a record is written as it was read."""
        return self.model_dump(mode="json", exclude_unset=True)


def read_part(model: type[P], data: Any) -> P:
    """The part from JSON data. Raises `ValueError` of one line for what does not fit."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{place}: {problem}" if place else problem) from error


class BackendIdentity(Part):
    """Further keys are the engine's facts."""

    name: str
    engine: str
    model: str | None = Field(default=None, description="checkpoint or served model; of a folder its digest is in `revision`")
    revision: str | None = None
    options: dict[str, Any] = Field(default_factory=dict, description="all options of the engine, with their defaults")
    device: str | None = None
    dtype: str | None = Field(default=None, description="of the prediction pass")
    precision: str | None = Field(default=None, description="of the training")
    samples_sha256: str | None = Field(default=None, description="of an imported run: digest of the file with the answers")

    @property
    def predict_options(self) -> Mapping[str, Any]:
        """Those of an encoder that concern predictions alone."""
        return self.options.get("predict") or {}

    @property
    def is_majority(self) -> bool:
        """Whether it ignores the text: a baseline, not a candidate for deployment."""
        return self.engine == "baseline" and self.options.get("classifier") == "majority"


class ContinuedFrom(Part):
    key: str = Field(description="of the trained model that the training started from")
    langs: list[str]


class LabelsFrom(Part):
    """The labelling (`bench label`) whose labels a training used in place of those of the task."""

    labelling: str = Field(description="its id")
    sha256: str = Field(description="of its labels and probabilities")
    backend: str
    model: str | None = None
    prompt: str | None = None
    decoding: Decoding | None = None
    calibration: Calibration = Calibration.NONE
    soft: bool = Field(default=False, description="the probabilities were the targets of the training (--soft-labels)")


class TrainIdentity(Part):
    """What determines a trained model, beside backend, labels and seed. Rows are digests."""

    langs: list[str]
    train_rows: str
    train_count: int
    validation_rows: str
    version: int = 1
    validation_langs: list[str] | None = Field(default=None, description="where they differ from `langs`")
    processes: int = 1
    drawn: bool = Field(default=False, description="the seed drew the training rows (--resample-train)")
    chosen_by: str | None = Field(
        default=None,
        description="metric that chose the checkpoint, with its companion among near-ties; null where none was chosen, and in"
        " records of versions that kept the first of equal ones",
    )
    thresholds: str | None = Field(default=None, description="rule by which the thresholds of a multilabel task were tuned")
    continued_from: ContinuedFrom | None = None
    labels_from: LabelsFrom | None = Field(
        default=None, description="where the training labels came from, if not from the task"
    )

    @property
    def validated_langs(self) -> list[str]:
        return self.langs if self.validation_langs is None else self.validation_langs


class NearestIdentity(Part):
    """Few-shot examples that are chosen for each row by the similarity of embeddings."""

    by: ShotsBy
    examples: int = Field(description="in one prompt")
    pool: int = Field(description="training rows from which they are chosen")
    encoder: BackendIdentity = Field(description="what embeds the texts")


class PromptIdentity(Part):
    name: str
    variant: str | None = Field(default=None, description="language of the variant of the prompt that was used")
    sha256: str
    decoding: Decoding
    calibration: Calibration = Calibration.NONE
    decision: Decision = Decision.ARGMAX
    shots: list[str] = Field(default_factory=list, description="ids of the few-shot examples, where all rows have the same")
    shots_sha256: str = Field(description="of the few-shot examples, or of the rows from which each row's are chosen")
    nearest: NearestIdentity | None = Field(default=None, description="where each row has its own few-shot examples")
    descriptions: str | None = Field(
        default=None, description="digest of the labels' descriptions, where the prompt shows them"
    )

    @property
    def examples(self) -> int:
        """Few-shot examples in one prompt."""
        return len(self.shots) if self.nearest is None else self.nearest.examples

    @property
    def labels_used(self) -> int:
        """Labelled rows that the prompts need."""
        return len(self.shots) if self.nearest is None else self.nearest.pool


def latency_key(task: str, lang: str, backend: BackendIdentity, prompt: PromptIdentity | None) -> str:
    """Digest of what a model's latency depends on: not its training, the choice of few-shot examples, or how scores become
    labels."""
    options = {name: value for name, value in backend.options.items() if name != "train"}
    asked = prompt and {
        **{name: getattr(prompt, name) for name in ("name", "variant", "sha256", "decoding")},
        "shots": prompt.examples,
    }
    return digest([task, lang, {**backend.as_json(), "options": options}, asked])


class Identity(Part):
    """All that determines the outcome of a run; its digest is part of the run's id."""

    version: int
    task: str
    lang: str
    split: Split | Literal["unlabelled"]
    rows: str = Field(description="digest of ids, texts and labels of the tested rows")
    labels: list[str]
    label_kind: LabelKind
    backend: BackendIdentity
    train: TrainIdentity | None
    prompt: PromptIdentity | None
    seed: int
    own_decision: Decision = Field(default=Decision.ARGMAX, alias="decision", description="of a classifier without a prompt")
    descriptions: str | None = Field(default=None, description="digest of the labels' descriptions, of a zero-shot classifier")

    @cached_property
    def digest(self) -> str:
        return digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)

    def on_rows(self, rows: str) -> Identity:
        """That of the same run on other rows."""
        return Identity.model_validate({**self.as_json(), "rows": rows})

    @property
    def run_id(self) -> str:
        """A readable name that ends in a digest of all that determines the outcome."""
        parts = [self.task, self.lang, self.backend.name]
        if self.prompt is not None:
            given = self.prompt.model_fields_set
            parts += [self.prompt.name, self.prompt.decoding]
            parts += [getattr(self.prompt, name) for name in ("calibration", "decision") if name in given]
        elif self.train is not None:
            parts.append(f"from-{'-'.join(self.train.langs)}")
            if self.train.labels_from is not None:
                parts.append(f"labelled-by-{self.train.labels_from.backend}")
        return f"{file_stem([*parts, f's{self.seed}'], '.')}.{self.digest[:10]}"

    @cached_property
    def trained_key(self) -> str:
        """Of the trained model: two runs with the same key need the same one.

        What concerns predictions alone (`options.predict` and the dtype of the prediction pass) is left out, and so is the
        backend's name: a search's best model is the model of the backend that the search wrote. What of these a training
        depends on stays: the kernel of attention, and the dtype where thresholds were tuned with it (of a multilabel task) or
        the head learned from embeddings computed in it (`LEARN_FROM_PREDICTION`).
        """
        identity = self.as_json()
        depends_on_dtype = self.label_kind is LabelKind.MULTILABEL or self.backend.engine in LEARN_FROM_PREDICTION
        left_out = ["name"] if depends_on_dtype else ["name", "dtype"]
        backend = {name: value for name, value in identity["backend"].items() if name not in left_out}
        backend["options"] = {name: value for name, value in self.backend.options.items() if name != "predict"}
        attention = self.backend.predict_options.get("attention", "auto")
        if attention != "auto":
            backend["attention"] = attention
        if self.backend.engine in MODEL_FORMATS:
            backend["kept"] = MODEL_FORMATS[self.backend.engine]
        parts = [backend, *(identity[name] for name in ("version", "train", "labels", "label_kind", "seed"))]
        if self.train is not None and self.prompt is not None:  # a language model learned the answers to this prompt
            parts.append({name: value for name, value in identity["prompt"].items() if name not in HOW_ANSWERS_ARE_READ})
        return digest(parts)[:20]

    @cached_property
    def configuration(self) -> str:
        """Digest of the identity without what only a seed changes: the same for the runs of several seeds.

        Left out are the seed, which few-shot examples it picked (their number stays) and, where it drew them, which training
        rows. Another prompt, setting, revision or number of training rows is another configuration. So is a model that was
        trained on from another one.
        """
        identity = self.as_json()
        identity.pop("seed")
        if self.prompt is not None:
            identity["prompt"] = {**identity["prompt"], "shots": len(self.prompt.shots)}
            if self.prompt.nearest is None:
                identity["prompt"].pop("shots_sha256")
        if self.train is not None and self.train.drawn:
            identity["train"].pop("train_rows")
        return digest(identity)

    @property
    def label_space(self) -> LabelSpace:
        return LabelSpace(self.label_kind, tuple(self.labels))

    @property
    def counts_tokens(self) -> bool:
        """Whether the tokens of its rows say what it did: of a prompted model, and of any model behind a server."""
        return self.prompt is not None or (self.train is None and self.backend.device is None)

    @property
    def decision(self) -> Decision:
        """How probabilities became a label, whatever the kind of backend."""
        return self.own_decision if self.prompt is None else self.prompt.decision


class CheckpointFacts(Part):
    """What the checkpoint of a run is, beside what `identity.backend` says of it: no run id depends on it."""

    parameters: int | None = Field(default=None, description="of the loaded or trained model")
    stored: str | None = Field(
        default=None,
        description="precision of the weights in the checkpoint's files, before they were loaded: `4-bit (GGUF Q4_1)`",
    )
    base: str | None = Field(
        default=None, description="hub id of the model that the checkpoint is a copy of, or that a folder's card names as base"
    )


class HubRows(Part):
    id: str
    config: str | None = None
    revision: str | None = None
    split: str | None = None


class RowSource(Part):
    """Where the rows were read; of files on a machine no path."""

    source: Literal["data", "bundled", "files", "hub"]
    hub: HubRows | None = None
    split_rows: int | None = Field(default=None, description="rows of the task's split, before any limit")


MANY_CUT = 0.01
"""Share of texts from which on their truncation is shown and warned of."""


class Cut(Part):
    """Texts that a classifier read only in part. `share`: of all texts; `tokens_lost_share`: of all their tokens."""

    texts: int
    share: float
    tokens_lost_share: float


class TrainedOrigin(Part):
    engine: str
    model: str | None = None
    revision: str | None = None
    labels: list[str]
    label_kind: LabelKind
    head: str | None = None
    langs: list[str]


class Training(Part):
    """The report of a training; further keys are the engine's."""

    seconds: float | None = Field(default=None, description="the whole training, as if nothing had been in a cache")
    cached_seconds: float | None = Field(
        default=None, description="of `seconds`: work whose results were in a cache, as long as it took when it was done"
    )
    train_rows: int | None = None
    validation_rows: int | None = None
    train_windows: int | None = Field(default=None, description="windows of all training texts (`long_texts` windows)")
    best: dict[str, float] | None = Field(default=None, description="step and metric of the chosen checkpoint")
    evaluations: list[dict[str, float | None]] = Field(default_factory=list)
    steps: int | None = None
    planned_steps: int | None = None
    train_loss: float | None = None
    trainable_parameters: int | None = None
    compacted_vocabulary: list[int] | None = Field(default=None, description="entries kept, of how many")
    thresholds: list[float] | None = Field(default=None, description="of a multilabel task: least probability of a label")
    cut: Cut | None = None
    origin: TrainedOrigin | None = None


class RuntimeChoice(Part):
    """What was measured where the runtime was chosen by time (`predict.runtime` auto)."""

    timed_rows: int = Field(description="validation rows that were timed")
    milliseconds: dict[str, float] = Field(description="per row, by runtime; torch alone where an export would not pay")
    failed: str | None = Field(default=None, description="why the model was not exported")


class Runtime(Part):
    """What made the predictions of a trained model, where that is not plain torch, or was chosen by time."""

    runtime: str
    library: str
    quantization: str | None = None
    validation_fp32: float | None = None
    validation_int8: float | None = None
    drop: float | None = None
    max_drop: float | None = None
    chosen: RuntimeChoice | None = Field(default=None, description="how it was chosen, if not by the options")


class MetricCode(Part):
    name: str
    sha256: str


class OverlapCount(Part):
    rows: int
    exact: int
    near: int | None = None
    groups: int | None = Field(default=None, description="tested rows whose group has some of these rows; null without groups")


class Overlap(Part):
    """Tested rows with an exact or near duplicate among the rows that the model learned from."""

    threshold: float = Field(description="similarity from which on two texts are near duplicates")
    exact: int
    near: int | None = None
    groups: int | None = Field(default=None, description="tested rows whose group has training rows; null without groups")
    ids: list[str] = Field(default_factory=list, description="of the first 20 rows with a duplicate")
    by: dict[str, OverlapCount] = Field(default_factory=dict)


class Dates(Part):
    published: str
    training_cutoff: str
    may_have_read: bool


class Machine(Part):
    """Nothing here names its owner."""

    cpu: str | None = None
    cores: int | None = None
    gpu: str | None = None
    memory_gib: int | None = None
    system: str | None = None


class ShardTimes(Part):
    """Of a run that was predicted in shards: `Timing.seconds` is the sum over all of them."""

    count: int
    longest_seconds: float | None = Field(default=None, description="of the slowest shard: what all take side by side")
    machines: list[Machine] | None = Field(default=None, description="one for each shard, in their order, where they differ")


class Timing(Part):
    """Of the predictions. `counts` says what is timed."""

    seconds: float | None = None
    rows_per_second: float | None = None
    counts: str = ""
    load_seconds: float | None = None
    distinct_texts: int | None = None
    batch_size: int | None = None
    batch_tokens: int | None = None
    smallest_batch: int | None = None
    sorted_by_length: bool = True
    load_average: float | None = None
    settings: dict[str, Any] | None = Field(
        default=None, description="settings of the engine in use that change speed and memory alone"
    )
    shards: ShardTimes | None = Field(default=None, description="of a run that was merged from shards (`--shard`)")


class Tokens(Part):
    prompt: int | None = None
    new: int | None = None
    cached: int | None = Field(default=None, description="of `prompt`: read from the server's prompt cache")
    cache_written: int | None = Field(default=None, description="of `prompt`: written to the server's prompt cache")
    batched: Tokens | None = Field(default=None, description="of all these: asked through the server's Batch API")

    @classmethod
    def of(cls, charged: ChargedTokens) -> Tokens:
        """Without the counts that are 0, which servers without a cache or a Batch API have."""
        batched = {"batched": _counted(charged.batched)} if charged.batched != NO_TOKENS else {}
        return _counted(charged.total).model_copy(update=batched)

    @property
    def charged(self) -> ChargedTokens:
        batched = NO_TOKENS if self.batched is None else self.batched._use
        total = self._use
        direct = {field.name: getattr(total, field.name) - getattr(batched, field.name) for field in fields(TokenUse)}
        return ChargedTokens(TokenUse(**direct), batched)

    @property
    def _use(self) -> TokenUse:
        return TokenUse(self.prompt or 0, self.new or 0, self.cached or 0, self.cache_written or 0)


def _counted(use: TokenUse) -> Tokens:
    seldom = {name: value for name in ("cached", "cache_written") if (value := getattr(use, name))}
    return Tokens(prompt=use.prompt, new=use.new, **seldom)


class Cost(Part):
    """US dollars that a server charged, and its price per million tokens."""

    usd: float
    prompt: float | None = None
    completion: float | None = None
    cached: float | None = Field(default=None, description="of prompt tokens read from the server's cache; null: as `prompt`")
    cache_write: float | None = Field(default=None, description="of prompt tokens written to it; null: as `prompt`")
    batch: float | None = Field(default=None, description="share of the price that a request of the Batch API costs; null: 1")
    source: str | None = None


class PeakMemory(Part):
    """MiB since the process started."""

    host: int | None = None
    gpu: int | None = None


class LabelledBy(Part):
    """What the labels of a training cost, where a labelling made them. `rows`, `tokens`, `seconds`: of the whole labelling."""

    labelling: str = Field(description="its id")
    backend: BackendIdentity
    trained: bool = Field(default=False, description="whether a trained model made the labels, not a prompted one")
    shots: int = Field(default=0, description="few-shot examples of its prompt, which people labelled")
    train_rows: int = Field(default=0, description="of the model that made the labels: training rows that people labelled")
    rows: int
    asked: int = Field(description="training rows that needed a label")
    left_out: int = Field(description="of these, rows that the labelling left without a label; no training row")
    tokens: Tokens = Tokens()
    seconds: float | None = None
    machine: Machine = Machine()
    cost: Cost | None = None


class GateOutcome(StrEnum):
    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"  # in a finished record only where `--no-gate` was given


class Gate(Part):
    """One sanity check. `value`: the figure that it checked, if there is one."""

    name: str
    outcome: GateOutcome
    message: str
    value: float | None = None


class ImportedFrom(Part):
    """The origin of an imported run; `reported`: the other tool's figures."""

    origin: str = Field(alias="from")
    version: str | None = None
    at: str
    file: str
    task: str
    filter: str
    output_type: str
    samples: int
    paired_by: dict[str, int]
    left_out: dict[str, int]
    reported: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)


class Estimate(Part):
    """A number and its 95% interval; None (never NaN) if undefined or without an interval."""

    value: float | None
    low: float | None
    high: float | None
    method: str | None = None
    reason: str | None = Field(default=None, description="why there is no interval, where the rows are too few for one")


class ClassScores(Part):
    """Precision is None if the label was never predicted, recall if it never occurs, f1 if neither."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


class CalibrationBin(Part):
    """Answered rows with low < confidence <= high (the first bin also holds 0)."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Metrics(Part):
    """`confusion`: shape (k, k + 1), the last column for rows without a parsed answer."""

    n: int = Field(ge=1)
    ok: int = Field(ge=0)
    unparsed: int = Field(ge=0)
    failed: int = Field(ge=0)
    reasons: dict[str, int] = Field(default_factory=dict)
    groups: int | None = Field(default=None, description="groups that the rows were sampled in; null: independent rows")
    headline: list[str] = Field(min_length=1)
    values: dict[str, Estimate]
    per_class: list[ClassScores] = Field(default_factory=list)
    confusion: list[list[int]] | None = None
    calibration_bins: list[CalibrationBin] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.n != self.ok + self.unparsed + self.failed:
            raise ValueError(f"n is {self.n}, and ok, unparsed and failed are {self.ok}, {self.unparsed}, {self.failed}")
        if missing := [name for name in self.headline if name not in self.values]:
            raise ValueError(f"{missing[0]} has no value")
        return self

    @property
    def unanswered(self) -> int:
        return self.n - self.ok


class RunRecord(Part):
    """One finished run: `run.json`, and the content of `metrics.json` in `metrics`."""

    version: int = RECORD_VERSION
    run_id: str
    identity: Identity
    options: RunOptions = Field(description="what the run was asked to do")
    n: int = Field(description="tested rows")
    metrics: Metrics
    rows_from: RowSource | None = None
    finished: str | None = Field(default=None, description="date and time in UTC")
    imported: ImportedFrom | None = None
    checkpoint: CheckpointFacts | None = Field(default=None, description="what the model is; null for one that is none")
    training: Training | None = None
    labelled: LabelledBy | None = Field(default=None, description="who made the training labels, if not people")
    runtime: Runtime | None = None
    metric_code: list[MetricCode] | None = Field(default=None, description="programs of `evaluate` that the task names")
    overlap: Overlap | None = None
    dates: Dates | None = None
    timing: Timing = Timing()
    sent_instead: dict[str, str | None] | None = Field(
        default=None, description="fields that a server refused, and what it was sent"
    )
    tokens: Tokens = Tokens()
    cost: Cost | None = None
    peak_memory_mib: PeakMemory = PeakMemory()
    machine: Machine = Machine()
    versions: dict[str, str] = Field(default_factory=dict)
    gates: list[Gate] = Field(default_factory=list)
    cut: Cut | None = None
    digests: dict[str, Any] | None = Field(default=None, description="sha256 of the record's files")

    @classmethod
    def read(cls, manifest: Mapping[str, Any], metrics: Metrics | Mapping[str, Any], run_id: str = "") -> RunRecord:
        """From the content of both files, of this version or an earlier one. Raises `ValueError` for what no version wrote."""
        checked = read_part(Metrics, metrics)
        record = read_part(cls, {"run_id": run_id, "n": checked.n, **_upgraded(manifest), "metrics": checked})
        if record.n != checked.n:
            raise ValueError(f"n is {record.n}, and in metrics.json {checked.n}")
        return record

    def manifest(self) -> dict[str, Any]:
        """The content of `run.json`."""
        nested = {
            "identity": self.identity.as_json(),
            **({} if self.imported is None else {"imported": self.imported.as_json()}),
        }
        dump = self.model_dump(mode="json", exclude={"metrics": True, "options": {"settings"}}, exclude_unset=True)
        if "settings" in self.options.model_fields_set:  # as they are: pydantic rejects a key with half a surrogate pair
            dump["options"]["settings"] = dict(self.options.settings)
        return {**dump, "version": self.version, **nested}

    @property
    def has_own_rows(self) -> bool:
        """Whether the rows came from `--data`."""
        return self.rows_from is not None and self.rows_from.source == "data"


def _upgraded(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `run.json` of an earlier version, as this version writes it."""
    found = {name: value for name, value in manifest.items() if value is not None}
    version = found.get("version", 1)
    if type(version) is not int or not 1 <= version <= RECORD_VERSION:
        raise ValueError(f"record version {version!r} is unknown: a newer version of bench wrote it")
    if "parameters" in found:  # before there was a `checkpoint`
        found["checkpoint"] = {"parameters": found.pop("parameters")}
    if "options" in found or version == RECORD_VERSION:
        return found
    options = _options_of(found)
    for name in ("settings", "limit", "model_given"):
        found.pop(name, None)
    return {**found, "version": 1, "options": options}


def _options_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a run of version 1 was asked to do, as far as its record tells. A limit is per language; where there was none, the
    number of rows that were there means the same."""
    identity = manifest["identity"]
    backend, prompt, train = identity["backend"], identity["prompt"] or {}, identity["train"]
    options: dict[str, Any] = {name: identity[name] for name in ("task", "lang", "split", "seed")}
    options |= {"backend": backend["name"], "settings": manifest.get("settings") or {}, "limit": manifest.get("limit")}
    options |= {"prompt": prompt.get("name"), "decoding": prompt.get("decoding"), "calibration": prompt.get("calibration")}
    options["decision"] = (prompt or identity).get("decision")
    if manifest.get("model_given"):
        options["model"] = _model_of(backend)
    if (manifest.get("rows_from") or {}).get("source") == "data":
        options["data"] = FOLDER
    if train is not None:
        langs = train["langs"]
        validated = train.get("validation_langs", langs)
        options["train_lang"] = langs if langs != [identity["lang"]] else []
        options["validation_lang"] = validated if validated != langs else []
        options["resample_train"] = train.get("drawn", False)
        options["continue_from"] = (train.get("continued_from") or {}).get("key")
        if train["train_count"] % len(langs) == 0 and train["train_count"]:
            options["train_limit"] = train["train_count"] // len(langs)
        rows = (manifest.get("training") or {}).get("validation_rows")
        if rows is not None and rows % len(validated) == 0:
            options["validation_limit"] = rows // len(validated)
    return {name: value for name, value in options.items() if value is not None}


def _model_of(backend: Mapping[str, Any]) -> str:
    """What `--model` was given. A folder has a revision, too, the digest of its files, but its path is not recorded."""
    model, revision = str(backend["model"]), backend.get("revision") or ""
    if len(revision) == 40:
        return f"{model.partition('@')[0]}@{revision}"
    return model if not revision or "/" in model or ":" in model else CHECKPOINT
