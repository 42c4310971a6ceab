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
    options = {"ensure_channel_first": True, "spatial_dims": 3, "channels": 1, "modality": "CT"}
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
        (nifti(tmp_path / "four.nii.gz", np.stack([voxels, voxels], axis=-1)), "2 channels, not 1"),
        (nifti(tmp_path / "rgb.nii.gz", colour), "cannot be read"),
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


def test_the_number_of_channels_says_how_a_picture_is_read(tmp_path):
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (8, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "same.png")
    Image.fromarray(np.stack([grey, grey, 255 - grey], axis=-1)).save(tmp_path / "colour.png")
    Image.fromarray(grey.astype(np.uint16) * 256).save(tmp_path / "deep.png")

    def read(channels: int, *names: str):
        reader = ReadImaged("image", spatial_dims=2, channels=channels, ensure_channel_first=True)
        paths = [str(tmp_path / name) for name in names]
        return np.asarray(reader({"image": paths if len(paths) > 1 else paths[0]})["image"])

    for name in ("grey.png", "same.png"):
        np.testing.assert_array_equal(read(1, name), grey.T[None])
        np.testing.assert_array_equal(read(3, name), [grey.T] * 3)
    np.testing.assert_array_equal(read(1, "deep.png"), grey.T[None].astype(float) * 256)
    np.testing.assert_array_equal(read(2, "grey.png", "deep.png")[0], grey.T)
    assert read(3, "colour.png")[2, 0, 0] == 255
    with pytest.raises(InputError, match=r"colour\.png: .*3 channels, not 1"):
        read(1, "colour.png")


def test_monai_label_gets_the_metadata_beside_the_image(tmp_path):
    read = ReadImaged("image", spatial_dims=3, channels=2, ensure_channel_first=True)
    read._loader.image_only = False  # as its server sets it
    paths = [nifti(tmp_path / f"{n}.nii", np.full((4, 3, 2), n, np.int16)) for n in range(2)]
    item = read({"image": paths})
    assert item["image"].shape == (2, 4, 3, 2)
    assert item["image_meta_dict"]["filename_or_obj"] == paths[0]
