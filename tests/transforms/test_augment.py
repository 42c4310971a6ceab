"""Batch augmentation: image and label stay together, and each change is what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pipeline.transforms import augment
from pipeline.transforms.augment import (
    RandAffineBatchd,
    RandBlurBatchd,
    RandColourBatchd,
    RandIlluminationBatchd,
)

STILL = {"prob": 0.0, "flip": (0.0, 0.0), "shift": 0.0, "focus": 0.0}
INTENSITY = [RandColourBatchd, RandIlluminationBatchd, RandBlurBatchd]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def largest(monkeypatch) -> None:
    """Every draw takes the upper end of its range."""
    monkeypatch.setattr(augment, "uniform", lambda low, high, *size: torch.full(size, float(high)))


def photographs(count: int = 4, size: tuple[int, int] = (48, 64)) -> dict[str, torch.Tensor]:
    """Random images (B, 3, X, Y) in [0, 1] with labels (B, 2, X, Y)."""
    label = torch.zeros(count, 2, *size)
    label[:, 0, 10:30, 20:45], label[:, 1, 15:25, 25:35] = 1, 1
    return {"image": torch.rand(count, 3, *size), "label": label}


def ramps(size: tuple[int, int]) -> torch.Tensor:
    """An image (1, 2, X, Y) of each pixel's own indices, exact under bilinear interpolation."""
    return torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij"))[None].float()


def test_image_and_label_move_together():
    image = torch.rand(8, 1, 12, 16)
    image = torch.nn.functional.interpolate(image, size=(96, 128), mode="bicubic")
    label = (image > 0.5).float()
    moved = RandAffineBatchd(patch_size=(64, 48), focus=0.5)({"image": image, "label": label})
    image, label = moved["image"], moved["label"]
    assert image.shape == label.shape == (8, 1, 64, 48)
    # Bilinear edges and the zeros from outside leave a thin seam of disagreement.
    clear = ((image - 0.5).abs() > 0.1) & (label.sub(0.5).abs() > 0.4)
    assert clear.float().mean() > 0.5
    assert torch.equal((image > 0.5)[clear], (label > 0.5)[clear])


def test_nothing_drawn_changes_nothing():
    batch = photographs()
    same = RandAffineBatchd(**STILL)(batch)
    for key in batch:
        torch.testing.assert_close(same[key], batch[key], atol=1e-4, rtol=0)


@pytest.mark.parametrize("focus", [0.0, 1.0])
def test_a_patch_is_a_crop_at_the_images_own_resolution(focus):
    image = ramps((60, 90)).expand(50, -1, -1, -1)
    label = torch.zeros(50, 1, 60, 90)
    label[:, :, 20:30, 60:70] = 1
    cut = RandAffineBatchd(patch_size=(32, 48), **STILL | {"focus": focus})
    patch = cut({"image": image, "label": label})["image"]
    corner = patch[:, :, :1, :1]
    torch.testing.assert_close(patch - corner, ramps((32, 48)).expand_as(patch), atol=1e-3, rtol=0)
    assert (corner >= -1e-3).all()
    assert (patch[:, 0, -1, -1] < 59.001).all()
    assert (patch[:, 1, -1, -1] < 89.001).all()
    assert corner.flatten(1).unique(dim=0).shape[0] == 50


@pytest.mark.parametrize(("flip", "dim"), [((1.0, 0.0), 2), ((0.0, 1.0), 3)])
def test_a_flip_is_torchs_flip(flip, dim):
    batch = photographs()
    flipped = RandAffineBatchd(**STILL | {"flip": flip})(batch)
    for key in batch:
        torch.testing.assert_close(flipped[key], batch[key].flip(dim), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (24, 16)])
