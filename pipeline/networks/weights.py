"""A file of weights: the tensors of a network, and the settings that it was trained with."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, one_line
from .folding import take_biases

CONFIG = "config"  # in the metadata that PyTorch keeps with a state dictionary
State = dict[str, torch.Tensor]


def pack_weights(state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> State:
    """The content of a file of weights, to be read by ``torch.load(..., weights_only=True)``.

    It is a state dictionary, which every loader takes. The settings lie in its ``_metadata``.

    Args:
        state: the state dictionary of the network.
        config: ids of the training and their values; empty if nothing is known of them.
    """
    content = OrderedDict(state)
    metadata = {name: dict(each) for name, each in getattr(state, "_metadata", {}).items()}
    if config:
        metadata.setdefault("", {})[CONFIG] = json.dumps(config, default=str)
    content._metadata = metadata  # type: ignore[attr-defined]
    return content


def read_weights(path: str | Path, *, option: str, fix: str) -> tuple[State, dict[str, Any]]:
    """Read a file of weights, which may also be a state dictionary alone, as PyTorch saves it.

    Only tensors and texts are read, and no code runs. The tensors stay in the file until they are
    used.

    Args:
        path: file that ``torch.save`` wrote.
        option: that the user gave the file with, for the error.
        fix: what else to give, for the error.

    Returns:
        The state dictionary, and the ids that the network was trained with; without ids where the
        file does not hold them.

    Raises:
        InputError: the file holds anything else.
    """
    try:
        lazy = zipfile.is_zipfile(path)  # a file from before PyTorch 1.6 is not
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=lazy)
        problem = _find_problem(content)
    except Exception as error:  # torch raises about anything on a broken file
        problem = f"it is broken, or not a file of weights ({one_line(error)})"
        if "weights_only" in str(error):  # torch advises to switch it off, and so to run code
            problem = "it is not a file of weights, or holds more than tensors, which may run code"
    if problem:
        raise InputError(f"{option} {path}: {problem}; {fix}.")
    state, text = _take_apart(content)
    try:
        config = json.loads(text)
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{option} {path}: its {CONFIG!r} is not JSON with the settings of a training "
            f"({one_line(error, 80)}); {fix}."
        ) from None
    return dict(state), config


def _take_apart(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
    """The state dictionary, and the JSON of the settings.

    Files of other projects, and of an older version, hold the state dictionary under ``model``.
    """
    if isinstance(content.get("model"), Mapping):
        return content["model"], content.get(CONFIG, "{}")
    metadata = getattr(content, "_metadata", None)
    of_root = metadata.get("") if isinstance(metadata, Mapping) else None
    return content, of_root.get(CONFIG, "{}") if isinstance(of_root, Mapping) else "{}"


def _find_problem(content: Any) -> str:
    """Why the content of a file is not that of a file of weights; empty if it is."""
    if isinstance(content, Mapping):
        if {"epoch", "state", "generators"} <= content.keys():
            return "it holds a training to be resumed; its weights are in the model.pt next to it"
        state, _ = _take_apart(content)
        if all(isinstance(each, torch.Tensor) for each in state.values()):
            return ""
    return f"it holds a {type(content).__name__} that is not weights"


def load_weights(network: torch.nn.Module, path: str | Path, *, option: str, fix: str) -> None:
    """Load a file of weights into ``network``: every weight, and no other.

    Args:
        network: on any device.
        path, option, fix: see `read_weights`.

    Raises:
        InputError: the file holds anything else.
    """
    state, _ = read_weights(path, option=option, fix=fix)
    fill_network(network, state, path, option=option, fix=fix)


def fill_network(
    network: torch.nn.Module, state: State, path: str | Path, *, option: str, fix: str
) -> None:
    """Give a network all weights that were read from a file.

    Raises:
        InputError: they are those of another network.
    """
    check_dimensions(network, state, path, option=option)
    try:
        network.load_state_dict(state)
    except Exception as error:
        reason = one_line(error)
        raise InputError(
            f"{option} {path}: it does not fit the network; {fix} ({reason})."
        ) from None


def check_dimensions(
    network: torch.nn.Module, state: State, path: str | Path, *, option: str
) -> None:
    """Refuse weights of a 2D network for a 3D one, and the reverse.

    Raises:
        InputError: a kernel of the same name has another number of axes.
    """
    own = network.state_dict()
    for name in own.keys() & state.keys():
        now, before = own[name].dim(), state[name].dim()
        if now != before and min(now, before) > 2:  # all axes but the channels' two
            raise InputError(
                f"{option} {path}: its weights are those of a {before - 2}D network, and the "
                f"bundle's is {now - 2}D; give the bundle that it was trained with."
            )


def load_fitting_weights(
    network: torch.nn.Module, path: str | Path, *, option: str, fix: str
) -> str:
    """Load those tensors of a file of weights that have the shape of the network's own.

    The others start anew, such as a head for other regions. The first convolution also takes a
    kernel for another number of input channels: its mean over the channels, with the same sum.

    Args:
        network, path, option, fix: see `load_weights`.

    Returns:
        what was not loaded as it is; empty if everything was.

    Raises:
        InputError: the file holds no weights, or no kernel in it fits.
    """
    own = network.state_dict()
    state, _ = read_weights(path, option=option, fix=fix)
    check_dimensions(network, state, path, option=option)
    take_biases(network, state)
    shapes = {name: tensor.shape for name, tensor in state.items()}
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
