"""Files of images and labels: their grid, their pixels, and their place in a prepared folder."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..bundle.channels import NIFTI, PICTURES, VOLUMES
from ..errors import InputError, UnfitFile, times
from ..transforms import picture
from ..transforms.dicom_picture import is_dicom
from ..transforms.volume_checks import grid_difference
from ..transforms.volume_file import open_volume, read_voxels
from .dicom.series import write_nifti

KINDS = (*VOLUMES, *PICTURES)


class Grid(NamedTuple):
    """The place of an image's pixels; ``affine`` is None for a picture, else (4, 4), mm, RAS."""

    shape: tuple[int, ...]  # (W, H) or (X, Y, Z)
    affine: np.ndarray | None
    channels: int  # 3 for every picture that is not grey


def ending(path: Path) -> str:
    """The ending of a file's name in lower case, ``.dcm`` of any DICOM; empty if not an image's."""
    found = next((kind for kind in KINDS if path.name.lower().endswith(kind)), "")
    return found or (".dcm" if is_dicom(path) else "")


def is_image(path: Path) -> bool:
    """Tell an image from other files, and from those that a Mac leaves in an archive."""
    return bool(ending(path)) and not path.name.startswith(".") and path.is_file()


def read_image_grid(path: Path) -> Grid:
    """Read the header of an image.

    Raises:
        InputError: it cannot be read, or is not one picture or one volume.
    """
    try:
        if ending(path) in PICTURES:
            grid = picture.read_grid(path)
            return Grid(grid.size, None, grid.channels)
        volume = open_volume(path)
    except UnfitFile as error:
        raise InputError(f"{path}: it {error}.") from None
    shape, channels = volume.voxels.shape, 1
    if len(shape) == 4:
        shape, channels = shape[:3], shape[3]
    if shape[2:] in ((), (1,)):  # a volume of one slice is a picture
        return Grid(shape[:2], None, channels)
    return Grid(shape, volume.affine, channels)


def read_pixels(path: Path, *, is_label: bool = False) -> np.ndarray:
    """Read all pixels: (H, W) or (H, W, 3) of a picture, (X, Y, Z) or (X, Y, Z, C) of a volume.

    A picture is read as a mask, see `picture.read_mask`, and a volume of one slice is a picture.

    Args:
        path: of the file.
        is_label: whether the numbers of a volume have to be whole.

    Raises:
        InputError: the file cannot be read, or does not hold one number or colour per pixel.
    """
    try:
        if ending(path) in PICTURES:
            return picture.read_mask(path)
        pixels = read_voxels(path, open_volume(path), is_label=is_label).voxels
    except UnfitFile as error:
        raise InputError(f"{path}: it {error}.") from None
    if pixels.shape[2:3] in ((), (1,)):
        return pixels.reshape(pixels.shape[:2] + pixels.shape[3:]).swapaxes(0, 1)
    return pixels


def turn_like(
    pixels: np.ndarray, affine: np.ndarray | None, like: Grid
) -> tuple[np.ndarray, np.ndarray | None]:
    """Put the axes of a volume (X, Y, Z) in the order and the directions of another's, if needed.

    Returns:
        The volume, or a view of it, and its affine, (4, 4) in mm, RAS.
    """
    if affine is None or like.affine is None:
        return pixels, affine
    if not grid_difference(pixels.shape, affine, like.shape, like.affine):
        return pixels, affine
    from nibabel import orientations

    turn = orientations.ornt_transform(
        orientations.io_orientation(affine), orientations.io_orientation(like.affine)
    )
    turned = affine @ orientations.inv_ornt_aff(turn, pixels.shape)
    return orientations.apply_orientation(pixels, turn), turned


def place_image(source: Path, folder: Path, name: str) -> list[str]:
    """Put an image into a prepared folder, under a name without its ending.

    A picture and a packed NIfTI are linked, or copied where that is not possible. Other volumes
    become ``.nii.gz``, one with four dimensions becomes a file for each channel, and one of a
    single slice a PNG.

    Returns:
        The names of the files.

    Raises:
        InputError: the image cannot be read, or has no place in such a file.
    """
    grid = read_image_grid(source)
    kind = ending(source)
    if grid.affine is None and kind not in PICTURES:
        write_picture(folder / f"{name}.png", read_pixels(source), source)
        return [f"{name}.png"]
    if grid.affine is None or (kind in NIFTI and grid.channels == 1):
        target = folder / f"{name}{'.nii.gz' if kind in NIFTI else kind}"
        link(source, target, pack=kind == ".nii")
        return [target.name]
    names = [f"{name}_{number:04d}.nii.gz" for number in range(grid.channels)]
    names = names if len(names) > 1 else [f"{name}.nii.gz"]
    pixels = read_pixels(source).reshape(*grid.shape, grid.channels)
    for number, each in enumerate(names):
        write_volume(folder / each, pixels[..., number], grid.affine)
    return names


def link(source: Path, target: Path, *, pack: bool = False) -> None:
    """Link a file, which takes no space, or copy it; with ``pack``, write it by gzip."""
    if pack:
        # The same bytes: nibabel would round a scaled volume once more.
        with source.open("rb") as plain, gzip.open(target, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed)
        return
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def write_volume(path: Path, pixels: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume (X, Y, Z) as NIfTI, with its affine where all readers find it."""
    if pixels.dtype in (np.int64, np.uint64):  # which readers of NIfTI do not know
        low, high = int(pixels.min()), int(pixels.max())
        fits = np.int32 if low >= -(2**31) and high < 2**31 else np.float64
        pixels = pixels.astype(np.uint8 if low >= 0 and high <= 255 else fits)
    write_nifti(path, pixels, affine)


def to_picture(pixels: np.ndarray, source: Path) -> np.ndarray:
    """Convert whole numbers (H, W) to 8 or 16 bits, which keep every value.

    Raises:
        InputError: the values have no place in a PNG; the message names ``source``.
    """
    low, high = pixels.min(), pixels.max()
    if pixels.ndim != 2 or not np.array_equal(pixels, np.rint(pixels)) or low < 0 or high > 65535:
        raise InputError(
            f"{source}: it is {times(pixels.shape)} of {pixels.dtype} from {low:g} to {high:g}; "
            "save it as a PNG, with 8 or 16 bits."
        )
    return np.ascontiguousarray(pixels, np.uint8 if high < 256 else np.uint16)


def write_picture(path: Path, pixels: np.ndarray, source: Path) -> None:
    """Write whole numbers (H, W) as a PNG, see `to_picture`."""
    Image.fromarray(to_picture(pixels, source)).save(path)
