"""Transforms that MONAI lacks: nested regions, whole batches, large volumes."""

from ..lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "augment": [
            "RandAffineBatchd",
            "RandBlurBatchd",
            "RandColourBatchd",
            "RandIlluminationBatchd",
        ],
        "largest": ["KeepLargestInBoxd"],
        "nifti_writer": ["NiftiWriter"],
        "radial": ["RandRadialBatchd"],
        "read": ["ReadImaged", "as_rgb"],
        "regions": ["LabelToRegionsd", "NestRegionsd", "RegionsToLabeld"],
        "restore_grid": ["RestoreGridd"],
        "same_grid": ["SameGridd"],
        "volume": ["RandAffineVolumeBatchd"],
    },
)
