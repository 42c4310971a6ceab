"""A training from before regions had label values is read as one of today."""

from __future__ import annotations

import json

import pytest
import torch
from bundle_configs import BUNDLES

from pipeline.bundle.as_trained import check_as_trained
from pipeline.bundle.configs import Config
from pipeline.bundle.trained import read_config
from pipeline.bundle.upgrade import upgrade
from pipeline.errors import InputError

SCALED = {"b_min": 0.0, "b_max": 1.0, "clip": True}
RGB = {"_target_": "pipeline.transforms.as_rgb", "_mode_": "callable"}
SIZE = {"spatial_size": "$max(@roi_size)", "size_mode": "longest"}
# As version 0.1 of the two bundles wrote them.
READ_2D = {"spatial_dims": 2, "reader": {"_target_": "PILReader", "converter": RGB}}
READ_3D = {"spatial_dims": 3, "reader": "NibabelReader", "channels": 1, "ct": True}
AIR = {"select_fn": "$lambda hu: hu > -500", "allow_smaller": True, "source_key": "image"}
STEPS = [
    [
        ("pipeline.transforms.ReadImaged", {"ensure_channel_first": True, **READ_2D}),
        ("ScaleIntensityRangePercentilesd", {"lower": 0, "upper": 99.9, **SCALED}),
        ("Resized", {**SIZE, "mode": "bilinear", "anti_aliasing": True}),
        ("SpatialPadd", {"spatial_size": "@roi_size"}),
    ],
    [
        ("pipeline.transforms.ReadImaged", {"ensure_channel_first": True, **READ_3D}),
        ("Orientationd", {"axcodes": "RAS", "labels": None}),
        ("CropForegroundd", {**AIR, "_desc_": "Crops the table and the air."}),
        ("Spacingd", {"pixdim": "@spacing", "mode": "bilinear", "dtype": "$torch.float32"}),
        (
            "ScaleIntensityRanged",
            {"a_min": "$@hu_window[0]", "a_max": "$@hu_window[1]", **SCALED},
        ),
    ],
]
LABELS = {"_target_": "pipeline.transforms.LabelToRegionsd", "keys": "label"}
NAMES = [["optic_disc", "optic_cup"], ["pancreas", "tumour"]]
OLD = [
    {
        "regions": names,
        "label_regions": {**LABELS, "regions": "@label_values" if dims == 3 else [[1, 2], [2]]},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": name, "keys": "image", **rest} for name, rest in steps],
        },
        "label_preprocessing": {"_target_": "Compose", "transforms": ["@load_label"]},
        "load_label": {"_target_": "LoadImaged", "keys": "label"},
        "network_def": {
            **{"_target_": "pipeline.networks.AttentionUnet", "spatial_dims": dims},
            **{"in_channels": channels, "out_channels": 2, "channels": "@channels"},
            **{"strides": "@strides", "gates": "@gates", "deep_supervision": "@deep_supervision"},
        },
        **({"label_values": [[1, 2], [2]]} if dims == 3 else {}),
        "channels": [4, 8],
        "strides": [2],
        "fold": 2,
    }
    for names, steps, dims, channels in zip(NAMES, STEPS, (2, 3), (3, 1), strict=True)
]


@pytest.mark.parametrize(("bundle", "old"), [*zip(BUNDLES, OLD, strict=True)], ids=["2d", "3d"])
def test_it_becomes_todays_and_fits_todays_bundle(bundle, old, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(old))
    torch.save({}, tmp_path / "model.pt")
    new = read_config(tmp_path / "model.pt")
    assert new["regions"] == dict(zip(old["regions"], [[1, 2], [2]], strict=True))
    assert new["network_def"]["in_channels"] == "$len(@channel_names)"
    assert new["network_def"]["out_channels"] == "$len(@regions)"
    described_by_regions = {"label_values", "label_regions", "label_preprocessing", "load_label"}
    assert not new.keys() & (described_by_regions | {"preprocessing"})
    assert (new["channels"], new["fold"]) == ([4, 8], 2)
    today = Config.read(bundle / "configs/train.json")
    as_trained = today.as_trained(new)
    assert as_trained.get("preprocessing") == today.get("preprocessing")
    assert as_trained.built("network_def").final.out_channels == 2
    check_as_trained(new, tmp_path / "model.pt", as_trained.content, fold=2)
    assert upgrade(new, "config.json") == new


def test_another_preprocessing_is_not_guessed(tmp_path):
    own = Config(OLD[0]).with_changes({"preprocessing#transforms#1#upper": 99.5}).content
    with pytest.raises(InputError, match=r"config\.json: .*preprocessing"):
        upgrade(own, "config.json")
    for gone in ("preprocessing", "label_regions", "network_def"):
        with pytest.raises(InputError, match=rf"config\.json: .*{gone}"):
            upgrade({name: OLD[0][name] for name in OLD[0].keys() - {gone}}, "config.json")
