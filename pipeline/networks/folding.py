"""A network for evaluation alone, with less to compute."""

from __future__ import annotations

import itertools
from copy import deepcopy

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def folded(network: nn.Module) -> nn.Module:
    """A copy whose batch norms are part of the convolution before them; the same within rounding.

    A convolution followed by a batch norm in one ``nn.Sequential`` is folded, as in
    ``AttentionUnet``. A network without such a pair, a compiled or a scripted one is returned as
    it is; of one that is distributed, the copy is of the network inside. The network's
    own forward hooks are the copy's too.

    Args:
        network: in evaluation mode; it stays as it is.
    """
    if isinstance(network, nn.parallel.DistributedDataParallel):
        network = network.module
    compiled = hasattr(network, "_orig_mod")
    if compiled or not any(_pairs(module) for module in network.modules()):
        return network
    # Who watches the network watches the copy.
    hooks = (network._forward_pre_hooks, network._forward_hooks)
    network = deepcopy(network, {id(each): each for each in hooks})
    for module in network.modules():
        for i in _pairs(module):
            module[i] = fuse_conv_bn_eval(module[i], module[i + 1])
            module[i + 1] = nn.Identity()
    return network


def _pairs(module: nn.Module) -> list[int]:
    """Where in a sequence a convolution stands before a batch norm."""
    if not isinstance(module, nn.Sequential):
        return []
    return [
        i
        for i, (first, second) in enumerate(itertools.pairwise(module))
        if isinstance(first, _CONVOLUTIONS) and isinstance(second, _BatchNorm)
    ]
