"""The perturbation of sharpness-aware minimization, against its formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backends._trainer import perturbed

CURVATURE = torch.diag(torch.tensor([1.0, 4.0, 9.0]))


def quadratic(w: Any) -> Any:
    return 0.5 * w @ CURVATURE @ w


def parameter(*values: float) -> Any:
    return torch.nn.Parameter(torch.tensor(values))


def perturbed_gradient(w: Any, rho: float, adaptive: bool) -> Any:
    quadratic(w).backward()
    with perturbed([w], rho, adaptive=adaptive):
        w.grad = None
        quadratic(w).backward()
    return w.grad


def test_sam_on_a_quadratic() -> None:
    w = parameter(1.0, -2.0, 0.5)
    g = CURVATURE @ w.detach()
    expected = CURVATURE @ (w.detach() + 0.05 * g / g.norm())
    torch.testing.assert_close(perturbed_gradient(w, 0.05, adaptive=False), expected)


def test_adaptive_sam_on_a_quadratic() -> None:
    w = parameter(1.0, -2.0, 0.0)
    g, t = CURVATURE @ w.detach(), w.detach().abs() + 0.01
    expected = CURVATURE @ (w.detach() + 0.5 * t**2 * g / (t * g).norm())
    torch.testing.assert_close(perturbed_gradient(w, 0.5, adaptive=True), expected)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_norm_is_over_all_parameters_and_those_without_gradient_stay(adaptive: bool) -> None:
    a, b, frozen = parameter(3.0), parameter(4.0), parameter(5.0)
    (0.5 * (a**2 + b**2)).sum().backward()
    with perturbed([a, b, frozen], 1.0, adaptive=adaptive):
        moved = torch.cat([a, b]).detach() - torch.tensor([3.0, 4.0])
        assert frozen.item() == 5
    t = torch.tensor([3.01, 4.01]) if adaptive else torch.ones(2)
    g = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(moved, t**2 * g / (t * g).norm())


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_scale_of_the_gradients_cancels_out(adaptive: bool) -> None:
    plain, scaled = parameter(1.0, -2.0, 0.5), parameter(1.0, -2.0, 0.5)
    quadratic(plain).backward()
    (65536 * quadratic(scaled)).backward()
    with perturbed([plain], 0.1, adaptive=adaptive), perturbed([scaled], 0.1, adaptive=adaptive):
        torch.testing.assert_close(plain, scaled)


def test_the_weights_come_back_to_the_bit_also_after_an_error() -> None:
    torch.manual_seed(0)
    w = torch.nn.Parameter(torch.randn(1000) * 1e3)
    before = w.detach().clone()
    w.grad = torch.randn(1000)

    def fail() -> None:
        with perturbed([w], 0.05, adaptive=False):
            assert not torch.equal(w, before)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(w, before)


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_a_gradient_that_points_nowhere_moves_nothing(value: float) -> None:
    w = parameter(1.0, 2.0)
    w.grad = torch.tensor([value, 0.0])
    with perturbed([w], 0.05, adaptive=False):
        assert w.tolist() == [1, 2]
        assert torch.is_grad_enabled()
