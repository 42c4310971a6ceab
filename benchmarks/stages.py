"""Say where the CPU seconds of `predict` go, from a file or a DICOM series to mask, SEG and page.

    python benchmarks/stages.py CHECKPOINT [--bundle DIR] [--size 4288 2848] [--slices 300]

A model of photographs gets one as JPEG and as PNG, drawn and enlarged to ``--size``, and again with
the earlier preprocessing and postprocessing, MONAI's ``Resized`` and ``Invertd``. A model of
volumes gets a drawn CT as a DICOM series. Other processes hardly change CPU seconds, unlike those
of the clock. The first case, which loads libraries, is not counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from pipeline.bundle.predictor import Predictor
from pipeline.prediction import case
from pipeline.prediction.bundle import read_model
from pipeline.prediction.predict import predict

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))

#: Functions by the stage that they are; what a stage calls of another one counts there.
STAGES = {
    "read": ["_read_pictures", "_read_volumes"],
    "shade for the page": ["shade"],
    "measure": ["_measure"],
    "write": ["_write"],
    "page": ["write_view"],
}
_RESIZED = {"spatial_size": "$max(@roi_size)", "size_mode": "longest", "mode": "bilinear"}
RESIZE = {"_target_": "Resized", "keys": "image", **_RESIZED, "anti_aliasing": True}
RESTORE = [
    {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
    {
        **{"_target_": "Invertd", "keys": "pred", "orig_keys": "image"},
        **{"transform": "@preprocessing", "nearest_interp": False},
    },
    {
        **{"_target_": "pipeline.transforms.MarkRegionsd", "keys": "pred"},
        **{"regions": "@regions", "threshold": "@threshold"},
    },
]


class Stopwatch:
    """CPU seconds by stage; those of a stage inside another count once."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.running = [""]
        self.since = time.process_time()

    def turn(self) -> None:
        now = time.process_time()
        self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def watch(self, stage: str, function: Callable) -> Callable:
        @wraps(function)
        def watched(*args: Any, **options: Any) -> Any:
            self.turn()
            self.running.append(stage)
            try:
                return function(*args, **options)
            finally:
                self.turn()
                self.running.pop()

        return watched


def main(
    checkpoint: Path,
    bundle: Path | None = None,
    size: Annotated[tuple[int, int], typer.Option(help="Width and height, px.")] = (4288, 2848),
    slices: Annotated[int, typer.Option(help="Of a CT of 512 x 512.")] = 300,
) -> None:
    """Print the stages of each kind of case with their shares."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = read_model(bundle, checkpoint=checkpoint)
        if model.volumes:
            ways = {"CT": (draw_series(folder, slices), [])}
        else:
            files = draw_photographs(folder, size)
            overlay = folder / "before.json"
            overlay.write_text(json.dumps(as_before(model.config)))
            ways = {file.suffix: (file, []) for file in files}
            ways |= {f"{file.suffix} by MONAI": (file, [str(overlay)]) for file in files}
        found = {}
        for name, (path, overlays) in ways.items():
            options = {"bundle": bundle, "checkpoint": checkpoint, "overlays": overlays}
            found[name] = measure(path, folder / f"out {name}", options)
    for name, seconds in found.items():
        total = sum(seconds.values())
        print(f"\n{name}: {total:.2f} s of the CPU")
        for stage, value in seconds.most_common():
            print(f"  {stage:28}{value:7.2f} s{value / total:6.0%}")


def measure(path: Path, output: Path, options: dict[str, Any]) -> Counter[str]:
    """The CPU seconds of a case's stages; it is done twice."""
    watch, ends = Stopwatch(), []
    kept = {name: getattr(case, name) for names in STAGES.values() for name in names}
    build, segment = Predictor.__init__, case.segment

    def built(self: Predictor, *args: Any, **more: Any) -> None:
        build(self, *args, **more)
        self.inferer = watch.watch("network", self.inferer)
        for steps in (self.preprocessing, self.postprocessing):
            for step in steps.transforms:
                kind = type(step)
                own = {"__call__": watch.watch(kind.__name__.removesuffix("d"), kind.__call__)}
                step.__class__ = type(kind.__name__, (kind,), own)

    def timed(*args: Any) -> Any:
        watch.turn()
        watch.seconds.clear()
        return watch.watch("all else", segment)(*args)

    import pipeline.prediction.predict as command

    try:
        Predictor.__init__, command.segment = built, timed
        for stage, names in STAGES.items():
            for name in names:
                setattr(case, name, watch.watch(stage, kept[name]))
        for number in range(2):
            predict([path], output=output / str(number), **options)
            ends.append(watch.seconds.copy())
    finally:
        Predictor.__init__, command.segment = build, segment
        for name, function in kept.items():
            setattr(case, name, function)
    return Counter({name: each for name, each in ends[-1].items() if name})


def as_before(config: dict[str, Any]) -> dict[str, Any]:
    """The steps of a photograph by MONAI's transforms, on all of its pixels."""
    before = [dict(each) for each in config["preprocessing"]["transforms"]]
    before[0].pop("dtype", None)
    place = next(n for n, each in enumerate(before) if each["_target_"].endswith("ResizePictured"))
    del before[place]
    before.insert(place + 1, RESIZE)  # after the scaling of the intensities
    after = []
    for each in config["postprocessing"]["transforms"]:
        after += RESTORE if each["_target_"].endswith("RestoreGridd") else [each]
    steps = {"preprocessing": before, "postprocessing": after}
    return {name: {**config[name], "transforms": each} for name, each in steps.items()}


def draw_photographs(folder: Path, size: tuple[int, int]) -> list[Path]:
    """One drawn photograph with a camera's noise, as JPEG and as PNG."""
    from pipeline.datasets.phantoms.fundus import fundus_phantom

    large = np.asarray(Image.fromarray(fundus_phantom(1)[0]).resize(size, Image.Resampling.BICUBIC))
    noise = np.random.default_rng(0).normal(0, 3, large.shape)
    picture = Image.fromarray(np.clip(large + noise, 0, 255).astype(np.uint8))
    files = [folder / "photograph.jpg", folder / "picture.png"]
    picture.save(files[0], quality=92)
    picture.save(files[1])
    return files


def draw_series(folder: Path, slices: int) -> Path:
    """One drawn CT as a DICOM series."""
    import nibabel
    from ct_dicom import write_dicom_series

    from pipeline.datasets.phantoms.ct import ct_phantom

    phantom = ct_phantom(0, size=(512, 512, slices))
    # The axes of a drawn CT have any order, and the last one is that of the slices.
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(phantom.image, phantom.affine))
    write_dicom_series(folder / "series", np.asarray(turned.dataobj), turned.affine)
    return folder / "series"


if __name__ == "__main__":
    typer.run(main)
