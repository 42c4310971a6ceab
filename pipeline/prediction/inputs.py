"""Find the cases of files, folders and DICOM series, and give each its own name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..bundle.channels import PICTURES, VOLUMES, find_channel, group_channels, is_split, is_volume
from ..datasets.dicom.series import Series, find_series, no_series
from ..errors import InputError
from ..transforms.content import explain_kind
from ..transforms.dicom_picture import is_dicom, tell_other
from ..transforms.volume_file import is_slice, list_files
from ..walk import LeftOut, walk
from .input_case import InputCase
from .names import name_cases


def find_inputs(
    inputs: Sequence[Path],
    *,
    volumes: bool,
    output: Path,
    modality: str | None = "CT",
    channel_names: Sequence[str] = (),
    chosen: str | None = None,
) -> tuple[list[InputCase], list[LeftOut]]:
    """Find the cases in files and folders, in the order of the inputs.

    What cannot be segmented becomes a case with a problem, so that the others go on. All that lies
    below a folder belongs to a case or is left out with a reason.

    Args:
        inputs: files and folders.
        volumes: look for volumes and for series in DICOM, else for pictures.
        output: the folder of the masks, which are not inputs.
        modality: of the series; None for any.
        channel_names: of the channels of an image, see `group_channels`.
        chosen: number, description or UID of the only series that are segmented.

    Returns:
        The cases, and what is passed over, each with its reason.

    Raises:
        InputError: an input does not exist, or a series is chosen for a bundle of pictures.
    """
    if chosen and not volumes:
        raise InputError("--series is for bundles of volumes; this one takes pictures.")
    output = output.resolve()
    for path in inputs:
        if not (path.is_file() or path.is_dir()):
            told = "is neither a file nor a folder" if path.exists() else "does not exist"
            raise InputError(f"{path}: it {told}; give a file or folder to segment.")
        if path.resolve() == output:
            raise InputError(f"--output {path}: it is also an input; give another folder.")
    kinds = VOLUMES if volumes else PICTURES
    found: dict[str, InputCase] = {}
    left_out: dict[LeftOut, None] = {}
    for path in (Path(os.path.abspath(path)) for path in inputs):
        if path.is_dir():
            cases, passed = _below(path, kinds, output, modality, chosen)
            left_out |= dict.fromkeys(passed)
        else:
            cases = [_file(path, kinds)]
        for case in cases:
            found.setdefault(case.source, case)
    named = name_cases(list(_join_channels(list(found.values()), channel_names)))
    used = {file for case in named for file in (case.path, *case.files)}
    return named, [each for each in left_out if each[0] not in used]


def _join_channels(cases: Sequence[InputCase], names: Sequence[str]) -> Iterator[InputCase]:
    """Make one case of the files or the series that are the channels of one image."""
    files = [case.path for case in cases if not (case.series or case.problem)]
    for image in group_channels(files, names, suffixes=VOLUMES + PICTURES):
        problem = f"{image.path}: {image.problem}" if image.problem else ""
        alone = len(image.files) == 1 and not problem
        yield InputCase(image.files[0] if alone else image.path, image.files, problem=problem)
    others = [case for case in cases if case.series or case.problem]
    if not is_split(names):
        yield from others
        return
    yield from (case for case in others if case.problem)
    images: dict[tuple[str, Path], list[Series]] = {}
    for case in others:
        if not case.problem:
            (series,) = case.series
            images.setdefault((series.patient, case.path.parent), []).append(series)
    for several in images.values():
        yield _join_series(several, names)


def _join_series(several: Sequence[Series], names: Sequence[str]) -> InputCase:
    """Choose the series of each channel, which has its name in its description or its folder's."""
    channels = [find_channel(f"{each.description} {each.folder.name}", names) for each in several]
    chosen = []
    for name in names:
        found = [each for each, has in zip(several, channels, strict=True) if has == name]
        if len(found) != 1:
            listing = "; ".join(map(str, found or several))
            problem = (
                f"{several[0].folder.parent}: {len(found) or 'none'} of its series are of the "
                f"channel {name}, by description or folder: keep one and name it so: {listing}"
            )
            return InputCase(several[0].folder, series=tuple(several), problem=problem)
        chosen += found
    return InputCase(chosen[0].folder, series=tuple(chosen))


