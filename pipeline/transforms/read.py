"""Read images so that an error names the file, in one line."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor, PILReader
from monai.transforms import LoadImaged

from ..errors import ADVICE, InputError, one_line
from .volume_checks import grid_difference, hu_problem

if TYPE_CHECKING:
    from PIL import Image


class ReadImaged(LoadImaged):
    """MONAI's ``LoadImaged``, but its errors name the file and what the user can do.

    An image may be several files of one channel each, on one grid, which become its channels.
    Where the chosen reader fails, MONAI tries others, so the result is checked.

    Args:
        spatial_dims: that each image must have, 2 or 3; None takes any.
        channels: that each image must have; None takes any. A picture with one channel is read as
            grey, and one with three as RGB.
        modality: of CT, the values must be Hounsfield units.
        args, kwargs: see ``LoadImaged``.

    Raises:
        InputError: a file cannot be read, has other dimensions or channels, holds values that are
            not numbers or not Hounsfield units, or is a picture that its EXIF tag turns; or the
            files of an image differ in their grids.
    """

    def __init__(
        self,
        *args: Any,
        spatial_dims: int | None = None,
        channels: int | None = None,
        modality: str = "",
        **kwargs: Any,
    ) -> None:
        if spatial_dims == 2 and channels is not None:
            kwargs["reader"] = PILReader(converter=as_rgb if channels == 3 else as_grey)
        super().__init__(*args, **kwargs)
        self.spatial_dims, self.channels, self.modality = spatial_dims, channels, modality

    def __call__(
        self, data: Mapping[Hashable, Any], reader: Any = None
    ) -> dict[Hashable, torch.Tensor]:
        out: dict[Hashable, Any] = dict(data)
        for key, meta_key, postfix in self.key_iterator(out, self.meta_keys, self.meta_key_postfix):
            paths = out[key] if isinstance(out[key], list | tuple) else [out[key]]
            grey = self.spatial_dims == 2 and len(paths) > 1  # a file for each channel
            chosen = PILReader(converter=as_grey) if grey else reader
            parts = [self._read(path, chosen) for path in paths]
            for path, part in zip(paths[1:], parts[1:], strict=True):
                one, other = (each.meta.get("original_affine") for each in (part, parts[0]))
                if how := grid_difference(part.shape[1:], one, parts[0].shape[1:], other):
                    raise InputError(
                        f"{path}: it is not on the grid of {paths[0]}: {how}; resample the "
                        "channels of an image to one grid."
                    )
            image = parts[0]
            if len(parts) > 1:
                image = MetaTensor(torch.cat([each.as_tensor() for each in parts]), meta=image.meta)
            if self.channels not in (None, len(image)):
                files = ", ".join(map(str, paths))
                raise InputError(
                    f"{files}: it has {len(image)} channels, not {self.channels}; {ADVICE}"
                )
            out[key] = image
            if not self._loader.image_only:  # MONAI Label asks for the metadata too
                out[meta_key or f"{key}_{postfix}"] = image.meta
        return out

    def _read(self, path: Any, reader: Any) -> MetaTensor:
        """Read and check one file, as (C, *spatial)."""
        if self.spatial_dims == 2 and (problem := picture_problem(path)):
            raise InputError(f"{path}: it {': '.join(problem)}.")
        try:
            read = self._loader(path, reader)
        except Exception as error:  # readers raise about anything
            # MONAI lists every reader that it tried, the chosen one first.
            first = re.search(r"^[\w.]+: .+", str(error), re.MULTILINE)
            reason = first[0] if first else one_line(error)
            raise InputError(f"{path}: it cannot be read ({reason}); {ADVICE}") from None
        image = read if self._loader.image_only else read[0]
        if self.spatial_dims not in (None, image.ndim - 1):
            kind = "a picture" if self.spatial_dims == 2 else "a volume"
            raise InputError(f"{path}: it is not {kind}, which the bundle takes; {ADVICE}")
        if image.is_floating_point() and not torch.isfinite(image).all():
            raise InputError(f"{path}: it holds values that are NaN or infinite; {ADVICE}")
        if self.modality == "CT" and (problem := hu_problem(image.numpy())):
            raise InputError(
                f"{path}: it {problem}; apply the rescale slope and intercept of its DICOM, "
                f"or, if it is not a CT, give another --modality. {ADVICE}"
            )
        return image


def picture_problem(path: Any) -> tuple[str, str] | None:
    """Find what in a picture would silently give a wrong mask: the problem and its fix."""
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
            wide = _is_wide(picture)
            low, high = (np.asarray(picture).min(), np.asarray(picture).max()) if wide else (0, 1)
    except Exception:  # not a picture, which the reader reports
        return None
    if turned:  # a mask lies on the pixels as they are stored, and so do its measures
        fix = "save it as it is seen, without the tag, and draw its mask on that"
        return "is turned by its EXIF tag, which viewers follow", fix
    if not (np.isfinite(high) and low >= 0):  # a NaN is neither
        return "holds values that are negative, NaN or infinite", "save it with 8 or 16 bits"
    return None


def _is_wide(picture: Image.Image) -> bool:
    """Tell whether its values may lie outside 0 to 255."""
    return picture.mode.startswith(("I", "F"))


def as_rgb(picture: Image.Image) -> Image.Image:
    """Convert a photograph to RGB with 8 bits; more bits are scaled, where Pillow cuts them off."""
    from PIL import Image

    if _is_wide(picture):
        grey = np.asarray(picture, dtype=np.float32)
        picture = Image.fromarray(np.rint(grey / (grey.max() or 1) * 255).astype(np.uint8))
    return picture.convert("RGB")


def as_grey(picture: Image.Image) -> Image.Image:
    """Convert a grey picture to one channel of all its bits.

    Raises:
        ValueError: its colours differ.
    """
    from PIL import Image

    if not _is_wide(picture) and picture.mode not in ("1", "L", "LA"):
        red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
        if (red != green).any() or (red != blue).any():
            raise ValueError("it is in colour, and the bundle takes grey pictures")
        return Image.fromarray(red)
    return picture if _is_wide(picture) else picture.convert("L")
