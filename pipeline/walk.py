"""All that lies below a folder: each file once, and what is passed over with its reason."""

from __future__ import annotations

import os
from pathlib import Path

LeftOut = tuple[Path, str]


def walk(folder: Path) -> tuple[list[Path], list[LeftOut]]:
    """List the files below a folder, in the order of their paths.

    A link is followed: a file has the name of its link, a folder is read once however many
    names it has, under its own name if that lies below ``folder`` too.

    Returns:
        The files; and what is passed over, each a path and the reason: what is hidden, a link to
        nothing, to a folder around it or to one that is read anyway, what cannot be read.
    """
    files: list[Path] = []
    left_out: list[LeftOut] = []
    names: dict[Path, Path] = {}  # of a folder's real place: the name under which it is read
    folders, links = [folder], list[Path]()
    while folders or links:
        here = folders.pop() if folders else links.pop(0)  # a real name goes before a link
        place = Path(os.path.realpath(here))
        if place in names:
            left_out.append(
                (here, f"it is the folder {names[place]}, which is read under that name")
            )
            continue
        if here.is_symlink() and here != folder:
            around = Path(os.path.realpath(here.parent))
            if around.is_relative_to(place):
                left_out.append((here, f"it is a link to a folder around it, {place}"))
                continue
        names[place] = here
        try:
            found = sorted(here.iterdir())
        except OSError as error:
            left_out.append((here, f"it cannot be read ({error.strerror})"))
            continue
        for path in found:
            if path.name.startswith("."):
                left_out.append((path, "it is hidden: its name begins with a dot"))
            elif os.path.isdir(path):
                (links if path.is_symlink() else folders).append(path)
            elif os.path.isfile(path):
                files.append(path)
            elif path.is_symlink():
                left_out.append((path, f"it is a link to nothing: {os.readlink(path)}"))
            else:
                left_out.append((path, "it is neither a file nor a folder"))
    return sorted(files), sorted(left_out)
