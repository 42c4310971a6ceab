"""A trained network as ``inference.json`` runs it: from an image to its mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError, one_line
from ..networks.weights import load_weights

if TYPE_CHECKING:
    import numpy as np
    from monai.data import MetaTensor


class Predictor:
    """The network of an inference config, with its preprocessing and postprocessing.

    Attributes:
        device: where the network is.
        values: the label value of each region's own part, outermost first, as in
            ``RegionsToLabeld``; empty where the config has no such step.

    Args:
        config: content of an ``inference.json``; what it would save is left out.
        weights: file with the network's state dictionary.

    Raises:
        InputError: a part of the config cannot be built, or the weights are another network's.
    """

    def __init__(self, config: Mapping[str, Any], weights: str | Path) -> None:
        from monai.bundle import ConfigParser

        from ..transforms.regions import RegionsToLabeld

        self._parser = ConfigParser(deepcopy(dict(config)))
        steps = self._built("postprocessing", built=False)["transforms"]
        # What comes after the mask is saved makes it fit for a server.
        names = [step.get("_target_") if isinstance(step, Mapping) else None for step in steps]
        if "SaveImaged" in names:
            self._parser["postprocessing#transforms"] = steps[: names.index("SaveImaged")]
        self.device = torch.device(self._built("device"))
        self.preprocessing = self._built("preprocessing")
        self.inferer = self._built("inferer")
        self.postprocessing = self._built("postprocessing")
        self.network = self._built("network")
        fix = (
            "give the model.pt of a training, and the configs and options that it was trained with"
        )
        load_weights(self.network, weights, option="checkpoint", fix=fix)
        self.network.eval()
        steps = self.postprocessing.transforms
        self.values = next((step.values for step in steps if isinstance(step, RegionsToLabeld)), [])

    def __call__(self, image: str | Callable[[], MetaTensor]) -> np.ndarray:
        """The index mask of an image, uint8, on the image's own grid.

        Args:
            image: path of a file; or what gives a volume ``(1, X, Y, Z)`` as ``LoadImaged``, the
                first step of the preprocessing, would have read it, and keeps no hold of it.

        Returns:
            ``(rows, columns)`` of a photograph, ``(X, Y, Z)`` of a volume.
        """
        import numpy as np

        read = callable(image)
        item = self.preprocessing({"image": image() if read else image}, start=int(read))
        with torch.no_grad():
            item["pred"] = self.inferer(item["image"][None].to(self.device), self.network)[0]
        mask = np.asarray(self.postprocessing(item)["pred"].cpu())[0].astype(np.uint8)
        return mask.T if mask.ndim == 2 else mask  # MONAI reads photographs as (W, H)

    def _built(self, name: str, *, built: bool = True) -> Any:
        try:
            return self._parser.get_parsed_content(name) if built else self._parser[name]
        except Exception as error:  # components raise about anything
            cause = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            reason = one_line(cause)
            raise InputError(
                f"{name} of the bundle's inference.json: {reason.rstrip('.')}."
            ) from error
