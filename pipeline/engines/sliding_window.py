"""Inference on volumes of any size, window by window, in the free memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from monai.inferers import Inferer, sliding_window_inference
from monai.utils import fall_back_tuple
from torch import nn

from ..errors import InputError
from ..networks.folding import fold_batch_norms
from ..networks.runtime import OpenvinoNetwork
from .batch import as_plain
from .memory import free_memory, is_out_of_memory
from .mirror import mirrored

logger = logging.getLogger(__name__)

_SHARE = 0.8  # of the free memory that may be taken
_LIVE = 12  # times its largest feature map is what a U-Net holds at its peak; measured: 8 to 11
_PROBE = 32  # voxels along each axis of the window on which a network's memory is measured
_BATCH = 8  # windows; more at a time are not faster
_SMALLEST = 32  # voxels along an axis below which a window is not shrunk
_STEP = 16  # voxels by which a window is stretched: what networks with four poolings divide by
_VALUES = 2**31 - 1  # of a tensor: more than many of a GPU's kernels can index


@dataclass(frozen=True)
class Tiling:
    """How a volume is cut into windows, and on which device these are put together."""

    roi_size: tuple[int, ...]
    batch_size: int
    device: torch.device  # of the sum

    def shrink(self) -> Tiling | None:
        """Use less memory: fewer windows at a time, the sum on the CPU, or smaller windows."""
        if self.batch_size > 1:
            return replace(self, batch_size=self.batch_size // 2)
        if self.device.type != "cpu":
            return replace(self, device=torch.device("cpu"))
        longest = max(self.roi_size)
        if longest // 2 < _SMALLEST:
            return None
        roi_size = tuple(n // 2 if n == longest else n for n in self.roi_size)
        return replace(self, roi_size=roi_size)

    def __str__(self) -> str:
        size = " x ".join(map(str, self.roi_size))
        return f"windows of {size}, {self.batch_size} at a time, put together on {self.device}"


class SlidingWindow(Inferer):
    """Logits (B, R, *spatial) of volumes (B, C, *spatial), blended from overlapping windows.

    This is MONAI's ``sliding_window_inference`` with Gaussian weights, fitted to the machine:

    - The free memory decides how many windows are computed at a time, and on which device they
      are put together. Where even one window does not fit, smaller ones are used, and a line says
      so.
    - In evaluation the batch norms are folded into the convolutions.
    - With ``stretch`` the windows may be longer than ``roi_size`` where fewer voxels are then
      computed: an axis of 100 voxels takes one window of 112 instead of two of 96.
    - On a CPU, windows that hold one value throughout, such as air, are computed once.

    Within rounding, the logits are MONAI's with windows of the same size, in 2D and 3D.

    Args:
        roi_size: size of the window in voxels; -1 is the whole axis.
        overlap: share of a window that the next one covers again, 0 or more and below 1.
        stretch: share of ``roi_size`` by which the window may be longer along an axis; it then
            takes more memory.
        mirror: average over flips of each window, see `mirrored`: eight times the work in 3D.
        flip: see `mirrored`.

    Raises:
        ValueError: ``overlap`` or ``stretch`` is out of range.
        InputError: the sum of the windows, or the smallest window, does not fit into memory.
    """

    def __init__(
        self,
        *,
        roi_size: Sequence[int] | int,
        overlap: float = 0.25,
        stretch: float = 0.0,
        mirror: bool = False,
        flip: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap is {overlap}; give a share from 0 to below 1, such as 0.25.")
        if stretch < 0:
            raise ValueError(f"stretch is {stretch}; give 0 for windows of roi_size, or 0.5.")
        self.roi_size, self.overlap = roi_size, overlap
        self.stretch, self.mirror, self.flip = stretch, mirror, flip
        self.told: set[Tiling] = set()

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        inputs = as_plain(inputs).float()
        evaluating = isinstance(network, nn.Module) and not network.training
        if evaluating and not torch.is_grad_enabled():
            network = fold_batch_norms(network)

        def predict(windows: torch.Tensor, network: Callable[..., Any] = network) -> torch.Tensor:
            def run(images: torch.Tensor) -> torch.Tensor:
                return network(images, *args, **kwargs)

            return mirrored(run, windows, mirror=self.mirror, flip=self.flip).float()

        tiling = self._choose_tiling(inputs, predict, network)
        while True:
            try:
                return sliding_window_inference(
                    inputs,
                    tiling.roi_size,
                    tiling.batch_size,
                    CachedPredictor(predict) if inputs.device.type == "cpu" else predict,
                    overlap=self.overlap,
                    mode="gaussian",
                    device=tiling.device,
                )
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Here, since inside the except the error holds the tensors of the failed try.
            torch.cuda.empty_cache()
            smaller = tiling.shrink()
            if smaller is None:
                raise InputError(
                    f"{inputs.device} is out of memory even with {tiling}; end other programs "
                    'there, or give device "cpu".'
                )
            tiling = smaller
            logger.warning(f"sliding window: out of memory; it goes on with {tiling}.")

    def _choose_tiling(
        self, inputs: torch.Tensor, predict: Callable, network: Callable[..., Any]
    ) -> Tiling:
        """Choose windows that fit into the free memory."""
        shape, device = inputs.shape[2:], inputs.device
        roi_size = tuple(
            fit_window(roi, length, self.overlap, self.stretch)
            for roi, length in zip(fall_back_tuple(self.roi_size, shape), shape, strict=True)
        )
        per_voxel, values, channels = measure_memory(inputs, roi_size, predict, network)
        padded = math.prod(map(max, shape, roi_size))
        # The sum, its weights, and the volume once more if it has to be padded.
        total = 4 * padded * (len(inputs) * channels + 1)
        total += inputs.nbytes if padded > math.prod(shape) else 0
        window = per_voxel * math.prod(roi_size)
        room = _SHARE * free_memory(device)
        # On a CPU several windows at a time are not faster.
        wanted = 1 if device.type == "cpu" else _BATCH
        windows = math.ceil(padded / math.prod(roi_size)) * len(inputs)
        tiling = Tiling(roi_size, max(1, min(wanted, windows)), device)
        if device.type != "cpu" and total + window > room:
            tiling = replace(tiling, device=torch.device("cpu"))
        if tiling.device.type == "cpu":
            left = _SHARE * free_memory("cpu")
            if total > left:
                raise InputError(
                    f"the sliding window needs {total / 1e9:.1f} GB to put {padded / 1e6:.0f} "
                    f"million voxels together, but {left / 1e9:.1f} GB are free; give a larger "
                    "spacing."
                )
        if tiling.device == device:
            room -= total
        first = tiling
        # On a GPU as few voxels at a time as its kernels can index the feature maps of.
        most = math.inf if device.type == "cpu" else _VALUES // values
        most = min(most, room // per_voxel)
        while tiling.batch_size * math.prod(tiling.roi_size) > most:
            # The place of the sum is settled above.
            fewer = replace(tiling, device=torch.device("cpu")).shrink()
            if fewer is None:
                break
            tiling = replace(fewer, device=tiling.device)
        if tiling.roi_size != first.roi_size:
            logger.warning(
                f"sliding window: a window takes {window / 1e9:.1f} GB, but {room / 1e9:.1f} GB "
                f"are free, enough for {max(0, most) / 1e6:.1f} million voxels; it goes on with "
                f"{tiling}."
            )
        elif tiling not in self.told:  # not again for every case of every validation
            logger.info(f"sliding window: {tiling}.")
            self.told.add(tiling)
        return tiling


def fit_window(roi: int, length: int, overlap: float, stretch: float) -> int:
    """Find the window length from ``roi`` up that computes the fewest voxels of an axis."""

    def computed(window: int) -> int:
        step = max(1, int(window * (1 - overlap)))  # as in MONAI
        return window * (1 + max(0, math.ceil((length - window) / step)))

    return min(range(roi, int(roi * (1 + stretch)) + 1, _STEP), key=computed)


class CachedPredictor:
    """A network that answers a window of one value from memory."""

    def __init__(self, predict: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.predict = predict
        self.answers: dict[float, torch.Tensor] = {}

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        low, high = (value.item() for value in windows.aminmax())
        if len(windows) > 1 or windows.shape[1] > 1 or low != high:
            return self.predict(windows)
        if low not in self.answers:
            self.answers[low] = self.predict(windows)
        return self.answers[low].clone()  # the caller weights it in place


@torch.no_grad()
def measure_memory(
    inputs: torch.Tensor, roi_size: Sequence[int], predict: Callable, network: Callable[..., Any]
) -> tuple[float, float, int]:
    """Measure what a network takes per voxel of a window, and its output channels.

    Returns:
        The bytes, which follow from the largest feature map of a small window; the values of the
        largest tensor; the channels.
    """
    largest = values = 0

    def look(_module: nn.Module, args: Any, out: Any) -> None:
        nonlocal largest, values
        outputs = out if isinstance(out, list | tuple) else [out]
        outputs = [each for each in outputs if isinstance(each, torch.Tensor)]
        largest = max([largest, *(each.nbytes for each in outputs)])
        seen = [*outputs, *(each for each in args if isinstance(each, torch.Tensor))]
        values = max([values, *(each.numel() for each in seen)])

    size = [min(_PROBE, n) for n in roi_size]
    window = inputs.new_zeros(1, inputs.shape[1], *size)
    network = network.network if isinstance(network, OpenvinoNetwork) else network
    modules = list(network.modules()) if isinstance(network, nn.Module) else []
    hooks = [module.register_forward_hook(look) for module in modules]
    try:
        out = predict(window, network)
    finally:
        for hook in hooks:
            hook.remove()
    voxels = math.prod(size)
    per_voxel = _LIVE * max(largest, out.nbytes) / voxels
    return per_voxel, max(values, out.numel()) / voxels, out.shape[1]
