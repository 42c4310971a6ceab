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
from pathlib import Path
from typing import Any

import numpy as np

from .labels import LabelSet, choose, describe, name_values

NEAR = 0.01  # voxels or mm by which grids may differ
MASKS = (".nii.gz", ".nii", ".nrrd", ".mha", ".png")  # endings of what SimpleITK reads and writes


def read_values(mask: str | Path) -> list[int]:
    """The values in a mask, without the background."""
    import SimpleITK

    voxels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(mask)))
    return [int(value) for value in np.unique(voxels) if value]


def renumber(mask: str | Path, info: Sequence[Mapping[str, Any]], sets: Iterable[LabelSet]) -> None:
    """Give the labels of a mask the values of their model, in its file.

    A viewer numbers its segments anew, so a tumour alone may be 1.

    Args:
        mask: file to change, if there is anything to change.
        info: ``label_info`` of the viewer; see `name_values`.
        sets: labels of the models.

    Raises:
        ValueError: a label that the model does not know has the value of one that it knows.
    """
    import SimpleITK

    if not info:
        return
    labels = choose(sets, [str(each.get("name")) for each in info])
    names = name_values(read_values(mask), info, labels, predicted=False)
    new = {value: labels.values.get(name.lower(), value) for value, name in names.items()}
    if len({*new.values()}) < len(new):
        raise ValueError(f"the mask has the labels {names}, and {labels.model} {labels.values}")
    if any(value != other for value, other in new.items()):
        image = SimpleITK.ReadImage(str(mask))
        found = SimpleITK.GetArrayFromImage(image)
        out = np.zeros_like(found)
        for value, other in new.items():
            out[found == value] = other
        changed = SimpleITK.GetImageFromArray(out)
        changed.CopyInformation(image)
        SimpleITK.WriteImage(changed, str(mask), True)


def check_grid(mask: str | Path, image: str | Path) -> None:
    """Refuse a mask that is not on the grid of its image.

    Raises:
        ValueError: size, place, spacing or axes differ.
    """
    import SimpleITK

    one, other = (SimpleITK.ReadImage(str(path)) for path in (mask, image))
    for name in ("Size", "Origin", "Spacing", "Direction"):
        found, expected = (getattr(each, f"Get{name}")() for each in (one, other))
        if len(found) != len(expected) or np.abs(np.subtract(found, expected)).max() > NEAR:
            raise ValueError(
                f"the mask is not on the grid of its image: {name.lower()} {found}, not {expected}"
            )


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
        raise ValueError("its frame of reference is not that of its CT")
    found = {int(s.SegmentNumber): str(s.SegmentLabel).lower() for s in content.SegmentSequence}
    labels = choose(sets, found.values())
    size = grid.GetSize()
    columns, rows = size[:2]
    if (content.Columns, content.Rows) != (columns, rows):
        raise ValueError(f"{content.Columns} x {content.Rows} px, the CT {columns} x {rows}")
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
            raise ValueError(f"a frame lies off the slices of its CT, at {place}")
        mask = masks.setdefault(found[number], np.zeros(size[::-1], bool))
        mask[k] |= voxels
    if not masks:
        raise ValueError(f"it has {sorted(found.values())}, none of which a model knows")
    out = np.zeros(size[::-1], np.uint16)
    for name in sorted(masks, key=lambda name: -masks[name].sum()):
        out[masks[name]] = labels.values[name]
    result = SimpleITK.GetImageFromArray(out)
    result.CopyInformation(grid)
    return result
