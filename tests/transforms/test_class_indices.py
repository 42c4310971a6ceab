"""The voxels of each class are those that MONAI finds, for any label values."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given
from monai.data import MetaTensor
from monai.transforms import ClassesToIndicesd

from pipeline.transforms.class_indices import ClassIndicesd

indices = hnp.arrays(np.uint8, st.just((1, 3, 4, 5)), elements=st.integers(0, 3))


@given(indices, st.sampled_from([None, 3]))
def test_values_without_a_gap_give_what_monai_gives(index, most):
    regions = {"outer": [1, 2], "inner": [2], "other": [3]}
    label = MetaTensor(torch.as_tensor(index))
    monai = ClassesToIndicesd("label", num_classes=4, max_samples_per_class=most)
    expected = monai({"label": label})["label_cls_indices"]
    ours = ClassIndicesd("label", regions, max_samples_per_class=most)
    found = ours({"label": label})["label_cls_indices"]
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]


@given(indices)
def test_other_values_follow_in_order_and_ignored_voxels_belong_to_no_class(index):
    values = np.array([0, 7, 200, 255], np.uint8)
    label = torch.as_tensor(values[index])
    transform = ClassIndicesd("label", {"b": [200], "a": [7]}, ignore_label=255)
    found = transform({"label": label})
    expected = [np.flatnonzero(index == value).tolist() for value in (0, 1, 2)]
    assert [each.tolist() for each in found["label_cls_indices"]] == expected
    assert found["label"] is label
