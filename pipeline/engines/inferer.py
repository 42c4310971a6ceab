"""Mixed precision by the device's own autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer

from .batch import as_plain


class AutocastInferer(Inferer):
    """Run another inferer under ``torch.autocast`` of the input's device, and return float32.

    MONAI's engines know autocast for CUDA alone; this serves CPU and CUDA, training and
    evaluation, with bfloat16, which needs no gradient scaler. Losses and metrics stay in float32.
    A device that can only emulate bfloat16, slower than float32, runs in float32.
    A MetaTensor is unwrapped first: the network gains nothing from it and runs faster without.

    Args:
        amp: False runs in float32.
        inferer: what runs the network, by default MONAI's ``SimpleInferer``.
    """

    def __init__(self, *, amp: bool = True, inferer: Inferer | None = None) -> None:
        super().__init__()
        self.amp = amp
        self.inferer = inferer or SimpleInferer()

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        inputs = as_plain(inputs)
        amp = self.amp and has_bfloat16(inputs.device.type)
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=amp):
            out = self.inferer(inputs, network, *args, **kwargs)
        return [each.float() for each in out] if isinstance(out, list) else out.float()


@functools.cache
def has_bfloat16(device_type: str) -> bool:
    """Whether the device computes in bfloat16 itself (AVX512-BF16 or AMX; Ampere or later)."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
