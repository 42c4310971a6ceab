"""The edge of the field is where it was drawn, for image and label alike."""

from __future__ import annotations

import pytest
import torch

from pipeline.transforms.field import RandFieldBatchd


def batch(count: int, size: tuple[int, int], *, empty: bool = False) -> dict[str, torch.Tensor]:
    label = torch.zeros(count, 2, *size)
    if not empty:
        label[:, :, 20:25, 30:35] = 1
    return {"image": torch.ones(count, 3, *size), "label": label}


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (80, 64)])
def test_the_edge_is_at_its_distance_from_the_region(size):
    torch.manual_seed(0)
    cases = batch(50, size)
    cut = RandFieldBatchd(prob=1.0, radius=(3.0, 3.0), distance=(0.5, 0.5))(cases)
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in size), indexing="ij")
    apart = ((rows - 22.5) ** 2 + (columns - 32.5) ** 2).sqrt()
    for image in cut["image"]:
        assert apart[image[0] < 0.5].min() == pytest.approx(16, abs=1.5)  # half of 32 px
    assert torch.equal(cut["label"], cases["label"])


def test_what_is_outside_is_black_in_image_and_label():
    torch.manual_seed(0)
    cut = RandFieldBatchd(prob=1.0, radius=(0.7, 0.7), distance=(0.0, 0.0))(batch(20, (64, 64)))
    assert cut["image"].mean() == pytest.approx(torch.pi * 0.7**2 / 4, rel=0.4)
    assert (cut["label"].sum(dim=(2, 3)) < 25).all()
    marked = cut["label"][:, :1].nonzero(as_tuple=True)
    assert torch.equal(cut["label"][:, :1][marked], cut["image"][:, :1][marked])


def test_a_case_that_is_not_drawn_stays_and_one_without_a_region_is_cut():
    torch.manual_seed(0)
    cases = batch(40, (32, 48), empty=True)
    assert torch.equal(RandFieldBatchd(prob=0.0)(cases)["image"], cases["image"])
    cut = RandFieldBatchd(prob=0.5)(cases)["image"].flatten(1).amin(dim=1)
    assert 5 < (cut < 1).sum() < 35
    assert torch.isfinite(cut).all()
