import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from pipeline.datasets.checks import check_datalist
from pipeline.datasets.drishti_gs import OFFICIAL_DATALIST, find_cases, prepare, soft_maps_to_label

REAL = Path(__file__).parents[3] / "shared" / "data" / "drishti_gs1"
maps = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=6))


def _height_ratio(label):
    """Vertical cup-to-disc ratio, from the rows that each touches."""
    cup, disc = (np.flatnonzero(mask.any(axis=1)) for mask in (label == 2, label > 0))
    return (np.ptp(cup) + 1) / (np.ptp(disc) + 1)


def _archive(root, ids, *, images="Training/Images", gt="Training/GT", upper=False):
    """Files named as in the archive, with a disc of value 255 around a cup of value 191."""
    photograph = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    disc, cup = np.zeros((24, 32), np.uint8), np.zeros((24, 32), np.uint8)
    disc[6:18, 8:24], cup[9:15, 12:20] = 255, 191
    for number in ids:
        name = f"drishtiGS_{number:03d}"
        files = {
            f"{images}/{name}.png": photograph + np.uint8(number),
            f"{gt}/{name}/SoftMap/{name}_ODsegSoftmap.png": disc,
            f"{gt}/{name}/SoftMap/{name}_cupsegSoftmap.png": cup,
        }
        for path, pixels in files.items():
            path = root / path
            path = path.with_name(path.name.upper() if upper else path.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, format="PNG")


def test_rules_count_experts():
    shares = np.array([[0, 64, 128, 191, 255]], np.uint8)
    full = np.full_like(shares, 255)
    assert soft_maps_to_label(shares, shares).tolist() == [[0, 0, 0, 2, 2]]
    assert soft_maps_to_label(full, shares).tolist() == [[1, 1, 1, 2, 2]]
    assert soft_maps_to_label(shares, shares, rule="union").tolist() == [[0, 2, 2, 2, 2]]
    assert soft_maps_to_label(shares, shares, rule="all").tolist() == [[0, 0, 0, 0, 2]]
    near = np.array([[127, 130, 189, 193]], np.uint8)  # resampled copies are off by a little
    assert soft_maps_to_label(near, near).tolist() == [[0, 0, 2, 2]]


def test_shares_are_kept_beside_the_majority(tmp_path):
    _archive(tmp_path / "in", [2])
    prepare(tmp_path / "in", tmp_path / "majority")
    datalist, _ = prepare(tmp_path / "in", tmp_path / "out", rule="soft")
    (case,) = json.loads(datalist.read_text())["training"]
    rim, cup = (np.asarray(Image.open(tmp_path / "out" / case["soft_label"][v])) for v in "12")
    assert (rim[10, 14], cup[10, 14], rim[7, 9], cup[7, 9]) == (64, 191, 255, 0)
    label = np.asarray(Image.open(tmp_path / "out" / case["label"]))
    assert np.array_equal(label, np.asarray(Image.open(tmp_path / "majority" / case["label"])))
    assert not any(each.blocks for each in check_datalist(datalist))


