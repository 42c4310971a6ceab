"""A bundle with a checkpoint: what to run, on which kind of image, and what it finds there."""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line
from ..files import read_json

#: Ids that say where something runs or lies, and nothing about the masks.
_PLACES = {"bundle_root", "dataset_dir", "output_dir", "ckpt_path", "device"}


#: Ids that an argument of the command stands for.
_GIVEN = {
    "bundle_root": "--bundle",
    "ckpt_path": "--checkpoint",
    "dataset_dir": "the images as INPUT",
    "output_dir": "--output",
}


@dataclass(frozen=True)
class Model:
    """What a command runs.

    Attributes:
        config: the ``inference.json`` that fits the checkpoint.
        weights: the file of the checkpoint.
        volumes: whether it takes volumes, else photographs.
        ct: whether these have to be in Hounsfield units.
        regions: names of the network's channels, outermost first.
        about: what a report says of it: bundle, checkpoint and settings.
        digest: the same for two commands whose masks are the same.
    """

    config: dict[str, Any]
    weights: Path
    volumes: bool
    ct: bool
    regions: tuple[str, ...]
    about: dict[str, Any]
    digest: str

    @property
    def name(self) -> str:
        return self.about["bundle"]["name"]

    @property
    def version(self) -> str:
        """That of the bundle, and the beginning of its checkpoint's digest."""
        return f"{self.about['bundle']['version']}+{self.about['checkpoint']['sha256'][:8]}"


def read_model(
    bundle: Path,
    *,
    checkpoint: Path | None = None,
    overlays: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> Model:
    """Put a bundle's ``inference.json`` together for a checkpoint.

    What it shares with a training is as it was there, if the training left its ``config.json``
    beside the checkpoint. Overlays come after that, and overrides last.

    Args:
        bundle: folder of the bundle.
        checkpoint: ``model.pt``, or the folder of a training; by default the bundle's own.
        overlays: config files, also by their names in the bundle's ``configs``.
        overrides: texts such as ``roi_size=[224,224]`` or ``inferer#overlap=0.5``.

    Raises:
        InputError: a file is absent or malformed, or an id is unknown.
    """
    from monai.bundle import ConfigParser

    from ..bundle.configs import inference_config
    from ..bundle.settings import check_settings
    from ..files import sha256

    configs = bundle / "configs"
    config = read_json(configs / "inference.json", "give --bundle, the folder of a bundle.")
    metadata = read_json(configs / "metadata.json", "the bundle needs its metadata.")
    weights = checkpoint or bundle / "models" / "model.pt"
    weights = weights / "model.pt" if weights.is_dir() else weights
    if not weights.is_file():
        raise InputError(
            f"checkpoint {weights}: there is no such file; give --checkpoint, the model.pt "
            "that a training wrote, or its folder."
        )
    training = weights.parent / "config.json"
    if training.is_file():
        config = inference_config(config, read_json(training, "move it away from the checkpoint."))
    else:
        training = None
    config = _with_overlays(config, configs, overlays)
    given = dict(_override(text, config) for text in overrides)
    parser = ConfigParser(config)
    for name, value in given.items():
        try:
            parser.update(pairs={name: value})
        except Exception as error:  # MONAI's parser raises about anything
            raise InputError(
                f"--set {name}={value}: inference.json has no such place ({one_line(error)})."
            ) from None
    config = parser.get()
    config["bundle_root"] = str(bundle.resolve())
    if "device" not in given and (device := _own_gpu()):
        config["device"] = device

    try:
        formats = metadata["network_data_format"]
        image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
        dimensions = len(image["spatial_shape"])
        regions = config.get("regions") or [
            name for _, name in sorted(pred["channel_def"].items()) if name != "background"
        ]
        version = metadata["version"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{configs / 'metadata.json'}: it lacks {error}; say in network_data_format what "
            "`image` and `pred` are."
        ) from None
    trained = config.get("network_def", {}).get("spatial_dims", dimensions)
    if trained != dimensions:
        raise InputError(
            f"checkpoint {weights}: its network takes {trained}D images and the bundle {bundle} "
            f"{dimensions}D ones; give the bundle that it was trained with."
        )
    check_settings(config, option="--set {}=...")
    sha256 = sha256(weights)
    about = {
        "bundle": {
            "path": str(bundle.resolve()),
            "name": bundle.resolve().name,
            "version": version,
        },
        "checkpoint": {"path": str(weights.resolve()), "sha256": sha256},
        "settings": {
            "training": str(training.resolve()) if training else None,
            "config": list(overlays),
            "set": list(overrides),
        },
    }
    matters = {name: value for name, value in config.items() if name not in _PLACES}
    text = sha256 + json.dumps(matters, sort_keys=True, default=str)
    return Model(
        config=config,
        weights=weights,
        volumes=dimensions == 3,
        ct=str(image.get("modality", "")).upper() == "CT",
        regions=tuple(regions),
        about=about,
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def _with_overlays(
    config: dict[str, Any], configs: Path, overlays: Sequence[str]
) -> dict[str, Any]:
    from monai.bundle import ConfigParser
    from monai.bundle.utils import merge_kv

    parser = ConfigParser(config)
    for overlay in overlays:
        path = next((p for p in (Path(overlay), configs / overlay) if p.is_file()), None)
        if path is None:
            raise InputError(
                f"config {overlay}: there is no such file, also not in {configs}; give --config "
                "a JSON that changes some ids of inference.json."
            )
        try:
            for name, value in ConfigParser.load_config_file(path).items():
                merge_kv(parser, name, value)
        except Exception as error:  # YAML and JSON raise about anything
            reason = one_line(error)
            raise InputError(f"config {path}: {reason}; correct the file.") from None
    return parser.get()


def _override(text: str, config: Mapping[str, Any]) -> tuple[str, Any]:
    """``id=value``, with a value of Python or JSON, or else a text."""
    name, equals, value = text.partition("=")
    top = re.split("#|::", name)[0]
    if not equals or not name:
        raise InputError(f"--set {text}: write it as id=value, such as roi_size=[224,224].")
    if top in _GIVEN:
        raise InputError(f"--set {text}: give {_GIVEN[top]}.")
    if top not in config:
        near = difflib.get_close_matches(top, config, n=1, cutoff=0.5)
        plain = sorted(id for id in config if not id.startswith("_"))
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(plain)}."
        raise InputError(f"--set {text}: the bundle's inference.json has no {top}; {hint}")
    for read in (ast.literal_eval, json.loads):
        try:
            return name, read(value)
        except (ValueError, SyntaxError):
            continue
    return name, value


def _own_gpu() -> str | None:
    """The GPU of a process that torchrun started beside others on this machine."""
    import torch

    if "LOCAL_RANK" not in os.environ or not torch.cuda.is_available():
        return None
    return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
