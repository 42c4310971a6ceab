"""Read images so that an error names the file, in one line."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import ImageReader, MetaTensor
from monai.transforms import LoadImaged
from monai.utils import ImageMetaKey, MetaKeys, SpaceKeys, ensure_tuple

from ..errors import ADVICE, InputError, UnfitFile, one_line
from .picture import read_mask, read_picture
from .volume_checks import grid_difference, value_problems
from .volume_file import Volume, open_volume, read_voxels


class ReadImaged(LoadImaged):
    """MONAI's ``LoadImaged``, but its errors name the file and what the user can do.

    An image may be several files of one channel each, on one grid, which become its channels.

    Args:
        spatial_dims: that each image must have: 2 for pictures, 3 for volumes.
        channels: that each image must have; None takes any, and reads a picture as a mask. A
            picture with one channel is read as grey, and one with three as RGB.
        modality: of CT, the values must be Hounsfield units.
        is_label: the values must be whole numbers up to rounding, see `to_whole`.
        args, kwargs: see ``LoadImaged``; volumes have `VolumeReader`.

    Raises:
        InputError: a file cannot be read, has other dimensions or channels, holds values that are
            not numbers, one value alone or not Hounsfield units, or is a picture that its EXIF tag
            turns; a label holds other than whole numbers; or the files of an image differ in their
            grids.
    """

    def __init__(
        self,
        *args: Any,
        spatial_dims: int,
        channels: int | None = None,
        modality: str = "",
        is_label: bool = False,
        **kwargs: Any,
    ) -> None:
        with warnings.catch_warnings():  # MONAI misses a decoder for GPUs, which is not used
            warnings.filterwarnings("ignore", ".*nvImageCodec")
            logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
            super().__init__(*args, **kwargs)
        self.spatial_dims, self.channels, self.modality = spatial_dims, channels, modality
        self.is_label = is_label or (spatial_dims == 2 and channels is None)

    def __call__(
        self, data: Mapping[Hashable, Any], reader: Any = None
    ) -> dict[Hashable, torch.Tensor]:
        out: dict[Hashable, Any] = dict(data)
        for key, meta_key, postfix in self.key_iterator(out, self.meta_keys, self.meta_key_postfix):
            paths = out[key] if isinstance(out[key], list | tuple) else [out[key]]
            channels = 1 if len(paths) > 1 else self.channels  # of several files, each is a channel
            parts = [self._read(path, reader, channels) for path in paths]
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

    def _read(self, path: Any, reader: Any, channels: int | None) -> MetaTensor:
        """Read and check one file, as (C, *spatial)."""
        try:
            if self.spatial_dims == 2:
                return self._read_picture(path, reader, channels)
            read = self._loader(path, reader or VolumeReader(is_label=self.is_label))
        except UnfitFile as error:
            raise InputError(f"{path}: it {error}. {ADVICE}") from None
        except Exception as error:  # readers raise about anything
            raise InputError(f"{path}: it cannot be read ({one_line(error)}); {ADVICE}") from None
        image = read if self._loader.image_only else read[0]
        if image.ndim != 4:
            raise InputError(f"{path}: it is not a volume, which the bundle takes; {ADVICE}")
        if image.is_floating_point() and not torch.isfinite(image).all():
            raise InputError(f"{path}: it holds values that are NaN or infinite; {ADVICE}")
        if self.channels is not None:
            voxels = np.moveaxis(image.numpy(), 0, -1)
            for problem in value_problems(
                voxels, ct=self.modality == "CT", alone=self.channels == 1
            ):
                raise InputError(f"{path}: it {': '.join(problem)}. {ADVICE}")
        return image

    def _read_picture(self, path: Any, reader: Any, channels: int | None) -> MetaTensor:
        """Read one picture, as (C, W, H), in the order in which its pixels lie in memory."""
        if reader is not None:
            pixels = reader.read(path)
        elif self.is_label:
            pixels = read_mask(path)
        else:
            pixels = read_picture(path, channels=channels, modality=self.modality)
        pixels = np.array(pixels if pixels.ndim == 3 else pixels[..., None], self._loader.dtype)
        meta = {
            MetaKeys.SPATIAL_SHAPE: np.asarray(pixels.shape[1::-1]),
            ImageMetaKey.FILENAME_OR_OBJ: str(path),
        }
        return MetaTensor(torch.from_numpy(pixels).permute(2, 1, 0), meta=meta)


class VolumeReader(ImageReader):
    """A reader for MONAI's ``LoadImage``: of volumes with any channels, or of what is given.

    Args:
        is_label: the values must be whole numbers, see `to_whole`.
        given: gives a volume, or a picture of `read_picture`, that is in memory already; by default
            the file is read.
    """

    def __init__(
        self, *, is_label: bool = False, given: Callable[[], Volume | np.ndarray] | None = None
    ) -> None:
        super().__init__()
        self.is_label, self.given = is_label, given

    def verify_suffix(self, filename: Any) -> bool:
        return True

    def read(self, data: Any, **kwargs: Any) -> Volume | np.ndarray:
        if self.given is not None:
            return self.given()
        (path,) = ensure_tuple(data)
        return read_voxels(path, open_volume(path), is_label=self.is_label)

    def get_data(self, img: Volume | np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        if isinstance(img, np.ndarray):  # MONAI has the width first
            return np.moveaxis(img, 0, 1), {
                MetaKeys.SPATIAL_SHAPE: np.asarray(img.shape[1::-1]),
                MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if img.ndim == 3 else float("nan"),
            }
        return img.voxels, {
            MetaKeys.AFFINE: np.array(img.affine),
            MetaKeys.ORIGINAL_AFFINE: np.array(img.affine),
            MetaKeys.SPATIAL_SHAPE: np.asarray(img.voxels.shape[:3]),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if img.voxels.ndim == 4 else float("nan"),
        }
