"""The handler that writes the report of an evaluation: a table, a summary and figures."""

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
from monai.utils.enums import CommonKeys

from ..bundle.trained import CASES, SUMMARY
from ..files import write_rows
from ..transforms.quality import QUALITY
from ..transforms.regions import Regions
from .cases import MeasuredCase, find_file, gather_cases, list_paths, name_case, pack_masks
from .masks import write_mask
from .metrics import case_metrics, find_units, vertical_cdr, vertical_cdr_error
from .quality import QualityEstimates, summarise_quality
from .summary import leave_out_absent, print_summary, summarise, write_summary

log = logging.getLogger(__name__)


class CaseReport:
    """Measure every case of an evaluation and write the report into ``output_dir``.

    The predictions must be binary masks on the original image grid. At the end of the evaluator's
    one epoch the handler writes ``cases.csv``, ``summary.json`` and ``figures/``, and the masks as
    ``predictions/CASE.png`` or ``.nii.gz`` if ``predictions`` is set; only then it replaces those
    of an earlier evaluation. It prints the summary and puts the means into
    ``engine.state.metrics`` (``dice/REGION``, ``pooled_iou``, ...), where handlers of that event
    that are attached later find them. With several processes the first one writes for all. A
    case is named after its file, see ``name_case``; if two have the same name, after their folders
    too. Of an image with a file for each channel the first file stands for it, in the table and in
    the figures.

    Args:
        output_dir: folder of the report; made if needed.
        regions: the label values of each mask channel by name, see ``Regions``; kept in the
            summary. A label with one channel more marks there what does not count.
        vertical_cdr: names of the regions ``[disc, cup]`` whose vertical cup-to-disc ratio is
            measured, 2D only; by default it is not.
        network: if it has ``attention_maps``, they are drawn for the median case.
        figures: draw the worst, the median and the best case by mean Dice, for which the image
            files are read again, and the attention maps.
        predictions: write the predicted masks.
        roi_size: window of a volume whose attention maps are drawn, in voxels, as in inference.
        window: the values that are black and white in the figures of volumes, such as HU; by
            default the percentiles of each. It is kept in the summary.
        settings: of the postprocessing, to be kept in the summary.
        quality: adds an estimate of each case's quality to its row.

    Raises:
        ValueError: the arguments do not fit each other.
        NotADirectoryError: ``output_dir`` is a file.
        ModuleNotFoundError: ``figures`` is set, but matplotlib is not installed.
    """

    def __init__(
        self,
        output_dir: str | Path,
        regions: Mapping[str, Sequence[int]],
        *,
        vertical_cdr: Sequence[str] = (),
        network: torch.nn.Module | None = None,
        figures: bool = True,
        predictions: bool = False,
        roi_size: Sequence[int] | None = None,
        window: Sequence[float] | None = None,
        settings: Mapping[str, Any] | None = None,
        quality: QualityEstimates | None = None,
    ) -> None:
        self.tree = Regions(regions)
        self.output_dir, self.regions = Path(output_dir), self.tree.names
        self.network, self.figures, self.roi_size = network, figures, roi_size
        self.predictions, self.window = predictions, window
        self.settings, self.quality = settings, quality
        pair = vertical_cdr or ()
        if pair and (pair is True or len(pair) != 2 or not set(pair) <= set(self.regions)):
            raise ValueError(
                f"vertical_cdr is {pair}: give two of the regions {self.regions} as [disc, cup], "
                "or leave it out"
            )
        if self.output_dir.exists() and not self.output_dir.is_dir():
            raise NotADirectoryError(f"output_dir {self.output_dir} is a file: name a folder")
        if figures and find_spec("matplotlib") is None:
            raise ModuleNotFoundError(
                "figures need matplotlib: install it with `pip install matplotlib`, "
                'or set "figures": false'
            )
        self.disc_and_cup = [self.regions.index(name) for name in pair]
        self.cases: list[MeasuredCase] = []
        self.files: dict[str, list[str]] = {}

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Forget an earlier evaluation, and note which files belong together."""
        self.cases.clear()
        items = getattr(engine.state.dataloader.dataset, "data", ())
        self.files = {files[0]: files for files in map(list_paths, items)}

    def add(self, engine: Engine) -> None:
        """Measure the cases of one batch."""
        output = engine.state.output
        items = output if isinstance(output, list) else decollate_batch(output)
        self.cases += [self._measure(item) for item in items]

    def finish(self, engine: Engine) -> None:
        """Write the report, and the means into the engine's metrics."""
        cases = gather_cases(self.cases)
        rows = [case.row for case in cases]
        if self.quality:  # first, since a region without a label is estimated too
            pair = [self.regions[n] for n in self.disc_and_cup]
            self.quality.add(rows, self.regions, pair)
        absent = leave_out_absent(rows)
        summary = summarise(rows)
        if reliability := summarise_quality(rows, self.regions):
            summary["quality"] = reliability
            engine.state.metrics |= {
                f"{key}/{region}": each[key]
                for region, each in reliability.items()
                for key in ("rank_correlation", "aurc")
                if each[key] is not None
            }
        means = {name: column["mean"] for name, column in summary["metrics"].items()}
        means["pooled_iou"] = summary["pooled_iou"]
        engine.state.metrics |= {k: v for k, v in means.items() if v is not None}
        if idist.get_rank() > 0:
            return
        if absent:
            log.warning(
                "no label of these %d cases holds %s: not measured, and in no mean",
                *(len(cases), ", ".join(absent)),
            )
        units = find_units([case.spacing for case in cases])
        summary = {"units": units, **summary}
        summary["label_values"] = dict(zip(self.regions, self.tree.values, strict=True))
        runtime = getattr(getattr(engine, "inferer", None), "ran", "torch")
        summary |= {"window": self.window, "runtime": runtime, **(self.settings or {})}
        if self.quality:
            self.quality.keep(self.settings or {})
        write_rows(self.output_dir / CASES, rows)
        write_summary(self.output_dir / SUMMARY, summary)
        print_summary(summary)
        if self.predictions:
            self._write_predictions(cases)
        if self.figures:  # last, so that the numbers are safe if drawing fails
            from .figures.cases import draw_cases

            draw_cases(
                cases,
                self.output_dir / "figures",
                regions=self.regions,
                network=self.network,
                dataset=engine.state.dataloader.dataset,
                roi_size=self.roi_size,
                window=self.window,
            )
        log.info("every case in %s", self.output_dir)

    def _measure(self, item: Mapping[str, Any]) -> MeasuredCase:
        prediction, truth = item[CommonKeys.PRED], item[CommonKeys.LABEL]
        path = find_file(item.get(CommonKeys.IMAGE)) or find_file(truth)
        name = name_case(self.files.get(path, [path])) if path else f"case_{len(self.cases):04d}"
        given = {"prediction": prediction, "label": truth[: len(self.regions)]}
        masks = np.stack([self._check_mask(*each, name, truth) for each in given.items()])
        counted = masks
        if len(truth) > len(self.regions):  # what does not count is in no region
            counted = masks & ~(torch.as_tensor(truth[-1]).cpu().numpy() > 0)
        affine, spacing = np.eye(4), (1.0,) * (masks.ndim - 2)
        if isinstance(truth, MetaTensor):
            affine = truth.affine.cpu().numpy()
            spacing = tuple(truth.pixdim[: masks.ndim - 2].tolist())
        files = {"image": path, "label": find_file(truth)}
        row = {"case": name} | {key: abspath(file) if file else "" for key, file in files.items()}
        row |= case_metrics(*counted, self.regions, spacing)
        row |= item.get(QUALITY, {})
        if self.disc_and_cup:
            # Axis 1 is vertical in MONAI's order (W, H).
            predicted, true = (vertical_cdr(*mask[self.disc_and_cup], axis=1) for mask in counted)
            row |= {"vertical_cdr/prediction": predicted, "vertical_cdr/truth": true}
            row["vertical_cdr/absolute_error"] = vertical_cdr_error(predicted, true)
        return MeasuredCase(row, path, spacing, affine, masks.shape, pack_masks(masks))

    def _check_mask(
        self, what: str, mask: torch.Tensor, name: str, truth: torch.Tensor
    ) -> np.ndarray:
        """The mask as a boolean array, if it is binary and on the grid of the truth."""
        array = torch.as_tensor(mask).detach().cpu().numpy()
        expected = (len(self.regions), *truth.shape[1:])
        if array.shape != expected:
            raise ValueError(
                f"the {what} of {name} has shape {array.shape}, expected {expected}: one channel "
                f"per region {self.regions} on the label's grid; invert the preprocessing of the "
                "prediction"
            )
        if array.dtype != bool and not ((array == 0) | (array == 1)).all():
            raise ValueError(
                f"the {what} of {name} has values in [{array.min():.4g}, {array.max():.4g}], "
                "expected only 0 and 1: threshold it in the postprocessing"
            )
        return array.astype(bool)

    def _write_predictions(self, cases: list[MeasuredCase]) -> None:
        for case in cases:
            path = self.output_dir / "predictions" / case.row["case"]
            try:
                write_mask(path, case.unpack_masks()[0], self.tree, affine=case.affine)
            except (OSError, ValueError) as error:  # the numbers do not need it
                log.warning("the prediction of %s is not saved: %s", case.row["case"], error)
