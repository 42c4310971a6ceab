import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.bundle.cases import read_datalist
from pipeline.datasets.datalist import assign_folds, write_datalist


@given(st.sets(st.text(min_size=1), max_size=60), st.integers(0, 99))
def test_folds_are_balanced_complete_and_independent_of_order(patients, seed):
    dealt = assign_folds(sorted(patients), seed=seed)
    assert dealt == assign_folds(sorted(patients, reverse=True), seed=seed)
    assert dealt.keys() == patients
    sizes = Counter(dealt.values())
    counts = [sizes[fold] for fold in range(5)]
    assert max(counts) - min(counts) <= 1


def test_round_trip(tmp_path):
    training = [{"image": "images/ä.png", "label": "labels/ä.png", "patient": "ä", "fold": 0}]
    content = {"name": "n", "labels": {"0": "background"}, "training": training, "testing": []}
    write_datalist(tmp_path / "datalist.json", **content)
    assert read_datalist(tmp_path / "datalist.json", needs_labels=True) == content
    assert json.loads((tmp_path / "datalist.json").read_text()) == content
