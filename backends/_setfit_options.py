"""What a backend's YAML may say of SetFit."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from backends._torch import Device, DType


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainOptions(_Strict):
    """The defaults are those of the setfit library and the paper."""

    iterations: int = Field(20, ge=1, description="pairs of one label, and as many of two, for each training row")
    epochs: int = Field(1, ge=1, description="passes over the pairs")
    max_steps: int | None = Field(None, ge=1, description="batches of pairs, at most; default: all of them")
    batch_size: int = Field(16, ge=1, description="pairs a step")
    lr: float = Field(2e-5, gt=0, description="the highest learning rate of the encoder, reached after the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW; not for biases and norms")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises; then it falls")
    c: float = Field(1.0, gt=0, description="of the logistic regression: inverse strength of the L2 penalty")


class PredictOptions(_Strict):
    batch_size: int = Field(64, ge=1, description="rows a batch")
    batch_tokens: int | None = Field(None, ge=1, description="tokens a batch, padding included; default: by the device")
    dtype: DType = Field("auto", description="of the weights; `auto`: bfloat16 on a GPU, float32 on CPU")


class SetFitOptions(_Strict):
    max_length: int = Field(256, ge=8, description="tokens; longer texts are cut at the end")
    device: Device = Field("auto", description="where it computes; `auto`: a GPU where there is one")
    threshold: float | None = Field(
        None, gt=0, lt=1, description="of a multilabel task: the probability from which a label is given; default: tuned"
    )
    train: TrainOptions = Field(TrainOptions.model_validate({}), description="how encoder and head are trained")
    predict: PredictOptions = Field(PredictOptions.model_validate({}), description="how the trained model predicts")
