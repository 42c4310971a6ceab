"""The steps of ``gpu_proof.sh``, each a process; what they measure is printed as JSON lines."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

BUNDLES = Path(__file__).parents[1] / "bundles"
FUNDUS, CT = (
    BUNDLES / name / "configs"
    for name in ("fundus_disc_cup_segmentation", "pancreas_ct_segmentation")
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = {"channels": [4, 8, 16], "strides": [2, 2]}


def show(result: str, **values: Any) -> None:
    print(json.dumps({"result": result, "device": DEVICE, **values}), flush=True)


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def command(configs: Path, folder: Path, **ids: Any) -> list[str]:
    """A training from the command line, without validation but for the last epoch."""
    ids = {"device": DEVICE, "log_to_mlflow": False, "val_interval": 10**6} | ids
    ids |= {"output_dir": folder}
    options = [text for name, value in ids.items() for text in (f"--{name}", str(value))]
    train = str(configs / "train.json")
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", train, *options]


def history(folder: Path) -> list[dict[str, str]]:
    path = folder / "history.csv"
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


def machine(out: Path, quick: bool) -> None:
    needed = ("monai", "ignite", "nibabel", "fire", "skimage", "scipy", "PIL", "typer", "pytest")
    show(
        "machine",
        python=sys.version.split()[0],
        torch=torch.__version__,
        cudnn=torch.backends.cudnn.version(),
        gpu=torch.cuda.get_device_name() if DEVICE == "cuda" else None,
        bfloat16=DEVICE == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False),
        missing=[name for name in needed if importlib.util.find_spec(name) is None],
    )


def photographs(out: Path, quick: bool) -> None:
    """Seconds per epoch for 50 photographs on a grid of 512 x 512: patches, and whole."""
    from pipeline.datasets.phantoms.fundus import write_fundus_phantoms

    count = 10 if quick else 50
    data = write_fundus_phantoms(out / "fundus", count=count, testing=0.0, overwrite=True).parent
    for size in (256, 512):
        ids = {"patch_size": [size, size]}
        if quick:
            ids = SMALL | {"roi_size": [64, 64], "patch_size": [size // 8, size // 8]}
        folder = out / f"photographs-{size}-{time.time_ns()}"
        epochs = 3 if quick else 20
        subprocess.run(
            command(FUNDUS, folder, dataset_dir=data, fold="all", epochs=epochs, **ids), check=True
        )
        seconds = [float(row["seconds"]) for row in history(folder)[2:]]
        show(
            "photographs", patch=ids["patch_size"], count=count, epoch_s=statistics.median(seconds)
        )


def step(patch: list[int], quick: bool, *, compiled: bool) -> None:
    """Milliseconds of a step of the 3D bundle on noise, and the share that the GPU computes."""
    from ignite.engine import Events
    from monai.bundle import ConfigParser

    steps = 4 if quick else 20
    parser = ConfigParser()
    parser.read_config(str(CT / "train.json"))
    parser.update({"device": DEVICE, "patch_size": patch, "compile": compiled, "epochs": 4})
    parser.update(SMALL if quick else {})
    size = [2, 1, *(length + 2 * parser["margin"] for length in patch)]
    batch = {
        "image": torch.rand(size, device=DEVICE).half(),
        "label": (torch.rand(size, device=DEVICE) > 0.5).to(torch.uint8),
    }
    parser["train"]["dataloader"] = [None] * steps  # the schedule reads its length
    parser["train"]["handlers"] = parser["train"]["handlers"][1:3]
    parser.parse(reset=True)
    parser.get_parsed_content("initialize::1")
    torch.backends.cudnn.benchmark = True
    trainer = parser.get_parsed_content("train#trainer")
    trainer.data_loader = [batch] * steps
    parser.get_parsed_content("ema").attach(trainer)
    took, kernels = [], []
    activity = torch.profiler.ProfilerActivity.CUDA if DEVICE == "cuda" else None
    profiler = torch.profiler.profile(activities=[activity]) if activity else None

    def begin() -> None:
        wait()
        took.append(time.perf_counter())
        if profiler and trainer.state.epoch == 4:  # its own epoch, since it slows the host down
            profiler.start()

    def end() -> None:
        wait()
        took[-1] = (time.perf_counter() - took[-1]) / steps
        if profiler and trainer.state.epoch == 4:
            profiler.stop()
            kernels.append(sum(e.self_device_time_total for e in profiler.key_averages()) / steps)

    trainer.add_event_handler(Events.EPOCH_STARTED, begin)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, end)
    trainer.run()
    show(
        "step",
        patch=patch,
        compiled=compiled,
        first_epoch_s=took[0] * steps,
        step_ms=1000 * min(took[1:3]),
        busy=kernels[0] / 1e6 / min(took[1:3]) if kernels else None,
        peak_gib=torch.cuda.max_memory_allocated() / 2**30 if kernels else None,
    )


def volumes(out: Path, quick: bool) -> None:
    step([16] * 3 if quick else [96] * 3, quick, compiled=False)
    step([24, 24, 16] if quick else [160, 160, 96], quick, compiled=False)


def compiled(out: Path, quick: bool) -> None:
    step([16] * 3 if quick else [96] * 3, quick, compiled=True)
    if not quick:  # a CPU compiles for minutes
        step([160, 160, 96], quick, compiled=True)


def killed(out: Path, quick: bool) -> None:
    """Kill a training, and resume it."""
    from pipeline.datasets.phantoms.ct import write_ct_phantoms

    data = write_ct_phantoms(out / "ct", count=10, size=(56, 56, 28), overwrite=True).parent
    folder = out / f"killed-{time.time_ns()}"
    ids = SMALL | {"dataset_dir": data, "spacing": [5] * 3, "roi_size": [32] * 3}
    ids |= {"patch_size": [24] * 3, "margin": 4}
    with subprocess.Popen(command(CT, folder, epochs=10**4, **ids)) as process:
        while process.poll() is None and len(history(folder)) < 3:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = len(history(folder))
    wanted = before + 3
    done = subprocess.run(command(CT, folder, epochs=wanted, resume=True, **ids))
    epochs = [int(row["epoch"]) for row in history(folder)]
    whole = epochs == list(range(1, wanted + 1))
    show("killed", at_epoch=before, resumed=done.returncode == 0 and whole)


def predict(out: Path, quick: bool) -> None:
    """Seconds of a CT of 512 x 512 x 300 with the 3D bundle's network, untrained."""
    import nibabel
    from monai.bundle import ConfigParser

    from pipeline.bundle.predictor import Predictor
    from pipeline.datasets.phantoms.ct import ct_phantom

    size = (64, 64, 40) if quick else (512, 512, 300)
    phantom = ct_phantom(0, size=size)
    image = out / "one.nii.gz"
    nibabel.save(nibabel.Nifti1Image(phantom.image, phantom.affine), image)
    parser = ConfigParser()
    parser.read_config(str(CT / "inference.json"))
    parser.update({"device": DEVICE, **(SMALL if quick else {})})
    torch.save(parser.get_parsed_content("network_def").state_dict(), out / "untrained.pt")
    predictor = Predictor(parser.config, out / "untrained.pt")
    for turn in ("cold", "warm"):
        times = [time.perf_counter()]

        def note() -> None:
            wait()
            times.append(time.perf_counter())  # noqa: B023

        item = predictor.preprocessing({"image": str(image)})
        note()
        with torch.no_grad():
            batch = item["image"][None].to(predictor.device)
            item["pred"] = predictor.inferer(batch, predictor.network)[0]
        note()
        mask = predictor.postprocessing(item)["pred"].cpu().numpy()[0]
        nibabel.save(nibabel.Nifti1Image(mask.astype("uint8"), phantom.affine), out / "mask.nii.gz")
        note()
        parts = dict(zip(("reading_s", "network_s", "writing_s"), times[1:], strict=True))
        before = dict(zip(parts, times, strict=False))
        show(
            "predict", size=size, turn=turn, **{name: parts[name] - before[name] for name in parts}
        )


