import re

import nibabel
import numpy as np
import pytest
from monai.data import PILReader
from PIL import Image

from pipeline.errors import InputError
from pipeline.transforms.read import ReadImaged, as_rgb


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "I", "F"])
def test_a_photograph_of_any_mode_keeps_its_picture(mode, tmp_path):
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (8, 1))
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        picture = Image.fromarray((grey.astype(kind)) * 16)  # 12 bits, as cameras have
    else:
        picture = Image.fromarray(grey).convert(mode)
    assert picture.mode == mode
    picture.save(tmp_path / "a.tif")
    rgb = as_rgb(Image.open(tmp_path / "a.tif"))
    assert rgb.mode == "RGB"
    assert np.array_equal(np.asarray(rgb), np.repeat(grey[..., None], 3, axis=2))


def test_a_black_photograph_stays_black():
    assert not np.asarray(as_rgb(Image.fromarray(np.zeros((3, 4), np.uint16)))).any()


def test_a_photograph_that_viewers_turn_is_refused(tmp_path):
    exif = Image.Exif()
    for orientation in (1, 6):
        exif[0x0112] = orientation
        Image.new("RGB", (6, 4), "red").save(tmp_path / f"{orientation}.jpg", exif=exif)
    reader = {"reader": PILReader(converter=as_rgb), "ensure_channel_first": True}
    read = ReadImaged("image", spatial_dims=2, **reader)
    assert read({"image": str(tmp_path / "1.jpg")})["image"].shape == (3, 6, 4)
    with pytest.raises(InputError, match=r"6\.jpg: .*EXIF"):
        read({"image": str(tmp_path / "6.jpg")})


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_a_photograph_in_floats_is_refused_if_it_cannot_be_shown(value, tmp_path):
    grey = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (8, 1))
    read = ReadImaged(
        "image", spatial_dims=2, reader=PILReader(converter=as_rgb), ensure_channel_first=True
    )
    Image.fromarray(grey).save(tmp_path / "a.tif")
    assert read({"image": str(tmp_path / "a.tif")})["image"].max() == 255
    grey[3, 3] = value
    Image.fromarray(grey).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif: .*negative, NaN"):
        read({"image": str(tmp_path / "a.tif")})


def nifti(path, voxels) -> str:
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    return str(path)


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    options = {"ensure_channel_first": True, "spatial_dims": 3, "channels": 1, "ct": True}
    read = ReadImaged("image", reader="NibabelReader", **options)
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
        (str(tmp_path / "torn.nii.gz"), "cannot be read"),
        (str(tmp_path / "text.png"), "cannot be read"),
        (str(tmp_path / "picture.png"), "a volume"),
        (str(tmp_path / "gone.nii"), "cannot be read"),
        (nifti(tmp_path / "nan.nii.gz", holed), "NaN"),
        (nifti(tmp_path / "stored.nii.gz", voxels + 1024), "not in Hounsfield units"),
        (nifti(tmp_path / "air.nii.gz", voxels * 0 - 1000), "not in Hounsfield units"),
        (nifti(tmp_path / "four.nii.gz", np.ones((4, 5, 6, 2), np.int16)), "2 channels, not 1"),
        (nifti(tmp_path / "rgb.nii.gz", colour), "cannot be read"),
    ):
        with pytest.raises(InputError) as raised:
            read({"image": path})
        message = str(raised.value)
        assert message.startswith(f"{path}: ")
        assert re.search(fault, message)
        assert "\n" not in message
