"""Regions of any tree: marked as a reference marks them, and the same after any round trip."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Resized, SpatialPadd

from pipeline.errors import InputError
from pipeline.transforms.mark import LabelToRegionsd, MarkRegionsd, RegionsToLabeld
from pipeline.transforms.regions import Regions

NESTED = {"disc": [1, 2], "cup": [2]}
EXCLUSIVE = {"anterior": [1], "posterior": [2]}
BOTH = {"tumour": [9], "left": [3], "kidney": [3, 9, 5], "right": [5], "spleen": [200, 7]}


@st.composite
def trees(draw) -> dict[str, list[int]]:
    """Regions that are disjoint or inside each other, in any order, with any label values."""
    values = draw(st.lists(st.integers(1, 255), min_size=1, max_size=7, unique=True))
    found: list[list[int]] = []

    def divide(members: list[int], parent: list[int]) -> None:
        cuts = draw(st.sets(st.integers(0, len(members)), min_size=2, max_size=4))
        for start, end in pairwise(sorted(cuts)):
            if (part := members[start:end]) != parent:
                found.append(part)
                divide(part, part)

    divide(values, [])
    return {f"region {n}": part for n, part in enumerate(draw(st.permutations(found)))}


any_tree = st.one_of(trees(), st.sampled_from([NESTED, EXCLUSIVE, BOTH]))


@st.composite
def scored(draw) -> tuple[dict[str, list[int]], np.ndarray]:
    """Regions with scores (R, *spatial), of which many are equal."""
    tree = draw(any_tree)
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=3))
    elements = st.integers(-4, 4).map(lambda value: value / 2)
    return tree, draw(hnp.arrays(np.float32, (len(tree), *shape), elements=elements))


def mark_by_hand(tree: dict[str, list[int]], scores: dict[str, float], level: float) -> set[str]:
    """The regions of one voxel, found from the outside in."""
    sets = {name: set(values) for name, values in tree.items()}

    def step_into(outer: str | None) -> set[str]:
        inside = [name for name in sets if outer is None or sets[name] < sets[outer]]
        group = [name for name in inside if not any(sets[name] < sets[other] for other in inside)]
        if not group:
            return set()
        likeliest = max(group, key=scores.__getitem__)
        filled = outer is not None and set.union(*(sets[name] for name in group)) == sets[outer]
        marked = filled or scores[likeliest] > level
        return {likeliest} | step_into(likeliest) if marked else set()

    return step_into(None)


@given(scored(), st.sampled_from([-1.0, 0.0, 0.5]))
def test_a_voxel_is_marked_from_the_outside_in_by_the_likeliest(case, level):
    tree, scores = case
    masks = Regions(tree).mark(torch.as_tensor(scores), level)
    assert masks.shape == scores.shape
    for place in np.ndindex(scores.shape[1:]):
        by_name = dict(zip(tree, scores[(slice(None), *place)].tolist(), strict=True))
        marked = {name for n, name in enumerate(tree) if masks[(n, *place)]}
        assert marked == mark_by_hand(tree, by_name, level)
    batch = torch.as_tensor(np.stack([scores, -scores]))
    assert torch.equal(Regions(tree).mark(batch, level, dim=1)[0], masks)


@given(scored())
def test_what_is_marked_agrees_and_survives_the_way_to_label_values(case):
    tree, scores = case
    regions = Regions(tree)
    masks = regions.mark(torch.as_tensor(scores))
    sets = [set(values) for values in tree.values()]
    for n, each in enumerate(sets):
        for m, other in enumerate(sets):
            if not each & other:
                assert not (masks[n] & masks[m]).any()  # exclusive
            elif each < other:
                assert not (masks[n] & ~masks[m]).any()  # inside
        inner = [m for m, other in enumerate(sets) if other < each]
        if inner and set.union(*(sets[m] for m in inner)) == each:  # filled
            assert torch.equal(masks[n], masks[inner].any(dim=0))
    index = regions.to_index(masks)
    assert index.dtype == torch.uint8
    assert torch.equal(regions.from_index(index), masks)


@given(any_tree, st.data())
def test_a_mask_of_label_values_survives_the_way_to_regions_and_back(tree, data):
    regions = Regions(tree)
    values = st.sampled_from([0, *regions.known])
    index = data.draw(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3), elements=values))
    masks = regions.from_index(torch.as_tensor(index))
    for mask, each in zip(masks, tree.values(), strict=True):
        np.testing.assert_array_equal(mask, np.isin(index, each))
    back = regions.to_index(masks)
    assert torch.equal(regions.from_index(back), masks)
    written = [value for value in regions.index_values if value is not None]
    same = np.isin(index, [0, *written])
    np.testing.assert_array_equal(back[same], index[same])
    assert set(np.unique(back)) <= {0, *written}


def test_what_follows_from_the_label_values():
    regions = Regions(BOTH)
    assert regions.names == list(BOTH)
    assert len(regions) == 5
    assert regions.parents == [2, 2, None, 2, None]
    assert regions.own == [[9], [3], [], [5], [7, 200]]
    assert regions.index_values == [9, 3, None, 5, 7]
    assert regions.known == [3, 5, 7, 9, 200]
    assert sorted(regions.groups()) == [[0, 1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"a": [1, 2], "b": [2, 3]}, ["a and b overlap"]),
        ({"a": [1, 2], "c": [5], "b": [2, 1, 1]}, ["a and b are the same"]),
        ({"a": [0, 1]}, ["a has [0, 1]"]),
        ({"a": [256]}, ["255"]),
        ({"a": [True]}, ["a has"]),
        ({"a": [1.0]}, ["a has"]),
        ({"a": 1}, ["a has 1"]),
        ({"a": []}, ["a has []"]),
        ({}, ["mapping"]),
        (["a"], ["mapping", "['a']"]),
        ("a", ["mapping"]),
        (None, ["mapping", "None"]),
        ({"": [1]}, ["''"]),
        ({"a/b": [1]}, ["'a/b'"]),
        ({"a#b": [1]}, ["'a#b'"]),
        ({"_a": [1]}, ["'_a'"]),
        ({1: [1]}, ["1"]),
    ],
)
def test_what_cannot_be_regions_is_refused(tree, words):
    with pytest.raises(InputError, match="regions is") as error:
        Regions(tree)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


to_regions = LabelToRegionsd("label", NESTED)
to_label = RegionsToLabeld("label", NESTED)


def test_a_prediction_goes_back_to_the_grid_of_its_file():
    mask = torch.zeros(1, 20, 30, dtype=torch.uint8)
    mask[:, 4:16, 6:24], mask[:, 8:12, 10:20] = 1, 2
    affine = torch.diag(torch.tensor([0.5, 0.7, 1.0, 1.0], dtype=torch.float64))
    label = MetaTensor(mask, affine=affine, meta={"filename_or_obj": "eye.png"})
    resize = Compose(
        [
            Resized("label", spatial_size=60, size_mode="longest", mode="nearest-exact"),
            SpatialPadd("label", spatial_size=(64, 64)),
        ]
    )
    there = Compose([resize, to_regions, to_label])({"label": label})
    assert there["label"].shape == (1, 64, 64)
    assert there["label"].dtype == torch.uint8
    assert there["label"].meta["filename_or_obj"] == "eye.png"
    back = Invertd("label", transform=resize, orig_keys="label", nearest_interp=True)(there)
    assert torch.equal(back["label"].as_tensor(), mask)
    assert torch.allclose(back["label"].affine, affine)


def test_probabilities_become_marks_of_the_same_type():
    image = MetaTensor(torch.tensor([[0.7, 0.6, 0.2], [0.8, 0.1, 0.9]]), meta={"a": 1})
    for tree, threshold, expected in (
        (NESTED, 0.5, [[1, 1, 0], [1, 0, 0]]),
        (NESTED, 0.65, [[1, 0, 0], [1, 0, 0]]),
        (EXCLUSIVE, 0.5, [[0, 1, 0], [1, 0, 1]]),
    ):
        marked = MarkRegionsd("pred", tree, threshold)({"pred": image})["pred"]
        assert marked.tolist() == expected
        assert (marked.dtype, marked.meta["a"]) == (torch.float32, 1)


def test_background_and_ignored_values_are_known_but_in_no_region():
    label = MetaTensor(torch.tensor([[[0.0, 1, 2, 5, 255]]]))
    made = LabelToRegionsd("label", NESTED, background=[0, 5], ignore_label=255)({"label": label})
    assert made["label"].dtype == torch.uint8  # a large label with many regions fits into memory
    assert made["label"].squeeze(1).tolist() == [[0, 1, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]
    with pytest.raises(InputError, match=r"\[0\.0, 5\.0, 255\.0\]"):
        LabelToRegionsd("label", NESTED, background=[])({"label": label})


def test_a_label_in_which_nothing_counts_is_named():
    label = MetaTensor(torch.full((1, 4, 4), 255.0), meta={"filename_or_obj": "case_12.png"})
    read = LabelToRegionsd("label", NESTED, ignore_label=255)
    with pytest.raises(InputError, match=r"case_12\.png holds nothing but.*remove the case"):
        read({"label": label})
    label[0, 0, 0] = 0
    assert read({"label": label})["label"].sum() == 15


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (torch.full((1, 4, 4), 7.0), ["case_12.png", "7"]),
        (torch.zeros(3, 4, 4), ["case_12.png", "3 channels"]),
    ],
)
def test_a_mask_of_another_kind_is_named(label, words):
    named = MetaTensor(label, meta={"filename_or_obj": "case_12.png"})
    with pytest.raises(InputError, match="pipeline data check") as error:
        to_regions({"label": named})
    assert all(word in str(error.value) for word in words)
