"""Read a picture of any format, as an image or as a mask: the one place that does."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UnfitFile
from .content import COPY_AGAIN
from .dicom_picture import is_dicom, open_dicom, read_dicom
from .picture_file import SAVE, any_size, decode, is_grey, open_picture, unreadable
from .whole import to_whole

_SMALL = {"L;2": 85, "L;4": 17}  # factors by which Pillow makes 8 bits of fewer


class PictureGrid(NamedTuple):
    """What the header of a picture says."""

    size: tuple[int, int]  # width and height, px
    channels: int  # 1, or 3 of a picture that is not grey
    plain: bool = False  # 8 bits of grey, and nothing else


@any_size()
def read_grid(path: str | Path, *, is_mask: bool = False) -> PictureGrid:
    """Read the header of a picture.

    Args:
        path: of the file.
        is_mask: the palette of a mask is one channel.

    Raises:
        UnfitFile: it cannot be read, or something in it would silently give a wrong mask.
    """
    path = Path(path)
    if is_dicom(path):
        found = open_dicom(path)
        return PictureGrid(found.GetSize()[:2], found.GetNumberOfComponents())
    picture, raw = open_picture(path)
    with picture:
        grey = is_grey(picture) or raw == "LA;16B" or (is_mask and picture.mode in ("P", "PA"))
        return PictureGrid(picture.size, 1 if grey else 3, picture.mode == "L")


def read_picture(
    path: str | Path, *, channels: int | None = None, modality: str | None = None
) -> np.ndarray:
    """Read an image.

    What is transparent is black: colours are multiplied by their opacity. A picture in grey keeps
    the numbers of its file, also if it is stored in colour. Colours of more than 8 bits are scaled
    so that the largest is 255, without rounding.

    Args:
        path: of the file.
        channels: with 3, a picture in grey is read in colour; with 1 it is read in grey.
        modality: that a file in DICOM must be of, see ``MODALITIES``; None or empty for any.

    Returns:
        (H, W), or (H, W, 3) of a picture in colour; uint8 of 8 bits, float32 of other colours.

    Raises:
        UnfitFile: see `read_grid`; or its values are negative, NaN or infinite, or one all over.
    """
    return to_image(*_read(Path(path), modality), channels=channels)


def to_image(
    pixels: np.ndarray, opacity: np.ndarray | None = None, *, channels: int | None = None
) -> np.ndarray:
    """The same from the pixels of a file and their opacity, see `read_picture`."""
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    if pixels.dtype.kind not in "u" and not (np.isfinite(pixels).all() and pixels.min() >= 0):
        raise UnfitFile("holds values that are negative, NaN or infinite", SAVE)
    if opacity is not None:
        shown = pixels * (opacity if pixels.ndim == 2 else opacity[..., None])
        pixels = shown.round().astype(pixels.dtype) if pixels.dtype.kind == "u" else shown
    few = pixels[::61, ::61]  # which differ in nearly any picture, and take no time
    if (few == few[:1, :1]).all() and (pixels == pixels[:1, :1]).all():
        value = ", ".join(f"{each:g}" for each in np.atleast_1d(pixels[0, 0]))
        hidden = "" if opacity is None else ", with what is transparent as black"
        raise UnfitFile(f"has the value {value} all over{hidden}", f"{COPY_AGAIN}, or leave it out")
    if pixels.ndim == 3 and channels != 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.dtype != np.uint8 and (channels == 3 or pixels.ndim == 3):
        largest = float(pixels.max())
        pixels = np.multiply(pixels, 255, dtype=np.float32)
        pixels /= largest
        np.minimum(pixels, 255, out=pixels)  # which rounding may exceed
    if channels == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return pixels


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask: the numbers of its file, the indices of a palette.

    Returns:
        (H, W), or (H, W, 3) of a picture in colour. What is transparent is 0.

    Raises:
        UnfitFile: see `read_grid`; or values are mixed by transparency, are not whole numbers, or
            are not sure, as those of a JPEG.
    """
    pixels, opacity = _read(Path(path), is_mask=True)
    if opacity is not None:
        if opacity.min() < opacity.max() and ((opacity > 0) & (opacity < 1)).any():
            raise UnfitFile("is partly transparent", "save the mask without transparency")
        pixels = np.where(opacity if pixels.ndim == 2 else opacity[..., None], pixels, 0)
    return to_whole(pixels.astype(np.uint8) if pixels.dtype == bool else pixels)


@any_size()
def _read(
    path: Path, modality: str | None = None, *, is_mask: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the pixels, (H, W) or (H, W, 3), and their opacity (H, W) from 0 to 1; None if all 1."""
    if is_dicom(path):
        return read_dicom(path, modality), None
    picture, raw = open_picture(path)
    with picture:
        try:
            pixels = decode(picture, raw, path, is_mask=is_mask)
        except UnfitFile:
            raise
        except Exception as error:  # Pillow raises about anything on a broken file
            raise unreadable(path, error) from None
        mode, key = picture.mode, picture.info.get("transparency")
    opacity = None
    if pixels.shape[2:] in ((2,), (4,)):
        pixels, opacity = pixels[..., :-1], pixels[..., -1] / np.iinfo(pixels.dtype).max
        if mode.endswith("a"):  # the colours are multiplied by it already
            opacity = np.sign(opacity)
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    elif mode != "P" and isinstance(key, int | tuple):  # the value that is transparent
        same = pixels == np.multiply(key, _SMALL.get(raw, 1))
        opacity = 1.0 - (same if pixels.ndim == 2 else same.all(axis=2))
    elif mode == "P" and pixels.ndim == 2 and key is not None:  # a mask, which keeps its indices
        clear = [key] if isinstance(key, int) else [n for n, alpha in enumerate(key) if not alpha]
        opacity = 1.0 - np.isin(pixels, clear)
    return pixels, None if opacity is None or (opacity == 1).all() else opacity
