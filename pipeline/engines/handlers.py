"""Handlers that MONAI lacks: clipped gradients, seeds, a last validation, a line an epoch."""

from __future__ import annotations

import logging
import math
import re
import sys
import time
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from monai.handlers import ValidationHandler

from ..bundle.trained import HISTORY, read_history
from ..errors import InputError
from ..files import write_rows

logger = logging.getLogger(__name__)


class ClipGradients:
    """Clip the norm of all gradients before each optimiser step.

    Args:
        max_norm: largest L2 norm; 0 turns clipping off.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        if self.max_norm:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)


class SeedTransforms:
    """Seed a dataset's random transforms anew in every epoch, from torch's generator.

    MONAI's transforms have their own generators, which no checkpoint holds, but torch's is saved
    and restored. So a resumed training draws what it would have drawn.

    Args:
        transform: the dataset's transform, a ``Compose``.
    """

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        self.transform.set_random_state(seed=int(torch.randint(2**31, ())))


class PeriodicValidation(ValidationHandler):
    """MONAI's ``ValidationHandler``, which always validates the last epoch too.

    So the end of a schedule is measured, and a short training has a best epoch. The random draws
    of the training do not depend on when it validates. Without a validation case it does nothing.

    Args:
        validator: the evaluator.
        interval: in epochs.
    """

    def __init__(self, *, validator: Engine, interval: int) -> None:
        super().__init__(interval=interval, validator=validator)

    def attach(self, engine: Engine) -> None:
        if not has_cases(self.validator):
            logger.info("no case is for validation: the last epoch gives the model")
            return

        def is_due(engine: Engine, epoch: int) -> bool:
            return epoch % self.interval == 0 or epoch == engine.state.max_epochs

        engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=is_due), self)

    def __call__(self, engine: Engine) -> None:
        with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed, used or not
            super().__call__(engine)


def has_cases(validator: Engine) -> bool:
    """Whether an evaluator has anything to measure; a training on all cases leaves it nothing."""
    return len(validator.data_loader) > 0


class EpochSummary:
    """Average the loss on the device, stop if it is not finite, and log one line an epoch.

    The line holds the epoch, the mean loss, the validation metrics when they are new, the best
    Dice so far, the epoch's time in s (with validation) and the time left. ``history.csv`` gets
    the same as a row; a resumed training goes on with the rows that it has. ``state.metrics``
    gets ``loss``, ``lr``, ``minutes`` (of all epochs so far) and ``peak_memory_mb`` (of the GPU,
    or else of the process). In the list of handlers it has to come after ``PeriodicValidation``
    and before those that log metrics.

    Args:
        output_dir: the folder of ``history.csv``; None for no file.
        validator: the evaluator whose ``state.metrics`` are shown.
    """

    def __init__(self, output_dir: str | None = None, validator: Engine | None = None) -> None:
        self.path = Path(output_dir) / HISTORY if output_dir is not None else None
        self.validator = validator

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.show)

    def begin(self, engine: Engine) -> None:
        self.first_epoch, self.begun = engine.state.epoch, time.monotonic()
        self.rows: list[dict[str, Any]] = []
        if engine.state.epoch and self.path is not None:
            rows = read_history(self.path.parent)
            self.rows = [row for row in rows if int(row["epoch"]) <= engine.state.epoch]

    def start(self, engine: Engine) -> None:
        self.total, self.count, self.started = torch.zeros(()), 0, time.monotonic()

    def add(self, engine: Engine) -> None:
        # Stays on the device: reading a value here would make every step wait for it.
        self.total = engine.state.output["loss"].detach() + self.total
        self.count += 1

    def show(self, engine: Engine) -> None:
        """Log the epoch.

        Raises:
            InputError: the mean loss is not finite.
        """
        state = engine.state
        loss = idist.all_reduce(float(self.total) / self.count) / idist.get_world_size()
        if not math.isfinite(loss):
            raise InputError(
                f"the loss of epoch {state.epoch} is {loss}; lower --lr, or try --amp False."
            )
        state.metrics["loss"] = loss
        state.metrics["lr"] = engine.optimizer.param_groups[0]["lr"]
        seconds = time.monotonic() - self.started
        earlier = sum(float(row["seconds"]) for row in self.rows)
        state.metrics["minutes"] = (earlier + seconds) / 60
        state.metrics["peak_memory_mb"] = peak_memory_mb()
        if (done := state.epoch - self.first_epoch) > 1:  # the first one also warms up
            each = (time.monotonic() - self.warm) / (done - 1)
        else:
            each, self.warm = time.monotonic() - self.begun, time.monotonic()
        left = each * (state.max_epochs - state.epoch)
        validated = {}
        if self.validator is not None and self.validator.state.epoch == state.epoch:
            validated = {**self.validator.state.metrics, "best": self.validator.state.best_metric}
        if idist.get_rank() > 0:
            return
        numbers = {"loss": loss, **validated}
        parts = [f"epoch {state.epoch}/{state.max_epochs}"]
        parts += [f"{name} {value:.4f}" for name, value in numbers.items()]
        logger.info("  ".join([*parts, f"{seconds:.1f} s", f"{left / 60:.1f} min left"]))
        row = {"epoch": state.epoch, "lr": state.metrics["lr"], "seconds": seconds, **numbers}
        self.rows.append(row)
        if self.path is not None:
            self.write_history()

    def write_history(self) -> None:
        """Write all rows; a column that comes later is added to the rows before."""
        try:
            write_rows(self.path, self.rows, alone=True)
        except OSError as error:
            raise InputError(
                f"{self.path}: it cannot be written ({error}); make room, and resume with "
                "--resume True."
            ) from error


def peak_memory_mb() -> float:
    """Read the peak memory so far in MB: of the GPU, or else of this process."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage counts the process that started this one too
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
