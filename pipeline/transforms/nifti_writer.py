"""Write masks whose NIfTI header gives the same place as the header of their image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageWriter, NibabelWriter

# Fields that say where the voxels are, in either of two ways, and in which unit.
_PLACE = ["pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"]
_PLACE += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]


class NiftiWriter(NibabelWriter):
    """A ``writer`` for ``SaveImaged`` that copies sform, qform and unit from the image's file.

    MONAI's own writer computes both from the affine. They then differ from the image's by
    rounding, which programs that read the qform see. If the image was not a NIfTI, or the mask
    lies elsewhere, the mask is written as by MONAI.
    """

    def set_metadata(
        self, meta_dict: Mapping | None, resample: bool = True, **options: Any
    ) -> None:
        super().set_metadata(meta_dict, resample, **options)
        self.source = Path(str((meta_dict or {}).get("filename_or_obj", "")))

    def write(self, filename: Any, verbose: bool = False, **kwargs: Any) -> None:
        import nibabel

        header = self._header()
        if header is None:
            super().write(filename, verbose, **kwargs)
            return
        ImageWriter.write(self, filename, verbose=verbose)
        image = self.create_backend_obj(
            self.data_obj, affine=self.affine, dtype=self.output_dtype, header=header
        )
        nibabel.save(image, filename)

    def _header(self) -> Any:
        """Make a header with the image's place, or None where the mask lies elsewhere."""
        import nibabel

        if not self.source.name.endswith((".nii", ".nii.gz")) or not self.source.is_file():
            return None
        source = nibabel.load(self.source)
        if not np.array_equal(source.affine, np.asarray(self.affine)):
            return None
        header = nibabel.Nifti1Header()
        header.set_data_dtype(self.output_dtype)
        for name in _PLACE:
            header[name] = source.header[name]
        return header
