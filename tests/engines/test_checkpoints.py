"""What a resumed training goes on with."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from monai.optimizers import WarmupCosineSchedule

from pipeline.engines.checkpoints import Checkpoints, get_state, load_state
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


def test_a_torn_checkpoint_is_one_line(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK torn")
    network = torch.nn.Conv2d(1, 1, 1)
    handler = Checkpoints(
        output_dir=str(tmp_path), model=network, state={}, validator=None, resume=True
    )
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        handler.attach(Engine(lambda *_: None))
