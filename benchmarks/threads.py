"""Time training steps of one process, and of two beside each other, by how their threads wait.

    python benchmarks/threads.py [--steps 30]

OpenMP's threads, which PyTorch computes with on a CPU, meet at barriers hundreds of times a step.
By default they wait there in a loop that takes the core which the other process needs;
``OMP_WAIT_POLICY=passive`` lets them sleep. All rows are of one run on one machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

WORKER = """
import sys, time, torch
from torch import nn
torch.manual_seed(0)
wide = [3, 16, 32, 32, 16, 2]
layers = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
          for a, b in zip(wide, wide[1:])]
network, images = nn.Sequential(*layers), torch.rand(2, 3, 64, 64)
def step():
    network(images).square().mean().backward()
step()
print("ready", flush=True)
input()
begun, used = time.perf_counter(), time.process_time()
for _ in range(int(sys.argv[1])):
    step()
print(time.perf_counter() - begun, time.process_time() - used)
"""
WAYS = {
    "as PyTorch starts": {},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}


def main(steps: Annotated[int, typer.Option(help="Steps of each process.")] = 30) -> None:
    """Print the milliseconds of a step, by the clock and of the CPU, of one and two processes."""
    print(f"{'':26}{'one: clock':>12}{'CPU':>8}{'two: clock':>12}{'CPU':>8}   ms per step")
    for name, env in WAYS.items():
        measured = [measure(count, steps, env) for count in (1, 2)]
        numbers = [1000 * value / steps for pair in measured for value in pair]
        print("{:26}{:12.1f}{:8.1f}{:12.1f}{:8.1f}".format(name, *numbers), flush=True)


def measure(count: int, steps: int, env: dict[str, str]) -> tuple[float, float]:
    """The seconds that the slowest of some processes takes, and the mean of their CPU seconds."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, "-c", WORKER, str(steps)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=clean | env, **pipes) for _ in range(count)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    times = [tuple(map(float, process.communicate()[0].split())) for process in processes]
    return max(clock for clock, _ in times), sum(used for _, used in times) / count


if __name__ == "__main__":
    typer.run(main)
