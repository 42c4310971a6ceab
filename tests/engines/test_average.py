"""The moving average of the weights."""

import torch
from ignite.engine import Engine
from ignite.handlers import EMAHandler

from pipeline.engines.average import MovingAverage


def test_it_is_that_of_ignite():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    options = {"momentum": 0.1, "momentum_warmup": 1.0, "warmup_iters": 3}
    handlers = [
        MovingAverage(network, **options),
        EMAHandler(network, handle_buffers="update", **options),
    ]

    def step(engine, batch):
        network(batch)
        with torch.no_grad():
            for each in network.parameters():
                each.add_(torch.randn_like(each))

    engine = Engine(step)
    for name, handler in zip(("own", "other"), handlers, strict=True):
        handler.attach(engine, name=name)
    engine.run([torch.randn(2, 1, 8, 8) for _ in range(8)], max_epochs=1)
    own, other = (handler.ema_model.state_dict() for handler in handlers)
    assert own["1.num_batches_tracked"] == 8
    torch.testing.assert_close(own, other, atol=1e-6, rtol=0)
    assert not any(each.requires_grad for each in handlers[0].ema_model.parameters())
