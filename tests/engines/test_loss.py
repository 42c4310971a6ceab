"""The loss of regions against the bare loss, and ignored voxels."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceFocalLoss

from pipeline.engines.loss import LevelLoss, RegionLoss
from pipeline.transforms.regions import Regions

EXCLUSIVE = {"a": [1], "b": [2], "c": [3]}
NESTED = {"outer": [1, 2, 3], "inner": [2, 3], "core": [3]}
MIXED = {"organ": [1, 2, 3], "left": [2], "right": [3]}
DICE_CE = DiceFocalLoss(sigmoid=True, batch=True, gamma=0.0, lambda_dice=0.5, lambda_focal=0.5)
BCE = torch.nn.BCEWithLogitsLoss()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def draw() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and label values of two images."""
    return 2 * torch.randn(2, 3, 5, 6), torch.randint(0, 4, (2, 5, 6))


def truth_of(regions: dict, index: torch.Tensor, ignored: torch.Tensor | None = None):
    masks = torch.stack([Regions(regions).from_index(each) for each in index]).float()
    return masks if ignored is None else torch.cat([masks, ignored[:, None].float()], dim=1)


@pytest.mark.parametrize("bare", [BCE, DICE_CE], ids=["bce", "dice_ce"])
@pytest.mark.parametrize("regions", [EXCLUSIVE, NESTED])
def test_without_an_ignored_value_it_is_the_bare_loss(bare, regions):
    logits, index = draw()
    truth = truth_of(regions, index)
    assert RegionLoss(bare, regions)(logits, truth) == bare(logits, truth)


def test_a_soft_label_is_where_its_loss_is_least():
    """The usual Dice is better at a mask; for a hard label the two are the same."""
    share = torch.full((1, 3, 5, 6), 0.75)
    usual, soft = (RegionLoss(DiceFocalLoss(sigmoid=True, gamma=0.0), NESTED) for _ in range(2))
    soft.take_soft_labels()

    def dice(loss: RegionLoss, prediction: torch.Tensor) -> float:
        return loss.loss.dice(torch.logit(prediction), share).item()

    sure = torch.full_like(share, 0.999)
    assert dice(usual, sure) < dice(usual, share) - 0.05
    assert dice(soft, share) == pytest.approx(0, abs=1e-6)
    assert dice(soft, sure) > 0.1
    logits, index = draw()
    truth = truth_of(NESTED, index)
    torch.testing.assert_close(soft(logits, truth), usual(logits, truth))


@pytest.mark.parametrize("regions", [EXCLUSIVE, NESTED, MIXED], ids=["exclusive", "nested", "both"])
def test_what_is_ignored_changes_nothing(regions):
    logits, index = draw()
    ignored = torch.rand(2, 5, 6) > 0.6
    other_logits = torch.where(ignored[:, None], 5 * torch.randn_like(logits), logits)
    other_index = torch.where(ignored, torch.randint(0, 4, index.shape), index)
    results = []
    for scores, values in ((logits, index), (other_logits, other_index)):
        scores = scores.clone().requires_grad_()
        loss = RegionLoss(DICE_CE, regions)(scores, truth_of(regions, values, ignored))
        loss.backward()
        assert not scores.grad[ignored[:, None].expand_as(scores)].any()
        results.append((loss, scores.grad))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    # It adds no more than a background that the network is sure of.
    sure = torch.where(ignored[:, None], -30.0, logits)
    sure = RegionLoss(BCE, regions)(sure, truth_of(regions, index * ~ignored))
    loss = RegionLoss(BCE, regions)(logits, truth_of(regions, index, ignored))
    torch.testing.assert_close(loss, sure)
    nothing = torch.zeros_like(ignored)
    whole = RegionLoss(DICE_CE, regions)(logits, truth_of(regions, index))
    torch.testing.assert_close(
        RegionLoss(DICE_CE, regions)(logits, truth_of(regions, index, nothing)), whole
    )


def test_each_level_of_deep_supervision_ignores_its_own_voxels():
    logits, index = draw()
    levels = [logits, torch.randn(2, 3, 3, 3, requires_grad=True)]
    ignored = torch.zeros(2, 5, 6, dtype=torch.bool)
    ignored[:, :, 3:] = True
    loss = RegionLoss(DICE_CE, EXCLUSIVE)
    truth = truth_of(EXCLUSIVE, index, ignored)
    total = DeepSupervisionLoss(loss)(levels, truth)
    small = torch.nn.functional.interpolate(truth, (3, 3), mode="nearest-exact")
    torch.testing.assert_close(total, loss(logits, truth) + 0.5 * loss(levels[1], small))
    assert torch.equal(LevelLoss(DeepSupervisionLoss(loss))(levels, truth), total)
    assert torch.equal(LevelLoss(loss)(logits, truth), loss(logits, truth))
    total.backward()
    assert not levels[1].grad[..., 2].any()
    assert levels[1].grad[..., 0].any()
