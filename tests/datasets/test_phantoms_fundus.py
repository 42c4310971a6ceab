import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from pipeline.datasets.checks import check_datalist
from pipeline.datasets.phantoms import fundus
from pipeline.datasets.phantoms.fundus import fundus_phantom, write_fundus_phantoms

SEEDS = [(0, index) for index in range(16)]


@pytest.fixture(scope="module")
def phantoms():
    return [fundus_phantom(seed) for seed in SEEDS]


def test_anatomy(phantoms):
    ratios = []
    for image, label in phantoms:
        height, width = label.shape
        assert image.shape == (height, width, 3)
        assert image.dtype == label.dtype == np.uint8
        assert 420 <= width <= 640
        assert 0.79 * width <= height <= width
        assert np.unique(label).tolist() == [0, 1, 2]
        disc, cup = label > 0, label == 2
        assert ndimage.label(disc)[1] == ndimage.label(cup)[1] == 1
        assert not (ndimage.binary_dilation(cup) & ~disc).any()  # a rim all around
        heights = [np.ptp(np.flatnonzero(mask.any(axis=1))) + 1 for mask in (cup, disc)]
        ratios.append(heights[0] / heights[1])
        assert 0.14 < heights[1] / width < 0.25  # as in fundus photographs
        assert image[:5, :5].max() < 30  # black surround
    assert min(ratios) > 0.26
    assert max(ratios) < 0.88
    assert np.std(ratios) > 0.1


def test_disc_is_brighter_but_no_threshold_finds_it(phantoms):
    brighter, best = 0, []
    for image, label in phantoms:
        green = image[..., 1].astype(int)
        disc, cup, rim = label > 0, label == 2, label == 1
        around = ndimage.binary_dilation(disc, iterations=15) & ~disc
        brighter += np.median(green[cup]) > np.median(green[rim]) > np.median(green[around])
        overlap = [
            2 * (disc & (green >= level)).sum() / (disc.sum() + (green >= level).sum())
            for level in range(20, 250, 5)
        ]
        best.append(max(overlap))
    assert brighter >= len(phantoms) - 1
    assert min(best) < 0.7  # even the best threshold, known from the answer, fails somewhere


def test_same_seed_same_picture(phantoms):
    image, label = fundus_phantom(SEEDS[3])
    assert np.array_equal(image, phantoms[3][0])
    assert np.array_equal(label, phantoms[3][1])
    assert len({hashlib.sha256(image).digest() for image, _ in phantoms}) == len(phantoms)
    # labels are the same on every machine; pictures up to rounding
    digest = hashlib.sha256()
    for _, label in phantoms:
        digest.update(np.array(label.shape, "<u4").tobytes() + label.tobytes())
    assert digest.hexdigest() == "42edcbfb7b816930e5899b24e8d392d4f4cd0f5ef430275e53529f71948a7825"
    assert np.mean([image.mean() for image, _ in phantoms]) == pytest.approx(52.9, abs=0.5)


def test_written_folder_is_a_sound_datalist(phantoms, tmp_path, monkeypatch):
    drawn = dict(zip(SEEDS, phantoms, strict=True))
    monkeypatch.setattr(fundus, "fundus_phantom", drawn.__getitem__)
    datalist = write_fundus_phantoms(tmp_path / "a", count=10)
    content = json.loads(datalist.read_text())
    assert len(content["training"]) == 8
    assert len(content["testing"]) == 2
    assert {case["fold"] for case in content["training"]} == set(range(5))
    assert check_datalist(datalist) == []
    image, label = phantoms[9]
    assert np.array_equal(Image.open(tmp_path / "a/images/phantom_0009.png"), image)
    assert np.array_equal(Image.open(tmp_path / "a/labels/phantom_0009.png"), label)
    with pytest.raises(FileExistsError):
        write_fundus_phantoms(tmp_path / "a", count=10)
