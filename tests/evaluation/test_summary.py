"""What the sample of cases allows to say."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import read_csv

from pipeline.evaluation.metrics import case_metrics
from pipeline.evaluation.summary import (
    confidence_interval,
    leave_out_absent,
    print_summary,
    summarise,
    write_summary,
)
from pipeline.files import write_rows

VALUES = st.one_of(
    st.lists(st.floats(0, 1), min_size=2, max_size=16),
    st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=16),
)


@given(VALUES)
@settings(max_examples=50, deadline=None)
def test_any_column_has_a_finite_interval(values):
    """Of ten or more values it lies within their range; Student's of fewer may reach beyond."""
    cases = [{"case": str(i), "dice/x": value} for i, value in enumerate(values)]
    column = summarise(cases, resamples=500)["metrics"]["dice/x"]
    assert column["ci_low"] <= column["mean"] + 1e-9 <= column["ci_high"] + 2e-9
    if len(values) >= 10:
        assert min(values) - 1e-9 <= column["ci_low"] <= column["ci_high"] <= max(values) + 1e-9
    assert column["mean"] == pytest.approx(np.mean(values))
    assert column["n"] == len(values)
    if len(set(values)) == 1:
        assert column["ci_low"] == column["ci_high"] == column["mean"]


def test_the_interval_is_repeatable_and_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(7)
    samples = rng.beta(8, 2, size=(200, 30))  # skewed, as Dice is; mean 0.8
    found = [
        summarise([{"dice/x": value} for value in sample], resamples=600)["metrics"]["dice/x"]
        for sample in samples
    ]
    covered = np.mean([column["ci_low"] <= 0.8 <= column["ci_high"] for column in found])
    assert 0.88 <= covered <= 0.99
    again = summarise([{"dice/x": value} for value in samples[0]], resamples=600)
    assert again["metrics"]["dice/x"] == found[0]


def test_missing_a_structure_makes_every_number_worse():
    truth = np.zeros((1, 40, 40), dtype=bool)
    truth[0, 10:30, 12:28] = True
    fair, missed = np.roll(truth, 3, axis=1), np.zeros_like(truth)

    def summary(*predictions):
        cases = [case_metrics(mask, truth, ["cup"], (1, 1)) for mask in predictions]
        return summarise(cases, resamples=100)

    good, bad = summary(fair, fair, fair), summary(fair, fair, missed)
    assert bad["metrics"]["hd95/cup"]["n"] == 3
    assert bad["metrics"]["hd95/cup"]["mean"] > good["metrics"]["hd95/cup"]["mean"]
    assert bad["metrics"]["dice/cup"]["mean"] < good["metrics"]["dice/cup"]["mean"]
    assert bad["pooled_iou"] < good["pooled_iou"]


def test_pooled_iou_is_that_of_all_pixels_together():
    rng = np.random.default_rng(0)
    prediction, truth = rng.random((2, 5, 2, 16, 16)) < rng.random((1, 5, 1, 1, 1))
    cases = [
        case_metrics(p, t, ["disc", "cup"], (1, 1)) for p, t in zip(prediction, truth, strict=True)
    ]
    expected = (prediction & truth).sum() / (prediction | truth).sum()
    summary = summarise(cases, resamples=50)
    assert summary["pooled_iou"] == pytest.approx(expected)
    for n, name in enumerate(("disc", "cup")):
        both = 2 * (prediction & truth)[:, n].sum()
        sizes = prediction[:, n].sum() + truth[:, n].sum()
        pooled = summary["metrics"][f"pooled_dice/{name}"]
        assert (pooled["n"], pooled["mean"]) == (5, pytest.approx(both / sizes))
        assert pooled["ci_low"] <= pooled["mean"] <= pooled["ci_high"]
    assert not [name for name in summary["metrics"] if "union" in name or "intersection" in name]


