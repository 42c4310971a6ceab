"""Index masks keep the regions, and refuse regions that they cannot represent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from pipeline.evaluation.masks import from_index, read_mask, to_index, write_mask

NESTED, DISJOINT = [[1, 2], [2]], [[1], [2]]


GRIDS = array_shapes(min_dims=2, max_dims=3, max_side=5)


@given(
    index=arrays(np.uint8, GRIDS, elements=st.integers(0, 3)),
    values=st.sampled_from([[[1, 2, 3], [2, 3], [3]], [[1], [2], [3]], [[1, 2], [2], [3]]]),
)
def test_regions_of_a_label_come_back_as_that_label(index, values):
    assert np.array_equal(to_index(from_index(index, values), values), index)


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 4)], ids=["image", "volume"])
def test_a_file_keeps_grid_and_place(shape, tmp_path):
    masks = np.zeros((2, *shape), dtype=bool)
    masks[0, 1:6, 2:4], masks[1, 3:5, 2:3] = True, True
    affine = np.diag([0.8, 0.9, 2.5, 1.0]) + np.eye(4, k=3) * 7
    path = write_mask(tmp_path / "new" / "eye.1", masks, NESTED, affine=affine)
    again, found = read_mask(path, NESTED)
    assert np.array_equal(again, masks)
    if len(shape) == 3:
        assert path.name == "eye.1.nii.gz"
        assert np.allclose(found, affine)
    else:  # 7 px wide, 5 px high, as every other program sees it
        assert path.name == "eye.1.png"
        assert Image.open(path).size == (7, 5)


@pytest.mark.parametrize("values", [NESTED, DISJOINT])
def test_what_no_value_stands_for_is_refused(values):
    masks = np.zeros((2, 4, 4), dtype=bool)
    masks[1, 0, 0] = True  # a cup without a disc
    masks[:, 1, 1] = values is DISJOINT
    with pytest.raises(ValueError, match=r"\[\[1"):
        to_index(masks, values)
