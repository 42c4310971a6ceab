"""Measure `predict` with and without reading and writing beside the network, in one run.

    python benchmarks/predict.py [--count 6] [--size 256] [--device cuda] [--repeats 3]

CTs are drawn, and a network of the usual size with random weights segments them. Each repeat runs
both ways one after the other, each in a process of its own, so other load affects them equally.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

BUNDLE = Path(__file__).parents[1] / "bundles" / "pancreas_ct_segmentation"


def draw(folder: Path, count: int, size: int) -> None:
    """CTs of 0.8 x 0.8 x 1.5 mm, with the noise that keeps a real file from being small."""
    import nibabel
    import numpy as np

    random = np.random.default_rng(0)
    grid = np.linspace(-1, 1, size, dtype=np.float32)
    inside = (grid[:, None] ** 2 + grid[None] ** 2 < 0.8)[..., None]
    for number in range(count):
        noise = random.normal(40, 25, (size, size, size // 2)).astype(np.int16)
        volume = np.where(inside, noise, np.int16(-1000))
        nibabel.save(
            nibabel.Nifti1Image(volume, np.diag([-0.8, -0.8, 1.5, 1])), folder / f"{number}.nii.gz"
        )


def run(folder: Path, weights: Path, output: Path, device: str, ahead: bool) -> None:
    """Predict once, and print what it took, without the start of Python and of the libraries."""
    from pipeline.prediction.predict import predict

    settings = [f"device={device}", "components={}"]
    options = {"bundle": BUNDLE, "checkpoint": weights, "overrides": settings, "ahead": ahead}
    first, *_ = sorted(folder.iterdir())
    predict([first], output=output / "first", **options)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    predict([folder], output=output / "all", **options)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"s": seconds, "cpu s": cpu, "peak MiB": after.ru_maxrss / 1024}))


def main(
    count: Annotated[int, typer.Option(min=2, help="CTs.")] = 6,
    size: Annotated[int, typer.Option(min=64, help="Columns and rows; slices are half.")] = 256,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Print cases per minute, CPU seconds per case and peak memory, both ways."""
    import torch
    from monai.bundle import ConfigParser

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "in").mkdir()
        draw(work / "in", count, size)
        config = json.loads((BUNDLE / "configs/inference.json").read_text()) | {"device": "cpu"}
        network = ConfigParser(config).get_parsed_content("network_def")
        torch.save(network.state_dict(), work / "model.pt")
        (work / "config.json").write_text(json.dumps({"channels": config["channels"]}))
        found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        for repeat in range(repeats):
            for ahead, measured in found.items():
                output = work / f"{repeat}-{ahead}"
                call = ["run", work / "in", work / "model.pt", output, device, int(ahead)]
                command = [sys.executable, __file__, *map(str, call)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                measured.append(json.loads(done.stdout.splitlines()[-1]))
    print("| | cases per minute | CPU s per case | peak MiB |\n|---|---|---|---|")
    for ahead, measured in found.items():
        s, cpu, peak = (statistics.median(m[key] for m in measured) for key in measured[0])
        way = "beside the network" if ahead else "one after the other"
        print(f"| {way} | {60 * count / s:.2f} | {cpu / count:.2f} | {peak:.0f} |")
    pairs = zip(*found.values(), strict=True)
    ratios = [round(one["s"] / other["s"], 3) for one, other in pairs]
    print(f"\nTimes as fast: {statistics.median(ratios)} (each repeat: {ratios}); {device}.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(*map(Path, sys.argv[2:5]), device=sys.argv[5], ahead=sys.argv[6] == "1")
    else:
        typer.run(main)
