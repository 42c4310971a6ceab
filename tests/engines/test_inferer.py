"""Mixed precision around a network, float32 outside of it."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor

from pipeline.engines import inferer
from pipeline.engines.inferer import AutocastInferer
from pipeline.networks.attention_unet import AttentionUnet


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


def gradients(network, image, amp):
    network.zero_grad()
    AutocastInferer(amp=amp)(image, network).square().mean().backward()
    return torch.cat([each.grad.flatten() for each in network.parameters()])


@pytest.mark.parametrize(("size", "thin"), [(8, True), (12, False), (16, False)])
def test_gradients_of_small_volumes_are_right(size, thin, caplog):
    """At 8 voxels the third level has 2, where bfloat16 on a CPU reads what is not there."""
    torch.manual_seed(0)
    network = AttentionUnet(3, 1, 1, channels=(4, 8, 16), strides=(2, 2)).train()
    network.encoder[0].eval()  # as someone may have it
    before = [(module, module.training) for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    image = torch.rand(2, 1, size, size, size)
    assert inferer.has_thin_convolution(network, image[:1]) == thin
    assert all(module.training == training for module, training in before)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    exact = gradients(network, image, amp=False)
    for _ in range(10):
        junk = [torch.full((length,), math.nan) for length in (100, 1000, 10_000, 100_000)]
        del junk  # so that memory which nobody wrote is not 0 by chance
        found = gradients(network, image, amp=True)
        assert (found - exact).norm() < 0.3 * exact.norm()  # bfloat16 alone: up to 0.15
    network.eval()
    with torch.no_grad():
        AutocastInferer()(image, network)
    assert not caplog.records or thin


@pytest.mark.parametrize(
    ("flip", "flips"),
    [
        ([0.5, 0.5], [(), (2,), (3,), (2, 3)]),
        ([0.0, 0.1], [(), (3,)]),
        (0.5, [(), (2,), (3,), (2, 3)]),
        (0.0, [()]),
    ],
)
@torch.no_grad()
def test_mirrored_probabilities_are_the_mean_over_the_flips_of_the_training(flip, flips):
    torch.manual_seed(0)
    network, image = torch.nn.Conv2d(3, 2, 3, padding=1), torch.randn(2, 3, 9, 12)
    found = AutocastInferer(amp=False, mirror=True, flip=flip)(image, network)
    mean = sum(network(image.flip(axes)).flip(axes).sigmoid() for axes in flips) / len(flips)
    torch.testing.assert_close(found.sigmoid(), mean)
    plain = AutocastInferer(amp=False, flip=flip)(image, network)
    assert torch.equal(plain, network(image))


@pytest.mark.parametrize(
    ("version", "right"),
    [(None, True), (90701, True), (91002, False), (91400, False), (91500, True)],
)
def test_volumes_stay_in_float32_where_cudnn_fails_at_bfloat16(version, right, monkeypatch, caplog):
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    inferer.has_right_volumes.cache_clear()
    assert inferer.has_right_volumes() is right
    assert len(caplog.records) == (not right)
    inferer.has_right_volumes.cache_clear()
