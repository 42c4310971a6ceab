"""Decode the slices of a DICOM series through ITK, and empty their padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UnfitFile, one_line
from ...transforms.itk import open_by_itk
from .headers import is_encoded, read_slices

if TYPE_CHECKING:
    from pydicom import Dataset


def read_planes(
    slices: Sequence[tuple[Path, int]], shape: tuple[int, int], *, empty: float
) -> np.ndarray:
    """Read slices, each a file and a frame of it, as float32 ``(slices, rows, columns)``.

    The values are rescaled, in HU in a CT. Padding around what a scanner measures becomes
    ``empty``: what PixelPaddingValue and its range limit name (PS3.3 C.7.5.1.1.2), and pixels of
    one value that needs more than BitsStored, of which ITK would keep the lower bits.

    Args:
        slices: in their order.
        shape: rows and columns of each.
        empty: the value of air, or of no signal.

    Raises:
        ValueError: a file cannot be decoded; the message names it.
    """
    volume = np.empty((len(slices), *shape), np.float32)
    named: dict[int, np.ndarray] = {}  # (rows, columns) bool of the slices that have such pixels
    beyond: dict[int, np.ndarray] = {}
    for path, group in groupby(enumerate(slices), key=lambda each: each[1][0]):
        headers = [each.header for each in read_slices(path)]
        frames = _decode(path)
        large = _find_beyond(path, headers[0], frames.shape)
        for number, (_, frame) in group:
            volume[number] = frames[frame]
            if large is not None:
                beyond[number] = large[frame]
            if (padding := _find_named(frames[frame], headers[frame])) is not None:
                named[number] = padding
    for number, padding in beyond.items():
        volume[number][padding] = empty
        if number in named:
            named[number] &= ~padding
    # Some scanners name a value that tissue has too.
    edges_only = named and _is_among_others(volume, named)
    for number, padding in named.items():
        volume[number][_keep_from_edges(padding) if edges_only else padding] = empty
    return volume


def _decode(path: Path) -> np.ndarray:
    """Read all frames of a file, float32 ``(frames, rows, columns)``."""
    import pydicom

    try:
        reader = open_by_itk(path, "GDCMImageIO")
    except UnfitFile as error:
        raise ValueError(f"{path} {error}") from error
    import SimpleITK as sitk

    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        meta = pydicom.dcmread(path, stop_before_pixels=True, force=True).file_meta
        syntax = meta.get("TransferSyntaxUID")
        reason = syntax.name if syntax else one_line(error).rpartition(": ")[2]
        raise ValueError(
            f"{path} cannot be decoded ({reason}): copy it again, or export it without compression"
        ) from error
    array = sitk.GetArrayFromImage(image)
    return array.reshape(-1, *array.shape[-2:])


def _find_named(plane: np.ndarray, header: Dataset) -> np.ndarray | None:
    """Find the pixels of a slice that its header calls padding."""
    first, last = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    if first is None:
        return None
    low, high = sorted(
        _as_stored(each, header) for each in (first, first if last is None else last)
    )
    intercept, slope = (
        float(default if (value := header.get(name)) is None else value)
        for name, default in (("RescaleIntercept", 0), ("RescaleSlope", 1))
    )
    stored = np.rint((plane - intercept) / slope)
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _as_stored(value: int, header: Dataset) -> int:
    """Give a value as the pixels hold it: 63536 stands for -2000 in 16 bits with a sign."""
    bits = int(header.get("BitsStored") or 16)
    stored = int(value) % 2**bits
    negative = header.get("PixelRepresentation") == 1 and stored >= 2 ** (bits - 1)
    return stored - 2**bits if negative else stored


def _find_beyond(path: Path, header: Dataset, shape: tuple[int, ...]) -> np.ndarray | None:
    """Find pixels that use bits above BitsStored, if all have one value; others are overlays."""
    import pydicom

    bits = int(header.get("BitsStored") or 16)
    if header.get("BitsAllocated") != 16 or bits >= 16:
        return None
    whole = pydicom.dcmread(path, force=True, specific_tags=["PixelData"])
    if is_encoded(whole.file_meta):
        return None
    order = "<u2" if whole.original_encoding[1] else ">u2"
    words = np.frombuffer(whole.PixelData, order)[: int(np.prod(shape))].reshape(shape)
    top = words >> bits
    large = top != 0
    if header.get("PixelRepresentation") == 1:
        large &= top != 2 ** (16 - bits) - 1  # the sign, repeated
    return large if len(np.unique(words[large])) == 1 else None


def _is_among_others(volume: np.ndarray, named: Mapping[int, np.ndarray]) -> bool:
    """Whether what is called padding lies within the range of all other values."""
    padding = np.array([np.inf, -np.inf])  # the least and the largest value
    others = padding.copy()
    for number, plane in enumerate(volume):
        mask = named.get(number, np.zeros(plane.shape, bool))
        for limits, where in ((padding, mask), (others, ~mask)):
            limits[0] = min(limits[0], plane.min(where=where, initial=np.inf))
            limits[1] = max(limits[1], plane.max(where=where, initial=-np.inf))
    return bool(padding[0] <= others[1] and padding[1] >= others[0])


def _keep_from_edges(padding: np.ndarray) -> np.ndarray:
    """Keep what reaches an edge of its slice in a straight line of nothing else, ``(H, W)``."""
    kept = np.zeros_like(padding)
    for turns in range(4):
        turned = np.logical_and.accumulate(np.rot90(padding, turns), axis=0)
        kept |= np.rot90(turned, -turns)
    return kept
