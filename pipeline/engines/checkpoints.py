"""Write a training's weights and state to disk, and resume it from them."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.handlers import EarlyStopHandler
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler

from ..bundle.as_trained import find_difference, shorten
from ..bundle.trained import BEST, CHECKPOINT, CONFIG, FINAL, record_of
from ..errors import InputError, one_line
from ..files import read_json, replacing
from ..networks.weights import pack_weights

logger = logging.getLogger(__name__)


class Checkpoints:
    """Ignite handler that writes a training's files, and resumes it from them.

    ``model.pt`` holds the weights of the epoch with the best key metric, ``model_final.pt`` those
    of the last epoch; without a validation that measured something both hold the latter.
    Both also hold the settings that decide the model, from the ``config.json`` that ``MlflowRun``
    writes into the folder at the start. ``checkpoint.pt``, written after every epoch, holds all
    that it takes to go on as if nothing had happened: the states of the parts, the random
    generators, the best metric and the epoch. A kill at any moment leaves the last good files. In a
    distributed training the first process writes, and every process goes on with its own random
    generators. This handler has to be the last in the list.

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

    def load(self, path: Path, max_epochs: int) -> dict[str, Any]:
        """Read the checkpoint and check it against the training."""
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            same, epoch = checkpoint["same"], checkpoint["epoch"]
        except Exception as error:  # a torn file may hold anything
            reason = one_line(error)
            raise InputError(
                f"{path}: it is not a training's checkpoint, or it is broken ({reason}); start "
                f"another training with --pretrained {BEST}."
            ) from None
        for name, value in self.same.items():
            if found := find_difference(value, same.get(name, value), name):
                place, now, before = found
                raise InputError(
                    f"{place} is {shorten(now)}, but {path} was written with {shorten(before)}: "
                    f"give that --{place}, or start another training with --pretrained."
                )
        early, patience = checkpoint["state"].get("early_stop"), self.parts.get("early_stop")
        if checkpoint.get("stopped") and early and early["counter"] >= patience.patience:
            raise InputError(
                f"{path}: this training stopped after {epoch} epochs, since {early['counter']} "
                "validations were not better; give a larger --patience to train on."
            )
        if epoch >= max_epochs:
            raise InputError(
                f"{path}: this training has run all its {epoch} epochs; give a larger --epochs to "
                "train on."
            )
        return checkpoint

    def restore(self, engine: Engine) -> None:
        checkpoint = self.checkpoint
        try:
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
        if validated.epoch == state.epoch == validated.best_metric_epoch and self.is_measured():
            write_checkpoint(self.folder / BEST, self.content())
        if state.epoch == state.max_epochs or engine.should_terminate:
            self.save_final(engine)
        checkpoint = {
            "epoch": state.epoch,
            "state": {name: get_state(part) for name, part in self.parts.items()},
            "best_metric": float(validated.best_metric),
            "best_metric_epoch": int(validated.best_metric_epoch),
            "stopped": bool(engine.should_terminate),  # by MONAI's early-stop handler
            "generators": generators,
            "same": self.same,
        }
        write_checkpoint(self.folder / CHECKPOINT, checkpoint)

    def save_final(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            for name in [FINAL] if self.is_measured() else [BEST, FINAL]:
                write_checkpoint(self.folder / name, self.content())
            logger.info(f"weights and history in {self.folder}")

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


def write_checkpoint(path: Path, content: Any) -> None:
    """``torch.save``, by which ``path`` is the old file or the new one at any moment.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with replacing(path, sync=True, alone=True) as temporary, temporary.open("wb") as file:
            torch.save(content, file)  # a path would hide the cause of a failed write
    except (OSError, RuntimeError) as error:  # torch raises this on a full disk
        raise InputError(
            f"{path}: it cannot be written ({one_line(error)}); make room, and go on with "
            "--resume True."
        ) from error


def get_state(part: Any) -> Any:
    """Get the state of a part of the training; that of EMA says how far its warm-up is."""
    if isinstance(part, EMAHandler):
        schedule = getattr(part, "momentum_scheduler", None)  # exists once it is attached
        return {
            "model": part.ema_model.state_dict(),
            "iterations": schedule.event_index if schedule else 0,
        }
    if isinstance(part, EarlyStopHandler):
        return part._handler.state_dict()
    return part.state_dict()


def load_state(part: Any, state: Any) -> None:
    """Reverse ``get_state``."""
    if isinstance(part, EMAHandler):
        part.ema_model.load_state_dict(state["model"])
        if state["iterations"]:
            part.momentum_scheduler.event_index = state["iterations"]
    elif isinstance(part, EarlyStopHandler):
        part._handler.load_state_dict(state)
    elif isinstance(part, LRScheduler):
        # Its length is that of this training, which may have more epochs.
        own = ("t_total", "warmup_steps")
        part.load_state_dict({k: v for k, v in state.items() if k not in own})
    else:
        part.load_state_dict(state)


def get_generators() -> dict[str, Any]:
    """Get the states of this process's random generators."""
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def set_generators(states: Mapping[str, Any]) -> None:
    """Reverse ``get_generators``."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def gather(value: Any) -> list[Any]:
    """Collect a value from every process, in the order of their ranks."""
    values = [value] * idist.get_world_size()
    if idist.get_world_size() > 1:
        torch.distributed.all_gather_object(values, value)
    return values
