"""Configs laid over each other, and what follows from them."""

from __future__ import annotations

import json

import pytest
from bundle_configs import BUNDLES, declared_configs
from monai.bundle import ConfigParser

from pipeline.bundle.configs import Config, digest_config, is_plain, references
from pipeline.bundle.ids import IDS, Role, Same, row
from pipeline.bundle.settings import check_settings
from pipeline.errors import InputError


@pytest.mark.parametrize("paths", declared_configs(), ids=lambda paths: paths[-1].name)
def test_files_are_merged_as_monai_does(paths):
    parser = ConfigParser()
    parser.read_config([str(path) for path in paths])
    expected = {name: value for name, value in parser.get().items() if name != "_meta_"}
    assert Config.read(*paths).content == expected


def test_a_change_reaches_inside_and_leaves_the_config_it_came_from():
    config = Config({"a": {"b": [1, 2]}, "c": [1], "d": 0})
    changed = config.with_changes({"a#b#0": 5, "+c": [2], "d": 7})
    assert changed.content == {"a": {"b": [5, 2]}, "c": [1, 2], "d": 7}
    assert config.content == {"a": {"b": [1, 2]}, "c": [1], "d": 0}
    with pytest.raises(InputError, match=r"x\.json: a#nowhere#b"):
        config.with_changes({"a#nowhere#b": 1}, source="x.json")


def test_a_config_takes_the_model_from_a_training_and_all_else_stays():
    training = {
        "roi_size": [8, 8],
        "network_def": {"_target_": "Net", "width": "$@width * 2"},
        "width": "@base",
        "base": 3,
        "device": "cuda:7",
        "cache_share": 0.1,
        "optimizer": "@network_def",
    }
    inference = {"roi_size": [512, 512], "network_def": {}, "device": "cpu", "run": ["@x"]}
    assert Config(inference | {"cache_share": 0.8}).as_trained(training).content == {
        **inference,
        "cache_share": 0.8,
        **{name: training[name] for name in ("roi_size", "network_def", "width", "base")},
    }
    assert Config(inference).as_trained({}).content == inference


def test_a_file_counts_by_what_it_says(tmp_path):
    texts = {
        "a.json": '{"lr": 0.1, "net": {"_desc_": "old words"}}',
        "b.json": '{"net": {"_desc_": "new"},\n "lr": 0.1}',
        "c.yaml": "lr: 0.1\nnet: {}\n",
        "d.json": '{"lr": 0.2, "net": {}}',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    a, b, c, d = (digest_config(tmp_path / name) for name in texts)
    assert a == b == c != d
    (tmp_path / "e.yaml").write_text("lr: [")
    with pytest.raises(InputError, match=r"e\.yaml"):
        Config.read(tmp_path / "e.yaml")


def test_what_an_id_refers_to_comes_with_it():
    config = Config({"a": ["$@b + @c#d"], "b": "@e", "c": {"d": 1}, "e": 2, "f": 3})
    assert config.with_references(["a"]).keys() == {"a", "b", "c", "e"}
    assert references("$max(@x#1, @y)") == {"x", "y"}
    plain = (1, "a", None, [1, "b"], {}, {"a": [1]})
    assert all(map(is_plain, plain))
    assert not any(map(is_plain, ("$1", ["@a"], {"a": "@b"}, {"_target_": "Net"})))


def test_one_of_the_regions_can_be_trained_alone():
    config = Config.read(BUNDLES[0] / "configs/train.json")
    given = {"regions": {"optic_disc": [1, 2]}, "vertical_cdr": []}
    config.check_ids(given)
    check_settings(config.with_changes(given).content)
    with pytest.raises(InputError, match="--vertical_cdr"):
        check_settings(config.with_changes({"regions": given["regions"]}).content)


def test_a_value_that_cannot_be_built_is_named_with_its_reason():
    config = Config({"size": [2, 3], "net": {"_target_": "torch.nn.Linear", "in_features": "@no"}})
    assert config.built("size") == [2, 3]
    with pytest.raises(InputError, match=r"^net: .*no"):
        config.built("net")


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_every_id_that_is_not_of_the_model_has_a_row(bundle):
    """Else it would travel into a package, and count in a comparison with the training."""
    train = json.loads((bundle / "configs/train.json").read_text())
    plain = {name for name, value in train.items() if is_plain(value) and value is not None}
    without_rule = {name for name in plain if row(name).role is Role.MODEL and not row(name).rule}
    assert not without_rule
    assert {"dataset_dir", "run_name", "device", "train", "cache_share"} <= {
        name for name in IDS if row(name).role is not Role.MODEL
    }
    compared = {name for name in IDS if row(name).same is not Same.ANYWHERE}
    assert all(row(name).role is Role.MODEL for name in compared)
