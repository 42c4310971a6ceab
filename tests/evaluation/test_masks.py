"""Index masks keep the regions on their grid, and refuse what they cannot represent."""

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UnfitFile
from pipeline.evaluation.masks import read_regions, write_mask
from pipeline.transforms.regions import Regions

NESTED, DISJOINT = Regions({"rim": [1, 2], "cup": [2]}), Regions({"liver": [3], "kidney": [7]})


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 4)], ids=["image", "volume"])
def test_a_file_keeps_grid_and_place(shape, tmp_path):
    masks = np.zeros((2, *shape), dtype=bool)
    masks[0, 1:6, 2:4], masks[1, 3:5, 2:3] = True, True
    affine = np.diag([0.8, 0.9, 2.5, 1.0]) + np.eye(4, k=3) * 7
    path = write_mask(tmp_path / "new" / "eye.1", masks, NESTED, affine=affine)
    again, found = read_regions(path, NESTED)
    assert np.array_equal(again, masks)
    if len(shape) == 3:
        assert path.name == "eye.1.nii.gz"
        assert np.allclose(found, affine)
    else:  # 7 px wide, 5 px high, as every other program sees it
        assert path.name == "eye.1.png"
        assert Image.open(path).size == (7, 5)


def test_a_label_is_read_as_it_is_trained_whatever_its_format(tmp_path):
    index = np.array([[0, 1, 2, 0], [1, 1, 2, 2], [0, 0, 0, 1]], np.uint8)  # (H, W)
    Image.fromarray(index).save(tmp_path / "a.tif")
    Image.fromarray(index).save(tmp_path / "a.bmp")
    Image.fromarray(index.astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([index, index * 0 + 255])).save(tmp_path / "la.png")
    palette = Image.fromarray(index)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "p.png", transparency=0)
    for path in tmp_path.iterdir():
        masks, _ = read_regions(path, NESTED)
        assert np.array_equal(masks, [(index > 0).T, (index == 2).T]), path
    Image.fromarray(np.stack([index] * 3, axis=-1)).save(tmp_path / "rgb.png")
    with pytest.raises(UnfitFile):
        read_regions(tmp_path / "rgb.png", NESTED)


@pytest.mark.parametrize("regions", [NESTED, DISJOINT])
def test_what_no_value_stands_for_is_refused(regions, tmp_path):
    masks = np.zeros((2, 4, 4), dtype=bool)
    masks[1, 0, 0] = True  # a cup without a disc
    masks[:, 1, 1] = regions is DISJOINT
    with pytest.raises(ValueError, match=r"\[\["):
        write_mask(tmp_path / "mask", masks, regions, affine=np.eye(4))
    assert not list(tmp_path.iterdir())
