from pathlib import Path

import numpy as np
import pytest
from ct_dicom import write_dicom_series
from picture_dicom import write_picture

from pipeline.bundle.listing import read_datalist
from pipeline.datasets.checks import check_datalist
from pipeline.datasets.describing import Options
from pipeline.datasets.dicom.prepare import plan_dicom, write_images
from pipeline.datasets.dicom.series import find_series
from pipeline.datasets.importing import write_sources
from pipeline.errors import InputError
from pipeline.prediction.dicom_seg import Meaning, write_dicom_seg
from pipeline.transforms.regions import Regions

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("SimpleITK")

AFFINE = np.diag([-0.8, -0.7, 2.5, 1])
REAL = Path(__file__).parents[3] / "shared" / "data" / "ct_totalsegmentator"


def _ct(seed):
    ct = np.random.default_rng(seed).normal(40, 40, (8, 9, 6)).astype(np.int16)
    ct[:, :2] = -1000
    return ct


@pytest.fixture
def clinic(tmp_path):
    """Patient A with two CTs, B with one and a PET."""
    folder = tmp_path / "in"
    write_dicom_series(folder / "1", _ct(1), AFFINE, PatientID="A/1", SeriesNumber=2)
    write_dicom_series(folder / "2", _ct(2), AFFINE, PatientID="A/1", SeriesNumber=3)
    write_dicom_series(folder / "3", _ct(3), AFFINE, PatientID="Müller 7")
    write_dicom_series(folder / "4", _ct(4), AFFINE, PatientID="Müller 7", Modality="PT")
    return folder


NAMES = {"A_1_2": 1, "A_1_3": 2, "Müller_7": 3}
CT = Options(modality="CT")
VALUES = ["1=organ", "2=tumour"]


def prepare(folder, output, *, options=CT, **given):
    """Write the images, or with labels the dataset; its path and the notes."""
    found, dataset, notes = plan_dicom(folder, options, name="clinic", **given)
    if dataset is None:
        return write_images(found, output, source=folder), notes
    return write_sources(dataset, output), notes


def test_cts_without_labels_are_converted(clinic, tmp_path):
    with pytest.raises(InputError, match="CT, PET; give --modality"):
        prepare(clinic, tmp_path / "out", options=Options())
    with pytest.raises(InputError, match=r"^no CT below [^\n]*modality is PT[^\n]*$"):
        prepare(clinic / "4", tmp_path / "out")
    path, notes = prepare(clinic, tmp_path / "out")
    assert path == tmp_path / "out/images"
    assert sorted(item.name for item in path.iterdir()) == [f"{name}.nii.gz" for name in NAMES]
    (note,) = notes
    assert note.startswith("left out series ")
    assert note.endswith("its modality is PT, not CT")
    for name, seed in NAMES.items():
        assert np.array_equal(nibabel.load(path / f"{name}.nii.gz").dataobj, _ct(seed))


def test_labels_in_any_order_of_axes_make_a_sound_dataset(clinic, tmp_path):
    path, _ = prepare(clinic, tmp_path / "images")
    mask = np.zeros((8, 9, 6), np.uint8)
    mask[2:4, 4:6, 1:3], mask[4, 4, 3] = 1, 2
    (tmp_path / "labels").mkdir()
    for name in NAMES:
        affine = nibabel.load(path / f"{name}.nii.gz").affine
        drawn = nibabel.as_closest_canonical(nibabel.Nifti1Image(mask, affine))
        nibabel.save(drawn, tmp_path / f"labels/{name}.nii.gz")
    datalist, _ = prepare(clinic, tmp_path / "out", labels=tmp_path / "labels", values=VALUES)
    assert not any(each.blocks for each in check_datalist(datalist))
    cases = read_datalist(datalist)["training"]
    assert [case["patient"] for case in cases] == ["A_1", "A_1", "Müller_7"]
    assert cases[0]["fold"] == cases[1]["fold"]
    for name in NAMES:
        assert np.array_equal(nibabel.load(tmp_path / f"out/labels/{name}.nii.gz").dataobj, mask)

    label = tmp_path / "labels/A_1_3.nii.gz"
    drawn = nibabel.load(label)
    nibabel.save(drawn, tmp_path / "labels/A_1_9.nii.gz")
    given = {"labels": tmp_path / "labels", "values": VALUES, "name": "x"}
    *_, notes = plan_dicom(clinic, Options(modality="CT"), **given)
    assert notes[-1].startswith("left out 1 files")
    assert notes[-1].endswith("A_1_9.nii.gz")
    nibabel.save(drawn, tmp_path / "labels/A_1_3.nii")
    with pytest.raises(InputError, match=r"A_1_3\.nii and .*A_1_3\.nii\.gz: both"):
        plan_dicom(clinic, Options(modality="CT"), **given)
    (tmp_path / "labels/A_1_3.nii").unlink()
    faults = {
        r"A_1_3\.nii\.gz.*7 x 9 x 6 instead": drawn.slicer[1:],
        ".*7 .in 1 of 3., 14": nibabel.Nifti1Image(np.asarray(drawn.dataobj) * 7, drawn.affine),
    }
    for reason, fault in faults.items():
        nibabel.save(fault, label)
        with pytest.raises(InputError, match=reason):
            prepare(clinic, tmp_path / "again", labels=tmp_path / "labels", values=VALUES)
    label.unlink()
    with pytest.raises(InputError, match=r"for A_1_3; .* such as A_1_3\.nii\.gz"):
        prepare(clinic, tmp_path / "again", labels=tmp_path / "labels", values=VALUES)
    assert not (tmp_path / "again").exists()


