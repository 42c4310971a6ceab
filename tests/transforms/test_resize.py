"""A picture is shrunk as torch does it, in any size and layout, and its mask comes back."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Resized, SpatialPadd
from torch.nn.functional import interpolate

from pipeline.transforms import MarkRegionsd, ResizePictured, RestoreGridd

REGIONS = {"outer": [1, 2], "inner": [2]}


@pytest.mark.parametrize(
    "shape", [(700, 530), (40, 30), (900, 2)], ids=["smaller", "larger", "a line"]
)
def test_the_picture_is_what_torch_makes_of_it(shape):
    rows = torch.randint(0, 256, (*shape[::-1], 3), dtype=torch.uint8)
    image = MetaTensor(rows.permute(2, 1, 0))
    small = ResizePictured("image", 100)({"image": image})["image"]
    how = {"mode": "bilinear", "antialias": True}
    expected = interpolate(image.as_tensor().float()[None], (100, small.shape[2]), **how)[0]
    assert small.shape[1] == 100
    assert small.shape[2] == max(2, round(shape[1] * 100 / shape[0]))
    torch.testing.assert_close(small.as_tensor(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("resize", [ResizePictured, Resized])
def test_masks_come_back_as_monai_brings_them(resize):
    how = {"size_mode": "longest", "mode": "bilinear"} if resize is Resized else {}
    steps = Compose([resize("image", 32, **how), SpatialPadd("image", (32, 32))])
    data = steps({"image": MetaTensor(torch.rand(3, 211, 147))})
    smooth = torch.randn(1, 2, 8, 8, generator=torch.manual_seed(0))
    data["pred"] = MetaTensor(interpolate(smooth, (32, 32), mode="bicubic")[0])
    expected = Invertd("pred", steps, "image", nearest_interp=False)(data)["pred"]
    clear = (expected.abs() > 1e-3).all(dim=0)  # of rounding
    marked = MarkRegionsd("pred", REGIONS, 0.0)({"pred": expected})["pred"]
    found = RestoreGridd("pred", REGIONS)(data)["pred"]
    assert found.shape == (2, 211, 147)
    assert clear.float().mean() > 0.9
    assert 0.1 < found.float().mean() < 0.9
    assert torch.equal(found.as_tensor()[:, clear], marked.as_tensor()[:, clear].to(torch.uint8))
    assert torch.equal(found.affine, torch.eye(4, dtype=torch.float64))
