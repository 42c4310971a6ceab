"""One picture in DICOM, of any modality and compression."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian


def write_picture(
    path: Path,
    pixels: np.ndarray,
    *,
    modality: str = "OP",
    kind: str = "",
    bits: int = 0,
    packed: bytes = b"",
    syntax: str = ExplicitVRLittleEndian,
    **elements,
) -> Path:
    """Write (H, W) or (H, W, 3), uint8 or uint16, as ``kind``: RGB, MONOCHROME2 ...

    ``packed`` is the frame as the transfer syntax stores it; ``elements`` come last.
    """
    header, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    header.file_meta = meta
    # Ophthalmic photography, 8 bits.
    meta.MediaStorageSOPClassUID = header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = "1.2.3.4"
    header.Modality, header.PatientID = modality, "Doe"
    header.StudyInstanceUID, header.SeriesInstanceUID = "1.2", "1.2.3"
    header.Rows, header.Columns = pixels.shape[:2]
    header.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    header.PhotometricInterpretation = kind or ("RGB" if pixels.ndim == 3 else "MONOCHROME2")
    if pixels.ndim == 3:
        header.PlanarConfiguration = 0
    header.BitsAllocated = 8 * pixels.itemsize
    header.BitsStored = bits or header.BitsAllocated
    header.HighBit, header.PixelRepresentation = header.BitsStored - 1, 0
    header.PixelData = encapsulate([packed]) if packed else pixels.tobytes()
    header["PixelData"].is_undefined_length = bool(packed)
    for name, value in elements.items():
        setattr(header, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path
