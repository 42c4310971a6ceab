"""Small datasets of other kinds than the two that ship, as a user would bring them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from pipeline.datasets.phantoms import ct_scanner
from pipeline.datasets.phantoms.ct_anatomy import draw_body
from pipeline.datasets.phantoms.ct_shapes import Lattice

#: Values of a label of `organs`: four exclusive organs, and a tumour inside one of them.
ORGANS = {"liver": 3, "spleen": 5, "kidney": 9, "pancreas": 11, "tumour": 12}


def organs(seed: int, shape=(56, 48, 40), spacing=(6.0, 6.0, 6.0)):
    """Draw a CT: HU int16 (X, Y, Z), a label of `ORGANS`, and the affine."""
    rng = np.random.default_rng(seed)
    body = draw_body(rng, tumour=True)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.multiply(shape, spacing) / 2 + (0, 20, 20)
    hu, gland = ct_scanner.paint(body, affine, shape)
    label = np.zeros(shape, np.uint8)
    lattice = Lattice(affine, shape)
    for organ in body.organs:
        for name in ("liver", "spleen", "kidney"):
            if (0, body.hu[name]) in organ.layers:
                label[organ.shape.distance(lattice, lattice.everywhere) < 0] = ORGANS[name]
    label[body.cavity.distance(lattice, lattice.everywhere) > 0] = 0
    for value, name in ((1, "pancreas"), (2, "tumour")):
        label[gland == value] = ORGANS[name]
    return ct_scanner.scan(rng, hu, affine), label, affine


def write_organs(folder: Path, count: int = 6) -> tuple[Path, Path]:
    """CTs with the organs of `ORGANS`, in two folders."""
    images, labels = folder / "ct", folder / "organs"
    for seed in range(count):
        hu, label, affine = organs(seed)
        _save(images / f"p{seed}.nii.gz", hu, affine)
        _save(labels / f"p{seed}.nii.gz", label, affine)
    return images, labels


def write_two_channels(folder: Path, count: int = 6) -> tuple[Path, Path]:
    """Stacks of thick slices, two co-registered channels: only their product shows the target."""
    images, labels = folder / "mr", folder / "lesions"
    affine = np.diag([1.0, 1.0, 6.0, 1.0])
    shape = (40, 44, 10)
    grid = np.indices(shape).T
    for seed in range(count):
        rng = np.random.default_rng(seed)
        # One ball is bright in both channels, the other two in one only.
        places = rng.permutation([(10, 12, 5), (28, 14, 4), (18, 32, 6)]) + rng.integers(-2, 3, 3)
        balls = [((((grid - at) * (1, 1, 4)) ** 2).sum(-1).T < 40) for at in places]
        first = 200 + 900 * (balls[0] | balls[1]) + rng.normal(0, 40, shape)
        second = 20 + 60 * (balls[0] | balls[2]) + rng.normal(0, 4, shape)
        _save(images / f"s{seed}_0000.nii.gz", first.astype(np.float32), affine)
        _save(images / f"s{seed}_0001.nii.gz", second.astype(np.float32), affine)
        _save(labels / f"s{seed}.nii.gz", balls[0].astype(np.uint8), affine)
    return images, labels


def _save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def read_values(path: Path) -> set[int]:
    """The values that a mask holds."""
    if path.suffix == ".png":
        return set(np.unique(np.asarray(Image.open(path))).tolist())
    return set(np.unique(np.asanyarray(nibabel.load(path).dataobj)).tolist())
