"""A bundle with a checkpoint: what to run, on which kind of image, and what it finds there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle.configs import Config, without_notes
from ..bundle.given import Given, settle
from ..bundle.ids import Role, of_role
from ..bundle.members import Checkpoint
from ..bundle.quality import Calibration, read_calibration
from ..bundle.settings import check_settings
from ..bundle.trained import BEST, BUNDLE, CONFIG, chosen_postprocessing, read_config
from ..errors import InputError
from ..files import read_json, sha256
from ..folders import BUNDLES
from ..networks.weights import read_weights


@dataclass(frozen=True)
class Model:
    """What a command runs.

    Attributes:
        config: the ``inference.json`` that fits the checkpoint.
        weights: the file of the checkpoint, or one that holds all members of an ensemble.
        volumes: whether it takes volumes, else photographs.
        regions: names of what it finds, in the order of the network's channels.
        channels: names of the channels of an image.
        modality: of an image; None if the bundle does not say it.
        segments: DICOM's codes and a colour for each region that has them, see `Meaning`.
        about: what a report says of it: bundle, checkpoint and settings.
        probabilities: whether those of each region are kept.
        calibration: of the checkpoint, to estimate the quality of its masks; None without one.
        digest: the same for two commands whose masks are the same.
    """

    config: dict[str, Any]
    weights: Path
    volumes: bool
    regions: tuple[str, ...]
    channels: tuple[str, ...]
    modality: str | None
    segments: dict[str, dict[str, Any]]
    about: dict[str, Any]
    probabilities: bool
    calibration: Calibration | None
    digest: str

    @property
    def name(self) -> str:
        return self.about["bundle"]["name"]

    @property
    def version(self) -> str:
        """That of the bundle, and the beginning of its checkpoint's digest."""
        return f"{self.about['bundle']['version']}+{self.about['checkpoint']['sha256'][:8]}"


def read_model(
    bundle: Path | None = None,
    *,
    checkpoint: Path | Sequence[Path] | None = None,
    overlays: Sequence[str] = (),
    overrides: Sequence[str] = (),
    probabilities: bool = False,
) -> Model:
    """Put a bundle's ``inference.json`` together for a checkpoint.

    What it shares with a training is as it was there, as the checkpoint says it, or the
    ``config.json`` beside an older one. The postprocessing that an evaluation chose comes after
    that, then overlays, and overrides last.

    Args:
        bundle: folder of the bundle; None for that of the training.
        checkpoint: ``model.pt``, the folder of a training, or that of a plan; several are the
            members of an ensemble; by default the bundle's own.
        overlays: config files, also by their names in the bundle's ``configs``.
        overrides: texts such as ``roi_size=[224,224]`` or ``inferer#overlap=0.5``.
        probabilities: keep those of each region.

    Raises:
        InputError: a file is absent or malformed, an id is unknown, the checkpoint does not name
            its bundle or network, it brings code, or members do not fit together.
    """
    if not checkpoint and bundle is None:
        raise InputError(
            "neither --checkpoint nor --bundle is given: give the folder of a training, or that "
            "of a bundle with weights."
        )
    checkpoint = Checkpoint(checkpoint or bundle / "models" / BEST, option="checkpoint")
    if bundle is None:
        bundle = _find_bundle(checkpoint.members[0])
    configs = bundle / "configs"
    config = Config.read(configs / "inference.json", fix="give --bundle, the folder of a bundle.")
    metadata = read_json(configs / "metadata.json", "the bundle needs its metadata.")
    weights = Path(checkpoint.file())
    given = Given.read(configs, overlays, overrides)
    trained = read_config(weights)
    chosen = chosen_postprocessing(weights)
    source = f"checkpoint {checkpoint.members[0]}"
    settled = settle(config, trained, given, bundle, source=source, chosen=chosen)
    config = settled.content | {"bundle_root": str(bundle.resolve())}
    if "device" not in given.values and (device := _own_gpu()):
        config["device"] = device
    try:
        formats = metadata["network_data_format"]
        dimensions = len(formats["inputs"]["image"]["spatial_shape"])
        version = metadata["version"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{configs / 'metadata.json'}: {error} is missing; describe `image` in "
            "network_data_format."
        ) from None
    check_settings(config, option="--set {}=...")
    digest, members = sha256(weights), checkpoint.members
    calibration = read_calibration(members, list(config["regions"]))
    about = {
        "bundle": {
            "path": str(bundle.resolve()),
            "name": bundle.resolve().name,
            "version": version,
        },
        "checkpoint": {"path": _say(str(each.resolve()) for each in members), "sha256": digest},
        "settings": {
            "training": _say(map(_say_record, members)) if trained else None,
            "chosen": chosen,
            "config": list(map(str, overlays)),
            "set": list(overrides),
        },
        "calibration": calibration and calibration.describe(config),
    }
    # Where it runs, what it reads and how it starts do not change the mask of an image.
    others = of_role(config, Role.PLACE, Role.DATA, Role.ASSEMBLY) - {"network"}
    decides = without_notes({name: config[name] for name in config.keys() - others})
    decides["regions"] = list(decides["regions"].items())  # their order counts
    if config.get("scales") and calibration:  # which chooses among them
        decides["calibration"] = calibration.content(digest)
    text = digest + json.dumps(decides, sort_keys=True, default=str)
    return Model(
        config=config,
        weights=weights,
        volumes=dimensions == 3,
        regions=tuple(config["regions"]),
        channels=tuple(config.get("channel_names", ("image",))),
        modality=config.get("modality"),
        segments=metadata.get("dicom_segments", {}),
        about=about,
        probabilities=probabilities,
        calibration=calibration,
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def _find_bundle(weights: Path) -> Path:
    """The folder of the bundle that a training ran, as it says itself.

    A bundle runs code, so that only one in ``bundles/`` of the working folder or of this project
    is taken without a word of the user.
    """
    fix = "give --bundle, the folder of the bundle that it was trained with."
    trained = read_config(weights)
    folder = trained.get(BUNDLE)
    if not isinstance(folder, str) or not folder:
        why = f"its settings do not include {BUNDLE}" if trained else "it does not name its bundle"
        raise InputError(f"checkpoint {weights}: {why}; {fix}")
    path = Path(folder).resolve()
    if not any(path.is_relative_to(known.resolve()) for known in (Path("bundles"), BUNDLES)):
        raise InputError(
            f"checkpoint {weights}: its bundle {folder} is neither in ./bundles nor in {BUNDLES}, "
            f"and a bundle runs code; if you trust it, {fix}"
        )
    if not (path / "configs/inference.json").is_file():
        raise InputError(
            f"checkpoint {weights}: its bundle {folder} has no configs/inference.json any more; "
            f"{fix}"
        )
    return Path(folder)


def _say(texts: Iterable[str]) -> str | list[str]:
    """The text of a single checkpoint, or those of several members."""
    found = list(texts)
    return found[0] if len(found) == 1 else found


def _say_record(weights: Path) -> str:
    """Where the settings of a training stand: in the weights, or beside older ones."""
    _, config = read_weights(weights, option="checkpoint", fix="give another")
    return str(weights.resolve() if config else weights.resolve().with_name(CONFIG))


def _own_gpu() -> str | None:
    """The GPU of a process that torchrun started beside others on this machine."""
    import torch

    if "LOCAL_RANK" not in os.environ or not torch.cuda.is_available():
        return None
    return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
