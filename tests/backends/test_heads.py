"""Losses and probabilities of the heads, against their formulas written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backends._encoder_options import EncoderOptions
from backends._heads import IGNORED, Head, balanced_weights, make_head, tie_coral
from harness.core.errors import UserError
from harness.core.types import Label, LabelKind, LabelSpace

RNG = np.random.default_rng(0)
SINGLE: list[Label] = [0, 3, 1, 2, 2]
SETS: list[Label] = [(0, 2), (), (3,), (0, 1, 2, 3), (1,)]
WEIGHTS = np.array([0.5, 2.0, 1.0, 3.0])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def binary(logit: float, target: float, positive: float = 1.0) -> float:
    return -positive * target * math.log(sigmoid(logit)) - (1 - target) * math.log(1 - sigmoid(logit))


def mean_loss(head: Head, logits: Any, labels: list[Label]) -> float:
    targets = torch.tensor([head.target(label) for label in labels])
    return float(head.loss(torch.tensor(logits), targets)) / int((targets != IGNORED).sum())


def logits_for(head: Head, rows: int = 5) -> Any:
    return RNG.normal(size=(rows, head.outputs)) * 2


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_softmax(smoothing: float, weights: Any) -> None:
    head = Head("softmax", 4, smoothing, weights)
    logits = logits_for(head)
    expected = 0.0
    for row, label in zip(logits, SINGLE, strict=True):
        assert isinstance(label, int)
        log_p = [x - math.log(sum(math.exp(y) for y in row)) for x in row]
        wanted = [(1 - smoothing) * (k == label) + smoothing / 4 for k in range(4)]
        expected -= (1 if weights is None else weights[label]) * sum(w * p for w, p in zip(wanted, log_p, strict=True))
    assert mean_loss(head, logits, SINGLE) == pytest.approx(expected / 5, rel=1e-5)
    p = head.probabilities(logits)
    np.testing.assert_allclose(p, np.exp(logits) / np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_hot(smoothing: float) -> None:
    head = Head("one_hot", 4, smoothing, WEIGHTS)
    logits = logits_for(head)
    expected = [
        WEIGHTS[label] * binary(row[k], (k == label) * (1 - smoothing) + smoothing / 2)
        for row, label in zip(logits, SINGLE, strict=True)
        for k in range(4)
    ]
    assert mean_loss(head, logits, SINGLE) == pytest.approx(np.mean(expected), rel=1e-5)
    yes = np.vectorize(sigmoid)(logits)
    np.testing.assert_allclose(head.probabilities(logits), yes / yes.sum(1, keepdims=True))
    certain_of_nothing = head.probabilities(np.array([[-2000.0, -2001.0, -2000.0, -2000.0]]))
    np.testing.assert_allclose(certain_of_nothing.sum(), 1)


def test_multilabel() -> None:
    head = Head("multilabel", 4, 0.0, WEIGHTS)
    logits = logits_for(head)
    expected = [
        binary(row[k], float(k in label), WEIGHTS[k])
        for row, label in zip(logits, SETS, strict=True)
        for k in range(4)
        if isinstance(label, tuple)
    ]
    assert mean_loss(head, logits, SETS) == pytest.approx(np.mean(expected), rel=1e-5)
    np.testing.assert_allclose(head.probabilities(logits), np.vectorize(sigmoid)(logits))


def test_coral() -> None:
    """Equation 4 of Cao et al.: binary cross entropies of y > k, summed over the tasks; mean over the rows."""
    head = Head("coral", 4)
    logits = logits_for(head)
    rows = [
        sum(binary(row[k], float(label > k)) for k in range(3))
        for row, label in zip(logits, SINGLE, strict=True)
        if isinstance(label, int)
    ]
    assert mean_loss(head, logits, SINGLE) == pytest.approx(np.mean(rows), rel=1e-5)
    above = [0.9, 0.6, 0.1]
    np.testing.assert_allclose(head.probabilities(np.log(np.array([above]) / (1 - np.array([above])))), [[0.1, 0.3, 0.5, 0.1]])
    out_of_order = np.array([[0.5, 0.9, 0.2]])
    p = head.probabilities(np.log(out_of_order / (1 - out_of_order)))
    np.testing.assert_allclose(p, [[0.5, 0.0, 0.3, 0.2]], atol=1e-12)


def test_corn() -> None:
    """Equation 7 of Shi et al.: task k sees the rows with y >= k; mean over all that the tasks see."""
    head = Head("corn", 4)
    logits = logits_for(head)
    losses = [
        binary(row[k], float(label > k))
        for k in range(3)
        for row, label in zip(logits, SINGLE, strict=True)
        if isinstance(label, int) and label >= k
    ]
    assert mean_loss(head, logits, SINGLE) == pytest.approx(np.mean(losses), rel=1e-5)
    a, b, c = (sigmoid(x) for x in logits[0])
    expected = [1 - a, a * (1 - b), a * b * (1 - c), a * b * c]
    np.testing.assert_allclose(head.probabilities(logits)[0], expected)


def test_weights_of_ordinal_heads_go_by_the_class_of_the_row() -> None:
    for kind in ("coral", "corn"):
        plain, weighted = Head(kind, 4), Head(kind, 4, 0.0, WEIGHTS)
        logits = logits_for(plain, 1)
        for label in range(4):
            ratio = mean_loss(weighted, logits, [label]) / mean_loss(plain, logits, [label])
            assert ratio == pytest.approx(WEIGHTS[label], rel=1e-5)


@given(arrays(np.float64, (3, 3), elements=st.floats(-50, 50)), st.sampled_from(["coral", "corn"]))
def test_ordinal_probabilities_are_valid_whatever_the_outputs(logits: Any, kind: Any) -> None:
    p = Head(kind, 4).probabilities(logits)
    assert p.shape == (3, 4)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1)


def test_balanced_weights() -> None:
    np.testing.assert_allclose(balanced_weights([0, 0, 0, 1, 3], 4), [5 / 12, 5 / 4, 1, 5 / 4])
    np.testing.assert_allclose(balanced_weights([(0,), (0, 1), (0,), (0,)], 3), [1, 3, 1])


def head_of(options: dict[str, Any], kind: LabelKind, train: list[Label] | None = None) -> Head:
    return make_head(EncoderOptions.model_validate(options), LabelSpace(kind, ("a", "b", "c")), train)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"head": "coral"}, LabelKind.NOMINAL, "coral needs ordinal labels"),
        ({"head": "corn"}, LabelKind.NOMINAL, "corn needs ordinal labels"),
        ({"head": "one_hot"}, LabelKind.MULTILABEL, "one_hot gives one label per row"),
        ({"threshold": 0.4}, LabelKind.NOMINAL, "for multilabel tasks"),
    ],
)
def test_heads_that_a_task_has_no_use_for(options: dict[str, Any], kind: LabelKind, message: str) -> None:
    with pytest.raises(UserError, match=message):
        head_of(options, kind)


def test_the_head_of_the_options() -> None:
    assert head_of({}, LabelKind.NOMINAL) == Head("softmax", 3)
    assert head_of({"threshold": 0.5}, LabelKind.MULTILABEL).kind == "multilabel"
    assert head_of({"head": "corn"}, LabelKind.ORDINAL).outputs == 2
    balanced = {"train": {"class_weights": "balanced", "label_smoothing": 0.1}}
    head = head_of(balanced, LabelKind.NOMINAL, [0, 0, 1])
    assert head.label_smoothing == 0.1
    assert head.weights is not None
    np.testing.assert_allclose(head.weights, [0.5, 1, 1])
    assert head_of(balanced, LabelKind.NOMINAL).weights is None


def test_a_coral_layer_is_one_vector_and_stays_one() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    tie_coral(layer)
    assert layer.bias.tolist() == pytest.approx([1, 2 / 3, 1 / 3])
    shared = layer.weight[:1].detach().clone().requires_grad_()
    x, y = torch.randn(6, 4), torch.randn(6, 3)
    tied: Any = ((layer(x) - y) ** 2).sum()
    tied.backward()
    one: Any = ((x @ shared.T + layer.bias.detach() - y) ** 2).sum()
    one.backward()
    assert shared.grad is not None
    torch.testing.assert_close(layer.weight.grad, shared.grad.expand(3, 4))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.step()
    torch.testing.assert_close(layer.weight, layer.weight[:1].expand(3, 4))

    again = torch.nn.Linear(4, 3)
    again.load_state_dict(layer.state_dict())
    tie_coral(again)
    torch.testing.assert_close(again.bias, layer.bias)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_softmax_on_probabilities_is_their_cross_entropy(smoothing: float) -> None:
    head = Head("softmax", 4, smoothing)
    logits, wanted = logits_for(head), RNG.dirichlet(np.ones(4), size=5)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -((wanted * (1 - smoothing) + smoothing / 4) * log_p).sum(axis=1).mean()
    targets = torch.tensor(wanted, dtype=torch.float32)
    found = float(head.loss(torch.tensor(logits), targets)) / int((targets != IGNORED).sum())
    assert found == pytest.approx(expected, rel=1e-5)
    certain = torch.tensor(np.eye(4)[SINGLE], dtype=torch.float32)
    same = float(head.loss(torch.tensor(logits), certain)) / int((certain != IGNORED).sum())
    assert same == pytest.approx(mean_loss(head, logits, SINGLE), rel=1e-5)
