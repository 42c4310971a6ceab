"""Images of any modality with one or more channels, in one file or several, and any label set."""

import nibabel
import numpy as np
import pytest
from ct_dicom import write_dicom_series
from PIL import Image
from small_cases import EYE, PANCREAS, masks_of_the_bundle, predict, report, statuses, training

from pipeline.bundle.channels import group_channels

AFFINE = np.diag([-4.0, -4, 5, 1])  # which NIfTI and DICOM both hold exactly
ORGANS = {"abdomen": [3, 7, 9], "liver": [3], "kidney": [7], "cyst": [9]}
NAMES = {"T1": "0000", "T2": "T2"}  # the channels, and how their files say it


@pytest.fixture(scope="module")
def mr(tmp_path_factory):
    """A training on two channels of MR, with exclusive classes that fill the region around them."""
    ids = {"roi_size": [16, 16, 16], "spacing": [6.0, 6.0, 6.0], "regions": ORGANS}
    ids |= {"modality": "MR", "channel_names": list(NAMES), "foreground_above": -1e9}
    ids |= {"hu_window": None, "percentiles": [0.5, 99.5], "components": {"liver": 1}}
    folder = tmp_path_factory.mktemp("mr") / "training"
    return training(folder, dimensions=3, channels=2, **ids)


def volumes(seed=0, shape=(22, 20, 18)):
    return np.random.default_rng(seed).integers(0, 900, (2, *shape), np.int16)


def save(path, voxels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def test_the_channels_of_an_image_are_files_a_4d_file_or_series(mr, tmp_path):
    both = volumes()
    for number, (name, ending) in enumerate(NAMES.items()):
        save(tmp_path / f"in/files_{ending}.nii.gz", both[number])
        about = {"patient": "series", "Modality": "MR", "intercept": 0.0, "number": number}
        write_dicom_series(tmp_path / "in/dicom" / name, both[number], AFFINE, **about)
    save(tmp_path / "in/whole.nii.gz", np.moveaxis(both, 0, -1))
    output = tmp_path / "out"
    predict(tmp_path / "in", "--bundle", PANCREAS, "--checkpoint", mr, "--output", output)
    assert statuses(output) == dict.fromkeys(("files", "series", "whole"), "done")
    masks = {name: nibabel.load(output / f"{name}_seg.nii.gz") for name in statuses(output)}
    found = np.asarray(masks["files"].dataobj)
    assert set(np.unique(found)) == {0, 3, 7, 9}
    for mask in masks.values():
        assert np.array_equal(mask.dataobj, found)
    assert (output / "series_seg.dcm").is_file()
    files, *_ = report(output)["cases"]
    assert files["input"].count(", ") == 1
    counts = {name: np.isin(found, values).sum() * 0.08 for name, values in ORGANS.items()}
    assert files["volume_ml"] == {name: pytest.approx(ml) for name, ml in counts.items()}
    known = masks_of_the_bundle(PANCREAS, mr, tmp_path / "in", tmp_path / "bundle")
    assert np.array_equal(nibabel.load(known / "files_0000_seg.nii.gz").dataobj, found)
    assert np.array_equal(nibabel.load(known / "whole_seg.nii.gz").dataobj, found)


def test_a_channel_that_is_missing_or_elsewhere_fails_its_case_alone(mr, tmp_path):
    both = volumes()
    shifted = AFFINE + np.eye(4, 4, 3)  # by a mm
    for name, affines in {
        "good": [AFFINE] * 2,
        "apart": [AFFINE, shifted],
        "half": [AFFINE],
    }.items():
        for part, ending, affine in zip(both, NAMES.values(), affines, strict=False):
            save(tmp_path / f"in/{name}_{ending}.nii.gz", part, affine)
    save(tmp_path / "in/twice_t1.nii.gz", both[0])
    save(tmp_path / "in/twice_0000.nii.gz", both[0])
    about = {"patient": "p", "Modality": "MR", "description": "T1 axial"}
    write_dicom_series(tmp_path / "in/dicom", both[0], AFFINE, **about)
    write_dicom_series(tmp_path / "in/ct", both[0], AFFINE, patient="c")
    output = tmp_path / "out"
    options = ("--bundle", PANCREAS, "--checkpoint", mr, "--output", output)
    predict(tmp_path / "in", *options, code=1)
    cases = {case["name"]: case for case in report(output)["cases"]}
    assert cases["good"]["status"] == "done"
    expected = {"apart": "apart_T2.nii.gz", "half": "half_0001.nii.gz", "twice": "twice_t1.nii.gz"}
    for name, words in (expected | {"p": "channel T2"}).items():
        assert cases[name]["status"] == "failed"
        assert words in cases[name]["error"]
    assert cases.keys() == {"good", "p", *expected}  # a CT is another modality


@pytest.mark.parametrize("names", [["grey"], ["DAPI", "GFP"]])
def test_pictures_are_grey_and_may_have_a_file_for_each_channel(names, tmp_path):
    regions = {"nucleus": [200]}
    ids = {"roi_size": [32, 32], "regions": regions, "modality": "microscopy"}
    ids |= {"channel_names": names, "vertical_cdr": [], "components": {}}
    cells = training(tmp_path / "run", dimensions=2, channels=len(names), **ids)
    random = np.random.default_rng(0)
    endings = ["_0000", "_gfp"] if len(names) == 2 else [""]
    (tmp_path / "in").mkdir()
    for ending in endings:
        wide = random.integers(0, 4000, (31, 50), np.uint16)
        Image.fromarray(wide).save(tmp_path / f"in/a{ending}.tif")
    output = tmp_path / "out"
    predict(tmp_path / "in", "--bundle", EYE, "--checkpoint", cells, "--output", output)
    (case,) = report(output)["cases"]
    mask = np.asarray(Image.open(output / "a_seg.png"))
    assert mask.shape == (31, 50)
    assert set(np.unique(mask)) == {0, 200}
    assert case["area_px"] == {"nucleus": (mask > 0).sum()}
    known = masks_of_the_bundle(EYE, cells, tmp_path / "in", tmp_path / "bundle")
    assert np.array_equal(Image.open(next(known.iterdir())), mask)


@pytest.mark.parametrize(
    ("files", "names", "images"),
    [
        (["a_0000", "a_0001"], ["T1"], ["a_0000", "a_0001"]),
        (["a_0000", "a_0001", "a_0002"], ["red", "green", "blue"], ["a_0000", "a_0001", "a_0002"]),
        (["a_0001", "b_T1", "a_t1", "b_T1ce"], ["T1", "T1ce"], ["a", "b"]),
        (["a_0000", "a_0001", "a_0007"], ["T1", "T2"], ["a", "a_0007"]),
        (["x", "p/T1", "p/t2", "_T1"], ["T1", "T2"], ["x", "p", "_T1"]),
    ],
)
def test_files_are_grouped_by_the_names_of_the_channels(files, names, images, tmp_path):
    paths = [tmp_path / f"{name}.nii.gz" for name in files]
    found = group_channels(paths, names, suffixes=(".nii", ".nii.gz"))
    assert [image.path.name for image in found] == images
    assert not any(image.problem for image in found)
    assert sorted(path for image in found for path in image.files) == sorted(paths)
