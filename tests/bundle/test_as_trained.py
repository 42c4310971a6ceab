"""What comes after a training has its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bundle.as_trained import check_as_trained, check_recorded, find_difference
from pipeline.bundle.configs import Config
from pipeline.errors import InputError

TRAINED = {
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
HIDE = {"_target_": "CopyItemsd", "keys": "image_path", "names": "source_path"}


@pytest.mark.parametrize(
    ("change", "fold", "fault"),
    [
        ({}, 2, ()),
        ({"lr": 0.2, "roi_size": (64, 64), "regions": ["a"]}, None, ()),
        ({"network_def#_desc_": "new words"}, None, ()),
        ({"preprocessing#transforms#0#ct": True}, None, ()),  # how a file is read
        # What a package adds for MONAI Label.
        ({"preprocessing#transforms": [HIDE, *TRAINED["preprocessing"]["transforms"]]}, 2, ()),
        ({"strides": [4, 2]}, None, ("strides", [4, 2], [2, 2])),
        ({"roi_size": [64, 32]}, None, ("roi_size", [64, 32], [64, 64])),
        ({"preprocessing#transforms#1#upper": 50}, None, ("transforms#1#upper", 50, 99.9)),
        ({"network_def#gates": 1}, None, ("network_def#gates", 1, None)),
        ({}, 0, ("fold", 0, 2)),
    ],
)
def test_another_setting_is_named_with_both_values(change, fold, fault):
    """Also one that the weights do not show."""
    later, weights = Config(TRAINED).with_changes(change).content, Path("model.pt")
    if not fault:
        check_as_trained(TRAINED, weights, later, fold=fold)
        return
    with pytest.raises(InputError) as error:
        check_as_trained(TRAINED, weights, later, fold=fold)
    assert all(str(word) in str(error.value) for word in (*fault, "model.pt"))


def test_what_the_training_did_not_leave_is_not_compared():
    check_as_trained({}, Path("model.pt"), {"network_def": {"_target_": "Net"}}, fold=1)


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({}, False),
        ({"roi_size", "lr"}, False),
        ({"strides"}, True),
        ({"network_def"}, True),
    ],
)
def test_somebody_has_to_say_how_the_network_was_built(known, says):
    if says:
        check_recorded(Config(TRAINED), known, source="checkpoint a.pt", option="--set {}={}")
        return
    with pytest.raises(InputError, match=r"^checkpoint a\.pt: .* --set strides=\[2,2\]"):
        check_recorded(Config(TRAINED), known, source="checkpoint a.pt", option="--set {}={}")


def test_the_order_of_the_regions_is_that_of_the_channels():
    one, other = {"a": [1], "b": [2]}, {"b": [2], "a": [1]}
    assert find_difference(one, dict(one), "regions") is None
    assert find_difference(one, other, "regions") == ("regions", one, other)
