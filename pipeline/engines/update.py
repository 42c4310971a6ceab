"""A retrained network in the place of the weights it started from, if it is better."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from .checkpoints import BEST, FINAL

logger = logging.getLogger(__name__)


class UpdateModel:
    """Ignite handler that ends a training by replacing the weights that a server serves.

    Before the first epoch the validator scores the weights that the training starts from. Only an
    epoch with a better key metric counts as the best from then on, so that ``path`` gets weights
    that do better on the validation cases, or stays as it is. Without a validation case it gets
    those of the last epoch. It is replaced in one step: a reader finds the old file or the new one.

    Stands last in the list of handlers.

    Args:
        path: the weights, which the network has already loaded.
        output_dir: where ``Checkpoints`` writes ``model.pt`` and ``model_final.pt``.
        validator: the evaluator that the training validates with.
    """

    def __init__(self, *, path: str, output_dir: str, validator: Engine) -> None:
        self.path = Path(path)
        self.folder = Path(output_dir)
        self.validator = validator

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.score_first)
        engine.add_event_handler(Events.COMPLETED, self.replace)

    def score_first(self, engine: Engine) -> None:
        state = self.validator.state
        if engine.state.epoch:  # resumed
            return
        self.validator.run()
        state.epoch = state.best_metric_epoch = 0
        if state.metrics:
            logger.info(f"{self.path} has the score {state.best_metric:.4f} before the training")

    def replace(self, engine: Engine) -> None:
        state = self.validator.state
        if idist.get_rank() > 0:
            return
        if state.metrics and not state.best_metric_epoch:
            logger.info(f"{self.path} stays: no epoch did better than its {state.best_metric:.4f}")
            return
        new = self.folder / (BEST if state.metrics else FINAL)
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            shutil.copyfile(new, temporary)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
        score = f"of epoch {state.best_metric_epoch}, score {state.best_metric:.4f}"
        logger.info(f"{self.path} now holds the weights {score if state.metrics else 'at the end'}")
