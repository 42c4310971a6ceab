"""Write a training's weights and state to disk, and resume it from them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch.nn.parallel import DistributedDataParallel

from ..bundle.as_trained import find_difference, shorten
from ..bundle.trained import BEST, CHECKPOINT, CONFIG, FINAL, record_of
from ..errors import InputError, one_line
from ..files import read_json
from ..networks.weights import pack_weights
from .states import drop_parameters, gather, get_generators, get_state, load_state, set_generators
from .writer import Writer

logger = logging.getLogger(__name__)


class Checkpoints:
    """Ignite handler that writes a training's files, and resumes it from them.

    ``model.pt`` holds the weights of the epoch with the best key metric, ``model_final.pt`` those
    of the last epoch; without a validation that measured something both hold the latter.
    Both also hold the settings that decide the model, from the ``config.json`` that ``MlflowRun``
    writes into the folder at the start. ``checkpoint.pt``, written after every epoch, holds all
    that it takes to go on as if nothing had happened: the states of the parts, the random
    generators, the best metric and the epoch. A thread writes the files while the training goes on,
    and those of the first and of the last epoch at once. A kill at any moment leaves the last good
    files. In a distributed training the first process writes, and every process goes on with its
    own random generators. This handler has to be the last in the list.

    Args:
        output_dir: folder of these files.
        model: the network whose weights are ``model.pt``.
        state: all parts that have a state, by name: networks, optimiser, schedule, an EMA handler,
            MONAI's early-stop handler.
        validator: the evaluator whose key metric decides which epoch is best.
        same: settings that a resumed training cannot change, by name.
        resume: go on from ``checkpoint.pt`` in ``output_dir``; without one, begin at the start.

    Raises:
        InputError: the checkpoint does not fit the training.
    """

    def __init__(
        self,
        *,
        output_dir: str,
        model: torch.nn.Module,
        state: Mapping[str, Any],
        validator: Engine,
        same: Mapping[str, Any] | None = None,
        resume: bool = False,
    ) -> None:
        self.folder = Path(output_dir)
        self.model = model
        self.parts = dict(state)
        self.validator = validator
        self.same = dict(same or {})
        self.resume = resume
        self.checkpoint: dict[str, Any] | None = None
        self.writer = Writer()

    def attach(self, engine: Engine) -> None:
        path = self.folder / CHECKPOINT
        if self.resume and path.exists():
            # Ignite needs the epoch before it starts; the parts may be made later.
            self.checkpoint = self.load(path, engine.state.max_epochs)
            engine.state.epoch = self.checkpoint["epoch"]
            engine.state.iteration = self.checkpoint["epoch"] * engine.state.epoch_length
            engine.add_event_handler(Events.STARTED, self.restore)
        elif self.resume:
            logger.info(
                f"{self.folder / CHECKPOINT} does not exist: the training begins at the start"
            )
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.TERMINATE, self.save_final)  # stopped early
        engine.add_event_handler(Events.COMPLETED, self.say_where)

    def load(self, path: Path, max_epochs: int) -> dict[str, Any]:
        """Read the checkpoint and check it against the training."""
        checkpoint = read_checkpoint(path, self.same)
        epoch = checkpoint["epoch"]
        early, patience = checkpoint["state"].get("early_stop"), self.parts.get("early_stop")
        if checkpoint.get("stopped") and early and early["counter"] >= patience.patience:
            raise InputError(
                f"{path}: this training stopped after {epoch} epochs, because {early['counter']} "
                "validations were not better; give a larger --patience to continue."
            )
        if epoch >= max_epochs:
            raise InputError(
                f"{path}: this training has run all its {epoch} epochs; give a larger --epochs to "
                "continue."
            )
        return checkpoint

    def restore(self, engine: Engine) -> None:
        checkpoint, name = self.checkpoint, "optimizer"
        try:
            drop_parameters(checkpoint["state"], self.parts)
            for name, part in self.parts.items():
                load_state(part, checkpoint["state"][name])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = one_line(error)
            raise InputError(
                f"{self.folder / CHECKPOINT}: its {name} does not fit this training ({reason}); "
                "give the overlays and options that the training began with."
            ) from error
        self.validator.state.best_metric = checkpoint["best_metric"]
        self.validator.state.best_metric_epoch = checkpoint["best_metric_epoch"]
        generators = checkpoint["generators"]
        if len(generators) == idist.get_world_size():
            set_generators(generators[idist.get_rank()])
        else:
            logger.warning("resumed with another number of processes: the random draws will differ")
        logger.info(f"resumed after epoch {checkpoint['epoch']} of {engine.state.max_epochs}")

    def save(self, engine: Engine) -> None:
        state, validated = engine.state, self.validator.state
        generators = gather(get_generators())
        if idist.get_rank() > 0:
            return
        ending = state.epoch == state.max_epochs or engine.should_terminate
        names = set(self.final_names() if ending else ())
        if validated.epoch == state.epoch == validated.best_metric_epoch and self.is_measured():
            names.add(BEST)
        checkpoint = {
            "epoch": state.epoch,
            "state": {name: get_state(part) for name, part in self.parts.items()},
            "best_metric": float(validated.best_metric),
            "best_metric_epoch": int(validated.best_metric_epoch),
            "stopped": bool(engine.should_terminate),  # by MONAI's early-stop handler
            "generators": generators,
            "same": self.same,
        }
        contents = {**dict.fromkeys(sorted(names), self.content()), CHECKPOINT: checkpoint}
        # A training that is killed while it has a model and no checkpoint has to start again.
        self.write(contents, wait=ending or not (self.folder / CHECKPOINT).exists())

    def save_final(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            self.write(dict.fromkeys(self.final_names(), self.content()), wait=True)

    def say_where(self) -> None:
        if idist.get_rank() == 0:
            logger.info(f"weights and history in {self.folder}")

    def final_names(self) -> list[str]:
        return [FINAL] if self.is_measured() else [BEST, FINAL]

    def write(self, contents: Mapping[str, Any], *, wait: bool) -> None:
        self.writer.write({self.folder / name: each for name, each in contents.items()}, wait=wait)

    def is_measured(self) -> bool:
        """Whether an epoch is the best; the metric is nan if no validation label holds a region."""
        state = self.validator.state
        return state.best_metric_epoch > 0 and math.isfinite(state.best_metric)

    def content(self) -> dict[str, Any]:
        """The weights and the settings that decide the model."""
        model, config = self.model, self.folder / CONFIG
        model = model.module if isinstance(model, DistributedDataParallel) else model
        record = record_of(read_json(config)) if config.is_file() else {}
        return pack_weights(model.state_dict(), record)


def check_resume(output_dir: str, *, same: Mapping[str, Any], resume: bool) -> None:
    """Refuse to resume with other settings, before the images are read; see `Checkpoints`."""
    path = Path(output_dir) / CHECKPOINT
    if resume and path.exists():
        read_checkpoint(path, same)


def read_checkpoint(path: Path, same: Mapping[str, Any]) -> dict[str, Any]:
    """Read the checkpoint of a training that goes on.

    Args:
        path: the file.
        same: settings that it must have been written with, by name.

    Raises:
        InputError: it is broken, or was written with another setting.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        earlier, _ = checkpoint["same"], checkpoint["epoch"]
    except Exception as error:  # a torn file may hold anything
        reason = one_line(error)
        raise InputError(
            f"{path}: it is not a training's checkpoint, or it is broken ({reason}); start "
            f"another training with --pretrained {BEST}."
        ) from None
    for name, value in same.items():
        if found := find_difference(value, earlier.get(name, value), name):
            place, now, before = found
            raise InputError(
                f"{place} is {shorten(now)}, but {path} was written with {shorten(before)}: "
                f"give that --{place}, or start another training with --pretrained."
            )
    return checkpoint
