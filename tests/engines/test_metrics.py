"""The Dice of every epoch, against MONAI's, in one process and in two."""

from __future__ import annotations

import math
import multiprocessing as mp

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from ignite.engine import Engine
from monai.metrics import compute_dice

from pipeline.engines.metrics import RegionDice

REGIONS = ["optic_disc", "optic_cup"]
NESTED = {"optic_disc": [1, 2], "optic_cup": [2]}


def cases(count: int, seed: int, density: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and truth (count, 2, 5, 6, 7); small densities leave regions empty."""
    random = torch.Generator().manual_seed(seed)
    uniform = torch.rand(2, count, 2, 5, 6, 7, generator=random) < density
    return uniform[0] * 8.0 - 4, uniform[1].float()


def value(batches) -> dict[str, float]:
    metric = RegionDice(NESTED)
    for batch in batches:
        metric.update(batch)
    return metric.compute()


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    density=st.sampled_from([0.0, 0.004, 0.5]),
)
def test_it_is_monais_dice_however_the_cases_are_batched(sizes, seed, density):
    logits, truth = cases(sum(sizes), seed, density)
    got = value(zip(logits.split(sizes), truth.split(sizes), strict=True))
    prediction = (logits > 0).float()
    prediction[:, 1] *= prediction[:, 0]  # a cup lies inside its disc
    held = truth.flatten(2).any(dim=2).any(dim=0)  # a region that no case holds is in no mean
    expected = compute_dice(prediction, truth, ignore_empty=False)[:, held]  # (cases, regions)
    names = [name for name, each in zip(REGIONS, held.tolist(), strict=True) if each]
    if not names:
        assert got == {"dice": pytest.approx(math.nan, nan_ok=True)}
        return
    assert set(got) == {"dice", "pooled_iou", *(f"dice/{name}" for name in names)}
    assert got["dice"] == pytest.approx(expected.mean().item(), abs=1e-6)
    for name, each in zip(names, expected.mean(dim=0), strict=True):
        assert got[f"dice/{name}"] == pytest.approx(each.item(), abs=1e-6)
    prediction, truth = prediction[:, held], truth[:, held]
    both, either = (prediction * truth).sum(), ((prediction + truth) > 0).sum()
    assert got["pooled_iou"] == pytest.approx((both / either).item(), abs=1e-6)


def test_a_region_that_no_case_holds_is_told_once(caplog):
    logits, truth = cases(2, seed=0)
    truth[:, 1] = 0
    metric = RegionDice(NESTED)
    for _ in range(2):
        metric.reset()
        metric.update((logits, truth))
        metric.compute()
    (told,) = caplog.messages
    assert "optic_cup" in told


def test_ignored_voxels_do_not_count_and_exclusive_classes_never_overlap():
    """Whatever stands in an ignored voxel; of two classes that are marked the likelier counts."""
    regions = {"liver": [3], "kidney": [7]}
    logits, truth = cases(3, seed=3)
    truth[:, 1] *= 1 - truth[:, 0]
    ignored = (torch.rand(3, 1, 5, 6, 7, generator=torch.Generator().manual_seed(4)) < 0.3).float()
    logits[:, 1] += 0.5  # where both are marked
    metric, other = RegionDice(regions), RegionDice(regions)
    metric.update((logits, torch.cat([truth, ignored], dim=1)))
    noise = torch.randn_like(logits) * 9
    changed = torch.where(ignored > 0, noise, logits), torch.where(ignored > 0, 1 - truth, truth)
    other.update((changed[0], torch.cat([changed[1], ignored], dim=1)))
    assert metric.compute() == other.compute()
    counts = ignored[:, 0] == 0
    kidney = (logits[:, 1] > 0) & counts
    liver = (logits[:, 0] > 0) & ~(logits[:, 1] > 0) & counts
    for name, found, true in zip(regions, (liver, kidney), truth.unbind(1), strict=True):
        true = (true > 0) & counts
        both, total = ((found & true), (found.int() + true.int()))
        dice = 2 * both.flatten(1).sum(1) / total.flatten(1).sum(1)
        assert metric.compute()[f"dice/{name}"] == pytest.approx(dice.mean().item())


def test_it_is_a_validators_key_metric_and_forgets_the_epoch_before():
    logits, truth = cases(4, seed=1)
    epochs = iter([truth * 2 - 1, logits])
    engine = Engine(lambda engine, batch: {"pred": prediction, "label": truth})
    RegionDice(NESTED).attach(engine, "dice")
    for prediction in epochs:
        engine.run([0], max_epochs=1)
        assert engine.state.metrics == value([(prediction, truth)])
    assert set(engine.state.metrics) == {
        *("dice", "dice/optic_disc", "dice/optic_cup", "pooled_iou")
    }


def test_channels_and_regions_must_agree():
    with pytest.raises(ValueError, match="optic_disc"):
        RegionDice({"optic_disc": [1]}).update(cases(1, seed=0))


def one_of_two(rank: int, address: str, data: tuple, shares: list[int], answers) -> None:
    """A process that sees the first cases, or those after them, of each epoch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    for first in shares:
        part = slice(None, first) if rank == 0 else slice(first, None)
        held = [each[part] for each in data]
        answers.put(
            value(zip(*(each.split(2) for each in held), strict=True) if len(held[0]) else [])
        )
    torch.distributed.destroy_process_group()


@pytest.mark.skipif("fork" not in mp.get_all_start_methods(), reason="no fork on this system")
def test_two_processes_with_uneven_cases_give_the_value_of_one(tmp_path):
    data, shares = cases(5, seed=2), [4, 0]  # in the second epoch one process has no case
    context = mp.get_context("fork")
    answers = context.SimpleQueue()
    address = f"file://{tmp_path / 'meet'}"
    processes = [
        context.Process(target=one_of_two, args=(rank, address, data, shares, answers), daemon=True)
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    for _ in range(4):
        assert answers.get() == pytest.approx(value([data]))
