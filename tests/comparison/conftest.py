"""A real MLflow store with trainings and evaluations of drawn eyes, as the pipeline has them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from PIL import Image

from pipeline.evaluation.masks import write_mask
from pipeline.evaluation.metrics import case_metrics, vertical_cdr, vertical_cdr_error
from pipeline.evaluation.summary import summarise, write_summary
from pipeline.files import write_rows
from pipeline.transforms.regions import Regions

REGIONS = ["optic_disc", "optic_cup"]
VALUES = [[1, 2], [2]]
TREE = Regions(dict(zip(REGIONS, VALUES, strict=True)))
WIDTH, HEIGHT = 120, 90


def eye(centre, radius, ratio):
    """Disc and cup ``(2, W, H)``: a circle, and in it one of ``ratio`` times its radius."""
    x, y = np.ogrid[:WIDTH, :HEIGHT]
    distance = np.hypot(x - centre[0], y - centre[1])
    return np.stack([distance < radius, distance < ratio * radius])


@dataclass
class Store:
    """``folder`` holds the photographs and labels; ``client`` is that of the store."""

    folder: Path
    client: MlflowClient
    experiment: str = "eyes"
    cases: dict[str, tuple] = field(default_factory=dict)
    count: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        where = (self.folder / "artifacts").as_uri()
        self.experiment_id = self.client.create_experiment(self.experiment, artifact_location=where)

    def draw(self, count, seed=0):
        """Photographs and labels of ``count`` eyes."""
        rng = np.random.default_rng(seed)
        for number in range(count):
            centre = rng.uniform((40, 35), (80, 55))
            shape = centre, rng.uniform(12, 28), rng.uniform(0.35, 0.8)
            truth = eye(*shape)
            name = f"eye_{number:02d}"
            picture = np.array([90, 40, 20]) + truth.sum(0).T[..., None] * np.array([60, 60, 40])
            picture = picture + rng.normal(0, 6, (HEIGHT, WIDTH, 3))
            image = self.folder / f"{name}.png"
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(image)
            label = write_mask(self.folder / f"{name}_label", truth, TREE, affine=np.eye(4))
            self.cases[name] = (shape, truth, str(image), str(label))

    def run(self, kind, name, *, tags=(), params=(), metrics=(), parent=None, status="FINISHED"):
        tags = {"pipeline.kind": kind, "pipeline.bundle": "fundus", **dict(tags)}
        if parent:
            tags["mlflow.parentRunId"] = parent
        run = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self.client.log_batch(
            run,
            params=[Param(key, str(value)) for key, value in dict(params).items()],
            metrics=[Metric(key, value, 0, step) for key, step, value in metrics],
        )
        self.client.set_terminated(run, status)
        return run

    def training(self, network, *, fold=0, seed=0, parent=None, epochs=6, best=0.9):
        def curve(epoch):
            return best * (1 - np.exp(-epoch / 2)) + 0.01 * seed

        return self.run(
            "training",
            f"{network}-{fold}-{seed}",
            tags={"pipeline.network": network},
            params={"fold": fold, "seed": seed, "lr": 0.002, "gates": int("att" in network)},
            metrics=[
                ("train/minutes", 0, 12.5 + seed),
                ("train/peak_memory_mb", 0, 2048),
                *(("val/dice", epoch, curve(epoch)) for epoch in range(1, epochs + 1)),
            ],
            parent=parent,
        )

    def evaluation(
        self, network, *, shift, fold=0, seed=0, cases=None, training=None, parent=None,
        section="testing", digest="d1", status="FINISHED", predictions=True, checkpoint=None,
        grown=0, unit="px", threshold=0.5, members=0, title="",
    ):  # fmt: skip
        """An evaluation whose masks lie ``shift(shape)`` px beside the truth."""
        folder = self.folder / f"evaluation_{next(self.count)}"
        rows = []
        for name in cases or self.cases:
            shape, truth, image, label = self.cases[name]
            if grown:
                truth = eye(shape[0], shape[1] + grown, shape[2])
            centre = shape[0] + np.array([shift(shape), 0])
            predicted = eye(centre, *shape[1:])
            row = {"case": name, "image": image, "label": label}
            row |= case_metrics(predicted, truth, REGIONS, (1, 1))
            ratios = [vertical_cdr(*mask, axis=1) for mask in (predicted, truth)]
            row |= {"vertical_cdr/prediction": ratios[0], "vertical_cdr/truth": ratios[1]}
            rows.append(row | {"vertical_cdr/absolute_error": vertical_cdr_error(*ratios)})
            if predictions:
                path = folder / "predictions" / name
                write_mask(path, predicted, TREE, affine=np.eye(4))
        if "attention" in network:
            path = folder / "figures" / "attention.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))).save(path)
        write_rows(folder / "cases.csv", rows)
        summary = {"units": {"hd95": unit}, "threshold": threshold, **summarise(rows, resamples=50)}
        if predictions:
            summary["label_values"] = dict(zip(REGIONS, VALUES, strict=True))
        write_summary(folder / "summary.json", summary)
        config = {"measured_on": {"name": "Drawn eyes", "licence": "none"}}
        (folder / "config.json").write_text(json.dumps(config))
        tags = {
            "pipeline.network": network,
            "pipeline.section": section,
            "pipeline.datalist_sha256": digest,
        }
        tags |= {"pipeline.training_run_id": training} if training else {}
        tags |= {"pipeline.checkpoint_sha256": checkpoint} if checkpoint else {}
        tags |= {"pipeline.members": str(members)} if members else {}
        tags |= {"pipeline.title": title} if title else {}
        run = self.run(
            "evaluation",
            f"evaluation of {network}-{fold}-{seed}",
            tags=tags,
            params={"fold": fold, "seed": seed},
            metrics=[
                (f"{section}/seconds_per_image", 0, 0.025),
                ("model/parameters", 0, 2_095_061),
                ("model/gflops", 0, 11.5),
            ],
            parent=parent,
            status=status,
        )
        self.client.log_artifacts(run, str(folder))
        return run


@pytest.fixture(scope="module")
def new_store(tmp_path_factory):
    """Makes stores of eyes: one database for a module, since MLflow takes seconds to make one."""
    folder = tmp_path_factory.mktemp("eyes")
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    numbers = itertools.count()

    def make(count):
        name = f"eyes {next(numbers)}"
        store = Store(folder / name.replace(" ", "_"), client, name)
        store.draw(count)
        return store

    return make