def dice(out: Path, quick: bool) -> None:
    """Dice of a training of a minute on phantoms of photographs."""
    from pipeline.datasets.phantoms.fundus import write_fundus_phantoms

    data = write_fundus_phantoms(out / "few", count=10 if quick else 60, overwrite=True).parent
    ids = {"dataset_dir": data, "roi_size": [256, 256], "patch_size": [128, 128]}
    ids |= SMALL | {"roi_size": [64, 64], "patch_size": [64, 64]} if quick else {}
    trial = out / f"trial-{time.time_ns()}"
    subprocess.run(command(FUNDUS, trial, epochs=3 if quick else 10, **ids), check=True)
    seconds = statistics.median(float(row["seconds"]) for row in history(trial)[1:-1])
    epochs = 5 if quick else max(10, int(40 / seconds))
    folder = out / f"dice-{time.time_ns()}"
    subprocess.run(command(FUNDUS, folder, epochs=epochs, lr=0.004, **ids), check=True)
    rows = history(folder)
    spent = sum(float(row["seconds"]) for row in rows)
    show("dice", epochs=epochs, seconds=spent, dice=float(rows[-1]["dice"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    steps = (machine, photographs, volumes, compiled, killed, predict, dice)
    parser.add_argument("step", choices=[each.__name__ for each in steps])
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    globals()[given.step](given.out, given.quick)
