"""What data weights come from is recorded where it is known."""

from __future__ import annotations

import json

import pytest
import torch

from pipeline.bundle.lineage import TRAINED_ON, describe_data, describe_training, read_lineage
from pipeline.networks.weights import pack_weights

EYES = {"name": "Eyes", "licence": "CC BY 4.0", "subjects": "patients"}
CASES = {"training": 4, "validation": 1}
OLDER = {"name": "Phantoms", "training": 9}


@pytest.fixture
def datalist(tmp_path):
    case = {"image": "a.png", "label": "b.png", "fold": 0}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({**EYES, "training": [case]}))
    return path


def test_a_training_knows_its_data_and_those_before(datalist, tmp_path):
    weights, config = tmp_path / "model.pt", tmp_path / "resumed.json"
    own = EYES | CASES
    for record, lineage in (({TRAINED_ON: [OLDER, {}]}, [own, OLDER, {}]), ({}, [own, {}])):
        torch.save(pack_weights({}, record), weights)
        said = describe_training({"folder": "b", "pretrained": str(weights)}, datalist, CASES)
        assert (said["bundle_folder"], said[TRAINED_ON]) == ("b", lineage)
        assert said["datalist_digest"].startswith("sha256 ")
        # One that goes on need not say again what it started from.
        config.write_text(json.dumps(said))
        assert describe_training({}, datalist, CASES, config)[TRAINED_ON] == lineage
    assert describe_training({"pretrained": ""}, datalist, CASES)[TRAINED_ON] == [own]
    assert describe_training({}, None, CASES) == {TRAINED_ON: [CASES]}


def test_what_is_not_said_as_a_text_is_not_recorded(datalist):
    datalist.write_text(json.dumps({"name": "a\nb" + 300 * "c", "licence": 5, "training": [{}]}))
    said = describe_data(datalist, {"evaluation": 2})
    assert said == {"name": "a b" + 194 * "c" + "...", "evaluation": 2}
    assert describe_data(datalist.with_name("gone.json"), {}) == {}
    for wrong in (None, 5, {}, [1]):
        assert read_lineage({TRAINED_ON: wrong}) == []
