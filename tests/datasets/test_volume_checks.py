import gzip
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipeline.datasets.checks import check_datalist

REAL = Path(__file__).parents[3] / "shared" / "data" / "ct_totalsegmentator"


def _volume(path, voxels, affine, *, qform=None):
    volume = nibabel.Nifti1Image(voxels, affine)
    if qform is not None:
        volume.set_qform(qform, code="scanner")
    nibabel.save(volume, path)


@pytest.fixture
def cts(tmp_path):
    """Three sound CTs, one with a tumour: the datalist, and functions that change and check it."""
    folder = tmp_path / "Bauch CT ä"
    folder.mkdir()
    affine = np.array([[0, -0.8, 0, 9], [0.7, 0, 0, -5], [0, 0, 2.5, 0], [0, 0, 0, 1]])
    label = np.zeros((9, 8, 7), np.uint8)
    label[3:6, 3:6, 2:4] = 1
    labels = {"0": "background", "1": "pancreas", "2": "tumour"}
    content = {"labels": labels, "training": [], "testing": []}
    for number in range(3):
        name = f"Fall {number}"
        ct = np.random.default_rng(number).normal(40, 90, label.shape).clip(-1024, 3000)
        ct[:2] = -1000
        label[4, 4, 3] = 2 if number == 2 else 1
        label[6, number, 2] = 1
        _volume(folder / f"{name} ct.nii.gz", ct.astype(np.int16), affine, qform=affine)
        _volume(folder / f"{name} label.nii.gz", label, affine, qform=affine)
        case = {"image": f"{name} ct.nii.gz", "label": f"{name} label.nii.gz", "patient": name}
        content["training"].append(case | {"fold": number})

    def change(kind, voxels=None, affine=None, **options):
        path = folder / f"Fall 1 {kind}.nii.gz"
        old = nibabel.load(path)
        pixels = np.asarray(old.dataobj)
        grid = old.affine if affine is None else affine
        _volume(path, pixels if voxels is None else voxels(pixels), grid, **options)

    def check():
        (folder / "datalist.json").write_text(json.dumps(content))
        return check_datalist(folder / "datalist.json")

    return content, folder, change, check


def _nan(ct):
    ct = ct.astype(np.float32)
    ct[4, 4, 4] = np.nan
    return ct


def _shear(number):
    affine = np.diag([0.8, 0.8, 2.5, 1])
    affine[1, 2] = number
    return affine


def _cut_volume(content, folder, change):
    path = folder / "Fall 1 ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-300])


def _no_codes(content, folder, change):
    """Neither the qform nor the sform counts, as in what was once Analyze."""
    path = folder / "Fall 1 ct.nii.gz"
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[252:256] = bytes(4)
    path.write_bytes(gzip.compress(header))


def _no_spacing(content, folder, change):
    """nibabel does not write such a file."""
    path = folder / "Fall 1 ct.nii.gz"
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[280:296] = bytes(16)  # the first row of the sform, which only the second axis counts in
    path.write_bytes(gzip.compress(header))


def _both(voxels=None, affine=None):
    def spoil(content, folder, change):
        for kind in ("ct", "label"):
            change(kind, voxels, affine)

    return spoil


def _shift(content, folder, change):
    affine = nibabel.load(folder / "Fall 1 ct.nii.gz").affine
    change("label", affine=affine + 5 * np.eye(4, k=3))


