"""Attention gates (Oktay et al. 2018, arXiv:1804.03999), and blocks of convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm
from torch import nn


class GridAttentionGate(nn.Module):
    """One additive gate (equations 1 and 2): ``alpha = sigmoid(psi(relu(theta x + phi g)))``.

    Alpha lives on the gating signal's grid and is interpolated linearly to the skip's.

    Args:
        dims: 2 or 3.
        skip_channels: channels of the skip, and of the space in which the two are added.
        gating_channels: channels of the gating signal.
        stride: factor between the two grids; also the kernel of theta.
        transform: a 1x1 convolution and BN on ``alpha * x``.
    """

    def __init__(
        self,
        dims: int,
        skip_channels: int,
        gating_channels: int,
        stride: Sequence[int],
        *,
        transform: bool = False,
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, dims]
        self.mode = "bilinear" if dims == 2 else "trilinear"
        self.theta = conv(skip_channels, skip_channels, stride, stride=stride, bias=False)
        self.phi = conv(gating_channels, skip_channels, 1)
        self.psi = conv(skip_channels, 1, 1)
        self.transform = (
            nn.Sequential(conv(skip_channels, skip_channels, 1), Norm["batch", dims](skip_channels))
            if transform
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gate ``x`` (B, C, H, W[, D]); returns it and alpha (B, 1, h, w[, d]) on the grid of g."""
        alpha = torch.sigmoid(self.psi(F.relu(self.theta(x) + self.phi(g))))
        grown = F.interpolate(alpha, size=x.shape[2:], mode=self.mode)
        return self.transform(grown.to(x.dtype) * x), alpha


class SkipGates(nn.Module):
    """The gates of one skip; several are merged by a 1x1 convolution, BN and ReLU."""

    def __init__(
        self,
        dims: int,
        skip_channels: int,
        gating_channels: int,
        stride: Sequence[int],
        gates: int,
        *,
        transform: bool,
    ) -> None:
        super().__init__()
        self.gates = nn.ModuleList(
            GridAttentionGate(dims, skip_channels, gating_channels, stride, transform=transform)
            for _ in range(gates)
        )
        self.merge = (
            conv_norm_relu(dims, gates * skip_channels, skip_channels)
            if transform or gates > 1
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gated: list[torch.Tensor] = []
        alphas: list[torch.Tensor] = []
        for gate in self.gates:
            out, alpha = gate(x, g)
            gated.append(out)
            alphas.append(alpha)
        # One gate is not concatenated: that would copy the whole skip.
        out = gated[0] if len(gated) == 1 else torch.cat(gated, dim=1)
        return self.merge(out), torch.cat(alphas, dim=1)


def conv_norm_relu(dims: int, inside: int, outside: int, kernel: int = 1) -> nn.Sequential:
    return nn.Sequential(
        Conv[Conv.CONV, dims](inside, outside, kernel, padding=kernel // 2),
        Norm["batch", dims](outside),
        nn.ReLU(inplace=True),
    )


def conv_block(dims: int, inside: int, outside: int) -> nn.Sequential:
    """Conv3-BN-ReLU twice."""
    return nn.Sequential(
        *conv_norm_relu(dims, inside, outside, kernel=3),
        *conv_norm_relu(dims, outside, outside, kernel=3),
    )
