"""The options of the engines that train an encoder: how it is trained, and how it predicts."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backends._torch import Device, DType
from harness.core.engine import later_option, memory_settings

HeadKind = Literal["softmax", "one_hot", "coral", "corn"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
BasePrecision = Literal["float32", "bfloat16", "nf4"]
LongTexts = Literal["cut", "head_tail", "windows"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]

RHO = {"sam": 0.05, "asam": 0.5}
"""The most common radius of Foret et al. 2020 and Kwon et al. 2021."""


BATCH_SIZE = {"cpu": 64, "cuda": 1024}
"""Rows of a batch, where the options do not say: on a GPU tokens are the limit."""
BATCH_TOKENS = {"cpu": 512, "cuda": 65536}
"""Few on a CPU: what the layers pass on stays in its caches, and there is less padding."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PredictOptions(Strict):
    _memory = memory_settings("batch_size", "batch_tokens")
    batch_size: int = Field(64, ge=1, description="rows per batch; where it is not set, 1024 on a GPU")
    batch_tokens: int | None = Field(None, ge=1, description="tokens per batch, padding included; default: by the device")
    dtype: DType = Field(
        "auto",
        description="of the weights; `auto`: bfloat16 where the device computes in it, else float16 on a GPU, float32 on a CPU",
    )

    def rows_on(self, device: str) -> int:
        """The most rows of a batch."""
        return self.batch_size if "batch_size" in self.model_fields_set else BATCH_SIZE[device]

    def tokens_on(self, device: str) -> int:
        """The most tokens of a batch."""
        return self.batch_tokens or BATCH_TOKENS[device]


class TextEncoderOptions(Strict):
    max_length: int = Field(256, ge=8, description="tokens; longer texts are cut at the end")
    device: Device = Field("auto", description="`auto`: a GPU where there is one")
    threshold: float | None = Field(
        None, gt=0, lt=1, description="multilabel tasks: the probability from which a label is given; default: tuned"
    )
    predict: PredictOptions = Field(PredictOptions.model_validate({}), description="how the trained model predicts")


class LoraOptions(Strict):
    """Low-rank adapters on all linear layers (Hu et al. 2021); the head is trained too, the rest is frozen."""

    rank: int = Field(8, ge=1, description="of the adapters' matrices")
    alpha: int = Field(16, ge=1, description="the adapters are scaled by alpha / rank")
    dropout: float = Field(0.1, ge=0, lt=1, description="of the adapters' inputs")
    base: Literal["auto", "float32", "bfloat16", "nf4"] = later_option(
        "float32",
        description="precision of the frozen weights; nf4: 4-bit (QLoRA); auto: bfloat16 where the device is fast in it, else "
        "float32",
    )


class CourseOptions(Strict):
    """The course of a training by gradient descent."""

    epochs: float = Field(3, gt=0, description="passes over train; early stopping may end sooner")
    min_steps: int | None = later_option(
        None, ge=1, description="at least so many steps, with more epochs if few rows need them; 200 suit most tasks"
    )
    batch_size: int = Field(16, ge=1, description="rows per device and batch")
    accumulation: int = Field(1, ge=1, description="batches whose gradients make one step")
    lr: float = Field(2e-5, gt=0, description="peak learning rate, reached after the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW; not for biases and norms")
    warmup: float = Field(0.1, ge=0, description="share of the steps (below 1) or steps in which the learning rate rises")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="of the learning rate after the warm-up")
    precision: Precision = Field(
        "auto", description="`auto`: bf16 where the device computes in it, else fp16 on a GPU, fp32 on a CPU"
    )
    gradient_checkpointing: bool = Field(False, description="less memory for about a third more time")
    evaluate_every: int | None = Field(None, ge=1, description="steps between two checkpoints; default: an epoch")
    patience: int = Field(2, ge=1, description="evaluations without a better checkpoint before training stops")

    def epochs_of(self, rows: int, processes: int = 1) -> float:
        """Passes over so many rows, with those that `min_steps` adds."""
        return self.epochs if self.min_steps is None else max(self.epochs, self.epochs_with(self.min_steps, rows, processes))

    def epochs_with(self, steps: int, rows: int, processes: int = 1) -> int:
        """Passes over so many rows that take at least `steps` steps."""
        return math.ceil(steps / math.ceil(rows / (self.batch_size * self.accumulation * processes)))


