"""What is known of each id of a bundle's JSON: the one table.

An id that is not in it is part of the model and may have any value. What MONAI, MONAI Label and
MONAI's model zoo demand is theirs, and stands apart: ``READ_BY_MONAI`` and ``SET_BY_MONAI_LABEL``
below, and ``packaging/zoo.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from monai.bundle.properties import InferProperties, TrainProperties
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS, ID_SEP_KEY

from .rules import (
    NAMED,
    PATH,
    SWITCH,
    TEXT,
    Device,
    Either,
    Number,
    Rule,
    Several,
    Size,
    Whole,
)


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
        role: what the id is for.
        rule: what its value may be; None for anything.
        same: where it must be as in the training.
        in_plan: why a plan, or a search, cannot set it; empty if it can.
        in_predict: what to give instead to ``pipeline predict``; empty where ``--set`` takes it.
    """

    role: Role = Role.MODEL
    rule: Rule | None = None
    same: Same = Same.ANYWHERE
    in_plan: str = ""
    in_predict: str = ""


PLACE, DATA, RECORD, CHOICE, ASSEMBLY, MODEL = Role
RESUMED, AFTERWARDS = Same.RESUMED, Same.AFTERWARDS

IDS: Mapping[str, Id] = {
    "bundle_root": Id(PLACE, in_predict="give --bundle"),
    "output_dir": Id(PLACE, PATH, in_plan="give --output", in_predict="give --output"),
    "device": Id(PLACE, Device()),
    "cache_device": Id(PLACE, Device()),
    "cache_share": Id(PLACE, Number(0, 1, above=True)),
    "dataset_dir": Id(DATA, PATH, in_predict="give the images as INPUT"),
    "datalist": Id(DATA, PATH),
    "section": Id(DATA, in_plan="give evaluate.section"),
    "ckpt_path": Id(DATA, PATH, in_plan="give evaluate.checkpoint", in_predict="give --checkpoint"),
    "experiment_name": Id(RECORD),
    "run_name": Id(RECORD, in_plan="it is the cell's name"),
    "tags": Id(RECORD, NAMED, in_plan="they say which cell a run is"),
    "register": Id(RECORD),
    "tracking_uri": Id(RECORD),
    "tracking_offline": Id(RECORD, SWITCH),
    "log_to_mlflow": Id(RECORD, SWITCH),
    "resume": Id(CHOICE, SWITCH, in_plan="an interrupted training goes on by itself"),
    "pretrained": Id(CHOICE),
    "compile": Id(CHOICE, SWITCH),
    "figures": Id(CHOICE, SWITCH),
    "predictions": Id(CHOICE, SWITCH),
    "_meta_": Id(ASSEMBLY),
    "imports": Id(ASSEMBLY),
    "is_not_rank0": Id(ASSEMBLY),
    "network": Id(ASSEMBLY),
    "distributed": Id(ASSEMBLY),
    "train": Id(ASSEMBLY),
    "validate": Id(ASSEMBLY),
    "initialize": Id(ASSEMBLY),
    "run": Id(ASSEMBLY),
    "finalize": Id(ASSEMBLY),
    "network_def": Id(same=AFTERWARDS),
    "preprocessing": Id(same=AFTERWARDS),
    "label_regions": Id(same=AFTERWARDS),
    "regions": Id(
        MODEL, Several(TEXT, "give their names, such as ['optic_disc', 'optic_cup']"), AFTERWARDS
    ),
    "label_values": Id(
        MODEL,
        Several(
            Several(Whole(0), ""),
            "give the values of a label for each region, such as [[1, 2], [2]]",
        ),
    ),
    "class_ratios": Id(
        MODEL,
        Several(
            Number(0),
            "give numbers of 0 or more that are not all 0, such as [1, 1, 1]",
            some_above_zero=True,
        ),
    ),
    "spacing": Id(
        MODEL,
        Several(Number(0, above=True), "give three in mm, such as [1.5, 1.5, 2]", counts=(3,)),
    ),
    "hu_window": Id(
        MODEL,
        Several(
            Number(),
            "give the lowest and the highest HU, such as [-100, 240]",
            counts=(2,),
            rising=True,
        ),
    ),
    "roi_size": Id(MODEL, Size()),
    "patch_size": Id(MODEL, Size()),
    "margin": Id(MODEL, Whole(0)),
    "patches_per_case": Id(MODEL, Whole(1)),
    "overlap": Id(MODEL, Number(0, 1, below=True)),
    "stretch": Id(MODEL, Number(0)),
    "mirror": Id(MODEL, SWITCH),
    "components": Id(MODEL, Whole(1)),
    "channels": Id(
        MODEL, Several(Whole(1), "give two or more, such as [16, 32, 64, 128, 256]", least=2)
    ),
    "strides": Id(
        MODEL,
        Several(
            Either(Whole(1), Several(Whole(1), "")),
            "give a whole number for each step between levels, such as [2, 2, 2, 2]",
        ),
    ),
    "gates": Id(MODEL, Whole(0, most=2)),
    "deep_supervision": Id(MODEL, SWITCH),
    "amp": Id(MODEL, SWITCH),
    "label_preprocessing": Id(same=RESUMED),
    "patch_centres": Id(same=RESUMED),
    "patches": Id(same=RESUMED),
    "augment": Id(same=RESUMED),
    "loss_function": Id(same=RESUMED),
    "fold": Id(MODEL, Whole(0), RESUMED, in_plan="give the plan's folds"),
    "seed": Id(MODEL, Whole(0), RESUMED, in_plan="give the plan's seeds"),
    "epochs": Id(MODEL, Whole(1)),
    "warmup_epochs": Id(MODEL, Whole(0), RESUMED),
    "batch_size": Id(MODEL, Whole(1), RESUMED),
    "lr": Id(MODEL, Number(0, above=True), RESUMED),
    "weight_decay": Id(MODEL, Number(0), RESUMED),
    "max_grad_norm": Id(MODEL, Number(0), RESUMED),
    "ema_momentum": Id(MODEL, Number(0, 1), RESUMED),
    "val_interval": Id(MODEL, Whole(1)),
    "patience": Id(MODEL, Whole(1)),
}

# Ids that MONAI reads: a config need not refer to them.
READ_BY_MONAI = {
    *("_meta_", "imports", "initialize", "run", "finalize", "displayable_configs"),
    *(p["id"].split(ID_SEP_KEY)[0] for p in (*TrainProperties.values(), *InferProperties.values())),
    *(name for tool in DEFAULT_EXP_MGMT_SETTINGS.values() for name in tool["configs"]),
}
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


def row(name: str) -> Id:
    """What is known of an id."""
    return IDS.get(name, Id())


def named(condition: Callable[[Id], Any]) -> list[str]:
    """The ids whose row fulfils a condition."""
    return [name for name, each in IDS.items() if condition(each)]


def of_role(names: Iterable[str], *roles: Role) -> set[str]:
    """Those of some ids that have one of the roles."""
    return {name for name in names if row(name).role in roles}
