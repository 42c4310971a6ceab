"""Masks as DICOM segmentations and back, with the names and codes of the packages that are served.

MONAI Label takes the n-th value of a mask for the n-th label, codes every structure as spleen, and
says of all that an algorithm made it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TISSUE = {"category": "Tissue", "type": "Tissue", "colour": [221, 130, 101]}  # as in 3D Slicer
TABLES = ("cid7150", "cid7154", "cid7159", "SCT")  # of codes; a keyword may be in several
NEAR = 0.01  # voxels by which a frame may be off its slice
MADE_BY = ("MANUAL", "SEMIAUTOMATIC", "AUTOMATIC")


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
    raise ValueError(f"dicom_segments: {keyword!r} is no keyword of SNOMED CT in DICOM")


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


def read_values(mask: str | Path) -> list[int]:
    """The values in a mask, without the background."""
    import SimpleITK

    voxels = SimpleITK.GetArrayViewFromImage(SimpleITK.ReadImage(str(mask)))
    return [int(value) for value in np.unique(voxels) if value]


def write_segmentation(
    series: str | Path, mask: str | Path, names: Mapping[int, str], labels: LabelSet, made_by: str
) -> str:
    """Write a mask as a DICOM segmentation of its series, in a new file.

    Args:
        series: folder of the DICOM files.
        mask: on their grid, with at least one value.
        names: of its values.
        labels: of the model whose codes are meant.
        made_by: MANUAL, SEMIAUTOMATIC or AUTOMATIC.

    Raises:
        ValueError: dcmqi cannot write it; the text says why.
    """
    segments = [describe(value, name, labels, made_by) for value, name in sorted(names.items())]
    what = f"{labels.model} segmentation" if made_by == "AUTOMATIC" else "annotation"
    template = {
        "ContentCreatorName": "MONAI Label",
        "SeriesDescription": what[:64],
        "SeriesNumber": "300" if made_by == "AUTOMATIC" else "301",
        "InstanceNumber": "1",
        "segmentAttributes": [segments],
        "ContentLabel": "SEGMENTATION",
        "ContentDescription": what[:64],
        "ClinicalTrialSeriesID": "Session1",
        "ClinicalTrialTimePointID": "1",
        "ClinicalTrialCoordinatingCenterName": "MONAI Label",
        "BodyPartExamined": "",
    }
    handle, output = tempfile.mkstemp(".dcm")
    os.close(handle)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(template, file)
        file.flush()
        command = ["itkimage2segimage", "--inputImageList", str(mask), "--inputMetadata", file.name]
        command += ["--inputDICOMDirectory", str(series), "--outputDICOM", output]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
        raise ValueError("dcmqi: " + "; ".join(line.strip() for line in lines[-4:]))
    return output


def read_segmentation(path: Path, image: Path, frame: str, sets: Iterable[LabelSet]) -> Any:
    """Put a DICOM segmentation onto the grid of its CT, voxel by voxel.

    Files often hold only the slices with a structure. Segments may overlap, such as a gland and
    its tumour: the smaller one then lies inside.

    Args:
        path: of the segmentation.
        image: the CT as a volume.
        frame: its frame of reference UID.
        sets: labels of the models.

    Returns:
        the mask as a SimpleITK image.

    Raises:
        ValueError: it lies elsewhere or has no label of a model, and is never resampled.
    """
    import pydicom
    import SimpleITK

    content, grid = pydicom.dcmread(path), SimpleITK.ReadImage(str(image))
    if str(content.FrameOfReferenceUID) != frame:
        raise ValueError(f"{path}: its frame of reference is not that of its CT")
    found = {int(s.SegmentNumber): str(s.SegmentLabel).lower() for s in content.SegmentSequence}
    labels = choose(sets, found.values())
    size = grid.GetSize()
    columns, rows = size[:2]
    if (content.Columns, content.Rows) != (columns, rows):
        raise ValueError(
            f"{path}: {content.Columns} x {content.Rows} px, the CT {columns} x {rows}"
        )
    axes = np.reshape(grid.GetDirection(), (3, 3)).T[:2].ravel()  # of the columns and rows
    frames = np.reshape(content.pixel_array, (-1, rows, columns)) > 0
    masks: dict[str, np.ndarray] = {}
    shared = content.SharedFunctionalGroupsSequence[0]
    for voxels, own in zip(frames, content.PerFrameFunctionalGroupsSequence, strict=True):

        def get(name: str, own: Any = own) -> Any:
            return (own if name in own else shared)[name][0]

        number = int(get("SegmentIdentificationSequence").ReferencedSegmentNumber)
        if found[number] not in labels.values:
            continue
        place = [float(x) for x in get("PlanePositionSequence").ImagePositionPatient]
        turned = [float(x) for x in get("PlaneOrientationSequence").ImageOrientationPatient]
        index = grid.TransformPhysicalPointToContinuousIndex(place)
        k = round(index[2])
        off = np.abs(np.subtract(index, (0, 0, k))).max()
        if off > NEAR or not 0 <= k < size[2] or np.abs(np.subtract(turned, axes)).max() > 1e-3:
            raise ValueError(f"{path}: a frame lies off the slices of its CT, at {place}")
        mask = masks.setdefault(found[number], np.zeros(size[::-1], bool))
        mask[k] |= voxels
    if not masks:
        raise ValueError(f"{path}: it has {sorted(found.values())}, none of which a model knows")
    out = np.zeros(size[::-1], np.uint16)
    for name in sorted(masks, key=lambda name: -masks[name].sum()):
        out[masks[name]] = labels.values[name]
    result = SimpleITK.GetImageFromArray(out)
    result.CopyInformation(grid)
    return result
