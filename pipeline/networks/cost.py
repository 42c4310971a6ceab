"""Count what a network costs, without running it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.utils import eval_mode


def network_cost(network: torch.nn.Module, input_shape: Sequence[int]) -> dict[str, float]:
    """Count the parameters, and the floating point operations of one forward pass.

    The pass runs on PyTorch's meta device, which has shapes but no values: it takes no time and
    no memory, and does not change the network. A multiplication and an addition are two
    operations. PyTorch counts convolutions, matrix products and attention, which are nearly all
    of a U-Net, but not normalisation, activation and interpolation.

    Args:
        network: on any device; parallel and compiling wrappers are removed.
        input_shape: of the image, ``(B, C, *spatial)``.

    Returns:
        ``{"model/parameters", "model/gflops"}``, the latter in 1e9 operations, and left out
        where the pass depends on values, which the meta device does not have.
    """
    from torch.utils.flop_counter import FlopCounterMode

    for wrapper in ("module", "_orig_mod"):  # DistributedDataParallel, torch.compile
        network = getattr(network, wrapper, network)
    cost = {"model/parameters": float(sum(each.numel() for each in network.parameters()))}
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(each, device="meta") for name, each in tensors.items()}
    image = torch.empty(tuple(input_shape), device="meta")
    try:
        with eval_mode(network), FlopCounterMode(display=False) as counter:
            torch.func.functional_call(network, shapes, (image,))
    except (RuntimeError, NotImplementedError):
        return cost
    return cost | {"model/gflops": counter.get_total_flops() / 1e9}
