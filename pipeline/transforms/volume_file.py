"""Open a volume of any format: the one place that does."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import UnfitFile, one_line, times
from .content import COPY_AGAIN, explain_content, read_start
from .itk import NRRD, READERS, open_by_itk
from .whole import to_whole

_APART = (".nhdr", ".mhd")  # headers whose voxels are in other files
_UNITS = {1: "m", 3: "micron"}  # codes of NIfTI other than mm
_SAY_ORIENTATION = (
    "its orientation in the body is unknown, and programs guess differently: convert it again from "
    "its source"
)


class Volume(NamedTuple):
    """The voxels of a volume, and where they are.

    Attributes:
        voxels: (X, Y, Z) or (X, Y, Z, C); of a file that is only opened, what `numpy.asanyarray`
            reads them from.
        affine: (4, 4), from voxels to mm, RAS.
        second: the affine that a NIfTI gives as well: its qform where ``affine`` is the sform.
        step: between the numbers that the file can hold, where it scales integers; else 0.
    """

    voxels: Any
    affine: np.ndarray
    second: np.ndarray | None = None
    step: float = 0.0


def open_volume(path: str | Path) -> Volume:
    """Read the header of a volume or of a slice, without its voxels.

    Axes of one entry after the third are dropped: (X, Y, Z, 1) is (X, Y, Z).

    Raises:
        UnfitFile: it cannot be read, has more than four axes, holds colours, or does not say its
            orientation.
    """
    path = Path(path)
    try:
        volume = _open_itk(path) if path.suffix.lower() in READERS else _open_nibabel(path)
    except UnfitFile:
        raise
    except Exception as error:  # readers raise about anything on a broken file
        raise _unreadable(path, error) from error
    if len(volume.voxels.shape) not in (2, 3, 4):
        shape = volume.voxels.shape
        raise UnfitFile(f"is {len(shape)}D: {times(shape)}", "save one volume per file")
    return volume


def is_slice(path: str | Path) -> bool:
    """Tell the file of one slice, which is read as a picture."""
    try:
        return _is_flat(open_volume(path).voxels.shape)
    except UnfitFile:
        return False


def read_header(path: str | Path, *, channels: int = 1) -> Volume:
    """Open a volume with three axes and one number per voxel, or one for each of ``channels``.

    Raises:
        UnfitFile: see `open_volume`; or it is something else.
    """
    volume = open_volume(path)
    shape = volume.voxels.shape
    if len(shape) != 3 and not (len(shape) == 4 and shape[3] == channels > 1):
        raise UnfitFile(f"is {len(shape)}D: {times(shape)}", "save one volume per file")
    return volume


def read_voxels(path: str | Path, volume: Volume, *, is_label: bool = False) -> Volume:
    """Read the voxels of a volume that is open.

    Raises:
        UnfitFile: the file is broken, or a label holds other than whole numbers.
    """
    try:
        voxels = np.asanyarray(volume.voxels)
    except Exception as error:
        raise _unreadable(Path(path), error) from error
    return volume._replace(voxels=to_whole(voxels, step=volume.step) if is_label else voxels)


def read_volume(path: str | Path, *, channels: int = 1, is_label: bool = False) -> Volume:
    """Read a volume with its voxels, see `read_header` and `read_voxels`."""
    return read_voxels(path, read_header(path, channels=channels), is_label=is_label)


def list_files(path: Path) -> list[Path]:
    """List the files of an image: its own, and those that hold the voxels of a header."""
    if not path.name.lower().endswith(_APART) or not path.is_file():
        return [path]
    lines = read_start(path).decode("latin-1").splitlines()
    names: list[str] = []
    for number, line in enumerate(lines):
        if match := re.match(r"(?:ElementDataFile\s*=|data ?file:)\s*(.*\S)", line, re.IGNORECASE):
            listed = [each.strip() for each in lines[number + 1 :]]
            first = match[1]
            names = listed if first.split()[0] == "LIST" else [re.split(r"\s+\d", first)[0]]
            break
    found = [path]
    for name in filter(None, names):  # a pattern such as slice%03d.raw stands for many
        pattern = re.sub(r"%\d*d", "*", name)
        found += sorted(path.parent.glob(pattern)) if "*" in pattern else [path.parent / name]
    return [each for each in found if each.is_file()]


def _open_nibabel(path: Path) -> Volume:
    """NIfTI and the format of FreeSurfer."""
    import nibabel

    file: Any = nibabel.load(path)
    header, shape = file.header, _without_last(file.shape)
    if file.get_data_dtype().names:
        raise UnfitFile("holds colours (RGB), not numbers", "save it in grey")
    voxels: Any = file.dataobj if shape == file.shape else file.dataobj.reshape(shape)
    if path.suffix.lower() in (".gz", ".mgz"):
        voxels = _PackedVoxels(path, file, shape)
    if "goodRASFlag" in header:
        with nibabel.openers.ImageOpener(path) as opened:
            opened.seek(28)
            flag = int.from_bytes(opened.read(2), "big")  # nibabel's header always says 1
        if flag != 1:
            raise UnfitFile(f"has no direction cosines (goodRASFlag is {flag})", _SAY_ORIENTATION)
        return Volume(voxels, file.affine)
    coded = "sform_code" in header and (header["sform_code"] or header["qform_code"])
    if not coded and not _is_flat(shape):
        raise UnfitFile(
            "has neither a qform nor an sform (both codes are 0)",
            f"{_SAY_ORIENTATION}, or set the sform if you know it",
        )
    if unit := _UNITS.get(int(header["xyzt_units"]) % 8 if coded else 0):
        raise UnfitFile(
            f"gives its spacing in {unit} (xyzt_units), which some programs ignore",
            "write it in mm",
        )
    both = coded and header["sform_code"] and header["qform_code"]
    scaled = file.get_data_dtype().kind in "iu" and file.dataobj.slope != 1
    step = abs(file.dataobj.slope) if scaled else 0.0
    return Volume(voxels, file.affine, header.get_qform() if both else None, step)


class _PackedVoxels:
    """The voxels of a file packed by gzip, whose checksum nibabel would not reach."""

    def __init__(self, path: Path, image: Any, shape: tuple[int, ...]) -> None:
        self.path, self.kind, self.shape = path, type(image), shape
        self.dtype = image.get_data_dtype()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        with gzip.open(self.path) as stream:
            array = np.asanyarray(self.kind.from_stream(stream).dataobj).reshape(self.shape)
            while stream.read(1 << 20):
                pass
        return array.astype(dtype or array.dtype, copy=False)


class _ItkVoxels:
    """The voxels of a file that ITK reads once they are asked for."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape = path, shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import SimpleITK as sitk

        image = open_by_itk(self.path).Execute()
        array = sitk.GetArrayFromImage(image)  # (Z, Y, X) or (Z, Y, X, C)
        axes = range(image.GetDimension())
        array = array.transpose([*reversed(axes), *range(len(axes), array.ndim)])
        return array.reshape(self.shape).astype(dtype or array.dtype, copy=False)


