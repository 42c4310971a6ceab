"""The largest part of each region is that which MONAI finds in the whole volume."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given
from monai.data import MetaTensor
from monai.transforms import KeepLargestConnectedComponentd

from pipeline.transforms.largest import KeepLargestInBoxd

grids = st.one_of(hnp.array_shapes(min_dims=n, max_dims=n, max_side=8) for n in (2, 3))
masks = hnp.arrays(np.uint8, grids.map(lambda grid: (2, *grid)), elements=st.integers(0, 1))


@given(masks, st.sampled_from([[0], [1], [0, 1]]))
def test_it_does_what_monai_does(mask, labels):
    image = MetaTensor(torch.as_tensor(mask.copy()), meta={"filename_or_obj": "ct.nii.gz"})
    options = {"keys": "pred", "applied_labels": labels, "is_onehot": True}
    expected = KeepLargestConnectedComponentd(**options)({"pred": image.clone()})["pred"]
    result = KeepLargestInBoxd(**options)({"pred": image})["pred"]
    assert torch.equal(result.as_tensor(), expected.as_tensor())
    assert result.dtype == torch.uint8
    assert result.meta["filename_or_obj"] == "ct.nii.gz"
    np.testing.assert_array_equal(image, mask)  # which MONAI overwrites
