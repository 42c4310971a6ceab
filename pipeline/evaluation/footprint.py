"""The handler that measures the time and size of an evaluation's network."""

from __future__ import annotations

import logging
import time
from statistics import median_high
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys

from ..networks.cost import network_cost

log = logging.getLogger(__name__)


class Footprint:
    """Put ``seconds_per_image``, ``model/parameters`` and ``model/gflops`` into the metrics.

    The time covers the network's forward passes on one image, with all windows of a sliding
    window, from the input on the device to the finished output. It therefore waits for a GPU.
    Pre- and postprocessing do not count. The result is the median over all batches but the first,
    which warms up; an evaluation of a single batch has no time. Operations are counted for one
    image (or window) of the size that the network receives, see
    :func:`pipeline.networks.cost.network_cost`.

    Args:
        network: the one that the evaluator runs.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network
        self.hooks: list[Any] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator; attach before the handlers that log metrics."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_STARTED, self.start_batch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.end_batch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def start(self) -> None:
        self.remove_hooks()  # of an interrupted evaluation
        self.seconds: list[float] = []
        self.shape: tuple[int, ...] | None = None
        self.hooks = [
            self.network.register_forward_pre_hook(self.start_clock),
            self.network.register_forward_hook(self.stop_clock),
        ]

    def start_batch(self, engine: Engine) -> None:
        self.spent, self.images = 0.0, len(engine.state.batch[CommonKeys.IMAGE])

    def start_clock(self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.shape = (1, *inputs[0].shape[1:])
        wait_for(inputs[0].device)
        self.started = time.perf_counter()

    def stop_clock(self, network: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _) -> None:
        wait_for(inputs[0].device)
        self.spent += time.perf_counter() - self.started

    def end_batch(self) -> None:
        self.seconds.append(self.spent / self.images)

    def finish(self, engine: Engine) -> None:
        self.remove_hooks()
        if self.shape is None:
            return
        metrics = network_cost(self.network, self.shape)
        if len(self.seconds) > 1:
            metrics["seconds_per_image"] = median_high(self.seconds[1:])
        engine.state.metrics.update(metrics)
        numbers = {key: f"{value:,.3f}".rstrip("0").rstrip(".") for key, value in metrics.items()}
        words = (f"{number} {key.split('/')[-1]}" for key, number in numbers.items())
        log.info("network: %s", ", ".join(words).replace("_", " "))

    def remove_hooks(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished: a GPU computes while Python goes on."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