RGB = [(name, "u1") for name in "RGB"]
# Which volume has other voxels, which ones, and what the check says.
VOXELS = {
    "NaN": ("ct", _nan, "1 voxels that are NaN"),
    "4D": ("ct", lambda x: np.stack([x, x], -1), "is 4D: 9 x 8 x 7 x 2"),
    "5D": ("ct", lambda x: np.stack([x[..., None], x[..., None]], -1), "is 4D: 9 x 8 x 7 x 2"),
    "padded": ("ct", lambda x: np.where(x == -1000, np.int32(62512), x), "62512"),
    "padded by 3072": ("ct", lambda x: np.where(x == -1000, np.int16(3072), x), "3072"),
    "2D": ("ct", lambda x: x[..., 0], "is 2D: 9 x 8"),
    "RGB": ("ct", lambda x: np.zeros(x.shape, RGB), "RGB"),
    "no rescale": ("ct", lambda x: x + np.int16(1024), "24 to"),
    "rescaled twice": ("ct", lambda x: x - np.int16(1024), "0 % of them soft tissue"),
    "windowed": ("ct", lambda x: x.clip(0, 255).astype(np.uint8), "0 to 255"),
    "nothing": ("ct", lambda x: x * 0, "value 0"),
    "shape": ("label", lambda x: x[1:], "8 x 8 x 7 instead of 9 x 8 x 7"),
    "values": ("label", lambda x: x * np.uint8(9), "value 9"),
    "halves": ("label", lambda x: x / 2, "0.5"),
    "a fifth": ("label", lambda x: x * 1.2, "1.2"),
    "a hole": ("label", _nan, "NaN"),
    "empty": ("label", lambda x: x * 0, "is empty"),
}
METRES = np.diag([8e-4, 8e-4, 2e-3, 1])
OTHER = {
    "cut": (_cut_volume, "ct", "cut off"),
    "no NIfTI": (
        lambda _, f, change: (f / "Fall 1 ct.nii.gz").write_bytes(b"<html>"),
        "ct",
        "web page",
    ),
    "no orientation": (_no_codes, "ct", "neither a qform nor an sform"),
    "spacing 0": (_no_spacing, "ct", "0.7 x 0 x 2.5 mm"),
    "metres": (_both(affine=METRES), "ct", "0.0008 x 0.0008 x 0.002 mm"),
    "one slice": (_both(lambda x: x[:, :, 3:4]), "ct", "has 1 slice: 9 x 8 x 1"),
    "oblique axes": (_both(affine=_shear(0.5)), "ct", "78.7 degrees"),
    "two affines": (
        lambda _, f, change: change("ct", qform=np.diag([0.8, 0.7, 2.5, 1])),
        "ct",
        "qform",
    ),
    "shifted": (_shift, "label", "5 mm"),
    "mirrored": (
        lambda _, f, change: change("label", affine=np.diag([-0.8, 0.7, 2.5, 1])),
        "label",
        "mm apart",
    ),
    "folder": (
        lambda c, f, _: (f / "series").mkdir() or c["training"][1].update(image="series"),
        "series",
        "is a folder",
    ),
}


@pytest.mark.parametrize("fault", [*VOXELS, *OTHER])
def test_each_fault_of_a_volume_alone_is_named(cts, fault):
    content, folder, change, check = cts
    assert check() == []
    if fault in VOXELS:
        kind, voxels, problem = VOXELS[fault]
        change(kind, voxels)
    else:
        spoil, kind, problem = OTHER[fault]
        spoil(content, folder, change)
    problems = check()
    item = kind if kind == "series" else f"Fall 1 {kind}.nii.gz"
    assert any(p.item == item and problem in p.problem and p.fix for p in problems), problems
    assert {p.item.split()[1] for p in problems if p.item != item} <= {"1"}


@pytest.mark.parametrize("stored", [np.float64, np.uint8])
def test_whole_numbers_up_to_rounding_are_whole(cts, stored):
    _, folder, change, check = cts
    path = folder / "Fall 2 label.nii.gz"
    sound = nibabel.load(path)
    header = nibabel.Nifti1Header()
    header.set_data_dtype(stored)  # nibabel scales floats to such integers
    values = sound.get_fdata() * (0.99999999 if stored is np.float64 else 1)
    nibabel.save(nibabel.Nifti1Image(values, sound.affine, header), path)
    assert set(np.unique(nibabel.load(path).get_fdata())) != {0, 1, 2}
    change("ct", lambda x: x[..., None])  # an axis of one entry does not count
    change("label", lambda x: x[..., None])
    assert check() == []


def test_a_patient_may_lack_a_tumour_but_not_all_patients(cts):
    content, _, _, check = cts
    del content["training"][2]
    (problem,) = check()
    assert problem.item == "datalist.json"
    assert "tumour" in problem.problem


def test_other_modalities_have_other_units(cts):
    content, _, change, check = cts
    change("ct", lambda x: x + np.int16(1024))
    assert len(check()) == 1
    content["modality"] = "MR"
    assert check() == []
    for kind in ("ct", "label"):
        change(kind, affine=METRES)  # or the voxels of a microscope
    assert {problem.problem.split()[2] for problem in check()} == {"spacing"}
    content["modality"] = "microscopy"
    assert check() == []


def test_a_label_is_no_image(cts):
    content, folder, change, check = cts
    content["modality"] = "MR"
    label = np.asarray(nibabel.load(folder / "Fall 1 label.nii.gz").dataobj)
    change("ct", lambda x: label.astype(x.dtype))
    (problem,) = check()
    assert problem.item == "Fall 1 ct.nii.gz"
    assert "0, 1," in problem.problem
    change("ct", lambda x: label / np.float32(2))  # no label has halves
    assert check() == []


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no CT at {REAL}")
def test_a_real_ct_is_sound(tmp_path):
    labels = {str(value): f"organ {value}" for value in range(1, 118)} | {"0": "background"}
    case = {"image": "example_ct.nii.gz", "label": "example_seg_fast_force_split.nii.gz"}
    path = tmp_path / "datalist.json"
    path.write_text(
        json.dumps({"labels": labels, "training": [case | {"patient": "a", "fold": 0}]})
    )
    (problem,) = check_datalist(path, REAL)
    assert problem.item == "datalist.json"  # no label holds the organs outside the abdomen
