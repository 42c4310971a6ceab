"""Reading images so that a file that cannot be used is named, in one line."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import LoadImaged

from ..errors import InputError, one_line

if TYPE_CHECKING:
    from PIL import Image


class ReadImaged(LoadImaged):
    """MONAI's ``LoadImaged``, whose errors name the file and are the user's to correct.

    MONAI tries other readers where the one that was asked for fails, so what came is looked at.

    Args:
        spatial_dims: that each image must have, 2 or 3; None takes any.
        channels: that each image must have; None takes any.
        args, kwargs: see ``LoadImaged``.

    Raises:
        InputError: a file cannot be read, has other dimensions or channels, holds values that are
            no number, or is a picture that its EXIF tag turns.
    """

    def __init__(
        self,
        *args: Any,
        spatial_dims: int | None = None,
        channels: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.spatial_dims, self.channels = spatial_dims, channels

    def __call__(
        self, data: Mapping[Hashable, Any], reader: Any = None
    ) -> dict[Hashable, torch.Tensor]:
        paths = [data[key] for key in self.keys if key in data]
        files = ", ".join(map(str, paths))
        if self.spatial_dims == 2 and any(map(is_turned, paths)):
            raise InputError(f"{files}: its EXIF tag turns it; {TURN_IT}.")
        try:
            read = super().__call__(data, reader)
        except Exception as error:  # readers raise about anything
            # MONAI tells of every reader that it tried; the first is the one that was asked for.
            first = re.search(r"^[\w.]+: .+", str(error), re.MULTILINE)
            reason = first[0] if first else one_line(error)
            raise InputError(f"{files}: it cannot be read ({reason}); {_ADVICE}") from None
        for key in self.key_iterator(read):
            image = read[key]
            if self.spatial_dims not in (None, image.ndim - 1):
                kind = "a photograph" if self.spatial_dims == 2 else "a volume"
                raise InputError(f"{files}: the bundle takes {kind}, and this is none.")
            if self.channels not in (None, len(image)):
                raise InputError(f"{files}: {len(image)} channels, not {self.channels}; {_ADVICE}")
            if image.is_floating_point() and not torch.isfinite(image).all():
                raise InputError(f"{files}: it holds values that are no number; {_ADVICE}")
        return read


#: Masks lie on the pixels as they are stored, and the vertical is theirs.
TURN_IT = "save it as it is seen, without the tag, and its mask on it"
_ADVICE = "`python -m pipeline data check` lists every such file."


def is_turned(path: Any) -> bool:
    """Whether viewers show the picture in a file otherwise than its pixels are stored."""
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as picture:
            return picture.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    except Exception:  # no file of a picture, which is for others to say
        return False


def as_rgb(picture: Image.Image) -> Image.Image:
    """A photograph of any mode as RGB of 8 bits; more bits are scaled, not cut off as by Pillow."""
    from PIL import Image

    if picture.mode.startswith(("I", "F")):
        grey = np.clip(np.asarray(picture, dtype=np.float32), 0, None)
        picture = Image.fromarray(np.rint(grey / (grey.max() or 1) * 255).astype(np.uint8))
    return picture.convert("RGB")
