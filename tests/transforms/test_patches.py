"""Patches without metadata."""

import torch
from monai.transforms import CastToTyped, RandCropByLabelClassesd

from pipeline.transforms.patches import PlainPatches


def test_they_are_those_of_monai():
    label = torch.zeros(1, 20, 18, 16)
    label[:, 5:9, 4:8, 3:7] = 1
    item = {"image": torch.rand(1, 20, 18, 16), "label": label}
    item["label_cls_indices"] = [(label[0] == each).flatten().nonzero()[:, 0] for each in (0, 1)]
    options = {"spatial_size": [8, 7, 16], "num_classes": 2, "num_samples": 20}
    monai = RandCropByLabelClassesd(
        ["image", "label"], label_key="label", indices_key="label_cls_indices", **options
    )
    both = []
    for transform in (monai, PlainPatches(monai)):
        transform.set_random_state(seed=3)
        both.append(transform(dict(item)))
    assert len(both[0]) == 20
    for expected, patch in zip(*both, strict=True):
        for key in ("image", "label"):
            assert type(patch[key]) is torch.Tensor
            assert torch.equal(patch[key], expected[key].as_tensor())


def test_another_transform_is_run_as_it_is():
    cast = CastToTyped("image", dtype=torch.float16)
    assert PlainPatches(cast)({"image": torch.rand(1, 2)})["image"].dtype == torch.float16
