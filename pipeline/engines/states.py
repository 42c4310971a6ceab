"""The states of the parts of a training, and of its random generators."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.handlers import EMAHandler
from monai.handlers import EarlyStopHandler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


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
    elif isinstance(part, Optimizer):
        for group, own in zip(state["param_groups"], part.param_groups, strict=False):
            group["fused"] = own.get("fused")  # it may go on on another device
        part.load_state_dict(state)
    elif isinstance(part, LRScheduler):
        # Its length is that of this training, which may have more epochs.
        own = ("t_total", "warmup_steps")
        part.load_state_dict({k: v for k, v in state.items() if k not in own})
    else:
        part.load_state_dict(state)


def drop_parameters(state: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Take those out of an optimiser's state that the network had before, and has no more.

    Such as the biases before batch norms. Its own loading then takes care of them.

    Args:
        state: of the parts; that of ``optimizer`` is changed.
        parts: with ``network`` and ``optimizer``.
    """
    if not parts.keys() >= {"network", "optimizer"}:
        return
    (group, *others) = state["optimizer"]["param_groups"]
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    before = [name for name in state["network"] if not name.endswith(buffers)]
    own = {name for name, _ in parts["network"].named_parameters()}
    kept = [i for i, name in enumerate(before) if name in own]
    if not others and len(own) == len(kept) < len(before) == len(group["params"]):
        known = state["optimizer"]["state"]
        state["optimizer"]["state"] = {new: known[i] for new, i in enumerate(kept) if i in known}
        group["params"] = list(range(len(kept)))


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
