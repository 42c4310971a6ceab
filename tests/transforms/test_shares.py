"""Soft labels in the two bundles' own training, from files to a batch."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from pipeline.errors import InputError
from pipeline.transforms.shares import ReadSharesd

BUNDLES = Path(__file__).parents[2] / "bundles"


def prepare(bundle: str, case: dict, **ids: object) -> tuple[dict, ConfigParser]:
    config = ConfigParser()
    config.read_config(str(BUNDLES / bundle / "configs/train.json"))
    config.update({"soft_labels": True, "cache_device": "cpu", **ids})
    steps = config.get_parsed_content("train#preprocessing").transforms
    for step in steps:
        case = step(case)
    return case, config


def test_shares_of_a_photograph_become_a_soft_batch(tmp_path):
    rng = np.random.default_rng(0)
    index = np.zeros((48, 64), np.uint8)
    index[8:40, 16:48], index[16:32, 24:40] = 1, 2
    cup = np.where(index == 2, 191, 0).astype(np.uint8)
    rim = np.where(index > 0, 255, 0).astype(np.uint8) - cup
    pictures = {"image": rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), "label": index}
    for name, pixels in {**pictures, "1": rim, "2": cup}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    files = {name: str(tmp_path / f"{name}.png") for name in ("image", "label", "1", "2")}
    case = {"image": files["image"], "label": files["label"]}
    size = {"roi_size": [32, 32], "patch_size": [32, 32]}
    fundus = "fundus_disc_cup_segmentation"
    hard, _ = prepare(fundus, dict(case), **size)
    soft, config = prepare(fundus, {**case, "soft_label": {v: files[v] for v in "12"}}, **size)
    assert set(soft) == {"image", "label"}
    assert torch.equal(soft["image"], hard["image"])
    label = soft["label"]  # (R, W, H) at half the size; 191 of 255 marked the cup
    assert (label.shape, label.dtype) == ((2, 32, 32), torch.float32)
    assert label[:, 16, 16].tolist() == pytest.approx([1, 191 / 255], abs=0.01)
    assert torch.equal(label > 0.5, hard["label"] > 0)
    batch = {name: each[None] for name, each in soft.items()}
    moved = config.get_parsed_content("augment")(batch)["label"]
    assert moved[:, 0].max() == pytest.approx(1, abs=0.01)
    assert moved[:, 1].max() == pytest.approx(191 / 255, abs=0.01)


def test_shares_of_a_volume_follow_its_patch(tmp_path):
    rng = np.random.default_rng(0)
    organ = np.zeros((20, 20, 20), np.float32)
    organ[6:14, 6:14, 6:14] = 0.75
    volumes = {"image": rng.uniform(0, 100, organ.shape), "label": organ > 0.5, "1": organ}
    affine = np.diag([-1.0, -1, 2, 1])  # LPS, 2 mm slices
    for name, voxels in volumes.items():
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), tmp_path / f"{name}.nii.gz")
    files = {name: str(tmp_path / f"{name}.nii.gz") for name in volumes}
    case = {"image": files["image"], "label": files["label"], "soft_label": {"1": files["1"]}}
    ids = {"spacing": [1, 1, 1], "patch_size": [16] * 3, "margin": 0, "regions": {"organ": [1]}}
    ids |= {"modality": "MR", "background": [0], "class_ratios": [0, 1], "patches_per_case": 1}
    (patch,), _ = prepare("pancreas_ct_segmentation", case, **ids)
    assert set(patch) >= {"image", "label"}
    assert patch["label"].dtype == torch.float16
    values = set(patch["label"].unique().tolist())
    assert {0, 0.75} <= values
    assert values - {0, 0.75}  # between two slices


def test_a_region_is_the_sum_of_its_values_and_a_value_without_a_file_is_named(tmp_path):
    for value, share in enumerate((51, 102, 77), start=1):
        Image.fromarray(np.full((4, 5), share, np.uint8)).save(tmp_path / f"{value}.png")
    files = {str(value): str(tmp_path / f"{value}.png") for value in (1, 2, 3)}
    read = ReadSharesd("soft_label", {"all": [1, 2, 3], "inner": [3], "other": [1]}, 2)
    found = read({"soft_label": files})["soft_label"]
    assert found.shape == (3, 5, 4)
    assert found[:, 0, 0].tolist() == pytest.approx([230 / 255, 77 / 255, 51 / 255])
    del files["3"]
    with pytest.raises(InputError, match="value 3"):
        read({"soft_label": files})
