import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ct_dicom import select_series, write_dicom_series
from nibabel import orientations

from pipeline.bundle.listing import read_datalist
from pipeline.datasets.checks import check_datalist
from pipeline.datasets.dicom.series import read_series
from pipeline.datasets.nih_pancreas import prepare as nih_pancreas
from pipeline.datasets.nih_pancreas.labels import match_label

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("SimpleITK")

REAL = Path(__file__).parents[3] / "shared" / "data" / "ct_totalsegmentator"
# Of the collection: rows of a slice go forwards, so slices go down. In RAS:
CT_AFFINE = np.array([[-0.8, 0, 0, 200], [0, 0.8, 0, -150], [0, 0, -2.5, 40], [0, 0, 0, 1.0]])
LABEL_AFFINE = np.diag([-0.8, 0.8, -2.5, 1])  # the right directions, no place


def _patient(number, shape=(20, 22, 12)):
    """An organ in fat, beside others as dense as it is, without any symmetry."""
    rng = np.random.default_rng(number)
    ct = rng.normal(-90, 12, shape)
    mask = np.zeros(shape, bool)
    mask[3:9, 5:9, 2:5] = mask[7:9, 7:14, 3:8] = True
    ct[12:19, 3:20, 1:11] = ct[2:9, 16:21, 6:10] = 60  # liver and more
    ct[mask] = 90
    ct[:, :2] = -1000
    return np.rint(ct).astype(np.int16), mask


def _collection(root, numbers, *, turned=()):
    """The collection in small; the labels of ``turned`` are stored upside down."""
    for number in numbers:
        ct, mask = _patient(number)
        name = f"PANCREAS_{number:04d}"
        write_dicom_series(root / "dicom" / name, ct, CT_AFFINE, PatientID=name)
        label = mask.astype(np.uint8)
        label = np.flip(label, 2) if number in turned else label
        path = root / f"files/labels/label{number:04d}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(label, LABEL_AFFINE), path)
    return root


def test_cts_and_labels_are_brought_together(tmp_path):
    source = _collection(tmp_path / "in", [1, 25, 2, 6], turned=[2])
    datalist, notes = nih_pancreas.prepare(source, tmp_path / "out")
    assert not any(each.blocks for each in check_datalist(datalist))
    content = read_datalist(datalist)
    names = [case["patient"] for case in content["training"] + content["testing"]]
    assert sorted(names) == ["PANCREAS_0001", "PANCREAS_0002", "PANCREAS_0006"]  # 25 is a copy
    assert notes[0].startswith("PANCREAS_0002: label mirrored head to feet")
    assert notes[1:] == ["3 of 80 cases"]
    for name in names:
        image, label = (
            nibabel.load(tmp_path / f"out/{kind}s/{name}.nii.gz") for kind in ("image", "label")
        )
        ct, affine = read_series(select_series(source / "dicom" / name))
        assert np.array_equal(image.dataobj, ct)
        assert np.allclose(image.affine, affine, atol=1e-4)
        assert label.get_data_dtype() == np.uint8
        assert set(np.asarray(image.dataobj)[np.asarray(label.dataobj) == 1]) == {90}


