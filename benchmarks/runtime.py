"""Compare PyTorch and OpenVINO on this CPU: time, memory, masks, and the time to load.

    OMP_NUM_THREADS=2 python benchmarks/runtime.py [--quick]

Networks are those of the two bundles, as `predict` runs them on a photograph and on a window, with
random weights, so that many logits lie near the threshold. Times are CPU time, and ratios are
computed within a repeat, so that other load on the machine affects both alike. Memory is the rise
of a process's peak by its first answer, each runtime in a process of its own. The first answer of
OpenVINO includes importing and loading it, new or from the cache on the disk, and PyTorch's answer,
with which it is compared.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from typing import Annotated, Any

import torch
import typer
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from pipeline.engines.inferer import AutocastInferer, has_bfloat16
from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.folding import fold_batch_norms

RUNTIMES = ("torch", "openvino")
COLUMNS = ("case", "PyTorch ms", "OpenVINO ms", "times faster (quartiles)")
COLUMNS += ("equal voxels", "largest difference of a probability")
COLUMNS += ("PyTorch MiB", "OpenVINO MiB, new", "cached", "first answer s", "new", "cached")


def build(size: list[int]) -> tuple[torch.nn.Module, torch.Tensor, dict[str, AutocastInferer]]:
    """The network of a bundle, an image, and the inferers of both runtimes."""
    torch.manual_seed(0)
    dims, channels = len(size), {2: 3, 3: 1}[len(size)]
    network = AttentionUnet(dims, channels, 2, deep_supervision=dims == 3).eval()
    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    network = network.to(memory_format=formats[dims])
    network = fold_batch_norms(network) if dims == 3 else network  # as a sliding window does
    inferers = {name: AutocastInferer(runtime=name) for name in RUNTIMES}
    return network, torch.rand(1, channels, *size), inferers


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB


@torch.no_grad()
def load(size: list[int], runtime: str) -> tuple[float, float]:
    """Seconds of a process's first answer, and the MiB by which its peak rose."""
    network, image, inferers = build(size)
    before, start = peak(), time.process_time()
    inferers[runtime](image, network)
    return time.process_time() - start, peak() - before


@torch.no_grad()
def compare(size: list[int], repeats: int) -> dict[str, Any]:
    """The times of both runtimes, one after the other in each repeat, and their answers."""
    network, image, inferers = build(size)
    answers = {name: each(image, network) for name, each in inferers.items()}
    if inferers["openvino"].ran != "openvino":
        raise RuntimeError("OpenVINO did not compute the network; see the line above")
    times: dict[str, list[float]] = {name: [] for name in RUNTIMES}
    for _ in range(repeats):
        for name, inferer in inferers.items():
            start = time.process_time()
            inferer(image, network)
            times[name].append(time.process_time() - start)
    one, other = (answers[name].sigmoid() for name in RUNTIMES)
    equal = ((one > 0.5) == (other > 0.5)).double().mean().item()
    return {"times": times, "equal": equal, "difference": (one - other).abs().max().item()}


def main(
    quick: Annotated[bool, typer.Option(help="Small sizes, two repeats.")] = False,
    repeats: Annotated[int, typer.Option(min=2)] = 9,
) -> None:
    """Compare both runtimes on a photograph, and on windows of a volume."""
    table = Table(box=MARKDOWN)
    for column in COLUMNS:
        table.add_column(column)
    sizes = [[64] * 2, [32] * 3] if quick else [[512] * 2, [96] * 3, [40, 56, 40]]
    spawn = multiprocessing.get_context("spawn")
    for size in sizes:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["XDG_CACHE_HOME"] = cache  # of the processes to come
            loaded = []
            for runtime in ("torch", "openvino", "openvino"):
                with spawn.Pool(1) as pool:
                    loaded.append(pool.apply(load, (size, runtime)))
            with spawn.Pool(1) as pool:
                found = pool.apply(compare, (size, 2 if quick else repeats))
        times = [found["times"][name] for name in RUNTIMES]
        ratios = [one / other for one, other in zip(*times, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        table.add_row(
            " x ".join(map(str, size)),
            *(f"{1e3 * statistics.median(each):.0f}" for each in times),
            f"{median:.2f} ({low:.2f}-{high:.2f})",
            f"{100 * found['equal']:.4f} %",
            f"{found['difference']:.1e}",
            *(f"{memory:.0f}" for _, memory in loaded),
            *(f"{seconds:.2f}" for seconds, _ in loaded),
        )
    bits = "bfloat16" if has_bfloat16("cpu") else "float32, this CPU has no bfloat16"
    note = f"{torch.get_num_threads()} threads, torch {torch.__version__} ({bits})."
    Console(width=400).print(table, note)


if __name__ == "__main__":
    typer.run(main)
