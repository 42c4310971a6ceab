"""Drawn abdominal CTs with an exact pancreas and tumour: data for tests and for a first run.

They are not medical data. They have what makes the real task hard: a gland as dense as the bowel
beside it, of every size and course, cut by vessels, in volumes of any spacing and orientation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from nibabel import orientations

from . import ct_scanner as scanner
from .ct_anatomy import draw_body
from .folder import write_phantoms

#: With the values of the Medical Segmentation Decathlon; the pancreas includes its tumour.
ABOUT = {
    "modality": "CT",
    "channel_names": ["CT"],
    "labels": {"0": "background", "1": "pancreas", "2": "tumour"},
    "regions": {"pancreas": [1, 2]},
}


class CTPhantom(NamedTuple):
    """A drawn CT; ``affine`` maps voxels to mm, RAS."""

    image: np.ndarray  # int16 HU (X, Y, Z)
    label: np.ndarray  # uint8 (X, Y, Z): 0 background, 1 pancreas, 2 tumour
    affine: np.ndarray  # (4, 4)


def ct_phantom(
    seed: int | Sequence[int],
    *,
    tumour_share: float = 0.5,
    size: tuple[int, int, int] | None = None,
    field_of_view: float | None = None,
    grid: tuple[np.ndarray, tuple[int, int, int]] | None = None,
) -> CTPhantom:
    """Draw one abdominal CT, portal-venous or native.

    The patient follows from the seed alone; so do the voxels, unless they are given. Without
    options a slice is 150 to 230 mm wide with voxels of 0.6 to 1 mm, and slices are 1 to 5 mm
    apart. A scan always holds the whole pancreas, if need be with larger voxels.

    Args:
        seed: one number or several, such as ``(seed, index)``.
        tumour_share: probability of a tumour; a larger one adds tumours and changes nothing else.
        size: number of voxels: width, height and slices.
        field_of_view: width of a slice in mm.
        grid: draw on these voxels instead: affine in mm, RAS, with columns at right angles, and
            shape; the third axis counts the slices. The origin is the middle of the vertebra
            behind the neck of the pancreas.
    """

    parts = [seed] if isinstance(seed, int) else list(seed)
    of_body, of_scan = (np.random.Generator(np.random.PCG64([*parts, n])) for n in range(2))
    body = draw_body(of_body, tumour=of_body.random() < tumour_share)
    affine, shape = grid or scanner.draw_grid(of_scan, body, size=size, field_of_view=field_of_view)
    clean, label = scanner.paint(body, affine, shape)
    image = scanner.scan(of_scan, clean, affine)
    if grid:
        return CTPhantom(image, label, affine)
    codes, shares = zip(*scanner.ORIENTATIONS.items(), strict=True)
    turn = orientations.axcodes2ornt(tuple(of_scan.choice(codes, p=shares)))
    stored = affine @ orientations.inv_ornt_aff(turn, shape)
    stored[:3, 3] += of_scan.normal(0, (10, 60, 250))  # where the table stood
    image, label = (orientations.apply_orientation(part, turn) for part in (image, label))
    return CTPhantom(image, label, stored)


def write_ct_phantoms(
    output: str | Path,
    *,
    seed: int = 0,
    tumour_share: float = 0.5,
    size: tuple[int, int, int] | None = None,
    field_of_view: float | None = None,
    **options: Any,
) -> Path:
    """Write ``images/``, ``labels/`` (NIfTI) and ``datalist.json`` of drawn CTs.

    Args:
        output: folder to make.
        seed: CT ``i`` is drawn from ``(seed, i)``, whatever the count.
        tumour_share: share of patients with a tumour, on average.
        size: number of voxels, such as ``(512, 512, 100)``; by default drawn per case.
        field_of_view: width of a slice in mm; by default drawn per case.
        options: ``count``, ``testing`` and ``overwrite`` of `write_phantoms`.

    Returns:
        The path of the datalist.

    Raises:
        ValueError: an option is out of range.
        FileExistsError: see `write_phantoms`.
    """
    if not 0 <= tumour_share <= 1:
        raise ValueError(f"tumour_share is {tumour_share}: give a share from 0 to 1")
    if size and not all(16 <= number <= 1024 for number in size):
        raise ValueError(f"size is {tuple(size)}: give width, height and slices, each 16 to 1024")
    if field_of_view and not 150 <= field_of_view <= 600:
        raise ValueError(f"field_of_view is {field_of_view}: give 150 to 600 mm")

    def draw(index: int, image_path: Path, label_path: Path) -> None:
        phantom = ct_phantom(
            (seed, index), tumour_share=tumour_share, size=size, field_of_view=field_of_view
        )
        for array, path in ((phantom.image, image_path), (phantom.label, label_path)):
            volume = nibabel.Nifti1Image(array, phantom.affine)
            volume.header.set_xyzt_units("mm")
            nibabel.save(volume, path)

    names = {"stem": "ct", "suffix": ".nii.gz", "title": "CT phantoms"}
    return write_phantoms(output, draw, **names, about=ABOUT, seed=seed, **options)
