"""What the prepared datasets have in common: pairs of files, folds, and the folder they end in."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import some
from ..folders import new_folder
from .progress import show_progress


def pair_files(
    folder: str | Path,
    identify: Callable[[Path], tuple[str, str] | None],
    kinds: Mapping[str, str],
    *,
    holds: str,
    skip_incomplete: bool,
) -> dict[str, dict[str, Path]]:
    """Find the files of each case anywhere below a folder.

    Args:
        folder: where an archive was extracted.
        identify: gives the case and the kind of a path, or None for files of other sorts.
        kinds: the kinds of file that each case needs, and what an error calls them.
        holds: what the folder should hold, for an error.
        skip_incomplete: leave out cases that lack a file instead of refusing them.

    Returns:
        ``{case: {kind: path}}``, sorted by case.

    Raises:
        FileNotFoundError: there is no such folder, it holds no complete case, or a case lacks a
            file.
        ValueError: a case has two files of one kind.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of the extracted archive")
    found: dict[str, dict[str, Path]] = {}
    twice = []
    for path in sorted(folder.rglob("*")):
        if (identity := identify(path)) and path.is_file():
            case, kind = identity
            first = found.setdefault(case, {}).setdefault(kind, path)
            if first != path:
                twice.append(f"{first} and {path}")
    if twice:
        raise ValueError(f"two files of one kind for a case: {some(twice)}: keep one of each")
    lacking = [
        f"{case} has no {' and no '.join(kinds[kind] for kind in kinds if kind not in files)}"
        for case, files in sorted(found.items())
        if len(files) < len(kinds)
    ]
    if len(lacking) == len(found):
        raise FileNotFoundError(f"no complete case below {folder}: give the folder with {holds}")
    if lacking and not skip_incomplete:
        raise FileNotFoundError(
            f"incomplete below {folder}: {some(lacking)}: add the files, extract the "
            "archive again, or use --skip-incomplete"
        )
    return {case: found[case] for case in sorted(found) if len(found[case]) == len(kinds)}


def select_part(datalist: Mapping[str, Any], patients: Collection[str]) -> dict[str, Any]:
    """Select the cases of some patients from a datalist that comes with this project.

    Raises:
        ValueError: the datalist lacks a patient.
    """
    part = {
        section: [case for case in datalist[section] if case["patient"] in patients]
        for section in ("training", "testing")
    }
    known = {case["patient"] for cases in part.values() for case in cases}
    if strange := sorted(set(patients) - known):
        raise ValueError(
            f"{some(strange)}: not a case of {datalist['name']}; remove or rename the files"
        )
    return {**datalist, **part}


def write_dataset(
    output: str | Path,
    names: Collection[str],
    write_case: Callable[[str, Path, Path], None],
    *,
    datalist: Mapping[str, Any],
    suffix: str,
    progress: str,
    sources: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> Path:
    """Write ``images/``, ``labels/`` and ``datalist.json``, all of it or nothing.

    Args:
        output: folder to make.
        names: of the cases.
        write_case: takes a case's name and the paths of its image and label, and writes both.
        datalist: the content for `write_datalist`.
        suffix: of the files, such as ``.png``.
        progress: what stands before the progress bar.
        sources: folders that are read.
        overwrite: replace what was made in ``output`` before.

    Returns:
        The path of the datalist.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
    """
    with new_folder(output, sources=sources, overwrite=overwrite) as stage:
        (stage / "images").mkdir()
        (stage / "labels").mkdir()
        for name in show_progress(names, progress):
            paths = case_paths(name, suffix=suffix)
            write_case(name, stage / paths["image"], stage / paths["label"])
        write_datalist(stage / "datalist.json", datalist)
    return Path(output) / "datalist.json"


def write_datalist(path: Path, content: Mapping[str, Any]) -> None:
    """Write a datalist, one case per line so that a difference between two is readable.

    Args:
        path: of the file.
        content: the lists ``training`` and ``testing`` of cases, after what the datalist says of
            its dataset, see `read_datalist`; None or an empty text is left out. ``subjects`` says
            who the images are of, patients or phantoms; that and the ``licence`` are for the card
            of what is trained on them.
    """

    def lines(cases: Iterable[dict]) -> str:
        rows = ",\n".join("    " + json.dumps(case) for case in cases)
        return f"[\n{rows}\n  ]" if rows else "[]"

    parts = {key: json.dumps(said) for key, said in content.items() if said not in (None, "")}
    parts |= {key: lines(content.get(key, ())) for key in ("training", "testing")}
    text = ",\n".join(f'  "{key}": {value}' for key, value in parts.items())
    path.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def case_paths(name: str, *, suffix: str) -> dict[str, str]:
    """Name the files of a case, and its patient, as every prepared folder does."""
    return {"image": f"images/{name}{suffix}", "label": f"labels/{name}{suffix}", "patient": name}
