"""Less memory for a training step: activations that are cheap to compute are computed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..errors import InputError


def recompute_activations(network: nn.Module) -> None:
    """Let the training steps of a network keep the outputs of its convolutions, not their inputs.

    Those are computed again from the outputs before: pooling, upsampling and concatenating, and
    the first batch norm and ReLU of each block. No convolution is computed twice, and gradients
    and statistics stay the same bit by bit.

    Raises:
        InputError: the network cannot do that.
    """
    if not hasattr(network, "recompute"):
        raise InputError(
            f"recompute is True: {type(network).__name__} cannot do that; give False, or use "
            "AttentionUnet (--recompute)."
        )
    network.recompute = True


def apply_block(
    block: nn.Sequential, prepare: Callable[..., torch.Tensor], *inputs: torch.Tensor
) -> torch.Tensor:
    """Apply a block of conv-BN-ReLU twice to ``prepare(*inputs)``, and keep less.

    The inputs of its two convolutions are not kept. A recomputation ends where a convolution has
    saved its input, before it computes.
    """
    first, norm, relu, second, *rest = block
    again = {"use_reentrant": False, "preserve_rng_state": False}  # nothing is drawn
    x = checkpoint(lambda *parts: first(prepare(*parts)), *inputs, **again)
    x = checkpoint(
        lambda x: second(relu(norm(x))),
        x,
        context_fn=lambda: (nullcontext(), _keep_statistics(norm)),
        **again,
    )
    return nn.Sequential(*rest)(x)


@contextmanager
def _keep_statistics(norm: _BatchNorm) -> Iterator[None]:
    """Let a batch norm count a batch once, not again when it is computed again."""
    momentum, count = norm.momentum, norm.num_batches_tracked
    norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        norm.momentum, norm.num_batches_tracked = momentum, count
