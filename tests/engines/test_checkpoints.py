"""What a resumed training goes on with."""

from __future__ import annotations

import math
from operator import itemgetter

import pytest
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.engines import SupervisedEvaluator
from monai.optimizers import WarmupCosineSchedule

from pipeline.bundle.trained import BEST, FINAL
from pipeline.engines.checkpoints import Checkpoints, get_state, load_state
from pipeline.engines.handlers import PeriodicValidation
from pipeline.errors import InputError


def schedule(steps: int, *, taken: int = 0) -> WarmupCosineSchedule:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = WarmupCosineSchedule(optimizer, warmup_steps=5, t_total=steps)
    for _ in range(taken):
        optimizer.step()
        made.step()
    return made


@pytest.mark.parametrize("end", [20, 40])
def test_the_learning_rate_is_that_of_a_training_of_this_length(end):
    resumed = schedule(end)
    load_state(resumed, get_state(schedule(20, taken=12)))
    for taken in range(13, end + 1):
        resumed.step()
        assert resumed.get_last_lr() == pytest.approx(schedule(end, taken=taken).get_last_lr())


@pytest.mark.parametrize(("metrics", "best"), [((0.2, 0.1), 1), ((math.nan, math.nan), 2)])
def test_the_last_epoch_gives_the_model_where_no_validation_measured_anything(
    metrics, best, tmp_path, caplog
):
    """Which no label of the validation holds a region for; MONAI then takes the first epoch."""
    network = torch.nn.Conv2d(1, 1, 1)
    cases = [{"image": torch.ones(1, 1, 2, 2), "label": torch.ones(1, 1, 2, 2)}]
    validator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=cases,
        network=network,
        key_val_metric={"dice": FixedDice(metrics)},
        decollate=False,
    )
    trainer = Engine(lambda *_: torch.nn.init.constant_(network.weight, trainer.state.epoch))
    PeriodicValidation(validator=validator, interval=1).attach(trainer)
    Checkpoints(output_dir=str(tmp_path), model=network, state={}, validator=validator).attach(
        trainer
    )
    with caplog.at_level("INFO"):
        trainer.run([0], max_epochs=2)
    assert caplog.text.count(str(tmp_path)) == 1  # where the weights are
    kept = {name: torch.load(tmp_path / name)["weight"].item() for name in (BEST, FINAL)}
    assert kept == {BEST: best, FINAL: 2}


class FixedDice(Metric):
    """A given value in each epoch."""

    def __init__(self, values):
        self.values = iter(values)
        super().__init__(output_transform=itemgetter("pred", "label"))

    def reset(self):
        pass

    def update(self, output):
        pass

    def compute(self):
        return next(self.values)


def test_a_torn_checkpoint_is_one_line(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK torn")
    network = torch.nn.Conv2d(1, 1, 1)
    handler = Checkpoints(
        output_dir=str(tmp_path), model=network, state={}, validator=None, resume=True
    )
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        handler.attach(Engine(lambda *_: None))
