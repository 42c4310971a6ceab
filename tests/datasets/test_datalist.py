import json

import pytest

from pipeline.bundle.listing import read_datalist
from pipeline.datasets.datalist import write_datalist
from pipeline.errors import InputError


def test_round_trip(tmp_path):
    training = [{"image": ["ä 0.png", "ä 1.png"], "label": "ä.png", "patient": "ä", "fold": 0}]
    content = {"name": "n", "modality": "MR", "channel_names": ["T1", "T2"]}
    content |= {"labels": {"0": "background", "1": "lesion"}, "regions": {"lesion": [1]}}
    content |= {"ignore_label": 255, "training": training, "testing": []}
    path = tmp_path / "datalist.json"
    write_datalist(path, content)
    assert read_datalist(path, needs_labels=True) == content
    assert json.loads(path.read_text()) == content
    path.write_text(json.dumps(content | {"modality": "mri"}))
    assert read_datalist(path)["modality"] == "MR"


@pytest.mark.parametrize(
    "change",
    [
        {"modality": "camera obscura"},
        {"channel_names": []},
        {"channel_names": "T1"},
        {"labels": {"0": "background", "one": "lesion"}},
        {"regions": []},
        {"regions": {"lesion": []}},
        {"regions": {"lesion": [True]}},
        {"regions": {"lesion": [0]}},
        {"regions": {"lesion": [2]}},
        {"ignore_label": "255"},
    ],
)
def test_a_wrong_description_is_named(tmp_path, change):
    content = {"labels": {"0": "background", "1": "lesion"}, "regions": {"lesion": [1]}}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content | {"training": [{}]} | change))
    with pytest.raises(InputError, match=f"datalist.json: .*{next(iter(change))}"):
        read_datalist(path)