def _open_itk(path: Path) -> Volume:
    """NRRD and MetaImage."""
    reader = open_by_itk(path)
    reader.ReadImageInformation()
    channels, size = reader.GetNumberOfComponents(), tuple(reader.GetSize())
    if channels > 1:
        size = (*size, 1, channels) if len(size) == 2 else (*size, channels)
    size = _without_last(size)
    if not _is_flat(size):
        _check_header(path)
    n, affine = min(reader.GetDimension(), 3), np.eye(4)
    directions = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:n, :n]
    affine[:n, :n] = directions * reader.GetSpacing()[:n]
    affine[:n, 3] = reader.GetOrigin()[:n]
    return Volume(_ItkVoxels(path, size), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)  # LPS to RAS


def _check_header(path: Path) -> None:
    """Refuse a header without what ITK then takes as LPS and 1 mm, or with other units."""
    start = read_start(path)
    if path.suffix.lower() in NRRD:
        header, unit = re.split(rb"\r?\n\r?\n", start)[0], rb"space units:"
        needed = {
            "orientation": rb"space: *(right-anterior|left-(anterior|posterior)|[RL]AS|LPS)",
            "voxel size": rb"space directions:",
        }
    else:
        header, unit = start.partition(b"ElementDataFile")[0], rb"\s*DistanceUnits\s*="
        needed = {
            "orientation": rb"\s*(TransformMatrix|Rotation|Orientation)\s*=",
            "voxel size": rb"\s*Element(Spacing|Size)\s*=",
        }
    for what, line in needed.items():
        if not re.search(b"^" + line, header, re.M | re.I):
            raise UnfitFile(f"has no {what} in its header", _SAY_ORIENTATION)
    for name, neutral in ((b"Slope", rb"1(\.0*)?"), (b"Offset", rb"[+-]?0(\.0*)?")):
        line = rb"^\s*ElementToIntensityFunction%s\s*=\s*(\S+)" % name
        scale = re.search(line, header, re.M | re.I)
        if scale and not re.fullmatch(neutral, scale[1]):
            raise UnfitFile(
                "rescales its values (ElementToIntensityFunction), which programs ignore",
                "write the rescaled values themselves",
            )
    said = re.search(b"^" + unit + b"(.*)", header, re.M | re.I)
    for word in re.findall(r'[^\s"?]+', said[1].decode("latin-1")) if said else ():
        if not re.fullmatch("mm|millimet(er|re)s?", word, re.I):
            raise UnfitFile(f"gives its spacing in {word}, which programs ignore", "write it in mm")


def _is_flat(shape: tuple[int, ...]) -> bool:
    """Tell a slice, which is read as a picture and needs no orientation, from a volume."""
    return shape[2:3] in ((), (1,))


def _without_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop the axes of one entry after the third: ITK writes a vector as (X, Y, Z, 1, C)."""
    return (*shape[:3], *(length for length in shape[3:] if length != 1))


def _unreadable(path: Path, error: Exception) -> UnfitFile:
    if told := explain_content(path):
        return UnfitFile(*told)
    *_, last = str(error).strip().splitlines() or [""]
    itk = "itk error" in str(error).lower().replace("::", " ")
    reason = re.sub(r"^.*\): ", "", last) if itk else one_line(error)  # without ITK's own names
    if "MetaImageIO" in str(error):  # which says that the header is missing
        reason = "its voxels are missing or cut off"
    fix = (
        f"{COPY_AGAIN}, with its file of voxels" if path.suffix in (".mhd", ".nhdr") else COPY_AGAIN
    )
    return UnfitFile(f"cannot be read ({reason})", fix)
