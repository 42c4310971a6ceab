"""DICOM series as small as the rules allow, for the tests of this folder."""

import numpy as np
import pytest


def _write_series(
    folder, array, affine, *, uid=None, change=None, slope=1, intercept=-1024, **tags
):
    """Write ``array (X, Y, Z)`` in HU, with its RAS ``affine``, as one file per slice.

    Args:
        change: called with the number and the dataset of each slice before it is written.
        tags: elements of all slices.
    """
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / spacing
    uid = uid or generate_uid()
    for number in range(array.shape[2]):
        item = pydicom.Dataset()
        item.file_meta = pydicom.dataset.FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = CTImageStorage
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = generate_uid()
        item.SeriesInstanceUID, item.StudyInstanceUID = uid, generate_uid(entropy_srcs=[uid])
        item.Modality, item.PatientID, item.SeriesDescription = "CT", "A1", "abdomen"
        item.SeriesNumber, item.InstanceNumber = 2, 0  # the number says nothing about the place
        item.Columns, item.Rows = array.shape[:2]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated = item.BitsStored = 16
        item.HighBit, item.PixelRepresentation = 15, 1
        item.ImageOrientationPatient = [f"{x:.9f}" for x in directions[:, :2].T.ravel()]
        item.ImagePositionPatient = [f"{x:.6f}" for x in (lps @ [0, 0, number, 1])[:3]]
        item.PixelSpacing = [f"{spacing[1]:.9f}", f"{spacing[0]:.9f}"]
        item.RescaleSlope, item.RescaleIntercept = slope, intercept
        stored = np.rint((array[:, :, number].T - intercept) / slope).astype("<i2")
        item.PixelData = stored.tobytes()
        for name, value in tags.items():
            setattr(item, name, value)
        name = f"{(number * 7 + 3) % 97:02d} ä"  # neither in order nor plain
        if change:
            change(number, item)
        item.save_as(folder / name, enforce_file_format=True)
    return folder


@pytest.fixture
def write_series():
    return _write_series
