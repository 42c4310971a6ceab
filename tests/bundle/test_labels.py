"""A training whose labels lack a region is refused before it begins."""

import numpy as np
import pytest
from PIL import Image

from pipeline.bundle.labels import check_labels
from pipeline.errors import InputError
from pipeline.transforms.mark import LabelToRegionsd
from pipeline.transforms.read import ReadImaged

NESTED = {"optic_disc": [1, 2], "optic_cup": [2]}


def check(folder, labels, held_out=(), regions=NESTED):
    """Check labels that hold these values, and return how many of them were read."""
    read = []

    def note(item):
        read.append(item["label"])
        return item

    def write(values):
        label = np.zeros((6, 5), np.uint8)
        label[0, : len(values)] = values
        path = folder / f"{''.join(map(str, values))}.png"
        Image.fromarray(label).save(path)
        return {"image": "not read", "label": str(path)}

    steps = [note, ReadImaged("label", spatial_dims=2, is_label=True, ensure_channel_first=True)]
    steps.append(LabelToRegionsd("label", regions, ignore_label=9))
    check_labels(
        [write(values) for values in labels], [write(values) for values in held_out], steps, regions
    )
    return len(read)


def test_labels_are_read_until_each_region_was_seen(tmp_path):
    assert check(tmp_path, [[1], [1, 2], [0]]) == 2
    assert check(tmp_path, [[0], [9, 1], [2]]) == 3


@pytest.mark.parametrize(
    ("labels", "held_out", "regions", "told"),
    [
        ([[1]], [], NESTED, ["optic_cup [2]", "--regions"]),
        ([[0], [9, 1]], [[0]], NESTED, ["optic_cup [2]", "--regions \"{'optic_disc': [1, 2]}\""]),
        ([[1]], [[1, 2]], NESTED, ["optic_cup [2]", "--fold"]),
        ([[0]], [], NESTED, ["optic_disc [1, 2] or optic_cup [2]", "correct"]),
        ([[3]], [], {"a": [1], "b": [3], "c": [2]}, ["a [1] or c [2]", "\"{'b': [3]}\""]),
    ],
)
def test_a_region_that_no_label_holds_is_named_with_the_fix(
    labels, held_out, regions, told, tmp_path
):
    with pytest.raises(InputError) as error:
        check(tmp_path, labels, held_out, regions)
    assert all(words in str(error.value) for words in told), error.value
    assert ("--fold" in str(error.value)) == ("--fold" in told)
