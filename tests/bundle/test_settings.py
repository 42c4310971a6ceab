"""Which settings a bundle can run with."""

from __future__ import annotations

import pytest
from bundle_configs import BUNDLES, declared_configs

from pipeline.bundle.configs import Config
from pipeline.bundle.settings import check_settings
from pipeline.errors import InputError

FUNDUS, PANCREAS = (Config.read(bundle / "configs/train.json").content for bundle in BUNDLES)


@pytest.mark.parametrize(
    ("config", "change"),
    [
        *[(FUNDUS, {name: 0}) for name in ("epochs", "batch_size", "val_interval", "patience")],
        *[(FUNDUS, {"epochs": value}) for value in ("abc", 1.5, True, None, -1) if value],
        *[(FUNDUS, {"lr": value}) for value in (0, -1, "abc", float("nan"), float("inf"))],
        *[(FUNDUS, {"gates": value}) for value in (3, 3.5, -1)],
        *[(FUNDUS, {"roi_size": value}) for value in (64, [64], [64, 32], [0, 0], ["a", "a"])],
        *[(FUNDUS, {"patch_size": value}) for value in (64, [64, 64, 64])],
        *[(FUNDUS, {"device": value}) for value in ("gpu", "cuda:99", 1.5)],
        *[(FUNDUS, {"regions": value}) for value in ("a", ["a"], [], [1, 2])],
        *[(FUNDUS, {"strides": value}) for value in ([2, 2], [2, 2, 2, 2, 2], 2, [], [2, 2, 2, 0])],
        *[(FUNDUS, {"strides": value}) for value in ([2.0] * 4, [[2, 2], [2, 0], 2, 2])],
        *[(FUNDUS, {"channels": value}) for value in ([4], ["a", "b"])],
        *[(FUNDUS, change) for change in ({"fold": True}, {"tags": "foo"}, {"dataset_dir": 2024})],
        *[(FUNDUS, {"output_dir": value}) for value in (2025, ("my", "data"))],
        *[(FUNDUS, change) for change in ({"seed": -1}, {"resume": "yes"}, {"channels": 16})],
        *[(FUNDUS, {"vertical_cdr": value}) for value in (["optic_disc"], ["optic_disc", "x"], 1)],
        *[(PANCREAS, {"spacing": value}) for value in ([6, 6], [0, 1, 1], 1.5)],
        *[(PANCREAS, {"overlap": value}) for value in (1, -0.1, "a")],
        *[(PANCREAS, {"hu_window": value}) for value in ([100], [240, -100], ["a", "b"])],
        *[(PANCREAS, {"class_ratios": value}) for value in ([1], [1] * 4, [0, 0, 0], [-1, 1, 1])],
        *[(PANCREAS, {"label_values": value}) for value in ([[1, 2], [2]], [], [1, 2], [[]])],
    ],
)
def test_an_impossible_setting_is_named(config, change):
    (name,) = change
    with pytest.raises(InputError, match=rf"{name} .*--{name}\b"):
        check_settings(config | change)


def test_the_settings_of_the_bundles_and_their_overlays_are_possible():
    for paths in declared_configs():
        check_settings(Config.read(*paths).content)
    check_settings(PANCREAS | {"class_ratios": [1, 3]})  # no patch is centred on a tumour
    check_settings({"regions": ["a"], "network_def": 5})  # for the config's builder to refuse
    check_settings({"lr": "$@other * 2", "device": "@cache_device", "roi_size": "$[1]"})
