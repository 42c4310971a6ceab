"""The figures of an evaluation: its worst, median and best case, and where a network looked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.data import MetaTensor
from monai.networks.utils import eval_mode
from monai.transforms import Orientation

from ..cases import Case
from .display import as_picture, case_view, grey_window
from .photographs import attention_figure, overlay_page, save_figure
from .view import AXIAL, CORONAL, SAGITTAL, Plane, plane, upright, volume_view
from .volumes import scores, volume_attention_figure, volume_page

log = logging.getLogger(__name__)


def draw_cases(
    cases: Sequence[Case],
    folder: Path,
    *,
    regions: Sequence[str],
    network: torch.nn.Module | None = None,
    dataset: Any = None,
    image_key: str = "image",
    roi_size: Sequence[int] | None = None,
) -> None:
    """Write ``worst_median_best.png`` and ``attention.png``; what cannot be drawn is logged.

    Args:
        cases: of an evaluation, all images or all volumes.
        folder: of the figures.
        regions: one name per mask channel.
        network: with ``attention_maps``, or there is no such figure.
        dataset: makes the network's input of a case again.
        image_key: of the image in an item of the dataset.
        roi_size: window of a volume that the network sees at once, in voxels; without one a
            volume has no attention maps.
    """
    order = sorted(cases, key=lambda case: case.score)
    median = order[(len(order) - 1) // 2]
    ranked = {"Worst": order[0], "Median": median, "Best": order[-1]}
    if len(order) < 3:  # the same case would stand there twice
        del ranked["Median"]
    if len(order) < 2:
        del ranked["Best"]
    network = getattr(network, "module", network)  # out of a parallel wrapper
    makers = {"worst_median_best": lambda: page(ranked, regions)}
    if hasattr(network, "attention_maps") and (len(median.spacing) == 2 or roi_size):

        def attention() -> Figure | None:
            image = network_input(dataset, median, image_key)
            if len(median.spacing) == 2:
                return image_attention(network, image, median)
            return volume_attention(network, image, median, regions=regions, roi_size=roi_size)

        makers["attention"] = attention
    for name, make in makers.items():
        try:
            if figure := make():
                save_figure(figure, folder / f"{name}.png")
        except (OSError, RuntimeError, ValueError) as error:
            log.warning("the figure %s.png could not be drawn: %s", name, error)


def page(ranked: Mapping[str, Case], regions: Sequence[str]) -> Figure:
    """Cases below each other, named by their rank: one page for images, another for volumes."""
    for case in ranked.values():
        if case.path is None:
            raise ValueError(f"the image of {case.row['case']} carries no file name")
    titles = [f"{rank}: {case.row['case']}" for rank, case in ranked.items()]
    solid = all(len(case.spacing) == 3 for case in ranked.values())
    make = volume_view if solid else case_view
    views = [make(case.path, *case.masks(), affine=case.affine) for case in ranked.values()]
    if solid:
        said = [scores(case.row, regions) for case in ranked.values()]
        return volume_page(list(zip(titles, said, views, strict=True)), regions=regions)
    rows = [(title, *view) for title, view in zip(titles, views, strict=True)]
    return overlay_page(rows, regions=regions)


def network_input(dataset: Any, case: Case, image_key: str) -> torch.Tensor:
    """The preprocessed image ``(C, *spatial)`` of a case, made anew from the dataset."""
    for index, item in enumerate(getattr(dataset, "data", ())):
        if str(Path(str(item.get(image_key))).expanduser()) == case.path:
            return dataset[index][image_key]
    raise ValueError(f"the evaluator's dataset has no item with the image {case.path}")


def image_attention(network: torch.nn.Module, image: torch.Tensor, case: Case) -> Figure | None:
    """Attention maps over the network's input ``(C, W, H)``; None for a network without gates."""
    # (gates, W, H) to (gates, H, W), the order of a display
    maps = [alpha.swapaxes(1, 2) for alpha in attention_maps(network, image)]
    title = case.row["case"]
    return attention_figure(as_picture(np.asarray(image)), maps, title=title) if maps else None


