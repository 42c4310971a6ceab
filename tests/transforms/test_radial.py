"""The disc's border stays, the cup's size changes as it should, image and label together."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.transforms.radial import RandRadialBatchd


def eye(size: tuple[int, int], disc: tuple[float, float], cup: float) -> dict[str, torch.Tensor]:
    """An ellipse with half axes ``disc`` (px), off centre and tilted, and a cup in it.

    The image's channels are the label's, so that what moves one and not the other is seen.
    """
    x, y = torch.meshgrid(*(torch.arange(n) + 0.5 for n in size), indexing="ij")
    x, y = x - 0.45 * size[0], y - 0.55 * size[1]
    along, across = (x + y) / math.sqrt(2), (x - y) / math.sqrt(2)
    radius = ((along / disc[0]) ** 2 + (across / disc[1]) ** 2).sqrt()
    label = torch.stack([radius < 1, radius < cup])[None].float()
    return {"image": torch.cat([label, label[:, :1]], dim=1), "label": label}


def area(label: torch.Tensor) -> list[float]:
    return label.sum(dim=(0, 2, 3)).tolist()


@pytest.mark.parametrize("amount", [-0.5, 0.5, 0.8])
@pytest.mark.parametrize("cup", [0.4, 0.7])
def test_the_disc_stays_and_the_cup_is_scaled_by_the_formula(amount, cup):
    batch = eye((180, 240), (50, 40), cup)
    moved = RandRadialBatchd(prob=1.0, amount=(amount, amount))(batch)
    disc_before, _ = area(batch["label"])
    disc, cup_after = area(moved["label"])
    assert disc == pytest.approx(disc_before, rel=0.03)
    assert (moved["label"][:, 0] - batch["label"][:, 0]).abs().mean() < 0.01
    # The new border r shows the old one: r (1 + a (1 - r)) = cup.
    r = (1 + amount - math.sqrt((1 + amount) ** 2 - 4 * amount * cup)) / (2 * amount)
    assert math.sqrt(cup_after / disc) == pytest.approx(r, abs=0.02)
    assert torch.equal(moved["image"][:, :2], moved["label"])


def test_a_case_without_a_disc_and_one_that_is_not_drawn_stay_as_they_are():
    one, other = eye((60, 80), (20, 15), 0.5), eye((60, 80), (20, 15), 0.5)
    other["label"].zero_()
    other["image"] = torch.rand_like(other["image"])
    batch = {key: torch.cat([one[key], other[key]]) for key in one}
    moved = RandRadialBatchd(prob=1.0, amount=(0.8, 0.8))(batch)
    assert not torch.allclose(moved["image"][0], batch["image"][0], atol=1e-3)
    torch.testing.assert_close(moved["image"][1], batch["image"][1], atol=1e-4, rtol=0)
    same = RandRadialBatchd(prob=0.0)(batch)
    torch.testing.assert_close(same["image"], batch["image"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(64, 64), (512, 512), (128, 96)])
@pytest.mark.parametrize("region", ["pixel", "row", "diagonal"])
def test_what_a_patch_cuts_of_a_disc_may_be_a_line_or_a_point(size, region):
    label = torch.zeros(1, 2, *size)
    if region == "pixel":
        label[..., -1, 3] = 1
    elif region == "row":
        label[..., -1, 2:9] = 1
    else:
        steps = range(min(size) // 2)
        label[..., steps, steps] = 1
    image = torch.rand(1, 3, *size)
    moved = RandRadialBatchd(prob=1.0, amount=(0.8, 0.8))({"image": image, "label": label})
    for key, before in (("image", image), ("label", label)):
        assert torch.isfinite(moved[key]).all()
        assert (moved[key] - before).abs().mean() < 0.01
