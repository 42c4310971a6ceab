"""Attention U-Net (Oktay et al. 2018, arXiv:1804.03999), for 2D images and 3D volumes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from monai.utils import ensure_tuple_rep
from torch import nn

from .folding import drop_biases, take_biases
from .gates import GridAttentionGate, SkipGates, conv_block, conv_norm_relu
from .padding import crop_to, pad_to_multiple, total_stride
from .recompute import apply_block


class AttentionUnet(nn.Module):
    """U-Net whose skip connections pass additive attention gates on a coarse grid.

    Each encoder level is conv3-BN-ReLU twice, after max-pooling. The decoder upsamples linearly and
    concatenates the gated skip. The gating signal of a skip is the decoder feature one level
    coarser; the finest skip is not gated. Any input size is accepted: the input is padded to a
    multiple of the total stride, and the output is cropped back.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: channels of the logits.
        channels: width of each level, finest first.
        strides: factor between neighbouring levels, an int or one int per axis (anisotropic);
            one fewer than ``channels``.
        gates: gates per skip; 0 gives a plain U-Net, otherwise the same network.
        gate_transform: a 1x1 convolution and BN on each gate's output, and 1x1, BN and ReLU after
            they are merged, as in the authors' code.
        gating_conv: a 1x1 convolution, BN and ReLU on the bottleneck before it gates.
        gate_bias: of psi when training begins, so that a gate starts at sigmoid of it and not near
            0.5; None for the convolution's own draw. The network computes the same function.
        conv_bias: a bias in the convolutions before batch norms, which is needless, as in the
            authors' code. Weights with it load without it, and compute the same.
        deep_supervision: one head per decoder level, fused into the logits. In training the
            output is then the list ``[logits, head 1/2, head 1/4, ...]``, each auxiliary head on
            its own coarse grid; in evaluation the logits alone.

    Raises:
        ValueError: the number of strides, dimensions or gates is wrong.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        strides: Sequence[int | Sequence[int]] = (2, 2, 2, 2),
        gates: int = 1,
        gate_transform: bool = False,
        gating_conv: bool = False,
        gate_bias: float | None = None,
        conv_bias: bool = False,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims is {spatial_dims}; AttentionUnet takes 2 or 3.")
        if len(channels) < 2 or len(strides) != len(channels) - 1:
            raise ValueError(
                f"{len(channels)} channels and {len(strides)} strides; give at least two channels "
                "and one stride fewer than channels."
            )
        if gates < 0:
            raise ValueError(f"gates is {gates}; give 0 for a plain U-Net, or 1 or 2 per skip.")
        dims, widths = spatial_dims, list(channels)
        steps = [ensure_tuple_rep(stride, dims) for stride in strides]
        self.mode = "bilinear" if dims == 2 else "trilinear"
        self.multiple = total_stride(steps)
        self.deep_supervision = deep_supervision
        self.recompute = False

        self.encoder = nn.ModuleList([conv_block(dims, in_channels, widths[0])])
        for step, narrow, wide in zip(steps, widths, widths[1:], strict=False):
            pool = (nn.MaxPool2d if dims == 2 else MaxPool3d)(step, stride=step)
            self.encoder.append(nn.Sequential(pool, conv_block(dims, narrow, wide)))
        # Without gates, no signal is needed.
        self.gating = (
            conv_norm_relu(dims, widths[-1], widths[-1]) if gating_conv and gates else nn.Identity()
        )
        self.decoder = nn.ModuleList()  # coarsest first
        for level in reversed(range(len(steps))):
            self.decoder.append(
                DecoderLevel(
                    dims,
                    skip_channels=widths[level],
                    coarse_channels=widths[level + 1],
                    stride=steps[level],
                    gates=gates if level else 0,
                    gate_transform=gate_transform,
                )
            )
        conv = Conv[Conv.CONV, dims]
        supervised = reversed(widths[:-1]) if deep_supervision else ()
        self.heads = nn.ModuleList(conv(width, out_channels, 1) for width in supervised)
        fused = out_channels * len(steps) if deep_supervision else widths[0]
        self.final = conv(fused, out_channels, 1)
        for part in self.modules() if gate_bias is not None else ():
            if isinstance(part, GridAttentionGate):
                nn.init.constant_(part.psi.bias, gate_bias)
        if not conv_bias:
            drop_biases(self)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        take_biases(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @classmethod
    def oktay2018(
        cls, variant: str = "multi_gate", *, in_channels: int = 1, out_channels: int = 4
    ) -> AttentionUnet:
        """Build one of the three 3D CT networks of the authors' code, with deep supervision.

        Args:
            variant: ``"unet"`` (5,888,004 parameters with the default channels),
                ``"single_gate"`` (6,214,151) or ``"multi_gate"`` (6,473,322).
        """
        gates = {"unet": 0, "single_gate": 1, "multi_gate": 2}
        if variant not in gates:
            raise ValueError(f"variant is {variant!r}; give one of {', '.join(gates)}.")
        return cls(
            3,
            in_channels,
            out_channels,
            gates=gates[variant],
            gate_transform=True,
            gating_conv=True,
            conv_bias=True,
            deep_supervision=True,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Compute logits (B, out_channels, H, W[, D]) of an image (B, in_channels, H, W[, D])."""
        features, _ = self._decode(pad_to_multiple(x, self.multiple))
        heads = self._heads(features)
        logits = crop_to(self._fuse(features, heads), x)
        if not torch.jit.is_scripting() and self.deep_supervision and self.training:
            return [logits, *heads[-2::-1]]
        return logits

    @torch.jit.unused
    def attention_maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute alpha in [0, 1] of every gated skip, finest first, each (B, gates, h, w[, d]).

        Each map lies on its gating signal's coarse grid, which covers the input padded to a
        multiple of the total stride.
        """
        _, alphas = self._decode(pad_to_multiple(x, self.multiple))
        return alphas[::-1]

    def _decode(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Compute the decoder's features and the gates' maps, coarsest first."""
        skips: list[torch.Tensor] = []
        for level in self.encoder:
            if torch.jit.is_scripting() or not self._computes_again():
                x = level(x)
            else:
                pool, block = (nn.Identity(), level) if level is self.encoder[0] else level
                x = apply_block(block, pool, x)
            skips.append(x)
        coarse = skips.pop()
        signal = self.gating(coarse)
        features: list[torch.Tensor] = []
        alphas: list[torch.Tensor] = []
        for level in self.decoder:
            skip = skips.pop()
            if level.gate is not None:
                skip, alpha = level.gate(skip, signal)
                alphas.append(alpha)
            if torch.jit.is_scripting() or not self._computes_again():
                coarse = level(skip, coarse)
            else:
                coarse = apply_block(level.conv, level.join, skip, coarse)
            signal = coarse
            features.append(coarse)
        return features, alphas

    def _computes_again(self) -> bool:
        if torch.compiler.is_compiling():  # which chooses what to compute again by itself
            return False
        return self.recompute and self.training and torch.is_grad_enabled()

    def _heads(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        heads: list[torch.Tensor] = []
        for i, head in enumerate(self.heads):
            heads.append(head(features[i]))
        return heads

    def _fuse(self, features: list[torch.Tensor], heads: list[torch.Tensor]) -> torch.Tensor:
        if not self.deep_supervision:
            return self.final(features[-1])
        size = features[-1].shape[2:]
        # The authors' order: finest head first.
        grown = [F.interpolate(head, size=size, mode=self.mode) for head in heads[::-1]]
        return self.final(torch.cat(grown, dim=1))


class MaxPool3d(nn.MaxPool3d):
    """Pools in the type of its input. On a CPU, autocast would first copy it to float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool3d_with_indices(x, self.kernel_size, self.stride)[0]


class DecoderLevel(nn.Module):
    """Upsample the coarse feature to the skip, concatenate, convolve; holds the skip's gate."""

    def __init__(
        self,
        dims: int,
        *,
        skip_channels: int,
        coarse_channels: int,
        stride: Sequence[int],
        gates: int,
        gate_transform: bool,
    ) -> None:
        super().__init__()
        self.mode = "bilinear" if dims == 2 else "trilinear"
        self.gate = None
        if gates:
            self.gate = SkipGates(
                dims, skip_channels, coarse_channels, stride, gates, transform=gate_transform
            )
        self.conv = conv_block(dims, skip_channels + coarse_channels, skip_channels)

    def forward(self, skip: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        return self.conv(self.join(skip, coarse))

    def join(self, skip: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        grown = F.interpolate(coarse, size=skip.shape[2:], mode=self.mode)
        if not torch.jit.is_scripting() and grown.requires_grad:
            keep_channels_last(grown)
        return torch.cat([skip, grown.to(skip.dtype)], dim=1)


def keep_channels_last(grown: torch.Tensor) -> None:
    """Give an upsampled tensor's backward a dense gradient, in the layout of the tensor.

    The gradient of a concatenation is a slice. From a slice, the backward of linear upsampling
    takes its path for contiguous tensors, which is about ten times slower on a CPU.
    """
    if not torch.compiler.is_compiling():
        layout = torch.channels_last if grown.ndim == 4 else torch.channels_last_3d
        if grown.is_contiguous(memory_format=layout):
            grown.register_hook(lambda gradient: gradient.contiguous(memory_format=layout))
