"""UNet++ (Zhou et al. 2018, arXiv:1807.10165) for comparison: MONAI's network, one output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import BasicUNetPlusPlus
from monai.networks.nets.basic_unet import UpCat
from torch import nn

from .padding import crop_to, pad_to_multiple


class UnetPlusPlus(nn.Module):
    """MONAI's ``BasicUNetPlusPlus`` for any input size, without its unused heads.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the logits.
        features: MONAI's six widths: five levels, finest first, and the last upsampling.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        features: Sequence[int] = (16, 32, 64, 128, 256, 16),
    ) -> None:
        super().__init__()
        self.multiple = [16] * spatial_dims
        self.net = BasicUNetPlusPlus(
            spatial_dims,
            in_channels,
            out_channels,
            tuple(features),
            act="relu",
            norm="batch",
            deep_supervision=False,
        )
        # Heads that never get a gradient stop distributed training.
        self.net.final_conv_0_1 = nn.Identity()
        self.net.final_conv_0_2 = nn.Identity()
        self.net.final_conv_0_3 = nn.Identity()
        for module in self.net.modules():
            if isinstance(module, UpCat):
                module.__class__ = PaddedUpCat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, out_channels, H, W[, D]) of an image (B, in_channels, H, W[, D])."""
        return crop_to(self.net(pad_to_multiple(x, self.multiple))[0], x)


class PaddedUpCat(UpCat):
    """MONAI's join without its padding: all sizes fit, and its type check breaks torch.compile."""

    def forward(self, x: torch.Tensor, x_e: torch.Tensor) -> torch.Tensor:
        return self.convs(torch.cat([x_e, self.upsample(x)], dim=1))
