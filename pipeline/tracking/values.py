"""Metrics, names and times as MLflow takes them."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any


def find_last_steps(events: list[dict[str, Any]]) -> dict[str, int]:
    """Find the last step of every metric in a journal."""
    last: dict[str, int] = {}
    for event in events:
        for name, _, _, step in event.get("metrics", []):
            last[name] = max(step, last.get(name, -1))
    return last


def now() -> int:
    """Give the time as MLflow counts it: ms since 1970."""
    return int(time.time() * 1000)


def clean_name(name: str) -> str:
    """Make a name that MLflow takes, at most 250 characters long."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:250]


def keep_finite(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Keep the entries that are one finite number, as MLflow takes them."""
    for name, value in values.items():
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):  # a vector, a table, a text
            continue
        if math.isfinite(number):
            yield clean_name(name), number


class StepLosses:
    """Losses and learning rates of single steps, which are read from the device together."""

    def __init__(self) -> None:
        self._steps: list[tuple[Any, float, int, int]] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, engine: Any) -> None:
        """Note the step that a trainer has just done."""
        lr = engine.optimizer.param_groups[0]["lr"]
        loss = engine.state.output["loss"].detach()
        self._steps.append((loss, lr, engine.state.iteration, now()))

    def take(self) -> list[list[Any]]:
        """Remove all steps, and return them as metrics: name, value, time in ms and step."""
        import torch

        steps, self._steps = self._steps, []
        losses = torch.stack([loss for loss, *_ in steps]).tolist() if steps else []
        return [
            [name, value, when, step]
            for loss, (_, lr, step, when) in zip(losses, steps, strict=True)
            for name, value in keep_finite({"train/step_loss": loss, "train/step_lr": lr})
        ]
