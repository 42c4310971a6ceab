"""What a bundle's trainer and evaluator need beyond MONAI's engines."""

from .batch import AugmentedBatch
from .checkpoints import Checkpoints
from .cost import network_cost
from .handlers import ClipGradients, EpochSummary
from .inferer import AutocastInferer
from .metrics import RegionDice
from .preflight import (
    check_run,
    existing_file,
    find_images,
    load_pretrained,
    running_bundle,
    select_cases,
    unused_folder,
)

__all__ = [
    "AugmentedBatch",
    "AutocastInferer",
    "Checkpoints",
    "ClipGradients",
    "EpochSummary",
    "RegionDice",
    "check_run",
    "existing_file",
    "find_images",
    "load_pretrained",
    "network_cost",
    "running_bundle",
    "select_cases",
    "unused_folder",
]
