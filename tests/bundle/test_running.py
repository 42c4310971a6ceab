"""What this project relies on in MONAI to find the bundle that is being run.

Where one of these fails, MONAI has changed: correct `pipeline/bundle/running.py`.
"""

from __future__ import annotations

import builtins
import json

import pytest
from monai.bundle import ConfigWorkflow, create_workflow, run

from pipeline.bundle.running import overrides, running_bundle, running_config

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")


def test_monai_holds_a_run_under_these_names():
    assert "_args" in create_workflow.__code__.co_varnames
    assert "override" in run.__code__.co_varnames
    assert "config_root_path" in ConfigWorkflow.__init__.__code__.co_names
    assert "parser" in ConfigWorkflow.__init__.__code__.co_names


@pytest.mark.parametrize("step", ["initialize", "run"])
def test_a_component_finds_the_run_that_makes_it(tmp_path, monkeypatch, step):
    """In both ids that MONAI runs, called by its two functions."""
    found = []
    monkeypatch.setattr(builtins, "found", found, raising=False)  # expressions see built-ins
    config = {"lr": 0.1, "network_def": {"_target_": "x.Net"}, "initialize": [], "run": []}
    config |= {"bundle": {"_target_": "pipeline.bundle.running_bundle"}}
    config[step] = ["$found.append(@bundle)"]
    configs = tmp_path / "eyes" / "configs"
    configs.mkdir(parents=True)
    (configs / "train.json").write_text(json.dumps(config))
    (configs / "inference.json").write_text('{"lr": 0, "device": "cpu"}')
    (configs / "metadata.json").write_text('{"version": "1.2.3"}')
    run(config_file=str(configs / "train.json"), logging_file=False, lr=0.2)
    (found,) = found
    assert found["config"]["lr"] == 0.2
    assert found["overrides"] == {"lr": 0.2}
    assert found["inference"] == {"lr": 0.2, "device": "cpu"}
    assert found["tags"] == {
        "pipeline.bundle": "eyes",
        "pipeline.bundle_version": "1.2.3",
        "pipeline.network": "Net",
    }
    names = [path.rsplit("/", 1)[1] for path in found["files"]]
    assert names == ["metadata.json", "inference.json"]


def test_outside_of_a_run_there_is_none():
    assert (running_config(), overrides()) == ({}, {})
    assert running_bundle() == {"config": {}, "overrides": {}, "tags": {}, "files": []}
