"""What the values of a mask mean: the labels of the served packages, and their codes in DICOM."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TISSUE = {"category": "Tissue", "type": "Tissue", "colour": [221, 130, 101]}  # as in 3D Slicer
TABLES = ("cid7150", "cid7154", "cid7159", "SCT")  # of codes; a keyword may be in several


@dataclass(frozen=True)
class LabelSet:
    """What the masks of a model mean.

    Attributes:
        model: its name.
        version: of the package.
        values: of the mask, by the label's name in lower case, as MONAI Label gives it.
        meanings: ``dicom_segments`` of the bundle's metadata, by the same names.
    """

    model: str
    version: str
    values: Mapping[str, int]
    meanings: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> LabelSet:
        """Read it from the folder of a package."""
        metadata = json.loads((folder / "configs/metadata.json").read_text())
        labels = metadata["network_data_format"]["outputs"]["pred"].get("channel_def", {})
        return cls(
            folder.name,
            str(metadata.get("version", "")),
            {name.lower(): int(value) for value, name in labels.items() if int(value)},
            {name.lower(): each for name, each in metadata.get("dicom_segments", {}).items()},
        )


def choose(sets: Iterable[LabelSet], names: Iterable[str]) -> LabelSet:
    """The model that knows most of these labels; the first of several."""
    known = {name.lower() for name in names}
    return max(sets, key=lambda each: len(known & each.values.keys()))


def name_values(
    values: Sequence[int], info: Sequence[Mapping[str, Any]], labels: LabelSet, *, predicted: bool
) -> dict[int, str]:
    """Name the values of a mask.

    Args:
        values: those in the mask.
        info: ``label_info`` of the request: what the viewer calls its labels, in the order of
            their values, perhaps with this as ``idx``.
        labels: of the model.
        predicted: the model made the mask, so its names are right.
    """
    own = {value: name for name, value in labels.values.items()}
    if predicted:
        return {value: own.get(value, f"label {value}") for value in values}
    names = {
        int(each.get("idx", n)): str(each["name"])
        for n, each in enumerate(info, 1)
        if "name" in each
    }
    # A viewer that numbers its labels anew, such as tumour alone as 1, names them too.
    return {value: names.get(value) or own.get(value, f"label {value}") for value in values}


def find_code(keyword: str) -> dict[str, str]:
    """The SNOMED CT code of a keyword of DICOM PS3.16, such as ``Pancreas``."""
    from pydicom.sr.codedict import codes

    for table in TABLES:
        try:
            code = getattr(getattr(codes, table), keyword)
        except (AttributeError, RuntimeError):  # not in it; several in it
            continue
        return {
            "CodeValue": code.value,
            "CodingSchemeDesignator": code.scheme_designator,
            "CodeMeaning": code.meaning,
        }
    raise ValueError(f"dicom_segments: {keyword!r} is not a keyword of SNOMED CT in DICOM")


def describe(value: int, name: str, labels: LabelSet, made_by: str) -> dict[str, Any]:
    """A segment as dcmqi wants it."""
    meaning = labels.meanings.get(name.lower(), TISSUE)
    out = {
        "labelID": value,
        "SegmentLabel": name[:64],
        "SegmentDescription": name[:64],
        "SegmentAlgorithmType": made_by,
        "SegmentedPropertyCategoryCodeSequence": find_code(meaning["category"]),
        "SegmentedPropertyTypeCodeSequence": find_code(meaning["type"]),
        "recommendedDisplayRGBValue": list(meaning.get("colour", TISSUE["colour"])),
    }
    if region := meaning.get("region"):
        out["AnatomicRegionSequence"] = find_code(region)
    if made_by != "MANUAL":
        out["SegmentAlgorithmName"] = f"{labels.model} {labels.version}"[:64]
    return out
