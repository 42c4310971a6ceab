"""Files of DICOM as scanners, archives and anonymization leave them; whole studies."""

import copy
import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from ct_dicom import select_series, write_dicom_series

from pipeline.datasets.dicom.series import find_series, read_series
from pipeline.prediction.inputs import find_inputs

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("SimpleITK")

AFFINE = np.diag([-0.8, -0.7, 2.5, 1])
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def _ct(size=8, slices=4):
    ct = np.random.default_rng(0).integers(-120, 120, (size, size, slices)).astype(np.int16)
    ct[0, 0] = -1000
    return ct


def _outside(size=8):
    """The corners, which a round scan leaves out."""
    x, y = np.mgrid[:size, :size] - (size - 1) / 2
    return np.hypot(x, y) > size / 2


PADDING = {  # stored value, elements
    "63536": (63536, {"PixelPaddingValue": 63536}),
    "65535": (65535, {"PixelPaddingValue": 65535}),
    "4096": (4096, {"PixelPaddingValue": 4096}),
    "a number of the other sign": (63536, {"PixelPaddingValue": -2000}),
    "a range": (64000, {"PixelPaddingValue": 63536, "PixelPaddingRangeLimit": 65535}),
    "signed": (-2000, {"PixelPaddingValue": -2000, "PixelRepresentation": 1}),
    "signed, said as unsigned": (-2000, {"PixelPaddingValue": 63536, "PixelRepresentation": 1}),
    "the least": (-32768, {"PixelPaddingValue": -32768, "PixelRepresentation": 1}),
    "a value of tissue": (1024, {"PixelPaddingValue": 1024}),
    "beyond 12 bits": (63536, {"PixelPaddingValue": 63536, "BitsStored": 12, "HighBit": 11}),
    "beyond 12 bits, not said": (63536, {"BitsStored": 12, "HighBit": 11}),
    "each slice in its own": (2000, {"PixelPaddingValue": 2000, "slopes": True}),
}


@pytest.mark.parametrize("name", PADDING)
def test_padding_is_air(name, tmp_path):
    stored, tags = PADDING[name]
    slopes = dict(tags).pop("slopes", False)
    ct, outside = _ct(), _outside()
    ct[ct == 0] = 1
    ct[4, 4, 2] = 0  # which padding may be too

    def change(number, item):
        slope = 1 + number * slopes
        values = (ct[:, :, number].T.astype(int) + 1024) // slope
        values[outside.T] = stored
        item.PixelData = (values % 2**16).astype("<u2").tobytes()
        item.RescaleSlope = slope
        for key, value in tags.items():
            if key == "PixelPaddingValue" or key == "PixelPaddingRangeLimit":
                item.add_new(key, "SS" if value < 0 else "US", value)
            elif key != "slopes":
                setattr(item, key, value)

    write_dicom_series(tmp_path, ct, AFFINE, change=change)
    array, _ = read_series(select_series(tmp_path))
    expected = np.stack(
        [(ct[..., k].astype(int) + 1024) // (1 + k * slopes) * (1 + k * slopes) for k in range(4)],
        axis=2,
    )
    assert np.array_equal(array, np.where(outside[..., None], -1024, expected - 1024))


def test_padding_that_no_element_names_is_refused(tmp_path):
    ct = _ct().astype(int)
    ct[_outside()] = 62512
    write_dicom_series(tmp_path, ct, AFFINE)
    with pytest.raises(ValueError, match="not in Hounsfield units: -120 to 62512"):
        read_series(select_series(tmp_path))


def _strip(path, *, implicit=True, keep_meta=False):
    """Leave out the preamble, and the file meta."""
    item = pydicom.dcmread(path)
    if implicit:
        item.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    item.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    start = 132 if keep_meta else 144 + struct.unpack("<I", data[140:144])[0]
    path.write_bytes(data[start:])


def _deflate(path):
    item = pydicom.dcmread(path)
    item.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    item.save_as(path, enforce_file_format=True)


def _drop(path, *names):
    item = pydicom.dcmread(path)
    for name in names:
        delattr(item, name)
    item.save_as(path)


FORMS = {
    "implicit, no meta": _strip,
    "explicit, no meta": lambda path: _strip(path, implicit=False),
    "meta, no preamble": lambda path: _strip(path, implicit=False, keep_meta=True),
    "deflated": _deflate,
    "ending": lambda path: path.rename(path.with_suffix(".IMA")),
    "no modality": lambda path: _drop(path, "Modality"),
}


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", FORMS)
def test_all_slices_are_read_in_any_form(name, count, tmp_path):
    for path in write_dicom_series(tmp_path, _ct(), AFFINE)[-count:]:
        FORMS[name](path)
    array, _ = read_series(select_series(tmp_path))
    assert np.array_equal(array, _ct())


TORN = {
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(500)),
    "no mark": lambda path: path.write_bytes(bytes(128) + path.read_bytes()[132:]),
    "pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"),
    "page": lambda path: (path.rename(f"{path}.dcm"), path.with_name(f"{path.name}.dcm")),
    "link": lambda path: (path.unlink(), path.symlink_to("gone")),
    "header": lambda path: path.write_bytes(path.read_bytes()[:400]),
    "half a header": lambda path: path.write_bytes(
        path.read_bytes()[: path.read_bytes().index(b"\x28\0\x11\0") + 10]
    ),
    "packed": lambda path: (
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes())),
        path.unlink(),
    ),
    "no modality": lambda path: _drop(path, "Modality", "SOPClassUID"),
}


