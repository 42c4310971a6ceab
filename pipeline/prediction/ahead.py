"""Work beside the network, and whether there is memory for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any

from ..errors import UnfitFile
from .input_case import InputCase

if TYPE_CHECKING:
    import torch

# That reading and preprocessing take per voxel of a volume, measured 14 for a CT, and per pixel.
_BYTES = {True: 20, False: 90}


def beside(work: Callable[[], Any], device: torch.device | None = None) -> Future[Any]:
    """Call a function in a thread, which the process does not wait for at its end.

    Args:
        work: what is called.
        device: of the network. Where it is the CPU, the thread's own operations take one core and
            leave the others to it.
    """
    import torch

    torch.get_num_threads()  # settles that of this thread, before the other sets its own
    future: Future[Any] = Future()

    def run() -> None:
        try:
            if device is not None and device.type == "cpu":
                torch.set_num_threads(1)
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def nothing() -> Future[Any]:
    """Work that has ended."""
    future: Future[Any] = Future()
    future.set_result(None)
    return future


def is_large(case: InputCase, *, volumes: bool) -> bool:
    """Whether two images like that of a case do not fit into the free memory."""
    from ..engines.memory import free_memory
    from ..transforms.picture import read_grid
    from ..transforms.volume_file import open_volume

    try:
        shapes = [series.shape for series in case.series]
        for file in case.files:
            shapes.append(open_volume(file).voxels.shape if volumes else read_grid(file).size)
    except UnfitFile:  # which is said when it is read
        return False
    return 2 * _BYTES[volumes] * sum(map(math.prod, shapes)) > free_memory()
