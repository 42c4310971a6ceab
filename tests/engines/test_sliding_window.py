"""Windows of a volume: MONAI's result, in the memory that is free."""

from __future__ import annotations

import logging
import weakref
from copy import deepcopy

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from monai.data import MetaTensor
from monai.data.utils import dense_patch_slices
from monai.inferers import sliding_window_inference
from monai.networks.nets import AttentionUnet as MonaiAttentionUnet
from torch import nn

from pipeline.engines import sliding_window
from pipeline.engines.sliding_window import SlidingWindow, fit_window
from pipeline.errors import InputError
from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.folding import fold_batch_norms
from pipeline.networks.unet_plus_plus import UnetPlusPlus


def unet(dims: int) -> nn.Module:
    """A small network with statistics of its own, as after a training."""
    torch.manual_seed(0)
    network = AttentionUnet(
        dims, 1, 2, channels=(4, 8), strides=(2,), gate_transform=True, deep_supervision=True
    )
    return with_statistics(network)


def with_statistics(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return network.eval()


NETWORKS = {dims: unet(dims) for dims in (2, 3)}


class Counting(nn.Module):
    """Neighbours of a voxel are told apart; counts the windows that came."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)
        self.most, self.windows = most, 0
        self.failed: list[weakref.ref] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.most is not None and x.numel() > self.most:
            self.failed.append(weakref.ref(x))
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            except torch.OutOfMemoryError as error:  # as MONAI does for its Gaussian map
                raise RuntimeError("patch size (8, 8, 8)") from error
        self.windows += len(x)
        return self.conv(x)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.one_of(st.lists(st.integers(3, 22), min_size=n, max_size=n) for n in (2, 3)),
    roi=st.lists(st.integers(4, 16), min_size=3, max_size=3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    air=st.booleans(),
)
def test_the_logits_are_those_of_monai(shape, roi, overlap, air):
    network, roi = NETWORKS[len(shape)], roi[: len(shape)]
    image = torch.rand(2, 1, *shape)
    if air:
        image[:, :, shape[0] // 3 :] = 0
    with torch.no_grad():
        expected = sliding_window_inference(image, roi, 3, network, overlap, mode="gaussian")
        result = SlidingWindow(roi_size=roi, overlap=overlap)(MetaTensor(image), network)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


@given(length=st.integers(1, 700), overlap=st.floats(0, 0.9), stretch=st.floats(0, 1))
def test_a_stretched_window_saves_voxels(length, overlap, stretch):
    def computed(window):
        starts = dense_patch_slices(
            (max(length, window),), (window,), (int(window * (1 - overlap)),)
        )
        return len(starts) * window

    window = fit_window(96, length, overlap, stretch)
    assert 96 <= window <= 96 * (1 + stretch)
    assert computed(window) <= computed(96)


@torch.no_grad()
def test_the_logits_are_those_of_monai_with_a_stretched_window():
    network, image = NETWORKS[3], torch.rand(1, 1, 32, 30, 29)
    assert [fit_window(16, n, 0.25, 1.0) for n in image.shape[2:]] == [32, 32, 32]
    expected = sliding_window_inference(image, (32, 32, 32), 2, network, 0.25, mode="gaussian")
    result = SlidingWindow(roi_size=16, overlap=0.25, stretch=1.0)(image, network)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


def test_mirrored_logits_turn_with_the_image():
    network, image = NETWORKS[3], torch.rand(1, 1, 12, 10, 8)
    infer = SlidingWindow(roi_size=(8, 8, 8), overlap=0.5, mirror=True)
    with torch.no_grad():
        plain, turned = infer(image, network), infer(image.flip(2, 4), network)
        one_window = SlidingWindow(roi_size=-1, mirror=True)(image, network)
        flips = [(), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)]
        mean = sum(network(image.flip(axes)).flip(axes).sigmoid() for axes in flips) / 8
    torch.testing.assert_close(turned.flip(2, 4), plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one_window.sigmoid(), mean, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain, network(image), atol=1e-2)


@torch.no_grad()
def test_air_is_computed_once():
    network, image = Counting(), torch.zeros(1, 1, 8, 8, 64)
    image[..., :8] = torch.rand(8)
    infer = SlidingWindow(roi_size=(8, 8, 8), overlap=0.0)
    result = infer(image, network)
    assert network.windows == 1 + 2  # the probe of the memory; one with an image, one of air
    expected = sliding_window_inference(image, (8, 8, 8), 1, network, 0.0, mode="gaussian")
    torch.testing.assert_close(result, expected)


@torch.no_grad()
def test_windows_shrink_to_the_free_memory_and_a_line_says_so(monkeypatch, caplog):
    network, image = NETWORKS[3], torch.rand(1, 1, 70, 64, 40)
    infer = SlidingWindow(roi_size=(64, 64, 32), overlap=0.25)
    whole = infer(image, network)
    # What the sum takes, and a third of what a window does.
    window = 12 * 4 * 4 * 64 * 64 * 32
    monkeypatch.setattr(
        sliding_window, "free_memory", lambda _: (4 * 3 * image.numel() + window / 3) / 0.8
    )
    caplog.clear()
    small = infer(image, network)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "32 x 32 x 32" in caplog.text
    assert small.shape == whole.shape
    monkeypatch.setattr(sliding_window, "free_memory", lambda _: 1e6)
    with pytest.raises(InputError, match="spacing"):
        infer(image, network)


@torch.no_grad()
def test_a_full_device_gets_fewer_windows_at_a_time(monkeypatch, caplog):
    """As a GPU that others fill up meanwhile; what failed is gone before its memory is freed."""
    image, network = torch.rand(1, 1, 16, 16, 16), Counting(most=8**3)
    tiling = sliding_window.Tiling((8, 8, 8), 8, torch.device("cpu"))
    infer, alive = SlidingWindow(roi_size=(8, 8, 8), overlap=0.0), []
    monkeypatch.setattr(infer, "_choose_tiling", lambda *_: tiling)
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: alive.extend(each() for each in network.failed)
    )
    result = infer(image, network)
    assert len(caplog.records) == 3  # 4, 2 and 1 at a time
    assert alive == [None] * 6
    expected = sliding_window_inference(image, (8, 8, 8), 1, network, 0.0, mode="gaussian")
    torch.testing.assert_close(result, expected)
    with pytest.raises(InputError, match=r'8 x 8 x 8.*device "cpu"'):
        infer(image, Counting(most=8))


@pytest.mark.parametrize(("voxels", "batch", "roi"), [(8, 8, 64), (7, 4, 64), (0.5, 1, 32)])
def test_a_batch_of_windows_stays_below_what_a_gpu_can_index(voxels, batch, roi, monkeypatch):
    """Its largest tensor is the skip (4 channels) with what comes from below (8)."""
    network = deepcopy(NETWORKS[3]).to("meta")
    image = torch.empty(1, 1, 128, 128, 128, device="meta")
    monkeypatch.setattr(sliding_window, "free_memory", lambda _: 1e12)
    monkeypatch.setattr(sliding_window, "_VALUES", 12 * voxels * 64**3)
    tiling = SlidingWindow(roi_size=64)._choose_tiling(
        image, lambda windows, network=network: network(windows), network
    )
    assert tiling == sliding_window.Tiling((roi,) * 3, batch, image.device)


def test_impossible_windows_are_refused():
    with pytest.raises(ValueError, match=r"overlap is 1.*0\.25"):
        SlidingWindow(roi_size=(8, 8, 8), overlap=1)
    with pytest.raises(ValueError, match=r"stretch is -1.*0\.5"):
        SlidingWindow(roi_size=(8, 8, 8), stretch=-1)


@pytest.mark.parametrize(
    "network",
    [
        unet(2),
        unet(3),
        with_statistics(UnetPlusPlus(2, 1, 2, features=(4, 4, 4, 4, 4, 4))),
        with_statistics(MonaiAttentionUnet(2, 1, 2, (4, 8), (2,))),
    ],
    ids=lambda network: type(network).__name__,
)
def test_folding_changes_nothing_but_the_work(network):
    dims = 3 if any(isinstance(m, nn.Conv3d) for m in network.modules()) else 2
    image = torch.rand(1, 1, *[32] * dims)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    quick = fold_batch_norms(network)
    with torch.no_grad():
        torch.testing.assert_close(quick(image), network(image), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    norms = [m for m in quick.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert (not norms) == isinstance(network, AttentionUnet)
    assert (quick is network) == bool(norms)
    compiled = torch.compile(network)
    assert fold_batch_norms(compiled) is compiled
