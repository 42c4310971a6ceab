"""A file that is not what its name says is told by what it is, with the cure; labels are whole."""

import bz2
import gzip
import io
import tarfile

import nibabel
import numpy as np
import pytest

from pipeline.errors import UnfitFile
from pipeline.transforms.content import explain_content
from pipeline.transforms.volume_file import list_files, open_volume, read_volume
from pipeline.transforms.whole import to_whole

VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
PLAIN = nibabel.Nifti1Image(VOXELS, np.eye(4)).to_bytes()
PACKED = gzip.compress(PLAIN)


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "problem", "fix"),
    [
        ("a.nii.gz", PLAIN, "NIfTI", ".nii"),
        ("a.nii", PACKED, "packed by gzip", ".nii.gz"),
        ("a.mgz", PACKED, "NIfTI packed", ".nii.gz"),
        ("a.nrrd", PLAIN, "NIfTI", ".nii"),
        ("a.nii.gz", gzip.compress(PACKED), "twice", "gunzip a.nii.gz"),
        ("a.nii.gz", PACKED[:-9], "cut off", "again"),
        ("a.nii.gz", PACKED[:60], "cut off", "again"),
        ("a.nii.gz", tar(), "TAR", "tar -xzf"),
        ("a.nii.gz", b"PK\x03\x04...", "ZIP", "unpack"),
        ("a.nii", bz2.compress(PLAIN), "bzip2", "unpack"),
        ("a.nii.gz", b"", "empty", "again"),
        ("a.nii", bytes(5000), "zeros", "again"),
        ("a.nii.gz", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
        ("a.nii.gz", b"/annex/objects/SHA256E-s1--0.nii.gz\n", "git-annex", "git annex get"),
        ("a.nrrd", b"\n <!DOCTYPE html><html>", "web page", "login"),
        ("a.jpg", b"\xef\xbb\xbf<HTML>", "web page", "login"),
        ("a.mha", b'{"error": 404}', "text", "download"),
        ("a.nii.gz", b"\x89PNG\r\n\x1a\n", "PNG", ".png"),
        ("a.png", b"\xff\xd8\xff\xe0", "JPEG", ".jpg"),
        ("a.nii.gz", b"NRRD0004\n", "NRRD", ".nrrd"),
        ("a.nii", bytes(128) + b"DICM", "DICOM", "data prepare dicom"),
        ("a.nrrd", b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5", "NIfTI"),
        ("a.nii", b"MATLAB 5.0 MAT-file" + bytes(400), "MATLAB", "NIfTI"),
        ("a.png", b"\0\0\0\x18ftypheic", "HEIC", "PNG"),
        ("a.jpg", b"\0\0\0\x20ftypavif", "AVIF", "PNG"),
        ("a.png", b'<?xml version="1.0"?>\n<svg width="9"/>', "SVG", "PNG"),
        ("a.hdr", PLAIN[:344] + b"ni1\0", "two files", ".nii.gz"),
        ("a.tif", b"8BPS\0\1", "Photoshop", "PNG"),
    ],
    # gzip writes the time, and all workers need the same names.
    ids=lambda each: "" if isinstance(each, bytes) else each,
)
def test_a_file_is_told_by_what_it_is_and_the_cure(name, content, problem, fix, tmp_path):
    (tmp_path / name).write_bytes(content)
    told = explain_content(tmp_path / name)
    assert problem in told[0]
    assert fix in told[1]
    if name.endswith((".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")):
        with pytest.raises(UnfitFile) as raised:
            read_volume(tmp_path / name)
        assert raised.value.args == told


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgh", "a.mgz"])
def test_a_file_that_is_what_its_name_says_is_not_explained(name, tmp_path):
    kind = nibabel.MGHImage if ".mg" in name else nibabel.Nifti1Image
    nibabel.save(kind(VOXELS, np.eye(4)), tmp_path / name)
    assert explain_content(tmp_path / name) is None
    assert np.array_equal(read_volume(tmp_path / name).voxels, VOXELS)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz"])
def test_a_wrong_bit_in_a_packed_file_is_seen(name, tmp_path):
    kind = nibabel.MGHImage if ".mg" in name else nibabel.Nifti1Image
    nibabel.save(kind(VOXELS, np.eye(4)), tmp_path / name)
    content = bytearray((tmp_path / name).read_bytes())
    content[-6] ^= 1  # of the checksum
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnfitFile, match="broken"):
        read_volume(tmp_path / name)


def test_a_nifti_in_other_units_than_mm_is_refused(tmp_path):
    for unit, name in (("meter", "m"), ("micron", "micron")):
        image = nibabel.Nifti1Image(VOXELS, np.eye(4))
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / "a.nii")
        with pytest.raises(UnfitFile, match=f"in {name} "):
            open_volume(tmp_path / "a.nii")


def test_an_mgh_without_directions_is_refused(tmp_path):
    nibabel.save(nibabel.MGHImage(VOXELS, np.eye(4)), tmp_path / "a.mgh")
    content = bytearray((tmp_path / "a.mgh").read_bytes())
    content[28:30] = bytes(2)
    (tmp_path / "a.mgh").write_bytes(content)
    with pytest.raises(UnfitFile, match="goodRASFlag"):
        open_volume(tmp_path / "a.mgh")


def test_the_files_of_a_volume_are_its_header_and_its_voxels(tmp_path):
    for name in ("v.raw", "s1.raw", "s2.raw", "other.raw"):
        (tmp_path / name).touch()
    for name, text, files in (
        ("a.mhd", "NDims = 3\nElementDataFile = v.raw\n", ["v.raw"]),
        ("b.mhd", "ElementDataFile = LIST\ns1.raw\ns2.raw\n", ["s1.raw", "s2.raw"]),
        ("c.mhd", "ElementDataFile = s%d.raw 1 2 1\n", ["s1.raw", "s2.raw"]),
        ("d.nhdr", "NRRD0004\ndata file: v.raw\n\n", ["v.raw"]),
        ("e.mhd", "ElementDataFile = gone.raw\n", []),
        ("f.mha", "ElementDataFile = LOCAL\n", []),
    ):
        (tmp_path / name).write_text(text)
        assert [path.name for path in list_files(tmp_path / name)] == [name, *files]


def test_labels_are_whole_up_to_rounding():
    whole = np.array([0, 1, 2], np.uint8)
    assert to_whole(whole) is whole
    assert to_whole(np.array([0, 0.99999999, 2.004])).tolist() == [0, 1, 2]
    assert to_whole(np.array([0.918, 1.835, 3.212]), step=0.459).tolist() == [1, 2, 3]
    for values, shown in (([1.2, 0], "1.2"), ([0.918, 1], "0.918"), ([0, np.nan], "NaN")):
        with pytest.raises(UnfitFile, match=shown):
            to_whole(np.array(values))
    with pytest.raises(UnfitFile, match="complex"):
        to_whole(np.array([1j]))
