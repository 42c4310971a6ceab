"""Compare the shapes of drawn pancreases with those of expert masks.

    python benchmarks/phantom_shapes.py FOLDER [--count 73] [--output table.md]

FOLDER contains NIfTI masks at any depth, such as the labels of the Medical Segmentation Decathlon,
Task07. Every value other than 0 counts as pancreas or tumour. Each cell is the median, and the
range from the 5th to the 95th percentile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import nibabel
import numpy as np
import typer
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from pipeline.datasets.phantoms.ct import ct_phantom

#: Measures, with the number of decimals shown.
MEASURES = {
    "volume (ml)": 0,
    "left to right (mm)": 0,
    "front to back (mm)": 0,
    "top to bottom (mm)": 0,
    "surface to volume (1/cm)": 2,
    "1st to 2nd principal axis": 2,
    "2nd to 3rd principal axis": 2,
    "share of its bounding box": 2,
    "greatest inner radius (mm)": 1,
    "components above 0.1 ml": 0,
    "slices with pancreas": 0,
    "slice distance (mm)": 1,
    "in-plane spacing (mm)": 2,
}


def measure(label: np.ndarray, affine: np.ndarray) -> list[float]:
    """Measure one mask; its slices are along the axis closest to top-bottom."""
    volume = nibabel.as_closest_canonical(nibabel.Nifti1Image(label, affine))
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    mask = np.asarray(volume.dataobj) > 0
    mask = np.pad(mask[ndimage.find_objects(mask.astype(np.uint8))[0]], 1)
    extent = (np.array(mask.shape) - 2) * spacing
    millilitres = mask.sum() * spacing.prod() / 1000
    corners, faces, *_ = marching_cubes(mask.astype(np.float32), 0.5, spacing=spacing)
    axes = np.sqrt(np.linalg.eigvalsh(np.cov((np.argwhere(mask) * spacing).T)))
    parts = np.bincount(ndimage.label(mask, np.ones((3, 3, 3)))[0].ravel())[1:]
    return [
        millilitres,
        *extent,
        mesh_surface_area(corners, faces) / 100 / millilitres,
        axes[2] / axes[1],
        axes[1] / axes[0],
        millilitres * 1000 / extent.prod(),
        ndimage.distance_transform_edt(mask, spacing).max(),
        (parts * spacing.prod() > 100).sum(),
        mask.shape[2] - 2,
        spacing[2],
        spacing[0],
    ]


def main(
    folder: Path,
    count: Annotated[int, typer.Option(help="Number of phantoms.")] = 73,
    seed: int = 0,
    output: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Measure masks and phantoms and print the table."""
    paths = sorted(folder.rglob("*.nii.gz"))
    if not paths:
        raise typer.BadParameter(f"{folder} contains no *.nii.gz; give the folder of the masks.")
    experts, drawn = [], []
    for path in track(paths, description="Measuring masks"):
        volume = nibabel.load(path)
        experts.append(measure(np.asarray(volume.dataobj).astype(np.uint8), volume.affine))
    for index in track(range(count), description="Drawing phantoms"):
        phantom = ct_phantom((seed, index))
        drawn.append(measure(phantom.label, phantom.affine))
    table = Table("", f"{len(paths)} expert masks", f"{count} phantoms", box=MARKDOWN)
    for (name, digits), *columns in zip(
        MEASURES.items(), np.transpose(experts), np.transpose(drawn), strict=True
    ):
        cells = []
        for values in columns:
            low, middle, high = np.percentile(values, (5, 50, 95))
            cells.append(f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        table.add_row(name, *cells)
    Console().print(table)
    if output:
        with output.open("w") as file:
            Console(file=file, width=100).print(table)


if __name__ == "__main__":
    typer.run(main)