@pytest.mark.parametrize("name", TORN)
def test_a_series_never_becomes_shorter_in_silence(name, tmp_path):
    last = write_dicom_series(tmp_path, _ct(), AFFINE)[-1]
    (tmp_path / "README").write_text("no slice")
    (tmp_path / "Thumbs.db").write_bytes(bytes(9))
    assert select_series(tmp_path).shape == (8, 8, 4)
    TORN[name](last)
    if name == "page":
        (tmp_path / f"{last.name}.dcm").write_text("<html>")
    if name == "no modality":
        item = pydicom.dcmread(last)
        item.file_meta.MediaStorageSOPClassUID = ""
        item.save_as(last, enforce_file_format=False)
    with pytest.raises(ValueError, match=r"17 ä 1|24 ä 1|differ in modality"):
        select_series(tmp_path)
    cases, left_out = find_inputs([tmp_path], volumes=True, output=tmp_path / "out")
    assert len(cases) == 1  # which tells it, and nothing else does
    names = {path.name for path, _ in left_out}
    assert names <= {"README", "Thumbs.db", last.name}
    assert name == "link" or last.name not in names


def test_what_itk_cannot_decode_or_open_is_told(tmp_path):
    """A name that is not text would end the process."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    write_dicom_series(folder, _ct(), AFFINE)
    with pytest.raises(ValueError, match="UTF-8"):
        read_series(select_series(folder))
    for path in write_dicom_series(tmp_path / "own", _ct(), AFFINE):
        item = pydicom.dcmread(path)
        item.file_meta.TransferSyntaxUID = "1.2.3.4.5"
        item.save_as(path, implicit_vr=False, little_endian=True)
    with pytest.raises(ValueError, match=r"1\.2\.3\.4\.5.*without compression"):
        read_series(select_series(tmp_path / "own"))


def test_what_cannot_be_read_is_told_where_there_are_no_slices(tmp_path):
    write_dicom_series(tmp_path / "a", _ct(), AFFINE)
    (tmp_path / "b").mkdir()
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / "b" / name).write_bytes(b"")
    good, torn = find_series(tmp_path)
    assert (good.problem, torn.is_wanted) == (None, True)
    assert torn.source == str(tmp_path / "b/1.dcm")
    assert [path.name for path in torn.files] == ["1.dcm", "2.dcm"]


@pytest.mark.parametrize("uid", ["1.2.3", ""])
@pytest.mark.parametrize(
    "name",
    ["PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "SeriesNumber"],
)
def test_files_of_two_patients_or_studies_are_never_one_ct(name, uid, tmp_path):
    """Those of folders of their own are two; in one folder the series is refused."""
    for number in (1, 2):
        value = {name: number if name == "SeriesNumber" else f"1.{number}"}
        place = AFFINE.copy()
        place[2, 3] = 10 * number  # mm; the one begins where the other ends
        tags = {"SeriesInstanceUID": uid, "SOPInstanceUID": f"1.{number}"} | value
        folder = tmp_path / "two" / str(number)
        for path in write_dicom_series(folder, _ct(), place, **tags):
            (tmp_path / "one").mkdir(exist_ok=True)
            (tmp_path / f"one/{number} {path.name}").write_bytes(path.read_bytes())
    two = find_series(tmp_path / "two")
    assert [(series.problem, series.shape) for series in two] == [(None, (8, 8, 4))] * 2
    assert len({series.source for series in two}) == 2
    found = find_series(tmp_path / "one")
    if name == "SeriesNumber" and not uid:
        assert [series.shape for series in found] == [(8, 8, 4)] * 2
    else:
        assert [(len(each.files), each.is_wanted) for each in found] == [(8, True)]
        assert name in found[0].problem


def _study(folder):
    """A contrast study as an archive has it; the series 4 and 5 are its CTs."""

    def write(number, slices=4, **tags):
        place = folder / str(number)
        about = {"SeriesInstanceUID": f"1.2.{number}", "number": number}
        return write_dicom_series(place, _ct(slices=slices), AFFINE, **about, **tags)

    def bolus(places):
        def change(number, item):
            item.ImagePositionPatient = [0, 0, 5.0 * (number % places)]

        return change

    def page(number, item):
        del item.ImagePositionPatient, item.ImageOrientationPatient, item.PixelSpacing

    def report(number, item):
        del item.PixelData, item.Rows, item.Columns

    derived = {"ImageType": ["DERIVED", "SECONDARY", "MPR", "CT_SOM5 MPR"]}
    write(1, 2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"])
    write(2, 6, change=bolus(1))
    write(3, 1)
    write(4, description="Venous")
    write(5, description="Arterial")
    write(6, **derived)
    write(61, change=lambda k, item: setattr(item, "Rows", 8 + k), **derived)  # not a volume
    write(7, ImageType=["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"])
    write(8, 6, change=bolus(2))
    write(9, RescaleType="MGML")
    write(10, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    write(11, 1, SOPClassUID=CAPTURE)
    write(12, 1, Modality="SR", change=report)
    write(13, 1, SOPClassUID="1.3.12.2.1107.5.9.1", change=report)
    write(14, Modality="PT")
    write(501, 1, change=page, ImageType=["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"])
    write(502, 1, change=page)
    for path in write(20, 1, SOPClassUID=CAPTURE, Rows=64):  # in the series 4
        item = pydicom.dcmread(path)
        item.SeriesInstanceUID = "1.2.4"
        item.save_as(folder / "4/capture")
        path.unlink()
    disc = pydicom.Dataset()
    disc.file_meta = pydicom.dataset.FileMetaDataset()
    disc.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    disc.file_meta.MediaStorageSOPInstanceUID = "1.2"
    disc.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    disc.save_as(folder / "DICOMDIR", enforce_file_format=True)


def test_a_whole_study_is_its_cts_and_what_is_left_out_by_name(tmp_path):
    _study(tmp_path)
    found = find_series(tmp_path)
    assert {each.number: each.problem for each in found if each.is_wanted} == {"4": None, "5": None}
    assert all(each.problem for each in found if not each.is_wanted)
    assert len(found) == 18
    (venous,) = (each for each in found if each.number == "4")
    assert [(path.name, "capture" in reason) for path, reason in venous.left_out] == [
        ("capture", True)
    ]
    assert np.array_equal(read_series(venous)[0], _ct())
    # One that is chosen may be derived; alone, none is left out for another.
    chosen = [each for each in find_series(tmp_path, name="6") if each.is_wanted]
    assert [(each.number, each.problem) for each in chosen] == [("6", None)]
    wanted = {n: find_series(tmp_path / str(n))[0].is_wanted for n in (2, 3, 6, 8, 9, 501, 502)}
    assert wanted == dict.fromkeys(wanted, True)
    assert select_series(tmp_path / "6").shape == (8, 8, 4)
    assert not any(find_series(tmp_path / str(n))[0].is_wanted for n in (1, 7, 10, 11, 12, 13, 14))


@pytest.mark.parametrize("order", ["as they lie", "mixed"])
def test_an_enhanced_ct_is_read_as_the_series_that_it_was_made_from(order, tmp_path):
    highdicom = pytest.importorskip("highdicom")
    paths = write_dicom_series(tmp_path / "classic", _ct(), AFFINE)
    slices = [pydicom.dcmread(path) for path in paths]
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices,
        series_instance_uid="1.2.3",
        series_number=2,
        sop_instance_uid="1.2.3.4",
        instance_number=1,
    )
    if order == "mixed":
        places, size = [2, 0, 3, 1], len(enhanced.PixelData) // 4
        frames = [enhanced.PixelData[k * size :][:size] for k in places]
        groups = enhanced.PerFrameFunctionalGroupsSequence
        enhanced.PixelData = b"".join(frames)
        enhanced.PerFrameFunctionalGroupsSequence = [groups[k] for k in places]
    (tmp_path / "enhanced").mkdir()
    enhanced.save_as(tmp_path / "enhanced/file")
    series = select_series(tmp_path / "enhanced")
    expected, affine = read_series(select_series(tmp_path / "classic"))
    array, found = read_series(series)
    assert (len(series.files), array.dtype) == (1, expected.dtype)
    assert np.array_equal(array, expected)
    assert np.array_equal(found, affine)

    frame = enhanced.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    other = enhanced.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
    frame.ImagePositionPatient = other.ImagePositionPatient
    enhanced.save_as(tmp_path / "enhanced/file")
    with pytest.raises(ValueError, match="different images at one position"):
        select_series(tmp_path / "enhanced")

    shared, own = enhanced.SharedFunctionalGroupsSequence, enhanced.PerFrameFunctionalGroupsSequence
    name = "PixelValueTransformationSequence"
    (values,) = own[1].get(name) or shared[0][name].value
    other = copy.deepcopy(values)
    other.RescaleSlope = 2
    own[1].PixelValueTransformationSequence = [other]
    enhanced.save_as(tmp_path / "enhanced/file")
    with pytest.raises(ValueError, match=r"frames of .*file differ in their RescaleSlope"):
        select_series(tmp_path / "enhanced")
