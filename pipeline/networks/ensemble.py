"""Several trained networks as one, which answers with the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Ensemble(nn.Module):
    """Networks of one architecture, run one after the other in the memory of one.

    In evaluation the output are the logits of the mean of the members' probabilities, so that what
    follows a network, such as a threshold of 0.5 or a rule between regions, follows an ensemble
    too. In training the members take turns, a batch each, and the output is that of the member
    alone: a training of n members is n trainings with an n-th of the steps, side by side.

    Args:
        network: the first member; the others begin as copies of it.
        members: how many there are.

    Raises:
        ValueError: ``members`` is below 1.
    """

    def __init__(self, network: nn.Module, *, members: int) -> None:
        super().__init__()
        if members < 1:
            raise ValueError(f"members is {members}; give 1 or more.")
        self.members = nn.ModuleList([network, *(deepcopy(network) for _ in range(members - 1))])
        self.turn = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute logits (B, R, *spatial) of images (B, C, *spatial)."""
        if not torch.jit.is_scripting() and self.training:
            return self._take_turns(x)
        logits: list[torch.Tensor] = []
        for member in self.members:
            out = member(x)
            assert isinstance(out, torch.Tensor)  # for TorchScript; a list is for training
            logits.append(out)
        return mean_of_probabilities(logits)

    @torch.jit.unused
    def _take_turns(self, x: torch.Tensor) -> Any:
        member = self.members[self.turn]
        self.turn = (self.turn + 1) % len(self.members)
        return member(x)


def mean_of_probabilities(logits: list[torch.Tensor]) -> torch.Tensor:
    """Compute the logits, float32, of the mean of several probabilities, also of very sure ones.

    The mean of p and that of 1 - p are sums of exponentials, and their ratio is the odds.
    """
    each = torch.stack(logits).float()
    return F.logsigmoid(each).logsumexp(0) - F.logsigmoid(-each).logsumexp(0)


def join_states(states: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The state dictionary of an `Ensemble` from those of its members."""
    return {
        f"members.{n}.{name}": tensor
        for n, state in enumerate(states)
        for name, tensor in state.items()
    }
