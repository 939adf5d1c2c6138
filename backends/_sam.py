"""Sharpness-aware minimization: the gradient is taken where the loss is highest nearby.

SAM: Foret et al. 2020, arXiv:2010.01412: e = rho g / |g|. Adaptive SAM: Kwon et al. 2021, "ASAM: Adaptive
Sharpness-Aware Minimization", arXiv:2102.11600: e = rho T^2 g / |T g| with T = |w| + 0.01, element by element.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

ETA = 0.01
"""Kwon et al. add it to |w|, so that a weight of zero can be moved too."""


@contextmanager
def perturbed(parameters: Sequence[Any], rho: float, *, adaptive: bool) -> Iterator[None]:
    """Within: the parameters are moved by e, computed from the gradients they have on entry. After: exactly what they were.

    A factor on all gradients (loss scaling, say) cancels out. Gradients that are zero or not finite move nothing.
    """
    import torch

    moved = [parameter for parameter in parameters if parameter.grad is not None]
    # A copy: subtracting e again would round differently.
    before = [parameter.detach().clone() for parameter in moved]
    _move(moved, rho, adaptive)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(moved, before, strict=True):
                parameter.copy_(value)


def _move(parameters: Sequence[Any], rho: float, adaptive: bool) -> None:
    import torch

    with torch.no_grad():
        scales = [parameter.abs() + ETA if adaptive else torch.ones_like(parameter) for parameter in parameters]
        norms = [torch.linalg.vector_norm(p.grad * scale) for p, scale in zip(parameters, scales, strict=True)]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        if not torch.isfinite(norm) or norm == 0:
            return
        for parameter, scale in zip(parameters, scales, strict=True):
            parameter.addcmul_(parameter.grad / norm, scale.square(), value=rho)
