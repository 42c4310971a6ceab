"""Mixed precision around a network, float32 outside of it."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from pipeline.engines import AutocastInferer, inferer


class Recorder(torch.nn.Module):
    """A convolution that remembers what came in and the type it computed in."""

    def __init__(self, heads: int = 0) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3, padding=1)
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        out = self.conv(x)
        self.came, self.dtype = type(x), out.dtype
        return [out] * self.heads if self.heads else out


@pytest.fixture(autouse=True)
def capable(monkeypatch) -> None:
    monkeypatch.setattr(inferer, "has_bfloat16", lambda device_type: True)


@pytest.mark.parametrize("heads", [0, 3])
def test_autocast_is_on_inside_and_the_output_is_float32(heads):
    network = Recorder(heads)
    image = MetaTensor(torch.rand(1, 1, 8, 8))
    out = AutocastInferer()(image, network)
    assert network.dtype == torch.bfloat16
    assert network.came is torch.Tensor
    assert isinstance(out, list) == (heads > 0)
    outputs = out if heads else [out]
    assert len(outputs) == max(heads, 1)
    exact = network.conv(image.as_tensor())
    for each in outputs:
        assert each.dtype == torch.float32
        torch.testing.assert_close(each, exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(("amp", "bfloat16"), [(False, True), (True, False)])
def test_it_is_off_by_choice_and_where_it_would_be_slow(monkeypatch, amp, bfloat16):
    monkeypatch.setattr(inferer, "has_bfloat16", lambda device_type: bfloat16)
    network = Recorder()
    out = AutocastInferer(amp=amp)(torch.rand(1, 1, 8, 8), network)
    assert network.dtype == out.dtype == torch.float32
