"""An image and its mask, drawn to try a package with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from ..bundle.configs import Config
from ..transforms.regions import Regions


def draw_phantom(config: Mapping[str, Any], work: Path) -> dict[str, Any]:
    """Draw an image and its mask into folders, with the channels and label values of a bundle.

    Returns:
        the paths of ``image``, several where a picture has a file for each channel, and ``label``.
    """
    flat = len(Config(config).built("roi_size")) == 2
    channels, values = config["channel_names"], Regions(config["regions"]).known
    (work / "images").mkdir()
    if flat:
        from ..datasets.phantoms.fundus import fundus_phantom

        image, label = fundus_phantom(0)
    else:
        from ..datasets.phantoms.ct import ct_phantom

        image, label, affine = ct_phantom(0, size=(72, 60, 40), field_of_view=330.0)
        # Of two windows along each axis: a whole abdomen has thousands of a small, fine one.
        extent = np.abs(affine[:3, :3]) @ image.shape
        window = np.multiply(Config(config).built("roi_size"), Config(config).built("spacing"))
        affine[:3, :3] *= np.minimum(1, 1.5 * window / extent)[:, None]
    # Slices of what is drawn stand for the bundle's structures: a training wants all of them.
    for value, part in zip(values, np.array_split(np.flatnonzero(label), len(values)), strict=True):
        label.flat[part] = value
    if not flat:
        # A file with four dimensions holds all channels, as MONAI Label needs it.
        image = image if len(channels) == 1 else np.stack([image] * len(channels), axis=-1)
        paths = {"image": work / "images/phantom.nii.gz", "label": work / "label.nii.gz"}
        for path, array in zip(paths.values(), (image, label), strict=True):
            nibabel.save(nibabel.Nifti1Image(np.asarray(array), affine), path)
        return {key: str(path) for key, path in paths.items()}

    Image.fromarray(label).save(work / "label.png")
    picture = Image.fromarray(image)
    if len(channels) in (1, 3):
        paths = [work / "images/phantom.png"]
    else:
        paths = [work / f"images/phantom_{n:04d}.png" for n in range(len(channels))]
    for path in paths:
        (picture if len(channels) == 3 else picture.convert("L")).save(path)
    drawn = [str(path) for path in paths]
    return {"image": drawn if len(drawn) > 1 else drawn[0], "label": str(work / "label.png")}
