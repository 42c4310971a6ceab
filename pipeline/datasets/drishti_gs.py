"""Drishti-GS1: fundus photographs with the disc and the cup as four experts drew them.

Sivaswamy et al., "Drishti-GS: Retinal image dataset for optic nerve head (ONH) segmentation",
IEEE ISBI 2014, doi:10.1109/ISBI.2014.6867807.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..bundle.listing import SOFT, read_datalist
from ..folders import CARDS
from ..transforms.picture import read_grid, read_mask, read_picture
from .datalist import pair_files, select_part, write_dataset

ExpertRule = Literal["majority", "union", "all", "soft"]

#: The least value of a soft map under each rule, halfway between two counts of the four experts.
_LEAST = {"majority": 2.5 / 4 * 255, "union": 0, "all": 3.5 / 4 * 255, "soft": 2.5 / 4 * 255}

#: The official split and our five folds over its training part.
OFFICIAL_DATALIST = CARDS / "drishti_gs" / "datalist.json"

_FILE_NAME = re.compile(
    r"drishtiGS_(?P<number>\d+)(?P<map>_ODsegSoftmap|_cupsegSoftmap)?"
    r"\.(?P<suffix>png|jpe?g|tiff?|bmp)",
    re.IGNORECASE,
)
_MAPS = {"": "image", "_odsegsoftmap": "disc", "_cupsegsoftmap": "cup"}
_NAMES = {"image": "photograph", "disc": "ODsegSoftmap", "cup": "cupsegSoftmap"}


def find_cases(folder: str | Path, *, skip_incomplete: bool = False) -> dict[str, dict[str, Path]]:
    """Find and pair the photographs and the experts' soft maps anywhere below ``folder``.

    Only file names count, in upper or lower case, since the archive and its mirrors agree on
    nothing else: they nest the top folder twice, or sort the photographs by diagnosis.

    Args:
        folder: where the archive was extracted; the test split may be absent.
        skip_incomplete: leave out eyes that lack a file instead of refusing them.

    Returns:
        ``{"drishtiGS_002": {"image": ..., "disc": ..., "cup": ...}, ...}``, sorted by id.

    Raises:
        FileNotFoundError, ValueError: see `pair_files`.
    """

    def identify(path: Path) -> tuple[str, str] | None:
        match = _FILE_NAME.fullmatch(path.name)
        kind = _MAPS[(match["map"] or "").lower()] if match else ""
        return (f"drishtiGS_{int(match['number']):03d}", kind) if match else None

    holds = "Training/Images and Training/GT"
    return pair_files(folder, identify, _NAMES, holds=holds, skip_incomplete=skip_incomplete)


def soft_maps_to_label(
    disc: np.ndarray, cup: np.ndarray, *, rule: ExpertRule = "majority"
) -> np.ndarray:
    """Turn the experts' soft maps into one index mask.

    A soft map holds the share of the four experts who marked a pixel: 0, 64, 128, 191 or 255.
    Resampled copies hold values in between, which count as the nearest of these.

    Args:
        disc: ``(H, W)`` uint8 soft map of the whole optic disc.
        cup: ``(H, W)`` uint8 soft map of the cup.
        rule: ``"majority"`` or ``"soft"``, at least three of the four experts; ``"union"``, any of
            them; or ``"all"`` of them.

    Returns:
        ``(H, W)`` uint8: 0 background, 1 disc rim, 2 cup. This encoding has no cup pixel outside
        the disc, so the cup always lies inside the disc.

    Raises:
        ValueError: the maps differ in shape or are not 8-bit grey.
    """
    if disc.ndim != 2 or disc.shape != cup.shape or disc.dtype != np.uint8 or cup.dtype != np.uint8:
        raise ValueError(
            f"disc map {disc.dtype} {disc.shape} and cup map {cup.dtype} {cup.shape}: "
            "both must be 8-bit grey and of the same size"
        )
    threshold = _LEAST[rule]
    return np.where(disc > threshold, 1 + (cup > threshold), 0).astype(np.uint8)


def soft_maps_to_shares(disc: np.ndarray, cup: np.ndarray) -> dict[int, np.ndarray]:
    """Turn the experts' soft maps (H, W) into the share of experts who gave each label value.

    Returns:
        By the label values of `soft_maps_to_label`, each (H, W) uint8 with 255 for all experts.
        A cup that more experts marked than the disc around it counts as far as the disc.
    """
    inside = np.minimum(disc, cup)
    return {1: disc - inside, 2: inside}


def _name_share(name: str, value: int) -> str:
    return f"shares/{name}_{value}.png"


def prepare(
    folder: str | Path,
    output: str | Path,
    *,
    rule: ExpertRule = "majority",
    skip_incomplete: bool = False,
    overwrite: bool = False,
) -> tuple[Path, list[str]]:
    """Write ``images/ID.png``, ``labels/ID.png`` and ``datalist.json`` from the archive.

    With the rule ``"soft"``, the share of the experts who drew the disc without the cup is in
    ``shares/ID_1.png``, and that of the cup in ``shares/ID_2.png``, with 255 for all of them.

    Returns:
        The path of the datalist, and notes on eyes whose disc rim or cup is empty under ``rule``.

    Raises:
        FileExistsError: ``output`` has content and ``overwrite`` is off.
        FileNotFoundError, ValueError: see `find_cases`; also for maps of another size than their
            photograph and for ids that the official split does not have.
    """
    cases = find_cases(folder, skip_incomplete=skip_incomplete)
    official = read_datalist(OFFICIAL_DATALIST, needs_labels=True)
    part = select_part(official, cases)
    counted = "majority and shares" if rule == "soft" else rule
    if rule == "soft":
        for case in part["training"] + part["testing"]:
            case[SOFT] = {str(v): _name_share(case["patient"], v) for v in (1, 2)}
    notes = []

    def write_case(name: str, image_path: Path, label_path: Path) -> None:
        case = cases[name]
        try:
            size = read_grid(case["image"]).size
            if case["image"].suffix.lower() == ".png":  # the very bytes of the archive
                shutil.copyfile(case["image"], image_path)
            else:
                Image.fromarray(read_picture(case["image"], channels=3)).save(image_path)
            maps = [read_mask(case[kind]) for kind in ("disc", "cup")]
            grey = [each[..., 0] if each.ndim == 3 else each for each in maps]
            label = soft_maps_to_label(*grey, rule=rule)
            shares = soft_maps_to_shares(*grey)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{case['image']} and its soft maps cannot be used: {error}"
            ) from error
        if label.shape != size[::-1]:
            raise ValueError(
                f"{case['disc']} is {label.shape[1]} x {label.shape[0]} px, its photograph "
                f"{size[0]} x {size[1]} px: extract the archive again"
            )
        if missing := [official["labels"][str(v)] for v in (1, 2) if not (label == v).any()]:
            notes.append(f"{name} has no {' and no '.join(missing)} under the {rule} rule")
        Image.fromarray(label).save(label_path)
        if rule == "soft":
            for value, share in shares.items():
                path = image_path.parents[1] / _name_share(name, value)
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(share).save(path)

    datalist = write_dataset(
        output,
        cases,
        write_case,
        datalist=part | {"name": f"{official['name']}, {counted} of the experts"},
        suffix=".png",
        progress="Preparing Drishti-GS",
        sources=[folder],
        overwrite=overwrite,
    )
    return datalist, notes
