"""The state of a training from before goes on in today's network."""

from copy import deepcopy

import torch

from pipeline.engines.states import drop_parameters, get_state, load_state
from pipeline.networks.attention_unet import AttentionUnet


def make(**options):
    torch.manual_seed(0)
    network = AttentionUnet(2, 1, 1, channels=(4, 6, 8), strides=(2, 2), **options).double()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0)
    return {"network": network, "optimizer": optimizer}


def step(parts, image):
    parts["optimizer"].zero_grad()
    parts["network"](image).square().mean().backward()
    parts["optimizer"].step()


def test_an_optimiser_goes_on_without_the_biases_before_batch_norms():
    image = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    before, now = make(conv_bias=True), make()
    for _ in range(3):
        step(before, image)
    state = deepcopy({name: get_state(part) for name, part in before.items()})
    drop_parameters(state, now)
    for name, part in now.items():
        load_state(part, state[name])
    for _ in range(2):
        step(before, image)
        step(now, image)
    expected = dict(before["network"].named_parameters())
    for name, value in now["network"].named_parameters():
        torch.testing.assert_close(value, expected[name], atol=1e-9, rtol=0)
    assert len(list(now["network"].parameters())) < len(expected)
    evaluated = [parts["network"].eval()(image) for parts in (before, now)]
    torch.testing.assert_close(*evaluated, atol=1e-8, rtol=0)
