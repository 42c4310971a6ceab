"""Write a mask in the format of its volume too, for programs that do not read NIfTI."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import replacing
from ..transforms.itk import open_by_itk

if TYPE_CHECKING:
    import numpy as np

# The format of a volume, and the ending of its mask, whose header and voxels are one file.
_FREESURFER = {".mgz": ".mgz", ".mgh": ".mgz"}
_ITK = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}


def own_ending(source: Path) -> str:
    """The ending of a mask in the format of its volume; empty for NIfTI, which each mask has."""
    return (_FREESURFER | _ITK).get(source.suffix.lower(), "")


def write_like(path: Path, mask: np.ndarray, source: Path) -> None:
    """Write a mask (X, Y, Z) on the grid of its volume, number by number.

    Args:
        path: of the mask, with the ending that `own_ending` gives.
        mask: uint8.
        source: the file of the volume, of one channel or more.
    """
    with replacing(path, sync=True, alone=True, make_folder=False) as temporary:
        written = temporary.with_name(f"{temporary.name}{path.suffix}")  # which says the format
        try:
            if path.suffix in _FREESURFER:
                import nibabel

                volume = nibabel.load(source)
                header = volume.header.copy()  # its numbers say the place
                header.set_data_dtype(mask.dtype)
                nibabel.save(nibabel.MGHImage(mask, volume.affine, header), written)
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
