"""What the page of a report shows of a case: tiles with outlines, and a small volume to turn."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import one_line
from ..evaluation.figures.colours import COLOURS
from ..files import replacing
from .output import OutputError, writing
from .tiles import TILE, draw_tile, mark_regions, name_regions, thin

if TYPE_CHECKING:
    from PIL import Image

    from ..transforms.regions import Regions

FOLDER = "report-files"  # beside the reports, which share it as they share the masks
VIEWED = 128  # voxels along a side of the volume in the viewer, at most


class Shown(NamedTuple):
    """A volume in grey, for the eye."""

    grey: np.ndarray  # uint8 (X, Y, Z), in the order of the file
    affine: np.ndarray  # (4, 4), voxels to mm, RAS


def view_files(name: str) -> tuple[str, str]:
    """The picture and the script of a case, from the folder of the masks."""
    return f"{FOLDER}/{name}.jpg", f"{FOLDER}/{name}.js"


def remove_view(folder: Path, name: str) -> None:
    """Remove what the page shows of a case whose image or mask is another now."""
    for each in view_files(name):
        (folder / each).unlink(missing_ok=True)


def write_view(draw: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Draw a case; its mask is right even if nothing can be drawn.

    Returns:
        What the report says under ``view``: the picture, what each of its tiles shows, and the
        script with the volume; or an error.

    Raises:
        OutputError: the files cannot be written.
    """
    try:
        return {"view": draw()}
    except OutputError:
        raise
    except Exception as error:  # images and masks of any kind come here
        return {"view": {"error": f"{type(error).__name__}: {one_line(error)}"}}


def draw_picture(
    folder: Path, name: str, picture: np.ndarray, mask: np.ndarray, regions: Regions
) -> dict[str, Any]:
    """Draw a photograph, whole and around its regions.

    Args:
        folder: of the masks.
        name: of the case.
        picture: ``(H, W)`` or ``(H, W, 3)``: the photograph, or its first channel.
        mask: index mask ``(H, W)``.
        regions: what it holds.
    """
    from ..evaluation.figures.display import as_picture, find_window

    if picture.dtype != np.uint8:
        channels = picture[None] if picture.ndim == 2 else np.moveaxis(picture, -1, 0)
        picture = (as_picture(channels.swapaxes(1, 2)) * 255).astype(np.uint8)
    masks = mark_regions(thin(mask), regions)
    tiles = {f"whole picture, {name_regions(masks, regions)}": draw_tile(picture, masks)}
    if mask.any():
        left, right, top, bottom = find_window(mask[None])
        box = slice(top, bottom), slice(left, right)
        near = mark_regions(thin(mask[box]), regions)
        tiles[f"enlarged, {name_regions(near, regions)}"] = draw_tile(picture[box], near)
    return _save_tiles(folder, name, tiles)


