"""How a device computes a network: in mixed precision, or by OpenVINO."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..bundle.rules import RUNTIMES
from ..errors import InputError
from ..networks.folding import fold_batch_norms
from ..networks.runtime import OpenvinoNetwork
from .batch import as_plain
from .mirror import mirrored

logger = logging.getLogger(__name__)

_WORTH = 4_000_000  # voxels of an image from which OpenVINO, loaded for it alone, saves time


class AutocastInferer(Inferer):
    """Run another inferer under ``torch.autocast`` of the input's device, and return float32.

    MONAI's engines use autocast on CUDA only; this works on CPU and CUDA, in training and
    evaluation, with bfloat16, which needs no gradient scaler. Losses and metrics stay in float32.
    A device that only emulates bfloat16, slower than float32, runs in float32. So do volumes on a
    GPU whose cuDNN fails at them, see `has_right_volumes`, and a training of small volumes on a CPU
    where it has to, see `has_thin_convolution`; a line says so. A MetaTensor is unwrapped first,
    since the network runs faster without.

    Args:
        amp: False runs in float32.
        inferer: runs the network; by default MONAI's ``SimpleInferer``.
        mirror: average over flips of the image, see `mirrored`; a sliding window does so itself.
        flip: see `mirrored`.
        runtime: ``"torch"``; ``"openvino"`` for evaluation on a CPU, see `OpenvinoNetwork`; or
            ``"auto"``: OpenVINO where it is installed and saves time, which it does for large
            volumes on a CPU.

    Attributes:
        ran: what computed the last answer: ``"torch"`` or ``"openvino"``.

    Raises:
        InputError: ``runtime`` is unknown, or OpenVINO is not installed or cannot use the device.
    """

    def __init__(
        self,
        *,
        amp: bool = True,
        inferer: Inferer | None = None,
        mirror: bool = False,
        flip: float | Sequence[float] = 1.0,
        runtime: str = "torch",
    ) -> None:
        super().__init__()
        if runtime not in RUNTIMES:
            raise InputError(f"runtime is {runtime!r}; give one of {', '.join(RUNTIMES)}.")
        if runtime == "openvino" and not find_spec("openvino"):
            raise InputError(
                "runtime is openvino, which is not installed; run pip install openvino, or give "
                "auto or torch."
            )
        self.mirror, self.flip = mirror, flip
        self.amp, self.runtime, self.ran = amp, runtime, "torch"
        self.fast: OpenvinoNetwork | None = None
        self.fast_of: tuple[Any, ...] = ()
        self.inferer = inferer or SimpleInferer()
        self.thin: dict[tuple[int, ...], bool] = {}  # by shape of the input

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        inputs = as_plain(inputs)
        amp = self.amp and has_bfloat16(inputs.device.type) and not self._is_thin(inputs, network)
        amp = amp and (inputs.ndim < 5 or inputs.device.type != "cuda" or has_right_volumes())
        fast = self._find_fast(inputs, network, amp)
        network, amp = fast or network, amp and not fast
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=amp):
            out = mirrored(
                lambda images: self.inferer(images, network, *args, **kwargs),
                inputs,
                mirror=self.mirror,
                flip=self.flip,
            )
        self.ran = "openvino" if fast and not fast.failed else "torch"
        return [each.float() for each in out] if isinstance(out, list) else out.float()

    def _find_fast(
        self, inputs: torch.Tensor, network: Callable[..., Any], amp: bool
    ) -> OpenvinoNetwork | None:
        """The network in OpenVINO, if that is to compute it."""
        evaluating = isinstance(network, nn.Module) and not network.training
        if self.runtime == "torch" or not evaluating or torch.is_grad_enabled():
            return None
        cpu = inputs.device.type == "cpu"
        if self.runtime == "auto":
            if not cpu or inputs[0, 0].numel() < _WORTH or not find_spec("openvino"):
                return None
        elif not cpu:
            raise InputError(
                f"runtime is openvino, which is for a CPU, and the device is {inputs.device}; give "
                "auto or torch."
            )
        tensors = [*network.parameters(), *network.buffers()]
        # A server may have trained it since.
        fast_of = (network, amp, [(each.data_ptr(), each._version) for each in tensors])
        if self.fast_of != fast_of:
            self.fast = OpenvinoNetwork(fold_batch_norms(network), bfloat16=amp)
            self.fast_of = fast_of
        return None if self.fast.failed else self.fast

    def _is_thin(self, inputs: torch.Tensor, network: Callable[..., Any]) -> bool:
        shape = tuple(inputs.shape[1:])
        volume = inputs.ndim == 5 and isinstance(network, nn.Module)
        if not volume or inputs.device.type != "cpu" or not torch.is_grad_enabled():
            return False
        if shape not in self.thin:
            self.thin[shape] = has_thin_convolution(network, inputs[:1])
            if self.thin[shape]:
                logger.warning(
                    f"patches of {' x '.join(map(str, shape[1:]))} voxels become too thin in the "
                    "network for bfloat16 on a CPU: float32 is used; larger patches are faster."
                )
        return self.thin[shape]


@torch.no_grad()
def has_thin_convolution(network: nn.Module, inputs: torch.Tensor) -> bool:
    """Whether a 3D convolution gets a volume that is thinner than its kernel along the first axis.

    One of 2 voxels for a kernel of 3, for example. In bfloat16 oneDNN 3.12 (PyTorch 2.13, on
    AVX512-BF16) then gives gradients of the weights that are NaN or wrong.

    Args:
        network: run once, in float32 and as in evaluation, so that it does not change.
        inputs: (1, C, X, Y, Z).
    """
    network = getattr(network, "_orig_mod", network)  # of torch.compile
    network = network.module if isinstance(network, DistributedDataParallel) else network
    found = []

    def note(module: nn.Conv3d, arguments: tuple[torch.Tensor]) -> None:
        found.append(1 < arguments[0].shape[2] < module.kernel_size[0])

    modes = [(module, module.training) for module in network.modules()]
    hooks = [m.register_forward_pre_hook(note) for m, _ in modes if isinstance(m, nn.Conv3d)]
    try:
        network.eval()(inputs.float())
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    return any(found)


@functools.cache
def has_bfloat16(device_type: str) -> bool:
    """Whether the device computes in bfloat16 itself (AVX512-BF16 or AMX; Ampere or later)."""
    if device_type == "cuda":
        capable = torch.cuda.is_bf16_supported(including_emulation=False)
        if not capable:
            logger.warning("this GPU does not compute in bfloat16: float32 is used")
        return capable
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@functools.cache
def has_right_volumes() -> bool:
    """Whether cuDNN convolves volumes in bfloat16 rightly, and faster than in float32.

    Versions 9.8 to 9.10 give wrong values (github.com/pytorch/pytorch/issues/163539), and those
    before 9.15 are avoided by PyTorch, whose own kernels are slow (issue 166643).
    """
    version = torch.backends.cudnn.version() or 0
    right = not 90800 <= version < 91500
    if not right:
        text = f"{version // 10000}.{version // 100 % 100}"
        logger.warning(f"cuDNN {text} fails at bfloat16 volumes: float32 is used; 9.15 is faster")
    return right
