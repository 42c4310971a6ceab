"""Compare time and memory of the pancreas bundle with a pipeline in the style of MONAI's model zoo.

    python benchmarks/pancreas.py inference [--quick] [--threads 2] [--images DIR]
    python benchmarks/pancreas.py training [--quick] [--threads 2] [--device cuda]

`inference` goes from the NIfTI file of a CT to the NIfTI file of its mask, with random weights,
which take as long as trained ones. Each measurement runs in its own process, so that its peak
memory is its own. `training` times the steps of both pipelines in turn, so other load on the
machine affects both equally.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

BUNDLE = Path(__file__).parents[1] / "bundles/pancreas_ct_segmentation/configs"
WIDTHS, STRIDES = (16, 32, 64, 128, 256), (2, 2, 2, 2)
PEER, SAME, OWN = "MONAI zoo style", "bundle, windows of the peer", "bundle"
#: Shape and spacing (mm) of the CTs: an abdomen in thick slices, a chest and abdomen in thin ones.
VOLUMES = {
    "512x512x100": ((512, 512, 100), (0.8, 0.8, 2.5)),
    "512x512x600": ((512, 512, 600), (0.8, 0.8, 0.8)),
}
QUICK = {"64x64x40": ((64, 64, 40), (3.0, 3.0, 4.0))}
OVERLAP = 0.5  # of the peer's windows
SURE = 5.0  # logit that random weights do not reach

app = typer.Typer(add_completion=False, help=__doc__)
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]


@dataclass
class Measured:
    """Measurements of one volume in one pipeline."""

    stages: dict[str, float] = field(default_factory=dict)  # wall s
    cpu: float = 0.0  # s over all threads, not affected by other processes
    windows: int = 0
    peak: float = 0.0  # GiB of resident memory
    positive: int = 0  # voxels

    @property
    def seconds(self) -> float:
        return sum(self.stages.values())


@app.command()
def inference(
    quick: Annotated[bool, typer.Option(help="Use a small volume.")] = False,
    threads: Threads = 2,
    images: Annotated[Path | None, typer.Option(help="Keep the drawn CTs in this folder.")] = None,
    only: Annotated[str, typer.Option(help="Only this volume, such as 512x512x100.")] = "",
) -> None:
    """Measure time and peak memory per volume, from NIfTI to NIfTI."""
    volumes = QUICK if quick else VOLUMES
    if only and only not in volumes:
        raise typer.BadParameter(f"--only {only!r}: give one of {', '.join(volumes)}.")
    columns = ["volume", "pipeline", "s", "x", "CPU s", "x", "read and resample", "network"]
    columns += ["restore and write", "windows", "peak GiB", "x"]
    table = Table(*columns, box=MARKDOWN)
    with tempfile.TemporaryDirectory() as scratch:
        for name in [only] if only else volumes:
            image = draw((images or Path(scratch)) / f"ct_{name}.nii.gz", *volumes[name])
            peer = None
            for pipeline in (PEER, SAME, OWN):
                got = in_own_process(pipeline, image, Path(scratch), threads)
                peer = peer or got
                table.add_row(*row(name, pipeline, got, peer))
                print(f"{name} {pipeline}: {asdict(got)}", file=sys.stderr)
    Console(width=200).print(table)


def row(name: str, pipeline: str, got: Measured, peer: Measured) -> list[str]:
    return [
        name,
        pipeline,
        f"{got.seconds:.0f}",
        f"{peer.seconds / got.seconds:.1f}",
        f"{got.cpu:.0f}",
        f"{peer.cpu / got.cpu:.1f}",
        *(f"{seconds:.1f}" for seconds in got.stages.values()),
        str(got.windows),
        f"{got.peak:.2f}",
        f"{peer.peak / got.peak:.1f}",
    ]


def draw(path: Path, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Path:
    """Draw a CT phantom on these voxels, unless the file exists."""
    if path.exists():
        return path
    import nibabel
    import numpy as np

    from pipeline.datasets.phantoms.ct import ct_phantom

    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.asarray(spacing) * (np.asarray(shape) - 1) / 2
    phantom = ct_phantom(0, grid=(affine, shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(phantom.image, affine), path)
    return path


def in_own_process(pipeline: str, image: Path, scratch: Path, threads: int) -> Measured:
    result = scratch / "measured.json"
    command = [sys.executable, __file__, "measure", pipeline, str(image), str(result)]
    subprocess.run(command, check=True, env=os.environ | limits(threads), stdout=subprocess.DEVNULL)
    return Measured(**json.loads(result.read_text()))


def limits(threads: int) -> dict[str, str]:
    """Environment in which threads do not use CPU time while they wait."""
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}


@app.command(hidden=True)
def measure(pipeline: str, image: Path, result: Path) -> None:
    """Measure one volume in one pipeline and write the result as JSON."""
    import torch

    from pipeline.engines.handlers import peak_memory_mb

    torch.manual_seed(0)
    output = result.parent / "masks"
    parts = zoo_parts(output) if pipeline == PEER else bundle_parts(pipeline, output)
    network, preprocessing, inferer, postprocessing = parts
    network.eval()
    got = Measured()

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        got.stages[stage] = time.perf_counter() - start

    def count(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        got.windows += len(inputs[0])

    network.register_forward_pre_hook(count)
    network.register_forward_hook(lambda _module, _inputs, logits: small_masks(logits))
    begin = time.process_time()
    with torch.no_grad():
        with timed("read and resample"):
            item = preprocessing({"image": str(image)})
        with timed("network"):
            item["pred"] = inferer(item["image"][None], network)[0]
        with timed("restore and write"):
            item = postprocessing(item)
    got.cpu = time.process_time() - begin
    got.peak = peak_memory_mb() * 1e6 / 2**30
    got.positive = int((item["pred"] > 0).sum())
    result.write_text(json.dumps(asdict(got)))


def small_masks(logits: Any) -> Any:
    """Change the logits to segment 18 ml in the middle of every window.

    Random weights would segment half of the body, and finding its largest component takes longer.
    """
    logits = logits - SURE
    middle = (slice(size // 2 - 8, size // 2 + 8) for size in logits.shape[2:])
    logits[..., *middle] = SURE
    return logits


def bundle_parts(pipeline: str, output: Path) -> tuple[Any, ...]:
    """Network, preprocessing, inferer and postprocessing of ``inference.json``."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(BUNDLE / "inference.json")
    parser["device"], parser["output_dir"] = "cpu", str(output)
    if pipeline == SAME:
        parser["overlap"] = OVERLAP
        parser["inferer"]["inferer"]["stretch"] = 0.0
    names = ("network", "preprocessing", "inferer", "postprocessing")
    return tuple(parser.get_parsed_content(name) for name in names)


