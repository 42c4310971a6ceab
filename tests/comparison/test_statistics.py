"""The statistics of a comparison, against definitions that are written out."""

import itertools
import re
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm, rankdata, ttest_1samp
from scipy.stats.mstats import mquantiles

from pipeline.comparison import statistics
from pipeline.comparison.agreement import limits_of_agreement
from pipeline.comparison.case_tables import CaseTables, average_cases
from pipeline.comparison.evaluations import read_cases
from pipeline.comparison.figures import draw_box_plots
from pipeline.comparison.statistics import adjust_holm, compare_pairs
from pipeline.comparison.tables import make_difference_table, make_metric_table
from pipeline.comparison.writers import write_tables
from pipeline.evaluation.metrics import METRICS, Metric, case_metrics
from pipeline.files import write_rows


def closed_testing(p):
    """Holm as the closed test it is a short cut of (Marcus et al. 1976), with Bonferroni's tests.

    A hypothesis is rejected when every set of hypotheses that holds it is.
    """
    indices = range(len(p))
    sets = [s for size in range(1, len(p) + 1) for s in itertools.combinations(indices, size)]
    return [max(min(1, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in indices]


@given(st.lists(st.floats(0, 1), max_size=7))
@example([0.01, 0.04, 0.03, 0.005])
def test_holm_is_the_closed_test(p):
    assert adjust_holm(p) == pytest.approx(closed_testing(p))


def signed_rank_p(differences):
    """Two-sided p of the signed-rank test: the share of all sign patterns as extreme."""
    ranks = rankdata(np.abs(differences))
    patterns = np.array(list(itertools.product([-1, 1], repeat=len(ranks))))
    extreme = np.abs(patterns @ ranks) >= abs(np.sign(differences) @ ranks) - 1e-9
    return extreme.mean()


@given(
    st.lists(st.integers(-60, 60).filter(bool), min_size=2, max_size=9, unique_by=abs),
    st.floats(-3, 3),
)
@settings(max_examples=40, deadline=None)
def test_the_test_of_pairs_counts_sign_patterns(differences, level):
    base = np.full(len(differences), level)
    record = compare_pairs(base + np.array(differences) / 64, base)
    assert record["p"] == pytest.approx(signed_rank_p(differences))
    assert record["value"] == pytest.approx(np.mean(differences) / 64)
    assert record["low"] <= record["value"] <= record["high"]
    mirrored = compare_pairs(base, base + np.array(differences) / 64)
    assert (mirrored["p"], mirrored["value"]) == pytest.approx((record["p"], -record["value"]))


def test_a_network_does_not_differ_from_itself():
    values = np.array([0.9, np.nan, 0.7, 0.1 + 0.2])
    # Two averages of the same numbers may differ in the last bit.
    again = values + np.array([0, 0, 1e-16, 6e-17])
    assert compare_pairs(again, values) == {"n": 3, "value": 0, "low": 0, "high": 0, "p": 1}


def frames(**columns):
    """A table of one network: ``dice_cup`` is the column ``dice/cup``."""
    table = pd.DataFrame({name.replace("_", "/"): value for name, value in columns.items()})
    return table.set_index(pd.Index([f"c{i}" for i in range(len(table))], name="case"))


def test_small_structures():
    """The network gains 0.1 on the four smallest of twelve cups, and nothing elsewhere."""
    size = np.array([30, 20, 10, 40, 50, 60, 70, 80, 90, 100, 110, 120.0])
    small = size <= 40
    base = 0.5 + size / 1000
    gain = np.where(small, 0.1, 0)
    area = {"area_cup": size, "area_image": np.full(12, 1000.0)}
    found = CaseTables(
        {
            "unet": frames(dice_cup=base, **area),
            "gated": frames(dice_cup=base + gain, **area),
        }
    )
    unet, gated = statistics.compute_size_effects(found)
    assert (unet["rho"], unet["smallest"], unet["largest_of_smallest"]) == (1, 4, 4.0)
    assert unet["mean_smallest"] == pytest.approx(base[small].mean())
    assert "p" not in unet
    assert (gated["value"], gated["p"], gated["p_holm"]) == pytest.approx((0.1, 0.125, 0.125))
    ranks = rankdata(size), rankdata(gain)
    assert gated["rho_gain"] == pytest.approx(np.corrcoef(*ranks)[0, 1])

    # A case without the structure has no size to depend on.
    for table in found.tables.values():
        table.loc["c2", ["area/cup", "dice/cup"]] = 0
    assert statistics.compute_size_effects(found)[0]["smallest"] == 11 // 3


def test_a_case_counts_once_however_often_it_was_evaluated():
    dice = [("unet", [0.5, 0.7]), ("a", [0.2, 0.4]), ("unet", [0.7, 0.9]), ("unet", [0.6, 0.8])]
    each = [SimpleNamespace(network=name, cases=frames(dice_cup=own)) for name, own in dice]
    found = average_cases(each, baseline="unet")
    assert list(found.tables) == ["unet", "a"]
    assert found.values("unet", "dice/cup").tolist() == pytest.approx([0.6, 0.8])
    assert statistics.compute_means(found)[0]["n"] == 2


def test_a_region_that_no_label_holds_is_in_no_table(tmp_path):
    """Nor in the pooled IoU, also of an evaluation that measured it as others are measured."""
    truth = np.zeros((2, 8, 8), bool)  # a disc and no cup
    truth[0, :4] = True
    tables, names = {}, ["disc", "cup"]
    for network, shift in (("a", 0), ("b", 1)):
        predicted = np.roll(truth, shift, axis=1)
        predicted[1, :shift] = True  # invented
        row = {"image": "", "label": "", **case_metrics(predicted, truth, names, (1, 1))}
        row |= {"vertical_cdr/truth": 0.0, "vertical_cdr/absolute_error": 0.0}
        write_rows(tmp_path / "cases.csv", [{"case": f"{n}"} | row for n in range(3)])
        table = read_cases(tmp_path / "cases.csv", network)
        tables[network] = table.select_dtypes("number")
    found = CaseTables(tables)
    assert found.absent == ["cup"]
    kinds = ("dice", "iou", "precision", "recall", "hd95")
    assert found.metrics == [*(f"{kind}/disc" for kind in (*kinds, "pooled_dice")), "pooled_iou"]
    pooled = [r for r in statistics.compute_means(found) if r["metric"] == "pooled_iou"]
    assert [record["value"] for record in pooled] == [1.0, pytest.approx(24 / 40)]
    make_metric_table(found, {})
    draw_box_plots(found, units={})


def test_what_is_pooled_and_its_difference():
    shared = {"dice_a": [1.0, 1], "union_a": [10.0, 100], "union_b": [10.0, 0]}
    shared["intersection_b"] = [5.0, 0]
    found = CaseTables(
        {
            "unet": frames(intersection_a=[5.0, 50], **shared),
            "other": frames(intersection_a=[5.0, 80], **shared),
        }
    )
    records = statistics.compute_means(found)
    dice = {r["network"]: r["value"] for r in records if r["metric"] == "pooled_dice/a"}
    assert dice == pytest.approx({"unet": 110 / (110 + 55), "other": 170 / (110 + 85)})
    pooled = {r["network"]: r["value"] for r in records[-2:]}
    assert pooled == {"unet": 60 / 120, "other": 90 / 120}
    record = statistics.compute_differences(found)[-1]
    assert (record["metric"], record["value"], record["p"]) == ("pooled_iou", 0.25, None)
    assert "p_holm" not in record


def test_the_metrics_of_volumes_are_ranked_by_what_is_good_in_each():
    """A and B differ in each metric; B is better in all but Dice."""
    values = {
        "dice/pancreas": (0.9, 0.8),
        "asd/pancreas": (2.0, 1.0),
        "nsd/pancreas": (0.7, 0.8),
        "volume_error/pancreas": (-9.0, 4.0),
        "absolute_volume_error/pancreas": (9.0, 4.0),
    }
    tables = {
        name: pd.DataFrame({metric: [pair[k]] * 3 for metric, pair in values.items()}, list("xyz"))
        for k, name in enumerate("AB")
    }
    found = CaseTables(tables)
    units = {"asd": "mm", "volume_error": "ml", "nsd": "within 2 mm"}
    shown = make_metric_table(found, units)
    rows = {str(head).replace("\N{NO-BREAK SPACE}", " "): cells for head, *cells in shown.rows}
    assert list(rows) == [
        "Dice, pancreas ↑",
        "ASD, pancreas (mm) ↓",
        "NSD, pancreas (within 2 mm) ↑",
        "Volume error, pancreas (ml) →0",
        "Absolute volume error, pancreas ↓",
    ]
    best = [[cell.bold for cell in cells] for cells in rows.values()]
    assert best == [[True, False], *[[False, True]] * 4]
    tested = [record["metric"] for record in statistics.compute_differences(found)]
    assert tested == [metric for metric in values if metric != "volume_error/pancreas"]
    assert len(make_difference_table(found, units).rows) == 4


def test_a_new_metric_is_one_row_here_too(monkeypatch):
    row = Metric("new", "New one", unit="length", best="lower", plotted=True)
    monkeypatch.setitem(METRICS, "new", row)
    values = np.array([1.0, 2.0])
    tables = {"A": frames(new_cup=values), "B": frames(new_cup=values - 1)}
    tables = {name: table.assign(**{"some_score/cup": 0.5}) for name, table in tables.items()}
    found, units = CaseTables(tables), {"new": "px"}
    shown = {str(head)[:-2]: cells for head, *cells in make_metric_table(found, units).rows}
    assert list(shown) == ["New one, cup (px)", "Some score, cup"]  # the latter has no row
    assert [cell.bold for cell in shown["New one, cup (px)"]] == [False, True]
    axes = [axes for axes in draw_box_plots(found, units=units).axes if axes.get_visible()]
    assert [each.get_title(loc="left")[:-2] for each in axes] == ["New one, cup (px)"]


@pytest.mark.parametrize("count", [6, 30])
def test_numbers_of_a_table_are_those_of_scipy(count):
    """Below ten cases, where a bootstrap is too narrow, the interval is Student's t."""
    values = np.random.default_rng(count).beta(9, 1, count)
    (record,) = statistics.compute_means(CaseTables({"unet": frames(dice_cup=values)}))
    low, high = ttest_1samp(values, 0).confidence_interval()
    if count == 30:
        rng = np.random.default_rng(0)
        low, high = bootstrap((values,), np.mean, n_resamples=10_000, rng=rng).confidence_interval
    assert (record["low"], record["high"]) == pytest.approx((low, high))
    assert (record["value"], record["sd"]) == pytest.approx((values.mean(), np.std(values, ddof=1)))
    quartiles = mquantiles(values, alphap=1, betap=1)
    assert [record[key] for key in ("q1", "median", "q3")] == pytest.approx(list(quartiles))


def test_limits_of_agreement():
    """Against scipy's normal quantiles and t-interval; an undefined case counts in neither."""
    rng = np.random.default_rng(0)
    true = rng.normal(5, 2, 40)
    predicted = true + rng.normal(0.3, 0.5, 40)
    predicted[7] = np.nan
    found = limits_of_agreement(predicted, true)
    difference = np.delete(predicted - true, 7)
    low, high = ttest_1samp(difference, 0).confidence_interval()
    assert found["n"] == 39
    assert (found["bias_low"], found["bias_high"]) == pytest.approx((low, high))
    ends = norm(found["bias"], difference.std(ddof=1)).interval(0.95)
    assert (found["lower"], found["upper"]) == pytest.approx(ends, rel=1e-3)
    # The variance of a limit is (1 + 1.96^2 n / (2 (n - 1))) times that of the bias.
    wider = (found["upper_high"] - found["upper_low"]) / (high - low)
    assert wider == pytest.approx(np.sqrt(1 + 1.96**2 * 39 / 76))


def test_missed_and_invented_structures_folds_and_seeds():
    truth = {"recall_cup": [0.8, 0, 0, np.nan], "area_cup": [9, 9, 9, 0]}
    evaluations = []
    for fold, dice, sizes in (
        ("0", [0.9, 0, 0, 0], [8, 0, 3, 2]),
        ("1", [1, 0.5, 0.5, 1], [9, 9, 9, 0]),
    ):
        cases = frames(dice_cup=dice, **truth).assign(**{"predicted_area/cup": sizes})
        about = {"network": "unet", "fold": fold, "seed": "0", "is_ensemble": False}
        evaluations.append(SimpleNamespace(cases=cases, **about))
    found = average_cases(evaluations, baseline="unet")
    (record,) = statistics.count_missed(found, evaluations)
    assert record == {"region": "cup", "network": "unet", "present": 6, "not_found": 2,
                      "empty": 1, "absent": 2, "invented": 1}  # fmt: skip
    parts = statistics.compute_parts(found, evaluations, "fold")
    assert [(each["fold"], each["value"]) for each in parts if each["metric"] == "dice/cup"] == [
        ("0", pytest.approx(0.225)), ("1", pytest.approx(0.75)),
    ]  # fmt: skip
    assert statistics.compute_parts(found, evaluations, "seed") == []


def test_the_workbook_has_the_numbers_of_the_records(tmp_path):
    found = CaseTables(
        {"=1+1": frames(dice_cup=[1 / 3, 0.5]), "b_": frames(dice_cup=[0.25, np.nan])}
    )
    table = make_metric_table(found, {})
    write_tables(tmp_path, [table], {"cases": found.records()})
    with zipfile.ZipFile(tmp_path / "tables.xlsx") as book:
        texts, sheet, cases = (
            book.read(f"xl/{name}.xml").decode()
            for name in ("sharedStrings", "worksheets/sheet1", "worksheets/sheet2")
        )
    assert "<t>=1+1</t>" in texts
    assert "<f>" not in sheet + cases
    written = [float(value) for value in re.findall(r'<c r="D\d+"><v>(.*?)</v>', sheet)]
    assert written == pytest.approx([record["value"] for record in table.records])
    assert "<v>0.3333333333333333</v>" in cases
    latex = (tmp_path / "metrics.tex").read_text()
    assert r"b\_" in latex
    assert r"$\uparrow$" in latex
