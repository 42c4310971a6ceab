"""The handler that measures what an evaluation's network costs."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys

from ..networks.cost import network_cost

log = logging.getLogger(__name__)


class Footprint:
    """Put ``seconds_per_image``, ``model/parameters`` and ``model/gflops`` into the metrics.

    The time is that of the network's forward passes on one image, from the input on the device
    to the finished output, so it waits for a GPU; all windows of a sliding window count, what is
    done before and after the network does not. It is the median over the batches but the first,
    which warms up; an evaluation of a single batch has none. Operations are counted for one
    image (or window) of the size that the network receives, see
    :func:`pipeline.engines.cost.network_cost`.

    Args:
        network: the one that the evaluator runs.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network
        self.hooks: list[Any] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator; stands before the handlers that log metrics."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.end)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def start(self) -> None:
        self.remove_hooks()  # of an evaluation that broke off
        self.seconds: list[float] = []
        self.shape: tuple[int, ...] | None = None
        self.hooks = [
            self.network.register_forward_pre_hook(self.before),
            self.network.register_forward_hook(self.after),
        ]

    def begin(self, engine: Engine) -> None:
        self.spent, self.images = 0.0, len(engine.state.batch[CommonKeys.IMAGE])

    def before(self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.shape = (1, *inputs[0].shape[1:])
        wait_for(inputs[0].device)
        self.started = time.perf_counter()

    def after(self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _: Any) -> None:
        wait_for(inputs[0].device)
        self.spent += time.perf_counter() - self.started

    def end(self) -> None:
        self.seconds.append(self.spent / self.images)

    def finish(self, engine: Engine) -> None:
        self.remove_hooks()
        if self.shape is None:
            return
        metrics = network_cost(self.network, self.shape)
        if len(self.seconds) > 1:
            timed = sorted(self.seconds[1:])
            metrics["seconds_per_image"] = timed[len(timed) // 2]
        engine.state.metrics.update(metrics)
        log.info("network: %s", ", ".join(f"{key} {value:.6g}" for key, value in metrics.items()))

    def remove_hooks(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []


def wait_for(device: torch.device) -> None:
    """Let the device finish what it was given: a GPU computes while Python goes on."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