def test_files_keep_every_digit_and_no_nan(tmp_path):
    cases = [{"case": "a, b", "x": 0.1 + 0.2}, {"case": "c", "x": float("nan"), "y": 1 / 3}]
    write_rows(tmp_path / "new" / "cases.csv", cases)
    rows = read_csv(tmp_path / "new" / "cases.csv")
    assert [row["case"] for row in rows] == ["a, b", "c"]
    assert float(rows[0]["x"]) == 0.1 + 0.2
    assert (rows[1]["x"], float(rows[1]["y"])) == ("", 1 / 3)

    write_summary(tmp_path / "summary.json", summarise(cases))
    columns = json.loads((tmp_path / "summary.json").read_text())["metrics"]
    assert columns["x"]["n"] == 1
    assert columns["x"]["std"] is columns["x"]["ci_low"] is None


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_summary(path, {"n_cases": 3})
    with pytest.raises(TypeError):
        write_summary(path, {"n_cases": object()})
    assert json.loads(path.read_text()) == {"n_cases": 3}
    assert list(tmp_path.iterdir()) == [path]


def test_the_interval_of_a_ratio_draws_whole_cases():
    """As if written out: each resample draws cases, then divides the sums."""
    rng = np.random.default_rng(3)
    whole = rng.uniform(50, 200, size=40)
    part = whole * rng.beta(8, 2, size=40)

    def ratio(a, b, axis):
        return a.sum(axis) / b.sum(axis)

    low, high = confidence_interval((part, whole), ratio)
    draws = rng.integers(0, 40, size=(20_000, 40))
    expected = np.quantile(part[draws].sum(1) / whole[draws].sum(1), (0.025, 0.975))
    assert (low, high) == pytest.approx(tuple(expected), abs=0.01)
    assert confidence_interval((whole, whole), ratio) == (1, 1)
    assert confidence_interval((part[:1], whole[:1]), ratio) == (None, None)


def test_a_region_that_no_label_holds_is_in_no_mean_and_one_that_some_hold_counts_everywhere():
    masks = np.zeros((4, 2, 2, 8, 8), bool)  # (case, prediction or truth, region, H, W)
    masks[:, :, 0, :4, :4] = True
    masks[0, 0, 1, :2, :2] = True  # an invented cup
    rows = [case_metrics(*each, ["disc", "cup"], (1, 1)) for each in masks]
    ratios = {"vertical_cdr/prediction": 0.5, "vertical_cdr/truth": 0.0}
    rows = [row | ratios | {"vertical_cdr/absolute_error": 0.5} for row in rows]
    assert leave_out_absent(rows) == ["cup"]
    found = summarise(rows, resamples=50)
    assert found["pooled_iou"] == 1.0
    defined = {name for name, column in found["metrics"].items() if column["n"]}
    kinds = ("dice", "iou", "precision", "recall", "hd95", "pooled_dice")
    assert defined == {f"{kind}/disc" for kind in kinds}
    assert [row["area/cup"] for row in rows] == [0] * 4

    masks[3, :, 1, :2, :2] = True
    rows = [case_metrics(*each, ["disc", "cup"], (1, 1)) | ratios for each in masks]
    rows[3]["vertical_cdr/truth"] = 0.5
    assert leave_out_absent(rows) == []
    found = summarise(rows, resamples=50)["metrics"]
    assert (found["dice/cup"]["n"], found["dice/cup"]["mean"]) == (4, 0.75)
    assert (found["recall/cup"]["n"], found["recall/cup"]["mean"]) == (1, 1.0)
    assert found["vertical_cdr/truth"]["n"] == 4

    rows = [case_metrics(*each, ["disc", "cup"], (1, 1)) for each in np.zeros_like(masks)]
    assert leave_out_absent(rows) == ["disc", "cup"]
    nothing = summarise(rows)
    assert nothing["pooled_iou"] is None
    assert not any(column["n"] for column in nothing["metrics"].values())
    print_summary({"units": {}, **nothing})


def test_no_case_is_an_error():
    with pytest.raises(ValueError, match="case"):
        summarise([])
