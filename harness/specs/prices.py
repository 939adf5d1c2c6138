"""Prices of machines and served models, from `prices.yaml` beside this module and from the user's own in the project folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from harness.core.errors import SpecError, UnknownName
from harness.specs.backend_specs import BackendSpec, engine_class
from harness.specs.costs import Price
from harness.specs.yamlspec import Spec, load_yaml_spec

FILE = "prices.yaml"


class HardwarePrice(Spec):
    """The price of a machine per hour."""

    gpu: str | None = Field(None, description="words of the GPU's name: `A100 80GB`")
    cpu: str | None = Field(None, description="words of the processor's name; an empty text matches any")
    usd_per_hour: float | None = Field(None, ge=0, allow_inf_nan=False, description="one GPU with its share of the machine")
    usd_per_core_hour: float | None = Field(None, ge=0, allow_inf_nan=False, description="a core that the run could use")
    date: Annotated[date, Field(description="a day on which this was the price")]
    source: str = Field(min_length=1, description="where this price was published")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.gpu is None) == (self.cpu is None):
            raise ValueError("give either `gpu` or `cpu`: words of its name")
        if (self.usd_per_hour is None) == (self.usd_per_core_hour is None):
            raise ValueError("give either `usd_per_hour` or `usd_per_core_hour`")
        if self.gpu is not None and not _words(self.gpu):
            raise ValueError("`gpu` contains no word: use H100, for example")
        if self.gpu is not None and self.usd_per_core_hour is not None:
            raise ValueError("a GPU has `usd_per_hour`; cores are those of a processor")
        return self

    def per_hour(self, cores: int, gpus: int = 1) -> float:
        """US dollars per hour for the cores or GPUs of a run."""
        if self.usd_per_core_hour is not None:
            return self.usd_per_core_hour * cores
        assert self.usd_per_hour is not None
        return self.usd_per_hour * (1 if self.gpu is None else gpus)


class ModelPrice(Price):
    """US dollars per million tokens of a served model on a given day."""

    date: Annotated[date, Field(description="a day on which this was the price")]


class PriceFile(Spec):
    """One `prices.yaml`."""

    hardware: dict[str, HardwarePrice] = Field({}, description="name -> price per hour")
    models: dict[str, ModelPrice] = Field({}, description="the model's name on its server -> price of its tokens")


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
        """Of a served model: the user's own price, else the `stated` one (of its backend, or a record), else ours."""
        ours, own = self.built_in.models.get(model or ""), self.own.models.get(model or "")
        return _plain(own) or stated or _plain(ours)

    def filled(self, backend: BackendSpec, model: str | None = None) -> BackendSpec:
        """The backend with the price of its model (or of `model`), if there is one.

        A price in a YAML that names a model is for that model, else for the server. A model on this machine costs no tokens.
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
        """The entry of a GPU by its driver's name for it; None if none matches."""
        return self._fitting(name, "gpu")

    def of_cpu(self, name: str) -> tuple[str, HardwarePrice] | None:
        """The entry of a processor; None if none matches."""
        return self._fitting(name, "cpu")

    def _fitting(self, name: str, field: str) -> tuple[str, HardwarePrice] | None:
        """The user's own before ours, then the entry with the most words (`A100 80GB` before `A100`)."""
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
    """Whole words, so that L4 does not match L40S."""
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def _plain(price: ModelPrice | None) -> Price | None:
    if price is None:
        return None
    return Price(**price.model_dump(exclude={"date", "source"}), source=f"{price.source}, {price.date}")


def load_prices(folder: Path) -> Prices:
    """Prices as seen from a project folder. Raises `SpecError` for a file that can't be read."""
    own, none = folder / FILE, PriceFile(hardware={}, models={})
    there = own.is_symlink() or own.exists()
    if there and not own.is_file():  # not silently ignored
        what = "is a folder" if own.is_dir() else "is not a file" if own.exists() else "is a link to a missing file"
        raise SpecError(own, None, what, "Replace it with a file of prices, or remove it.")
    built_in = load_yaml_spec(Path(__file__).with_name(FILE), PriceFile)
    return Prices(load_yaml_spec(own, PriceFile) if there else none, built_in)


def tokens_of(texts: Sequence[str]) -> float:
    """Mean number of tokens, estimated without a tokenizer: 4 ASCII characters each, 1.5 other characters."""
    plain = sum(sum(map(str.isascii, text)) for text in texts)
    return (plain / 4 + (sum(map(len, texts)) - plain) / 1.5) / max(1, len(texts)) + 2  # special tokens at both ends
