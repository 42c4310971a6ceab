"""Distances of surfaces against their definition and MONAI, which shares no code with them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)

from pipeline.evaluation.surface import surface_metrics

SHAPES = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
)
STEPS = st.sampled_from([0.5, 0.7, 1.0, 2.5, 5.0])


@st.composite
def pairs(draw):
    """Two masks of one grid, 2D or 3D, from empty to full, and an anisotropic spacing."""
    shape = draw(SHAPES)
    masks = [draw(arrays.arrays(bool, shape)) for _ in range(2)]
    return *masks, draw(st.tuples(*[STEPS] * len(shape)))


def spelled_out(prediction, truth, spacing, tolerance):
    """The definitions: every surface pixel against every other."""

    def surface(mask):
        points = []
        for index in np.argwhere(mask):
            for axis in range(mask.ndim):
                for step in (-1, 1):
                    next_ = index.copy()
                    next_[axis] += step
                    inside = 0 <= next_[axis] < mask.shape[axis]
                    if not inside or not mask[tuple(next_)]:
                        points.append(tuple(index * np.array(spacing)))
        return sorted(set(points))

    a, b = surface(prediction), surface(truth)
    directed = [
        [min(math.dist(p, q) for q in there) for p in here] for here, there in ((a, b), (b, a))
    ]
    both = [*directed[0], *directed[1]]
    return {
        "hd95": max(np.percentile(distances, 95) for distances in directed),
        "asd": sum(both) / len(both),
        "nsd": sum(distance <= tolerance for distance in both) / len(both),
    }


@given(pairs())
def test_they_are_symmetric_bounded_and_know_identity(pair):
    a, b, spacing = pair
    there = surface_metrics(a, b, spacing=spacing)
    assert there == pytest.approx(surface_metrics(b, a, spacing=spacing))
    assert 0 <= there["asd"] <= np.linalg.norm(np.multiply(spacing, a.shape))
    assert 0 <= there["hd95"] <= np.linalg.norm(np.multiply(spacing, a.shape))
    assert 0 <= there["nsd"] <= 1
    assert surface_metrics(a, a, spacing=spacing) == {"hd95": 0, "asd": 0, "nsd": 1}


@given(pairs(), st.sampled_from([0.9, 2.345, 6.1]))
@settings(max_examples=60, deadline=None)
def test_they_are_those_of_the_definition_and_of_monai(pair, tolerance):
    a, b, spacing = pair
    a.flat[0] = b.flat[-1] = True
    ours = surface_metrics(a, b, spacing=spacing, tolerance=tolerance)
    assert ours == pytest.approx(spelled_out(a, b, spacing, tolerance))
    batches = [torch.from_numpy(mask)[None, None] for mask in (a, b)]
    options = {"include_background": True, "spacing": list(spacing)}
    theirs = {
        "hd95": compute_hausdorff_distance(*batches, percentile=95, **options),
        "asd": compute_average_surface_distance(*batches, symmetric=True, **options),
        "nsd": compute_surface_dice(*batches, [tolerance], **options),
    }
    for name, value in theirs.items():  # MONAI's are float32
        assert ours[name] == pytest.approx(value.item(), rel=1e-5, abs=1e-5), name


def test_they_are_in_the_unit_of_the_spacing():
    a, b = np.zeros((2, 20, 20, 20), dtype=bool)
    a[5, 5, 5] = b[5, 5, 9] = True
    apart = {"hd95": 10, "asd": 10}
    assert surface_metrics(a, b, spacing=(1, 1, 2.5)) == {**apart, "nsd": 0}
    assert surface_metrics(a, b, spacing=(1, 1, 2.5), tolerance=10) == {**apart, "nsd": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1, 1, 1)}, "spacing.*2"),
        ({"spacing": (1, 0)}, "spacing.*2"),
        ({"spacing": (1, 1), "tolerance": -1}, "-1"),
    ],
)
def test_wrong_lengths_say_what_to_do(options, message):
    mask = np.ones((8, 8), dtype=bool)
    with pytest.raises(ValueError, match=message):
        surface_metrics(mask, mask, **options)
