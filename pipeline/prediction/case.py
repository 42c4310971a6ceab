"""One case: read and check the image, segment it, measure the mask, and write it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..bundle.channels import NIFTI, is_volume
from ..datasets.dicom.series import as_nifti, read_series
from ..datasets.images import read_pixels, to_picture
from ..errors import InputError, UnfitFile
from ..files import replacing
from ..transforms.picture import read_picture, to_image
from ..transforms.volume_checks import few_values, grid_problems, value_problems
from ..transforms.volume_file import Volume, read_volume
from .bundle import Model
from .input_case import InputCase, make_printable
from .output import writing
from .own_format import as_nifti_like, own_ending, pack, write_like
from .view import draw_picture, draw_volume, shade, write_view

if TYPE_CHECKING:
    import numpy as np

    from ..bundle.predictor import Answer, Predictor
    from ..transforms.regions import Regions


def output_names(case: InputCase, model: Model) -> list[str]:
    """List the files that a case gets: those of its mask, and its probability maps."""
    return [*mask_names(case, model), *probability_names(case, model)]


def mask_names(case: InputCase, model: Model) -> list[str]:
    """List the files of a mask: itself, and it again as DICOM SEG or as its volume is."""
    own = ".dcm" if case.series else ""
    if case.files and not own:
        own = own_ending(case.files[0], volumes=model.volumes)
    endings = [_ending(model), *([own] if own else [])]
    return [f"{case.name}_seg{ending}" for ending in endings]


def probability_names(case: InputCase, model: Model) -> list[str]:
    """List the probability maps that a case gets, one for each region."""
    names = model.regions if model.probabilities else ()
    return [f"{case.name}_{name}_probability{_ending(model)}" for name in names]


def _ending(model: Model) -> str:
    return ".nii.gz" if model.volumes else ".png"


class PreparedCase(NamedTuple):
    """A case that is read, checked and preprocessed.

    ``paths`` is what the predictor calls the image, ``item`` what it made of it, ``shape`` and
    ``affine`` its grid, and ``shown`` what `draw_volume` or `draw_picture` needs. ``read`` gives
    a picture again, for other scales.
    """

    paths: str | list[str]
    item: dict[str, Any]
    shape: tuple[int, ...]
    affine: np.ndarray | None
    shown: Any
    read: Callable[[], Any] | None


def prepare(case: InputCase, model: Model, predictor: Predictor) -> PreparedCase:
    """Read, check and preprocess a case.

    Raises:
        InputError: the image cannot be used.
        Exception: the parts of a bundle may raise anything.
    """
    if case.problem:
        raise InputError(case.problem)
    read = affine = None
    if model.volumes:
        images = _read_volumes(case, len(model.channels), model.modality or "CT")
        shape, affine = images[0].voxels.shape[:3], images[0].affine
        shown = shade(*images[0][:2], model.config.get("hu_window"))
        # Only the predictor holds the volumes, which may be gigabytes, and drops them early.
        read = images[::-1].pop
        del images
    else:
        pictures = _read_pictures(case, model)
        shape, shown, read = pictures[0].shape[:2], pictures[0], cycle(pictures).__next__
    paths = [str(each) for each in case.files or (series.folder for series in case.series)]
    paths = paths if len(paths) > 1 else paths[0]
    item = predictor.prepare(paths, read)
    return PreparedCase(paths, item, shape, affine, shown, None if model.volumes else read)


def segment(case: InputCase, prepared: PreparedCase, predictor: Predictor) -> Answer:
    """Run the network on a prepared case.

    Raises:
        InputError: the mask is not on the grid of the image.
        Exception: the parts of a bundle may raise anything.
    """
    answer = predictor.answer(prepared.paths, prepared.item, prepared.read)
    if answer.mask.shape != prepared.shape:
        raise InputError(
            f"{case}: its mask is {answer.mask.shape} and the image {prepared.shape}: the bundle's "
            "postprocessing has to restore the grid of the image"
        )
    return answer


def write(
    case: InputCase,
    prepared: PreparedCase,
    answer: Answer,
    model: Model,
    regions: Regions,
    folder: Path,
) -> dict[str, Any]:
    """Measure the mask of a case, and write it on the grid of the image.

    A series that a DICOM SEG cannot refer to gets a NIfTI and a note.

    Returns:
        What a report says of the case.

    Raises:
        OutputError: the mask cannot be written.
    """
    mask, affine = answer.mask, prepared.affine
    measured = _measure(mask, affine, model, regions)
    measured |= {name: getattr(answer, name) for name in ("features", "scale", "runtime")}
    measured |= estimate_quality(measured, model)
    written = _write(mask, affine, case, model, regions, folder)
    names = probability_names(case, model)
    for name, chances in zip(names, answer.probabilities, strict=True):
        with writing(folder / name), _whole(folder / name) as temporary:
            _write_array(temporary, chances, affine, case, slope=1 / 255)
    written["outputs"] += names
    draw = draw_volume if model.volumes else draw_picture
    if affine is None and (few := few_values(prepared.shown)) is not None:
        listed = ", ".join(f"{value:g}" for value in few)
        written["note"] = f"the picture holds only the values {listed}, as labels do"
    view = write_view(partial(draw, folder, case.name, prepared.shown, mask, regions))
    return measured | written | view


def estimate_quality(measured: dict[str, Any], model: Model) -> dict[str, Any]:
    """Estimate the quality of a mask from what a report says of it, if the model can."""
    features = measured.get("features")
    if not features or not model.calibration:
        return {}
    return {"quality": model.calibration.estimate(features, measured)}


def _read_volumes(case: InputCase, channels: int, modality: str) -> list[Volume]:
    """Read the volumes of a case as float32, and check what their preprocessing does not."""
    import numpy as np

    volumes = []
    for part in case.series or case.files:
        name = make_printable(str(part))
        try:
            if isinstance(part, Path):
                volume = read_volume(part, channels=channels if len(case.files) == 1 else 1)
                problems = list(grid_problems(volume, modality=modality))
            else:
                volume, problems = Volume(*read_series(part)), []
        except UnfitFile as error:
            raise InputError(f"{name}: it {error}") from None
        # Whether the values have to be Hounsfield units, the preprocessing knows.
        problems = problems or list(value_problems(volume.voxels, ct=False, alone=channels == 1))
        if problems:
            raise InputError(f"{name}: {'; '.join(': '.join(each) for each in problems)}")
        volumes.append(volume._replace(voxels=np.asarray(volume.voxels, np.float32, order="C")))
    return volumes


def _read_pictures(case: InputCase, model: Model) -> list[np.ndarray]:
    """Read the pictures of a case as its preprocessing would."""
    channels = len(model.channels) if len(case.files) == 1 else 1
    pictures = []
    for path in case.files:
        try:
            if is_volume(path):
                pixels = to_picture(read_pixels(path), path)  # as `data prepare` does
                pictures.append(to_image(pixels, channels=channels))
            else:
                pictures.append(read_picture(path, channels=channels, modality=model.modality))
        except UnfitFile as error:
            raise InputError(f"{path}: it {error}") from None
    return pictures


def _measure(
    mask: np.ndarray, affine: np.ndarray | None, model: Model, regions: Regions
) -> dict[str, Any]:
    """Measure each region with all that lies inside it, as the evaluation does."""
    import numpy as np

    from ..evaluation.surface import find_box

    near = mask[find_box(mask)] if mask.any() else mask  # all that is not background
    counts = np.bincount(near.ravel(), minlength=256)
    inside = dict(zip(regions.names, regions.values, strict=True))
    voxels = {name: int(counts[values].sum()) for name, values in inside.items()}
    if affine is not None:
        ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        sizes = {name: count * ml for name, count in voxels.items()}
        return {  # what is there is never 0
            "volume_ml": {n: round(each, 4) or float(f"{each:.2g}") for n, each in sizes.items()}
        }
    measured: dict[str, Any] = {"area_px": voxels}
    pair = model.config.get("vertical_cdr") or []
    if pair:
        from ..evaluation.metrics import vertical_cdr

        disc, cup = (np.isin(near, inside[name]) for name in pair)
        # Without a disc there is no ratio, and one of 0 would pass for a measured cup.
        both = disc.any() and cup.any()
        ratio = round(vertical_cdr(disc, cup, axis=0), 4) if both else None
        measured["vertical_cdr"] = ratio
    return measured


def _write(
    mask: np.ndarray,
    affine: np.ndarray | None,
    case: InputCase,
    model: Model,
    regions: Regions,
    folder: Path,
) -> dict[str, Any]:
    """Write the files of a case; none is there before all are written."""
    names = mask_names(case, model)
    note = {}
    path = folder / names[0]
    with writing(path), _whole(path) as temporary:
        _write_array(temporary, mask, affine, case)
        if case.series:
            from .dicom_seg import Meaning, write_dicom_seg

            about = {"algorithm": model.name, "version": model.version}
            about["meanings"] = {name: Meaning(**each) for name, each in model.segments.items()}
            try:
                write_dicom_seg(folder / names[1], mask, regions, case.series[0], **about)
            except InputError as error:
                del names[1]
                note = {"note": f"no DICOM SEG: {error}"}
        elif len(names) > 1:
            write_like(folder / names[1], mask if model.volumes else mask.T, case.files[0])
    return {"outputs": names, **note}


def _whole(path: Path) -> AbstractContextManager[Path]:
    return replacing(path, sync=True, alone=True, make_folder=False)


def _write_array(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray | None,
    case: InputCase,
    slope: float | None = None,
) -> None:
    """Write uint8 as PNG, or as NIfTI on the grid of the case with a slope of its values."""
    if affine is None:
        from PIL import Image

        Image.fromarray(array).save(path, format="PNG")
        return
    known = case.files and case.files[0].name.lower().endswith(NIFTI)
    image = as_nifti_like(case.files[0], array) if known else as_nifti(array, affine)
    if slope:
        image.header.set_slope_inter(slope, 0)
    path.write_bytes(pack(image))
