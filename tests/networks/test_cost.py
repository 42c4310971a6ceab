"""Costs that follow from the formulas by hand, in 2D and 3D."""

import pytest
import torch

from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.cost import network_cost


@pytest.mark.parametrize(("dims", "size"), [(2, (10, 12)), (3, (10, 12, 6))])
def test_a_convolution_costs_what_the_formula_says(dims, size):
    layer = (torch.nn.Conv2d, torch.nn.Conv3d)[dims - 2](3, 5, 3, padding=1)
    cost = network_cost(layer, (1, 3, *size))
    pixels = torch.Size(size).numel()
    assert cost["model/parameters"] == 5 * 3 * 3**dims + 5
    assert cost["model/gflops"] == pytest.approx(2 * pixels * 5 * 3 * 3**dims / 1e9)


def test_counting_leaves_the_network_as_it_is():
    network = AttentionUnet(
        spatial_dims=2, in_channels=3, out_channels=2, channels=(4, 8), strides=(2,)
    )
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cost = network_cost(network, (1, 3, 33, 31))
    # The wrapper of several GPUs and the compiler's cost the same.
    wrapped = torch.nn.Module()
    wrapped.module = network
    assert network_cost(wrapped, (1, 3, 33, 31)) == cost
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network_cost(network, (1, 3, 66, 62))["model/gflops"] > 3.5 * cost["model/gflops"]


def test_a_pass_that_depends_on_values_costs_only_the_count():
    class Odd(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum().item() > 0 else x

    assert network_cost(Odd(3, 2), (1, 3)) == {"model/parameters": 8}
