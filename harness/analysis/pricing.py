"""What predictions cost: a machine's price times the measured time, or an API's times its tokens; with training and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.specs.costs import Price
from harness.specs.prices import FILE, HardwarePrice, Prices


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


@dataclass(frozen=True)
class _Rate:
    """What an hour costs on the machine that a run used."""

    usd_per_hour: float
    words: str


def cost_of(
    manifest: Mapping[str, Any], prices: Prices, predictions: float, labelling: float, hardware: str | None = None
) -> Cost | None:
    """What the predictions of a run cost, or None where its machine (or its model's tokens) has no price.

    `predictions`: rows that share the cost of training and of labels. `labelling`: US dollars a label. `hardware`: name of
    the entry of `prices.yaml` to count time at, in place of the one that the record's machine fits.

    Inference is an API's tokens at its price, or else seconds a row times the price of the machine: every core that the run
    could use, or its GPUs, at work all the time. Training is its seconds on the same machine. Labels are those of the
    training and validation rows, and the exemplars of a prompt. Not counted: a search for settings (`bench study tune`), the
    training of a model that this one went on from, loading, storage, idle time.

    Raises `UnknownName` for `hardware`.
    """
    if "imported" in manifest:  # no time, no tokens and no machine are known of it
        return None
    inference = _inference(manifest, prices, hardware)
    training = _training(manifest, prices, hardware)
    if inference is None or training is None:
        return None
    labels = labels_of(manifest)
    return Cost(
        inference=inference[0],
        training=training[0] / predictions * 1000,
        labelling=labels * labelling / predictions * 1000,
        predictions=predictions,
        labels=labels,
        basis="; ".join(part for part in (inference[1], training[1]) if part),
        under_load=_under_load(manifest),
    )


def missing_price(manifest: Mapping[str, Any], prices: Prices) -> str:
    """Why `cost_of` has no answer, and the way out."""
    if "imported" in manifest:
        return "no cost of what was imported: neither its time nor its tokens are known"
    machine, backend = manifest["machine"], manifest["identity"]["backend"]
    if is_served(manifest):
        free = _token_price(manifest, prices) is not None
        what = "the machine of its server, which no record names" if free else f"the tokens of {backend['model']}"
        way = "say which with --hardware" if free else f"add it to `models:` in {FILE} in your folder"
        return f"no price for {what}: {way}"
    return f"no price for {machine['gpu'] or machine['cpu']}: add it to `hardware:` in {FILE} in your folder"


def labels_of(manifest: Mapping[str, Any]) -> int:
    """Labels that people had to give: of training (the last one alone) and validation rows, and of a prompt's exemplars."""
    training, prompt = manifest["training"], manifest["identity"]["prompt"]
    rows = 0 if training is None else training["train_rows"] + training.get("validation_rows", 0)
    return int(rows) + (0 if prompt is None else len(prompt["shots"]))


def _under_load(manifest: Mapping[str, Any]) -> bool:
    """Whether something else was running, so that the time, and with it the cost, is too high."""
    load = manifest["timing"].get("load_average")
    return load is not None and load > manifest["machine"]["cores"]


def is_served(manifest: Mapping[str, Any]) -> bool:
    """Whether a server did the work: every language model that runs here names its device."""
    return manifest["training"] is None and "device" not in manifest["identity"]["backend"]


def _token_price(manifest: Mapping[str, Any], prices: Prices) -> Price | None:
    recorded = manifest.get("cost")
    stated = None if recorded is None else Price(**{key: recorded[key] for key in ("prompt", "completion", "source")})
    return prices.of_model(manifest["identity"]["backend"]["model"], stated)


def _inference(manifest: Mapping[str, Any], prices: Prices, hardware: str | None) -> tuple[float, str] | None:
    """US dollars per 1,000 rows, and in words how."""
    rows, tokens = manifest["n"], manifest["tokens"]
    if is_served(manifest):
        price = _token_price(manifest, prices)
        if price is None:
            return None
        if price.prompt or price.completion:
            usd = price.of(tokens["prompt"], tokens["new"]) / rows * 1000
            each = f"{tokens['prompt'] / rows:.0f} prompt and {tokens['new'] / rows:.1f} new tokens a row"
            return usd, f"{each} at ${price.prompt:g} and ${price.completion:g} a million ({price.source})"
        if hardware is None:
            return None  # tokens cost nothing as the server is the user's own: its machine is what costs
    options = manifest["identity"]["backend"]["options"]
    on_cpu = (options.get("predict") or {}).get("runtime") == "onnx-int8"  # wherever the model was trained
    gpus = options.get("tensor_parallel_size", 1) * options.get("pipeline_parallel_size", 1)
    rate = _rate(manifest, prices, hardware, gpus, on_cpu=on_cpu)
    if rate is None:
        return None
    seconds = manifest["timing"]["seconds"] / rows
    return rate.usd_per_hour / 3600 * seconds * 1000, f"{1000 * seconds:.3g} ms a row at {rate.words}"


def _training(manifest: Mapping[str, Any], prices: Prices, hardware: str | None) -> tuple[float, str] | None:
    """US dollars for the training, once, and in words how."""
    if manifest["training"] is None:
        return 0.0, ""
    processes = manifest["identity"]["train"].get("processes", 1)  # each has a GPU; on a CPU they share the cores
    rate = _rate(manifest, prices, hardware, processes, on_cpu=False)
    if rate is None:
        return None
    seconds = manifest["training"]["seconds"]
    return rate.usd_per_hour / 3600 * seconds, f"trained for {seconds:.3g} s"


def _rate(manifest: Mapping[str, Any], prices: Prices, hardware: str | None, gpus: int, *, on_cpu: bool) -> _Rate | None:
    machine, device = manifest["machine"], manifest["identity"]["backend"].get("device", "cpu")
    if hardware is not None:
        found: tuple[str, HardwarePrice] | None = (hardware, prices.named(hardware))
    elif device == "cpu" or on_cpu:
        found = prices.of_cpu(machine["cpu"])
    else:
        found = prices.of_gpu(machine["gpu"]) if machine["gpu"] else None
    if found is None:
        return None
    name, price = found
    usd = price.per_hour(machine["cores"], gpus)
    return _Rate(usd, f"${usd:.3g} an hour ({name}{_of_what(price, machine['cores'], gpus)}; {price.source}, {price.date})")


def _of_what(price: HardwarePrice, cores: int, gpus: int) -> str:
    if price.usd_per_core_hour is not None:
        return f", {cores} core{'s' if cores > 1 else ''}"
    return f", {gpus} GPUs" if price.gpu is not None and gpus > 1 else ""
