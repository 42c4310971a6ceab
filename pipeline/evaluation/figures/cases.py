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
from monai.transforms import Orientation, ResampleToMatch, SpatialCrop, SpatialPad
from monai.utils.enums import CommonKeys

from ..cases import MeasuredCase, list_paths, pick_examples
from .display import as_picture, view_case
from .panels import save_figure
from .photographs import draw_overlays
from .quality import draw_quality
from .view import Plane, cut_planes, upright, view_photograph, view_volume
from .volumes import describe_scores, draw_attention, draw_volumes

log = logging.getLogger(__name__)


def draw_cases(
    cases: Sequence[MeasuredCase],
    folder: Path,
    *,
    regions: Sequence[str],
    network: torch.nn.Module | None = None,
    dataset: Any = None,
    roi_size: Sequence[int] | None = None,
    window: Sequence[float] | None = None,
) -> None:
    """Write the figures of an evaluation; log those that cannot be drawn.

    ``worst_median_best.png``, and where there is something to draw ``quality.png`` and
    ``attention.png``.

    Args:
        cases: of an evaluation, all images or all volumes.
        folder: of the figures.
        regions: one name per mask channel.
        network: attention is drawn if it has ``attention_maps``.
        dataset: makes the network's input for a case again.
        roi_size: window of a volume that the network sees at once, in voxels; without it a
            volume has no attention maps.
        window: the values of black and white in a volume; None for its percentiles.
    """
    examples = pick_examples(sorted(cases, key=lambda case: case.score))
    median = examples.get("Median", examples["Worst"])
    network = getattr(network, "module", network)  # out of a parallel wrapper
    figures = {"worst_median_best": lambda: draw_examples(examples, regions, window)}
    figures["quality"] = lambda: draw_quality({"": [case.row for case in cases]}, regions)
    if hasattr(network, "attention_maps") and (len(median.spacing) == 2 or roi_size):
        figures["attention"] = lambda: draw_case_attention(network, dataset, median, roi_size)
    for name, draw in figures.items():
        try:
            if figure := draw():
                save_figure(figure, folder / f"{name}.png")
        except (OSError, RuntimeError, ValueError) as error:
            log.warning("the figure %s.png could not be drawn: %s", name, error)


def draw_examples(
    examples: Mapping[str, MeasuredCase],
    regions: Sequence[str],
    window: Sequence[float] | None = None,
) -> Figure:
    """Draw cases, by their rank, below each other."""
    for case in examples.values():
        if case.path is None:
            raise ValueError(f"the image of {case.row['case']} has no file name in its metadata")
    titles = [f"{rank}: {case.row['case']}" for rank, case in examples.items()]
    solid = all(len(case.spacing) == 3 for case in examples.values())
    view = view_volume if solid else view_case
    cases = examples.values()
    views = [
        view(case.path, *case.unpack_masks(), affine=case.affine, window=window) for case in cases
    ]
    if solid:
        scores = [describe_scores(case.row, regions) for case in cases]
        return draw_volumes(list(zip(titles, scores, views, strict=True)), regions=regions)
    dice = [[case.row[f"dice/{name}"] for name in regions] for case in cases]
    rows = [(title, *view, each) for title, view, each in zip(titles, views, dice, strict=True)]
    return draw_overlays(rows, regions=regions)


def draw_case_attention(
    network: torch.nn.Module, dataset: Any, case: MeasuredCase, roi_size: Sequence[int] | None
) -> Figure | None:
    """Draw the attention maps for a case; None for a network without gates."""
    image = load_input(dataset, case)
    if len(case.spacing) == 3:
        return draw_window_attention(network, image, case, roi_size=roi_size)
    # (gates, W, H) to (gates, H, W), the order of a display
    alphas = [alpha.swapaxes(1, 2) for alpha in compute_attention(network, image)]
    if not alphas:
        return None
    heads = [f"grid {alpha.shape[2]} x {alpha.shape[1]}" for alpha in alphas]
    if len(alphas[0]) > 1:
        heads = [f"{head}, mean of {len(alphas[0])} gates" for head in heads]
    plane = view_photograph(as_picture(np.asarray(image)).mean(axis=-1))
    maps = [[alpha.mean(axis=0)] for alpha in alphas]
    return draw_attention([plane], maps, heads=heads, title=case.row["case"])


def load_input(dataset: Any, case: MeasuredCase) -> torch.Tensor:
    """The preprocessed image ``(C, *spatial)`` of a case, from the evaluator's dataset."""
    for index, item in enumerate(getattr(dataset, "data", ())):
        if list_paths(item)[0] == case.path:
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
    shape, size = np.array(image.shape[1:]), np.array(roi_size)
    middle = (shape - 1) / 2
    if marked.any():
        to_image = np.linalg.inv(image.affine.numpy()) @ case.affine  # from voxels of the masks
        middle = (to_image @ [*np.argwhere(marked).mean(axis=0), 1])[:3]
    start = np.clip(np.rint(middle - (size - 1) / 2), 0, np.maximum(shape - size, 0)).astype(int)
    crop, pad = SpatialCrop(roi_start=start, roi_end=start + size), SpatialPad(size, method="end")
    window = pad(crop(image))
    alphas = compute_attention(network, window)
    if not alphas:
        return None

    turn = Orientation("LPS", labels=None)
    both = torch.from_numpy(masks.reshape(-1, *marked.shape)).float()
    resample = ResampleToMatch(mode="bilinear", padding_mode="zeros")
    labels = turn(resample(MetaTensor(both, affine=case.affine), window))
    predicted, true = np.split(labels.numpy() > 0.5, 2)
    levels = []
    for alpha in alphas:  # a coarser grid covers the same window, so its axes turn in the same way
        cells = np.diag([*(size / alpha.shape[1:]), 1])
        mean = torch.as_tensor(alpha.mean(axis=0, keepdims=True))
        levels.append(turn(MetaTensor(mean, affine=window.affine.numpy() @ cells)).numpy()[0])
    shown = turn(window[:1])
    step, grey = shown.pixdim.numpy().astype(float), shown.numpy()[0]
    middle, side = (np.array(grey.shape) - 1) / 2, float((grey.shape * step).max())
    planes = list(cut_planes(grey, predicted, true, step=step, middle=middle, side=side).values())
    maps = [[cut_coarse_slice(level, plane) for plane in planes] for level in levels]
    heads = ["grid " + " x ".join(map(str, level.shape)) for level in levels]
    return draw_attention(planes, maps, heads=heads, title=case.row["case"])


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
