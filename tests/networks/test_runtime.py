"""OpenVINO gives PyTorch's answers, or is not used."""

from __future__ import annotations

import pytest
import torch

from pipeline.engines.inferer import AutocastInferer, has_bfloat16
from pipeline.errors import InputError
from pipeline.networks import runtime
from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.ensemble import Ensemble
from pipeline.networks.folding import fold_batch_norms
from pipeline.networks.runtime import OpenvinoNetwork, cache_folder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def network(dims: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return AttentionUnet(dims, 1, 2, channels=(4, 8), strides=(2,), gates=1).eval()


def fail(*arguments):
    raise RuntimeError("no\nway")


@torch.no_grad()
def test_its_answers_are_those_of_pytorch_and_the_compiled_network_is_kept(monkeypatch):
    for folded, size in (
        (fold_batch_norms(Ensemble(network(2), members=2).eval()), (9, 12)),
        (fold_batch_norms(network(3)), (7, 8, 9)),
    ):
        seen = []
        folded.register_forward_hook(lambda *call, seen=seen: seen.append(call[2]))
        image = torch.randn(1, 1, *size)
        images = (image, image / 2, *([image[..., :4]] if len(size) == 3 else []))
        for trace in (OpenvinoNetwork._trace, fail):
            with monkeypatch.context() as patch:
                patch.setattr(OpenvinoNetwork, "_trace", trace)
                fast = OpenvinoNetwork(folded)
                answers = [fast(each) for each in images]
            assert not fast.failed
            assert len(seen) == len(images)  # handlers that measure see each call once
            for found, each in zip(answers, images, strict=True):
                torch.testing.assert_close(found, folded(each), atol=1e-5, rtol=0)
            seen.clear()
    assert len(list(cache_folder().iterdir())) == 3


@torch.no_grad()
def test_what_is_not_pytorchs_answer_is_not_used(monkeypatch, caplog):
    plain, image = network(2), torch.randn(1, 1, 8, 8)
    OpenvinoNetwork(plain)(image)
    (kept,) = cache_folder().iterdir()
    kept.write_bytes(b"broken")
    assert not OpenvinoNetwork(plain)(image).isnan().any()
    assert not caplog.records
    assert len(kept.read_bytes()) > 1000
    answer = runtime._answer
    for wrong in (lambda *given: answer(*given) + 0.01, fail):
        monkeypatch.setattr(runtime, "_answer", wrong)
        inferer = AutocastInferer(amp=False, runtime="openvino")
        for _ in range(2):
            torch.testing.assert_close(inferer(image, plain), plain(image), atol=1e-5, rtol=0)
        assert inferer.ran == "torch"
        (record,) = caplog.records
        assert "OpenVINO" in record.message
        assert "\n" not in record.message
        caplog.clear()


@pytest.mark.skipif(not has_bfloat16("cpu"), reason="this processor has no bfloat16")
@torch.no_grad()
def test_in_bfloat16_it_is_as_exact_as_pytorch(monkeypatch):
    plain, image = network(2), torch.randn(1, 1, 16, 16)
    exact, low = plain(image), AutocastInferer()(image, plain)
    error = (low - exact).abs().max()
    inferer = AutocastInferer(runtime="openvino")
    found = inferer(image, plain)
    assert inferer.ran == "openvino"
    assert 0 < (found - exact).abs().max() <= 2 * error
    answer = runtime._answer
    monkeypatch.setattr(runtime, "_answer", lambda *given: answer(*given) + 4 * error)
    inferer = AutocastInferer(runtime="openvino")
    torch.testing.assert_close(inferer(image, plain), exact, atol=1e-5, rtol=0)
    assert inferer.ran == "torch"


@torch.no_grad()
def test_the_inferer_chooses_and_follows_new_weights(monkeypatch):
    plain, image = network(2), torch.randn(1, 1, 8, 8)
    inferer = AutocastInferer(amp=False, runtime="openvino")
    for _ in range(2):
        torch.testing.assert_close(inferer(image, plain), plain(image), atol=1e-5, rtol=0)
        assert inferer.ran == "openvino"
        plain.final.bias += 1
    auto = AutocastInferer(amp=False, runtime="auto")
    auto(image, plain)
    assert auto.ran == "torch"  # not worth it
    monkeypatch.setattr("pipeline.engines.inferer._WORTH", 64)
    auto(image, plain)
    assert auto.ran == "openvino"
    with torch.enable_grad():
        inferer(image, plain)
    assert inferer.ran == "torch"
    with pytest.raises(InputError, match="device"):
        inferer(image.to("meta"), plain)
    monkeypatch.setattr("pipeline.engines.inferer.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        AutocastInferer(runtime="openvino")
    auto(image, plain)
    assert auto.ran == "torch"
