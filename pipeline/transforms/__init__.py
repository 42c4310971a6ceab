"""Transforms that MONAI does not have: nested regions, whole batches, large volumes."""

from .augment import RandAffineBatchd, RandBlurBatchd, RandColourBatchd, RandIlluminationBatchd
from .largest import KeepLargestInBoxd
from .nifti_writer import NiftiWriter
from .radial import RandRadialBatchd
from .read import ReadImaged, as_rgb
from .regions import LabelToRegionsd, NestRegionsd, RegionsToLabeld
from .restore_grid import RestoreGridd
from .same_grid import SameGridd
from .volume import RandAffineVolumeBatchd

__all__ = [
    "KeepLargestInBoxd",
    "LabelToRegionsd",
    "NestRegionsd",
    "NiftiWriter",
    "RandAffineBatchd",
    "RandAffineVolumeBatchd",
    "RandBlurBatchd",
    "RandColourBatchd",
    "RandIlluminationBatchd",
    "RandRadialBatchd",
    "ReadImaged",
    "RegionsToLabeld",
    "RestoreGridd",
    "SameGridd",
    "as_rgb",
]
