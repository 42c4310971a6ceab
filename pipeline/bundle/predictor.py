"""A trained network as ``inference.json`` runs it, from an image to its mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from monai.transforms import LoadImaged, Resized, SpatialPadd

from ..errors import InputError, one_line
from ..networks.weights import load_weights
from ..transforms.mark import PROBABILITIES, MarkRegionsd
from ..transforms.quality import QUALITY
from ..transforms.read import VolumeReader
from ..transforms.regions import Regions
from ..transforms.resize import ResizePictured
from ..transforms.restore_grid import RestoreGridd
from .configs import first_cause
from .quality import Calibration

if TYPE_CHECKING:
    from ..transforms.volume_file import Volume

    Given = Volume | np.ndarray


_MARGIN = 0.05  # another scale is used only if its trust is higher by more than this


class Answer(NamedTuple):
    """What a network finds in an image.

    ``mask`` is the index mask, uint8: ``(rows, columns)`` of a photograph, ``(X, Y, Z)`` of a
    volume. ``features`` are those of `quality_features`, if the bundle's postprocessing measures
    them. ``probabilities`` has an array for each region, in the shape of the mask, uint8 in 1/255,
    if they were asked for. ``scale`` is how much smaller the image was made than in the training.
    ``runtime`` is what computed the network, ``"torch"`` or ``"openvino"``.
    """

    mask: np.ndarray
    features: dict[str, float]
    probabilities: list[np.ndarray]
    scale: float
    runtime: str


class Predictor:
    """The network of an inference config, with its preprocessing and postprocessing.

    Attributes:
        device: device of the network.
        regions: what the masks hold, as in ``RegionsToLabeld``.

    Args:
        config: content of an ``inference.json``; nothing is saved.
        weights: file of the network's weights.
        probabilities: keep those of each region.
        calibration: of the weights. With it, a picture is also segmented at those of the other
            ``scales`` of the config that it chooses, and the mask that is trusted most is kept.

    Raises:
        InputError: a part of the config cannot be built, or the weights do not fit the network.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: str | Path,
        *,
        probabilities: bool = False,
        calibration: Calibration | None = None,
    ) -> None:
        from monai.bundle import ConfigParser

        content = deepcopy(dict(config))
        after = content.get("postprocessing")
        steps = after.get("transforms") if isinstance(after, Mapping) else None
        if not isinstance(steps, list):
            raise InputError(
                "postprocessing of the bundle's inference.json: it lists no transforms."
            )
        # What comes after the mask is saved makes it fit for a server.
        names = [step.get("_target_") if isinstance(step, Mapping) else None for step in steps]
        if "SaveImaged" in names:
            del steps[names.index("SaveImaged") :]
        self._parser = ConfigParser(content)
        self.device = torch.device(self._build("device"))
        self.preprocessing = self._build("preprocessing")
        self.inferer = self._build("inferer")
        self.postprocessing = self._build("postprocessing")
        for step in self.postprocessing.transforms:
            if isinstance(step, MarkRegionsd | RestoreGridd):
                step.keeps_probabilities = probabilities
        self.calibration, self.scales = calibration, [1.0]
        self.resizers = [
            resizer
            for step in self.preprocessing.transforms
            if isinstance(step, ResizePictured | Resized)
            and (resizer := getattr(step, "resizer", step))  # MONAI's holds it
            and isinstance(resizer.spatial_size, int)  # of the longest side, not a fixed grid
        ]
        self._scaling = Lock()  # of the resizers, which threads share
        if calibration and self.resizers:
            self.scales += content.get("scales") or []
        self.network = self._build("network")
        fix = (
            "give the model.pt of a training, and the configs and options that it was trained with"
        )
        load_weights(self.network, weights, option="checkpoint", fix=fix)
        self.network.eval()
        self.regions = Regions(self._build("regions"))

    def __call__(
        self, path: str | Sequence[str], read: Callable[[], Given] | None = None
    ) -> np.ndarray:
        """Segment an image; see `segment`."""
        return self.segment(path, read).mask

    def segment(self, path: str | Sequence[str], read: Callable[[], Given] | None = None) -> Answer:
        """Segment an image.

        Args:
            path: of the image, or several with a channel each.
            read: gives the next volume, for a caller that has read them already; called once for
                each path. With no other reference to it, its memory is free once it is resampled.
                Or gives the next picture, again and again.

        Returns:
            The mask, on the grid of the image.
        """
        return self.answer(path, self.prepare(path, read), read)

    def prepare(
        self,
        path: str | Sequence[str],
        read: Callable[[], Given] | None = None,
        scale: float = 1.0,
    ) -> dict[str, Any]:
        """Read and preprocess an image, see `segment`; a thread may do so beside the network.

        What surrounds a smaller image goes on in the colours of its edge. A black surround would
        be the edge of the camera's field, where networks have learned to find nothing.

        Args:
            path: of the image.
            read: see `segment`.
            scale: how much smaller the image is made than the preprocessing makes it.
        """
        preprocessing = copy(self.preprocessing)
        preprocessing.transforms = list(preprocessing.transforms)
        for index, step in enumerate(preprocessing.transforms):
            if isinstance(step, LoadImaged) and read is not None:
                preprocessing.transforms[index] = partial(step, reader=VolumeReader(given=read))
            elif isinstance(step, SpatialPadd) and scale > 1:
                preprocessing.transforms[index] = padding = copy(step)
                padding.mode = ("edge",) * len(step.keys)
        with self._scaling:
            sizes = [each.spatial_size for each in self.resizers]
            for each, size in zip(self.resizers, sizes, strict=True):
                each.spatial_size = round(size / scale)
            try:
                return preprocessing({"image": path})
            finally:
                for each, size in zip(self.resizers, sizes, strict=True):
                    each.spatial_size = size

    def answer(
        self,
        path: str | Sequence[str],
        item: dict[str, Any],
        read: Callable[[], Given] | None = None,
    ) -> Answer:
        """Segment an image, see `segment`, that is prepared."""
        usual = item["image"][0].numel()
        best = self._answer(item, self.scales[0], usual)
        if len(self.scales) == 1:
            return best
        highest = self.calibration.trust(best.features) + _MARGIN
        for scale in self.calibration.choose_scales(best.features, self.scales[1:]):
            answer = self._answer(self.prepare(path, read, scale), scale, usual)
            trust = self.calibration.trust(answer.features)
            if trust > highest:
                best, highest = answer, trust
        return best

    def _answer(self, item: dict[str, Any], scale: float, usual: int) -> Answer:
        """Segment a prepared image; ``usual`` is the number of pixels of its grid at scale 1."""
        larger = item["image"][0].numel() / usual
        with torch.no_grad():
            item["pred"] = self.inferer(item["image"][None].to(self.device), self.network)[0]
        item = self.postprocessing(item)
        measured = item.get(QUALITY, {})
        if not all(np.isfinite(measured[key]) for key in measured if key.startswith("found/")):
            raise InputError(
                "the network answers with NaN or infinity: give other weights, or --set amp=false."
            )
        mask = np.asarray(item["pred"].cpu(), np.uint8)[0]
        chances = item.get(PROBABILITIES)
        chances = () if chances is None else np.asarray(chances.cpu())
        if mask.ndim == 2:  # MONAI reads photographs as (W, H)
            mask, chances = np.ascontiguousarray(mask.T), [each.T for each in chances]
        runtime = getattr(self.inferer, "ran", "torch")
        features = {  # a region's share is that of the usual grid, as in the calibration
            name: value * larger if name.startswith("found/") else value
            for name, value in measured.items()
        }
        return Answer(mask, features, list(chances), scale, runtime)

    def _build(self, name: str) -> Any:
        try:
            return self._parser.get_parsed_content(name)
        except Exception as error:  # components raise about anything
            reason = one_line(first_cause(error)).rstrip(".")
            raise InputError(f"{name} of the bundle's inference.json: {reason}.") from error
