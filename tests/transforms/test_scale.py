"""Intensities become 0 to 1, by a window or for each image and channel by itself."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import InputError
from pipeline.transforms.scale import ScaleWindowd


def test_a_window_keeps_the_meaning_of_values():
    image = torch.tensor([[-1000.0, -100, 70, 240, 3000]])
    scaled = ScaleWindowd("image", window=[-100, 240])({"image": image})["image"]
    torch.testing.assert_close(scaled, torch.tensor([[0, 0, 0.5, 1, 1]]))


def test_percentiles_scale_each_channel_of_each_image_by_itself():
    ramp = torch.linspace(0, 100, 101)
    image = torch.stack([ramp, 5000 * ramp + 7])
    scaled = ScaleWindowd("image", percentiles=[10, 90])({"image": image})["image"]
    expected = ((ramp - 10) / 80).clamp(0, 1)
    torch.testing.assert_close(scaled, torch.stack([expected, expected]))


@pytest.mark.parametrize("both", [(None, None), ([0, 1], [0, 100])])
def test_exactly_one_way_is_given(both):
    with pytest.raises(InputError, match=r"hu_window is .* percentiles "):
        ScaleWindowd("image", *both)