def shade(voxels: np.ndarray, affine: np.ndarray, window: Sequence[float] | None) -> Shown:
    """Copy the first channel of a volume in 8 bits, before a network takes it.

    Args:
        voxels: ``(X, Y, Z)`` or ``(X, Y, Z, C)``.
        affine: ``(4, 4)``.
        window: the values of black and white; None for the percentiles that figures have.
    """
    from ..evaluation.figures.display import grey_window

    voxels = voxels if voxels.ndim == 3 else voxels[..., 0]
    step = [-(-size // 100) for size in voxels.shape]
    black, white = window or grey_window(voxels[:: step[0], :: step[1], :: step[2]])
    grey = np.empty(voxels.shape, np.uint8)
    for part, of in zip(grey, voxels, strict=True):  # a slice after the other, to save memory
        part[:] = np.clip((of - black) * (255 / max(white - black, 1e-6)), 0, 255)
    return Shown(grey, affine)


def draw_volume(
    folder: Path, name: str, shown: Shown, mask: np.ndarray, regions: Regions
) -> dict[str, Any]:
    """Draw a whole slice and three planes around the regions, and write the script of the viewer.

    Args:
        folder: of the masks.
        name: of the case.
        shown: the volume.
        mask: index mask ``(X, Y, Z)`` on its grid.
        regions: what it holds.
    """
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import (
        apply_orientation,
        axcodes2ornt,
        inv_ornt_aff,
        io_orientation,
        ornt_transform,
    )

    from ..evaluation.figures.view import AXIAL, CORONAL, EDGES, SAGITTAL, cut_planes, find_cube

    turn = ornt_transform(io_orientation(shown.affine), axcodes2ornt("LPS"))
    affine = shown.affine @ inv_ornt_aff(turn, mask.shape)
    grey, mask = (apply_orientation(each, turn) for each in (shown.grey, mask))
    step = voxel_sizes(affine)
    middle, side, box = find_cube(mask > 0, step)
    low = [each.start for each in box]
    near = mask[box][None]  # as one region: what a plane shows is told apart in the plane
    planes = cut_planes(
        grey[box], near, near[:0], step=step, middle=middle, side=side, window=(0, 255)
    )
    tiles = {}
    words = {AXIAL: "axial", CORONAL: "coronal", SAGITTAL: "sagittal"}
    for axis, plane in planes.items():
        index = plane.index + low[axis]
        where = f"{words[axis]} slice {index + 1} of {mask.shape[axis]}"
        if axis == AXIAL:
            whole = mark_regions(mask[..., index].T, regions)
            text = f"whole {where}, {name_regions(whole, regions)}"
            tiles[text] = draw_tile(grey[..., index].T, whole, plane.step, EDGES[axis])
        picture = (plane.picture * 255).astype(np.uint8)
        masks = mark_regions(plane.prediction[0], regions)
        text = f"enlarged {where}, {name_regions(masks, regions)}"
        tiles[text] = draw_tile(picture, masks, plane.step, EDGES[axis])
    affine[:3, 3] = affine[:3] @ [*low, 1]
    script = _write_script(folder, name, Shown(grey[box], affine), mask[box], regions)
    return _save_tiles(folder, name, tiles) | {"volume": script}


def _save_tiles(folder: Path, name: str, tiles: dict[str, Image.Image]) -> dict[str, Any]:
    """Save tiles as one picture, beside each other."""
    from PIL import Image

    strip = Image.new("RGB", (TILE * len(tiles), TILE))
    for number, tile in enumerate(tiles.values()):
        strip.paste(tile, (number * TILE, 0))
    path = view_files(name)[0]
    with writing(folder / path), replacing(folder / path, alone=True) as temporary:
        strip.save(temporary, format="JPEG", quality=85)
    return {"picture": path, "tiles": list(tiles)}


def _write_script(folder: Path, name: str, shown: Shown, mask: np.ndarray, regions: Regions) -> str:
    """Write a volume and its mask as a script, which a page may load from a disk, unlike data."""
    import torch
    from nibabel import Nifti1Image
    from torch.nn.functional import interpolate

    size = [min(each, VIEWED) for each in mask.shape]
    factor = np.divide(mask.shape, size)
    affine = shown.affine @ np.diag([*factor, 1])
    affine[:3, 3] += shown.affine[:3, :3] @ ((factor - 1) / 2)  # the outer edges stay
    given = {}
    for key, each, mode in (("image", shown.grey, "area"), ("mask", mask, "nearest-exact")):
        voxels = torch.from_numpy(np.array(each, np.float32))[None, None]
        small = interpolate(voxels, size, mode=mode)[0, 0].round().numpy().astype(np.uint8)
        content = gzip.compress(Nifti1Image(small, affine).to_bytes(), 6, mtime=0)
        given[key] = base64.b64encode(content).decode()
    colours = list(zip(regions.values, cycle(COLOURS), strict=False))
    given["colours"] = {  # of the innermost region that has the value
        str(value): min((each for each in colours if value in each[0]), key=lambda e: len(e[0]))[1]
        for value in regions.known
    }
    path = view_files(name)[1]
    with writing(folder / path), replacing(folder / path, alone=True) as temporary:
        temporary.write_text(f"shownVolume = {json.dumps(given)}\n", encoding="ascii")
    return path