def volume_attention(
    network: torch.nn.Module,
    image: torch.Tensor,
    case: Case,
    *,
    regions: Sequence[str],
    roi_size: Sequence[int],
) -> Figure | None:
    """Attention maps over a window of the network's input about the structure.

    Args:
        network: with ``attention_maps``.
        image: preprocessed, ``(C, X, Y, Z)``, with its affine.
        case: its masks are on the grid of the file.
        regions: one name per mask channel.
        roi_size: size of the window in voxels; a smaller image is padded with zeros, as in
            inference.
    """
    if not isinstance(image, MetaTensor):
        raise ValueError("the preprocessed image has no affine: keep it a MetaTensor")
    masks = case.masks()
    marked = (masks[1] if masks[1].any() else masks[0]).any(axis=0)
    affine = np.asarray(image.affine, dtype=float)
    to_file = np.linalg.inv(case.affine) @ affine  # voxels of the image to voxels of the masks
    shape, size = np.array(image.shape[1:]), np.array(roi_size)
    middle = (shape - 1) / 2
    if marked.any():
        middle = (np.linalg.inv(to_file) @ [*np.argwhere(marked).mean(axis=0), 1])[:3]
    start = np.clip(np.rint(middle - (size - 1) / 2), 0, np.maximum(shape - size, 0)).astype(int)
    window = torch.zeros(len(image), *roi_size)
    part = torch.as_tensor(np.asarray(image))[(slice(None), *map(slice, start, start + size))]
    window[(slice(None), *map(slice, part.shape[1:]))] = part.float()
    alphas = attention_maps(network, window)
    if not alphas:
        return None

    corner = affine.copy()
    corner[:3, 3] = (affine @ [*start, 1])[:3]
    turn = Orientation("LPS", labels=None)

    def turned(array: np.ndarray) -> MetaTensor:
        """A coarser grid covers the same window, so that its axes turn the same way."""
        cells = np.diag([*(size / array.shape[1:]), 1])
        return turn(MetaTensor(torch.as_tensor(array), affine=corner @ cells))

    shown = turned(window[:1].numpy())
    resampled = [resample(mask, to_file, start, size) for mask in (*masks[0], *masks[1])]
    predicted, true = np.split(turned(np.stack(resampled)).numpy() > 0.5, 2)
    step = shown.pixdim.numpy().astype(float)
    grey = shown.numpy()[0]
    low, high = grey_window(grey)
    planes = [
        plane(
            axis,
            grey,
            predicted,
            true,
            step=step,
            grey=(low, max(high - low, 1e-6)),
            middle=(np.array(grey.shape) - 1) / 2,
            side=float((grey.shape * step).max()),
        )
        for axis in (AXIAL, CORONAL, SAGITTAL)
    ]
    levels = [turned(alpha.mean(axis=0, keepdims=True)).numpy()[0] for alpha in alphas]
    maps = [{each.axis: coarse_slice(level, each) for each in planes} for level in levels]
    return volume_attention_figure(
        planes,
        maps,
        regions=regions,
        grids=[level.shape for level in levels],
        title=case.row["case"],
    )


def coarse_slice(level: np.ndarray, of: Plane) -> np.ndarray:
    """The slice of a coarser grid ``(X, Y, Z)`` that holds a plane of the window."""
    index = int((of.index + 0.5) / of.slices * level.shape[of.axis])
    return upright(level.take(index, of.axis), of.axis)


def attention_maps(network: torch.nn.Module, image: torch.Tensor) -> list[np.ndarray]:
    """Maps ``(gates, *grid)`` of one image ``(C, *spatial)``, finest level first."""
    batch = torch.as_tensor(np.asarray(image), dtype=torch.float32)[None]
    with eval_mode(network):
        alphas = network.attention_maps(batch.to(next(network.parameters()).device))
    return [alpha[0].float().cpu().numpy() for alpha in alphas]


def resample(
    mask: np.ndarray, matrix: np.ndarray, start: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """A mask on a window of another grid, in [0, 1]; ``matrix`` leads from there to its voxels."""
    from scipy.ndimage import affine_transform

    offset = (matrix @ [*start, 1])[:3]
    return affine_transform(
        mask.astype(np.float32), matrix[:3, :3], offset, output_shape=tuple(size), order=1
    )
