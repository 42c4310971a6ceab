"""Load a network's weights from a file: all of them, or those that fit."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import InputError, one_line


def load_weights(network: torch.nn.Module, path: str | Path, *, option: str, fix: str) -> None:
    """Load a state dictionary into ``network``: every weight, and no other.

    Args:
        network: on any device.
        path: file that ``torch.save`` wrote; only tensors are loaded, and no code runs.
        option: that the user gave the file with, for the error.
        fix: what the user can do if the weights do not fit, for the error.

    Raises:
        InputError: the file holds anything else.
    """
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises about anything on a broken file
        reason = one_line(error)
        raise InputError(
            f"{option} {path}: it does not fit the network; {fix} ({reason})."
        ) from None


def load_fitting_weights(
    network: torch.nn.Module, path: str | Path, *, option: str, fix: str
) -> str:
    """Load those tensors of a state dictionary that have the shape of the network's own.

    The others start anew, such as a head for other regions. The first convolution also takes a
    kernel for another number of input channels: its mean over the channels, with the same sum.

    Args:
        network, path, option, fix: see `load_weights`.

    Returns:
        what was not loaded as it is; empty if everything was.

    Raises:
        InputError: the file is not a state dictionary, or no kernel in it fits.
    """
    own = network.state_dict()
    try:
        state = dict(torch.load(path, map_location="cpu", weights_only=True))
        shapes = {name: tensor.shape for name, tensor in state.items()}
    except Exception as error:  # torch raises about anything on a broken file
        reason = one_line(error)
        raise InputError(f"{option} {path}: it holds no weights; {fix} ({reason}).") from None
    notes = []
    first = next((name for name, tensor in own.items() if tensor.dim() > 2), "")
    if first in state and differ_in_channels(shapes[first], own[first].shape):
        before, now = shapes[first][1], own[first].shape[1]
        mean = state[first].mean(dim=1, keepdim=True) * before / now
        state[first] = mean.expand(own[first].shape)
        notes.append(f"{first} is adapted from {before} to {now} input channels")
    fitting = {
        name: tensor
        for name, tensor in state.items()
        if name in own and tensor.shape == own[name].shape
    }
    if not any(tensor.dim() > 1 for tensor in fitting.values()):
        raise InputError(f"{option} {path}: none of its weights fits the network; {fix}.")
    network.load_state_dict(fitting, strict=False)
    for names, what in (
        ([name for name in own if name not in fitting], "of the network start anew"),
        ([name for name in state if name not in own], "of the file have no place"),
    ):
        if names:
            total = len(own if names[0] in own else state)
            more = ", ..." if len(names) > 4 else ""
            notes.append(f"{len(names)} of {total} tensors {what}: {', '.join(names[:4])}{more}")
    return "; ".join(notes)


def differ_in_channels(one: torch.Size, other: torch.Size) -> bool:
    """Whether the shapes of two kernels differ in the number of input channels alone."""
    return (
        len(one) == len(other) and one[1] != other[1] and one[:1] + one[2:] == other[:1] + other[2:]
    )
