"""Index masks to regions and back: a round trip, nested whatever comes in, metadata kept."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Resized, SpatialPadd

from pipeline.transforms.regions import LabelToRegionsd, RegionsToLabeld

to_regions = LabelToRegionsd("label", [[1, 2], [2]])
to_label = RegionsToLabeld("label", [1, 2])

grids = st.one_of(hnp.array_shapes(min_dims=n, max_dims=n, max_side=7) for n in (2, 3))
masks = hnp.arrays(np.uint8, grids.map(lambda grid: (1, *grid)), elements=st.integers(0, 2))
logits = hnp.arrays(
    np.float32, grids.map(lambda grid: (2, *grid)), elements=st.floats(-3, 3, width=32)
)


@given(masks)
def test_a_mask_survives_the_way_to_regions_and_back(mask):
    regions = to_regions({"label": mask})["label"]
    assert regions.dtype == torch.float32
    np.testing.assert_array_equal(regions[0], mask[0] > 0)
    np.testing.assert_array_equal(regions[1], mask[0] == 2)
    label = to_label({"label": regions})["label"]
    assert label.dtype == torch.uint8
    np.testing.assert_array_equal(label, mask)


@given(logits)
def test_contradictory_regions_become_nested_ones(prediction):
    label = to_label({"label": torch.as_tensor(prediction)})["label"]
    disc, cup = to_regions({"label": label})["label"].bool()
    np.testing.assert_array_equal(disc, prediction[0] > 0)
    np.testing.assert_array_equal(cup, (prediction[0] > 0) & (prediction[1] > 0))


def test_a_prediction_goes_back_to_the_grid_of_its_file():
    mask = torch.zeros(1, 20, 30, dtype=torch.uint8)
    mask[:, 4:16, 6:24], mask[:, 8:12, 10:20] = 1, 2
    affine = torch.diag(torch.tensor([0.5, 0.7, 1.0, 1.0], dtype=torch.float64))
    label = MetaTensor(mask, affine=affine, meta={"filename_or_obj": "eye.png"})
    resize = Compose(
        [
            Resized("label", spatial_size=60, size_mode="longest", mode="nearest-exact"),
            SpatialPadd("label", spatial_size=(64, 64)),
        ]
    )
    there = Compose([resize, to_regions, to_label])({"label": label})
    assert there["label"].shape == (1, 64, 64)
    assert there["label"].meta["filename_or_obj"] == "eye.png"
    back = Invertd("label", transform=resize, orig_keys="label", nearest_interp=True)(there)
    assert torch.equal(back["label"].as_tensor(), mask)
    assert torch.allclose(back["label"].affine, affine)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (torch.full((1, 4, 4), 7.0), ["case_12.png", "7"]),
        (torch.zeros(3, 4, 4), ["case_12.png", "3 channels"]),
    ],
)
def test_a_mask_of_another_kind_is_named(label, words):
    named = MetaTensor(label, meta={"filename_or_obj": "case_12.png"})
    with pytest.raises(ValueError, match="pipeline data check") as error:
        to_regions({"label": named})
    assert all(word in str(error.value) for word in words)
