"""What comes after a training has its settings."""

from __future__ import annotations

import json

import pytest

from pipeline.bundle.as_trained import check_as_trained, find_difference
from pipeline.bundle.configs import Config
from pipeline.errors import InputError


@pytest.fixture
def trained(tmp_path) -> dict:
    """The config of a training, which is beside its model.pt."""
    config = {
        "network_def": {"_target_": "Net", "strides": "@strides", "_desc_": "old words"},
        "strides": [2, 2],
        "preprocessing": {
            "transforms": [{"_target_": "LoadImaged"}, {"upper": 99.9, "size": "@roi_size"}]
        },
        "roi_size": [64, 64],
        "regions": "$['a']",
        "lr": 0.1,
        "fold": 2,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return config


@pytest.mark.parametrize(
    ("change", "fold", "fault"),
    [
        ({}, 2, ()),
        ({"lr": 0.2, "roi_size": (64, 64), "regions": ["a"]}, None, ()),
        ({"network_def#_desc_": "new words"}, None, ()),
        ({"preprocessing#transforms#0#ct": True}, None, ()),  # how a file is read
        ({"strides": [4, 2]}, None, ("strides", [4, 2], [2, 2])),
        ({"roi_size": [64, 32]}, None, ("roi_size", [64, 32], [64, 64])),
        ({"preprocessing#transforms#1#upper": 50}, None, ("transforms#1#upper", 50, 99.9)),
        ({"network_def#gates": 1}, None, ("network_def#gates", 1, None)),
        ({}, 0, ("fold", 0, 2)),
    ],
)
def test_another_setting_is_named_with_both_values(trained, tmp_path, change, fold, fault):
    """Also one that the weights do not show."""
    later = Config(trained).with_changes(change).content
    if not fault:
        check_as_trained(tmp_path / "model.pt", later, fold=fold)
        return
    with pytest.raises(InputError) as error:
        check_as_trained(tmp_path / "model.pt", later, fold=fold)
    assert all(str(word) in str(error.value) for word in (*fault, "model.pt"))


def test_nothing_is_compared_where_the_training_left_no_config(tmp_path):
    check_as_trained(tmp_path / "model.pt", {"network_def": {"_target_": "Net"}}, fold=1)


def test_the_order_of_the_regions_is_that_of_the_channels():
    one, other = {"a": [1], "b": [2]}, {"b": [2], "a": [1]}
    assert find_difference(one, dict(one), "regions") is None
    assert find_difference(one, other, "regions") == ("regions", one, other)
