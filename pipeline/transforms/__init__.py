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
        "class_indices": ["ClassIndicesd"],
        "field": ["RandFieldBatchd"],
        "largest": ["KeepPartsd"],
        "mark": ["LabelToRegionsd", "MarkRegionsd", "RegionsToLabeld"],
        "nifti_writer": ["NiftiWriter"],
        "patches": ["PlainPatches"],
        "quality": ["QualityFeaturesd"],
        "radial": ["RandRadialBatchd"],
        "read": ["ReadImaged"],
        "resize": ["ResizePictured"],
        "restore_grid": ["RestoreGridd"],
        "same_grid": ["SameGridd"],
        "scale": ["ScaleWindowd"],
        "shares": ["ReadSharesd", "TakeSharesd"],
        "volume": ["RandAffineVolumeBatchd"],
    },
)
