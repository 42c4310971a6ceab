"""A bundle and its trained weights, put together, checked and written as one archive."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle.configs import Config
from ..errors import InputError, one_line
from ..files import read_json, replacing
from .archive import WEIGHTS, write_archive
from .card import packaged_card
from .code import scripts
from .configs import packaged_inference, packaged_training
from .metadata import packaged_metadata
from .source import Trained, open_trained
from .zoo import check_name, large_files

if TYPE_CHECKING:
    import torch


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
        checkpoint: see :func:`pipeline.packaging.source.open_trained`.
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
    with open_trained(checkpoint, tracking_uri=tracking_uri) as source:
        if overlays:
            source.config = Config.read(bundle / "configs/train.json", *overlays).content
        files, reference = contents(
            bundle, name, source, version=version, change=change, exports=exports
        )
        results = check(files, name, reference=reference)
    weights = files[WEIGHTS]
    if weights_url:
        files["large_files.yml"] = large_files({WEIGHTS: files.pop(WEIGHTS)}, weights_url)
    with replacing(output, sync=True) as temporary:
        write_archive(temporary, name, files)
        if weights_url:
            beside.write_bytes(weights)
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
    fix = "give the folder of a bundle."
    train, inference = (
        Config.read(bundle / "configs" / f"{name}.json", fix=fix) for name in ("train", "inference")
    )
    multi_gpu = read_json(bundle / "configs/multi_gpu.json", fix)
    training = train.as_trained(source.config)
    own = inference.as_trained(training.content)
    network, state = read_network(training, source)
    packaged = packaged_inference(own)
    metadata = packaged_metadata(
        read_json(bundle / "configs/metadata.json", fix),
        inference=Config(packaged),
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
        "inference": packaged,
        # The one name under which MONAI Label looks for it on a machine with several GPUs.
        "multi_gpu_train": multi_gpu,
    }
    files = {f"configs/{each}.json": as_json(content) for each, content in jsons.items()}
    for each in ("configs/logging.conf", "LICENSE", "docs/data_license.txt"):
        files[each] = (bundle / each).read_bytes()
    files["docs/README.md"] = card.encode()
    files |= scripts(
        [training.content, own.content, multi_gpu, "pipeline.engines.UpdateModel"]
    )
    files[WEIGHTS] = as_bytes(state)
    if exports:
        from .exports import exported

        files |= exported(network, metadata, Config(packaged), kinds=exports)
    return files, (own.content, source.weights)


def read_network(
    training: Config, source: Trained
) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The network of a config with the weights in it, and these as plain tensors on the CPU.

    Raises:
        InputError: the checkpoint is no state dictionary, or another network's.
    """
    import torch

    try:
        state = torch.load(source.weights, map_location="cpu", weights_only=True)
        state = {key: each.detach().clone().contiguous() for key, each in state.items()}
        network = training.built("network_def")
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