def _file(path: Path, kinds: Sequence[str]) -> InputCase:
    in_dicom = is_dicom(path)
    if _is_taken(path, kinds) or (in_dicom and kinds == PICTURES):
        return InputCase(path)
    hint = "give the folder of its series" if in_dicom else f"give {', '.join(kinds)}"
    told = _tell_kind(path) or f"this bundle does not take such a file: {hint}"
    return InputCase(path, problem=f"{path}: {told}")


def _is_taken(path: Path, kinds: Sequence[str]) -> bool:
    """Tell a file of these kinds; a slice in a volume's file is a picture."""
    name = path.name.lower()
    slices = kinds == PICTURES and name.endswith(VOLUMES)
    return name.endswith(tuple(kinds)) or (slices and is_slice(path))


def _below(
    folder: Path, kinds: Sequence[str], output: Path, modality: str | None, chosen: str | None
) -> tuple[list[InputCase], list[LeftOut]]:
    """Find the files of these kinds, and for volumes the series of the modality too.

    Files that an earlier run wrote below the same folder are left out.
    """
    inside = folder.resolve() in output.parents

    def is_output(path: Path) -> bool:
        return inside and path.resolve().is_relative_to(output)

    every, passed = walk(folder)
    left_out = [each for each in passed if not is_output(each[0])]
    files = [path for path in every if not is_output(path)]
    if len(files) < len(every):
        left_out.append((output, "it is the folder of the masks"))
    pictures = {path for path in files if kinds == PICTURES and is_dicom(path)}
    left_out += [(path, why) for path in sorted(pictures) if (why := tell_other(path, modality))]
    passed_over = {path for path, _ in left_out}
    cases = [
        InputCase(path)
        for path in files
        if path not in passed_over and (path in pictures or _is_taken(path, kinds))
    ]
    named = passed_over.union(*(list_files(case.path) for case in cases))
    found: list[Series] = []
    problem = f"it holds no {', '.join(kinds)}"
    other = "it is not a picture by its name"
    if kinds == VOLUMES:
        other = "it is not a volume by its name, and not in DICOM"
        try:
            found = find_series(folder, modality=modality, name=chosen)
        except FileNotFoundError:
            problem = f"{problem}, and no DICOM"
        except ModuleNotFoundError as error:
            problem = other = str(error)
    found = [each for each in found if not is_output(each.files[0])]
    # The scout or the report beside a CT is not meant.
    only_others = not (cases or chosen or any(each.is_wanted for each in found))
    for each in found:
        named.update(each.files, each.torn, (path for path, _ in each.left_out))
        left_out += each.left_out
        if each.is_wanted or only_others:
            refused = f"{each}: {each.problem}" if each.problem else ""
            cases.append(InputCase(each.folder, series=(each,), problem=refused))
        else:
            left_out.append((Path(each.source), str(each.problem)))
    deep = "it is a volume, and this bundle takes pictures"  # a slice is a case by now
    left_out += [
        (path, _tell_kind(path) or (deep if is_volume(path) else other))
        for path in files
        if path not in named
    ]
    if chosen and not any(case.series for case in cases):
        cases.append(InputCase(folder, problem=f"--series: {no_series(chosen, found, folder)}"))
    if not cases:
        cases = [InputCase(folder, problem=f"{folder}: {problem}: give another folder")]
    return cases, left_out


def _tell_kind(path: Path) -> str:
    """Say what a file without the name of an image is, such as an archive; empty if unknown."""
    if path.name.lower().endswith((*VOLUMES, *PICTURES)):
        return ""
    try:
        with path.open("rb") as file:
            told = explain_kind(path, file.read(1024))
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return f"it {': '.join(told)}" if told else ""
