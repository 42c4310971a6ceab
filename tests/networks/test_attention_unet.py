"""The Attention U-Net against its equations, its published sizes and its own promises."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.recompute import recompute_activations

ALL_OPTIONS = {"gate_transform": True, "gating_conv": True, "deep_supervision": True}
CASES = {
    "plain U-Net": {"gates": 0},
    "U-Net with heads": {"gates": 0, **ALL_OPTIONS},
    "paper": {"gates": 1},
    "single gate": {"gates": 1, **ALL_OPTIONS},
    "multi gate": {"gates": 2, **ALL_OPTIONS},
    "merged without transform": {"gates": 2},
}
SIZES = {2: (16, 24), 3: (8, 8, 12)}
STRIDES = {2: (2, (2, 3), 2), 3: (2, (2, 1, 3), (1, 2, 1))}


def make(dims: int = 2, *, dtype: torch.dtype = torch.float32, **options) -> AttentionUnet:
    """A small network, anisotropic, whose parameters and running statistics are all random."""
    torch.manual_seed(0)
    options = {"channels": (4, 6, 8, 10), "strides": STRIDES[dims], **options}
    net = AttentionUnet(dims, 2, 3, **options).to(dtype)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 * name.endswith(("weight", "var")))
    return net


class Equations:
    """The network as the paper's equations say, on a state dict, in torch.nn.functional alone."""

    def __init__(self, dims: int, strides, state: dict, *, training: bool) -> None:
        self.conv = {2: F.conv2d, 3: F.conv3d}[dims]
        self.pool = {2: F.max_pool2d, 3: F.max_pool3d}[dims]
        self.mode = {2: "bilinear", 3: "trilinear"}[dims]
        self.steps = [(s,) * dims if isinstance(s, int) else s for s in strides]
        self.state, self.training = state, training
        self.alphas = []

    def affine(self, key, x, **options):
        return self.conv(x, self.state[f"{key}.weight"], self.state.get(f"{key}.bias"), **options)

    def norm(self, key, x):
        part = [self.state[f"{key}.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
        axes = (0, *range(2, x.dim()))
        mean, var = (x.mean(axes), x.var(axes, unbiased=False)) if self.training else part[:2]
        mean, var, weight, bias = (
            p.reshape(-1, *[1] * (x.dim() - 2)) for p in (mean, var, *part[2:])
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def unit(self, key, x, first=0, **options):
        """Convolution, batch norm and ReLU at two neighbouring places of a sequence."""
        return F.relu(self.norm(f"{key}.{first + 1}", self.affine(f"{key}.{first}", x, **options)))

    def block(self, key, x):
        return self.unit(key, self.unit(key, x, padding=1), first=3, padding=1)

    def grow(self, x, like):
        return F.interpolate(x, size=like.shape[2:], mode=self.mode, align_corners=False)

    def gate(self, key, x, g, step):
        q = F.relu(self.affine(f"{key}.theta", x, stride=step) + self.affine(f"{key}.phi", g))
        alpha = torch.sigmoid(self.affine(f"{key}.psi", q))
        self.alphas.append(alpha)
        out = self.grow(alpha, x) * x
        if f"{key}.transform.0.weight" in self.state:
            out = self.norm(f"{key}.transform.1", self.affine(f"{key}.transform.0", out))
        return out

    def __call__(self, x):
        skips = [self.block("encoder.0", x)]
        for i, step in enumerate(self.steps, start=1):
            skips.append(self.block(f"encoder.{i}.1", self.pool(skips[-1], step)))
        coarse = signal = skips.pop()
        if "gating.0.weight" in self.state:
            signal = self.unit("gating", coarse)
        heads = []
        for i, step in enumerate(reversed(self.steps)):
            skip, key = skips.pop(), f"decoder.{i}.gate"
            gated = []
            while f"{key}.gates.{len(gated)}.theta.weight" in self.state:
                gated.append(self.gate(f"{key}.gates.{len(gated)}", skip, signal, step))
            skip = torch.cat(gated, 1) if gated else skip
            if f"{key}.merge.0.weight" in self.state:
                skip = self.unit(f"{key}.merge", skip)
            coarse = torch.cat([skip, self.grow(coarse, skip)], 1)
            coarse = signal = self.block(f"decoder.{i}.conv", coarse)
            if f"heads.{i}.weight" in self.state:
                heads.insert(0, self.affine(f"heads.{i}", coarse))
        if not heads:
            return [self.affine("final", coarse)]
        fused = torch.cat([self.grow(head, coarse) for head in heads], 1)
        return (
            [self.affine("final", fused), *heads[1:]]
            if self.training
            else [self.affine("final", fused)]
        )


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_function_and_gradients_are_those_of_the_equations(case, dims, training):
    net = make(dims, dtype=torch.float64, **CASES[case]).train(training)
    x = torch.randn(2, 2, *SIZES[dims], dtype=torch.float64)
    state = {key: value.detach().clone() for key, value in net.state_dict().items()}
    names = [name for name, _ in net.named_parameters()]
    for name in names:
        state[name].requires_grad_()

    expected = Equations(dims, STRIDES[dims], state, training=training)(x)
    received = net(x)
    received = received if isinstance(received, list) else [received]
    assert [r.shape for r in received] == [e.shape for e in expected]
    for r, e in zip(received, expected, strict=True):
        torch.testing.assert_close(r, e, rtol=1e-10, atol=1e-10)

    weights = [torch.randn_like(e) / e.numel() for e in expected]
    grads = [
        torch.autograd.grad(sum((o * w).sum() for o, w in zip(out, weights, strict=True)), over)
        for out, over in (
            (received, list(net.parameters())),
            (expected, [state[name] for name in names]),
        )
    ]
    for name, r, e in zip(names, *grads, strict=True):
        torch.testing.assert_close(r, e, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("case", ["paper", "multi gate"])
@pytest.mark.parametrize("dims", [2, 3])
def test_recomputed_activations_change_nothing_but_the_memory(dims, case):
    x = torch.randn(2, 2, *[2 * size for size in SIZES[dims]])
    states, kept, convolutions = [], [], []
    for again in (False, True):
        net = make(dims, **CASES[case])
        if again:
            recompute_activations(net)
        stored: dict[int, int] = {}

        def store(tensor, stored=stored):
            stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with FlopCounterMode(display=False) as counter:
            with torch.autograd.graph.saved_tensors_hooks(store, lambda tensor: tensor):
                logits = net(x)
            logits = logits if isinstance(logits, list) else [logits]
            sum(each.square().mean() for each in logits).backward()
        states.append({**net.state_dict(), **{n: p.grad for n, p in net.named_parameters()}})
        kept.append(sum(stored.values()))
        convolutions.append(counter.get_total_flops())
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert kept[1] < 0.8 * kept[0]
    assert convolutions[0] == convolutions[1]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_backward_of_upsampling_copies_nothing(dims):
    """Its kernels for channels_last take a dense gradient; a slice costs ten times as much."""
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    net = make(dims, strides=(2, 2, 2)).to(memory_format=layout)
    logits = net(torch.randn(2, 2, *[32] * dims).contiguous(memory_format=layout))
    with torch.profiler.profile() as profile:
        logits.sum().backward()
    backward = [
        event for event in profile.events() if "upsample" in event.name and "aten" in event.name
    ]
    assert len(backward) == 5  # three levels and two gates
    assert {part.name for event in backward for part in event.cpu_children} == {"aten::zero_"}


@pytest.mark.parametrize(
    ("variant", "count"),
    [("unet", 5_888_004), ("single_gate", 6_214_151), ("multi_gate", 6_473_322)],
)
def test_presets_have_the_published_number_of_parameters(variant, count):
    assert sum(p.numel() for p in AttentionUnet.oktay2018(variant).parameters()) == count


NETS = {dims: make(dims, **CASES["multi gate"]).eval() for dims in (2, 3)}


@settings(max_examples=25, deadline=None)
@given(dims=st.sampled_from([2, 3]), data=st.data())
def test_any_size_is_the_zero_padded_image_cropped(dims, data):
    net = NETS[dims]
    size = [data.draw(st.integers(1, 2 * m + 1), label="size") for m in net.multiple]
    x = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))
    inside = (..., *(slice(s) for s in size))
    padded = x.new_zeros(1, 2, *(-(-s // m) * m for s, m in zip(size, net.multiple, strict=True)))
    padded[inside] = x
    with torch.no_grad():
        torch.testing.assert_close(net(x), net(padded)[inside], rtol=0, atol=1e-6)


class TestAttentionMaps:
    @pytest.mark.parametrize("dims", [2, 3])
    @pytest.mark.parametrize("case", ["paper", "multi gate"])
    def test_are_the_alphas_of_the_equations_on_the_gating_grid(self, case, dims):
        net = make(dims, dtype=torch.float64, **CASES[case]).eval()
        x = torch.randn(1, 2, *SIZES[dims], dtype=torch.float64)
        equations = Equations(dims, STRIDES[dims], net.state_dict(), training=False)
        equations(x)
        gates = CASES[case]["gates"]
        coarsest_first = [
            torch.cat(equations.alphas[i : i + gates], 1)
            for i in range(0, len(equations.alphas), gates)
        ]
        maps = net.attention_maps(x)
        assert len(maps) == 2  # three skips, the finest is not gated
        torch.testing.assert_close(maps, coarsest_first[::-1], rtol=1e-10, atol=1e-10)
        finest_grid = [
            s // a // b for s, a, b in zip(SIZES[dims], *equations.steps[:2], strict=True)
        ]
        assert list(maps[0].shape) == [1, gates, *finest_grid]
        assert all(m.min() >= 0 and m.max() <= 1 for m in maps)

    def test_cost_nothing_until_asked_for(self):
        net = make(**CASES["paper"]).eval()
        x = torch.randn(1, 2, *SIZES[2])
        equations = Equations(2, STRIDES[2], net.state_dict(), training=False)
        before = net(x)
        net.attention_maps(x)
        assert torch.equal(before, net(x))
        flops = []
        for function in (net, equations):
            with FlopCounterMode(display=False) as counter:
                function(x)
            flops.append(counter.get_total_flops())
        assert flops[0] == flops[1]

    def test_of_a_network_without_gates_are_none(self):
        assert make(gates=0).attention_maps(torch.randn(1, 2, *SIZES[2])) == []


def test_deep_supervision_trains_on_a_list_and_evaluates_to_logits():
    net = make(**CASES["multi gate"])
    x, target = torch.randn(2, 2, *SIZES[2]), torch.randint(0, 3, (2, 1, *SIZES[2])).float()
    outputs = net.train()(x)
    assert [tuple(o.shape[2:]) for o in outputs] == [(16, 24), (8, 12), (4, 4)]
    DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True))(outputs, target).backward()
    assert all(head.weight.grad.abs().sum() > 0 for head in net.heads)
    assert net.eval()(x).shape == (2, 3, *SIZES[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims is 4"),
        ({"channels": (8, 16)}, "2 channels and 4 strides"),
        ({"gates": -1}, "gates is -1"),
    ],
)
def test_wrong_options_are_refused_with_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        AttentionUnet(**{"spatial_dims": 2, "in_channels": 1, "out_channels": 2, **options})


def test_unknown_preset_is_refused_with_the_choice():
    with pytest.raises(ValueError, match=r"'attention'; give one of unet, single_gate, multi_gate"):
        AttentionUnet.oktay2018("attention")


def test_gates_may_start_open_with_the_same_weights_otherwise():
    states = []
    for options in ({}, {"gate_bias": 3.0}):
        torch.manual_seed(0)
        net = AttentionUnet(2, 1, 1, channels=(4, 6, 8), strides=(2, 2), **options).eval()
        states.append(net.state_dict())
    plain, opened = states
    changed = [name for name in plain if not torch.equal(plain[name], opened[name])]
    assert changed == [name for name in plain if name.endswith("psi.bias")] != []
    assert {opened[name].item() for name in changed} == {3.0}


@pytest.mark.parametrize("case", CASES)
def test_weights_with_biases_before_batch_norms_compute_the_same_without(case):
    before, now = make(conv_bias=True, **CASES[case]), make(**CASES[case])
    state = before.state_dict()
    now.load_state_dict(state)
    assert len(now.state_dict()) < len(state) == len(before.state_dict())
    x = torch.randn(2, 2, *SIZES[2])
    for training in (False, True):
        pair = [net.train(training)(x) for net in (now, before)]
        torch.testing.assert_close(*pair, atol=1e-5, rtol=1e-5)
    members = nn.ModuleList([now])  # as those of an ensemble
    members.load_state_dict({f"0.{name}": value for name, value in state.items()})
