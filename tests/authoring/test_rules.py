"""The rules by which a new bundle's settings follow from numbers."""

from __future__ import annotations

import pytest

from pipeline.authoring import geometry, rules
from pipeline.authoring.memory import Device


@pytest.mark.parametrize(
    ("median", "tenth", "size", "spacing"),
    [
        ((0.8, 0.8, 2.5), (0.7, 0.7, 1.25), (512, 512, 100), [0.8, 0.8, 1.25]),
        ((0.8, 0.8, 2.0), (0.7, 0.7, 1.0), (512, 512, 100), [0.8, 0.8, 2.0]),  # a ratio of 2.5
        ((1.0, 1.0, 4.0), (0.9, 0.9, 0.5), (256, 256, 40), [1.0, 1.0, 1.0]),  # never the finest
        ((0.8, 0.8, 2.5), (0.7, 0.7, 1.0), (200, 200, 100), [0.8, 0.8, 2.5]),  # not a short axis
    ],
)
def test_the_coarse_axis_of_anisotropic_volumes_is_finer_than_the_median(
    median, tenth, size, spacing
):
    assert geometry.choose_spacing(median, tenth, size) == spacing


@pytest.mark.parametrize(
    ("size", "spacing", "voxels", "patch", "strides"),
    [
        # nnU-Net plans 40 x 56 x 40 for MSD's hippocampus.
        ((35, 50, 36), (1, 1, 1), 1e5, [40, 56, 40], [[2, 2, 2]] * 3),
        # Thick slices: all of them, pooled once the voxels within a slice are nearly as long.
        (
            *((256, 216, 10), (1.4, 1.4, 9), 1e6, [256, 224, 10]),
            [[2, 2, 1], [2, 2, 1], [2, 2, 2], [2, 2, 1]],
        ),
        ((40, 44, 10), (1, 1, 6), 1e6, [40, 48, 10], [[2, 2, 1], [2, 2, 1], [2, 2, 2]]),
        # A cube in mm from a large CT.
        ((400, 300, 120), (0.8, 0.8, 2.5), 128**3, [176, 176, 56], [[2, 2, 1]] + [[2, 2, 2]] * 3),
        ((6, 6, 6), (1, 1, 1), 1e5, [6, 6, 6], [[1, 1, 1]]),
    ],
)
def test_patch_and_strides_follow_image_and_voxels(size, spacing, voxels, patch, strides):
    cut = geometry.choose_patch(size, spacing, voxels)
    found = geometry.choose_strides(cut, spacing)
    assert (geometry.fit_patch(cut, size, found), found) == (patch, strides)


def test_a_cpu_sees_coarser_voxels_but_none_that_lose_a_region():
    size, spacing = (400, 300, 200), [0.8, 0.8, 1.6]
    coarse = geometry.coarsen(spacing, size, voxels=8e5, thickness=15)
    assert max(coarse) / min(coarse) < 1.1
    assert 6e5 < 400 * 300 * 200 * 0.8 * 0.8 * 1.6 / coarse[0] ** 3 < 9e5
    assert max(geometry.coarsen(spacing, size, voxels=8e5, thickness=6)) <= 2
    assert geometry.coarsen(spacing, (50, 50, 50), voxels=8e5, thickness=6) == spacing


def test_augmentation_keeps_its_share_of_the_patch():
    assert geometry.choose_warp([96, 96, 96], [1.5, 1.5, 2]) == 5.0  # as the bundle that ships
    assert geometry.choose_warp([40, 56, 40], [1, 1, 1]) == 1.4
    assert geometry.choose_rotation([96, 96, 96]) == 25
    assert geometry.choose_rotation([112, 112, 8]) == [5, 5, 25]
    assert [geometry.choose_margin(p) for p in ([96] * 3, [40, 56, 40], [99, 99, 4])] == [8, 3, 1]


@pytest.mark.parametrize(
    ("longest", "thickness", "usual", "side"),
    [
        (1024, 60, 512, 512),  # thick at the usual size
        (584, 4, 256, 584),  # thin: the pictures' own grid
        (2048, 40, 512, 816),  # between
        (4000, 10, 512, 1024),  # no more than this
        (128, 60, 512, 128),  # small pictures
    ],
)
def test_pictures_with_thin_regions_stay_larger(longest, thickness, usual, side):
    assert geometry.choose_picture_size(longest, thickness, usual=usual) == side


def test_intensities_are_scaled_as_the_modality_needs():
    assert rules.choose_window("CT", [-96.4, 80, 215.2]) == [-97, 216]
    assert rules.choose_window("MR", [0, 1, 2]) is None
    assert rules.choose_percentiles("CT", 3) is None
    assert rules.choose_percentiles("MR", 3) == [0.5, 99.5]
    assert rules.choose_percentiles("photograph", 2) == [0, 99.9]
    assert rules.choose_foreground("CT", minimum_is_0=False, zero_share=0) == -500
    assert rules.choose_foreground("MR", minimum_is_0=True, zero_share=0.5) == 0
    assert rules.choose_foreground("MR", minimum_is_0=True, zero_share=0.01) == rules.NOTHING


def test_parts_are_kept_where_all_labels_agree():
    parts = {"liver": {"1": 20}, "kidneys": {"2": 5}, "lesions": {"1": 5, "2": 9}, "none": {}}
    assert rules.choose_components({**parts, "rare": {"1": 4}}) == {"liver": 1, "kidneys": 2}


def test_only_images_without_sides_are_flipped():
    assert rules.choose_flip("photograph", 2, ["disc"]) == [0.5, 0.5]
    assert rules.choose_flip("X-ray", 2, ["left_lung", "heart"]) == [0, 0]
    assert rules.choose_flip("ultrasound", 2, ["fetal_head"]) == [0.5, 0]
    assert rules.choose_flip("CT", 3, ["liver"]) == 0
    assert rules.choose_flip("microscopy", 3, ["nucleus"]) == 0.5


def test_memory_decides_the_batch_and_the_cases_limit_it():
    gpu = Device(16, "test")
    assert rules.choose_batch(gpu.voxels(32, 3, 1), [128, 128, 128], 100) == 2
    assert rules.choose_batch(gpu.voxels(32, 3, 1), [40, 56, 40], 160) == 8
    assert rules.choose_batch(gpu.voxels(32, 3, 1), [40, 56, 40], 16) == 4
    assert rules.choose_batch(gpu.voxels(32, 3, 100), [56, 56, 56], 160) == 6  # 8 of one region
    assert rules.choose_batch(Device(None, "test").voxels(8, 3, 1), [40, 56, 40], 160) == 2
    assert rules.choose_widths(32, 5) == [32, 64, 128, 256, 320]
    assert rules.choose_epochs(2500, 160, 2) == 40
    assert (rules.choose_epochs(10**6, 8, 2), rules.choose_epochs(10, 1000, 2)) == (1000, 20)
    assert [rules.choose_interval(n) for n in (20, 40, 1000)] == [1, 2, 40]
