"""The folder of a MONAI Label server: the app, and packages that stay as they were packaged."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..bundle.channels import cut_ending
from ..errors import InputError
from ..files import sha256
from .archive import MANIFEST, WEIGHTS, digest_bytes, find_changes, read_archive, unpack
from .label_app.lib import weights
from .label_app.lib.values import PICTURES, VOLUMES

APP = Path(__file__).parent / "label_app"
ENDINGS = (*PICTURES, *VOLUMES)  # of images in a folder of studies
#: What a served model writes: retrainings, the weights before them, and MONAI Label's config.
GROWING = ("runs/", f"{weights.FOLDER}/", "configs/monailabel_train.json")


def make_app(environment: Path, archives: Sequence[Path], folder: Path) -> list[str]:
    """Write the app into a folder, and unpack packages into its ``model`` folder.

    A package that was unpacked before stays as it is, since it may hold retrained weights, if its
    files are those of the archive.

    Args:
        environment: virtual environment with MONAI Label.
        archives: the packages.
        folder: of the app; made if it does not exist.

    Returns:
        the names of the models.

    Raises:
        InputError: MONAI Label is missing; a package was changed, has no weights, or is another
            version of a model in the folder; or the folder holds something else.
    """
    if not any(environment.glob("lib/python*/site-packages/monailabel")):
        raise InputError(
            f"environment {environment}: it has no MONAI Label; run `make .venv-label`."
        )
    contents = {archive: read_archive(archive) for archive in archives}
    for archive, (name, files) in contents.items():
        if WEIGHTS not in files:
            raise InputError(f"{archive}: it has no {WEIGHTS}; package it without --weights-url.")
        if (there := folder / "model" / name).exists():
            check_model(there, files, archive)
    names = [name for name, _ in contents.values()]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{sorted(twice)}: two archives have this name; package with --name.")
    main = folder / "main.py"
    is_app = main.is_file() and "MONAILabelApp" in main.read_text(errors="replace")
    if not is_app and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: it is not an app of MONAI Label; give another --app.")
    # The app is a part of this program; each start writes it again.
    shutil.rmtree(folder / "lib", ignore_errors=True)
    shutil.copytree(APP, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, files in contents.values():
        target = folder / "model" / name
        if not target.exists():
            temporary = target.with_name(f".{name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            unpack(files, temporary)
            temporary.rename(target)
    return names


def check_model(folder: Path, files: Mapping[str, bytes], archive: Path) -> None:
    """Compare a model that was served before with its package, byte by byte.

    Raises:
        InputError: it is another version; a file was changed or added; or the weights are neither
            those of the package nor those of the last retraining.
        ValueError: a training of it runs.
    """
    own = folder / MANIFEST
    if not (own.is_file() and own.read_bytes() == files[MANIFEST]):
        raise InputError(
            f"{folder}: its version is not that of {archive}; give another --app, package with "
            "another --name, or move the folder away."
        )
    for cache in folder.rglob("__pycache__"):  # which Python would believe
        shutil.rmtree(cache)
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    now = {
        name: sha256(path) if path.is_file() else "a link to nothing"
        for name, path in there.items()
        if not (path.is_dir() or name.startswith(GROWING))
    }
    served, before = now.get(WEIGHTS), {name: digest_bytes(files[name]) for name in files}
    for name, state in find_changes(before, now | ({WEIGHTS: before[WEIGHTS]} if served else {})):
        raise InputError(
            f"{folder / name}: it was {state} after {archive} was packaged; move {folder} "
            "away, so that the package is unpacked again."
        )
    weights.settle(folder)
    history = weights.read_history(folder)
    if served != (history[-1]["sha256"] if history else before[WEIGHTS]):
        raise InputError(
            f"{folder / WEIGHTS}: these are neither the weights of {archive} nor those of a "
            "retraining here; package them (`package BUNDLE --checkpoint`), or move "
            f"{folder} away, so that the package is unpacked again."
        )


def check_studies(folder: Path) -> None:
    """Refuse a folder where two images have one name, since MONAI Label would hide one of them.

    Raises:
        InputError: the folder does not exist, or two images have one name.
    """
    if not folder.is_dir():
        raise InputError(f"studies {folder}: there is no such folder; give a folder of images.")
    seen: dict[str, str] = {}
    for name in sorted(path.name for path in folder.iterdir()):
        if name.lower().endswith(ENDINGS):
            stem = cut_ending(name, ENDINGS)
            if stem in seen:
                raise InputError(
                    f"studies {folder}: {seen[stem]} and {name} are both the image {stem!r}; "
                    "rename one."
                )
            seen[stem] = name


def restore(app: Path, name: str) -> str:
    """Bring back the weights of a model before its last retraining.

    Returns:
        a line that says what is served now.

    Raises:
        InputError: there is no such model.
        ValueError: there is nothing to undo, or a training of it runs.
    """
    model = app / "model" / name
    if not (model / WEIGHTS).is_file():
        found = sorted(path.name for path in (app / "model").glob("[!.]*"))
        raise InputError(f"name {name}: {app} serves {found}; give one of them, or another --app.")
    return weights.restore(model)
