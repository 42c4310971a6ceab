"""Transforms that MONAI does not have: nested regions, and augmentation of whole batches."""

from .augment import RandAffineBatchd, RandBlurBatchd, RandColourBatchd, RandIlluminationBatchd
from .radial import RandRadialBatchd
from .regions import LabelToRegionsd, NestRegionsd, RegionsToLabeld

__all__ = [
    "LabelToRegionsd",
    "NestRegionsd",
    "RandAffineBatchd",
    "RandBlurBatchd",
    "RandColourBatchd",
    "RandIlluminationBatchd",
    "RandRadialBatchd",
    "RegionsToLabeld",
]
