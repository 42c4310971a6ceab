"""The trained network as an MLflow model that segments image files in any process."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ..bundle.channels import is_split
from ..bundle.trained import BEST, MEMBERS, as_ensemble, read_config
from ..files import read_json, write_json

NAME = "model"  # of the model in its run
REQUIREMENTS = (
    "torch", "monai", "pytorch-ignite", "numpy", "scipy", "pillow", "scikit-image", "nibabel",
)  # fmt: skip


def save_model(folder: Path, *, config: Mapping[str, Any], weights: Path, run_name: str) -> None:
    """Write an MLflow model: the weights, the inference config and the code that this needs.

    ``mlflow.pyfunc.load_model(...).predict(paths)`` takes paths of images, as a list or as the
    only column of a table, and returns an index mask for each, uint8, on the grid of the image:
    (rows, columns) for pictures, the axes of the file for volumes. If an image has a file for each
    channel, the table has a column for each, with its name. ``config`` is the inference config that
    fits the weights; the model's metadata have the name of the training, ``run_name``.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    data = folder.parent / "model_data"
    for old in (folder, data):
        shutil.rmtree(old, ignore_errors=True)
    data.mkdir(parents=True)
    members = read_config(weights).get(MEMBERS, 1)
    write_json(data / "inference.json", as_ensemble(config, members))
    try:
        os.link(weights, data / BEST)  # no second copy if the file system can link
    except OSError:
        shutil.copyfile(weights, data / BEST)
    names = config.get("channel_names", ())
    columns = [ColSpec("string", name) for name in names] if is_split(names) else []
    with warnings.catch_warnings():
        # An example would be the path of a file, which is of no use elsewhere.
        warnings.filterwarnings("ignore", ".*input example")
        mlflow.pyfunc.save_model(
            folder,
            loader_module=__name__,
            data_path=data,
            code_paths=[str(Path(__file__).parents[1])],
            signature=ModelSignature(inputs=Schema(columns or [ColSpec("string")])),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in REQUIREMENTS],
            metadata={"training": run_name},
        )
    shutil.rmtree(data)


def _load_pyfunc(data_path: str) -> SegmentationModel:
    """Load the model: MLflow calls this."""
    return SegmentationModel(Path(data_path))


class SegmentationModel:
    """The network of an inference config, as MLflow calls it."""

    def __init__(self, folder: Path) -> None:
        from ..bundle.as_trained import check_as_trained
        from ..bundle.predictor import Predictor

        config, weights = read_json(folder / "inference.json"), folder / BEST
        check_as_trained(read_config(weights), weights, config)
        self.predictor = Predictor(config, weights)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[Any]:
        """Segment image files.

        Args:
            model_input: paths, or a table with one column of them, or one for each channel.
            params: not used.
        """
        is_table = hasattr(model_input, "columns")
        images = model_input.to_numpy().tolist() if is_table else [[path] for path in model_input]
        return [self.predictor(list(map(str, image))) for image in images]
