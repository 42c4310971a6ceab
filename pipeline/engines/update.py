"""Replace the weights that a training started from, if the new ones are better."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from ..bundle.trained import BEST, FINAL
from ..files import replacing

logger = logging.getLogger(__name__)


class UpdateModel:
    """Ignite handler that ends a training by replacing the weights that a server serves.

    Before the first epoch the validator scores the weights that the training starts from. Only a
    better epoch counts as the best from then on. So ``path`` gets weights that do better on the
    validation cases, or stays as it is. Without a validation case it gets the weights of the last
    epoch. A reader finds the old file or the new one. This handler has to be the last in the list.

    Args:
        path: file of the weights, which the network has already loaded.
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
            logger.info(f"{self.path} scores {state.best_metric:.4f} before the training")

    def replace(self, engine: Engine) -> None:
        state = self.validator.state
        if idist.get_rank() > 0:
            return
        if state.metrics and not state.best_metric_epoch:
            logger.info(f"{self.path} stays: no epoch scored more than its {state.best_metric:.4f}")
            return
        new = self.folder / (BEST if state.metrics else FINAL)
        with replacing(self.path, alone=True) as temporary:
            shutil.copyfile(new, temporary)
        best = f"epoch {state.best_metric_epoch}, which scores {state.best_metric:.4f}"
        logger.info(f"{self.path} now holds the weights of {best if state.metrics else 'the end'}")
