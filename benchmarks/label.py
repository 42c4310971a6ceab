"""Repeat an annotator's work on a real MONAI Label server, and time its requests.

    python benchmarks/label.py FUNDUS_MODEL CT_MODEL [--environment .venv-label]

Each MODEL is a ``model.pt`` or the folder of a training run. The benchmark packages both models,
serves them, segments photographs, submits labels with a larger cup than the model predicts,
retrains, segments again and compares. Then it times warm requests for one photograph and one CT.
The server reports the time of transforms and network; the rest of a request is server overhead.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import nibabel
import numpy as np
import requests
import typer
from PIL import Image
from scipy.ndimage import binary_dilation

from pipeline.datasets.phantoms.ct import ct_phantom
from pipeline.datasets.phantoms.fundus import write_fundus_phantoms
from pipeline.packaging.label_folder import make_app
from pipeline.packaging.label_server import LabelServer

EYE, CT = "fundus_disc_cup_segmentation", "pancreas_ct_segmentation"
BUNDLES = Path(__file__).parents[1] / "bundles"
RIM, CUP = 1, 2
LARGER = 6  # px by which the annotator's cups are larger


def main(
    fundus_model: Path,
    ct_model: Path,
    environment: Path = Path(".venv-label"),
    ct_config: Annotated[
        list[Path] | None, typer.Option(help="Overlay of the CT training; may be repeated.")
    ] = None,
    ct_size: tuple[int, int, int] = (512, 512, 100),
    epochs: int = 10,
    repeats: int = 3,
    port: int = 8000,
) -> None:
    """Package, serve, segment, correct, retrain and compare; then time warm requests."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archives = []
        for name, model, configs in ((EYE, fundus_model, []), (CT, ct_model, ct_config or [])):
            start = time.perf_counter()
            archives.append(folder / f"{name}.zip")
            overlays = [word for path in configs for word in ("--config", str(path))]
            command = [sys.executable, "-m", "pipeline", "package", str(BUNDLES / name), *overlays]
            command += ["--checkpoint", str(model), "--output", str(archives[-1])]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            size = archives[-1].stat().st_size / 1e6
            tell("package", f"{name}: {size:.1f} MB, checked", start)
        write_fundus_phantoms(folder / "eye", count=10, seed=99)
        studies = folder / "eye/images"
        phantom = ct_phantom(0, size=ct_size)
        nibabel.save(nibabel.Nifti1Image(phantom.image, phantom.affine), studies / "ct.nii.gz")
        start = time.perf_counter()
        models = make_app(environment, archives, folder / "app")
        log = folder / "server.log"
        with LabelServer(
            environment, folder / "app", str(studies), models, port=port, log=log
        ) as server:
            tell("serve", f"{server.url} serves {', '.join(models)}", start)
            annotate(server, sorted((folder / "eye/labels").glob("*.png")), epochs)
            for name, image in ((EYE, "phantom_0009"), (CT, "ct")):
                latency(server, name, image, repeats)


def annotate(server: LabelServer, labels: list[Path], epochs: int) -> None:
    """Segment, correct, submit, retrain, segment again, compare."""
    start = time.perf_counter()
    before = {path.stem: infer(server, path.stem) for path in labels}
    tell("infer", f"{len(before)} photographs", start)
    start = time.perf_counter()
    corrected = {}
    for path in labels:
        truth = np.asarray(Image.open(path))
        cup = binary_dilation(truth == CUP, iterations=LARGER) & (truth > 0)
        corrected[path.stem] = np.where(cup, CUP, np.where(truth > 0, RIM, 0)).astype(np.uint8)
    learnt, held_out = labels[:-3], labels[-3:]
    for path in learnt:
        content = io.BytesIO()
        Image.fromarray(corrected[path.stem]).save(content, "png")
        answer = requests.put(
            f"{server.url}/datastore/label",
            params={"image": path.stem, "tag": "final"},
            files={"label": (path.name, content.getvalue())},
        )
        answer.raise_for_status()
    tell("submit", f"{len(learnt)} corrected labels; {len(held_out)} held out", start)
    start = time.perf_counter()
    options = {"max_epochs": epochs, "val_split": 0.3}
    requests.post(f"{server.url}/train/{EYE}", json=options).raise_for_status()
    while (task := requests.get(f"{server.url}/train/").json())["status"] in (
        "SUBMITTED",
        "RUNNING",
    ):
        time.sleep(1)
    tell("retrain", f"{task['status']}, {epochs} epochs", start)
    after = {path.stem: infer(server, path.stem) for path in held_out}
    for title, masks in (("before", before), ("after", after)):
        scores = [dice(masks[path.stem], corrected[path.stem]) for path in held_out]
        tell("compare", f"Dice of the larger cup {title}: {statistics.mean(scores):.3f}")


def latency(server: LabelServer, name: str, image: str, repeats: int) -> None:
    """Time warm requests; the first request loads the network."""
    seconds, parts = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        found = request(server, name, image, "json").json()["latencies"]
        seconds.append(time.perf_counter() - start)
        parts.append(found)
    total = statistics.median(seconds[1:])
    names = ("pre", "infer", "post")
    part = {key: statistics.median(each[key] for each in parts[1:]) for key in names}
    own = statistics.median(
        whole - sum(each[key] for key in names)
        for whole, each in zip(seconds[1:], parts[1:], strict=True)
    )
    tell(
        "latency",
        f"{name}, warm, median of {repeats}: {total:.2f} s (preprocessing {part['pre']:.2f}, "
        f"network {part['infer']:.2f}, postprocessing {part['post']:.2f}, server overhead "
        f"{own:.2f}); first request {seconds[0]:.2f} s",
    )


def request(server: LabelServer, name: str, image: str, output: str) -> requests.Response:
    answer = requests.post(f"{server.url}/infer/{name}", params={"image": image, "output": output})
    answer.raise_for_status()
    return answer


def infer(server: LabelServer, image: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(request(server, EYE, image, "image").content)))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one == CUP, other == CUP
    return 2 * (one & other).sum() / max(1, one.sum() + other.sum())


def tell(step: str, text: str, start: float | None = None) -> None:
    seconds = "" if start is None else f" ({time.perf_counter() - start:.1f} s)"
    print(f"{step:<9}{text}{seconds}", flush=True)


if __name__ == "__main__":
    typer.run(main)
