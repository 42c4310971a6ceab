"""Photographs and X-rays in DICOM are pictures; slices of volumes are not."""

import io

import numpy as np
import pytest
from picture_dicom import write_picture
from PIL import Image
from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from pipeline.errors import InputError, UnfitFile
from pipeline.transforms.dicom_picture import OtherImage, open_dicom
from pipeline.transforms.picture import read_grid, read_picture
from pipeline.transforms.read import ReadImaged

ROW, COLUMN = np.mgrid[:40, :60].astype(np.uint8)
RGB = np.stack([COLUMN * 4, ROW * 5, COLUMN + ROW], axis=-1)


def packed(form: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, form, **options)
    return stream.getvalue()


def in_frame(**more):
    return {"packed": packed(**more), "syntax": JPEGBaseline8Bit, "kind": "YBR_FULL_422"}


@pytest.mark.parametrize(
    ("stored", "levels"),
    [
        ({}, 0),
        ({"PlanarConfiguration": 1, "PixelData": RGB.transpose(2, 0, 1).tobytes()}, 0),
        ({"kind": "YBR_FULL", "PixelData": Image.fromarray(RGB).convert("YCbCr").tobytes()}, 3),
        (in_frame(form="JPEG", quality=95), 30),
        (
            {
                "packed": packed("JPEG2000", no_jp2=True, irreversible=False, mct=1),
                "syntax": JPEG2000Lossless,
                "kind": "YBR_RCT",
            },
            0,
        ),
    ],
    ids=["rgb", "planes", "ybr", "jpeg", "jpeg 2000"],
)
def test_a_photograph_keeps_its_colours_however_it_is_stored(stored, levels, tmp_path):
    path = write_picture(tmp_path / "IM0", RGB, **stored)
    assert read_grid(path)[:2] == ((60, 40), 3)
    pixels = read_picture(path, channels=3, modality="photograph")
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RGB).max() <= levels


def test_an_x_ray_keeps_its_bits_with_white_as_the_largest(tmp_path):
    deep = (COLUMN.astype(np.uint16) * 60) % 4096
    path = write_picture(tmp_path / "a.dcm", deep, modality="DX", bits=12)
    np.testing.assert_array_equal(read_picture(path, channels=1), deep)
    dark = write_picture(
        tmp_path / "b.dcm", 4095 - deep, modality="CR", bits=12, kind="MONOCHROME1"
    )
    np.testing.assert_array_equal(read_picture(dark, channels=1, modality="X-ray"), deep)
    many = write_picture(tmp_path / "c.dcm", RGB.astype(np.uint16) * 257)
    np.testing.assert_allclose(read_picture(many), RGB * (255 / RGB.max()), atol=1e-3)


def test_what_is_not_a_picture_of_the_modality_says_so(tmp_path):
    for modality, words, error in (
        ("CT", "slice of a CT", OtherImage),
        ("MR", "slice of a MR", OtherImage),
        ("", "no modality", OtherImage),
        ("OT", "modality OT", OtherImage),
        ("DX", "DX (X-ray), not photograph", OtherImage),
    ):
        path = write_picture(tmp_path / "a.dcm", RGB[..., 0], modality=modality)
        with pytest.raises(error) as raised:
            open_dicom(path, "photograph")
        assert words in raised.value.args[0]
    two = write_picture(tmp_path / "two.dcm", RGB, NumberOfFrames=2, PixelData=RGB.tobytes() * 2)
    black = write_picture(tmp_path / "black.dcm", RGB * 0)
    torn = write_picture(tmp_path / "torn.dcm", RGB)
    torn.write_bytes(torn.read_bytes()[:700])
    given = {"modality": "CR", "ModalityLUTSequence": [Dataset()]}
    table = write_picture(tmp_path / "table.dcm", RGB[..., 0], **given)
    for path, words in (
        (two, "holds 2 frames"),
        (black, "all over"),
        (torn, "cannot be read"),
        (table, "ModalityLUTSequence"),
    ):
        with pytest.raises(UnfitFile) as raised:
            read_picture(path)
        assert words in raised.value.args[0]
        assert not isinstance(raised.value, OtherImage)
    read = ReadImaged("image", spatial_dims=2, channels=3, modality="X-ray")
    with pytest.raises(InputError, match=r"IM: it is of the modality OP \(photograph\)"):
        read({"image": str(write_picture(tmp_path / "IM", RGB))})
