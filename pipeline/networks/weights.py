"""Load a network's weights from a file."""

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
