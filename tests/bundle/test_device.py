"""The device of a run."""

import sys

import ignite.distributed as idist
import pytest
import torch

from pipeline.bundle.device import seed_generators, use_device
from pipeline.bundle.start import show_input_errors_as_one_line
from pipeline.errors import InputError


@pytest.fixture
def taken(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(str(device)))
    return calls


@pytest.mark.parametrize(
    ("device", "rank", "expected"),
    [("cuda", None, "cuda:0"), ("cuda", "1", "cuda:1"), ("cuda:1", "0", "cuda:1")],
)
def test_a_gpu_without_an_index_is_the_first_or_that_of_the_process(
    device, rank, expected, taken, monkeypatch
):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank:
        monkeypatch.setenv("LOCAL_RANK", rank)
    use_device(device)
    assert taken == [expected]


@pytest.mark.parametrize("device", ["cuda:2", "mps", "meta", "gpu"])
def test_a_device_that_is_not_there_is_one_line(device, taken):
    with pytest.raises(InputError, match=f"device is '{device}': give cpu, or a CUDA GPU"):
        use_device(device)
    use_device("cpu")
    assert taken == []


def test_each_process_of_each_seed_draws_in_a_way_of_its_own(monkeypatch):
    flags = torch.backends.cudnn.flags(benchmark=None)
    drawn = {}
    with flags:
        for seed in (0, 1, 2):
            for rank in (0, 1, 2):
                monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
                seed_generators(seed)
                drawn[seed, rank] = torch.rand(()).item()
        assert torch.backends.cudnn.benchmark
        seed_generators(0, deterministic=True)
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
    torch.manual_seed(1)
    assert drawn[1, 0] == torch.rand(()).item()
    assert len(set(drawn.values())) == 9


def test_a_full_gpu_is_one_line_in_a_training(monkeypatch, capsys):
    settings = {"train": {}, "batch_size": 8, "patch_size": [64, 64]}
    monkeypatch.setattr("pipeline.bundle.start.running_config", lambda error: settings)
    monkeypatch.setattr(sys, "excepthook", lambda *_: print("a traceback"))
    show_input_errors_as_one_line()
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore lines")
    error = RuntimeError("Seems to be OOM")
    error.__cause__ = full
    sys.excepthook(RuntimeError, error, None)
    out, line = capsys.readouterr()
    assert out == ""
    assert line.count("\n") == 1
    for part in ("--batch_size (now 8)", "--patch_size (now [64, 64])", "allocate 2 GiB"):
        assert part in line
    settings["ckpt_path"] = "model.pt"  # an evaluation
    sys.excepthook(RuntimeError, error, None)
    assert capsys.readouterr().out == "a traceback\n"
