"""A DICOM segmentation says what the mask said, to readers that share no code with the writer."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bundle_configs import BUNDLES
from ct_dicom import select_series, write_dicom_series
from scipy.spatial.transform import Rotation

from pipeline.datasets.dicom.series import read_series
from pipeline.errors import InputError
from pipeline.prediction.dicom_seg import Meaning, write_dicom_seg
from pipeline.transforms.regions import Regions

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

REAL = Path(__file__).parents[3] / "shared" / "data" / "ct_totalsegmentator"
REGIONS = Regions({"pancreas": [1], "tumour": [2]})
SHAPE = (11, 9, 8)
METADATA = BUNDLES[1] / "configs/metadata.json"
CODES = json.loads(METADATA.read_text())["dicom_segments"]
MEANINGS = {name: Meaning(**entry) for name, entry in CODES.items()}
MODEL = {"meanings": MEANINGS, "algorithm": "Attention U-Net", "version": "1.2.0"}

PLACE = {
    "axial": np.diag([-0.8, -0.7, 2.5, 1.0]),
    "feet first": np.diag([0.8, -0.7, -2.5, 1.0]),
    "mirrored slices": np.diag([-0.8, -0.7, -2.5, 1.0]),
    "sagittal": np.array([[0, 0, 3, 0], [-0.7, 0, 0, 0], [0, -0.8, 0, 0], [0, 0, 0, 1.0]]),
    "oblique": np.eye(4),
}
PLACE["oblique"][:3, :3] = Rotation.from_euler("xyz", [11, -25, 160], True).as_matrix() * 1.3
for number, affine in enumerate(PLACE.values()):
    affine[:3, 3] = -100.5 + 37.25 * number, 80.125, -412.75


@pytest.fixture
def series(tmp_path, request):
    """A series in the orientation that the test's parameter names."""
    affine = PLACE[getattr(request, "param", "axial")]
    ct = np.random.default_rng(0).integers(-1000, 1000, SHAPE)
    write_dicom_series(tmp_path / "Käse und Brot", ct, affine)
    return select_series(tmp_path / "Käse und Brot")


def scattered(shape, seed=1):
    """Voxels of both labels in no symmetric pattern, with an empty slice between two others."""
    mask = np.random.default_rng(seed).choice(3, shape, p=[0.7, 0.2, 0.1]).astype(np.uint8)
    mask[:, :, [0, 4]] = 0
    return mask


