"""The postprocessing of an evaluation, and how one chooses it for a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.transforms import Compose
from monai.utils.enums import CommonKeys

from ..bundle.running import changed_ids, overrides
from ..bundle.trained import CHOSEN, chosen_postprocessing
from ..errors import InputError
from ..files import sha256, write_json
from ..transforms.largest import KeepPartsd
from ..transforms.mark import MarkRegionsd
from ..transforms.quality import QualityFeaturesd
from ..transforms.restore_grid import RestoreGridd
from .cases import find_file, pack_masks, unpack_masks
from .metrics import MaskPair, dice

log = logging.getLogger(__name__)
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
_TRIED = "tried_masks"
Settings = dict[str, Any]  # the ids threshold and components


@dataclass
class TriedCase:
    """A case with its packed masks at every threshold, before parts are chosen."""

    file: str
    shape: tuple[int, ...]  # (R, *spatial)
    truth: bytes
    counts: bytes  # (1, *spatial), where a voxel is not ignored
    held: list[bool]  # whether the label holds each region
    masks: dict[float, bytes]


class ChosenPostprocessing:
    """Apply a postprocessing with the threshold and the parts that were chosen for a checkpoint.

    These stand beside the checkpoint in ``postprocessing.json``. What the command line sets counts
    more, and so does a value that an overlay changes from that of ``evaluate.json``.

    As a handler it chooses them, if asked to: it measures the mean Dice of every case with several
    thresholds, and with the largest part of each region alone or with all parts, one region after
    the other. It changes a setting only where that is better by more than the standard error of
    the paired differences, in more cases than it is worse in. A region that no label holds has no
    part in this. The evaluation itself, its table and its masks, keep the settings that it started
    with.

    Args:
        steps: with a ``RestoreGridd`` or ``MarkRegionsd`` and then a ``KeepPartsd`` for ``pred``.
        ckpt_path: the checkpoint.
        section: of the cases.
        output_dir: of the evaluation, which gets the trials as ``postprocessing.json`` too.
        choose: whether to choose.

    Attributes:
        settings: threshold and components in use; ``tags`` has them for MLflow.

    Raises:
        InputError: ``choose`` is set for another section than validation, or again; or ``steps``
            has no place for what is, or was, chosen.
    """

    def __init__(
        self,
        steps: Compose,
        *,
        ckpt_path: str,
        section: str,
        output_dir: str,
        choose: bool = False,
    ) -> None:
        self.steps, self.choose = steps.transforms, choose
        self.weights, self.output_dir = Path(ckpt_path), Path(output_dir)
        marks, keeps = (
            [step for step in self.steps if isinstance(step, kind)]
            for kind in ((RestoreGridd, MarkRegionsd), KeepPartsd)
        )
        if choose:
            self._check(section)
        given = overrides().keys() | changed_ids("evaluate.json")
        chosen = {} if choose else chosen_postprocessing(ckpt_path)
        chosen = {name: value for name, value in chosen.items() if name not in given}
        if (choose or chosen) and not (marks and keeps):
            raise InputError(
                f"choose: the postprocessing has no place for the settings in {CHOSEN}; give it a "
                "RestoreGridd or MarkRegionsd and a KeepPartsd, or move the file away."
            )
        if chosen:
            note = " These cases had a part in that choice." if section == "validation" else ""
            log.info("postprocessing as chosen for this checkpoint: %s.%s", chosen, note)
        self.settings: Settings = {}
        for name, own in {"threshold": marks, "components": keeps}.items():
            for step in own:
                setattr(step, name, chosen.get(name, getattr(step, name)))
                self.settings[name] = getattr(step, name)
        for step in self.steps:
            if isinstance(step, QualityFeaturesd) and keeps:
                step.components = self.settings["components"]
        self.tags = {"pipeline.postprocessing": str(self.settings)}
        self.mark, self.keep = (next(iter(own), None) for own in (marks, keeps))
        self.cases: list[TriedCase] = []
        self.choice: dict[str, Any] | None = None

    def _check(self, section: str) -> None:
        path = self.weights.with_name(CHOSEN)
        if section != "validation":
            raise InputError(f"choose: the section is {section}; give --section validation.")
        if path.exists():
            raise InputError(f"choose: {path} is there already; move it away to choose again.")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Apply the steps to one case."""
        out, tried = dict(data), {}
        for step in self.steps:
            if self.choose and step is self.mark:
                for threshold in {*THRESHOLDS, self.settings["threshold"]}:
                    other = copy(step)
                    other.threshold = threshold
                    tried[threshold] = _pack(other(out)[CommonKeys.PRED])
            out = step(out)
        return out | {_TRIED: tried} if tried else out

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator, before handlers that log metrics."""
        if self.choose:
            engine.add_event_handler(Events.STARTED, lambda: self.cases.clear())
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)
            # An evaluation that is cut off before its report can then be started again.
            engine.add_event_handler(Events.COMPLETED, self.keep_choice)

    def add(self, engine: Engine) -> None:
        """Keep the masks of one batch."""
        for item in engine.state.output:
            truth = item[CommonKeys.LABEL]
            count = len(self.keep.regions)
            ignored = truth[count:].sum(dim=0, keepdim=True) > 0
            file = find_file(truth) or str(len(self.cases))
            shape = (count, *truth.shape[1:])
            packed = _pack(truth[:count]), _pack(~ignored)
            held = ((truth[:count] > 0) & ~ignored).flatten(1).any(dim=1).tolist()
            self.cases.append(TriedCase(file, shape, *packed, held, item[_TRIED]))

    def finish(self, engine: Engine) -> None:
        """Choose, and write the trials into the evaluation's folder."""
        cases = self.cases
        if idist.get_world_size() > 1:
            every = [case for part in idist.all_gather(cases) for case in part]
            cases = list({case.file: case for case in every}.values())
        if not any(any(case.held) for case in cases):
            log.warning("nothing is chosen: no label of these %d cases holds a region", len(cases))
            return
        trials, best = choose_settings(cases, self.settings, self.keep)
        before, after = (float(np.mean(trials[n][1])) for n in (0, best))
        engine.state.metrics |= {"choose/dice_before": before, "choose/dice_after": after}
        if idist.get_rank() > 0:
            return
        record = {
            **trials[best][0],
            "chosen_on": {"section": "validation", "cases": len(cases)},
            "dice_before": before,
            "dice_after": after,
            "checkpoint_sha256": sha256(self.weights),
        }
        tried = [settings | {"dice": float(np.mean(each))} for settings, each in trials]
        write_json(self.output_dir / CHOSEN, record | {"tried": tried})
        self.choice = record if best else None
        if not best:
            log.info("no other threshold or components are clearly better than %s", self.settings)
            return
        log.info(
            "chosen: %s; mean Dice %.4f, and %.4f before, on these %d cases. A number on the cases "
            "that chose it is optimistic: evaluate others, such as --section testing.",
            *(trials[best][0], after, before, len(cases)),
        )

    def keep_choice(self) -> None:
        """Write the choice beside the checkpoint, if something is better than before."""
        if self.choice:
            write_json(self.weights.with_name(CHOSEN), self.choice)


