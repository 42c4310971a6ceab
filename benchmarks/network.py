"""Compare time, memory and arithmetic of the networks in one table.

    python benchmarks/network.py [--quick] [--threads 2] [--device cuda] [--output table.md]

Each repeat runs all networks one after the other, and ratios are computed within a repeat, so other
load on the machine affects all networks equally. A ratio is the median over the repeats, with its
quartiles.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import typer
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks.nets import AttentionUnet as MonaiAttentionUnet
from monai.networks.nets import BasicUNet, DynUNet
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.recompute import recompute_activations

CLASSES = 3
WIDTHS = {2: (32, 64, 128, 256, 512), 3: (16, 32, 64, 128, 256)}
IMAGE_CHANNELS = {2: 3, 3: 1}
LEAN, BASE, MULTI = "AttentionUnet, 1 gate", "AttentionUnet, no gates", "authors' multi-gate"
RECOMPUTED = "AttentionUnet, 1 gate, recompute"
# Limits: time and memory relative to no gates, and step time relative to the multi-gate network.
MAX_TIME = {2: 1.08, 3: 1.03}
MAX_MEMORY = 1.02
MAX_OF_MULTI = 0.85
COLUMNS = ("case", "network", "forward ms", "ratio", "step ms", "ratio")
COLUMNS += ("step peak MiB (ratio)", "params M", "GFLOP", "of best convolution")


@dataclass
class Case:
    dims: int
    size: int
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.dims}D {self.size} {'fp32' if self.dtype == torch.float32 else 'bf16'}"

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.dims == 2 else torch.channels_last_3d


@dataclass
class Measured:
    """Measurements of one network in one case; times in s, one per repeat."""

    forward: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    peak: int = 0  # bytes
    flops: int = 0  # of one forward pass
    parameters: int = 0


def networks(dims: int) -> dict[str, nn.Module]:
    widths, channels = WIDTHS[dims], (IMAGE_CHANNELS[dims], CLASSES)
    options = {"gate_transform": True, "gating_conv": True, "deep_supervision": True}
    kernels, strides = [3] * 5, [1, 2, 2, 2, 2]
    recomputed = AttentionUnet(dims, *channels, channels=widths, gates=1)
    recompute_activations(recomputed)
    return {
        BASE: AttentionUnet(dims, *channels, channels=widths, gates=0),
        LEAN: AttentionUnet(dims, *channels, channels=widths, gates=1),
        RECOMPUTED: recomputed,
        MULTI: AttentionUnet(dims, *channels, channels=widths, gates=2, **options),
        "MONAI AttentionUnet": MonaiAttentionUnet(dims, *channels, widths, (2, 2, 2, 2)),
        "MONAI BasicUNet": BasicUNet(dims, *channels, (*widths, widths[0])),
        "MONAI DynUNet": DynUNet(dims, *channels, kernels, strides, strides[1:], filters=widths),
    }


class Job:
    """A network with its data, ready to be timed."""

    def __init__(self, net: nn.Module, case: Case, device: torch.device) -> None:
        self.case, self.device = case, device
        place = {"device": device, "memory_format": case.memory_format}
        self.net = net.to(**place)
        shape = [case.size] * case.dims
        self.image = torch.randn(1, IMAGE_CHANNELS[case.dims], *shape).to(**place)
        self.label = torch.randint(CLASSES, (1, 1, *shape)).float().to(device)
        self.loss = DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True))
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def autocast(self) -> contextlib.AbstractContextManager:
        low = self.case.dtype != torch.float32
        return torch.autocast(self.device.type, self.case.dtype, enabled=low)

    def forward(self) -> None:
        self.net.eval()
        with torch.inference_mode(), self.autocast():
            self.net(self.image)

    def step(self) -> None:
        self.net.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            outputs = self.net(self.image)
        outputs = [o.float() for o in (outputs if isinstance(outputs, list) else [outputs])]
        self.loss(outputs, self.label).backward()
        self.optimizer.step()

    def flops(self) -> int:
        with FlopCounterMode(display=False) as counter:
            self.forward()
        return counter.get_total_flops()

    def held(self) -> int:
        """Bytes of the parameters, their gradients, the optimizer state and the data."""
        held = [*self.net.state_dict().values(), self.image, self.label]
        held += [t for state in self.optimizer.state.values() for t in state.values()]
        held += [p.grad for p in self.net.parameters() if p.grad is not None]
        return sum(t.nbytes for t in held if t.device.type == self.device.type)

    def peak(self) -> int:
        """Peak bytes of live tensors during a training step, including what is held throughout."""
        if self.device.type == "cuda":
            others = torch.cuda.memory_allocated() - self.held()  # the case's other networks
            torch.cuda.reset_peak_memory_stats()
            self.step()
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - others
        now = peak = self.held()
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile:
            self.step()
        # The allocator's log has the peak; the table of operators only has sums.
        events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
        for event in sorted(events, key=lambda e: e.start_ns()):
            now += event.nbytes()
            peak = max(peak, now)
        return peak


def seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def best_rate(case: Case, device: torch.device, repeats: int) -> float:
    """The highest FLOP/s of a plain 3x3(x3) convolution on this machine, over some shapes."""
    rates = []
    conv_class = {2: nn.Conv2d, 3: nn.Conv3d}[case.dims]
    for channels, size in {2: [(64, 256), (256, 64)], 3: [(64, 48), (256, 24)]}[case.dims]:
        place = {"device": device, "dtype": case.dtype, "memory_format": case.memory_format}
        conv = conv_class(channels, channels, 3, padding=1).to(**place)
        x = torch.randn(1, channels, *[size] * case.dims).to(**place)
        flops = 2 * x.numel() * channels * 3**case.dims
        with torch.inference_mode():
            best = min(seconds(lambda c=conv, x=x: c(x), device) for _ in range(3 * repeats + 2))
        rates.append(flops / best)
    return max(rates)


def measure(case: Case, device: torch.device, repeats: int) -> dict[str, Measured]:
    torch.manual_seed(0)
    jobs = {name: Job(net, case, device) for name, net in networks(case.dims).items()}
    results = {}
    for name, job in jobs.items():
        job.step()  # the first runs choose algorithms and create the optimizer state
        job.forward()
        parameters = sum(p.numel() for p in job.net.parameters())
        results[name] = Measured(peak=job.peak(), flops=job.flops(), parameters=parameters)
    for _ in range(repeats):
        for name, job in jobs.items():
            results[name].forward.append(seconds(job.forward, device))
            results[name].step.append(seconds(job.step, device))
    return results


def ratio(times: list[float], base: list[float]) -> tuple[float, str]:
    """The median of the ratios within each repeat, and the same with quartiles as text."""
    ratios = [t / b for t, b in zip(times, base, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return median, f"{median:.3f} ({low:.3f}-{high:.3f})"


def mark(holds: bool, target: float) -> str:
    return f" {'holds' if holds else 'MISSED'} (<= {target})"


def add_rows(
    table: Table,
    case: Case,
    results: dict[str, Measured],
    rate: float,
    *,
    judge: bool,
    judge_multi: bool,
) -> None:
    base = results[BASE]
    for name, m in results.items():
        forward, forward_text = ratio(m.forward, base.forward)
        step, step_text = ratio(m.step, base.step)
        memory = m.peak / base.peak
        memory_text = f"{m.peak / 2**20:.0f} ({memory:.3f})"
        if name == LEAN and judge:
            limit = MAX_TIME[case.dims]
            forward_text += mark(forward <= limit, limit)
            step_text += mark(step <= limit, limit)
            memory_text += mark(memory <= MAX_MEMORY, MAX_MEMORY)
            if judge_multi:
                of_multi, text = ratio(m.step, results[MULTI].step)
                step_text += f"; of multi-gate {text}{mark(of_multi <= MAX_OF_MULTI, MAX_OF_MULTI)}"
        table.add_row(
            str(case),
            name,
            f"{1e3 * statistics.median(m.forward):.1f}",
            forward_text,
            f"{1e3 * statistics.median(m.step):.1f}",
            step_text,
            memory_text,
            f"{m.parameters / 1e6:.2f}",
            f"{m.flops / 1e9:.1f}",
            f"{100 * m.flops / statistics.median(m.forward) / rate:.0f} %",
        )


def main(
    quick: Annotated[bool, typer.Option(help="Small sizes, few repeats, no verdicts.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    repeats: Annotated[int, typer.Option(min=0, help="0 means 15, or 3 with --quick.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    output: Annotated[Path | None, typer.Option(help="New Markdown file for the table.")] = None,
) -> None:
    """Compare forward pass and training step of the networks: batch 1, channels_last."""
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise typer.BadParameter(f"--device {device!r} is not available here; use cpu.")
    if output is not None and (output.exists() or not output.parent.is_dir()):
        raise typer.BadParameter(f"--output {output}: give a new file in an existing folder.")
    torch.set_num_threads(threads)
    where, repeats = torch.device(device), repeats or (3 if quick else 15)
    table, notes = Table(box=MARKDOWN), []
    for column in COLUMNS:
        table.add_column(column)
    for dims, size in ((2, 128), (3, 32)) if quick else ((2, 256), (2, 512), (3, 96)):
        rates = {}
        for dtype in (torch.float32, torch.bfloat16):
            case = Case(dims, size, dtype)
            typer.echo(f"{case}: {repeats} repeats", err=True)
            rates[dtype] = best_rate(case, where, repeats)
            notes.append(f"{case} {rates[dtype] / 1e9:.0f} GFLOP/s")
            # Without matrix units bf16 is emulated; its times say nothing about real bf16.
            real = dtype == torch.bfloat16 and rates[dtype] > rates[torch.float32]
            results = measure(case, where, repeats)
            judged = {"judge": not quick, "judge_multi": dims == 3 and real}
            add_rows(table, case, results, rates[dtype], **judged)
            if dtype == torch.bfloat16 and not real:
                notes[-1] += " (emulated: not judged against the multi-gate network)"
    processor = torch.cuda.get_device_name() if device == "cuda" else f"{threads} CPU threads"
    note = f"{processor}, torch {torch.__version__}, {repeats} repeats. Best convolution: "
    note += ", ".join(notes) + "."
    console = Console(width=400, record=True)
    console.print(table, note)
    if output is not None:
        with output.open("x") as file:
            lines = console.export_text().strip().splitlines()
            file.writelines(f"{line.rstrip()}\n" for line in lines)


if __name__ == "__main__":
    typer.run(main)
