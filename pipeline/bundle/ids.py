"""What is known of each id of a bundle's JSON: the one table.

An id that is not in it is part of the model and may have any value. What MONAI, MONAI Label and
MONAI's model zoo demand is theirs, and stands apart: `read_by_monai` and ``SET_BY_MONAI_LABEL``
below, and ``packaging/zoo.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from . import rules
from .rules import PATH, PATHS, SWITCH, Rule, number, whole


class Role(Enum):
    """What an id is for."""

    PLACE = auto()  # where a run computes and writes; the results are the same
    DATA = auto()  # what a run reads
    RECORD = auto()  # how a run is recorded
    CHOICE = auto()  # of this run, and of no other
    ASSEMBLY = auto()  # how the parts are put together: the bundle's own, today's as its code is
    MODEL = auto()  # decides the weights and the masks, and stays with them


class Same(Enum):
    """Where an id must be as it was in the training."""

    ANYWHERE = auto()  # it need not
    RESUMED = auto()  # in a training that goes on
    AFTERWARDS = auto()  # there, in evaluation and in inference


@dataclass(frozen=True)
class Id:
    """A row of the table.

    Attributes:
        rule: what its value may be; None for anything.
        same: where it must be as in the training.
        role: what the id is for.
        in_plan: why a plan, or a search, cannot set it; empty if it can.
        in_predict: what to give instead to ``pipeline predict``; empty where ``--set`` takes it.
    """

    rule: Rule | None = None
    same: Same = Same.ANYWHERE
    role: Role = Role.MODEL
    in_plan: str = ""
    in_predict: str = ""


PLACE, DATA, RECORD, CHOICE, ASSEMBLY, MODEL = Role
RESUMED, AFTERWARDS = Same.RESUMED, Same.AFTERWARDS

IDS: Mapping[str, Id] = {
    "bundle_root": Id(role=PLACE, in_predict="give --bundle"),
    "output_dir": Id(PATH, role=PLACE, in_plan="give --output", in_predict="give --output"),
    "device": Id(rules.DEVICE, role=PLACE),
    "runtime": Id(rules.RUNTIME, role=PLACE),
    "cache_device": Id(rules.DEVICE, role=PLACE),
    "cache_share": Id(number(0, 1, above=True), role=PLACE),
    "dataset_dir": Id(PATH, role=DATA, in_predict="give the images as INPUT"),
    "datalist": Id(PATH, role=DATA),
    "section": Id(role=DATA, in_plan="give evaluate.section"),
    "ckpt_path": Id(
        PATHS, role=DATA, in_plan="give evaluate.checkpoint", in_predict="give --checkpoint"
    ),
    "experiment_name": Id(role=RECORD),
    "run_name": Id(role=RECORD, in_plan="it is the cell's name"),
    "tags": Id(rules.TAGS, role=RECORD, in_plan="they say which cell a run is"),
    "register": Id(role=RECORD),
    "tracking_uri": Id(role=RECORD),
    "tracking_offline": Id(SWITCH, role=RECORD),
    "log_to_mlflow": Id(SWITCH, role=RECORD),
    "resume": Id(SWITCH, role=CHOICE, in_plan="an interrupted training goes on by itself"),
    "pretrained": Id(role=CHOICE),
    "compile": Id(SWITCH, role=CHOICE),
    "recompute": Id(SWITCH, role=CHOICE),
    "deterministic": Id(SWITCH, role=CHOICE),
    "figures": Id(SWITCH, role=CHOICE),
    "predictions": Id(SWITCH, role=CHOICE),
    "choose": Id(SWITCH, role=CHOICE),
    **dict.fromkeys(("_meta_", "imports", "initialize", "run", "finalize"), Id(role=ASSEMBLY)),
    **dict.fromkeys(("is_not_rank0", "distributed", "network"), Id(role=ASSEMBLY)),
    **dict.fromkeys(("train", "validate", "checkpoint", "weights", "quality"), Id(role=ASSEMBLY)),
    "network_def": Id(same=AFTERWARDS),
    "preprocessing": Id(same=AFTERWARDS),
    "label_regions": Id(same=AFTERWARDS),
    "regions": Id(rules.REGIONS, AFTERWARDS),
    "background": Id(rules.LABEL_VALUES, RESUMED),
    "ignore_label": Id(whole(0, most=255), AFTERWARDS),
    "soft_labels": Id(SWITCH, RESUMED),
    "modality": Id(rules.MODALITY, AFTERWARDS),
    "channel_names": Id(rules.NAMES, AFTERWARDS),
    "vertical_cdr": Id(rules.PAIR),
    "class_ratios": Id(rules.RATIOS),
    "spacing": Id(rules.SPACING),
    "hu_window": Id(rules.WINDOW),
    "percentiles": Id(rules.PERCENTILES),
    "foreground_above": Id(number()),
    "roi_size": Id(rules.SIZE),
    "patch_size": Id(rules.SIZE),
    "margin": Id(whole(0)),
    "flip": Id(rules.FLIP, RESUMED),
    "rotate": Id(rules.ANGLES, RESUMED),
    "warp": Id(number(0), RESUMED),
    "focus": Id(number(0, 1), RESUMED),
    "radial_prob": Id(number(0, 1), RESUMED),
    "field_prob": Id(number(0, 1), RESUMED),
    "blur_prob": Id(number(0, 1), RESUMED),
    "patches_per_case": Id(whole(1)),
    "overlap": Id(number(0, 1, below=True)),
    "stretch": Id(number(0)),
    "mirror": Id(SWITCH),
    "scales": Id(rules.SCALES),
    "threshold": Id(number(0, 1, above=True, below=True)),
    "components": Id(rules.COMPONENTS),
    "channels": Id(rules.CHANNELS),
    "strides": Id(rules.STRIDES),
    "gates": Id(Rule(whole(0, most=2).holds, "give 0, 1 or 2")),
    "deep_supervision": Id(SWITCH),
    "amp": Id(SWITCH),
    "label_preprocessing": Id(same=RESUMED),
    "patch_centres": Id(same=RESUMED),
    "patches": Id(same=RESUMED),
    "augment": Id(same=RESUMED),
    "loss_function": Id(same=RESUMED),
    "fold": Id(rules.FOLD, RESUMED, in_plan="give the plan's folds"),
    "seed": Id(whole(0), RESUMED, in_plan="give the plan's seeds"),
    "epochs": Id(whole(1)),
    "warmup_epochs": Id(whole(0), RESUMED),
    "batch_size": Id(whole(1), RESUMED),
    "lr": Id(number(0, above=True), RESUMED),
    "weight_decay": Id(number(0), RESUMED),
    "max_grad_norm": Id(number(0), RESUMED),
    "ema_momentum": Id(number(0, 1), RESUMED),
    "val_interval": Id(whole(1)),
    "patience": Id(whole(1)),
}

# Ids that only an evaluation, a package or `Predictor` reads.
READ_LATER = {"vertical_cdr", "scales"}
# Ids, some of them inside others, that MONAI Label sets before it trains.
SET_BY_MONAI_LABEL = (
    "bundle_root",
    "device",
    "network",
    "train#trainer#max_epochs",
    "train#dataset#data",
    "train#handlers",
    "validate#dataset#data",
)


def read_by_monai() -> set[str]:
    """Ids that MONAI, which takes seconds to load, reads: a config need not refer to them."""
    from monai.bundle.properties import InferProperties, TrainProperties
    from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS, ID_SEP_KEY

    known = (*TrainProperties.values(), *InferProperties.values())
    return {
        *("_meta_", "imports", "initialize", "run", "finalize", "displayable_configs"),
        *(each["id"].split(ID_SEP_KEY)[0] for each in known),
        *(name for tool in DEFAULT_EXP_MGMT_SETTINGS.values() for name in tool["configs"]),
    }


def row(name: str) -> Id:
    """What is known of an id."""
    return IDS.get(name, Id())


def named(condition: Callable[[Id], Any]) -> list[str]:
    """The ids whose row fulfils a condition."""
    return [name for name, each in IDS.items() if condition(each)]


def of_role(names: Iterable[str], *roles: Role) -> set[str]:
    """Those of some ids that have one of the roles."""
    return {name for name in names if row(name).role in roles}
