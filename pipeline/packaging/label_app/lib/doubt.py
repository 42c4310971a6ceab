"""The next image to label: the one whose mask is most in doubt."""

from __future__ import annotations

import random
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.utils.others.class_utils import unload_module

AGREEMENT = "agreement"  # of a mask, in a result and in what a datastore knows of an image
QUALITY = "quality"  # the estimates of a mask, in a result
TRUST = "trust"  # the lowest expected Dice or, without estimates, agreement of a region


class Infer(BundleInferTask):
    """Segment an image, and say how good the mask of each region is likely to be."""

    def writer(
        self, data: dict[str, Any], extension: str | None = None, dtype: Any = None
    ) -> tuple[Any, Any]:
        file, result = super().writer(data, extension, dtype)
        features = data.get("quality", {})
        found = {
            name.partition("/")[2]: value
            for name, value in features.items()
            if name.startswith(f"{AGREEMENT}/")
        }
        if not found:
            return file, result
        quality = self.estimate(features, torch.as_tensor(data[self.key_pred]))
        return file, {**(result or {}), AGREEMENT: found, **({QUALITY: quality} if quality else {})}

    def estimate(self, features: dict[str, float], mask: torch.Tensor) -> dict[str, Any]:
        """Estimate the quality of a mask by the package's own code, as `predict` does it."""
        sys.path.insert(0, self.bundle_path)  # as MONAI Label does it for each step
        unload_module("scripts")
        try:
            code = import_module("scripts.bundle.quality")
        except ModuleNotFoundError:  # a package of an earlier version
            return {}
        finally:
            sys.path.remove(self.bundle_path)
        calibration = code.read_calibration([Path(self.bundle_path, "models/model.pt")])
        if calibration is None:  # or a retraining has replaced the weights
            return {}
        regions = self.bundle_config.get_parsed_content("regions")
        sizes = {name: int(sum((mask == v).sum() for v in regions[name])) for name in regions}
        found = calibration.estimate(features, {"area_px": sizes})
        return {key: found[key] for key in ("check", "reasons", "dice")}


def keep_trust(datastore: Datastore, image: str, result: dict[str, Any]) -> None:
    """Note in the datastore how far a mask can be trusted, as of its worst region."""
    params = result.get("params") or {}
    dice = [each["expected"] for each in params.get(QUALITY, {}).get("dice", {}).values()]
    if found := dice or params.get(AGREEMENT, {}).values():
        datastore.update_image_info(image, {TRUST: min(found)})


class Doubt(Strategy):
    """The unlabelled image whose mask is trusted least; any, if none was segmented yet."""

    def __init__(self) -> None:
        super().__init__("The image whose mask is most in doubt, of those that were segmented")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        infos = {image: datastore.get_image_info(image) for image in images}
        known = {
            image: value
            for image, info in infos.items()  # version 0.1 knew the agreement alone
            if (value := info.get(TRUST, info.get(AGREEMENT))) is not None
        }
        if not images:
            return None
        image = min(known, key=known.get) if known else random.choice(images)
        return {"id": image, "weight": 1 - known.get(image, 0.0)}
