"""A network as OpenVINO computes it on a CPU, compared with PyTorch before it is used."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import warnings
from collections import OrderedDict
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import one_line
from ..files import replacing

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3  # of a logit in float32: a probability differs by 0.00025 at most
_KEPT = 20  # compiled models on the disk, 1 to 30 MB each


class OpenvinoNetwork(nn.Module):
    """Give a network's answers (B, R, *spatial) in float32, computed by OpenVINO.

    For images of a new shape the network is compiled, or read from the disk where it was compiled
    before, see `cache_folder`. Its answer to these images has to be that of PyTorch in float32
    within `TOLERANCE`; in bfloat16, within twice the error of PyTorch in bfloat16. If it is not, or
    if OpenVINO fails in any way, a line says so and PyTorch computes from then on, in float32. The
    memory of one compiled model is held at a time.

    Args:
        network: on the CPU and in evaluation mode; it is not changed. The result shares its forward
            hooks.
        bfloat16: compute in bfloat16, on a processor that has it.

    Attributes:
        network: the same, for PyTorch and without hooks.
        failed: whether PyTorch computes.
    """

    def __init__(self, network: nn.Module, *, bfloat16: bool = False) -> None:
        super().__init__()
        self.eval()
        self.network, self.failed = copy(network), False
        self.precision = "bf16" if bfloat16 else "f32"
        for name in ("_forward_pre_hooks", "_forward_hooks"):
            setattr(self, name, getattr(network, name))
            setattr(self.network, name, OrderedDict())
        self._shape: torch.Size | None = None
        self._compared: set[torch.Size] = set()
        self._lock = threading.Lock()  # a compiled model computes one answer at a time

    def forward(self, images: torch.Tensor) -> Any:
        """Compute the answer to images (B, C, *spatial)."""
        images = images.float().contiguous()
        with torch.no_grad(), torch.autocast("cpu", enabled=False), self._lock:
            if not self.failed:
                try:
                    if self._shape != images.shape:
                        self._shape = self._model = None  # free before the next takes memory
                        self._model, self._shape = self._load(images), images.shape
                    return _answer(self._model, images)
                except Exception as error:  # OpenVINO raises about anything
                    self.failed, self._model = True, None
                    reason = one_line(error)
                    logger.warning(f"OpenVINO is not used for this network: {reason}; PyTorch is.")
            return self.network(images)

    def _load(self, images: torch.Tensor) -> Any:
        """Read or compile the model for the shape of images, and compare its answer."""
        import openvino

        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # several processes would share the first cores
        }
        # What is compiled depends on all of these.
        texts = (
            openvino.__version__,
            torch.__version__,
            core.get_property("CPU", "FULL_DEVICE_NAME"),
            self.precision,
        )
        digest = hashlib.sha256(repr((texts, tuple(images.shape), self.network)).encode())
        for name, tensor in self.network.state_dict().items():
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        path = cache_folder() / f"{digest.hexdigest()}.blob"
        if images.min() == images.max():  # which would show less of a difference
            images = torch.linspace(0, 1, images.numel()).view_as(images)
        if path.is_file():
            with suppress(Exception):  # a broken file is written again
                model = core.import_model(path.read_bytes(), "CPU", options)
                if images.shape not in self._compared:
                    self._compare(model, images, self.network(images))
                path.touch()
                return model
        network, answer = self._trace(images)
        network.reshape(list(images.shape))
        model = core.compile_model(network, "CPU", options)
        self._compare(model, images, answer)
        with suppress(OSError):  # a full disk, a home that cannot be written
            with replacing(path) as temporary:
                temporary.write_bytes(model.export_model().getvalue())
            newest = sorted(path.parent.glob("*.blob"), key=os.path.getmtime, reverse=True)
            for old in newest[_KEPT:]:
                old.unlink(missing_ok=True)
        return model

    def _trace(self, images: torch.Tensor) -> tuple[Any, Any]:
        """Convert the network for OpenVINO, and compute PyTorch's answer on the way."""
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        answers: list[Any] = []
        hook = self.network.register_forward_hook(lambda *call: answers.append(call[-1]))
        try:
            with warnings.catch_warnings(action="ignore"):
                traced = torch.jit.trace(self.network, images, check_trace=False)
        finally:
            hook.remove()
        # openvino.convert_model does the same, but tells its maker over the network that it did.
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced, example_input=images)
        return frontend.convert(frontend.load(decoder)), answers[0]

    def _compare(self, model: Any, images: torch.Tensor, answer: Any) -> None:
        """Raise a ValueError unless a model's answer is that of PyTorch."""
        if not isinstance(answer, torch.Tensor) or len(model.outputs) != 1:
            raise ValueError("its output is not one tensor")
        allowed = TOLERANCE
        if self.precision == "bf16":
            with torch.autocast("cpu", torch.bfloat16):
                error = (self.network(images).float() - answer).abs().max().item()
            allowed = max(allowed, 2 * error)
        difference = (_answer(model, images) - answer).abs().max().item()
        if not difference <= allowed:  # also NaN
            raise ValueError(f"its output differs from PyTorch's by {difference:.2g}")
        self._compared.add(images.shape)


def _answer(model: Any, images: torch.Tensor) -> torch.Tensor:
    found = model([images.numpy()], share_inputs=True, share_outputs=True)[0]
    return torch.from_numpy(found).clone()  # the next answer takes its memory


def cache_folder() -> Path:
    """Where compiled models are kept: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return cache / "attention-unet-pipeline" / "openvino"
