"""Which files are the channels of an image: ``NAME_0000.nii.gz`` on, or ``NAME_T1.nii.gz``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NIFTI = (".nii.gz", ".nii")
VOLUMES = (*NIFTI, ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd")
PICTURES = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".j2k"),
    *(".ppm", ".pgm", ".dcm"),
)
RGB = ["red", "green", "blue"]


@dataclass(frozen=True)
class ChannelFiles:
    """The files of one image.

    Attributes:
        path: of the image, without the channel and the ending.
        files: one, or one for each channel in the order of their names.
        problem: why they are not all that the image needs; empty if they are.
    """

    path: Path
    files: tuple[Path, ...]
    problem: str = ""


def is_volume(path: str | Path) -> bool:
    """Tell a volume from a picture, by the ending of its name."""
    return str(path).lower().endswith(VOLUMES)


def is_colour(names: Sequence[str]) -> bool:
    """Tell whether the channels are the colours of a picture, which are in one file."""
    return [name.lower() for name in names] in (RGB, ["r", "g", "b"])


def is_split(names: Sequence[str]) -> bool:
    """Tell whether an image may have a file for each channel."""
    return len(names) > 1 and not is_colour(names)


def group_channels(
    paths: Iterable[Path], names: Sequence[str], *, suffixes: Sequence[str]
) -> list[ChannelFiles]:
    """Put the files of each image together, in the order of its first file.

    A file belongs to a channel by its number or its name, in any case: ``NAME_0001.nii.gz``,
    ``NAME_T2.nii.gz`` or ``NAME/T2.nii.gz`` is the second of T1 and T2. Another file is an image of
    its own, whose channels the reader counts.

    Args:
        paths: of the files.
        names: of the channels.
        suffixes: how names of files end, such as ``.nii.gz``.
    """
    images: dict[Path, dict[int, list[Path]]] = {}
    for path in paths:
        name, channel = _split_name(cut_ending(path.name, suffixes), names)
        if channel is None:
            images[path] = {}
        else:
            image = path.with_name(name) if name else path.parent / path.parent.name
            images.setdefault(image, {}).setdefault(channel, []).append(path)
    return [
        _join(path, found, names, suffixes)
        if found
        else ChannelFiles(path.with_name(cut_ending(path.name, suffixes)), (path,))
        for path, found in images.items()
    ]


def find_channel(text: str, names: Sequence[str]) -> str | None:
    """The channel whose name a text holds as whole words, in any case; the longest of several."""
    words = f" {_as_words(text)} "
    found = [name for name in names if f" {_as_words(name)} " in words]
    return max(found, key=len, default=None)


def _as_words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))


def cut_ending(name: str, suffixes: Sequence[str]) -> str:
    """The name of a file without its ending, the longest of those that fit."""
    fitting = [len(each) for each in suffixes if name.lower().endswith(each)]
    return name[: len(name) - max(fitting, default=0)] or name


def _split_name(stem: str, names: Sequence[str]) -> tuple[str, int | None]:
    """The name of the image, empty for its folder's, and the channel; None if there is none."""
    if not is_split(names):
        return stem, None
    if (match := re.fullmatch(r"(.+)_(\d{4})", stem)) and int(match[2]) < len(names):
        return match[1], int(match[2])
    for name in sorted(names, key=len, reverse=True):
        if stem.lower() == name.lower():
            return "", names.index(name)
        end = len(stem) - len(name) - 1
        if end > 0 and stem[end:].lower() == f"_{name.lower()}":
            return stem[:end], names.index(name)
    return stem, None


def _join(
    image: Path, found: Mapping[int, Sequence[Path]], names: Sequence[str], suffixes: Sequence[str]
) -> ChannelFiles:
    """The files of an image that has one for each channel, or what is wrong with them."""
    files = tuple(found[n][0] for n in sorted(found))
    first = files[0].name
    ending = first[len(cut_ending(first, suffixes)) :]
    for n, name in enumerate(names):
        count = len(found.get(n, ()))
        if count > 1:
            both = " and ".join(path.name for path in found[n])
            return ChannelFiles(image, files, f"{both} are both its channel {name}: keep one")
        if not count:
            wanted = " or ".join(f"{image.name}_{each}{ending}" for each in (f"{n:04d}", name))
            return ChannelFiles(
                image, files, f"it has no file for the channel {name}: add {wanted}"
            )
    return ChannelFiles(image, files)
