"""What a dataset is like, in numbers: sizes, spacings, intensities and the shapes of its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.channels import is_volume
from ..bundle.listing import check_cases, files_of, read_datalist
from ..datasets.progress import show_progress
from ..errors import InputError
from ..transforms.regions import Regions
from .cases import CaseFacts, RegionFacts, measure_case
from .rules import BODY

MOST = 200  # cases that are measured
_KEPT = 20_000  # intensities of a case's foreground that are kept


def take_fingerprint(
    datalist: Path, *, regions: Mapping[str, Sequence[int]] | None = None
) -> dict[str, Any]:
    """Measure the training cases of a dataset, of many evenly spaced ones.

    Args:
        datalist: its ``datalist.json``; paths in it are relative to its folder.
        regions: what is segmented, instead of what the datalist says.

    Returns:
        What JSON can hold. A distribution is ``{"min", "p10", "median", "max"}``, for sizes and
        spacings one number per axis: voxels and mm in RAS order, or pixels, width first.

    Raises:
        InputError: the datalist lacks what a bundle needs, or a file cannot be measured.
    """
    content = read_complete(datalist, regions)
    cases = content["training"]
    count = min(len(cases), MOST)
    chosen = [cases[n * len(cases) // count] for n in range(count)]
    pictures = is_picture(cases)
    measured = [
        measure_case(
            [datalist.parent / file for file in files_of(case["image"])],
            datalist.parent / case["label"],
            regions=content["regions"],
            channels=len(content["channel_names"]),
            modality=content["modality"],
            spatial_dims=2 if pictures else 3,
            threshold=None if pictures else BODY if content["modality"] == "CT" else 0,
        )
        for case in show_progress(chosen, "Measuring")
    ]
    about = {
        "dataset": content.get("name", datalist.resolve().parent.name),
        "cases": len(cases),
        "measured": len(measured),
        "testing": len(content["testing"]),
        "folds": sorted({case.get("fold", 0) for case in cases}, key=str),
        "spatial_dims": 2 if pictures else 3,
        **{name: content[name] for name in ("modality", "channel_names", "labels", "regions")},
        "ignore_label": content.get("ignore_label"),
    }
    return about | summarise_cases(measured, list(content["regions"]))


def read_complete(
    datalist: Path, regions: Mapping[str, Sequence[int]] | None = None
) -> dict[str, Any]:
    """Read a datalist that says all that a bundle must know.

    Raises:
        InputError: names what is missing.
    """
    content = read_datalist(datalist, needs_labels=True)
    if regions is not None:
        known = sorted(map(int, content["labels"]))
        if strange := sorted(set(Regions(regions).known) - set(known)):
            raise InputError(
                f"--regions has the value {strange[0]}, which the labels of {datalist} do not "
                f"hold; use some of {known}."
            )
        content["regions"] = dict(regions)
    if not content["training"]:
        raise InputError(f'datalist {datalist}: "training" is empty; list cases with labels there.')
    for name, example in {
        "modality": '"MR"',
        "channel_names": '["T1"]',
        "regions": '{"lesion": [1]}',
    }.items():
        if not content.get(name):
            raise InputError(
                f'datalist {datalist}: "{name}" is missing; add "{name}": {example}, or write '
                "the datalist with `python -m pipeline data prepare`."
            )
    channels, source = content["channel_names"], f"datalist {datalist}"
    check_cases(content["training"], channels=channels, source=source)
    return content


def is_picture(cases: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether all images are pictures (2D), or all volumes.

    Raises:
        InputError: there are both.
    """
    names = [file for case in cases for file in files_of(case["image"])]
    kinds = set(map(is_volume, names))
    if len(kinds) > 1:
        raise InputError("the datalist lists pictures and volumes; keep those of one kind.")
    return not kinds.pop()


def summarise_cases(cases: Sequence[CaseFacts], regions: Sequence[str]) -> dict[str, Any]:
    """Put what was measured of each case together."""
    foreground = np.concatenate(
        [case.foreground[:: max(1, len(case.foreground) // _KEPT)] for case in cases]
    )
    if not len(foreground):
        raise InputError("no label holds a region; run `python -m pipeline data check`.")
    return {
        "size": spread([case.size for case in cases]),
        "cropped_size": spread([case.cropped for case in cases]),
        "spacing": spread([case.spacing for case in cases]),
        "intensity": {
            "foreground": rounded(np.percentile(foreground, [0.5, 50, 99.5])),
            "minimum_is_0": all(case.minimum == 0 for case in cases),
            "zero_share": round(float(np.median([case.zeros for case in cases])), 3),
        },
        "regions_measured": {
            name: summarise_region([c.regions[name] for c in cases if name in c.regions])
            for name in regions
        },
    }


def summarise_region(found: Sequence[RegionFacts]) -> dict[str, Any]:
    """Put the shapes of a region together, over the cases that have it."""
    if not found:
        return {"cases": 0}
    return {
        "cases": len(found),
        "amount": spread([each.amount for each in found]),
        "parts": {str(n): k for n, k in sorted(Counter(each.parts for each in found).items())},
        "thickness": spread([each.thickness for each in found]),
        "extent": spread([each.extent for each in found]),
    }


def spread(values: Sequence[Any]) -> dict[str, Any]:
    """The distribution of numbers, or of each number of several lists."""
    low, tenth, median, high = np.percentile(np.asarray(values, float), [0, 10, 50, 100], axis=0)
    found = {"min": low, "p10": tenth, "median": median, "max": high}
    return {name: rounded(value) for name, value in found.items()}


def rounded(values: Any) -> Any:
    """Four significant digits, as JSON has them; whole numbers stay whole."""
    if np.ndim(values):
        return [rounded(value) for value in values]
    value = float(f"{float(values):.4g}") if abs(values) < 10_000 else float(round(float(values)))
    return int(value) if value.is_integer() else value
