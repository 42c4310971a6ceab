"""What a bundle's trainer and evaluator need beyond MONAI's engines."""

from .batch import AugmentedBatch
from .cases import find_images, select_cases
from .checkpoints import Checkpoints
from .cost import network_cost
from .handlers import ClipGradients, EpochSummary, PeriodicValidation, SeedTransforms
from .inferer import AutocastInferer
from .memory import cases_that_fit, free_memory
from .metrics import RegionDice
from .preflight import (
    check_run,
    existing_file,
    load_pretrained,
    running_bundle,
    unused_folder,
)
from .same import as_trained, cases_digest, running_settings
from .sliding_window import SlidingWindow
from .update import UpdateModel
from .weights import load_weights

__all__ = [
    "AugmentedBatch",
    "AutocastInferer",
    "Checkpoints",
    "ClipGradients",
    "EpochSummary",
    "PeriodicValidation",
    "RegionDice",
    "SeedTransforms",
    "SlidingWindow",
    "UpdateModel",
    "as_trained",
    "cases_digest",
    "cases_that_fit",
    "check_run",
    "existing_file",
    "find_images",
    "free_memory",
    "load_pretrained",
    "load_weights",
    "network_cost",
    "running_bundle",
    "running_settings",
    "select_cases",
    "unused_folder",
]
