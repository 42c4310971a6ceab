"""Put a bundle and its trained weights together, check them, and write them as one archive."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..bundle.configs import Config
from ..bundle.given import NOTHING, Given, settle
from ..bundle.lineage import DIGEST, TRAINED_ON
from ..bundle.quality import quality_file
from ..bundle.settings import check_settings
from ..bundle.trained import MEMBERS, record_of
from ..errors import InputError
from ..files import read_json, replacing
from ..networks.weights import fill_network, pack_weights, read_weights
from .archive import WEIGHTS, digest_bytes, write_archive
from .card import make_card
from .code import collect_modules
from .configs import as_fine_tuning, make_inference_config, make_training_config
from .metadata import make_metadata
from .source import Trained, open_trained
from .zoo import LARGE_FILES, check_name, default_name, make_large_files


def package(
    bundle: Path,
    output: Path,
    *,
    checkpoint: str | Sequence[str],
    name: str | None = None,
    version: str | None = None,
    change: str | None = None,
    tracking_uri: str | None = None,
    overlays: Sequence[str] = (),
    overrides: Sequence[str] = (),
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
        overlays: config files of the training, also by their names in the bundle's ``configs``,
            such as ``networks/unet.json``. They count more than what the weights say.
        overrides: texts such as ``strides=[4,2,2,2]``, which count most.
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

    if not (bundle / "configs/train.json").is_file():
        raise InputError(f"bundle {bundle}: it has no configs/train.json; give a bundle's folder.")
    name = name or default_name(bundle)
    check_name(name)
    if output.suffix != ".zip":
        raise InputError(f"output {output}: give a file that ends with .zip.")
    beside = output.with_name(f"{output.stem}_model.pt")
    for path in [output, *([beside] if weights_url else [])]:
        if path.exists() and not overwrite:
            raise InputError(f"output {path}: it already exists; give another, or --overwrite.")
    given = Given.read(bundle / "configs", overlays, overrides, only_model=True)
    with open_trained(checkpoint, tracking_uri=tracking_uri) as source:
        options = {"version": version, "change": change, "exports": exports, "given": given}
        files, reference = package_files(bundle, name, source, **options)
        results = check_package(files, name, reference=reference)
    weights = files[WEIGHTS]
    if weights_url:
        files[LARGE_FILES] = make_large_files(files.pop(WEIGHTS), weights_url)
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
    given: Given = NOTHING,
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
    if MEMBERS in source.config:  # which take turns in a training
        multi_gpu["network"]["find_unused_parameters"] = True
    checkpoint = f"checkpoint {source.weights}"
    training = settle(train, source.config, given, bundle, source=checkpoint)
    check_settings(training.content, option="--set {}=...")
    # What was not recorded is not replaced by the bundle's defaults.
    said = source.config.keys() | given.ids
    record = {name: each for name, each in record_of(training.content).items() if name in said}
    own = inference.as_trained(training.content).with_changes(source.chosen)
    retraining = as_fine_tuning(training, bundle)
    if MEMBERS in source.config:  # of several folds, which leave no case for validation
        retraining = retraining.with_changes({"fold": train.get("fold")})
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
        recorded=record.keys(),
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
    code = ["pipeline.engines.UpdateModel", "pipeline.bundle.quality"]  # the latter for MONAI Label
    files |= collect_modules([retraining.content, own.content, multi_gpu, *code])
    more = {
        name: source.config[name] for name in (DIGEST, TRAINED_ON, MEMBERS) if name in source.config
    }
    files[WEIGHTS] = save_weights(state, record | more)
    if source.calibration:
        content = source.calibration.content(digest_bytes(files[WEIGHTS]))
        files[quality_file(WEIGHTS).as_posix()] = json.dumps(content, indent=1).encode()
    if exports:
        from .exports import export_network

        files |= export_network(network, metadata, packaged, kinds=exports)
    return files, (own.content, source.weights)


def read_network(
    training: Config, source: Trained
) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """Build the network of a config with its weights, and copy these as plain CPU tensors.

    Raises:
        InputError: the network cannot be built, or the file holds the weights of another.
    """
    fix = "give another, or the settings of its training by --config and --set"
    state, _ = read_weights(source.weights, option="checkpoint", fix=fix)
    state = {key: each.detach().clone().contiguous() for key, each in state.items()}
    network = training.built("network_def")
    fill_network(network, state, source.weights, option="checkpoint", fix=fix)
    return network.eval(), state


def save_weights(state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> bytes:
    """Save weights so that the same ones give the same bytes, whichever file they came from.

    With plain tensors go the ids that are known of their training, ``config``.
    """
    stream = io.BytesIO()
    torch.save(pack_weights(dict(state), config), stream)
    return stream.getvalue()
