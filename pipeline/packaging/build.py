"""A bundle and its trained weights, put together, checked and written as one archive."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, one_line
from ..files import read_json
from .archive import write_archive
from .card import packaged_card
from .code import scripts
from .configs import WEIGHTS, merged, packaged_inference, packaged_training, plain, training_config
from .metadata import packaged_metadata
from .source import Trained, trained

if TYPE_CHECKING:
    import torch

# MONAI Label tells the kind of a model by these parts of its folder's name.
MISLEADING = ("detection", "classification", "deepedit", "deepgrow")


def package(
    bundle: Path,
    output: Path,
    *,
    checkpoint: str,
    name: str | None = None,
    version: str | None = None,
    change: str | None = None,
    tracking_uri: str | None = None,
    overlays: Sequence[Path] = (),
    exports: Sequence[str] = (),
    weights_url: str | None = None,
    overwrite: bool = False,
) -> list[tuple[str, str]]:
    """Make a package, and check it, before it stands at ``output``.

    Args:
        bundle: the bundle's folder.
        output: the archive, ``.zip``.
        checkpoint: see :func:`pipeline.packaging.source.trained`.
        name: folder in the archive, by which MONAI Label calls it; None for the bundle's.
        version: of the package; None for the bundle's.
        change: line of the changelog for this version.
        tracking_uri: MLflow's store; None for its own choice.
        overlays: config files of a training that left no ``config.json`` beside its weights,
            such as ``networks/unet.json``, laid over ``train.json``.
        exports: any of ``"onnx"`` and ``"torchscript"``.
        weights_url: where the weights will be found; they then lie beside the archive, which
            names the address in ``large_files.yml``, as MONAI's model zoo wants large ones.
        overwrite: replace ``output``.

    Returns:
        what was checked, each with its result.

    Raises:
        InputError: something does not fit together, or a check has failed.
    """
    from .check import check

    name = name or bundle.resolve().name
    check_name(name)
    if output.suffix != ".zip":
        raise InputError(f"output {output}: give a file that ends with .zip.")
    beside = output.with_name(f"{output.stem}_model.pt")
    for path in [output, *([beside] if weights_url else [])]:
        if path.exists() and not overwrite:
            raise InputError(f"output {path}: it exists; give another, or --overwrite.")
    with trained(checkpoint, tracking_uri=tracking_uri) as source:
        if overlays:
            source.config = merged([bundle / "configs/train.json", *overlays])
        files, reference = contents(
            bundle, name, source, version=version, change=change, exports=exports
        )
        results = check(files, name, reference=reference)
    weights = files[WEIGHTS]
    if weights_url:
        from .zoo import large_files

        files["large_files.yml"] = large_files({WEIGHTS: files.pop(WEIGHTS)}, weights_url)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        write_archive(temporary, name, files)
        if weights_url:
            beside.write_bytes(weights)
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return results


def contents(
    bundle: Path,
    name: str,
    source: Trained,
    *,
    version: str | None = None,
    change: str | None = None,
    exports: Sequence[str] = (),
) -> tuple[dict[str, bytes], tuple[dict[str, Any], Path]]:
    """The files of a package, and the inference config and weights that it is made of."""
    from ..bundle.configs import inference_config

    configs = {
        each: read_json(bundle / "configs" / f"{each}.json", "give the folder of a bundle.")
        for each in ("train", "inference", "metadata", "multi_gpu")
    }
    training = training_config(configs["train"], source.config)
    network, state = fitting(training, source)
    own = inference_config(configs["inference"], training)
    inference = packaged_inference(configs["inference"], training)
    metadata = packaged_metadata(
        configs["metadata"],
        inference=inference,
        training=training,
        source=source,
        version=version,
        change=change,
    )
    card = packaged_card(
        (bundle / "docs/README.md").read_text(),
        name=name,
        metadata=metadata,
        training=training,
        source=source,
        parameters=sum(each.numel() for each in network.parameters()),
    )
    jsons = {
        "metadata": metadata,
        "train": packaged_training(training, name),
        "inference": inference,
        # The one name under which MONAI Label looks for it on a machine with several GPUs.
        "multi_gpu_train": configs["multi_gpu"],
    }
    files = {f"configs/{each}.json": as_json(content) for each, content in jsons.items()}
    for each in ("configs/logging.conf", "LICENSE", "docs/data_license.txt"):
        files[each] = (bundle / each).read_bytes()
    files["docs/README.md"] = card.encode()
    files |= scripts([training, own, configs["multi_gpu"], "pipeline.engines.UpdateModel"])
    files[WEIGHTS] = as_bytes(state)
    if exports:
        from .exports import exported

        files |= exported(network, metadata, inference, kinds=exports)
    return files, (own, source.weights)


def check_name(name: str) -> None:
    """Refuse a name that MONAI's model zoo would not have, or that misleads MONAI Label.

    Raises:
        InputError: says which.
    """
    if not re.fullmatch(r"[a-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+", name):
        raise InputError(
            f"name {name!r}: give words joined by _, such as pancreas_ct_segmentation."
        )
    for word in MISLEADING:
        if word in name.lower():
            raise InputError(f"name {name!r}: MONAI Label takes {word!r} for the model's kind.")


def fitting(
    training: Mapping[str, Any], source: Trained
) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The network of a config with the weights in it, and these as plain tensors on the CPU.

    Raises:
        InputError: the checkpoint is no state dictionary, or another network's.
    """
    import torch

    try:
        state = torch.load(source.weights, map_location="cpu", weights_only=True)
        state = {key: each.detach().clone().contiguous() for key, each in state.items()}
        network = plain(training, "network_def")
        network.load_state_dict(state)
    except Exception as error:  # a file may hold anything
        reason = one_line(error)
        hint = "" if source.config else ", or give its --config, since no config.json is beside it"
        raise InputError(
            f"checkpoint {source.weights}: it is not the state dictionary of this bundle's "
            f"network; give another{hint} ({reason})."
        ) from None
    return network.eval(), state


def as_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=4, ensure_ascii=False).encode() + b"\n"


def as_bytes(state: Mapping[str, torch.Tensor]) -> bytes:
    """The same bytes for the same tensors, whichever file they came from."""
    import torch

    stream = io.BytesIO()
    torch.save(dict(state), stream)
    return stream.getvalue()
