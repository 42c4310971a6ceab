"""One case: read and judged, segmented, measured, and written on its own grid."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.dicom.series import as_nifti, read_series
from ..datasets.volume_checks import UnfitVolume, Volume, grid_problems, read_volume, value_problems
from ..errors import InputError, one_line
from .bundle import Model
from .cohort import Cohort, writing
from .inputs import Case

if TYPE_CHECKING:
    import numpy as np
    from nibabel import Nifti1Image

    from ..bundle.predictor import Predictor


def outputs(case: Case, model: Model) -> dict[str, str]:
    """The files that a case is to get: ``{ending: name}``."""
    endings = [".nii.gz" if model.volumes else ".png", *([".dcm"] if case.series else [])]
    return {ending: f"{case.name}_seg{ending}" for ending in endings}


def segment(case: Case, model: Model, predictor: Predictor, cohort: Cohort) -> dict[str, Any]:
    """Segment a case and write its mask; returns what a report says of it.

    A series that no DICOM SEG can refer to gets its NIfTI, and a note.

    Raises:
        InputError: the image cannot be used.
        OutputError: the mask cannot be written.
        Exception: what the parts of a bundle raise, which is about anything.
    """
    if case.problem:
        raise InputError(case.problem)
    if model.volumes:
        volume = _checked_volume(case, ct=model.ct)
        shape, affine = volume.voxels.shape, volume.affine
        # Taken out by the predictor: no volume of a gigabyte waits here for the network's end.
        image = [_as_loaded(case, volume)].pop
        del volume
    else:
        shape, affine, image = _picture_shape(case.path), None, str(case.path)
    mask = predictor(image)
    if mask.shape != shape:
        raise InputError(
            f"{case}: its mask is {mask.shape} and the image {shape}: the bundle's postprocessing "
            "has to bring it back to the image's own grid"
        )
    measured = _measure(mask, affine, model, predictor.values)
    return measured | _write(mask, affine, case, model, predictor.values, cohort)


def _checked_volume(case: Case, *, ct: bool) -> Volume:
    if case.series:
        volume = Volume(*read_series(case.series))
        problems = list(value_problems(volume.voxels, ct=ct))
    else:
        try:
            volume = read_volume(case.path)
        except UnfitVolume as error:
            raise InputError(f"{case}: {': '.join(error.args)}") from None
        except Exception as error:  # nibabel raises about anything on a broken file
            raise InputError(f"{case}: cannot be read ({one_line(error)}): copy it again") from None
        problems = list(grid_problems(case.path, volume)) or list(
            value_problems(volume.voxels, ct=ct)
        )
    if problems:
        raise InputError(f"{case}: {'; '.join(': '.join(each) for each in problems)}")
    return volume


def _as_loaded(case: Case, volume: Volume) -> Any:
    """A volume ``(1, X, Y, Z)`` as ``LoadImaged`` gives it, so that no file is read twice."""
    import numpy as np
    import torch
    from monai.data import MetaTensor

    affine = torch.as_tensor(volume.affine, dtype=torch.float64)
    meta = {
        "filename_or_obj": str(case.path),
        "original_affine": affine.clone(),
        "spatial_shape": np.array(volume.voxels.shape),
        "original_channel_dim": float("nan"),
        "space": "RAS",
    }
    voxels = torch.from_numpy(np.asarray(volume.voxels, dtype=np.float32, order="C"))
    return MetaTensor(voxels[None], affine=affine, meta=meta)


def _picture_shape(path: Path) -> tuple[int, int]:
    """``(rows, columns)``; the pixels are read by the bundle."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.verify()
            return picture.height, picture.width
    except Exception as error:  # Pillow raises about anything on a broken file
        raise InputError(f"{path}: cannot be read ({one_line(error)}): copy it again") from None


def _measure(
    mask: np.ndarray, affine: np.ndarray | None, model: Model, values: list[int]
) -> dict[str, Any]:
    """The size of each region, with what lies inside it, as the evaluation counts it."""
    import numpy as np

    if len(values) != len(model.regions):
        raise InputError(
            f"the bundle names the regions {list(model.regions)} and its postprocessing writes "
            f"the values {values}: give RegionsToLabeld one value per region"
        )
    own = [int(np.count_nonzero(mask == value)) for value in values]
    voxels = {name: sum(own[n:]) for n, name in enumerate(model.regions)}
    if affine is not None:
        ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        return {"volume_ml": {name: round(count * ml, 4) for name, count in voxels.items()}}
    measured: dict[str, Any] = {"area_px": voxels}
    if {"optic_disc", "optic_cup"} <= voxels.keys():
        from ..evaluation.metrics import vertical_cdr

        disc, cup = (
            np.isin(mask, values[model.regions.index(name) :])
            for name in ("optic_disc", "optic_cup")
        )
        # Without a disc there is no ratio.
        ratio = round(vertical_cdr(disc, cup, axis=0), 4) if disc.any() else None
        measured["vertical_cdr"] = ratio
    return measured


def _write(
    mask: np.ndarray,
    affine: np.ndarray | None,
    case: Case,
    model: Model,
    values: list[int],
    cohort: Cohort,
) -> dict[str, Any]:
    """Write the mask beside its place, and then give all its files their names."""
    note = {}
    places = {
        cohort.hidden(case.name, ending): cohort.folder / name
        for ending, name in outputs(case, model).items()
    }
    hidden = list(places)
    with writing(places[hidden[0]]):
        if affine is None:
            from PIL import Image

            Image.fromarray(mask).save(hidden[0])
        else:
            image = as_nifti(mask, affine) if case.series else _as_nifti_like(case.path, mask)
            # nibabel.save would leave the file open on a full disk.
            hidden[0].write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))
        if case.series:
            from .dicom_seg import write_dicom_seg

            labels = dict(zip(values, model.regions, strict=True))
            about = {"algorithm": model.name, "version": model.version}
            try:
                write_dicom_seg(hidden[1], mask, labels, case.series, **about)
            except InputError as error:
                del places[hidden[1]]
                note = {"note": f"no DICOM SEG: {error}"}
    cohort.publish(places)
    return {"outputs": [place.name for place in places.values()], **note}


def _as_nifti_like(source: Path, mask: np.ndarray) -> Nifti1Image:
    """A mask with the place of another NIfTI, bit by bit, and nothing else that it says."""
    import nibabel

    image = nibabel.load(source)
    header = type(image.header)()
    for name in image.header:
        if name.startswith(("qform", "sform", "quatern", "qoffset", "srow")):
            header[name] = image.header[name]
    header["pixdim"][:4] = image.header["pixdim"][:4]
    header.set_data_dtype(mask.dtype)
    header.set_xyzt_units("mm")
    return type(image)(mask, None, header)
