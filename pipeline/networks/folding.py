"""Batch norms and the convolutions before them: folded, or without the needless bias."""

from __future__ import annotations

import itertools
from collections.abc import MutableMapping
from copy import deepcopy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Copy a network with each batch norm folded into the convolution before it.

    The result is the same within rounding. The two must follow each other in one
    ``nn.Sequential``, as in ``AttentionUnet``. A network without such a pair, or a compiled or
    scripted one, is returned as it is. From a distributed network, the network inside is copied.
    The copy shares the forward hooks of the network.

    Args:
        network: in evaluation mode; it is not changed.
    """
    if isinstance(network, nn.parallel.DistributedDataParallel):
        network = network.module
    compiled = hasattr(network, "_orig_mod")
    if compiled or not any(_find_pairs(module) for module in network.modules()):
        return network
    # What observes the network observes the copy.
    hooks = (network._forward_pre_hooks, network._forward_hooks)
    network = deepcopy(network, {id(each): each for each in hooks})
    for module in network.modules():
        for i in _find_pairs(module):
            module[i] = fuse_conv_bn_eval(module[i], module[i + 1])
            module[i + 1] = nn.Identity()
    return network


def drop_biases(network: nn.Module) -> None:
    """Take the bias from each convolution before a batch norm, which subtracts it again."""
    for module in network.modules():
        for i in _find_pairs(module):
            module[i].bias = None


def take_biases(
    network: nn.Module, state: MutableMapping[str, torch.Tensor], prefix: str = ""
) -> None:
    """Move the biases that ``drop_biases`` took out of a state dictionary from before.

    They go into the means of the batch norms: the function is the same within rounding.

    Args:
        network: that is to take the state; one with these biases leaves it as it is.
        state: is changed.
        prefix: of the network's names in it.
    """
    for name, module in network.named_modules(prefix=prefix.removesuffix(".")):
        for i in _find_pairs(module):
            bias = state.pop(f"{name}.{i}.bias", None) if module[i].bias is None else None
            if bias is not None:
                mean = f"{name}.{i + 1}.running_mean"
                state[mean] = state[mean] - bias


def _find_pairs(module: nn.Module) -> list[int]:
    """Find where in a sequence a convolution comes before a batch norm."""
    if not isinstance(module, nn.Sequential):
        return []
    return [
        i
        for i, (first, second) in enumerate(itertools.pairwise(module))
        if isinstance(first, _CONVOLUTIONS) and isinstance(second, _BatchNorm)
    ]
