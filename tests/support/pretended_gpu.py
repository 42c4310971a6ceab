"""A pretended GPU: the device ``cuda``, whose memory and kernels are the CPU's.

Tensors say ``cuda:0``, hold real values, and raise on a mix of devices as on a GPU. Each wait for
the device, and each copy that needs none, is counted with the lines that asked for it. It knows
nothing of a GPU's kernels, precision, memory or times. Import it before PyTorch::

    import pretended_gpu
    with pretended_gpu.counted() as events:
        ...
    waits = [each for each in events if each[0] == "wait"]
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

from pretended_gpu_build import TORCH, build

_events: list[tuple[str, str, int, str]] | None = None


@contextlib.contextmanager
def counted() -> Iterator[list[tuple[str, str, int, str]]]:
    """Collect what happens inside: ``wait`` or ``copy``, what asked, bytes, and the lines."""
    global _events
    before, _events = _events, []
    try:
        yield _events
    finally:
        _events = before


def _tell(kind: str, name: str, size: int) -> None:
    if _events is None:
        return
    frame, lines = sys._getframe(1), []
    while frame is not None and len(lines) < 6:
        lines.append(f"{frame.f_code.co_filename.split('site-packages/')[-1]}:{frame.f_lineno}")
        frame = frame.f_back
    _events.append((kind, name, size, " < ".join(lines)))


def _install() -> None:
    if "torch" in sys.modules:
        raise RuntimeError("import pretended_gpu before torch")
    library = str(build())
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(TORCH / "lib" / name), mode=ctypes.RTLD_GLOBAL)
    device = ctypes.PyDLL(library, mode=ctypes.RTLD_GLOBAL)
    import torch

    device.set_callback.argtypes = [ctypes.py_object]
    device.set_callback(_tell)
    state = {"device": 0}

    def set_device(which: object) -> None:
        state["device"] = torch.cuda._utils._get_device_index(which)  # as PyTorch reads it

    def to_index(device: object = None) -> int:
        return torch.cuda._utils._get_device_index(device, optional=True)

    class Properties:
        name, major, minor, total_memory, multi_processor_count = "pretended", 9, 0, 2**36, 1

    for name, value in {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: 2,
        "current_device": lambda: state["device"],
        "set_device": set_device,
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device="cuda": torch.get_rng_state(),
        "set_rng_state": lambda new, device="cuda": None,
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
        "mem_get_info": lambda device=None: (2**35, 2**36),
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: _tell("wait", "synchronize", to_index(device)),
        "get_device_name": lambda device=None: Properties.name,
        "get_device_capability": lambda device=None: (Properties.major, Properties.minor),
        "get_device_properties": lambda device=None: Properties(),
        "is_bf16_supported": lambda including_emulation=True: True,
        "is_current_stream_capturing": lambda: False,
    }.items():
        setattr(torch.cuda, name, value)
    torch.accelerator.synchronize = torch.cuda.synchronize
    deepcopy, save = torch.Tensor.__deepcopy__, torch.save

    def copied(tensor: torch.Tensor, memo: dict) -> torch.Tensor:
        if not (tensor.is_cuda and type(tensor) is torch.Tensor):
            return deepcopy(tensor, memo)
        if id(tensor) not in memo:
            memo[id(tensor)] = tensor.detach().clone().requires_grad_(tensor.requires_grad)
        return memo[id(tensor)]

    def saved(content: object, *args: object, **options: object) -> None:
        from torch.utils._pytree import tree_map_only  # a storage of "cuda" cannot be read back

        save(tree_map_only(torch.Tensor, lambda t: t.detach().cpu(), content), *args, **options)

    torch.Tensor.__deepcopy__, torch.save = copied, saved


_install()
