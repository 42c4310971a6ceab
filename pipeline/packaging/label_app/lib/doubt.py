"""The next image to label: the one whose mask is most in doubt."""

from __future__ import annotations

import random
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.infer.bundle import BundleInferTask

AGREEMENT = "agreement"  # of a mask, in a result and in what a datastore knows of an image


class Infer(BundleInferTask):
    """Segment an image, and say how sure the network is of each region."""

    def writer(
        self, data: dict[str, Any], extension: str | None = None, dtype: Any = None
    ) -> tuple[Any, Any]:
        file, result = super().writer(data, extension, dtype)
        found = {
            name.partition("/")[2]: value
            for name, value in data.get("quality", {}).items()
            if name.startswith(f"{AGREEMENT}/")
        }
        return file, {**(result or {}), AGREEMENT: found} if found else result


def keep_agreement(datastore: Datastore, image: str, result: dict[str, Any]) -> None:
    """Note in the datastore how sure the network is of an image, as of its worst region."""
    if found := (result.get("params") or {}).get(AGREEMENT):
        datastore.update_image_info(image, {AGREEMENT: min(found.values())})


class Doubt(Strategy):
    """The unlabelled image with the least agreement; any, if none was segmented yet."""

    def __init__(self) -> None:
        super().__init__("The image whose mask is most in doubt, of those that were segmented")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        known = {
            image: value
            for image in images
            if (value := datastore.get_image_info(image).get(AGREEMENT)) is not None
        }
        if not images:
            return None
        image = min(known, key=known.get) if known else random.choice(images)
        return {"id": image, "weight": 1 - known.get(image, 0.0)}
