"""What a bundle's trainer and evaluator need beyond MONAI's engines."""

from .batch import AugmentedBatch
from .checkpoints import Checkpoints
from .cost import network_cost
from .handlers import ClipGradients, EpochSummary, SeedTransforms
from .inferer import AutocastInferer
from .memory import cases_that_fit, free_memory
from .metrics import RegionDice
from .preflight import (
    as_trained,
    check_run,
    existing_file,
    find_images,
    load_pretrained,
    running_bundle,
    select_cases,
    unused_folder,
)
from .sliding_window import SlidingWindow
from .update import UpdateModel

__all__ = [
    "AugmentedBatch",
    "AutocastInferer",
    "Checkpoints",
    "ClipGradients",
    "EpochSummary",
    "RegionDice",
    "SeedTransforms",
    "SlidingWindow",
    "UpdateModel",
    "as_trained",
    "cases_that_fit",
    "check_run",
    "existing_file",
    "find_images",
    "free_memory",
    "load_pretrained",
    "network_cost",
    "running_bundle",
    "select_cases",
    "unused_folder",
]
