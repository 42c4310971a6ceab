"""A network's weights from a file."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import InputError, one_line


def load_weights(network: torch.nn.Module, path: str | Path, *, option: str, fix: str) -> None:
    """Load a state dictionary into ``network``, every weight of it and no other.

    Args:
        network: wherever it is.
        path: file that ``torch.save`` wrote; what is not tensors in it is not run.
        option: what the user gave the file as, for the error.
        fix: what the user can do about another network's weights, for the error.

    Raises:
        InputError: the file holds something else.
    """
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a file may hold anything
        reason = one_line(error)
        raise InputError(
            f"{option} {path}: it does not fit the network; {fix} ({reason})."
        ) from None
