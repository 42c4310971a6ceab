"""Metrics against independent references, and the rules for regions that are not there."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.metrics import compute_hausdorff_distance

from pipeline.evaluation import case_metrics, hd95, overlap, vertical_cdr, vertical_cdr_error

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


def brute_force_hd95(prediction, truth, spacing):
    """The definition spelled out: every surface pixel against every other."""

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
    return max(np.percentile(distances, 95) for distances in directed)


@given(pairs())
def test_overlap_and_hd95_are_symmetric_bounded_and_know_identity(pair):
    a, b, spacing = pair
    there, back = overlap(a, b), overlap(b, a)
    assert all(0 <= value <= 1 for value in there.values())
    assert there["dice"] == back["dice"]
    assert there["precision"] == back["recall"]
    assert there["dice"] == pytest.approx(2 * there["iou"] / (1 + there["iou"]))
    assert set(overlap(a, a).values()) == {1.0}

    distance = hd95(a, b, spacing=spacing)
    assert distance == hd95(b, a, spacing=spacing)
    assert 0 <= distance <= np.linalg.norm(np.multiply(spacing, a.shape))
    assert hd95(a, a, spacing=spacing) == 0


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_hd95_is_that_of_the_definition_and_of_monai(pair):
    a, b, spacing = pair
    a.flat[0] = b.flat[-1] = True
    ours = hd95(a, b, spacing=spacing)
    assert ours == pytest.approx(brute_force_hd95(a, b, spacing))
    theirs = compute_hausdorff_distance(
        *(torch.from_numpy(mask)[None, None] for mask in (a, b)),
        include_background=True,
        percentile=95,
        spacing=list(spacing),
    )
    assert ours == pytest.approx(theirs.item(), rel=1e-5, abs=1e-5)  # MONAI's is float32


def test_hd95_is_in_the_unit_of_the_spacing():
    a, b = np.zeros((2, 20, 20, 20), dtype=bool)
    a[5, 5, 5] = b[5, 5, 9] = True
    assert hd95(a, b, spacing=(1, 1, 2.5)) == 10.0


@pytest.mark.parametrize(
    ("prediction", "truth", "score", "distance"),
    [(0, 0, 1.0, 0.0), (0, 1, 0.0, 50.0), (1, 0, 0.0, 50.0)],
    ids=["both empty", "missed", "invented"],
)
def test_an_empty_region_has_stated_values(prediction, truth, score, distance):
    masks = np.zeros((2, 30, 20), dtype=bool)
    masks[0, 4:9, 3:6], masks[1, 4:9, 3:6] = prediction, truth
    assert set(overlap(*masks).values()) == {score}
    assert hd95(*masks, spacing=(1, 2)) == distance  # 30 mm by 40 mm


def ellipse(shape, centre, radii):
    """Boolean ellipse, its radii in px along each axis."""
    grid = np.ogrid[tuple(map(slice, shape))]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


@given(
    disc=st.tuples(st.integers(10, 40), st.integers(10, 40)),
    shares=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
)
def test_vertical_cdr_of_drawn_ellipses(disc, shares):
    cup = tuple(max(1, round(radius * share)) for radius, share in zip(disc, shares, strict=True))
    masks = [ellipse((100, 120), (50, 60), radii) for radii in (disc, cup)]
    for axis in (0, 1):
        expected = (2 * cup[axis] + 1) / (2 * disc[axis] + 1)
        assert vertical_cdr(*masks, axis=axis) == pytest.approx(expected)


def test_a_missed_disc_costs_the_whole_ratio():
    disc, cup = ellipse((50, 50), (25, 25), (20, 20)), ellipse((50, 50), (25, 25), (10, 10))
    none = np.zeros_like(disc)
    truth = vertical_cdr(disc, cup, axis=1)
    assert vertical_cdr(disc, none, axis=1) == 0
    assert vertical_cdr_error(vertical_cdr(none, cup, axis=1), truth) == 1
    assert vertical_cdr_error(vertical_cdr(cup, disc, axis=1) * 9, truth) == 1
    assert vertical_cdr_error(truth, truth) == 0
    assert vertical_cdr_error(float("nan"), float("nan")) == 0


def test_wrong_shapes_say_what_came_and_what_to_do():
    mask = np.ones((2, 8, 8), dtype=bool)
    with pytest.raises(ValueError, match=r"\(2, 8, 8\) and \(2, 8, 9\).*original image grid"):
        overlap(mask, np.ones((2, 8, 9), dtype=bool))
    with pytest.raises(ValueError, match="2 channels but regions names 1"):
        case_metrics(mask, mask, ["optic_disc"], (1, 1))
    with pytest.raises(ValueError, match="give 2 positive numbers"):
        hd95(mask[0], mask[0], spacing=(1, 1, 1))


def test_metrics_load_neither_matplotlib_nor_torch():
    code = (
        "import sys; from pipeline.evaluation import overlap, summarise; "
        "sys.exit(not {'matplotlib', 'torch', 'scipy'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
