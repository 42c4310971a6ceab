"""Convert arrays in MONAI's order to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation

from ...transforms.picture import read_picture
from ...transforms.volume_file import open_volume, read_voxels
from ..surface import find_spans


def view_case(
    path: str | Path | None,
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    affine: np.ndarray,
    window: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read an image again and bring it and its masks into display order.

    A volume is turned to LPS, so that its axial slices appear as radiologists see them (the
    patient's right on the left), and shown at the slice with the largest truth.

    Args:
        path: image file on the grid of the masks; None for a black image.
        prediction: boolean masks ``(R, *spatial)`` in MONAI's order: ``(R, W, H)`` for a PNG.
        truth: boolean masks on the same grid.
        affine: of the masks; only the orientation of a volume matters.
        window: the values of black and white in a volume; None for its percentiles.

    Returns:
        The picture ``(H, W, 3)`` in [0, 1] and the two masks as ``(R, H, W)``.

    Raises:
        ValueError: the image is not on the grid of the masks.
    """
    picture, predicted, true = (
        layer.numpy() for layer in read_layers(path, prediction, truth, affine=affine)
    )
    if truth.ndim == 4:
        marked = true if true.any() else predicted
        slice_ = int(marked.any(axis=0).sum(axis=(0, 1)).argmax())
        picture, predicted, true = (x[..., slice_] for x in (picture[:1], predicted, true))
    shown = as_picture(picture, window)
    return shown, predicted.swapaxes(1, 2), true.swapaxes(1, 2)


def read_layers(
    path: str | Path | None, prediction: np.ndarray, truth: np.ndarray, *, affine: np.ndarray
) -> list[MetaTensor]:
    """Image, prediction and truth with the arguments of `view_case`; volumes are in LPS."""
    if path is None:
        image = MetaTensor(torch.zeros(1, *truth.shape[1:]), affine=affine)
    else:
        image = _read_image(path, truth.ndim - 1)
    found = [image, *(MetaTensor(torch.from_numpy(m), affine=affine) for m in (prediction, truth))]
    if truth.ndim == 4:
        turn = Orientation("LPS", labels=None)
        found = [turn(layer) for layer in found]
    grids = [tuple(layer.shape[1:]) for layer in found]
    if len(set(grids)) > 1:
        raise ValueError(
            f"{path} has the grid {grids[0]} but its masks have {grids[1]}: "
            "put the prediction and the label back on the original image grid"
        )
    return found


def as_picture(image: np.ndarray, window: Sequence[float] | None = None) -> np.ndarray:
    """Image ``(C, W, H)`` of any scale to a picture ``(H, W, 3)`` in [0, 1].

    Three channels in 0..255 are a photograph and keep their colours; others are scaled by
    `grey_window`, or by the window that is given. Of other numbers of channels the first is shown.
    """
    image = np.asarray(image, dtype=np.float32)
    channels = image[:3] if len(image) in (3, 4) else np.repeat(image[:1], 3, axis=0)
    low, high = float(channels.min()), float(channels.max())
    if len(image) in (3, 4) and low >= 0 and 1 < high <= 255:
        low, high = 0.0, 255.0
    else:
        low, high = window or grey_window(channels)
    scaled = np.clip((channels - low) / max(float(high - low), 1e-6), 0, 1)
    return scaled.transpose(2, 1, 0)


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """The values of black and white without a known window: the 1st and 99th percentile."""
    low, high = np.percentile(image, (1, 99))
    return float(low), float(high)


def find_window(truth: np.ndarray, *predictions: np.ndarray) -> tuple[int, int, int, int]:
    """``(left, right, top, bottom)`` in px around the truth, in the proportions of the picture.

    Predictions count only without a truth: a stray one would otherwise widen the crop.
    """
    height, width = truth.shape[-2:]
    marked = truth.any(axis=0)
    if not marked.any():
        marked = np.logical_or.reduce([masks.any(axis=0) for masks in predictions])
    if not marked.any():
        return 0, width, 0, height
    (top, bottom), (left, right) = spans = find_spans(marked)
    longest = (spans[:, 1] - spans[:, 0]).max() + 1
    share = min(1.0, 1.7 * longest / min(width, height))
    ends = []
    for middle, size in (((left + right + 1) / 2, width), ((top + bottom + 1) / 2, height)):
        length = round(share * size)
        start = int(np.clip(middle - length / 2, 0, size - length))  # within the picture
        ends += [start, start + length]
    return tuple(ends)


def _read_image(path: str | Path, dimensions: int) -> MetaTensor:
    """Read a picture as (C, W, H), or a volume as (C, X, Y, Z), as a training does."""
    if dimensions == 2:
        pixels, affine = read_picture(path).swapaxes(0, 1), None
    else:
        volume = read_voxels(path, open_volume(path))
        pixels, affine = volume.voxels, torch.as_tensor(volume.affine)
    channels = pixels[None] if pixels.ndim == dimensions else np.moveaxis(pixels, -1, 0)
    return MetaTensor(torch.as_tensor(np.ascontiguousarray(channels, np.float32)), affine=affine)
