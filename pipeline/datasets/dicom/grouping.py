"""Group the DICOM files below a folder by their series."""

from __future__ import annotations

import os
from pathlib import Path

from ...walk import walk
from ..progress import show_progress
from .headers import DiscIndex, SliceFile, is_torn, read_slices
from .screening import IDENTITY, find_conflicts

_MANY = 1000  # headers; a progress bar is shown from here on


def read_folder(
    folder: Path,
) -> tuple[list[list[SliceFile]], dict[Path, dict[Path, str]], list[Path]]:
    """Read the headers below a folder.

    Returns:
        The slices of each series; of each folder the files that cannot be read, with the reason;
        and the indices of discs.
    """
    groups: dict[tuple[str, ...], list[SliceFile]] = {}
    torn: dict[Path, dict[Path, str]] = {}
    indices: list[Path] = []
    paths, passed = walk(folder)
    for path in show_progress(paths, "Reading DICOM headers", least=_MANY):
        try:
            slices = read_slices(path)
        except DiscIndex:
            indices.append(path)
            continue
        except ValueError as error:
            torn.setdefault(path.parent, {})[path] = str(error)
            continue
        for item in slices:
            uid, number = (
                str(item.header.get(name) or "") for name in ("SeriesInstanceUID", "SeriesNumber")
            )
            # Anonymization may remove the identifier; those of a folder are then one series.
            key = (uid,) if uid else ("", str(path.parent), number)
            groups.setdefault((*key, str(item.header.get("Modality") or "")), []).append(item)
    places = {item.path.parent for slices in groups.values() for item in slices}
    for path, reason in passed:
        if path.parent in places and not os.path.lexists(os.path.realpath(path)) and is_torn(path):
            torn.setdefault(path.parent, {})[path] = f"{path} cannot be read: {reason}"
    for key in [key for key in groups if not key[-1]]:
        # Without a modality it may be a slice of the series that has its identifier.
        if whole := next((each for each in groups if each[-1] and each[:-1] == key[:-1]), None):
            groups[whole] += groups.pop(key)
    return list(groups.values()), torn, indices


def split(slices: list[SliceFile]) -> list[list[SliceFile]]:
    """Tell apart series that anonymization gave one UID, if each has folders of its own.

    Within a folder they stay together, and are refused: a series with odd headers would become
    two that look whole.
    """
    if not find_conflicts(item.header for item in slices if not item.stray):
        return [slices]
    parts: dict[tuple[str, ...], list[SliceFile]] = {}
    for item in slices:
        if not item.stray:
            key = tuple(str(item.header.get(name) or "") for name in IDENTITY)
            parts.setdefault(key, []).append(item)
    folders = [{item.path.parent for item in part} for part in parts.values()]
    if sum(map(len, folders)) > len(set[Path]().union(*folders)):
        return [slices]
    for item in (each for each in slices if each.stray):
        place = [n for n, one in enumerate(folders) if item.path.parent in one]
        list(parts.values())[(place or [0])[0]].append(item)
    return list(parts.values())