def test_a_quarter_turn_is_torchs_rot90(largest, size):
    turn = RandAffineBatchd(**STILL | {"prob": 1.0}, rotate=90.0, scale=(1.0, 1.0), stretch=1.0)
    image = torch.rand(2, 3, *size)
    turned = turn({"image": image, "label": image[:, :1]})["image"]
    x, y = ((length - 16) // 2 for length in size)
    middle = np.s_[:, :, x : x + 16, y : y + 16]
    quarter_turns = [torch.rot90(image[middle], k, dims=(2, 3)) for k in (-1, 1)]
    assert any(torch.allclose(turned[middle], each, atol=1e-4) for each in quarter_turns)


def test_zoom_and_stretch_are_ratios_of_lengths(largest):
    """An area grows by the square of the zoom, and the stretch leaves it alone."""
    label = torch.zeros(1, 1, 200, 160)
    label[:, :, 70:130, 50:110] = 1
    grow = RandAffineBatchd(**STILL | {"prob": 1.0}, rotate=0.0, scale=(1.0, 1.5), stretch=1.21)
    grown = grow({"image": label, "label": label})["label"]
    assert grown.sum() == pytest.approx(60 * 60 * 1.5**2, rel=0.02)
    sides = [grown.amax(dim=(0, 1, other)).sum() for other in (2, 3)]
    assert max(sides) / min(sides) == pytest.approx(1.21, rel=0.03)


@pytest.mark.parametrize("patch", [(256, 256), (96, 96), (64, 128)])
def test_focus_holds_the_middle_of_the_label_inside(patch):
    count, size = 200, (384, 320)
    label = torch.zeros(count, 1, *size)
    for case, x, y in zip(
        range(count),
        torch.randint(60, 324, (count,)),
        torch.randint(60, 260, (count,)),
        strict=True,
    ):
        label[case, 0, x - 2 : x + 3, y - 2 : y + 3] = 1
    moved = RandAffineBatchd(patch_size=patch, focus=1.0, shift=0.05)(
        {"image": label, "label": label}
    )
    assert (moved["label"].sum(dim=(1, 2, 3)) > 4).all()


def test_focus_does_not_follow_what_is_ignored():
    label = torch.zeros(50, 2, 128, 128)
    label[:, 0, 20:24, 20:24] = 1
    label[:, 1, 64:] = 1
    cut = RandAffineBatchd(patch_size=(32, 32), regions=1, focus=1.0, shift=0.0, prob=0.0)
    moved = cut({"image": label, "label": label})["label"]
    assert moved[:, 0].flatten(1).any(dim=1).all()


def test_a_label_without_the_region_is_no_obstacle():
    batch = photographs()
    batch["label"][1:] = 0
    moved = RandAffineBatchd(patch_size=(32, 32), focus=1.0)(batch)
    assert moved["label"][0].any()
    assert not moved["label"][1:].any()
    assert all(value.isfinite().all() for value in moved.values())


def test_torchs_seed_alone_decides():
    steps = [RandAffineBatchd(), *(kind(["image"], prob=0.7) for kind in INTENSITY)]

    def run(torch_seed: int, numpy_seed: int) -> torch.Tensor:
        torch.manual_seed(torch_seed)
        np.random.seed(numpy_seed)
        batch = first
        for step in steps:
            batch = step(batch)
        return batch["image"]

    first = photographs()
    assert torch.equal(run(1, 1), run(1, 2))
    assert not torch.equal(run(1, 1), run(2, 1))


@pytest.mark.parametrize("kind", INTENSITY)
def test_intensities_change_and_nothing_else(kind):
    batch = photographs()
    image, label = batch["image"].clone(), batch["label"].clone()
    image[0] = 0  # a black photograph
    batch["image"] = image.clone()
    out = kind(["image"], prob=1.0)(batch)
    assert out["label"] is batch["label"]
    assert torch.equal(batch["label"], label)
    assert torch.equal(batch["image"], image), "the cached photograph itself was changed"
    assert (out["image"].shape, out["image"].dtype) == (image.shape, image.dtype)
    assert out["image"].isfinite().all()
    assert all(not torch.allclose(out["image"][case], image[case]) for case in (1, 2, 3))
    untouched = kind(["image"], prob=0.0)(batch)["image"]
    torch.testing.assert_close(untouched, image, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "sigma"), [((40, 52), 1.7), ((12, 14, 10), 0.7)])
def test_blur_is_the_gaussian_filter(size, sigma):
    image = torch.rand(2, 3, *size)
    blurred = RandBlurBatchd(["image"], prob=1.0, sigma=(sigma, sigma))({"image": image})["image"]
    how = {"sigma": sigma, "mode": "nearest", "radius": math.ceil(3 * sigma)}
    expected = gaussian_filter(image.double().numpy(), axes=range(2, image.ndim), **how)
    np.testing.assert_allclose(blurred, expected, atol=1e-5)


def test_illumination_is_a_smooth_factor_for_all_colours():
    image = torch.full((3, 3, 64, 64), 0.5)
    lit = RandIlluminationBatchd(["image"], prob=1.0, strength=0.3)({"image": image})["image"]
    factor = (lit / image).log()
    torch.testing.assert_close(factor[:, :1].expand_as(factor), factor)
    assert factor.abs().max() < 0.3 * 1.5  # a bicubic surface may overshoot its nodes
    assert factor.diff(dim=2).abs().max() < 0.1
