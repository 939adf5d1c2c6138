"""What predictions cost: a machine's price times the measured time, or an API's times its tokens; with training and labels.

Prices come from `prices.yaml` beside this module, and from the user's own `prices.yaml` in the project folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from harness.errors import SpecError, UnknownName
from harness.running.costs import Price
from harness.specs.backend_specs import BackendSpec, engine_class
from harness.specs.yamlspec import Spec, load_yaml_spec

FILE = "prices.yaml"


class HardwarePrice(Spec):
    """What a machine costs by the hour."""

    gpu: str | None = Field(None, description="words that stand in the GPU's name: `A100 80GB`")
    cpu: str | None = Field(None, description="words that stand in the processor's name; an empty text fits any")
    usd_per_hour: float | None = Field(None, ge=0, allow_inf_nan=False, description="one GPU with its share of the machine")
    usd_per_core_hour: float | None = Field(None, ge=0, allow_inf_nan=False, description="a core that the run could use")
    date: Annotated[date, Field(description="a day on which this was the price")]
    source: str = Field(min_length=1, description="where this price was found")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.gpu is None) == (self.cpu is None):
            raise ValueError("say either `gpu` or `cpu`: words of the name by which it is recognised")
        if (self.usd_per_hour is None) == (self.usd_per_core_hour is None):
            raise ValueError("say either `usd_per_hour` or `usd_per_core_hour`")
        if self.gpu is not None and not _words(self.gpu):
            raise ValueError("`gpu` has no word in it: H100, for example")
        if self.gpu is not None and self.usd_per_core_hour is not None:
            raise ValueError("a GPU has `usd_per_hour`; cores are those of a processor")
        return self

    def per_hour(self, cores: int, gpus: int = 1) -> float:
        """US dollars an hour for what a run used."""
        if self.usd_per_core_hour is not None:
            return self.usd_per_core_hour * cores
        assert self.usd_per_hour is not None
        return self.usd_per_hour * (1 if self.gpu is None else gpus)


class ModelPrice(Price):
    """US dollars per million tokens of a served model, with the day on which they were asked."""

    date: Annotated[date, Field(description="a day on which this was the price")]


class PriceFile(Spec):
    """One `prices.yaml`."""

    hardware: dict[str, HardwarePrice] = Field({}, description="name -> what an hour costs")
    models: dict[str, ModelPrice] = Field({}, description="the model's name for its server -> what its tokens cost")


@dataclass(frozen=True)
class Prices:
    """The user's own prices, and those that come with bench."""

    own: PriceFile
    built_in: PriceFile

    @property
    def hardware(self) -> dict[str, HardwarePrice]:
        """By name, the user's own first."""
        return {**self.own.hardware, **{k: v for k, v in self.built_in.hardware.items() if k not in self.own.hardware}}

    def of_model(self, model: str | None, stated: Price | None = None) -> Price | None:
        """Of a served model: the user's own price, else what is `stated` (by its backend, or a record), else ours."""
        ours, own = self.built_in.models.get(model or ""), self.own.models.get(model or "")
        return _plain(own) or stated or _plain(ours)

    def filled(self, backend: BackendSpec, model: str | None = None) -> BackendSpec:
        """The backend with the price of its model, or of `model` in that one's place; without, where there is none.

        A price that stands beside a model is of that model; beside none, it is of the server. The same model on this machine
        costs no tokens.
        """
        stated = backend.price if model is None or backend.model is None else None
        price = self.of_model(model or backend.model, stated)
        if price == backend.price or (price is not None and engine_class(backend.engine).model_is != "name"):
            return backend
        return backend.model_copy(update={"price": price})

    def named(self, name: str) -> HardwarePrice:
        """Raises `UnknownName`."""
        if name not in self.hardware:
            raise UnknownName("hardware price", name, self.hardware)
        return self.hardware[name]

    def of_gpu(self, name: str) -> tuple[str, HardwarePrice] | None:
        """Entry of a GPU by the name that its driver gives it; None where none fits."""
        return self._fitting(name, "gpu")

    def of_cpu(self, name: str) -> tuple[str, HardwarePrice] | None:
        """Entry of a processor; None where none fits."""
        return self._fitting(name, "cpu")

    def _fitting(self, name: str, field: str) -> tuple[str, HardwarePrice] | None:
        """The user's own before ours, then the one with the most words (`A100 80GB` before `A100`)."""
        there = _words(name)
        others = {key: entry for key, entry in self.built_in.hardware.items() if key not in self.own.hardware}
        for entries in (self.own.hardware, others):
            fitting = [
                (len(words), key)
                for key, entry in entries.items()
                if getattr(entry, field) is not None and (words := _words(getattr(entry, field))) <= there
            ]
            if fitting:
                key = max(fitting, key=lambda pair: pair[0])[1]
                return key, entries[key]
        return None


def _words(text: str) -> set[str]:
    """Whole words, so that L4 is not found in L40S."""
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def _plain(price: ModelPrice | None) -> Price | None:
    if price is None:
        return None
    return Price(prompt=price.prompt, completion=price.completion, source=f"{price.source}, {price.date}")


def load_prices(folder: Path) -> Prices:
    """Prices as seen from a project folder. Raises `SpecError` for a file that can't be read."""
    own, none = folder / FILE, PriceFile(hardware={}, models={})
    there = own.is_symlink() or own.exists()
    if there and not own.is_file():  # the prices that were meant to count would not
        what = "is a folder" if own.is_dir() else "is no file" if own.exists() else "is a link to a file that is not there"
        raise SpecError(own, None, what, "Put a file of prices in its place, or remove it.")
    built_in = load_yaml_spec(Path(__file__).with_name(FILE), PriceFile)
    return Prices(load_yaml_spec(own, PriceFile) if there else none, built_in)


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
    training and validation rows, and the exemplars of a prompt. Not counted: a search for settings (`bench tune`), the
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
    if _is_served(manifest):
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


def _is_served(manifest: Mapping[str, Any]) -> bool:
    """Whether a server did the work: every language model that runs here names its device."""
    return manifest["training"] is None and "device" not in manifest["identity"]["backend"]


def _token_price(manifest: Mapping[str, Any], prices: Prices) -> Price | None:
    recorded = manifest.get("cost")
    stated = None if recorded is None else Price(**{key: recorded[key] for key in ("prompt", "completion", "source")})
    return prices.of_model(manifest["identity"]["backend"]["model"], stated)


def _inference(manifest: Mapping[str, Any], prices: Prices, hardware: str | None) -> tuple[float, str] | None:
    """US dollars per 1,000 rows, and in words how."""
    rows, tokens = manifest["n"], manifest["tokens"]
    if _is_served(manifest):
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
