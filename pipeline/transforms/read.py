"""Read images so that an error names the file, in one line."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import LoadImaged

from ..errors import InputError, one_line
from .volume_checks import hu_problem

if TYPE_CHECKING:
    from PIL import Image


class ReadImaged(LoadImaged):
    """MONAI's ``LoadImaged``, but its errors name the file and what the user can do.

    Where the chosen reader fails, MONAI tries others, so the result is checked.

    Args:
        spatial_dims: that each image must have, 2 or 3; None takes any.
        channels: that each image must have; None takes any.
        ct: whether its values must be Hounsfield units.
        args, kwargs: see ``LoadImaged``.

    Raises:
        InputError: a file cannot be read, has other dimensions or channels, holds values that are
            not numbers or not Hounsfield units, or is a picture that its EXIF tag turns.
    """

    def __init__(
        self,
        *args: Any,
        spatial_dims: int | None = None,
        channels: int | None = None,
        ct: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.spatial_dims, self.channels, self.ct = spatial_dims, channels, ct

    def __call__(
        self, data: Mapping[Hashable, Any], reader: Any = None
    ) -> dict[Hashable, torch.Tensor]:
        paths = [data[key] for key in self.keys if key in data]
        files = ", ".join(map(str, paths))
        problems = map(picture_problem, paths) if self.spatial_dims == 2 else ()
        for problem, fix in filter(None, problems):
            raise InputError(f"{files}: it {problem}: {fix}.")
        try:
            read = super().__call__(data, reader)
        except Exception as error:  # readers raise about anything
            # MONAI lists every reader that it tried, the chosen one first.
            first = re.search(r"^[\w.]+: .+", str(error), re.MULTILINE)
            reason = first[0] if first else one_line(error)
            raise InputError(f"{files}: it cannot be read ({reason}); {_ADVICE}") from None
        for key in self.key_iterator(read):
            image = read[key]
            if self.spatial_dims not in (None, image.ndim - 1):
                kind = "a photograph" if self.spatial_dims == 2 else "a volume"
                raise InputError(f"{files}: it is not {kind}, which the bundle takes; {_ADVICE}")
            if self.channels not in (None, len(image)):
                raise InputError(
                    f"{files}: it has {len(image)} channels, not {self.channels}; {_ADVICE}"
                )
            if image.is_floating_point() and not torch.isfinite(image).all():
                raise InputError(f"{files}: it holds values that are NaN or infinite; {_ADVICE}")
            if self.ct and (problem := hu_problem(image.numpy())):
                raise InputError(
                    f"{files}: it {problem}; apply the rescale slope and intercept of its DICOM, "
                    f"or, if it is not a CT, set preprocessing#transforms#0#ct to False. {_ADVICE}"
                )
        return read


_ADVICE = "`python -m pipeline data check` lists every such file."


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
