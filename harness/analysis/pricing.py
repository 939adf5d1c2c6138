"""What predictions cost: a machine's price times the measured time, or an API's price times its tokens; training; labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.record import BackendIdentity, LabelledBy, Machine, RunRecord, Tokens
from harness.core.record import Cost as Charged
from harness.records.entries import Entry
from harness.specs.costs import Price
from harness.specs.prices import FILE, HardwarePrice, Prices

PARTS = ("inference", "training", "labelling")


@dataclass(frozen=True)
class Cost:
    """US dollars per 1,000 rows; `training` and `labelling` are shared among `predictions` rows."""

    inference: float
    training: float
    labelling: float
    predictions: float
    labels: int
    basis: str
    under_load: bool

    @property
    def total(self) -> float:
        return self.inference + self.training + self.labelling

    @property
    def usd(self) -> float:
        """For all predictions, with training and labels."""
        return self.total * self.predictions / 1000


def cost_of(entry: Entry, prices: Prices, predictions: float, labelling: float, hardware: str | None = None) -> Cost | None:
    """What the predictions of a run cost; None where its machine (or its model's tokens) has no price, or its time is unknown.

    `predictions`: rows that share the cost of training and labels. `labelling`: US dollars per label. `hardware`: the entry of
    `prices.yaml` whose price is used in place of that of the record's machine.

    Inference is an API's tokens at its price, else seconds per row times the price of the machine: all cores that the run
    could use, or its GPUs, fully loaded. Training is its seconds on the same machine. Labels are those of training and
    validation rows, and the few-shot examples of a prompt; labels that a model gave cost what it took to make them. Not
    counted: a search for settings (`bench study tune`), training of a model that this one continued from, loading, storage,
    idle time.

    Raises `UnknownName` for `hardware`.
    """
    record = entry.record
    if record.imported is not None:
        return None
    inference = _inference(_work_of(record), entry.tested_on or record.n, prices, hardware)
    training = _training(record, prices, hardware)
    if inference is None or training is None:
        return None
    labelled = 0.0
    if record.labelled is not None:
        each = labelling_usd(record.labelled, prices, hardware)
        if each is None:
            return None
        labelled = each / record.labelled.rows * record.labelled.asked
    labels = labels_of(record)
    load, cores = record.timing.load_average, record.machine.cores
    return Cost(
        inference=inference[0],
        training=training[0] / predictions * 1000,
        labelling=(labels * labelling + labelled) / predictions * 1000,
        predictions=predictions,
        labels=labels,
        basis="; ".join(part for part in (inference[1], training[1]) if part),
        under_load=load is not None and cores is not None and load > cores,
    )


def missing_price(record: RunRecord, prices: Prices) -> str:
    """Why `cost_of` has no answer, and what to do about it."""
    if record.imported is not None:
        return "no cost of imported runs: neither their time nor their tokens are known"
    if is_served(record):
        if _token_price(_work_of(record), prices) is None:
            model = record.identity.backend.model
            return f"no price for the tokens of {model}: add it to `models:` in {FILE} in your folder"
        return "no price for the machine of its server, which no record names: name one with --hardware"
    if record.labelled is not None and labelling_usd(record.labelled, prices) is None:
        return f"no price for the labels of {record.labelled.backend.name}: add its model or machine to {FILE} in your folder"
    if record.timing.seconds is None or record.machine.cores is None:
        return "no cost: the record does not hold the time or the machine"
    return f"no price for {record.machine.gpu or record.machine.cpu}: add it to `hardware:` in {FILE} in your folder"


def labels_of(record: RunRecord) -> int:
    """Labels that people had to give: training rows (the last training only), validation rows, few-shot examples. Of a model
    that learned from a labelling: the few-shot examples or the training rows of the model that labelled."""
    training, prompt = record.training, record.identity.prompt
    if record.labelled is not None:
        return record.labelled.shots + record.labelled.train_rows
    rows = 0 if training is None else (training.train_rows or 0) + (training.validation_rows or 0)
    return rows + (0 if prompt is None else prompt.labels_used)


def tuning_labels(records: Sequence[RunRecord], rows: int) -> int:
    """Labels of `rows` validation rows that tuned a threshold or a temperature for these runs, beyond those that `labels_of`
    counts: the validation rows that one of their trainings used, which are the first ones of the same split."""
    return max(0, rows - max((_validation_labels(record) for record in records), default=0))


def _validation_labels(record: RunRecord) -> int:
    """Validation rows in the run's language whose labels `labels_of` counts."""
    training, train = record.training, record.identity.train
    if record.labelled is not None or training is None or train is None or record.identity.lang not in train.validated_langs:
        return 0
    return (training.validation_rows or 0) // len(train.validated_langs)


def is_served(record: RunRecord) -> bool:
    """Whether a server did the work: every language model that runs locally records its device."""
    return _work_of(record).is_served


@dataclass(frozen=True)
class _Work:
    """What a model computed. `trained`: whether it was a trained one; `seconds`: of its predictions."""

    backend: BackendIdentity
    trained: bool
    tokens: Tokens
    seconds: float | None
    machine: Machine
    cost: Charged | None

    @property
    def is_served(self) -> bool:
        return not self.trained and self.backend.device is None


def _work_of(record: RunRecord) -> _Work:
    trained = record.training is not None
    return _Work(record.identity.backend, trained, record.tokens, record.timing.seconds, record.machine, record.cost)


def labelling_usd(labelled: LabelledBy, prices: Prices, hardware: str | None = None) -> float | None:
    """US dollars for a whole labelling, as the predictions of a run are priced; None where there is no price."""
    work = _Work(labelled.backend, labelled.trained, labelled.tokens, labelled.seconds, labelled.machine, labelled.cost)
    per_thousand = _inference(work, labelled.rows, prices, hardware)
    return None if per_thousand is None else per_thousand[0] * labelled.rows / 1000


def _token_price(work: _Work, prices: Prices) -> Price | None:
    cost = work.cost
    stated = None
    if cost is not None and cost.prompt is not None and cost.completion is not None:
        given = cost.model_dump(include={"prompt", "completion", "cached", "cache_write", "batch"})
        stated = Price(**given, source=cost.source or "the record")
    return prices.of_model(work.backend.model, stated)


def _inference(work: _Work, rows: int, prices: Prices, hardware: str | None) -> tuple[float, str] | None:
    """US dollars per 1,000 rows, and how they come about."""
    prompt, new = work.tokens.prompt or 0, work.tokens.new or 0
    if work.is_served:
        price = _token_price(work, prices)
        if price is None:
            return None
        if price.prompt or price.completion:
            each = f"{prompt / rows:.0f} prompt and {new / rows:.1f} new tokens per row"
            of_price = f"${price.prompt:g} and ${price.completion:g} per million ({price.source})"
            return price.charged(work.tokens.charged) / rows * 1000, f"{each} at {of_price}{_discounts(work.tokens, price)}"
        if hardware is None:
            return None  # tokens are free as the server is the user's own: its machine is what costs
    options = work.backend.options
    on_cpu = (options.get("predict") or {}).get("runtime") == "onnx-int8"  # whatever the model was trained on
    gpus = options.get("tensor_parallel_size", 1) * options.get("pipeline_parallel_size", 1)
    rate = _rate(work, prices, hardware, gpus, on_cpu=on_cpu)
    if rate is None or work.seconds is None:
        return None
    seconds = work.seconds / rows
    return rate[0] / 3600 * seconds * 1000, f"{1000 * seconds:.3g} ms per row at {rate[1]}"


def _discounts(counted: Tokens, price: Price) -> str:
    """What of the tokens had another price."""
    tokens = counted.charged
    parts = []
    if tokens.total.cached and price.cached is not None:
        parts.append(
            f"{tokens.total.cached / (tokens.total.prompt or 1):.0%} of the prompt tokens cached, at ${price.cached:g}"
        )
    if tokens.batched.prompt and price.batch is not None:
        share = tokens.batched.prompt / (tokens.total.prompt or 1)
        parts.append(f"{share:.0%} asked through the Batch API, at {price.batch:g} of the price")
    return f"; {', '.join(parts)}" if parts else ""


def _training(record: RunRecord, prices: Prices, hardware: str | None) -> tuple[float, str] | None:
    """US dollars for the whole training, and how they come about."""
    if record.training is None:
        return 0.0, ""
    train = record.identity.train
    processes = 1 if train is None else train.processes  # each has a GPU; on a CPU they share the cores
    rate = _rate(_work_of(record), prices, hardware, processes, on_cpu=False)
    if rate is None or record.training.seconds is None:
        return None
    return rate[0] / 3600 * record.training.seconds, f"trained for {record.training.seconds:.3g} s"


def _rate(work: _Work, prices: Prices, hardware: str | None, gpus: int, *, on_cpu: bool) -> tuple[float, str] | None:
    """US dollars per hour of the machine that a run used, and what that is."""
    machine, device = work.machine, work.backend.device or "cpu"
    if machine.cores is None:
        return None
    if hardware is not None:
        found: tuple[str, HardwarePrice] | None = (hardware, prices.named(hardware))
    elif device == "cpu" or on_cpu:
        found = prices.of_cpu(machine.cpu) if machine.cpu else None
    else:
        found = prices.of_gpu(machine.gpu) if machine.gpu else None
    if found is None:
        return None
    name, price = found
    usd, size = price.per_hour(machine.cores, gpus), ""
    if price.usd_per_core_hour is not None:
        size = f", {machine.cores} core{'s' if machine.cores > 1 else ''}"
    elif price.gpu is not None and gpus > 1:
        size = f", {gpus} GPUs"
    return usd, f"${usd:.3g} per hour ({name}{size}; {price.source}, {price.date})"
