"""Write a mask in the format of its volume too, for programs that do not read NIfTI."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle.channels import NIFTI
from ..files import replacing
from ..transforms.itk import open_by_itk
from ..transforms.volume_file import open_volume

if TYPE_CHECKING:
    import numpy as np
    from nibabel import Nifti1Image

# The format of a volume, and the ending of its mask, whose header and voxels are one file.
_FREESURFER = {".mgz": ".mgz", ".mgh": ".mgz"}
_ITK = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}


def own_ending(source: Path, *, volumes: bool = True) -> str:
    """The ending of a mask in the format of its volume; empty where the mask is in it already.

    Args:
        source: the file of an image.
        volumes: whether masks are NIfTI, rather than PNG.
    """
    if not volumes and source.name.lower().endswith(NIFTI):
        return ".nii.gz"
    return (_FREESURFER | _ITK).get(source.suffix.lower(), "")


def write_like(path: Path, mask: np.ndarray, source: Path) -> None:
    """Write a mask (X, Y, Z) on the grid of its volume, number by number.

    Args:
        path: of the mask, with the ending that `own_ending` gives.
        mask: uint8; of a slice (X, Y).
        source: the file of the volume, of one channel or more.
    """
    mask = mask.reshape(open_volume(source).voxels.shape[:3])
    with replacing(path, sync=True, alone=True, make_folder=False) as temporary:
        written = temporary.with_name(f"{temporary.name}{path.suffix}")  # which says the format
        try:
            if path.suffix in _FREESURFER:
                import nibabel

                volume = nibabel.load(source)
                header = volume.header.copy()  # its numbers say the place
                header.set_data_dtype(mask.dtype)
                nibabel.save(nibabel.MGHImage(mask, volume.affine, header), written)
            elif path.suffix == ".gz":
                written.write_bytes(pack(as_nifti_like(source, mask)))
            else:
                _write_itk(written, mask, source)
            os.replace(written, temporary)
        finally:
            written.unlink(missing_ok=True)


def _write_itk(path: Path, mask: np.ndarray, source: Path) -> None:
    import numpy as np
    import SimpleITK as sitk

    reader = open_by_itk(source)
    reader.ReadImageInformation()
    n = reader.GetDimension()
    image = sitk.GetImageFromArray(mask.T)
    image.SetSpacing(reader.GetSpacing()[:3])
    image.SetOrigin(reader.GetOrigin()[:3])
    image.SetDirection(np.reshape(reader.GetDirection(), (n, n))[:3, :3].ravel())
    sitk.WriteImage(image, str(path), useCompression=True)


def as_nifti_like(source: Path, mask: np.ndarray) -> Nifti1Image:
    """Put a mask on the grid of another NIfTI, bit by bit, without the rest of its header."""
    import nibabel

    image = nibabel.load(source)
    header = type(image.header)()
    for name in image.header:
        if name.startswith(("qform", "sform", "quatern", "qoffset", "srow")):
            header[name] = image.header[name]
    header["pixdim"][:4] = image.header["pixdim"][:4]
    header.set_data_dtype(mask.dtype)
    header.set_xyzt_units("mm")
    return type(image)(mask, None, header)


def pack(image: Nifti1Image) -> bytes:
    """The bytes of a ``.nii.gz``; nibabel.save would leave the file open on a full disk."""
    return gzip.compress(image.to_bytes(), 1, mtime=0)
