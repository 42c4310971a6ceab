"""Parts of trainers and evaluators that MONAI and ignite lack."""

from ..lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {
        "average": ["MovingAverage"],
        "batch": ["AugmentedBatch"],
        "checkpoints": ["Checkpoints", "check_resume"],
        "handlers": ["ClipGradients", "EpochSummary", "PeriodicValidation", "SeedTransforms"],
        "inferer": ["AutocastInferer"],
        "loss": ["LevelLoss", "RegionLoss"],
        "memory": ["cases_that_fit"],
        "metrics": ["RegionDice"],
        "sliding_window": ["SlidingWindow"],
        "update": ["UpdateModel"],
    },
)
