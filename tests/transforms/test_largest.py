"""The largest parts of each region are those which MONAI finds in the whole image."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from monai.data import MetaTensor
from monai.transforms import KeepLargestConnectedComponent
from skimage.measure import label

from pipeline.errors import InputError
from pipeline.transforms.largest import KeepPartsd
from pipeline.transforms.regions import Regions

TREES = [
    {"a": [1], "b": [2]},
    {"inner": [2], "outer": [1, 2]},
    {"whole": [1, 2, 3], "a": [1], "b": [2, 3], "c": [3]},  # a and b fill it
]
grids = st.one_of(hnp.array_shapes(min_dims=n, max_dims=n, max_side=8) for n in (2, 3))
indices = hnp.arrays(np.uint8, grids, elements=st.integers(0, 3))
counts = st.dictionaries(
    st.sampled_from(["a", "b", "c", "inner", "outer", "whole"]), st.integers(1, 2)
)


def keep_by_hand(regions: Regions, masks: torch.Tensor, components: dict[str, int]) -> torch.Tensor:
    """From the outside in, on whole images; a region that others fill ends with them.

    Of two parts of one size MONAI keeps either.
    """
    masks = masks.clone()
    for n in regions.order:
        if (parent := regions.parents[n]) is not None:
            masks[n] &= masks[parent]
        if count := components.get(regions.names[n]):
            sizes = sorted(np.bincount(label(masks[n].numpy()).ravel())[1:], reverse=True)
            assume(len(set(sizes[count - 1 : count + 1])) == len(sizes[count - 1 : count + 1]))
            keep = KeepLargestConnectedComponent([0], is_onehot=True, num_components=count)
            masks[n] = keep(masks[n : n + 1].clone())[0]
    if regions.names[0] == "whole":
        masks[0] = masks[1] | masks[2]
    return masks


@given(indices, st.sampled_from(TREES), counts)
def test_it_keeps_what_monai_keeps(index, tree, counts):
    regions = Regions(tree)
    masks = regions.from_index(torch.as_tensor(index)).to(torch.uint8)
    components = {name: count for name, count in counts.items() if name in tree}
    expected = keep_by_hand(regions, masks, components)
    image = MetaTensor(masks.clone(), meta={"filename_or_obj": "ct.nii.gz"})
    result = KeepPartsd("pred", tree, components)({"pred": image})["pred"]
    assert torch.equal(result.as_tensor(), expected)
    assert result.dtype == torch.uint8
    assert result.meta["filename_or_obj"] == "ct.nii.gz"
    assert torch.equal(image.as_tensor(), masks)  # which MONAI overwrites
    consistent = regions.from_index(regions.to_index(result.as_tensor()))
    assert torch.equal(consistent, result.as_tensor().bool())


@pytest.mark.parametrize("components", [{"x": 1}, {"a": 0}])
def test_parts_of_no_region_are_refused(components):
    with pytest.raises(InputError, match=r"components .*\['a', 'b'\]"):
        KeepPartsd("pred", TREES[0], components)
