"""What an evaluation says about its network's cost."""

import time

import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.inferers import SlidingWindowInferer

from pipeline.engines.sliding_window import SlidingWindow
from pipeline.evaluation.footprint import Footprint


def make_evaluator(network, data, inferer=None):
    return SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=data, network=network, inferer=inferer,
        val_handlers=[Footprint(network)],
    )  # fmt: skip


class Slow(torch.nn.Conv2d):
    """Sleeps 20 ms per pass, and much longer in the first one."""

    passes = 0

    def forward(self, x):
        if not x.is_meta:  # which only counts
            time.sleep(0.02 if self.passes else 0.3)
            self.passes += 1
        return super().forward(x)


@pytest.mark.parametrize(
    ("inferer", "images", "windows"),
    [(None, 1, 1), (None, 2, 1), (SlidingWindowInferer((8, 8), overlap=0), 1, 4)],
    ids=["one image", "two images", "sliding window"],
)
def test_the_time_of_an_image_without_the_warm_up(inferer, images, windows):
    network = Slow(3, 1, 1)
    data = [{"image": torch.zeros(images, 3, 16, 16), "label": torch.zeros(images, 1, 16, 16)}] * 3
    evaluator = make_evaluator(network, data, inferer)
    for _ in range(2):  # a second evaluation starts anew
        network.passes = 0
        evaluator.run()
        metrics = evaluator.state.metrics
        expected = 0.02 * windows / images
        assert expected <= metrics["seconds_per_image"] < 3 * expected
        assert metrics["model/parameters"] == 4
        assert metrics["model/gflops"] == pytest.approx(2 * 3 * 256 / windows / 1e9)
    assert not network._forward_hooks


def test_a_network_that_is_folded_for_its_windows_is_timed():
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.BatchNorm3d(1))
    data = [{"image": torch.rand(1, 1, 32, 32, 32), "label": torch.zeros(1, 1, 32, 32, 32)}] * 3
    evaluator = make_evaluator(network, data, SlidingWindow(roi_size=(16, 16, 16)))
    evaluator.run()
    assert evaluator.state.metrics["seconds_per_image"] > 0
    assert evaluator.state.metrics["model/parameters"] == 4


def test_a_single_batch_is_warm_up_alone():
    network = torch.nn.Conv2d(3, 1, 1)
    data = [{"image": torch.zeros(1, 3, 8, 8), "label": torch.zeros(1, 1, 8, 8)}]
    evaluator = make_evaluator(network, data)
    evaluator.run()
    assert set(evaluator.state.metrics) == {"model/parameters", "model/gflops"}
