"""What a network's answer, and the image, tell of the answer's quality without a label."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ResampleToMatch
from monai.utils.enums import CommonKeys

from .largest import keep_largest
from .regions import Regions

QUALITY = "quality"  # the key of a case's features
_BINS = 10  # of the calibration error
_SEEN = 0.01  # a probability below this says that there is nothing
_BLACK = 0.1  # pixels below this belong to the surround of a camera's field
_THINNED = 8_000_000  # pixels, from which on not every line tells how sharp an image is
_PART = 0.05  # voxels above this probability belong to the same part


class QualityFeaturesd(MapTransform):
    """Add the features of a case, from which `Calibration` estimates the quality of its mask.

    In an evaluation, whose cases have a label, ``ece/REGION`` comes with them: the expected
    calibration error of the probabilities, see `calibration_error`.

    Args:
        keys: the logits (R, *spatial) on the network's grid, before any other postprocessing; the
            preprocessed ``image`` (C, *spatial) and perhaps a ``label`` (R or more, *spatial), on
            any grid, stand beside them.
        regions: see `Regions`.
        channel_names: of the image.
        components: how many parts of a region are kept afterwards, see `KeepPartsd`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        regions: Mapping[str, Sequence[int]],
        channel_names: Sequence[str],
        components: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__(keys)
        self.regions, self.channel_names = Regions(regions), list(channel_names)
        self.components = dict(components)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out, names = dict(data), self.regions.names
        for key in self.key_iterator(out):
            logits, image, label = out[key], out[CommonKeys.IMAGE], out.get(CommonKeys.LABEL)
            out[QUALITY] = quality_features(
                logits, image, names, self.channel_names, self.components
            )
            if label is not None:
                match = ResampleToMatch(mode="nearest", padding_mode="zeros")
                masks = [match(each[None].float(), image)[0] > 0.5 for each in label]
                masks = [each.to(logits.device) for each in masks]  # a CPU's if they are large
                counted = ~masks[-1] if len(masks) > len(names) else slice(None)  # not ignored
                for name, each, truth in zip(names, logits, masks, strict=False):
                    chances = torch.as_tensor(each).float().sigmoid()
                    error = calibration_error(chances[counted], truth[counted])
                    out[QUALITY][f"ece/{name}"] = error
        return out


def quality_features(
    logits: torch.Tensor,
    image: torch.Tensor,
    names: Sequence[str],
    channels: Sequence[str],
    components: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, float]:
    """Measure an answer and its image.

    Args:
        logits: (R, *spatial).
        image: (C, *spatial), on the same grid.
        names: of the R regions.
        channels: names of the C channels.
        components: how many parts of a region are kept, all of the others'.

    Returns:
        ``agreement/REGION``, the Dice of two masks that are drawn from the probabilities p of the
            parts that are kept: sum(p^2) / sum(p). Where p is the mean of several networks or
            flips, this is the agreement of their masks, pair by pair. 0 where nothing is found.
        ``elsewhere/REGION``, the share of the sum of p that lies in other parts.
        ``found/REGION``, the sum of p: in ml, or as the share of a picture.
        ``image_mean/CHANNEL`` and ``image_sd/CHANNEL``, of a picture where it is not black;
            ``image_dark``, the share of the image that is almost 0; and ``image_sharpness``, see
            `measure_sharpness`. After preprocessing.
        ``image_corners``, of a picture: the share of the box around its field that is black, 0.21
            around a whole circle; and ``image_field``, the longest side of this box as a share of
            the grid's.
        ``image_extent/AXIS``, in mm, of a volume.
    """
    features: dict[str, float] = {}
    spacing = image.pixdim.tolist() if isinstance(image, MetaTensor) else [1.0] * (image.ndim - 1)
    volume = image.ndim == 4
    unit = float(torch.tensor(spacing).prod()) / 1000 if volume else 1 / image[0].numel()
    for name, each in zip(names, logits, strict=True):  # one by one, to save memory
        chance = torch.as_tensor(each).detach().float().sigmoid()
        total = kept = float(chance.sum(dtype=torch.float64))
        if count := components.get(name):
            chance = chance * keep_largest(chance > _PART, count)
            kept = float(chance.sum(dtype=torch.float64))
        square = float(chance.square_().sum(dtype=torch.float64))
        features[f"agreement/{name}"] = square / kept if kept > 0 else 0.0
        features[f"elsewhere/{name}"] = 1 - kept / total if total > 0 else 0.0
        features[f"found/{name}"] = total * unit
    pixels = torch.as_tensor(image).detach()
    brightest, shown = pixels.amax(dim=0), slice(None)
    features["image_dark"] = float((brightest < 0.02).float().mean())
    features["image_sharpness"] = measure_sharpness(pixels)
    if not volume:
        bright = brightest >= _BLACK
        box = bright[bright.any(dim=1)][:, bright.any(dim=0)]
        features["image_corners"] = 1 - float(box.float().mean()) if box.numel() else 0.0
        features["image_field"] = max(box.shape) / max(bright.shape)
        shown = bright if box.numel() else shown
    for channel, each in zip(channels, pixels, strict=True):
        features[f"image_mean/{channel}"] = float(each[shown].mean(dtype=torch.float64))
        features[f"image_sd/{channel}"] = float(each[shown].float().std())
    if volume:
        for axis, (size, step) in enumerate(zip(image.shape[1:], spacing, strict=True)):
            features[f"image_extent/{axis}"] = size * step
    return features


def measure_sharpness(image: torch.Tensor) -> float:
    """How sharp an image is: the second differences along each axis, divided by the first ones.

    Both are sums of absolute values, so that contrast does not count. A picture that is blurred or
    was enlarged has less than 1, noise 1.7; an image of one value has 0.

    Args:
        image: (C, *spatial).
    """
    first = second = 0.0
    for axis in range(1, image.ndim):
        lines = [slice(None)] * image.ndim
        lines[1 if axis > 1 else 2] = slice(None, None, 1 + image.numel() // _THINNED)
        steps = image[tuple(lines)].float().diff(dim=axis)
        first += float(steps.abs().sum(dtype=torch.float64))
        second += float(steps.diff(dim=axis).abs_().sum(dtype=torch.float64))
    return second / first if first else 0.0


def calibration_error(chances: torch.Tensor, truth: torch.Tensor) -> float:
    """The expected calibration error of the probabilities of one region (Guo et al. 2017).

    The mean distance between the probability and the share of voxels that are in the region, over
    ten bins of probability. Only voxels count where the probability is above 0.01 or the label is:
    the background would hide the error.

    Args:
        chances: probabilities, in any shape.
        truth: bool, in the same shape.
    """
    counted = (chances > _SEEN) | truth
    chances, truth = (torch.as_tensor(each)[counted].double() for each in (chances, truth))
    bins = (chances * _BINS).long().clamp(max=_BINS - 1)
    gaps = torch.zeros(_BINS, dtype=torch.float64, device=bins.device)
    gaps.index_add_(0, bins, chances - truth)
    return float(gaps.abs().sum() / max(len(chances), 1))
