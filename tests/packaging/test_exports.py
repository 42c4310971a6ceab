import io
import os
import subprocess
import sys

import onnx
import pytest
import torch

from pipeline.bundle.configs import Config
from pipeline.errors import InputError
from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.unet_plus_plus import UnetPlusPlus
from pipeline.packaging.check import find_machine_paths
from pipeline.packaging.exports import (
    check_export,
    export_network,
    export_onnx,
    export_torchscript,
    run_onnx,
    run_torchscript,
)

SMALL = {"in_channels": 1, "out_channels": 2, "channels": [4, 8, 16], "strides": [2, 2]}


def network(dimensions=2):
    torch.manual_seed(0)
    return AttentionUnet(spatial_dims=dimensions, **SMALL).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "shapes", [[(1, 1, 32, 32), (3, 1, 41, 18)], [(1, 1, 16, 16, 16), (2, 1, 21, 9, 13)]]
)
def test_onnx_takes_images_of_any_size_and_names_no_file_of_this_machine(shapes):
    net = network(len(shapes[0]) - 2)
    content = export_onnx(net, torch.rand(shapes[0]))
    assert not list(find_machine_paths("model.onnx", content))
    onnx.checker.check_model(onnx.load_from_string(content))
    for shape in shapes:
        image = torch.rand(shape)
        check_export("onnx", [run_onnx(content, image)], [net(image)])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_torchscript_takes_any_size_and_names_no_file_of_this_machine(dimensions):
    net = network(dimensions)
    content = export_torchscript(net)
    assert not list(find_machine_paths("model.ts", content))
    for size in (16, 21):
        image = torch.rand(2, 1, *[size] * dimensions)
        check_export("torchscript", [run_torchscript(content, image)], [net(image)])
    moved = torch.jit.load(io.BytesIO(content), map_location="meta")
    assert {each.device.type for each in moved.state_dict().values()} == {"meta"}
    assert len(moved.state_dict()) == len(net.state_dict())  # none became a constant


@pytest.mark.slow
def test_torchscript_has_the_same_bytes_in_every_process():
    code = (
        "import hashlib, torch; from pipeline.networks import AttentionUnet\n"
        "from pipeline.packaging.exports import export_torchscript\n"
        f"torch.manual_seed(0); net = AttentionUnet(spatial_dims=2, **{SMALL}).eval()\n"
        "print(hashlib.sha256(export_torchscript(net)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(digests) == 1


def test_an_export_that_computes_something_else_is_refused():
    right = [torch.zeros(1, 2, 8, 8)]
    for wrong in (right[0] + 0.01, torch.zeros(1, 2, 8, 9)):
        with pytest.raises(InputError, match="--onnx"):
            check_export("onnx", [wrong], right)


def test_the_page_says_what_comes_before_and_after():
    image = {"num_channels": 1, "spatial_shape": [16, 16]}
    pred = {"channel_def": {"0": "background", "1": "disc_rim", "2": "optic_cup"}}
    metadata = {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}}}
    steps = {"_target_": "Compose", "transforms": [{"_target_": "Spacingd", "pixdim": "@spacing"}]}
    inference = {"spacing": [1.5, 1.5, 2.0], "inferer": {"_target_": "SimpleInferer"}}
    inference |= {"preprocessing": steps, "postprocessing": steps, "threshold": 0.4}
    inference["regions"] = {"disc": [1, 2], "optic_cup": [2]}
    files = export_network(network(), metadata, Config(inference), kinds=["torchscript"])
    assert set(files) == {"exports/model.ts", "exports/README.md"}
    text = files["exports/README.md"].decode()
    for part in (
        "float32 (N, 1, X, Y)",
        "Spacingd",
        "1.5",
        "SimpleInferer",
        "optic_cup",
        "-0.4055",
    ):
        assert part in text


def test_monai_s_unet_plus_plus_goes_too():
    net = UnetPlusPlus(spatial_dims=2, in_channels=1, out_channels=1, features=[4] * 6).eval()
    image = torch.rand(1, 1, 32, 32)
    check_export("torchscript", [run_torchscript(export_torchscript(net), image)], [net(image)])
