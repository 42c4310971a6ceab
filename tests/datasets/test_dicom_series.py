import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ct_dicom import select_series, write_dicom_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pipeline.datasets.dicom.series import find_series, no_series, read_series, write_nifti

sitk = pytest.importorskip("SimpleITK")
pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")

REAL = Path(__file__).parents[3] / "shared" / "data" / "ct_totalsegmentator"
ITK_TO_RAS = np.diag([-1.0, -1, 1, 1])
PLAIN = np.diag([-0.8, -0.7, 2.5, 1])  # what a supine patient has in DICOM, as RAS


def _ct(shape=(6, 5, 4), seed=0):
    ct = np.random.default_rng(seed).integers(-1024, 1500, shape).astype(np.int16)
    ct[0, 0, :2] = -1000, 40  # whatever the numbers, they may be HU
    return ct


def _itk_affine(image):
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return ITK_TO_RAS @ affine


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 999),
    shape=st.tuples(st.integers(2, 6), st.integers(2, 6), st.integers(2, 6)),
    spacing=st.tuples(*[st.floats(0.4, 5)] * 3),
    mirrored=st.booleans(),
    slope=st.sampled_from([1, 2, 0.5]),
)
def test_any_series_is_read_as_the_volume_it_was(
    tmp_path_factory, seed, shape, spacing, mirrored, slope
):
    """Also as ITK itself reads it, and as a NIfTI of it is read."""
    folder = tmp_path_factory.mktemp("Käse und Brot")
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * spacing
    affine[:3, 3] = np.random.default_rng(seed).uniform(-300, 300, 3)
    if mirrored:
        affine[:, 2] *= -1
    ct = (_ct(shape, seed) // 2 * 2).astype(np.int16)
    write_dicom_series(folder, ct, affine, slope=slope, InstanceNumber=0)

    array, found = read_series(select_series(folder))
    if np.linalg.det(ITK_TO_RAS[:3, :3] @ affine[:3, :3]) < 0:  # slices go along the normal
        array = array[:, :, ::-1]
        found = found @ nibabel.orientations.inv_ornt_aff([[0, 1], [1, 1], [2, -1]], shape)
    assert array.dtype == np.int16
    assert np.array_equal(array, ct)
    assert np.allclose(found, affine, atol=1e-3)

    array, found = read_series(select_series(folder))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    assert np.array_equal(sitk.GetArrayFromImage(image).T, array)
    assert np.allclose(_itk_affine(image), found, atol=1e-3)

    path = folder / "ct.nii.gz"
    write_nifti(path, array, found)
    volume = nibabel.load(path)
    assert np.array_equal(volume.dataobj, array)
    assert np.allclose(volume.affine, found, atol=1e-3)
    assert np.allclose(_itk_affine(sitk.ReadImage(str(path))), found, atol=1e-3)


def test_values_that_are_not_whole_stay(tmp_path):
    """Also where each slice has its own rescale."""

    def change(number, item):
        item.RescaleSlope = 1 + number / 5

    write_dicom_series(tmp_path, _ct() // 4, PLAIN, change=change)
    array, _ = read_series(select_series(tmp_path))
    assert array.dtype == np.float32
    assert np.allclose(array, (_ct() // 4 + 1024) * (1 + np.arange(4) / 5) - 1024)


def _at(number, **tags):
    """Change elements of one slice."""

    def change(index, item):
        if index == number:
            for name, value in tags.items():
                if value is None:
                    delattr(item, name)
                else:
                    setattr(item, name, value)

    return change


def _move(shift):
    """Move slices by what ``shift`` gives for their number, in mm."""

    def change(number, item):
        item.ImagePositionPatient = np.add(item.ImagePositionPatient, shift(number)).tolist()

    return change


FAULTS = {
    "modality": ({"Modality": "MR"}, "its modality is MR, not CT$"),
    "scout": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "scout view"),
    "capture": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "picture of the screen"),
    "colour": ({"SamplesPerPixel": 3}, "in colour"),
    "frames": ({"NumberOfFrames": 4}, "many frames"),
    "no position": (
        {"change": _at(1, ImagePositionPatient=None)},
        "1 of 9 files have no ImagePositionPatient",
    ),
    "no rescale": ({"change": _at(1, RescaleSlope=None)}, "no RescaleSlope"),
    "unit": ({"RescaleType": "OD"}, "in OD, not in Hounsfield"),
    "table": ({"ModalityLUTSequence": [pydicom.Dataset()]}, "table .ModalityLUTSequence"),
    "spacing 0": ({"PixelSpacing": [0, 0.8]}, "pixel spacing is 0 x 0.8 mm"),
    "two spacings": ({"change": _at(1, PixelSpacing=[2, 2])}, "differ in pixel spacing"),
    "two orientations": (
        {"change": _at(1, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])},
        r"differ in orientation: .* \(8 files\), .* \(1 files\)",
    ),
    "no direction": ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, r"orientation \[1\.0, "),
    "numbers": ({"PixelSpacing": [1, 1, 1]}, "not 2 numbers"),
    "one number": ({"PixelSpacing": 1}, "its PixelSpacing is 1.0, not 2 numbers"),
    "two slopes": ({"change": _at(1, RescaleSlope=[1, 2])}, "RescaleSlope is .*, not a number"),
    "two modalities": ({"Modality": ["CT", "MR"]}, "its modality is .'CT', 'MR'.,"),
    "inverted": ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1, not MONOCHROME2"),
    "shifted pixels": ({"BitsStored": 12, "HighBit": 15}, "HighBit is 15 and its BitsStored 12"),
    "doubled": (
        {"change": _at(3, ImagePositionPatient=[0, 0, 5])},
        r"1[07] ä 1 and .*24 ä 1 .*one position, of 9 slices",
    ),
    "one above another": ({"change": _move(lambda n: (0, 0, -2.5 * n))}, "9 images are at one"),
    "tilted": ({"change": _move(lambda n: (0, 0.5 * n, 0))}, "tilted by 11.3 degrees"),
    "missing": (
        {"change": _move(lambda n: (0, 0, 5 * (n > 5)))},
        r"2 slices .* 38 ä 1 and 45 ä 1, 7\.5 mm .* 2\.5 mm",
    ),
    "last one missing": (
        {"change": _move(lambda n: (0, 0, 2.5 * (n > 7)))},
        r"1 slice .*, 5 mm",
    ),
    "uneven": (
        {"change": _move(lambda n: (0, 0, 1.3 * max(n - 4, 0)))},
        "slices are 2.5 to 3.8 mm apart",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_series_that_is_not_a_volume_is_refused_by_name(tmp_path, fault):
    options, reason = FAULTS[fault]
    write_dicom_series(tmp_path, _ct((3, 4, 9)), PLAIN, SeriesInstanceUID="1.2.3", **options)
    with pytest.raises(ValueError, match=reason) as told:
        select_series(tmp_path)
    assert str(told.value).startswith(f'series 1.2.3 ("CT phantom", 9 files in {tmp_path}): ')
    assert "\n" not in str(told.value)
    (series,) = find_series(tmp_path)
    with pytest.raises(ValueError, match=reason):
        read_series(series)


def test_positions_may_be_rounded(tmp_path):
    rounded = _move(lambda number: (0, 0, 0.04 * (-1) ** number))
    write_dicom_series(tmp_path, _ct(), PLAIN, change=rounded)
    assert select_series(tmp_path).affine[2, 2] == pytest.approx(2.5, abs=0.05)


def test_directions_may_be_rounded(tmp_path):
    """Then the axes are at right angles all the same, and a voxel keeps its volume."""
    affine = Rotation.from_euler("xyz", (20, 10, 30), degrees=True).as_matrix() @ PLAIN[:3, :3]
    whole = np.eye(4)
    whole[:3, :3] = affine

    def change(number, item):
        item.ImageOrientationPatient = np.round(item.ImageOrientationPatient, 2).tolist()
        item.PixelSpacing = [0.7 + (-1) ** number * 1e-7, 0.8]

    write_dicom_series(tmp_path, _ct((6, 5, 4)), whole, change=change)
    found = select_series(tmp_path).affine[:3, :3]
    lengths = np.linalg.norm(found, axis=0)
    assert lengths == pytest.approx([0.8, 0.7, 2.5], abs=1e-2)
    assert found.T @ found == pytest.approx(np.diag(lengths**2), abs=1e-9)


def test_copies_of_slices_count_once(tmp_path):
    write_dicom_series(tmp_path / "a", _ct(), PLAIN)
    shutil.copytree(tmp_path / "a", tmp_path / "backup")
    series = select_series(tmp_path)
    assert len(series.files) == 4
    assert np.array_equal(read_series(series)[0], _ct())


def test_one_of_several_series_is_chosen_by_what_names_it(tmp_path):
    first, second = _ct(seed=1), _ct(seed=2)
    write_dicom_series(
        tmp_path, first, PLAIN, SeriesInstanceUID="1.1", SeriesDescription="arterial\nphase"
    )
    for path in tmp_path.iterdir():
        path.rename(path.with_suffix(".dcm"))
    write_dicom_series(tmp_path, second, PLAIN, SeriesInstanceUID="1.2")
    (tmp_path / "Zürich.txt").write_text("no DICOM")
    assert [series.uid for series in find_series(tmp_path)] == ["1.1", "1.2"]
    assert np.array_equal(read_series(select_series(tmp_path, name="1.2"))[0], second)
    for name in ("arterial Phase", "1.1"):
        assert select_series(tmp_path, name=name).description == "arterial phase"
    found = find_series(tmp_path, name="1")  # their number
    assert len([series for series in found if series.is_wanted]) == 2
    found = find_series(tmp_path, name="1.3")
    assert not any(series.is_wanted for series in found)
    assert '1 "arterial phase"' in no_series("1.3", found, tmp_path)


def test_other_images_stand_aside_but_a_broken_ct_does_not(tmp_path):
    write_dicom_series(tmp_path / "ct", _ct(), PLAIN, SeriesInstanceUID="1.1")
    write_dicom_series(tmp_path / "pet", _ct(), PLAIN, SeriesInstanceUID="1.2", Modality="PT")
    write_dicom_series(
        tmp_path / "scout", _ct(), PLAIN, SeriesInstanceUID="1.4", ImageType=["LOCALIZER"]
    )
    assert select_series(tmp_path).uid == "1.1"
    write_dicom_series(
        tmp_path / "thin",
        _ct(),
        PLAIN,
        SeriesInstanceUID="1.3",
        change=_move(lambda n: (0, 0, n**2)),
    )
    with pytest.raises(ValueError, match=r"^series 1\.3 .*mm apart"):
        select_series(tmp_path)


def test_other_modalities_need_no_unit(tmp_path):
    def change(number, item):
        del item.RescaleSlope, item.RescaleIntercept, item.RescaleType

    write_dicom_series(tmp_path / "mr", _ct(), PLAIN, Modality="MR", change=change)
    write_dicom_series(tmp_path / "pet", _ct(), PLAIN, Modality="PT", RescaleType="BQML")
    write_dicom_series(tmp_path / "plan", _ct(), PLAIN, Modality="RTSTRUCT")
    array, affine = read_series(select_series(tmp_path, modality="MR"))
    assert np.array_equal(array, _ct() + 1024)
    assert np.allclose(affine, PLAIN)
    assert select_series(tmp_path, modality="PET").code == "PT"
    found = find_series(tmp_path, modality=None)
    assert {series.code: series.is_wanted for series in found} == {
        "MR": True,
        "PT": True,
        "RTSTRUCT": False,
    }


def test_anonymous_series_are_kept_apart_by_their_folders(tmp_path):
    for name in ("a", "b"):
        write_dicom_series(tmp_path / name, _ct(), PLAIN, SeriesInstanceUID="")
    assert [series.problem for series in find_series(tmp_path)] == [None, None]


def test_files_that_are_torn(tmp_path):
    (tmp_path / "readme").write_text("hello")
    with pytest.raises(FileNotFoundError, match="no DICOM file below"):
        find_series(tmp_path)
    write_dicom_series(tmp_path, _ct(), PLAIN)
    torn = tmp_path / "10 ä 1"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-20])  # the pixels are cut
    with pytest.raises(ValueError, match=r"10 ä 1 .* \(Explicit VR Little Endian\)"):
        read_series(select_series(tmp_path))
    few = pydicom.dcmread(torn)
    few.Rows = few.Columns = 256
    few.save_as(torn)
    with pytest.raises(ValueError, match=r"10 ä 1 is too short"):
        select_series(tmp_path)
    torn.chmod(0)
    if not os.access(torn, os.R_OK):  # root may read it
        with pytest.raises(ValueError, match=r"10 ä 1 .*Permission denied"):
            select_series(tmp_path)
    torn.chmod(0o600)
    torn.write_bytes(whole[:140])  # the header is cut
    with pytest.raises(ValueError, match=r"3 files in .*10 ä 1 "):
        select_series(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no CT at {REAL}")
def test_real_series_in_jpeg_2000():
    """The expert tool that made the label wrote another order of axes, of the same places."""
    array, affine = read_series(select_series(REAL / "example_ct_dicom"))
    assert (array.shape, array.dtype) == ((512, 512, 20), np.int16)
    assert (array.min(), np.median(array[236:276, 236:276])) == (-1024, pytest.approx(50, abs=60))
    label = nibabel.load(REAL / "example_seg_dicom.nii.gz")
    ours = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, affine))
    theirs = nibabel.as_closest_canonical(label)
    assert np.allclose(ours.affine, theirs.affine, atol=1e-3)
    pancreas = np.asarray(ours.dataobj)[np.asarray(theirs.dataobj) == 7]
    assert np.percentile(pancreas, [10, 50, 90]) == pytest.approx([60, 90, 120], abs=40)