class TrainOptions(CourseOptions):
    label_smoothing: float = Field(0, ge=0, lt=1, description="share of the target that is spread over all labels")
    class_weights: Literal["none", "balanced"] = Field("none", description="`balanced`: rare labels count more")
    optimizer: Literal["adamw", "sam", "asam"] = Field(
        "adamw", description="(adaptive) sharpness-aware minimization around AdamW: two passes per step"
    )
    rho: float | None = Field(None, gt=0, description="radius of sam (default 0.05) and asam (default 0.5)")
    lora: LoraOptions | None = Field(None, description="train adapters instead of all weights; `{}` for their defaults")
    best_metric: str | None = Field(
        None, description="selects the checkpoint on validation rows: a metric of the task, or `loss`; default: its first"
    )

    @model_validator(mode="after")
    def _rho_is_used(self) -> Self:
        if self.rho is not None and self.optimizer == "adamw":
            raise ValueError("rho is the radius of sam and asam; the optimizer is adamw")
        return self

    def radius(self) -> float | None:
        """None for plain AdamW."""
        return None if self.optimizer == "adamw" else self.rho or RHO[self.optimizer]


class EncoderPredictOptions(PredictOptions):
    attention: Attention = Field("auto", description="flash_attention_2 computes no padding; it needs a GPU and its library")
    runtime: Literal["auto", "torch", "onnx", "onnx-int8"] = Field(
        "auto",
        description="onnx: ONNX Runtime, exported once; `auto`: torch; on a CPU, for 2,000 rows or more, the one that is "
        "fastest on validation rows",
    )
    max_drop: float = Field(0.005, ge=0, description="in int8: accepted loss in the main metric on the validation rows")

    @property
    def is_exported(self) -> bool:
        """Whether a runtime is asked for that does not compute in torch."""
        return self.runtime in ("onnx", "onnx-int8")

    @model_validator(mode="after")
    def _one_dtype(self) -> Self:
        if self.is_exported and self.dtype not in ("auto", "float32"):
            raise ValueError(f"runtime {self.runtime} computes in its own precision; leave out dtype {self.dtype}")
        return self


class EncoderOptions(TextEncoderOptions):
    head: HeadKind = Field(
        "softmax",
        description="single-label tasks: softmax; one_hot: a yes or no for each label; "
        "coral, corn: the ordinal heads of Cao et al. 2020 and Shi et al. 2021",
    )
    long_texts: LongTexts = later_option(
        "cut",
        description="texts longer than `max_length`: cut at the end; head_tail: a quarter of the tokens from the beginning, "
        "the rest from the end; windows: all of it, in windows that overlap, whose probabilities are averaged",
    )
    window_overlap: int | None = later_option(
        None, ge=0, description="windows: tokens that each shares with the one before; default: a quarter of `max_length`"
    )
    max_windows: int | None = later_option(None, ge=1, description="windows: at most so many of a text; default: all")
    train: TrainOptions = Field(TrainOptions.model_validate({}), description="how it is fine-tuned")
    predict: EncoderPredictOptions = Field(
        EncoderPredictOptions.model_validate({}), description="how the trained model predicts"
    )

    @model_validator(mode="after")
    def _windows_are_used(self) -> Self:
        given = [name for name in ("window_overlap", "max_windows") if getattr(self, name) is not None]
        if given and self.long_texts != "windows":
            raise ValueError(f"{given[0]} is for long_texts windows; long_texts is {self.long_texts}")
        return self
