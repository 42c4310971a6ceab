"""The figures of an evaluation: its worst, median and best case, and attention maps."""

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
from monai.utils.enums import CommonKeys

from ..cases import MeasuredCase, pick_examples
from .display import as_picture, view_case
from .panels import save_figure
from .photographs import draw_attention, draw_overlays
from .view import Plane, cut_planes, upright, view_volume
from .volumes import describe_scores, draw_volume_attention, draw_volumes

log = logging.getLogger(__name__)


def draw_cases(
    cases: Sequence[MeasuredCase],
    folder: Path,
    *,
    regions: Sequence[str],
    network: torch.nn.Module | None = None,
    dataset: Any = None,
    roi_size: Sequence[int] | None = None,
) -> None:
    """Write ``worst_median_best.png`` and ``attention.png``; log figures that cannot be drawn.

    Args:
        cases: of an evaluation, all images or all volumes.
        folder: of the figures.
        regions: one name per mask channel.
        network: attention is drawn if it has ``attention_maps``.
        dataset: makes the network's input for a case again.
        roi_size: window of a volume that the network sees at once, in voxels; without it a
            volume has no attention maps.
    """
    examples = pick_examples(sorted(cases, key=lambda case: case.score))
    median = examples.get("Median", examples["Worst"])
    network = getattr(network, "module", network)  # out of a parallel wrapper
    figures = {"worst_median_best": lambda: draw_examples(examples, regions)}
    if hasattr(network, "attention_maps") and (len(median.spacing) == 2 or roi_size):
        figures["attention"] = lambda: draw_case_attention(network, dataset, median, roi_size)
    for name, draw in figures.items():
        try:
            if figure := draw():
                save_figure(figure, folder / f"{name}.png")
        except (OSError, RuntimeError, ValueError) as error:
            log.warning("the figure %s.png could not be drawn: %s", name, error)


def draw_examples(examples: Mapping[str, MeasuredCase], regions: Sequence[str]) -> Figure:
    """Draw cases, by their rank, below each other."""
    for case in examples.values():
        if case.path is None:
            raise ValueError(f"the image of {case.row['case']} has no file name in its metadata")
    titles = [f"{rank}: {case.row['case']}" for rank, case in examples.items()]
    solid = all(len(case.spacing) == 3 for case in examples.values())
    view = view_volume if solid else view_case
    views = [
        view(case.path, *case.unpack_masks(), affine=case.affine) for case in examples.values()
    ]
    if solid:
        scores = [describe_scores(case.row, regions) for case in examples.values()]
        return draw_volumes(list(zip(titles, scores, views, strict=True)), regions=regions)
    rows = [(title, *view) for title, view in zip(titles, views, strict=True)]
    return draw_overlays(rows, regions=regions)


def draw_case_attention(
    network: torch.nn.Module, dataset: Any, case: MeasuredCase, roi_size: Sequence[int] | None
) -> Figure | None:
    """Draw the attention maps for a case; None for a network without gates."""
    image = load_input(dataset, case)
    if len(case.spacing) == 3:
        return draw_window_attention(network, image, case, roi_size=roi_size)
    # (gates, W, H) to (gates, H, W), the order of a display
    maps = [alpha.swapaxes(1, 2) for alpha in compute_attention(network, image)]
    picture = as_picture(np.asarray(image))
    return draw_attention(picture, maps, title=case.row["case"]) if maps else None


def load_input(dataset: Any, case: MeasuredCase) -> torch.Tensor:
    """The preprocessed image ``(C, *spatial)`` of a case, from the evaluator's dataset."""
    for index, item in enumerate(getattr(dataset, "data", ())):
        if str(Path(str(item.get(CommonKeys.IMAGE))).expanduser()) == case.path:
            return dataset[index][CommonKeys.IMAGE]
    raise ValueError(f"the evaluator's dataset has no item with the image {case.path}")


def draw_window_attention(
    network: torch.nn.Module, image: torch.Tensor, case: MeasuredCase, *, roi_size: Sequence[int]
) -> Figure | None:
    """Draw the attention maps for a window of a volume around the structure.

    Args:
        network: with ``attention_maps``.
        image: preprocessed, ``(C, X, Y, Z)``, with its affine.
        case: its masks are on the grid of the file.
        roi_size: size of the window in voxels; a smaller image is padded with zeros, as in
            inference.
    """
    if not isinstance(image, MetaTensor):
        raise ValueError("the preprocessed image has no affine: keep it a MetaTensor")
    masks = case.unpack_masks()
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
    alphas = compute_attention(network, window)
    if not alphas:
        return None

    corner = affine.copy()
    corner[:3, 3] = (affine @ [*start, 1])[:3]
    turn = Orientation("LPS", labels=None)

    def turn_to_lps(array: np.ndarray) -> MetaTensor:
        """A coarser grid covers the same window, so its axes turn in the same way."""
        cells = np.diag([*(size / array.shape[1:]), 1])
        return turn(MetaTensor(torch.as_tensor(array), affine=corner @ cells))

    shown = turn_to_lps(window[:1].numpy())
    resampled = [resample(mask, to_file, start, size) for mask in (*masks[0], *masks[1])]
    predicted, true = np.split(turn_to_lps(np.stack(resampled)).numpy() > 0.5, 2)
    step, grey = shown.pixdim.numpy().astype(float), shown.numpy()[0]
    middle, side = (np.array(grey.shape) - 1) / 2, float((grey.shape * step).max())
    planes = cut_planes(grey, predicted, true, step=step, middle=middle, side=side).values()
    levels = [turn_to_lps(alpha.mean(axis=0, keepdims=True)).numpy()[0] for alpha in alphas]
    maps = [{plane.axis: cut_coarse_slice(level, plane) for plane in planes} for level in levels]
    grids = [level.shape for level in levels]
    return draw_volume_attention(list(planes), maps, grids=grids, title=case.row["case"])


def cut_coarse_slice(level: np.ndarray, plane: Plane) -> np.ndarray:
    """The slice of a coarser grid ``(X, Y, Z)`` that a plane of the window lies in."""
    index = int((plane.index + 0.5) / plane.slices * level.shape[plane.axis])
    return upright(level.take(index, plane.axis), plane.axis)


def compute_attention(network: torch.nn.Module, image: torch.Tensor) -> list[np.ndarray]:
    """Maps ``(gates, *grid)`` of one image ``(C, *spatial)``, finest level first."""
    batch = torch.as_tensor(np.asarray(image), dtype=torch.float32)[None]
    with eval_mode(network):
        alphas = network.attention_maps(batch.to(next(network.parameters()).device))
    return [alpha[0].float().cpu().numpy() for alpha in alphas]


def resample(
    mask: np.ndarray, matrix: np.ndarray, start: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """Sample a mask, in [0, 1], on a window of a grid that ``matrix`` maps to its voxels."""
    from scipy.ndimage import affine_transform

    offset = (matrix @ [*start, 1])[:3]
    return affine_transform(
        mask.astype(np.float32), matrix[:3, :3], offset, output_shape=tuple(size), order=1
    )
