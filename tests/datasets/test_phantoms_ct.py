import itertools

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from pipeline.cli import main
from pipeline.datasets.checks import check_datalist
from pipeline.datasets.phantoms.ct import ct_phantom, write_ct_phantoms

SIZE = (80, 80, 32)  # voxels of about 2.2 x 2.2 x 3.5 mm
COUNT = 12


@pytest.fixture(scope="module")
def phantoms():
    return [ct_phantom((0, index), size=SIZE) for index in range(COUNT)]


def spacing(phantom):
    return np.linalg.norm(phantom.affine[:3, :3], axis=0)


def grid(steps, extent=(192, 144, 168), middle=(-10, 40, 10)):
    """A grid of the patient's own axes around the pancreas."""
    shape = tuple(int(n) for n in np.array(extent) // steps)
    affine = np.diag((*steps, 1.0))
    affine[:3, 3] = middle - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine, shape


def test_a_scan_holds_the_whole_gland(phantoms):
    volumes = []
    for phantom in phantoms:
        image, label, affine = phantom
        assert sorted(image.shape) == sorted(label.shape) == sorted(SIZE)
        assert (image.dtype, label.dtype) == (np.int16, np.uint8)
        axes = affine[:3, :3] / spacing(phantom)
        assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-9)
        gland = label > 0
        assert not any(np.take(gland, (0, -1), axis).any() for axis in range(3))
        parts = np.bincount(ndimage.label(gland, np.ones((3, 3, 3)))[0].ravel())[1:]
        assert parts.max() > 0.95 * parts.sum()
        volumes.append(gland.sum() * spacing(phantom).prod() / 1000)
    assert min(volumes) > 20
    assert max(volumes) < 300
    assert np.std(volumes) > 15
    assert 3 <= sum((phantom.label == 2).any() for phantom in phantoms) <= 9
    assert len({nibabel.aff2axcodes(phantom.affine) for phantom in phantoms}) >= 3
    turned = [np.count_nonzero(abs(p.affine[:3, :3]) > 0.01) > 3 for p in phantoms]
    assert any(turned)
    assert not all(turned)


def test_densities_are_those_of_tissues(phantoms):
    for image, label, _ in phantoms:
        assert image.min() >= -1024
        fat = image[(image > -180) & (image < -40)]
        assert np.median(fat) == pytest.approx(-100, abs=12)
        assert np.percentile(image, 99.9) > 250  # bone
        assert 20 < np.median(image[label == 1]) < 125
        if (label == 2).any():
            assert np.median(image[label == 2]) < np.median(image[label == 1])


def test_no_threshold_finds_the_pancreas(phantoms):
    """Not even the window that is best in hindsight, with the noise smoothed away."""

    def largest(mask):
        parts, count = ndimage.label(mask)
        return parts == 1 + np.bincount(parts.ravel())[1:].argmax() if count else mask

    overlap = {}
    for image, label, _ in phantoms:
        gland = label > 0
        for smooth in (0, 1):
            smoothed = ndimage.gaussian_filter(image.astype(np.float32), smooth)
            for low, width in itertools.product(range(20, 110, 15), (20, 40, 80)):
                found = largest((smoothed > low) & (smoothed < low + width))
                dice = 2 * (found & gland).sum() / (found.sum() + gland.sum())
                overlap.setdefault((smooth, low, width), []).append(dice)
    assert max(np.mean(values) for values in overlap.values()) < 0.3


def test_the_patient_does_not_depend_on_the_voxels():
    fine = ct_phantom((0, 3), tumour_share=1, grid=grid((1, 1, 1)))
    for steps in ((1, 1, 4), (2, 2, 2), (3, 3, 6)):
        coarse = ct_phantom((0, 3), tumour_share=1, grid=grid(steps))
        for value, tolerance in ((1, 0.03), (2, 0.12)):  # the tumour has 3 ml only
            share = (coarse.label == value).sum() * np.prod(steps) / (fine.label == value).sum()
            assert share == pytest.approx(1, abs=tolerance)
        # a large voxel is the mean of the small ones in it: the partial volume effect
        blocks = [n for pair in zip(coarse.image.shape, steps, strict=True) for n in pair]
        means = fine.image.reshape(blocks).mean((1, 3, 5))
        assert np.median(abs(means - coarse.image)) < 20
        assert np.corrcoef(means.ravel(), coarse.image.ravel())[0, 1] > 0.98


def test_a_tumour_changes_nothing_else():
    with_tumour, without = (
        ct_phantom((0, 3), tumour_share=share, grid=grid((2, 2, 4))) for share in (1, 0)
    )
    assert not (without.label == 2).any()
    where = ndimage.binary_dilation(with_tumour.label == 2, iterations=4)
    outside = ~where & (with_tumour.label == without.label)
    assert outside.mean() > 0.95
    assert (with_tumour.image - without.image)[outside].std() < 6


def test_same_seed_same_scan(phantoms):
    again = ct_phantom((0, 2), size=SIZE)
    assert all(map(np.array_equal, again, phantoms[2]))
    assert len({phantom.image.tobytes() for phantom in phantoms}) == COUNT
    # on other machines too, up to rounding
    counts = [(phantom.label > 0).sum() for phantom in phantoms[:4]]
    assert counts == pytest.approx([13893, 6817, 9121, 6135], rel=0.002)


def test_written_folder_is_a_sound_datalist(tmp_path):
    size = (48, 48, 16)
    options = "--kind ct --count 10 --seed 5 --tumour-share 1 --size 48 48 16"
    with pytest.raises(SystemExit) as end:
        main(["data", "phantom", str(tmp_path / "a"), *options.split()])
    assert not end.value.code
    datalist = tmp_path / "a/datalist.json"
    assert check_datalist(datalist) == []
    drawn = ct_phantom((5, 9), tumour_share=1, size=size)
    for kind in ("image", "label"):
        volume = nibabel.load(tmp_path / f"a/{kind}s/ct_0009.nii.gz")
        assert np.array_equal(np.asanyarray(volume.dataobj), getattr(drawn, kind))
        assert volume.get_data_dtype() == getattr(drawn, kind).dtype
        assert np.allclose(volume.affine, drawn.affine, atol=1e-4)
    with pytest.raises(FileExistsError):
        write_ct_phantoms(tmp_path / "a", count=10)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"count": 3}, "count is 3"),
        ({"tumour_share": 2}, "tumour_share is 2"),
        ({"size": (512, 512, 4)}, "size is (512, 512, 4)"),
        ({"field_of_view": 30}, "field_of_view is 30"),
    ],
)
def test_bad_options_are_refused_before_anything_is_drawn(tmp_path, option, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        write_ct_phantoms(tmp_path / "b", **option)
    assert not (tmp_path / "b").exists()
