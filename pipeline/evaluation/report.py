"""The handler that turns an evaluation into a table, a summary and figures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from os.path import abspath
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor, decollate_batch

from .cases import Case, file_of, gathered, pack, stem
from .masks import write_mask
from .metrics import case_metrics, vertical_cdr, vertical_cdr_error
from .summary import print_summary, summarise, write_cases, write_summary
from .surface import NSD_TOLERANCE

log = logging.getLogger(__name__)


class CaseReport:
    """Measure every case of an evaluation and write the report into ``output_dir``.

    The postprocessing before it leaves binary masks on the original image grid. After the last
    case it writes ``cases.csv``, ``summary.json`` and ``figures/``, replacing those of an earlier
    evaluation only now, and, where wanted, the masks as ``predictions/CASE.png`` or ``.nii.gz``
    on the image's own grid. It prints the summary and puts the means into ``engine.state.metrics``
    (``dice/optic_cup``, ``pooled_iou``, ...). It does so at the end of the evaluator's one epoch,
    so loggers of that event that are attached later find the metrics, and whatever collects
    files on completion finds them all. Of several processes the first one writes for all. A case
    is called by its file; where two files have one name, by their folders too.

    Args:
        output_dir: folder of the report; made when needed.
        regions: one name per mask channel.
        image_key, pred_key, label_key: entries of a case in the engine's output.
        vertical_cdr: also measure the vertical cup-to-disc ratio; ``True`` for the regions
            ``optic_disc`` and ``optic_cup``, or the names of the disc and the cup. 2D only.
        vertical_axis: vertical spatial axis: 1 for images in MONAI's order ``(W, H)``.
        spacing: distance between pixels along each axis; by default that of the label's
            affine, 1 px for photographs.
        network: draws what its ``attention_maps`` gives for the median case, if it has that
            method.
        figures: draw the worst, the median and the best case by mean Dice, which needs the
            image files once more, and the attention maps.
        label_values: per region the values that it has in an index mask, as in
            :func:`write_mask`; the summary keeps them.
        predictions: write the predicted masks, which takes ``label_values``.
        nsd_tolerance: largest distance that the normalised surface Dice of a volume counts as
            agreement, in mm.
        roi_size: window in voxels whose attention maps are drawn for a volume, as in inference.

    Raises:
        ValueError: when the arguments do not fit each other.
        NotADirectoryError: when ``output_dir`` is a file.
        ModuleNotFoundError: when figures are wanted without matplotlib.
    """

    def __init__(
        self,
        output_dir: str | Path,
        regions: Sequence[str],
        *,
        image_key: str = "image",
        pred_key: str = "pred",
        label_key: str = "label",
        vertical_cdr: bool | Sequence[str] = False,
        vertical_axis: int = 1,
        spacing: Sequence[float] | None = None,
        network: torch.nn.Module | None = None,
        figures: bool = True,
        label_values: Sequence[Sequence[int]] | None = None,
        predictions: bool = False,
        nsd_tolerance: float = NSD_TOLERANCE,
        roi_size: Sequence[int] | None = None,
    ) -> None:
        self.output_dir, self.regions = Path(output_dir), list(regions)
        self.image_key, self.pred_key, self.label_key = image_key, pred_key, label_key
        self.vertical_axis, self.spacing = vertical_axis, spacing
        self.network, self.figures = network, figures
        self.label_values, self.predictions = label_values, predictions
        self.nsd_tolerance, self.roi_size = nsd_tolerance, roi_size
        pair = ("optic_disc", "optic_cup") if vertical_cdr is True else tuple(vertical_cdr or ())
        if isinstance(regions, str) or len(set(self.regions)) != len(self.regions) or not regions:
            raise ValueError(f"regions is {regions!r}: give a list of different names")
        if pair and (len(pair) != 2 or not set(pair) <= set(self.regions)):
            raise ValueError(
                f"vertical_cdr needs the disc and the cup among the regions {self.regions}, got "
                f"{pair}: give their names as [disc, cup], or false"
            )
        if len(label_values or ()) != len(self.regions) and (predictions or label_values):
            raise ValueError(
                f"label_values is {label_values} for the regions {self.regions}: give one list of "
                "values per region, such as [[1, 2], [2]], or set predictions to false"
            )
        if self.output_dir.exists() and not self.output_dir.is_dir():
            raise NotADirectoryError(f"output_dir {self.output_dir} is a file: name a folder")
        if figures and find_spec("matplotlib") is None:
            raise ModuleNotFoundError(
                "figures need matplotlib: install it with `pip install matplotlib`, "
                'or set "figures": false'
            )
        self.disc_and_cup = [self.regions.index(name) for name in pair]
        self.cases: list[Case] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.STARTED, lambda: self.cases.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def add(self, engine: Engine) -> None:
        """Measure the cases of one batch."""
        output = engine.state.output
        items = output if isinstance(output, list) else decollate_batch(output)
        self.cases += [self._measure(item) for item in items]

    def finish(self, engine: Engine) -> None:
        """Write the report, and the means into the engine's metrics."""
        cases = gathered(self.cases)
        summary = summarise([case.row for case in cases])
        means = {name: column["mean"] for name, column in summary["metrics"].items()}
        engine.state.metrics.update({k: v for k, v in means.items() if v is not None})
        engine.state.metrics["pooled_iou"] = summary["pooled_iou"]
        if idist.get_rank() > 0:
            return
        summary = {"units": self._units(cases), **summary}
        if self.label_values:
            values = zip(self.regions, self.label_values, strict=True)
            summary["label_values"] = {region: list(each) for region, each in values}
        write_cases(self.output_dir / "cases.csv", [case.row for case in cases])
        write_summary(self.output_dir / "summary.json", summary)
        print_summary(summary)
        if self.predictions:
            self._save(cases)
        if self.figures:  # last, and what cannot be drawn costs no number
            from .figures.cases import draw_cases

            draw_cases(
                cases,
                self.output_dir / "figures",
                regions=self.regions,
                network=self.network,
                dataset=engine.state.dataloader.dataset,
                image_key=self.image_key,
                roi_size=self.roi_size,
            )

    def _units(self, cases: Sequence[Case]) -> dict[str, str]:
        """What the numbers of the summary are in, by the first part of their names."""
        if any(len(case.spacing) == 3 for case in cases):
            lengths, volumes = ("hd95", "asd"), ("volume_error", "absolute_volume_error")
            units = {**dict.fromkeys(lengths, "mm"), **dict.fromkeys(volumes, "ml")}
            return {**units, "nsd": f"within {self.nsd_tolerance:g} mm"}
        return {"hd95": "px" if all(set(case.spacing) == {1.0} for case in cases) else "mm"}

    def _measure(self, item: Mapping[str, Any]) -> Case:
        prediction, truth = item[self.pred_key], item[self.label_key]
        path = file_of(item.get(self.image_key)) or file_of(truth)
        name = stem(path) if path else f"case_{len(self.cases):04d}"
        masks = np.stack(
            [
                self._binary(prediction, "prediction", name, like=truth),
                self._binary(truth, "label", name, like=truth),
            ]
        )
        spatial = masks.ndim - 2
        affine = np.eye(4)
        spacing = self.spacing or (1.0,) * spatial
        if isinstance(truth, MetaTensor):
            affine = truth.affine.cpu().numpy()
            spacing = self.spacing or truth.pixdim[:spatial].tolist()
        spacing = tuple(float(step) for step in spacing)
        files = {"image": path, "label": file_of(truth)}
        row = {"case": name} | {key: abspath(file) if file else "" for key, file in files.items()}
        row |= case_metrics(*masks, self.regions, spacing, tolerance=self.nsd_tolerance)
        if self.disc_and_cup:
            ratios = [
                vertical_cdr(*mask[self.disc_and_cup], axis=self.vertical_axis) for mask in masks
            ]
            row |= {"vertical_cdr/prediction": ratios[0], "vertical_cdr/truth": ratios[1]}
            row["vertical_cdr/absolute_error"] = vertical_cdr_error(*ratios)
        return Case(row, path, spacing, affine, masks.shape, pack(masks))

    def _binary(self, mask: torch.Tensor, what: str, name: str, *, like: torch.Tensor):
        array = torch.as_tensor(mask).detach().cpu().numpy()
        if array.shape != (len(self.regions), *like.shape[1:]):
            raise ValueError(
                f"the {what} of {name} has shape {tuple(array.shape)}, expected "
                f"{(len(self.regions), *like.shape[1:])}: one channel per region {self.regions} "
                "on the label's grid; invert the preprocessing of the prediction"
            )
        if array.dtype != bool and not ((array == 0) | (array == 1)).all():
            raise ValueError(
                f"the {what} of {name} has values in [{array.min():.4g}, {array.max():.4g}], "
                "expected 0 and 1 only: threshold it in the postprocessing"
            )
        return array.astype(bool)

    def _save(self, cases: list[Case]) -> None:
        for case in cases:
            path = self.output_dir / "predictions" / case.row["case"]
            try:
                write_mask(path, case.masks()[0], self.label_values, affine=case.affine)
            except (OSError, ValueError) as error:  # costs no number
                log.warning("the prediction of %s is not kept: %s", case.row["case"], error)
