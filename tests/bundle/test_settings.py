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
        *[(FUNDUS, {"regions": value}) for value in ("a", ["a"], {}, {"a": [0]}, {"a": [1, "2"]})],
        (FUNDUS, {"regions": {"optic_disc": [1, 2], "optic_cup": [2, 3]}}),
        *[(FUNDUS, {"background": value}) for value in (0, [2], ["a"], [-1])],
        *[(FUNDUS, {"ignore_label": value}) for value in (256, "255", -1)],
        *[(FUNDUS, {"modality": value}) for value in ("MRI", 1, "photo")],
        *[(FUNDUS, {"channel_names": value}) for value in ([], "grey", [1], [""])],
        *[(FUNDUS, {"percentiles": value}) for value in ([1], [99, 1], [0, 101])],
        *[(FUNDUS, {"fold": value}) for value in (-1, 1.5, "All", "none", "0")],
        *[(FUNDUS, {"radial_prob": value}) for value in (1.1, "a")],
        *[(PANCREAS, {"flip": value}) for value in (2, [0.5], "a")],
        *[
            ({"regions": {"a": [1]}, "components": value}, {"components": value})
            for value in ({"b": 1}, {"a": 0}, ["a"], 1)
        ],
        *[(FUNDUS, {"threshold": value}) for value in (0, 1, "a")],
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
        *[
            (PANCREAS, {"class_ratios": value})
            for value in ([1], [1, 3], [1] * 4, [0, 0, 0], [-1, 1, 1])
        ],
    ],
)
def test_an_impossible_setting_is_named(config, change):
    (name,) = change
    with pytest.raises(InputError, match=rf"{name} .*--{name}\b"):
        check_settings(config | change)


def test_the_settings_of_the_bundles_and_their_overlays_are_possible():
    for paths in declared_configs():
        check_settings(Config.read(*paths).content)
    check_settings(PANCREAS | {"class_ratios": [1, 3, 0]})  # no patch is centred on a tumour
    check_settings(PANCREAS | {"fold": "all", "ignore_label": 255, "background": [0, 7]})
    check_settings({"regions": {"a": [1]}, "network_def": 5})  # for the config's builder to refuse
    network = {"in_channels": 1, "out_channels": 2}
    fitting = {"regions": {"a": [1], "b": [2]}, "channel_names": ["T1"], "network_def": network}
    check_settings(fitting)
    for change in ({"regions": {"a": [1]}}, {"channel_names": ["T1", "T2"]}):
        with pytest.raises(InputError, match=rf"--{next(iter(change))}\)"):
            check_settings(fitting | change)
    with pytest.raises(InputError, match=r"the value 1 .*--ignore_label\)"):
        check_settings(FUNDUS | {"ignore_label": 1})
    check_settings({"lr": "$@other * 2", "device": "@cache_device", "roi_size": "$[1]"})
