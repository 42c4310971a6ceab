"""Inference, batches and retraining, as MONAI Label does them, without its surprises."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.tasks.train.bundle import BundleTrainTask

from . import weights

logger = logging.getLogger(__name__)
# What a request may say of a training. MONAI Label's others set what the package sets itself
# (tracking), or name files.
OPTIONS = ("model", "device", "pretrained", "max_epochs", "val_split", "multi_gpu", "gpus")
OWN = ("tracking", "tracking_uri", "tracking_experiment_name", "run_id", "model_filename")


class Trainer(BundleTrainTask):
    """Retrain a package, if a validation case can tell whether the new weights are better."""

    def config(self) -> dict[str, Any]:
        return {name: value for name, value in super().config().items() if name not in OWN}

    def split(self, count: int, request: dict[str, Any]) -> dict[str, int]:
        """Say how many cases are for training and for validation.

        Raises:
            ValueError: there is none for one of them.
        """
        if not count:
            raise ValueError("no label is submitted; submit some, then train")
        part = request.get("val_split", 0.2)
        if isinstance(part, bool) or not isinstance(part, int | float) or part >= 1:
            raise ValueError(f"val_split {part!r}: give a number below 1")
        learnt, held = super()._partition_datalist(list(range(count)), request)
        if part > 0 and not (learnt and held):
            raise ValueError(
                f"{count} label(s) with val_split {part} leave {len(learnt)} for training and "
                f"{len(held)} for validation, so nothing would tell whether new weights are "
                "better; submit more, change val_split, or give val_split 0 to serve the "
                "weights of the last epoch without a validation"
            )
        return {"training": len(learnt), "validation": len(held or [])}

    def _partition_datalist(
        self, datalist: list[Any], request: dict[str, Any], shuffle: bool = False
    ) -> tuple[list[Any], list[Any] | None]:
        weights.begin(Path(self.bundle_path), self.split(len(datalist), request))
        return super()._partition_datalist(datalist, request, shuffle)

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        shown = self.bundle_config.get("displayable_configs") or {}
        options = {**self.config(), **request}
        options = {name: options[name] for name in (*OPTIONS, *shown) if name in options}
        # A list is what the viewer may choose from; the first is the default.
        options = {n: v[0] if isinstance(v, list) else v for n, v in options.items()}
        try:
            super().__call__({**options, "tracking": "None"}, datastore)
        finally:
            told = weights.settle(Path(self.bundle_path))  # also what a failed training did
        # The last line of the task's details.
        return {"weights": told, "left_out": getattr(datastore, "left_out", [])}


class Batch(BatchInferTask):
    """Segment many images one after another, and end with an error that names those that failed.

    With several threads MONAI Label loses images, since bundles share the name ``scripts``.
    """

    def __call__(
        self, request: dict[str, Any], datastore: Datastore, infer: Callable
    ) -> dict[str, Any]:
        request = {**request, "max_workers": 1}
        if not torch.cuda.is_available():
            request |= {"device": "cpu", "multi_gpu": False}
        failed: dict[str, str] = {}

        def infer_one(each: dict[str, Any], store: Datastore) -> dict[str, Any]:
            try:
                return infer(each, store)
            except Exception as error:
                logger.exception("batch: %s", each["image"])
                failed[each["image"]] = str(root_of(error))
                return {}

        done = super().__call__(request, datastore, infer_one)
        if failed:
            reasons = "; ".join(f"{image}: {reason}" for image, reason in failed.items())
            raise RuntimeError(f"{len(failed)} of {len(done)} images failed: {reasons}")
        return done


def root_of(error: BaseException) -> BaseException:
    """The error that MONAI wrapped in the name of the transform."""
    while isinstance(error, RuntimeError) and error.__cause__:
        error = error.__cause__
    return error
