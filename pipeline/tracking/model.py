"""The trained network as an MLflow model, which segments image files in any process."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

NAME = "model"  # of the model in its run
REQUIREMENTS = (
    "torch",
    "monai",
    "pytorch-ignite",
    "numpy",
    "scipy",
    "pillow",
    "scikit-image",
    "nibabel",
)


def save_model(folder: Path, *, config: Mapping[str, Any], weights: Path, run_name: str) -> None:
    """Write an MLflow model: the weights, the inference config and the code that it names.

    ``mlflow.pyfunc.load_model(...).predict(paths)`` takes paths of images, as a list or as the
    only column of a table, and gives one index mask each, uint8, on the image's own grid:
    (rows, columns) for photographs, the file's axes for volumes.

    Args:
        folder: the folder to make.
        config: the inference config that fits the weights.
        weights: a file with the network's state dictionary.
        run_name: the training, for the model's metadata.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    data = folder.parent / "model_data"
    for old in (folder, data):
        shutil.rmtree(old, ignore_errors=True)
    data.mkdir(parents=True)
    (data / "inference.json").write_text(json.dumps(config, indent=4))
    try:
        os.link(weights, data / "model.pt")  # no second copy, where the file system can
    except OSError:
        shutil.copyfile(weights, data / "model.pt")
    with warnings.catch_warnings():
        # An example would be one file's path, of no use elsewhere.
        warnings.filterwarnings("ignore", ".*input example")
        mlflow.pyfunc.save_model(
            folder,
            loader_module=__name__,
            data_path=data,
            code_paths=[str(Path(__file__).parents[1])],
            signature=ModelSignature(inputs=Schema([ColSpec("string")])),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in REQUIREMENTS],
            metadata={"training": run_name},
        )
    shutil.rmtree(data)


def _load_pyfunc(data_path: str) -> SegmentationModel:
    """What MLflow calls to load the model."""
    return SegmentationModel(Path(data_path))


class SegmentationModel:
    """The network of an inference config, with its preprocessing and postprocessing."""

    def __init__(self, folder: Path) -> None:
        import torch
        from monai.bundle import ConfigParser

        parser = ConfigParser(json.loads((folder / "inference.json").read_text()))
        steps = parser["postprocessing"]["transforms"]
        parser["postprocessing"]["transforms"] = [
            step for step in steps if step["_target_"] != "SaveImaged"
        ]
        parser.parse()
        self.device = parser.get_parsed_content("device")
        self.network = parser.get_parsed_content("network")
        weights = torch.load(folder / "model.pt", map_location=self.device, weights_only=True)
        self.network.load_state_dict(weights)
        self.network.eval()
        self.inferer = parser.get_parsed_content("inferer")
        self.preprocessing = parser.get_parsed_content("preprocessing")
        self.postprocessing = parser.get_parsed_content("postprocessing")

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[Any]:
        """Index masks of image files.

        Args:
            model_input: paths, or a table with one column of them.
            params: not used.
        """
        paths = model_input.iloc[:, 0] if hasattr(model_input, "columns") else model_input
        return [self.segment(str(path)) for path in paths]

    def segment(self, path: str) -> Any:
        """The index mask of one image file, uint8, on the image's grid."""
        import numpy as np
        import torch
        from monai.data import decollate_batch, list_data_collate

        batch = list_data_collate([self.preprocessing({"image": path})])
        with torch.no_grad():
            batch["pred"] = self.inferer(batch["image"].to(self.device), self.network)
        mask = self.postprocessing(decollate_batch(batch)[0])["pred"]
        array = np.asarray(mask.cpu())[0].astype(np.uint8)
        return array.T if array.ndim == 2 else array  # MONAI reads photographs as (W, H)