def choose_settings(
    cases: list[TriedCase], settings: Settings, keep: KeepPartsd
) -> tuple[list[tuple[Settings, np.ndarray]], int]:
    """Try settings, first thresholds and then the parts of each region.

    Returns:
        each setting that was tried with the mean Dice of each case, the first as it was before, and
        the place of the best.
    """
    trials = [(settings, measure(cases, settings, keep))]
    best = 0

    def attempt(changed: Settings) -> None:
        nonlocal best
        trials.append((changed, measure(cases, changed, keep)))
        if is_better(trials[-1][1], trials[0][1]) and is_better(trials[-1][1], trials[best][1]):
            best = len(trials) - 1

    for threshold in sorted({*cases[0].masks} - {settings["threshold"]}):
        attempt(settings | {"threshold": threshold})
    for name in keep.regions.names:
        now = trials[best][0]
        kept = dict(now["components"])
        if kept.pop(name, None) is None:
            kept[name] = 1
        attempt(now | {"components": kept})
    return trials, best


def is_better(values: np.ndarray, before: np.ndarray) -> bool:
    """Whether paired values are higher by more than the standard error, and mostly higher."""
    gain = values - before
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    return bool(gain.mean() > error and (gain > 0).sum() > (gain < 0).sum())


def measure(cases: list[TriedCase], settings: Settings, keep: KeepPartsd) -> np.ndarray:
    """The Dice of each case, its mean over the regions that some label holds."""
    keep = copy(keep)
    keep.components = settings["components"]
    held = np.any([case.held for case in cases], axis=0)
    means = []
    for case in cases:
        masks = unpack_masks(case.masks[settings["threshold"]], case.shape)
        kept = keep({CommonKeys.PRED: torch.from_numpy(masks.astype(np.uint8))})[CommonKeys.PRED]
        counts = unpack_masks(case.counts, (1, *case.shape[1:]))
        truth = unpack_masks(case.truth, case.shape) & counts
        pairs = zip((kept.numpy() & counts)[held], truth[held], strict=True)
        means.append(np.mean([dice(MaskPair(*pair)) for pair in pairs]))
    return np.array(means)


def _pack(masks: torch.Tensor) -> bytes:
    return pack_masks((torch.as_tensor(masks) > 0).cpu().numpy())
