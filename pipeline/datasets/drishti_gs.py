"""Drishti-GS1: fundus photographs with the disc and the cup as four experts drew them.

Sivaswamy et al., "Drishti-GS: Retinal image dataset for optic nerve head (ONH) segmentation",
IEEE ISBI 2014, doi:10.1109/ISBI.2014.6867807.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..files import new_folder, some
from .datalist import DISC_CUP_LABELS, read_datalist, write_datalist

if TYPE_CHECKING:
    import numpy as np

Rule = Literal["majority", "union"]

#: The official split and our five folds over its training part.
OFFICIAL_DATALIST = Path(__file__).parents[2] / "data" / "drishti_gs" / "datalist.json"

_FILE_NAME = re.compile(
    r"drishtiGS_(?P<number>\d+)(?P<map>_ODsegSoftmap|_cupsegSoftmap)?"
    r"\.(?P<suffix>png|jpe?g|tiff?|bmp)",
    re.IGNORECASE,
)
_KINDS = {None: "image", "_odsegsoftmap": "disc", "_cupsegsoftmap": "cup"}
_NAMES = {"image": "photograph", "disc": "ODsegSoftmap", "cup": "cupsegSoftmap"}


@dataclass(frozen=True)
class Case:
    """The three files of one eye."""

    image: Path
    disc: Path
    cup: Path


def find_cases(folder: str | Path, *, skip_incomplete: bool = False) -> dict[str, Case]:
    """Find and pair the photographs and the experts' soft maps anywhere below ``folder``.

    Only file names count, in any case of letters, since the archive and its mirrors agree on
    nothing else: they nest the top folder twice, or sort the photographs by diagnosis.

    Args:
        folder: where the archive was extracted; the test split may be absent.
        skip_incomplete: leave out eyes that lack a file instead of refusing them.

    Returns:
        ``{"drishtiGS_002": Case(...), ...}``, sorted by id.

    Raises:
        FileNotFoundError: no such folder, or no complete eye in it, or some eye lacks a file.
        ValueError: two files claim to be the same thing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of the extracted archive")
    found: dict[str, dict[str, Path]] = {}
    twice = []
    for path in sorted(folder.rglob("*")):
        match = _FILE_NAME.fullmatch(path.name)
        if not match or not path.is_file():
            continue
        kind = _KINDS[match["map"].lower() if match["map"] else None]
        files = found.setdefault(f"drishtiGS_{int(match['number']):03d}", {})
        if kind in files:
            twice.append(f"{files[kind]} and {path}")
        files.setdefault(kind, path)
    if twice:
        raise ValueError(f"two files for one thing: {some(twice)}: keep one of each")
    lacking = {
        case: [name for kind, name in _NAMES.items() if kind not in files]
        for case, files in sorted(found.items())
        if len(files) < len(_NAMES)
    }
    if len(lacking) == len(found):
        raise FileNotFoundError(
            f"no photograph drishtiGS_NNN.png with both soft maps below {folder}: "
            "give the folder that holds Training/Images and Training/GT"
        )
    if lacking and not skip_incomplete:
        listing = some(
            [f"{case} has no {' and no '.join(names)}" for case, names in lacking.items()]
        )
        raise FileNotFoundError(
            f"incomplete below {folder}: {listing}: add the files, or use --skip-incomplete"
        )
    return {case: Case(**found[case]) for case in sorted(found.keys() - lacking.keys())}


def soft_maps_to_label(disc: np.ndarray, cup: np.ndarray, *, rule: Rule = "majority") -> np.ndarray:
    """Turn the experts' soft maps into one index mask.

    A soft map holds the share of the four experts who marked a pixel: 0, 64, 128, 191 or 255.
    Resampled copies hold values in between, which count as the nearest of these.

    Args:
        disc: ``(H, W)`` uint8 soft map of the whole optic disc.
        cup: ``(H, W)`` uint8 soft map of the cup.
        rule: ``"majority"``, at least three of the four experts; or ``"union"``, any of them.

    Returns:
        ``(H, W)`` uint8: 0 background, 1 disc rim, 2 cup. A cup pixel outside the disc does not
        exist in this encoding, so the cup always lies inside the disc.

    Raises:
        ValueError: the maps differ in shape or are not 8-bit grey, or the rule is unknown.
    """
    import numpy as np

    if disc.ndim != 2 or disc.shape != cup.shape or disc.dtype != np.uint8 or cup.dtype != np.uint8:
        raise ValueError(
            f"disc map {disc.dtype} {disc.shape} and cup map {cup.dtype} {cup.shape}: "
            "both must be 8-bit grey and of one size"
        )
    if rule not in ("majority", "union"):
        raise ValueError(f"rule {rule!r} is unknown: use majority or union")
    # halfway between two and three experts of four
    threshold = 2.5 / 4 * 255 if rule == "majority" else 0
    return np.where(disc > threshold, 1 + (cup > threshold), 0).astype(np.uint8)


def prepare(
    folder: str | Path,
    output: str | Path,
    *,
    rule: Rule = "majority",
    skip_incomplete: bool = False,
    overwrite: bool = False,
) -> tuple[Path, list[str]]:
    """Write ``images/ID.png``, ``labels/ID.png`` and ``datalist.json`` from the archive.

    Returns:
        The path of the datalist, and the ids whose disc or cup is empty under ``rule``.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        FileNotFoundError, ValueError: see `find_cases`; also for maps of another size than their
            photograph and for ids that the official split does not know.
    """
    import numpy as np
    from PIL import Image
    from rich.progress import track

    cases = find_cases(folder, skip_incomplete=skip_incomplete)
    official = read_datalist(OFFICIAL_DATALIST)
    known = {item["patient"] for item in official["training"] + official["testing"]}
    if strange := sorted(cases.keys() - known):
        raise ValueError(f"not in the official split: {some(strange)}: rename or remove the files")

    empty = []
    with new_folder(output, sources=[folder], overwrite=overwrite) as stage:
        (stage / "images").mkdir()
        (stage / "labels").mkdir()
        for name, case in track(cases.items(), description="Preparing Drishti-GS"):
            try:
                with Image.open(case.image) as image:
                    size = image.size
                    if image.format == "PNG":  # the very bytes of the archive
                        shutil.copyfile(case.image, stage / f"images/{name}.png")
                    else:
                        image.convert("RGB").save(stage / f"images/{name}.png")
                maps = [np.asarray(Image.open(path).convert("L")) for path in (case.disc, case.cup)]
                label = soft_maps_to_label(*maps, rule=rule)
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"{case.image} with its soft maps cannot be used: {error}"
                ) from error
            if label.shape != size[::-1]:
                raise ValueError(
                    f"{case.disc} is {label.shape[1]} x {label.shape[0]} px, its photograph "
                    f"{size[0]} x {size[1]} px: extract the archive again"
                )
            if missing := [DISC_CUP_LABELS[str(v)] for v in (1, 2) if not (label == v).any()]:
                empty.append(f"{name} ({' and '.join(missing)})")
            Image.fromarray(label).save(stage / f"labels/{name}.png")
        write_datalist(
            stage / "datalist.json",
            name=f"{official['name']}, {rule} of the experts",
            labels=DISC_CUP_LABELS,
            training=[item for item in official["training"] if item["patient"] in cases],
            testing=[item for item in official["testing"] if item["patient"] in cases],
        )
    return Path(output) / "datalist.json", empty
