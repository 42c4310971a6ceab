"""The network for programs without PyTorch or Python: ONNX and TorchScript.

The exports go into ``exports/``, where MONAI Label does not look: in ``models/`` it could serve
them, and with them the old network after a retraining.
"""

from __future__ import annotations

import io
import json
import logging
import re
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..bundle.configs import Config, is_plain
from ..errors import InputError, one_line
from ..transforms.regions import Regions
from .archive import BEFORE_ZIP
from .card import say_rule

ONNX, TORCHSCRIPT = "exports/model.onnx", "exports/model.ts"
_CONSTANTS = re.compile(rb"(?:  \w+ : Final\[.*\n)+")


def export_network(
    network: torch.nn.Module,
    metadata: Mapping[str, Any],
    inference: Config,
    *,
    kinds: Sequence[str],
) -> dict[str, bytes]:
    """Export a network, and write a page on its input and output.

    Args:
        network: with its weights, in evaluation mode, on the CPU.
        metadata: of the package.
        inference: config of the package.
        kinds: any of ``"onnx"`` and ``"torchscript"``.

    Raises:
        InputError: an export fails, needs a package, or differs from the network.
    """
    image = metadata["network_data_format"]["inputs"]["image"]
    size, channels = image["spatial_shape"], image["num_channels"]
    # The second size has another shape, and is not a multiple of the network's strides.
    shapes = [(1, channels, *size), (2, channels, *(part * 3 // 4 + 1 for part in size))]
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(shape, generator=generator) for shape in shapes]
    with torch.no_grad():
        outputs = [network(each) for each in inputs]
    files = {}
    for kind, path, export, run in (
        ("onnx", ONNX, lambda: export_onnx(network, inputs[0]), run_onnx),
        ("torchscript", TORCHSCRIPT, lambda: export_torchscript(network), run_torchscript),
    ):
        if kind in kinds:
            try:
                files[path] = export()
            except InputError:
                raise
            except Exception as error:  # exporters raise about anything
                raise InputError(
                    f"--{kind}: this network cannot be exported; leave the option out "
                    f"({one_line(error)})."
                ) from error
            check_export(kind, [run(files[path], each) for each in inputs], outputs)
    files["exports/README.md"] = write_page(files, metadata, inference).encode()
    return files


def export_onnx(network: torch.nn.Module, image: torch.Tensor) -> bytes:
    """Export to ONNX, for images of any size and number."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(f"--onnx needs {error.name}: pip install -e '.[export]'.") from None
    # The number of images and their size may vary, the number of channels may not.
    axes = [axis for axis in range(image.dim()) if axis != 1]
    dynamic = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            program = torch.onnx.export(
                network,
                # A batch of two: the exporter would take a size of one for a constant.
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
        return remove_notes(path.read_bytes())


def remove_notes(content: bytes) -> bytes:
    """Remove the exporter's notes, which name files of this machine."""
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

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["pred"], {"image": image.numpy()})[0])


def export_torchscript(network: torch.nn.Module) -> bytes:
    """Export to TorchScript, for images of any size and number, on any device.

    It is not frozen: that would make the weights constants, which ``.to("cuda")`` does not move.
    """
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), stream)
    # The notes for a debugger name files of this machine, and constants come in any order.
    out = io.BytesIO()
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith(".py"):
                content = _CONSTANTS.sub(lambda m: b"".join(sorted(m[0].splitlines(True))), content)
            if not entry.filename.endswith((".debug_pkl", "serialization_id")):
                new.writestr(zipfile.ZipInfo(entry.filename, BEFORE_ZIP), content)
    return out.getvalue()


def run_torchscript(content: bytes, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.jit.load(io.BytesIO(content))(image)


def check_export(
    kind: str, found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]
) -> None:
    """Refuse an export whose logits differ by more than rounding."""
    for one, other in zip(found, expected, strict=True):
        scale = max(1.0, other.abs().max().item())
        if one.shape != other.shape or not torch.allclose(one, other, atol=1e-4 * scale, rtol=0):
            raise InputError(
                f"--{kind}: the export differs from the network for an image "
                f"{list(other.shape[2:])}; leave the option out."
            )


def write_page(files: Mapping[str, bytes], metadata: Mapping[str, Any], inference: Config) -> str:
    """Describe what comes before and after the network, from the configs themselves."""
    image = metadata["network_data_format"]["inputs"]["image"]
    labels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    regions = Regions(inference.get("regions"))
    kinds = [name.partition("/")[2] for name in files]
    axes = ", ".join("XYZ"[: len(image["spatial_shape"])])
    before, around, after = (
        "```json\n" + json.dumps(fill_in(inference.get(part), inference), indent=2) + "\n```"
        for part in ("preprocessing", "inferer", "postprocessing")
    )
    return f"""# The network alone: {", ".join(kinds)}

The input, `image`: float32 (N, {image["num_channels"]}, {axes}) of any size, axes as in MONAI.
The output, `pred`: logits on the same grid, a channel for each of {", ".join(regions.names)}. The
background has none. A sigmoid turns logits into probabilities. The weights are those of
`models/model.pt` at the time of packaging; a retraining does not change them here.

## Before

`image` is the result of these MONAI transforms, from `configs/inference.json`:

{before}

## Around

{around}

If the inferer slides a window, your program must too; `roi_size` is {image["spatial_shape"]}.

## After

{say_rule(inference)}

These transforms make an index mask on the grid of the image, with the values {labels}:

{after}
"""


def fill_in(node: Any, inference: Config) -> Any:
    """Replace the references to plain values in a part of a config."""
    if isinstance(node, dict):
        return {name: fill_in(value, inference) for name, value in node.items()}
    if isinstance(node, list):
        return [fill_in(value, inference) for value in node]
    if isinstance(node, str) and node.startswith("@"):
        value = inference.get(node[1:], {})
        return value if is_plain(value) else node
    return node
