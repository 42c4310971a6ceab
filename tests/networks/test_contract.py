"""What every network of the package promises, in 2D and 3D."""

from __future__ import annotations

import io

import pytest
import torch
from monai.networks.utils import convert_to_torchscript
from torch import nn

from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.unet_plus_plus import UnetPlusPlus

ALL_OPTIONS = {"gate_transform": True, "gating_conv": True, "deep_supervision": True}
IN, OUT = 2, 3


def attention_unet(**options):
    def build(dims: int, narrow: bool) -> nn.Module:
        small = {"channels": (4, 8, 16), "strides": (2, 2)} if narrow else {}
        return AttentionUnet(dims, IN, OUT, **small, **options)

    return build


def unet_plus_plus(dims: int, narrow: bool) -> nn.Module:
    small = {"features": (4, 4, 8, 8, 16, 4)} if narrow else {}
    return UnetPlusPlus(dims, IN, OUT, **small)


BUILDERS = {
    "unet": attention_unet(gates=0),
    "attention_unet": attention_unet(gates=1),
    "single_gate": attention_unet(gates=1, **ALL_OPTIONS),
    "multi_gate": attention_unet(gates=2, **ALL_OPTIONS),
    "unet_plus_plus": unet_plus_plus,
}
# Compilers take seconds a network; the multi-gate one holds every operation of the single ones.
COMPILED = [(2, "attention_unet"), (2, "unet_plus_plus"), (3, "multi_gate")]


def build(dims: int, name: str, *, narrow: bool = True) -> nn.Module:
    torch.manual_seed(0)
    net = BUILDERS[name](dims, narrow)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


def batches(dims: int) -> list[torch.Tensor]:
    """Two sizes and two batch sizes, the second with odd axes."""
    shapes = {2: [(2, IN, 32, 48), (3, IN, 35, 17)], 3: [(2, IN, 32, 20, 32), (1, IN, 17, 33, 19)]}
    torch.manual_seed(1)
    return [torch.randn(shape) for shape in shapes[dims]]


def assert_same(function, net: nn.Module, dims: int, *, atol: float = 1e-5) -> None:
    for x in batches(dims):
        with torch.no_grad():
            torch.testing.assert_close(function(x), net(x), rtol=0, atol=atol)


def export(net: nn.Module, dims: int) -> torch.export.ExportedProgram:
    dynamic = dict.fromkeys((0, *range(2, 2 + dims)), torch.export.Dim.DYNAMIC)
    return torch.export.export(net.eval(), (batches(dims)[0],), dynamic_shapes=(dynamic,))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", BUILDERS)
class TestEveryNetwork:
    def test_output_has_the_size_of_any_input(self, dims, name):
        net = build(dims, name).eval()
        for x in batches(dims):
            assert net(x).shape == (len(x), OUT, *x.shape[2:])

    def test_gradients_reach_every_parameter(self, dims, name):
        # Distributed training stops at a parameter without one. The logits alone, not the list
        # of deep supervision: a user may drop the auxiliary losses.
        out = (net := build(dims, name).train())(batches(dims)[0])
        out = out[0] if isinstance(out, list) else out
        (out * torch.randn_like(out)).sum().backward()
        for key, parameter in net.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            # A bias before a batch norm has a gradient of zero.
            assert parameter.dim() == 1 or parameter.grad.any(), key

    def test_state_dict_round_trip(self, dims, name):
        net, file = build(dims, name).eval(), io.BytesIO()
        torch.save(net.state_dict(), file)
        file.seek(0)
        torch.manual_seed(2)
        other = BUILDERS[name](dims, True).eval()
        other.load_state_dict(torch.load(file, weights_only=True), strict=True)
        assert_same(other, net, dims, atol=0)

    def test_torchscript(self, dims, name):
        # The call that `python -m monai.bundle ckpt_export` makes.
        net, file = build(dims, name).eval(), io.BytesIO()
        torch.jit.save(convert_to_torchscript(net), file)
        file.seek(0)
        assert_same(torch.jit.load(file), net, dims)

    def test_bf16_is_close_to_float32(self, dims, name):
        # Full widths, for these take the matrix units where a processor has them. With an axis
        # that shrinks to one pixel, some bf16 convolutions have given NaN or garbage (an error of
        # the order of 1), where rounding to 8 bits over 20 layers gives about 0.01.
        net = build(dims, name, narrow=False).eval()
        x = torch.randn(1, IN, *{2: (64, 16), 3: (32, 16, 16)}[dims])
        with torch.no_grad():
            exact = net(x)
            with torch.autocast("cpu", torch.bfloat16):
                rounded = net(x)
        assert rounded.dtype == torch.bfloat16
        assert ((rounded - exact).norm() / exact.std() / exact.numel() ** 0.5) < 0.05


@pytest.mark.parametrize("network", COMPILED, ids=lambda case: "-".join(map(str, case)))
class TestCompilers:
    def test_export_and_onnx_take_any_batch_and_size(self, network, tmp_path):
        onnxruntime = pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        dims, net = network[0], build(*network).eval()
        exported = export(net, dims)
        assert_same(exported.module(), net, dims)

        torch.onnx.export(exported, dynamo=True, verbose=False, f=str(tmp_path / "net.onnx"))
        session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
        name = session.get_inputs()[0].name
        assert_same(lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]), net, dims)

    def test_compile_finds_one_graph(self, network):
        dims, net = network[0], build(*network).eval()
        torch._dynamo.reset()
        compiled = torch.compile(net, fullgraph=True, dynamic=False, backend="aot_eager")
        assert_same(compiled, net, dims)


@pytest.mark.slow
def test_inductor_training_step_equals_eager():
    net = build(2, "multi_gate").train()
    x = batches(2)[0]
    state, results = {k: v.clone() for k, v in net.state_dict().items()}, []
    for function in (net, torch.compile(net, fullgraph=True, dynamic=False)):
        net.load_state_dict(state)
        outputs = function(x)
        loss = sum(o.square().mean() for o in outputs)
        results.append([*outputs, *torch.autograd.grad(loss, list(net.parameters()))])
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-4)
