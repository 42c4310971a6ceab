"""Metrics against independent references, and the rules for regions that are not there."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.evaluation.metrics import (
    METRICS,
    Metric,
    case_metrics,
    find_metric,
    find_units,
    unit_of,
    vertical_cdr,
    vertical_cdr_error,
)


def overlap(prediction, truth):
    row = case_metrics(prediction[None], truth[None], ["x"], (1, 1, 1))
    return {kind: row[f"{kind}/x"] for kind in ("dice", "iou", "precision", "recall")}


@given(arrays.arrays(bool, st.tuples(st.just(2), *[st.integers(1, 6)] * 3)))
def test_overlap_is_symmetric_bounded_and_knows_identity(pair):
    a, b = pair
    there, back, same = overlap(a, b), overlap(b, a), overlap(a, a)
    for row, truth in ((there, b), (back, a), (same, a)):
        if not truth.any():  # there is nothing to find
            assert np.isnan(row.pop("recall"))
    assert all(0 <= value <= 1 for value in there.values())
    assert there["dice"] == back["dice"]
    assert there["precision"] == back.get("recall", there["precision"])
    assert there["dice"] == pytest.approx(2 * there["iou"] / (1 + there["iou"]))
    assert set(same.values()) == {1.0}


@pytest.mark.parametrize(
    ("prediction", "truth", "score"),
    [(0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0)],
    ids=["both empty", "missed", "invented"],
)
def test_an_empty_region_has_stated_values(prediction, truth, score):
    """Also of a volume: the diagonal for the distances, and its ml for the volume error."""
    masks = np.zeros((2, 1, 30, 20, 10), dtype=bool)
    masks[0, 0, 4:9, 3:6, 2:4], masks[1, 0, 4:9, 3:6, 2:4] = prediction, truth
    row = case_metrics(*masks, ["pancreas"], (1, 2, 12))
    distance = 0 if score else 130.0  # 30 by 40 by 120 mm
    error = (prediction - truth) * 5 * 3 * 2 * 24 / 1000
    assert row == pytest.approx(
        {
            **dict.fromkeys(["dice/pancreas", "iou/pancreas", "nsd/pancreas"], score),
            "precision/pancreas": score,
            "recall/pancreas": score if truth else np.nan,
            **dict.fromkeys(["hd95/pancreas", "asd/pancreas"], distance),
            "volume_error/pancreas": error,
            "absolute_volume_error/pancreas": abs(error),
            "intersection/pancreas": 0,
            "union/pancreas": 30 * (prediction or truth),
            "volume/pancreas": truth * 5 * 3 * 2 * 24 / 1000,
        },
        nan_ok=True,
    )


def test_a_picture_has_no_volume():
    masks = np.ones((1, 8, 9), dtype=bool)
    row = case_metrics(masks, masks, ["optic_disc"], (1, 1))
    kinds = ("dice", "iou", "precision", "recall", "hd95", "intersection", "union")
    kinds += ("area", "predicted_area")
    assert list(row) == [f"{kind}/optic_disc" for kind in kinds] + ["area/image"]


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
    with pytest.raises(ValueError, match=r"\(2, 8, 8\).*\(2, 8, 9\)"):
        case_metrics(mask, np.ones((2, 8, 9), dtype=bool), ["a", "b"], (1, 1))
    with pytest.raises(ValueError, match=r"regions.*1: \['optic_disc'\]"):
        case_metrics(mask, mask, ["optic_disc"], (1, 1))


def test_metrics_load_little():
    code = (
        "import sys; from pipeline.evaluation import metrics, summary; "
        "heavy = {'matplotlib', 'mlflow', 'pandas', 'scipy', 'torch'}; "
        "sys.exit(not heavy.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_new_metric_is_one_function_and_one_row(monkeypatch):
    def true_share(masks):
        return masks.true / masks.truth.size

    row = Metric("true_share", "Share", true_share, "length", "lower", dims=(2,), plotted=True)
    monkeypatch.setitem(METRICS, row.key, row)
    mask = np.ones((1, 8, 9), dtype=bool)
    assert case_metrics(mask, mask, ["a"], (1, 1))["true_share/a"] == 1
    assert "true_share/a" not in case_metrics(mask[None], mask[None], ["a"], (1, 1, 1))
    assert find_units([(1.0, 1.0)])["true_share"] == "px"


@pytest.mark.parametrize(
    ("column", "key", "kind", "best", "plotted"),
    [
        ("hd95/a_b", "hd95", "metric", "lower", True),
        ("volume_error/a", "volume_error", "metric", "zero", True),
        ("area/image", "area", "size", "higher", False),
        ("vertical_cdr/truth", "vertical_cdr", "value", "higher", False),
        ("vertical_cdr/absolute_error", "vertical_cdr/absolute_error", "metric", "lower", True),
        ("some_score/a", "some_score", "metric", "higher", False),  # from another version
    ],
)
def test_every_column_has_a_row(column, key, kind, best, plotted):
    row = find_metric(column)
    assert (row.key, row.kind, row.best, row.plotted) == (key, kind, best, plotted)
    assert unit_of(column, {"hd95": "px"}) == ("px" if key == "hd95" else "")
