"""Bring a label onto the voxels of its CT where their files disagree on axes or position."""

from __future__ import annotations

import itertools

import numpy as np
from nibabel import aff2axcodes
from scipy.ndimage import binary_dilation

from ..images import Grid, turn_like

_WINDOW = (-150, 250)  # HU; beyond it, bone and air would count for too much
_SHELL = 2  # voxels
_LEAST = 5.0  # HU that an organ stands out from what surrounds it
_CLEARLY = 2.0  # factor by which another orientation has to fit better than the file's
_AXES = dict.fromkeys("LR", "left to right") | dict.fromkeys("AP", "front to back")
_AXES |= dict.fromkeys("IS", "head to feet")


def match_label(
    mask: np.ndarray, affine: np.ndarray, ct: np.ndarray, ct_affine: np.ndarray
) -> tuple[np.ndarray, str]:
    """Turn a mask, whose file gives its axes but not its position, onto the voxels of its CT.

    The axes are those of the file, unless the CT shows that they are mirrored: an organ stands out
    from the fat around it only in the right one of the eight orientations.

    Args:
        mask: ``(X, Y, Z)`` bool, in the order of its own file.
        affine: ``(4, 4)`` of that file; only its directions are used.
        ct: ``(X, Y, Z)`` HU.
        ct_affine: ``(4, 4)``, mm, RAS.

    Returns:
        The mask ``(X, Y, Z)`` on the voxels of the CT, and a note where the file was wrong or the
        CT does not show whether it was; otherwise an empty string.

    Raises:
        ValueError: the mask is empty, or its size is not that of the CT.
    """
    mask, _ = turn_like(mask, affine, Grid(ct.shape, ct_affine, 1))
    if mask.shape != ct.shape:
        raise ValueError(f"its {mask.shape} voxels are not those of the CT, {ct.shape}")
    if not mask.any():
        raise ValueError("it is empty")
    fits = {
        axes: measure_contrast(np.flip(mask, axes), ct)
        for count in range(4)
        for axes in itertools.combinations(range(3), count)
    }
    best = max(fits, key=fits.__getitem__)
    codes = aff2axcodes(ct_affine)
    mirrored = " and ".join(_AXES[codes[axis]] for axis in best)
    if fits[best] >= max(_LEAST, _CLEARLY * fits[()]) and best:
        return np.flip(mask, best), (
            f"label mirrored {mirrored}: it is then {fits[best]:.0f} HU denser than its "
            f"surroundings, without that {fits[()]:.0f} HU"
        )
    if best or fits[()] < _LEAST:
        return (
            mask,
            f"label only {fits[()]:.0f} HU denser than its surroundings: look whether it fits",
        )
    return mask, ""


def measure_contrast(mask: np.ndarray, ct: np.ndarray) -> float:
    """Measure how much denser the voxels of ``mask`` are than the shell around them, in HU."""
    box = tuple(
        slice(max(int(places.min()) - _SHELL, 0), int(places.max()) + _SHELL + 1)
        for places in np.nonzero(mask)
    )
    inside = mask[box]
    shell = binary_dilation(inside, iterations=_SHELL) & ~inside
    values = np.clip(ct[box], *_WINDOW)
    return float(values[inside].mean() - values[shell].mean()) if shell.any() else 0.0
