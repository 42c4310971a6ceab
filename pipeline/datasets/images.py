"""Files of images and labels: their grid, their pixels, and their place in a prepared folder."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..bundle.channels import PICTURES, VOLUMES
from ..errors import InputError, one_line

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ITK = (".nrrd", ".nhdr", ".mha", ".mhd")  # also read, and written as NIfTI
KINDS = (*VOLUMES, *ITK, *PICTURES)

_GREY = ("1", "L", "LA", "I", "F")  # modes of Pillow with one channel, up to a semicolon


class Grid(NamedTuple):
    """The place of an image's pixels; ``affine`` is None for a picture, else (4, 4), mm, RAS."""

    shape: tuple[int, ...]  # (W, H) or (X, Y, Z)
    affine: np.ndarray | None
    channels: int  # 3 for every picture that is not grey


def ending(path: Path) -> str:
    """The ending of a file's name, in lower case; empty if it is not that of an image."""
    return next((kind for kind in KINDS if path.name.lower().endswith(kind)), "")


def is_image(path: Path) -> bool:
    """Tell an image from other files, and from those that a Mac leaves in an archive."""
    return bool(ending(path)) and not path.name.startswith(".") and path.is_file()


def read_grid(path: Path) -> Grid:
    """Read the header of an image.

    Raises:
        InputError: it cannot be read, or is not one picture or one volume.
    """
    try:
        if ending(path) in PICTURES:
            with _open_picture(path) as picture:
                return Grid(picture.size, None, 1 if _is_grey(picture) else 3)
        if ending(path) in ITK:
            return _read_itk_grid(path)
        import nibabel

        file = nibabel.load(path)
        shape, channels = tuple(file.shape), 1
        if len(shape) == 4:
            shape, channels = shape[:3], shape[3]
        return _flat(Grid(shape, file.affine, channels), path)
    except InputError:
        raise
    except Exception as error:  # readers raise about anything on a broken file
        raise _unreadable(path, error) from error


def read_pixels(path: Path) -> np.ndarray:
    """Read all pixels: (H, W) or (H, W, 3) of a picture, (X, Y, Z) or (X, Y, Z, C) of a volume.

    A picture with a palette gives the indices, and a volume of one slice is a picture.

    Raises:
        InputError: the file cannot be read, or is transparent in places.
    """
    import numpy as np

    try:
        if ending(path) in PICTURES:
            with _open_picture(path) as picture:
                return _read_picture(picture, path)
        if ending(path) in ITK:
            import SimpleITK as sitk

            image = sitk.ReadImage(str(path))
            pixels = sitk.GetArrayFromImage(image)
            axes = list(range(image.GetDimension()))[::-1]
            pixels = pixels.transpose([*axes, *range(len(axes), pixels.ndim)])
        else:
            import nibabel

            pixels = np.asanyarray(nibabel.load(path).dataobj)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 1):
        return pixels.reshape(pixels.shape[:2]).T
    return pixels


def place_image(source: Path, folder: Path, name: str) -> list[str]:
    """Put an image into a prepared folder.

    A picture and a packed NIfTI are linked, or copied where that is not possible. Other volumes
    become ``.nii.gz``, one with four dimensions becomes a file for each channel, and one of a
    single slice a PNG.

    Args:
        source: the file.
        folder: where to put it.
        name: without its ending.

    Returns:
        The names of the files.

    Raises:
        InputError: the image cannot be read, or has no place in such a file.
    """
    grid = read_grid(source)
    kind = ending(source)
    if grid.affine is None and kind not in PICTURES:
        write_picture(folder / f"{name}.png", read_pixels(source), source)
        return [f"{name}.png"]
    if grid.affine is None or (kind in VOLUMES and grid.channels == 1):
        target = folder / f"{name}{'.nii.gz' if kind in VOLUMES else kind}"
        link(source, target, pack=kind == ".nii")
        return [target.name]
    pixels = read_pixels(source)
    if grid.channels == 1:
        write_volume(folder / f"{name}.nii.gz", pixels.reshape(grid.shape), grid.affine)
        return [f"{name}.nii.gz"]
    names = [f"{name}_{number:04d}.nii.gz" for number in range(grid.channels)]
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
    import numpy as np

    from .dicom.series import write_nifti

    if pixels.dtype == np.float16:
        pixels = pixels.astype(np.float32)
    if pixels.dtype in (np.int64, np.uint64, np.bool_):  # which readers of NIfTI do not know
        low, high = int(pixels.min()), int(pixels.max())
        small = low >= 0 and high <= 255
        pixels = pixels.astype(np.uint8 if small else np.int32 if high < 2**31 else np.float64)
    write_nifti(path, pixels, affine)


def write_picture(path: Path, pixels: np.ndarray, source: Path) -> None:
    """Write whole numbers (H, W) as a PNG of 8 or 16 bits, which keeps every value.

    Raises:
        InputError: the values have no place in a PNG; the message names ``source``.
    """
    import numpy as np
    from PIL import Image

    low, high = pixels.min(), pixels.max()
    if pixels.ndim != 2 or not np.array_equal(pixels, np.rint(pixels)) or low < 0 or high > 65535:
        raise InputError(
            f"{source}: it is 2D, of {pixels.dtype} from {low:g} to {high:g}; save it as a PNG, "
            "with 8 or 16 bits."
        )
    Image.fromarray(np.ascontiguousarray(pixels, np.uint8 if high < 256 else np.uint16)).save(path)


def _read_itk_grid(path: Path) -> Grid:
    import numpy as np

    try:
        import SimpleITK as sitk
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path.suffix} needs SimpleITK: pip install 'attention-unet-pipeline[data]'",
            name="SimpleITK",
        ) from error
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size, channels = tuple(reader.GetSize()), reader.GetNumberOfComponents()
    if len(size) == 2:
        return Grid(size, None, channels)
    affine = np.eye(4)
    if len(size) == 3:
        directions = np.reshape(reader.GetDirection(), (3, 3))
        affine[:3, :3] = directions * reader.GetSpacing()
        affine[:3, 3] = reader.GetOrigin()
    # ITK's LPS to RAS
    return _flat(Grid(size, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, channels), path)


def _flat(grid: Grid, path: Path) -> Grid:
    """A volume of one slice is a picture."""
    shape = grid.shape[:2] if grid.shape[2:] == (1,) else grid.shape
    if len(shape) not in (2, 3):
        raise InputError(f"{path}: it has {len(shape)} dimensions; give one picture or volume.")
    return Grid(shape, grid.affine if len(shape) == 3 else None, grid.channels)


def _open_picture(path: Path) -> Image.Image:
    from PIL import Image

    picture = Image.open(path)
    # A photograph of a telephone may hold a preview too (MPO).
    if picture.format != "MPO" and (count := getattr(picture, "n_frames", 1)) > 1:
        picture.close()
        raise InputError(
            f"{path}: it holds {count} pictures; save each in a file, or a volume as NIfTI."
        )
    return picture


def _read_picture(picture: Image.Image, path: Path) -> np.ndarray:
    import numpy as np

    if picture.mode.endswith("A"):
        if np.ptp(np.asarray(picture.getchannel("A"))):
            raise InputError(f"{path}: it is transparent in places; save it without transparency.")
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")
    if picture.mode != "P" and not _is_grey(picture):
        picture = picture.convert("RGB")
    return np.asarray(picture)


def _is_grey(picture: Image.Image) -> bool:
    return picture.mode.split(";")[0] in _GREY


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: it cannot be read ({one_line(error)}); copy or save it again.")
