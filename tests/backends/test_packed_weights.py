"""Packed weights of linear layers: the same outputs, and the same weights in `state_dict`."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from backends._packed_weights import can_pack, pack  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_layers_compute_the_same(dtype: Any) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(24, 40), torch.nn.GELU(), torch.nn.Linear(40, 3, bias=False)).to(dtype)
    packed = copy.deepcopy(plain)
    pack(torch, packed)
    assert all("forward" in layer.__dict__ for layer in packed if isinstance(layer, torch.nn.Linear)) == can_pack(torch)
    x = torch.randn(2, 700, 24).to(dtype)  # more rows than the order is chosen for
    with torch.inference_mode():
        for given in (x, x[:, 0], x[:1, :3]):
            torch.testing.assert_close(packed(given), plain(given))
    assert all(torch.equal(one, plain.state_dict()[name]) for name, one in packed.state_dict().items())


def test_without_the_kernels_a_model_stays_as_it_is() -> None:
    layer = torch.nn.Linear(4, 4)
    without = SimpleNamespace(
        **{name: getattr(torch, name) for name in ("ones", "full", "nn", "float32", "bfloat16")},
        backends=torch.backends,
        ops=SimpleNamespace(mkldnn=SimpleNamespace()),
    )
    assert not can_pack(without)
    pack(without, layer)
    assert "forward" not in layer.__dict__