@given(maps, st.sampled_from(["majority", "union", "all", "soft"]), st.randoms())
def test_cup_lies_inside_disc_and_majority_inside_union(disc, rule, random):
    cup = np.array([random.randrange(256) for _ in range(disc.size)], np.uint8).reshape(disc.shape)
    label = soft_maps_to_label(disc, cup, rule=rule)
    assert label.dtype == np.uint8
    assert label.max(initial=0) <= 2
    assert np.array_equal(label > 0, soft_maps_to_label(disc, disc * 0, rule=rule) > 0)
    union = soft_maps_to_label(disc, cup, rule="union")
    majority = soft_maps_to_label(disc, cup)
    assert (majority <= union).all()


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"images": "D/D/Training/Images/GLAUCOMA", "gt": "D/D/Training/GT"},
        {"upper": True, "gt": "training/gt"},
    ],
)
def test_layouts(tmp_path, layout):
    _archive(tmp_path / "in", [2, 4], **layout)
    _archive(tmp_path / "in", [1], images="Test/Images", gt="Test/Test_GT")
    (tmp_path / "in" / "._drishtiGS_002.png").write_bytes(b"")  # what macOS leaves in a zip
    source = find_cases(tmp_path / "in")
    assert list(source) == ["drishtiGS_001", "drishtiGS_002", "drishtiGS_004"]
    datalist, empty = prepare(tmp_path / "in", tmp_path / "out")
    content = json.loads(datalist.read_text())
    assert [c["patient"] for c in content["training"]] == ["drishtiGS_002", "drishtiGS_004"]
    assert [c["patient"] for c in content["testing"]] == ["drishtiGS_001"]
    assert not empty
    assert not any(each.blocks for each in check_datalist(datalist))
    copied = tmp_path / "out/images/drishtiGS_002.png"
    assert copied.read_bytes() == source["drishtiGS_002"]["image"].read_bytes()
    label = np.asarray(Image.open(tmp_path / "out/labels/drishtiGS_002.png"))
    assert np.bincount(label.ravel()).tolist() == [24 * 32 - 12 * 16, 12 * 16 - 6 * 8, 6 * 8]


def test_faulty_folders_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="Training/Images"):
        find_cases(tmp_path)
    _archive(tmp_path, [2, 4])
    lost = next(tmp_path.rglob("*004_cupseg*"))
    lost.rename(tmp_path / "elsewhere.txt")
    with pytest.raises(FileNotFoundError, match=r"drishtiGS_004 .* cupsegSoftmap"):
        find_cases(tmp_path)
    assert list(find_cases(tmp_path, skip_incomplete=True)) == ["drishtiGS_002"]
    (tmp_path / "elsewhere.txt").rename(lost)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "DRISHTIGS_002.PNG").touch()
    with pytest.raises(ValueError, match=r"DRISHTIGS_002\.PNG"):
        find_cases(tmp_path)


def test_maps_of_another_size_leave_nothing_behind(tmp_path):
    _archive(tmp_path / "in", [2])
    for path in (tmp_path / "in").rglob("*Softmap.png"):
        Image.open(path).resize((16, 12)).save(path)
    with pytest.raises(ValueError, match=r"16 x 12 px, its photograph 32 x 24 px"):
        prepare(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_empty_structures_are_reported(tmp_path):
    _archive(tmp_path / "in", [2])
    path = next((tmp_path / "in").rglob("*cupseg*"))
    Image.fromarray(np.full((24, 32), 128, np.uint8)).save(path)  # two of four experts
    (note,) = prepare(tmp_path / "in", tmp_path / "out")[1]
    assert re.search("drishtiGS_002 .* cup .* majority", note)


def test_official_datalist():
    content = json.loads(OFFICIAL_DATALIST.read_text())
    training, testing = content["training"], content["testing"]
    every = sorted(case["patient"] for case in training + testing)
    assert every == [f"drishtiGS_{number:03d}" for number in range(1, 102)]
    assert Counter(case["fold"] for case in training) == dict.fromkeys(range(5), 10)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no Drishti-GS1 at {REAL}")
def test_real_photographs(tmp_path):
    """The majority masks agree with the experts' own vertical cup-to-disc ratios."""
    cases = find_cases(REAL)
    official = json.loads(OFFICIAL_DATALIST.read_text())["training"]
    assert list(cases) == [case["patient"] for case in official]
    differences = []
    for name, case in list(cases.items())[::5]:
        label = soft_maps_to_label(
            *(np.asarray(Image.open(case[kind])) for kind in ("disc", "cup"))
        )
        experts = (case["disc"].parents[1] / f"{name}_cdrValues.txt").read_text().split()
        differences.append(_height_ratio(label) - np.mean([float(value) for value in experts]))
    assert np.abs(differences).mean() < 0.03
