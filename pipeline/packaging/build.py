"""Put a bundle and its trained weights together, check them, and write them as one archive."""

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
from .card import make_card
from .code import collect_modules
from .configs import as_fine_tuning, make_inference_config, make_training_config
from .metadata import make_metadata
from .source import Trained, open_trained
from .zoo import LARGE_FILES, check_name, default_name, make_large_files

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
    """Make a package, check it, and only then write it to ``output``.

    Args:
        bundle: the bundle's folder.
        output: the archive, ``.zip``.
        checkpoint: see :func:`pipeline.packaging.source.open_trained`.
        name: folder in the archive, and MONAI Label's name of the model; None for the
            bundle's folder, see ``zoo.default_name``.
        version: of the package; None for the bundle's.
        change: line of the changelog for this version.
        tracking_uri: of the MLflow store; None for MLflow's default.
        overlays: config files after ``train.json``, such as ``networks/unet.json``, for a
            training that left no ``config.json`` beside its weights.
        exports: any of ``"onnx"`` and ``"torchscript"``.
        weights_url: where the weights will be. They are written beside the archive, which names
            this address in ``large_files.yml``, as MONAI's model zoo wants it for large ones.
        overwrite: replace ``output``.

    Returns:
        what was checked, each with its result.

    Raises:
        InputError: the parts do not fit together, or a check failed.
    """
    from .check import check_package

    name = name or default_name(bundle)
    check_name(name)
    if output.suffix != ".zip":
        raise InputError(f"output {output}: give a file that ends with .zip.")
    beside = output.with_name(f"{output.stem}_model.pt")
    for path in [output, *([beside] if weights_url else [])]:
        if path.exists() and not overwrite:
            raise InputError(f"output {path}: it already exists; give another, or --overwrite.")
    with open_trained(checkpoint, tracking_uri=tracking_uri) as source:
        if overlays:
            source.config = Config.read(bundle / "configs/train.json", *overlays).content
        options = {"version": version, "change": change, "exports": exports}
        files, reference = package_files(bundle, name, source, **options)
        results = check_package(files, name, reference=reference)
    weights = files[WEIGHTS]
    if weights_url:
        files[LARGE_FILES] = make_large_files({WEIGHTS: files.pop(WEIGHTS)}, weights_url)
    with replacing(output, sync=True) as temporary:
        write_archive(temporary, name, files)
        if weights_url:
            beside.write_bytes(weights)
    return results


def package_files(
    bundle: Path,
    name: str,
    source: Trained,
    *,
    version: str | None = None,
    change: str | None = None,
    exports: Sequence[str] = (),
) -> tuple[dict[str, bytes], tuple[dict[str, Any], Path]]:
    """Make the files of a package; see :func:`package`.

    Returns:
        their contents by path, and the inference config and weights that they are made from.
    """
    fix = "give the folder of a bundle."
    train, inference = (
        Config.read(bundle / "configs" / f"{each}.json", fix=fix) for each in ("train", "inference")
    )
    multi_gpu = read_json(bundle / "configs/multi_gpu.json", fix)  # an overlay of train.json
    training = train.as_trained(source.config)
    own = inference.as_trained(training.content).with_changes(source.chosen)
    retraining = as_fine_tuning(training, bundle)
    network, state = read_network(training, source)
    packaged = Config(make_inference_config(own))
    metadata = make_metadata(
        read_json(bundle / "configs/metadata.json", fix),
        inference=packaged,
        training=training,
        source=source,
        version=version,
        change=change,
    )
    card = make_card(
        (bundle / "docs/README.md").read_text(),
        name=name,
        metadata=metadata,
        training=training,
        inference=own,
        source=source,
        parameters=sum(each.numel() for each in network.parameters()),
    )
    jsons = {
        "metadata": metadata,
        "train": make_training_config(retraining, name),
        "inference": packaged.content,
        # MONAI Label looks for this name on a machine with several GPUs.
        "multi_gpu_train": multi_gpu,
    }
    files = {
        f"configs/{each}.json": json.dumps(content, indent=4, ensure_ascii=False).encode() + b"\n"
        for each, content in jsons.items()
    }
    for each in ("configs/logging.conf", "LICENSE", "docs/data_license.txt"):
        files[each] = (bundle / each).read_bytes()
    files["docs/README.md"] = card.encode()
    files |= collect_modules(
        [retraining.content, own.content, multi_gpu, "pipeline.engines.UpdateModel"]
    )
    files[WEIGHTS] = save_weights(state)
    if exports:
        from .exports import export_network

        files |= export_network(network, metadata, packaged, kinds=exports)
    return files, (own.content, source.weights)


def read_network(
    training: Config, source: Trained
) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """Build the network of a config with its weights, and copy these as plain CPU tensors.

    Raises:
        InputError: the checkpoint is not a state dictionary, or that of another network.
    """
    import torch

    try:
        state = torch.load(source.weights, map_location="cpu", weights_only=True)
        state = {key: each.detach().clone().contiguous() for key, each in state.items()}
        network = training.built("network_def")
        network.load_state_dict(state)
    except Exception as error:  # a file may hold anything
        hint = "" if source.config else ", or its overlays as --config, as it has no config.json"
        raise InputError(
            f"checkpoint {source.weights}: it is not the state dictionary of this bundle's "
            f"network; give another{hint} ({one_line(error)})."
        ) from None
    return network.eval(), state


def save_weights(state: Mapping[str, torch.Tensor]) -> bytes:
    """Save tensors so that the same ones give the same bytes, whichever file they came from."""
    import torch

    stream = io.BytesIO()
    torch.save(dict(state), stream)
    return stream.getvalue()