def read_back(path, affine, shape, folder):
    """The index mask on the grid of ``affine``, from what dcmqi (C++, DCMTK and ITK) reads."""
    pytest.importorskip("dcmqi")
    sitk = pytest.importorskip("SimpleITK")
    folder.mkdir()
    program = Path(sys.executable).with_name("segimage2itkimage")
    subprocess.run(
        [program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd"],
        check=True, capture_output=True,
    )  # fmt: skip
    found = np.zeros(shape, dtype=np.uint8)
    files = sorted(folder.glob("*.nrrd"))
    for file in files:
        image = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(image).T
        index = np.argwhere(array)
        directions = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        points = (index @ directions.T + image.GetOrigin()) * (-1, -1, 1)  # mm, RAS
        place = (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
        whole = np.rint(place).astype(int)
        assert np.abs(place - whole).max(initial=0) < 0.01
        assert not found[tuple(whole.T)].any()
        found[tuple(whole.T)] = array[tuple(index.T)]
    return found, json.loads((folder / "meta.json").read_text()), len(files)


@pytest.mark.parametrize("series", PLACE, indirect=True)
def test_every_voxel_comes_back_in_every_orientation(series, tmp_path):
    array, affine = read_series(series)
    mask = scattered(array.shape)
    path = write_dicom_seg(tmp_path / "out" / "seg.dcm", mask, REGIONS, series, **MODEL)
    found, _, _ = read_back(path, affine, mask.shape, tmp_path / "dcmqi")
    assert np.array_equal(found, mask)
    assert [file.name for file in path.parent.iterdir()] == ["seg.dcm"]


def test_it_belongs_to_the_series_and_says_what_it_shows(series, tmp_path):
    mask = scattered(SHAPE)
    path = write_dicom_seg(tmp_path / "seg.dcm", mask, REGIONS, series, **MODEL)
    _, meta, _ = read_back(path, read_series(series)[1], SHAPE, tmp_path / "dcmqi")
    codes = [
        {name: part["CodeValue"] for name, part in segment.items() if name.endswith("Sequence")}
        for (segment,) in meta["segmentAttributes"]
    ]
    assert codes == [
        {
            "SegmentedPropertyCategoryCodeSequence": "91723000",
            "SegmentedPropertyTypeCodeSequence": "15776009",
        },
        {
            "SegmentedPropertyCategoryCodeSequence": "49755003",
            "SegmentedPropertyTypeCodeSequence": "108369006",
            "AnatomicRegionSequence": "15776009",
        },
    ]
    written, sources = pydicom.dcmread(path), [pydicom.dcmread(file) for file in series.files]
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert written[name].value == sources[0][name].value
    (referenced,) = written.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series.uid
    instances = [item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence]
    assert instances == [source.SOPInstanceUID for source in sources]
    # Each frame holds one segment in one slice: that of the file which it refers to.
    by_uid = {source.SOPInstanceUID: number for number, source in enumerate(sources)}
    seen = set()
    for frame, bits in zip(
        written.PerFrameFunctionalGroupsSequence, written.pixel_array, strict=True
    ):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        slice_ = by_uid[image.ReferencedSOPInstanceUID]
        assert np.array_equal(bits.T, mask[:, :, slice_] == number)
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert position == sources[slice_].ImagePositionPatient
        seen.add((number, slice_))
    assert seen == {(number, slice_) for number in (1, 2) for slice_ in range(1, 8)}  # no gap
    assert {item.SegmentAlgorithmName for item in written.SegmentSequence} == {"Attention U-Net"}
    algorithm = written.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmVersion == "1.2.0"


def test_any_values_of_an_mr_become_segments_of_their_names(tmp_path):
    mr = np.random.default_rng(0).integers(0, 900, SHAPE)
    about = {"Modality": "MR", "intercept": 0.0}
    write_dicom_series(tmp_path / "mr", mr, PLACE["axial"], **about)
    series = select_series(tmp_path / "mr", modality="MR")
    array, affine = read_series(series)
    assert np.array_equal(array, mr)
    mask = np.array([0, 3, 7], np.uint8)[scattered(SHAPE)]
    regions = Regions({"LV_myocardium": [7], "liver": [3]})
    path = write_dicom_seg(tmp_path / "seg.dcm", mask, regions, series, **MODEL)
    found, meta, _ = read_back(path, affine, SHAPE, tmp_path / "dcmqi")
    assert np.array_equal(found, np.array([0, 2, 1])[scattered(SHAPE)])
    (one,), (other,) = meta["segmentAttributes"]
    assert (one["SegmentLabel"], other["SegmentLabel"]) == ("LV_myocardium", "liver")
    assert one["SegmentedPropertyTypeCodeSequence"]["CodeMeaning"] == "Tissue"
    assert one["recommendedDisplayRGBValue"] != other["recommendedDisplayRGBValue"]


@pytest.mark.parametrize(
    "regions", [{"core": [2], "whole": [1, 2]}, {"whole": [1, 2], "a": [1], "b": [2]}]
)
def test_a_region_has_all_that_lies_inside_it(regions, series, tmp_path):
    mask = scattered(SHAPE)
    path = write_dicom_seg(tmp_path / "seg.dcm", mask, Regions(regions), series, **MODEL)
    written = pydicom.dcmread(path)
    assert [each.SegmentLabel for each in written.SegmentSequence] == list(regions)
    voxels = dict.fromkeys(regions, 0)
    for frame, bits in zip(
        written.PerFrameFunctionalGroupsSequence, written.pixel_array, strict=True
    ):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        voxels[list(regions)[number - 1]] += bits.sum()
    assert voxels == {name: np.isin(mask, values).sum() for name, values in regions.items()}


def test_the_same_mask_gives_the_same_file_but_for_uids_and_dates(series, tmp_path):
    first, second = (
        pydicom.dcmread(
            write_dicom_seg(tmp_path / name, scattered(SHAPE), REGIONS, series, **MODEL)
        )
        for name in ("a.dcm", "b.dcm")
    )
    differing = {item.keyword for item in first if item != second.get(item.tag)}
    assert differing <= {
        "InstanceCreationDate", "InstanceCreationTime", "SOPInstanceUID", "SeriesInstanceUID",
        "ContentDate", "ContentTime", "DimensionIndexSequence", "DimensionOrganizationSequence",
        "ContributingEquipmentSequence",  # with the time of its contribution
    }  # fmt: skip


@pytest.mark.parametrize("value", [1, 0], ids=["no tumour", "nothing"])
def test_what_was_looked_for_and_not_found_is_an_empty_segment(value, series, tmp_path):
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[3:6, 2:5, 2:5] = value
    path = write_dicom_seg(tmp_path / "seg.dcm", mask, REGIONS, series, **MODEL)
    found, meta, files = read_back(path, read_series(series)[1], SHAPE, tmp_path / "dcmqi")
    assert np.array_equal(found, mask)
    labels = [segment["SegmentLabel"] for (segment,) in meta["segmentAttributes"]]
    assert (labels, files) == (["pancreas", "tumour"], 2)


@pytest.mark.skipif(not REAL.exists(), reason="no real CT beside the project")
def test_a_real_series_in_jpeg_2000(tmp_path, caplog):
    nibabel = pytest.importorskip("nibabel")
    series = select_series(REAL / "example_ct_dicom")
    array, affine = read_series(series)
    label = nibabel.load(REAL / "example_seg_dicom.nii.gz")
    turn = np.linalg.inv(affine) @ label.affine
    place = np.rint(np.argwhere(np.asarray(label.dataobj) == 7) @ turn[:3, :3].T + turn[:3, 3])
    mask = np.zeros(array.shape, dtype=np.uint8)
    mask[tuple(place.astype(int).T)] = 1
    assert mask.sum() == 1327
    path = write_dicom_seg(tmp_path / "seg.dcm", mask, Regions({"pancreas": [1]}), series, **MODEL)
    found, _, _ = read_back(path, affine, mask.shape, tmp_path / "dcmqi")
    assert np.array_equal(found, mask)
    # Its anonymization left the UIDs of the frame of reference and of the images alone.
    said = [record.args[1] for record in caplog.records]
    assert said == ["StudyInstanceUID", "SeriesInstanceUID"]
    written = pydicom.dcmread(path)
    source = pydicom.dcmread(series.files[0], stop_before_pixels=True)
    assert written.FrameOfReferenceUID == source.FrameOfReferenceUID
    (referenced,) = written.ReferencedSeriesSequence
    first = referenced.ReferencedInstanceSequence[0]
    assert first.ReferencedSOPInstanceUID == source.file_meta.MediaStorageSOPInstanceUID


@pytest.mark.parametrize(
    ("characters", "patient"),
    [
        ("ISO_IR 192", "Müller^Łucja^李"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_headers_that_anonymization_emptied_are_enough(characters, patient, series, tmp_path):
    """Also an odd sex or birth date, text of other character sets, and no slice thickness."""
    folder = shutil.copytree(series.folder, tmp_path / "anonymous")
    for file in folder.iterdir():
        item = pydicom.dcmread(file)
        for name in (
            "PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID",
            "StudyDate", "StudyTime", "SliceThickness", "ReferringPhysicianName",
        ):  # fmt: skip
            delattr(item, name)
        item.SpecificCharacterSet, item.PatientSex = characters, "U"
        item.PatientName = patient
        item.add_new("PatientBirthDate", "DA", None)
        item["PatientBirthDate"]._value = "about 1950"
        item.save_as(file, enforce_file_format=False)
    anonymous = select_series(folder)
    mask = scattered(SHAPE)
    path = write_dicom_seg(tmp_path / "seg.dcm", mask, REGIONS, anonymous, **MODEL)
    found, _, _ = read_back(path, read_series(anonymous)[1], SHAPE, tmp_path / "dcmqi")
    assert np.array_equal(found, mask)
    assert pydicom.dcmread(path).PatientName == patient


@pytest.mark.parametrize(
    ("mask", "regions", "message"),
    [
        (np.zeros((9, 11, 8), np.uint8), REGIONS, r"grid \(9, 11, 8\).* 11 x 9 px"),
        (np.zeros((11, 9, 7), np.uint8), REGIONS, r"grid \(11, 9, 7\) .* 8 slices"),
        (np.zeros((11, 9), np.uint8), REGIONS, r"grid \(11, 9\)"),
        (np.zeros(SHAPE), REGIONS, "float64"),
        (np.full(SHAPE, 3, np.uint8), REGIONS, "value 3"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, regions, message, series, tmp_path):
    with pytest.raises(InputError, match=message):
        write_dicom_seg(tmp_path / "seg.dcm", mask, regions, series, **MODEL)
    assert not (tmp_path / "seg.dcm").exists()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("FrameOfReferenceUID", None, "8 of 8 files have no FrameOfReferenceUID"),
        ("StudyInstanceUID", ["1.2.3"] * 7 + [""], "2 different StudyInstanceUID"),
        ("SOPInstanceUID", ["1.2.3"] * 8, "1 different SOPInstanceUID"),
        ("StudyDate", ["about 1950"] * 8, "about 1950"),
    ],
)
def test_a_series_that_nothing_can_refer_to_is_refused(name, values, message, series, tmp_path):
    for number, file in enumerate(series.files):
        item = pydicom.dcmread(file)
        if values is None:
            delattr(item, name)
        else:
            item.add_new(name, pydicom.datadict.dictionary_VR(name), None)
            item[name]._value = values[number]
        item.save_as(file, enforce_file_format=False)
    (tmp_path / "seg.dcm").write_text("an earlier one")
    with pytest.raises(InputError, match=message):
        write_dicom_seg(
            tmp_path / "seg.dcm", scattered(SHAPE), REGIONS, select_series(series.folder), **MODEL
        )
    assert (tmp_path / "seg.dcm").read_text() == "an earlier one"
    assert len(list(tmp_path.iterdir())) == 2  # nothing half-written stays


def test_a_full_disk_costs_no_earlier_file(series, tmp_path, monkeypatch):
    path = write_dicom_seg(tmp_path / "seg.dcm", scattered(SHAPE), REGIONS, series, **MODEL)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_dicom_seg(path, scattered(SHAPE, 2), REGIONS, series, **MODEL)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
