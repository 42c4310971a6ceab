import re

import nibabel
import numpy as np
import pytest
from monai.transforms import Compose, LoadImaged, Orientationd, Spacingd
from PIL import Image

from pipeline.errors import InputError
from pipeline.transforms.same_grid import SameGridd
from pipeline.transforms.volume_checks import corner_shift, grid_difference

AFFINE = np.array([[-0.8, 0, 0.1, 90], [0, 0.8, 0, -40], [0.1, 0, 2.5, 7], [0, 0, 0, 1]])
LOAD = Compose(
    [
        LoadImaged("image", ensure_channel_first=True),
        Orientationd("image", axcodes="RAS", labels=None),
        Spacingd("image", pixdim=(2, 2, 2)),
        LoadImaged("label", ensure_channel_first=True),
        SameGridd("label"),
    ]
)


@pytest.mark.parametrize(
    ("shape", "shift", "fault"),
    [
        ((9, 8, 7), 0.0, None),
        ((9, 8, 7), 0.01, None),
        ((9, 8, 7), 1.5, "1.5 mm"),
        ((7, 8, 9), 0.0, "7 x 8 x 9 instead of 9 x 8 x 7"),
    ],
)
def test_a_label_is_compared_with_its_images_file(tmp_path, shape, shift, fault):
    """Whatever the preprocessing has made of the image before."""
    moved = AFFINE.copy()
    moved[1, 3] += shift
    paths = {key: str(tmp_path / f"{key}.nii.gz") for key in ("image", "label")}
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 8, 7), np.int16), AFFINE), paths["image"])
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), moved), paths["label"])
    if fault is None:
        assert LOAD(paths)["label"].shape == (1, *shape)
    else:
        with pytest.raises(RuntimeError) as raised:
            LOAD(paths)
        cause = raised.value
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        assert cause is not None
        assert "label.nii.gz" in str(cause)
        assert re.search(fault, str(cause))


@pytest.mark.parametrize("voxel", [0.005, 0.1, 0.5, 2.0])
def test_half_a_voxel_is_too_far_however_small_it_is(voxel):
    affine = np.diag([voxel, voxel, 2 * voxel, 1])
    for share, apart in ((0.01, False), (0.5, True)):
        moved = affine + share * voxel * np.eye(4, k=3)
        assert bool(grid_difference((9, 8, 7), moved, (9, 8, 7), affine)) is apart


def test_a_picture_has_no_affine_but_a_size(tmp_path):
    for name, size in (("image", (6, 4)), ("label", (6, 4)), ("turned", (4, 6))):
        Image.new("L", size).save(tmp_path / f"{name}.png")
    load = Compose(
        [
            LoadImaged(["image", "label"], reader="PILReader", ensure_channel_first=True),
            SameGridd("label"),
        ]
    )
    paths = {"image": str(tmp_path / "image.png"), "label": str(tmp_path / "label.png")}
    assert load(paths)["label"].shape == (1, 6, 4)
    with pytest.raises(RuntimeError) as raised:
        load(paths | {"label": str(tmp_path / "turned.png")})
    assert "turned.png" in str(raised.value.__cause__)
    assert "4 x 6 instead of 6 x 4" in str(raised.value.__cause__)


@pytest.mark.parametrize("change", ["turned", "spacing"])
def test_a_small_change_counts_by_how_far_it_is_at_the_corners(change):
    """0.02 mm a step, or a turn by 0.001: nothing on 5 voxels, millimetres on 500."""
    other = AFFINE.copy()
    if change == "spacing":
        other[:3, :3] *= 1 + 0.02 / np.linalg.norm(AFFINE[:3, 0])
    else:
        turn = np.array([[1, -1e-3, 0], [1e-3, 1, 0], [0, 0, 1]])
        other[:3, :3] = turn @ AFFINE[:3, :3]
    assert corner_shift(AFFINE, other, (5, 5, 5)) < 0.3
    assert corner_shift(AFFINE, other, (500, 500, 5)) > 0.5
    assert corner_shift(AFFINE, AFFINE, (500, 500, 5)) == 0
