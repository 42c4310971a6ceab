"""Transforms that MONAI does not have: nested regions, and augmentation of whole batches."""

from .augment import RandAffineBatchd, RandBlurBatchd, RandColourBatchd, RandIlluminationBatchd
from .regions import LabelToRegionsd, RegionsToLabeld

__all__ = [
    "LabelToRegionsd",
    "RandAffineBatchd",
    "RandBlurBatchd",
    "RandColourBatchd",
    "RandIlluminationBatchd",
    "RegionsToLabeld",
]