def _segment(series, masks, path):
    """Write a DICOM SEG, with the masks as its segments."""
    meaning = Meaning("AnatomicalStructure", "Liver", (255, 0, 0))
    index = sum(mask.astype(np.uint8) * value for value, mask in enumerate(masks.values(), 1))
    regions = Regions({name: [value] for value, name in enumerate(masks, 1)})
    about = {"algorithm": "hand", "version": "1", "meanings": dict.fromkeys(masks, meaning)}
    write_dicom_seg(path, index, regions, series, **about)


def test_segmentations_beside_the_series_name_their_regions(tmp_path):
    pytest.importorskip("highdicom")
    outer, inner = np.zeros((2, 8, 9, 6), bool)
    outer[2:6, 3:7, 1:5] = inner[3, 4, 2] = True
    for number in (1, 2):
        folder = tmp_path / f"in/{number}"
        tags = {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}
        write_dicom_series(folder, _ct(number), AFFINE, PatientID=f"p{number}", **tags)
    for series in find_series(tmp_path / "in", modality="MR"):
        _segment(series, {"organ": outer}, series.folder / "organ.dcm")
        if series.patient == "p1":  # drawn apart, and inside the organ
            _segment(series, {"lesion": inner}, series.folder / "lesion.dcm")
    datalist, notes = prepare(tmp_path / "in", tmp_path / "out", options=Options())
    assert notes == []
    assert check_datalist(datalist) == []
    content = read_datalist(datalist)
    assert content["modality"] == "MR"
    assert content["regions"] == {"lesion": [2], "organ": [1, 2]}
    for name, lesion in (("p1", 1), ("p2", 0)):
        mask = np.asarray(nibabel.load(tmp_path / f"out/labels/{name}.nii.gz").dataobj)
        assert np.array_equal(mask, outer + np.uint8(lesion) * inner)
    beside = find_series(tmp_path / "in/1", modality="MR")[0]
    _segment(beside, {"fat": np.roll(inner, 1, 0) | ~outer}, tmp_path / "in/1/fat.dcm")
    with pytest.raises(InputError, match=r"organ and fat|fat and organ.*--region NAME=VALUE"):
        plan_dicom(tmp_path / "in", Options(), name="x")
    _, dataset, _ = plan_dicom(tmp_path / "in", Options(regions=["fat=fat"]), name="x")
    assert dataset.about["labels"]["3"] == "fat and organ"
    (tmp_path / "in/1/fat.dcm").unlink()
    write_dicom_series(tmp_path / "rt", _ct(1), AFFINE, Modality="RTSTRUCT")
    with pytest.raises(InputError, match="contours are not read"):
        plan_dicom(tmp_path / "in", Options(), name="x", labels=tmp_path / "rt")
    pydicom = pytest.importorskip("pydicom")
    lost = pydicom.dcmread(tmp_path / "in/2/organ.dcm")
    del lost.ReferencedSeriesSequence
    lost.save_as(tmp_path / "in/2/organ.dcm")
    with pytest.raises(InputError, match=r"of p2, but .*refer to none.*organ\.dcm"):
        prepare(tmp_path / "in", tmp_path / "again", options=Options())
    (tmp_path / "in/2/organ.dcm").unlink()
    with pytest.raises(InputError, match=r"no segmentation of p2.*--skip-refused"):
        prepare(tmp_path / "in", tmp_path / "again", options=Options())
    _, dataset, notes = plan_dicom(tmp_path / "in", Options(), name="x", skip_refused=True)
    assert [source.name for source in dataset.sources] == ["p1"]
    assert len(notes) == 1


def test_a_broken_ct_stops_all_unless_it_is_left_out(clinic, tmp_path):
    next((clinic / "2").glob("10*")).unlink()
    with pytest.raises(ValueError, match=r"1 slice is missing.*--skip-refused"):
        prepare(clinic, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    path, notes = prepare(clinic, tmp_path / "out", skip_refused=True)
    assert len(list(path.iterdir())) == 2
    assert "1 slice is missing" in notes[-1]


def test_pictures_are_sent_to_the_command_for_them(tmp_path):
    grey = np.random.default_rng(0).integers(0, 255, (9, 8), dtype=np.uint8)
    for name, pixels, modality in (
        ("photographs", np.dstack([grey, grey, grey // 2]), "OP"),
        ("xrays", grey, "DX"),
    ):
        write_picture(tmp_path / name / "IM1", pixels, modality=modality)
        with pytest.raises(InputError, match="prepare folder"):
            plan_dicom(tmp_path / name, Options(), name="x")
    (tmp_path / "png").mkdir()
    with pytest.raises(FileNotFoundError, match="prepare folder"):
        plan_dicom(tmp_path / "png", Options(), name="x")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no CT at {REAL}")
def test_a_real_series_and_its_label_make_a_sound_dataset(tmp_path):
    label = REAL / "example_ct_dicom_pancreas_derived.nii.gz"
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/example_ct_dicom.nii.gz").symlink_to(label)
    datalist, notes = prepare(
        REAL / "example_ct_dicom",
        tmp_path / "out",
        labels=tmp_path / "labels",
        values=["1=pancreas"],
    )
    assert notes == []
    assert check_datalist(datalist) == []
    volumes = [
        nibabel.load(tmp_path / f"out/{kind}s/example_ct_dicom.nii.gz")
        for kind in ("image", "label")
    ]
    ct, mask = (np.asarray(volume.dataobj) for volume in volumes)
    assert mask.sum() == np.asarray(nibabel.load(label).dataobj).sum()
    assert np.median(ct[mask == 1]) == pytest.approx(90, abs=40)
