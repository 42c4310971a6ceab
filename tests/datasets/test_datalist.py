import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bundle.cases import read_datalist
from pipeline.datasets.datalist import assign_folds, write_datalist
from pipeline.errors import InputError


@given(st.sets(st.text(min_size=1), max_size=60), st.integers(0, 99))
def test_folds_are_balanced_complete_and_independent_of_order(patients, seed):
    dealt = assign_folds(sorted(patients), seed=seed)
    assert dealt == assign_folds(sorted(patients, reverse=True), seed=seed)
    assert dealt.keys() == patients
    sizes = Counter(dealt.values())
    counts = [sizes[fold] for fold in range(5)]
    assert max(counts) - min(counts) <= 1


def test_round_trip(tmp_path):
    training = [{"image": ["ä 0.png", "ä 1.png"], "label": "ä.png", "patient": "ä", "fold": 0}]
    content = {"name": "n", "modality": "MR", "channel_names": ["T1", "T2"]}
    content |= {"labels": {"0": "background", "1": "lesion"}, "regions": {"lesion": [1]}}
    content |= {"ignore_label": 255, "training": training, "testing": []}
    path = tmp_path / "datalist.json"
    write_datalist(path, **content)
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
