"""What a classifier's outputs mean: how many there are, their loss, and the probabilities of the labels.

CORAL: Cao, Mirjalili, Raschka 2020, "Rank consistent ordinal regression for neural networks", arXiv:1901.07884.
CORN: Shi, Cao, Raschka 2021, "Deep neural networks for rank-consistent ordinal regression based on conditional
probabilities", arXiv:2111.08851.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backends._encoder_options import EncoderOptions
from harness.core.arrays import FloatArray
from harness.core.errors import UserError
from harness.core.types import Label, LabelKind, LabelSpace

IGNORED = -100
"""Marks a target that does not count; the Trainer knows it too."""


@dataclass(frozen=True, slots=True)
class Head:
    """`weights`, shape (classes,): of the rows of each class; in a multilabel task, of the rows with each label."""

    kind: Literal["softmax", "one_hot", "coral", "corn", "multilabel"]
    classes: int
    label_smoothing: float = 0.0
    weights: FloatArray | None = None

    @property
    def outputs(self) -> int:
        return self.classes - 1 if self.kind in ("coral", "corn") else self.classes

    def target(self, label: Label) -> int | list[float]:
        """What the loss compares a row's outputs with."""
        if isinstance(label, tuple):
            return [float(k in label) for k in range(self.classes)]
        if self.kind == "softmax":
            return label
        if self.kind == "one_hot":
            return [float(k == label) for k in range(self.classes)]
        above = [float(label > k) for k in range(self.outputs)]
        # CORN's output k is P(y > k | y >= k): rows of lower classes do not count.
        return above if self.kind == "coral" else [value if k <= label else IGNORED for k, value in enumerate(above)]

    def loss(self, logits: Any, targets: Any) -> Any:
        """Sum of the losses, to be divided by the number of targets that are not `IGNORED`. `logits`: (n, outputs).

        `targets` of shape (n, outputs) for softmax: probabilities, and the loss is the cross-entropy with them.
        """
        import torch
        from torch.nn import functional

        logits = logits.float()
        weights = None if self.weights is None else torch.as_tensor(self.weights, dtype=torch.float32, device=logits.device)
        if self.kind == "softmax":
            losses = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=self.label_smoothing)
            if targets.ndim > 1:  # each row has as many targets as there are outputs
                return losses.sum() * self.outputs
            return (losses if weights is None else losses * weights[targets]).sum()
        counted = targets != IGNORED
        wanted = torch.where(counted, targets, 0.0)
        smooth = wanted * (1 - self.label_smoothing) + self.label_smoothing / 2
        pos_weight = weights if self.kind == "multilabel" else None
        losses = functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=pos_weight, reduction="none")
        if weights is not None and pos_weight is None:
            classes = wanted.argmax(-1) if self.kind == "one_hot" else wanted.sum(-1).long()
            losses = losses * weights[classes].unsqueeze(-1)
        # CORAL sums over the outputs of a row and takes the mean over rows; the others take the mean over all targets.
        return losses[counted].sum() * (self.outputs if self.kind == "coral" else 1)

    def probabilities(self, logits: NDArray[Any]) -> FloatArray:
        """Shape (n, classes), rows sum to 1 except for a multilabel task. `logits`: (n, outputs)."""
        from scipy.special import expit, log_expit, softmax

        logits = np.asarray(logits, dtype=np.float64)
        if self.kind == "softmax":
            return np.asarray(softmax(logits, axis=1))
        if self.kind == "multilabel":
            return np.asarray(expit(logits))
        if self.kind == "one_hot":
            return np.asarray(softmax(log_expit(logits), axis=1))  # sigmoids over their sum, also where all are tiny
        above = expit(logits)
        # CORN: the chain rule. CORAL: its biases are in order only at the optimum.
        above = above.cumprod(axis=1) if self.kind == "corn" else np.minimum.accumulate(above, axis=1)
        bounds = np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
        return np.asarray(-np.diff(bounds, axis=1))


def make_head(options: EncoderOptions, labels: LabelSpace, train: Sequence[Label] | None) -> Head:
    """The head that the options ask for; `train`: the labels for class weights (None: the head is trained already).

    Raises `UserError` for a head that does not fit the task.
    """
    multilabel = labels.kind is LabelKind.MULTILABEL
    if multilabel and options.head != "softmax":
        raise UserError(f"The head {options.head} gives one label per row; the task is multilabel.", "Leave `head` out.")
    if options.head in ("coral", "corn") and labels.kind is not LabelKind.ORDINAL:
        raise UserError(f"The head {options.head} needs ordinal labels; this task's are nominal.", "Use softmax, or one_hot.")
    check_threshold(options.threshold, labels)
    kind = "multilabel" if multilabel else options.head
    balanced = options.train.class_weights == "balanced"
    weights = balanced_weights(train, len(labels)) if balanced and train is not None else None
    return Head(kind, len(labels), options.train.label_smoothing, weights)


def check_threshold(threshold: float | None, labels: LabelSpace) -> None:
    if threshold is not None and labels.kind is not LabelKind.MULTILABEL:
        raise UserError("`threshold` is for multilabel tasks; this one has one label per row.", "Leave it out.")


def balanced_weights(labels: Sequence[Label], classes: int) -> FloatArray:
    """Shape (classes,): n / (classes * count) of each class, with a mean over the rows of 1. In a multilabel task, for each
    label the rows without it over those with it. 1 where there is no such row."""
    sets = [label if isinstance(label, tuple) else (label,) for label in labels]
    counts = np.bincount([k for label in sets for k in label], minlength=classes).astype(np.float64)
    present = np.maximum(counts, 1)
    if any(isinstance(label, tuple) for label in labels):
        weights = (len(labels) - counts) / present
        return np.where((counts == 0) | (weights == 0), 1.0, weights)
    return np.where(counts == 0, 1.0, len(labels) / (classes * present))


def tie_coral(layer: Any) -> None:
    """Make all rows of a linear layer one shared vector, with a bias each, as CORAL needs.

    The rows stay equal since each gets the gradient of the shared vector, so that the checkpoint is a plain layer. The biases
    of a new head fall from 1 in even steps, as in the authors' coral-pytorch. A layer with equal rows is a CORAL head that
    was trained before, and keeps its biases.
    """
    import torch

    with torch.no_grad():
        count = layer.out_features
        if count == 1 or not torch.allclose(layer.weight, layer.weight[:1].expand_as(layer.weight), atol=1e-6):
            layer.bias.copy_(torch.arange(count, 0, -1) / count)
        layer.weight.copy_(layer.weight[:1].clone().expand_as(layer.weight))
    layer.weight.register_hook(lambda gradient: gradient.sum(0, keepdim=True).expand_as(gradient).contiguous())
