"""Rotation and zoom of volumes: as a body moves, in mm, whatever the voxels are."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pipeline.transforms import volume
from pipeline.transforms.augment import RandColourBatchd
from pipeline.transforms.volume import RandAffineVolumeBatchd

SPACING = (1.0, 1.5, 2.5)
SIZE = (60, 48, 32)
STILL = {"patch_size": SIZE, "spacing": SPACING, "prob": 0.0}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def blob(*offset: float) -> torch.Tensor:
    """A Gaussian (1, 1, *SIZE) that lies ``offset`` mm from the middle."""
    axes = [(torch.arange(n) - (n - 1) / 2) * s for n, s in zip(SIZE, SPACING, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    away = points - torch.tensor(offset).view(3, 1, 1, 1)
    return torch.exp(-(away**2).sum(0) / (2 * 4.0**2))[None, None]


def middle(image: torch.Tensor) -> np.ndarray:
    """Offset of the centre of mass from the middle of the volume, in mm."""
    weights = image[0, 0].double().numpy()
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(weights.shape, SPACING, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    return (grid * weights).sum(axis=(1, 2, 3)) / weights.sum()


def test_nothing_drawn_changes_nothing():
    batch = {"image": torch.rand(2, 1, *SIZE), "label": torch.rand(2, 2, *SIZE)}
    same = RandAffineVolumeBatchd(**STILL)(batch)
    for key in batch:
        torch.testing.assert_close(same[key], batch[key], atol=1e-5, rtol=0)


def test_a_body_turns_and_grows_in_mm(monkeypatch):
    """By scipy's rotation: the patch shows at p what was at R p / zoom."""
    where = (8.0, -6.0, 9.0)
    largest = {"prob": 1.0, "rotate": 25.0, "scale": (1.2, 1.2)}
    monkeypatch.setattr(volume, "uniform", lambda low, high, *size: torch.full(size, float(high)))
    moved = RandAffineVolumeBatchd(**STILL | largest)(
        {"image": blob(*where), "label": blob(0, 0, 0)}
    )
    turn = Rotation.from_euler("xyz", [25, -25, 25], degrees=True)  # y runs from z to x
    expected = 1.2 * turn.inv().apply(where)
    np.testing.assert_allclose(middle(moved["image"]), expected, atol=0.1)
    np.testing.assert_allclose(middle(moved["label"]), 0, atol=0.05)


def test_a_patch_lies_anywhere_within_the_margin():
    """An image of each voxel's own index tells where the patch came from."""
    grid = torch.stack(torch.meshgrid(*(torch.arange(24.0),) * 3, indexing="ij"))
    batch = {"image": grid.expand(200, -1, -1, -1, -1), "label": torch.zeros(200, 1, 24, 24, 24)}
    cut = RandAffineVolumeBatchd(patch_size=(16, 16, 24), prob=0.0)(batch)["image"]
    assert cut.shape == (200, 3, 16, 16, 24)
    starts = cut[:, :, 0, 0, 0]
    assert -1e-3 <= starts[:, :2].min() < 0.5
    assert 7.5 < starts[:, :2].max() <= 8 + 1e-3
    steps = cut[:, 0, 1:] - cut[:, 0, :-1]
    torch.testing.assert_close(steps, torch.ones_like(steps), atol=1e-3, rtol=0)


def test_a_warp_moves_a_body_by_some_mm():
    """Everywhere by another distance, whose standard deviation is what was asked for."""
    grid = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in SIZE), indexing="ij"))
    batch = {"image": grid.expand(60, -1, -1, -1, -1), "label": torch.zeros(60, 1, *SIZE)}
    still = {"prob": 1.0, "rotate": 0.0, "scale": (1.0, 1.0)}
    warped = RandAffineVolumeBatchd(**STILL | still, warp=3.0)(batch)["image"]
    inner = (slice(None), slice(None), *(slice(n // 4, -(n // 4)) for n in SIZE))
    moved = (warped - batch["image"])[inner] * torch.tensor(SPACING).view(3, 1, 1, 1)
    knot = moved[:, :, moved.shape[2] // 2, moved.shape[3] // 2, moved.shape[4] // 2]
    assert knot.std(dim=0).numpy() == pytest.approx([3.0] * 3, rel=0.35)
    assert (moved[:, :, 1:] - moved[:, :, :-1]).abs().max() < 2.0  # smooth


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_is_torchs_flip(axis):
    flip = [float(each == axis) for each in range(3)]
    image = torch.rand(1, 1, *SIZE)
    flipped = RandAffineVolumeBatchd(**STILL, flip=flip)({"image": image, "label": image})["image"]
    torch.testing.assert_close(flipped, image.flip(2 + axis), atol=1e-5, rtol=0)


def test_intensities_of_volumes():
    image = torch.rand(2, 1, 12, 14, 10)
    changed = RandColourBatchd(["image"], prob=1.0, balance=0.0)({"image": image})["image"]
    assert changed.shape == image.shape
    assert not torch.allclose(changed, image)
