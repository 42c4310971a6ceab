"""The command ``bundle copy``: a bundle that ships, for where no clone of the project is."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import InputError, suggestion
from ..folders import BUNDLES, new_folder


def copy_bundle(name: str, output: Path, *, overwrite: bool = False) -> None:
    """Copy a bundle that ships, to run or to change it.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        InputError: no bundle of this name ships.
    """
    names = [path.parent.name for path in BUNDLES.glob("*/configs")]
    if name not in names:
        raise InputError(f"{name}: no included bundle has this name; {suggestion(name, names)}")
    with new_folder(output, sources=[BUNDLES / name], overwrite=overwrite) as stage:
        shutil.copytree(BUNDLES / name, stage, dirs_exist_ok=True)
        for plan in (stage / "plans").glob("*.json"):  # they name the bundle by its place
            text = plan.read_text(encoding="utf-8")
            plan.write_text(text.replace(f"bundles/{name}", output.as_posix()), encoding="utf-8")
