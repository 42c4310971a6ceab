import re

import nibabel
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.transforms.read import ReadImaged


def nifti(path, voxels) -> str:
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    return str(path)


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    options = {"ensure_channel_first": True, "spatial_dims": 3, "channels": 1, "modality": "CT"}
    read = ReadImaged("image", **options)
    voxels = np.linspace(-1000, 200, 120, dtype=np.float32).reshape(4, 5, 6)
    sound = nifti(tmp_path / "sound.nii.gz", voxels)
    assert read({"image": sound})["image"].shape == (1, 4, 5, 6)
    (tmp_path / "torn.nii.gz").write_bytes((tmp_path / "sound.nii.gz").read_bytes()[:60])
    (tmp_path / "text.png").write_bytes(b"hello")
    Image.new("L", (4, 5)).save(tmp_path / "picture.png")
    holed = voxels.copy()
    holed[1, 2, 3] = np.nan
    colour = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for path, fault in (
        (str(tmp_path / "torn.nii.gz"), "cut off"),
        (str(tmp_path / "text.png"), "cannot be read"),
        (str(tmp_path / "picture.png"), "cannot be read"),
        (str(tmp_path / "gone.nii"), "cannot be read"),
        (nifti(tmp_path / "nan.nii.gz", holed), "NaN"),
        (nifti(tmp_path / "stored.nii.gz", voxels + 1024), "not in Hounsfield units"),
        (nifti(tmp_path / "air.nii.gz", voxels * 0 - 1000), "nothing but the value -1000"),
        (nifti(tmp_path / "padded.nii.gz", voxels + 64000 * (voxels < -900)), "Hounsfield units"),
        (nifti(tmp_path / "four.nii.gz", np.stack([voxels, voxels], axis=-1)), "2 channels, not 1"),
        (nifti(tmp_path / "rgb.nii.gz", colour), "colours"),
    ):
        with pytest.raises(InputError) as raised:
            read({"image": path})
        message = str(raised.value)
        assert message.startswith(f"{path}: ")
        assert re.search(fault, message)
        assert "\n" not in message


def test_only_a_ct_needs_hounsfield_units(tmp_path):
    stored = np.linspace(0, 3000, 120, dtype=np.float32).reshape(4, 5, 6)
    path = nifti(tmp_path / "a.nii.gz", stored)
    options = {"ensure_channel_first": True, "spatial_dims": 3, "channels": 1}
    for taken in ({}, {"modality": "MR"}, {"modality": ""}):
        ReadImaged("image", **options, **taken)({"image": path})
    with pytest.raises(InputError, match=r"a\.nii\.gz: .*--modality"):
        ReadImaged("image", **options, modality="CT")({"image": path})


def test_the_files_of_an_image_are_its_channels_on_one_grid(tmp_path):
    voxels = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    t1, t2 = nifti(tmp_path / "t1.nii.gz", voxels), nifti(tmp_path / "t2.nii.gz", -voxels)
    read = ReadImaged("image", spatial_dims=3, channels=2, ensure_channel_first=True)
    image = read({"image": [t1, t2]})["image"]
    np.testing.assert_array_equal(image, np.stack([voxels, -voxels]))
    assert image.meta["filename_or_obj"] == t1
    for files, words in (
        ([t1], "1 channels, not 2"),
        (t1, "1 channels, not 2"),
        ([t1, t2, t1], "3 channels, not 2"),
        ([t1, nifti(tmp_path / "cut.nii.gz", voxels[:3])], r"^\S*cut\.nii\.gz: .*t1\.nii\.gz"),
        ([t1, str(tmp_path / "gone.nii.gz")], r"gone\.nii\.gz: .*cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            read({"image": files})
    moved = np.eye(4)
    moved[0, 3] = 2
    nibabel.save(nibabel.Nifti1Image(voxels, moved), tmp_path / "moved.nii.gz")
    with pytest.raises(InputError, match=r"moved\.nii\.gz: .*grid"):
        read({"image": [t1, str(tmp_path / "moved.nii.gz")]})


def test_monai_label_gets_the_metadata_beside_the_image(tmp_path):
    read = ReadImaged("image", spatial_dims=3, channels=2, ensure_channel_first=True)
    read._loader.image_only = False  # as its server sets it
    voxels = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    paths = [nifti(tmp_path / f"{n}.nii", voxels + n) for n in range(2)]
    item = read({"image": paths})
    assert item["image"].shape == (2, 4, 3, 2)
    assert item["image_meta_dict"]["filename_or_obj"] == paths[0]
