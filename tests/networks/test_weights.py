"""Weights of another network: all that fit are loaded, and the rest is named."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import InputError
from pipeline.networks.attention_unet import AttentionUnet
from pipeline.networks.weights import (
    load_fitting_weights,
    load_weights,
    pack_weights,
    read_weights,
)

CHANNELS = {"channels": (4, 8, 16), "strides": (2, 2)}


def network(inputs: int = 3, outputs: int = 2, **options) -> AttentionUnet:
    return AttentionUnet(2, inputs, outputs, **{**CHANNELS, **options}).eval()


@pytest.fixture
def pretrained(tmp_path):
    torch.manual_seed(0)
    source = network()
    torch.save(source.state_dict(), tmp_path / "model.pt")
    return source, tmp_path / "model.pt"


def load(target: torch.nn.Module, path) -> str:
    return load_fitting_weights(target, path, option="pretrained", fix="give others")


def same(one: torch.nn.Module, other: torch.nn.Module) -> set[str]:
    """The tensors that two networks share."""
    ours, theirs = one.state_dict(), other.state_dict()
    return {name for name in ours.keys() & theirs.keys() if torch.equal(ours[name], theirs[name])}


def test_the_same_network_gets_all(pretrained):
    source, path = pretrained
    target = network()
    assert load(target, path) == ""
    assert same(target, source) == source.state_dict().keys()
    assert load(strided := network(strides=(4, 2)), path) == ""  # the strides have no weights
    assert same(strided, source) == source.state_dict().keys()


def test_another_head_starts_anew(pretrained):
    source, path = pretrained
    target = network(outputs=5)
    head = {name: tensor.clone() for name, tensor in target.final.state_dict().items()}
    count = len(target.state_dict())
    assert load(target, path) == (
        f"2 of {count} tensors of the network start anew: final.weight, final.bias"
    )
    assert all(torch.equal(target.final.state_dict()[name], head[name]) for name in head)
    assert same(target, source) == source.state_dict().keys() - {"final.weight", "final.bias"}


def test_tensors_without_a_place_are_named(pretrained):
    source, path = pretrained
    target = network(gates=0)
    said = load(target, path)
    unused = source.state_dict().keys() - target.state_dict().keys()
    assert f"{len(unused)} of {len(source.state_dict())} tensors of the file have no place" in said
    assert said.endswith(", ...")
    assert same(target, source) == target.state_dict().keys()


@pytest.mark.parametrize("inputs", [1, 2, 4])
def test_other_input_channels_answer_a_grey_image_as_before(pretrained, inputs):
    source, path = pretrained
    target = network(inputs)
    first = "encoder.0.0.weight"
    assert load(target, path) == f"{first} is adapted from 3 to {inputs} input channels"
    assert same(target, source) == source.state_dict().keys() - {first}
    grey = torch.rand(1, 1, 16, 16)
    # The padding is 0 in every channel too.
    expected = source(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(target(grey.expand(-1, inputs, -1, -1)), expected)


def test_what_does_not_fit_at_all_is_refused_and_changes_nothing(pretrained, tmp_path):
    source, _ = pretrained
    wide = network(channels=(5, 9, 17))
    before = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    torch.save({"state": 1, **source.state_dict()}, tmp_path / "mixed.pt")
    for target, name in ((wide, "model.pt"), (network(), "mixed.pt")):
        with pytest.raises(InputError, match=rf"pretrained .*{name}: .*give others"):
            load(target, tmp_path / name)
    after = wide.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


STATE = {"weight": torch.ones(2)}


class Bomb:
    """Whoever unpickles it makes the file at ``path``."""

    path = ""

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    ("content", "config"),
    [
        (pack_weights(STATE, {"strides": [4, 2]}), {"strides": [4, 2]}),
        (pack_weights(STATE, {}), {}),
        (STATE, {}),  # alone, as PyTorch's own examples save it
        ({"model": STATE, "optimizer": {"lr": 1}}, {}),  # MONAI's CheckpointSaver
        ({"model": STATE, "config": '{"strides": [4, 2]}'}, {"strides": [4, 2]}),  # as before
        ({"epoch": 1, "state": {}, "generators": [], "same": {}}, "resumed"),
        ({"model": STATE, "config": "[]"}, "config"),
        ({"model": STATE, "config": "{"}, "config"),
        ({"model": STATE, "config": "[" * 10_000}, "config"),
        ({"model": STATE, "config": 5}, "config"),
        ({"model": {"weight": 1}, "config": "{}"}, "dict"),
        ([1], "list"),
        (torch.ones(2), "Tensor"),
        (torch.nn.Linear(1, 1), "more than tensors"),
        (Bomb(), "more than tensors"),
        (b"", "broken"),
        (b"version https://git-lfs.github.com/spec/v1", "not a file of weights"),
    ],
)
def test_a_file_gives_its_weights_and_settings_or_one_line(content, config, tmp_path, monkeypatch):
    path, marker = tmp_path / "a.pt", tmp_path / "marker"
    monkeypatch.setattr(Bomb, "path", str(marker))
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    if isinstance(config, dict):
        state, found = read_weights(path, option="checkpoint", fix="give others")
        assert (list(state), found) == (["weight"], config)
        return
    with pytest.raises(InputError) as error:
        read_weights(path, option="checkpoint", fix="give others")
    said = str(error.value)
    assert said.startswith(f"checkpoint {path}: ")
    assert said.endswith("; give others.")
    assert config in said
    assert "\n" not in said
    assert "weights_only" not in said  # PyTorch's advice is to run the code
    assert not marker.exists()


def test_a_file_from_before_pytorch_had_zips_is_read(tmp_path):
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_weights(tmp_path / "old.pt", option="checkpoint", fix="")[0].keys() == {"weight"}


def test_weights_of_another_number_of_dimensions_are_named(pretrained):
    _, path = pretrained
    for read in (load_weights, load_fitting_weights):
        with pytest.raises(InputError, match=r"pretrained .*model\.pt: .* 2D .* 3D"):
            read(AttentionUnet(3, 3, 2, **CHANNELS), path, option="pretrained", fix="")
