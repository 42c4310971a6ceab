"""The network for programs without PyTorch or without Python: ONNX and TorchScript.

They go into ``exports/``, where MONAI Label does not look: beside ``models/model.pt`` it would
still hold the old network after a retraining.
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle.configs import Config, is_plain
from ..errors import InputError, one_line
from .archive import BEFORE_ZIP

if TYPE_CHECKING:
    import torch

ONNX, TORCHSCRIPT = "exports/model.onnx", "exports/model.ts"


def exported(
    network: torch.nn.Module,
    metadata: Mapping[str, Any],
    inference: Config,
    *,
    kinds: Sequence[str],
) -> dict[str, bytes]:
    """The exported files, and a page that says how to feed them.

    Args:
        network: with its weights, in evaluation mode, on the CPU.
        metadata: of the package.
        inference: config of the package.
        kinds: any of ``"onnx"`` and ``"torchscript"``.

    Raises:
        InputError: an export is missing a package, or computes something else than the network.
    """
    import torch

    image = metadata["network_data_format"]["inputs"]["image"]
    size, channels = image["spatial_shape"], image["num_channels"]
    # The second size has another shape, and is no multiple of the network's strides.
    shapes = [(1, channels, *size), (2, channels, *(part * 3 // 4 + 1 for part in size))]
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(shape, generator=generator) for shape in shapes]
    with torch.no_grad():
        outputs = [network(each) for each in inputs]
    files = {}
    if "onnx" in kinds:
        files[ONNX] = converted("ONNX", lambda: as_onnx(network, inputs[0]))
        compare("ONNX", [run_onnx(files[ONNX], each) for each in inputs], outputs)
    if "torchscript" in kinds:
        files[TORCHSCRIPT] = converted("TorchScript", lambda: as_torchscript(network))
        compare("TorchScript", [run_torchscript(files[TORCHSCRIPT], x) for x in inputs], outputs)
    files["exports/README.md"] = page(files, metadata, inference).encode()
    return files


def converted(kind: str, convert: Callable[[], bytes]) -> bytes:
    """What PyTorch makes of the network, or one line that says that it cannot."""
    try:
        return convert()
    except InputError:
        raise
    except Exception as error:  # exporters raise about anything
        reason = one_line(error)
        raise InputError(
            f"{kind} cannot hold this network; package without it ({reason})."
        ) from error


def as_onnx(network: torch.nn.Module, image: torch.Tensor) -> bytes:
    """ONNX that takes images of any size and number."""
    import torch

    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(f"--onnx needs {error.name}: pip install -e '.[export]'.") from None
    # The number of images and their size may change, the number of channels may not.
    axes = [axis for axis in range(image.dim()) if axis != 1]
    dynamic = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            program = torch.onnx.export(
                network,
                # Two at a time: of a batch of one, the exporter takes the one for a constant.
                (image.expand(2, *image.shape[1:]).contiguous(),),
                dynamo=True,
                input_names=["image"],
                output_names=["pred"],
                dynamic_shapes=(dynamic,),
                verbose=False,
            )
            path = Path(folder, "model.onnx")
            program.save(path, include_initializers=True, external_data=False)
        finally:
            logging.disable(level)
        return without_traces(path.read_bytes())


def without_traces(content: bytes) -> bytes:
    """The model without the exporter's notes, which name files of this machine."""
    import onnx

    model = onnx.load_from_string(content)
    graphs = [model.graph, *model.functions]
    nodes = [node for graph in graphs for node in graph.node]
    values = [
        each for part in ("input", "output", "value_info") for each in getattr(model.graph, part)
    ]
    for each in [model, *graphs, *nodes, *values, *model.graph.initializer]:
        del each.metadata_props[:]
        each.doc_string = ""
    return model.SerializeToString(deterministic=True)


def run_onnx(content: bytes, image: torch.Tensor) -> torch.Tensor:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["pred"], {"image": image.numpy()})[0])


def as_torchscript(network: torch.nn.Module) -> bytes:
    import torch

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.script(network), optimize_numerics=False)
        torch.jit.save(frozen, stream)
    # Without the notes for a debugger, which name files of this machine.
    out = io.BytesIO()
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo(entry.filename, BEFORE_ZIP), old.read(entry))
    return out.getvalue()


def run_torchscript(content: bytes, image: torch.Tensor) -> torch.Tensor:
    import torch

    with torch.no_grad():
        return torch.jit.load(io.BytesIO(content))(image)


def compare(kind: str, found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    """Refuse an export whose logits differ by more than rounding."""
    import torch

    for one, other in zip(found, expected, strict=True):
        scale = max(1.0, other.abs().max().item())
        if one.shape != other.shape or not torch.allclose(one, other, atol=1e-4 * scale, rtol=0):
            raise InputError(
                f"the {kind} export is not the network for an image {list(other.shape[2:])}; "
                "package without it."
            )


def page(files: Mapping[str, bytes], metadata: Mapping[str, Any], inference: Config) -> str:
    """What comes before and after the network, from the configs themselves."""
    image = metadata["network_data_format"]["inputs"]["image"]
    labels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    kinds = [name.partition("/")[2] for name in files if name in (ONNX, TORCHSCRIPT)]
    axes = ", ".join("XYZ"[: len(image["spatial_shape"])])
    steps = [
        "```json\n" + json.dumps(resolved(inference, part), indent=2) + "\n```"
        for part in ("preprocessing", "inferer", "postprocessing")
    ]
    return f"""# The network alone: {", ".join(kinds)}

One input, `image`: float32 (N, {image["num_channels"]}, {axes}) of any size, axes as in MONAI.
One output, `pred`: logits on the same grid, {len(labels) - 1} channels. The weights are those of
`models/model.pt` at the time of packaging; a retraining does not change them here.

## Before

`image` is what this leaves (MONAI transforms, from `configs/inference.json`):

{steps[0]}

## Around

{steps[1]}

A window that slides is on you: `roi_size` is {image["spatial_shape"]}.

## After

A voxel belongs to a region where its logit is above 0. The steps that make an index mask on the
image's own grid, with the values {labels}:

{steps[2]}
"""


def resolved(inference: Config, part: str) -> Any:
    """A part of the config with its plain references in place."""

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: filled(value) for name, value in node.items()}
        if isinstance(node, list):
            return [filled(value) for value in node]
        if isinstance(node, str) and node.startswith("@") and is_plain(inference.get(node[1:], {})):
            return inference.built(node[1:])
        return node

    return filled(inference.get(part))
