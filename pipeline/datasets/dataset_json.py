"""What the datasets of the Decathlon and of nnU-Net have in common: a ``dataset.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..bundle.listing import is_text
from ..errors import InputError
from ..files import read_json, some
from ..transforms.modality import shared_modality
from .describing import Options
from .images import is_image
from .sources import Source

_FIX = "give the folder of the dataset, which holds dataset.json."
_WINDOWS = "write / instead of \\ in dataset.json"


def read_description(folder: Path, key: str, other: str) -> tuple[Path, dict[str, Any]]:
    """Read the only ``dataset.json`` in or below a folder.

    Args:
        folder: of the dataset, however it is nested.
        key: what the file has to hold.
        other: what to do if it holds something else.

    Returns:
        The folder of the file, and its content.

    Raises:
        InputError: there is no such file, there are several, or it lacks ``key`` or ``labels``.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: {_FIX}")
    found = [folder / "dataset.json"]
    if not found[0].is_file():
        found = sorted(folder.glob("**/dataset.json"))
    if len(found) != 1:
        places = f" but {some(list(map(str, found)))}" if found else ""
        raise InputError(f"{folder}: it holds no dataset.json{places}; {_FIX}")
    content = read_json(found[0], _FIX)
    for name in (key, "labels"):
        if not isinstance(content.get(name), dict) or not content[name]:
            raise InputError(f'{found[0]}: "{name}" is {content.get(name)!r}, not names; {other}.')
    return found[0].parent, content


def read_terms(content: Mapping[str, Any]) -> dict[str, str]:
    """The licence of the data in a ``dataset.json``, in either spelling, if it names one."""
    said = content.get("licence") or content.get("license")
    return {"licence": said} if isinstance(said, str) else {}


def name_channels(channels: Mapping[str, str], options: Options, path: Path) -> Options:
    """Complete what the user says of channels and modality by what a dataset says.

    Raises:
        InputError: the channels are not numbered ``{"0": name, "1": name}``.
    """
    if sorted(channels) != sorted(map(str, range(len(channels)))):
        raise InputError(f"{path}: the channels {list(channels)} are not 0, 1, ...; number them.")
    names = [str(channels[str(number)]) for number in range(len(channels))]
    modality = options.modality or shared_modality(names)
    return replace(options, modality=modality, channels=options.channels or names)


def read_files(root: Path, entry: Any, key: str) -> tuple[list[Path], Path]:
    """Read the paths of the image and of the label in an entry of a ``dataset.json``.

    Args:
        root: the folder that they start from.
        entry: of a case.
        key: of the image, ``image`` for one file or ``images`` for a list.

    Raises:
        InputError: one is not there, or not a path.
    """
    image, label = (entry.get(k) if isinstance(entry, dict) else None for k in (key, "label"))
    images = [image] if key == "image" else image
    if not (isinstance(images, list) and images and all(map(is_text, [*images, label]))):
        kind = "a path" if key == "image" else "a list of paths"
        raise InputError(
            f'{root / "dataset.json"}: it lists {entry!r}; give "{key}" as {kind}, and "label" as '
            "a path."
        )
    return [root / path for path in images], root / label


def keep_complete(sources: Sequence[Source], *, skip_incomplete: bool, where: Path) -> list[Source]:
    """Refuse, or leave out, the cases that lack a file.

    Raises:
        InputError: a case lacks a file and ``skip_incomplete`` is off, or no case is complete.
    """
    lacking = {source.name: gone for source in sources if (gone := source.find_missing())}
    if len(lacking) == len(sources):
        first = f", such as {next(iter(lacking.values()))[0]}" if lacking else ""
        fix = _WINDOWS if "\\" in first else "extract the archive again"
        raise InputError(f"{where}: no case has all its files{first}; {fix}.")
    if lacking and not skip_incomplete:
        shown = [f"{name} has no {gone[0]}" for name, gone in lacking.items()]
        fix = _WINDOWS if any("\\" in each for each in shown) else "add the files"
        raise InputError(f"{where}: {some(shown, shown=3)}; {fix}, or use --skip-incomplete.")
    return [source for source in sources if source.name not in lacking]


def note_differences(
    content: Mapping[str, Any], trained: Sequence[Source], tested: Sequence[Source] = ()
) -> list[str]:
    """Note where the folders hold other files, or another number of cases, than was read.

    Args:
        content: of the ``dataset.json``.
        trained, tested: all cases that were listed, also those that lack a file.
    """
    notes = []
    if str(said := content.get("numTraining", len(trained))) != str(len(trained)):
        notes.append(f"dataset.json says {said} cases for training, and there are {len(trained)}")
    used = {path for source in (*trained, *tested) for path in source.files}
    folders = sorted({path.parent for path in used if path.parent.is_dir()})
    others = [p for each in folders for p in sorted(each.iterdir()) if is_image(p)]
    if unused := [str(path) for path in others if path not in used]:
        notes.append(f"left out {len(unused)} files that are of no case: {some(unused)}")
    return notes