def test_faulty_folders_are_refused_by_name(tmp_path):
    source = _collection(tmp_path / "in", [1, 2, 3])
    next((source / "files").rglob("label0002*")).rename(tmp_path / "kept.nii.gz")
    next((source / "dicom/PANCREAS_0003").glob("10*")).unlink()
    reason = r"PANCREAS_0003: series .* 1 slice is .*PANCREAS_0002 .* label.*--skip"
    with pytest.raises(ValueError, match=reason):
        nih_pancreas.prepare(source, tmp_path / "out")
    assert list(nih_pancreas.find_cases(source, skip_incomplete=True)) == ["PANCREAS_0001"]
    (source / "again").mkdir()
    (source / "again/label0001.nii.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"again/label0001\.nii\.gz and .*label0001\.nii\.gz"):
        nih_pancreas.find_cases(source)
    next((source / "files").rglob("label0001*")).unlink()
    with pytest.raises(ValueError, match=r"again/label0001\.nii\.gz"):
        nih_pancreas.prepare(source, tmp_path / "out", skip_incomplete=True)
    label = nibabel.load(tmp_path / "kept.nii.gz")
    nibabel.save(label.slicer[1:], source / "again/label0001.nii.gz")
    with pytest.raises(ValueError, match=r"\(19, 22, 12\)"):
        nih_pancreas.prepare(source, tmp_path / "out", skip_incomplete=True)
    assert not (tmp_path / "out").exists()


def test_split_has_the_share_of_the_article():
    content = read_datalist(nih_pancreas.DATALIST)
    training, testing = content["training"], content["testing"]
    assert Counter(case["fold"] for case in training) == dict.fromkeys(range(5), 12)
    assert len(testing) == 20
    every = {case["patient"] for case in training + testing}
    assert every == {f"PANCREAS_{n:04d}" for n in range(1, 83)} - set(nih_pancreas.WITHDRAWN)


@pytest.mark.parametrize("codes", ["RAS", "LAI", "LPS", "PIR"])
def test_any_order_of_axes_is_matched_and_any_mirror_is_found(codes):
    ct, mask = _patient(0)
    turn = orientations.ornt_transform(
        orientations.io_orientation(CT_AFFINE), orientations.axcodes2ornt(codes)
    )
    stored = orientations.apply_orientation(mask, turn)
    affine = CT_AFFINE @ orientations.inv_ornt_aff(turn, mask.shape)
    affine[:3, 3] = 0
    for axes in itertools.chain.from_iterable(
        itertools.combinations(range(3), n) for n in range(4)
    ):
        label, note = match_label(np.flip(stored, axes), affine, ct, CT_AFFINE)
        assert np.array_equal(label, mask)
        assert bool(note) == bool(axes)


def test_a_label_that_stands_out_nowhere_is_left_and_told():
    _, mask = _patient(0)
    nothing = np.full(mask.shape, 40, np.int16)
    label, note = match_label(mask, CT_AFFINE, nothing, CT_AFFINE)
    assert np.array_equal(label, mask)
    assert "0 HU" in note


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no CT at {REAL}")
@pytest.mark.parametrize("name", ["ct", "dicom"])
def test_mirrors_of_a_real_pancreas_are_found(name):
    if name == "ct":
        image = nibabel.load(REAL / "example_ct.nii.gz")
        ct, affine = np.asarray(image.dataobj), image.affine
        label = nibabel.load(REAL / "example_ct_pancreas_derived.nii.gz")
    else:
        ct, affine = read_series(select_series(REAL / "example_ct_dicom"))
        label = nibabel.load(REAL / "example_ct_dicom_pancreas_derived.nii.gz")
    mask = np.asarray(label.dataobj) > 0
    right, note = match_label(mask, label.affine, ct, affine)
    assert not note
    for axes in [(1,), (2,), (0, 1, 2)]:
        again, note = match_label(np.flip(mask, axes), label.affine, ct, affine)
        assert np.array_equal(again, right)
        assert note.startswith("label mirrored")


def test_fetch_goes_on_with_the_cts_when_the_labels_are_there(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(nih_pancreas, "new_client", lambda: None)
    monkeypatch.setattr(nih_pancreas, "list_series", lambda *_: [])
    monkeypatch.setattr(nih_pancreas, "download_series", lambda *_: calls.append("cts"))

    def labels(name, output, **_):
        calls.append(name)
        (output / "files").mkdir(parents=True)
        (output / "files/label0001.nii.gz").touch()

    monkeypatch.setattr(nih_pancreas, "fetch_archive", labels)
    for _ in range(2):
        assert nih_pancreas.fetch_collection(tmp_path / "nih") == tmp_path / "nih"
    assert calls == ["nih-pancreas", "cts", "cts"]