def zoo_parts(output: Path) -> tuple[Any, ...]:
    """The same task in the zoo's style, with the bundle's spacing, HU window and patch size."""
    import numpy as np
    from monai.inferers import SlidingWindowInferer
    from monai.networks.nets import AttentionUnet
    from monai.transforms import (
        Activationsd,
        AsDiscreted,
        Compose,
        CropForegroundd,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImaged,
        ScaleIntensityRanged,
        Spacingd,
    )

    config = json.loads((BUNDLE / "inference.json").read_text())
    low, high = config["hu_window"]
    preprocessing = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=config["spacing"], mode="bilinear"),
            ScaleIntensityRanged("image", low, high, b_min=0.0, b_max=1.0, clip=True),
            CropForegroundd("image", source_key="image", allow_smaller=True),
        ]
    )
    inferer = SlidingWindowInferer(
        config["roi_size"], sw_batch_size=4, overlap=OVERLAP, mode="gaussian", device="cpu"
    )
    postprocessing = Compose(
        [
            Activationsd("pred", sigmoid=True),
            Invertd("pred", preprocessing, "image", nearest_interp=False),
            AsDiscreted("pred", threshold=0.5),
            SaveImaged("pred", output_dir=output, resample=False, output_dtype=np.uint8),
        ]
    )
    return AttentionUnet(3, 1, 1, WIDTHS, STRIDES), preprocessing, inferer, postprocessing


@app.command()
def training(
    quick: Annotated[bool, typer.Option(help="Use patches of 48 voxels and two repeats.")] = False,
    threads: Threads = 2,
    repeats: Annotated[int, typer.Option(min=1, help="Steps of each network.")] = 7,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Time the bundle's training step and MONAI's AttentionUnet in fp32, in batches of two."""
    os.environ |= limits(threads)
    import torch

    size, repeats = (48, 2) if quick else (96, repeats)
    image = torch.rand(2, 1, *[size] * 3, device=device)
    label = (torch.rand_like(image) > 0.9).float()
    steps = {PEER: zoo_step(image, label), OWN: bundle_step(image, label)}
    clocks = (time.perf_counter, time.process_time)
    seconds: dict[str, list[tuple[float, ...]]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            start = [clock() for clock in clocks]
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat:  # the first repeat chooses algorithms
                seconds[name].append(
                    tuple(clock() - was for clock, was in zip(clocks, start, strict=True))
                )
    table = Table("pipeline", f"patches of {size}³ per s", "s per step", "x", box=MARKDOWN)
    table.add_column("CPU s per step")
    table.add_column("x")
    for name, times in seconds.items():
        cells = []
        for own, peer in zip(
            zip(*times, strict=True), zip(*seconds[PEER], strict=True), strict=True
        ):
            ratio = statistics.median(p / o for p, o in zip(peer, own, strict=True))
            cells += [f"{statistics.median(own):.3g}", f"{ratio:.2f}"]
        wall = statistics.median(own for own, _ in times)
        table.add_row(name, f"{2 / wall:.3g}", *cells)
    Console(width=120).print(table)


def zoo_step(image: Any, label: Any) -> Callable[[], None]:
    import torch
    from monai.losses import DiceCELoss
    from monai.networks.nets import AttentionUnet

    network = AttentionUnet(3, 1, 1, WIDTHS, STRIDES).to(image.device)
    loss = DiceCELoss(sigmoid=True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss(network(image), label).backward()
        optimizer.step()

    return step


def bundle_step(image: Any, label: Any) -> Callable[[], None]:
    """Network, loss and optimizer of ``train.json``, in the precision of its inferer."""
    from monai.bundle import ConfigParser

    from pipeline.engines.inferer import AutocastInferer

    parser = ConfigParser()
    parser.read_config(BUNDLE / "train.json")
    parser["device"] = str(image.device)
    names = ("network", "loss_function", "optimizer")
    network, loss, optimizer = (parser.get_parsed_content(name) for name in names)
    network.train()
    inferer = AutocastInferer(amp=parser["amp"])

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(inferer(image, network), label).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    app()
