"""What the pages of volumes show lies where it is in the patient, for any file orientation."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from drawn import marked, rendered
from monai.data import MetaTensor

from pipeline.evaluation.cases import MeasuredCase, pack_masks
from pipeline.evaluation.figures.cases import draw_window_attention
from pipeline.evaluation.figures.colours import RED, YELLOW
from pipeline.evaluation.figures.view import AXIAL, CORONAL, SAGITTAL, view_volume
from pipeline.evaluation.figures.volumes import describe_scores, draw_volumes

SHAPE, STEP = (40, 36, 20), np.array([1.0, 1.5, 3.0])  # in RAS
# A gland towards the patient's left, front and head, in RAS; a tumour in its left end.
GLAND, TUMOUR = np.s_[4:20, 22:32, 10:18], np.s_[4:10, 22:32, 10:18]


def volume(tmp_path, codes="RAS"):
    """A CT whose tissue is at 50 HU and brighter in the gland; its file, masks and affine."""
    ct = np.full(SHAPE, 50.0, dtype=np.float32)
    ct[0], masks = -1000, np.zeros((2, *SHAPE), dtype=bool)
    masks[0][GLAND], masks[1][TUMOUR] = True, True
    ct[GLAND] = 150
    turn = nibabel.orientations.ornt_transform(
        *(nibabel.orientations.axcodes2ornt(each) for each in ("RAS", codes))
    )
    image, *labels = (
        nibabel.Nifti1Image(array, np.diag([*STEP, 1])).as_reoriented(turn)
        for array in (ct, *masks.astype(np.uint8))
    )
    path = tmp_path / "scan.nii.gz"
    nibabel.save(image, path)
    return path, np.stack([label.get_fdata() > 0 for label in labels]), image.affine


@pytest.mark.parametrize("codes", ["RAS", "PIL"])
def test_the_planes_are_those_of_a_radiologist(codes, tmp_path):
    path, masks, affine = volume(tmp_path, codes)
    view = view_volume(path, np.zeros_like(masks), masks, affine=affine)
    expected = {  # rows and columns of the gland: front or head at the top, right on the left
        AXIAL: (np.s_[4:14, 20:36], SHAPE[1::-1], (1.0, 1.5)),
        CORONAL: (np.s_[2:10, 20:36], SHAPE[2::-2], (1.0, 3.0)),
        SAGITTAL: (np.s_[2:10, 4:14], SHAPE[:0:-1], (1.5, 3.0)),
    }
    for axis, (place, shape, step) in expected.items():
        plane = view.planes[axis]
        gland = np.zeros(shape, dtype=bool)
        gland[place] = True
        assert np.array_equal(plane.truth[0], gland)
        assert np.array_equal(plane.picture == plane.picture.max(), gland)
        assert plane.step == pytest.approx(step)
        assert not plane.prediction.any()
        left, right, top, bottom = plane.window
        rows, columns = np.nonzero(gland)
        assert (left + right) / 2 == pytest.approx(columns.min() / 2 + columns.max() / 2 + 0.5)
        assert (top + bottom) / 2 == pytest.approx(rows.min() / 2 + rows.max() / 2 + 0.5)
        size = (right - left) * step[0], (bottom - top) * step[1]
        assert size == pytest.approx([60, 60])  # mm: the volume has no more
    assert view.outside == 0


def test_what_no_panel_shows_is_told(tmp_path):
    _, masks, affine = volume(tmp_path)
    masks[:, 4:10] = False  # of the gland, its right half
    stray = masks.copy()
    stray[0, 39, 0, :2] = True
    view = view_volume(None, stray, masks, affine=affine * [4, 4, 4, 1])
    assert view.outside == pytest.approx(2 * 4.5 * 64 / 1000)
    figure = draw_volumes([("Worst", "scores", view)], regions=["pancreas", "tumour"])
    assert figure.axes[3].xaxis.label.get_text().startswith("0.576 ml")


def test_the_page_keeps_the_patients_proportions(tmp_path):
    path, masks, affine = volume(tmp_path)
    view = view_volume(path, masks, masks, affine=affine)
    figure = draw_volumes([("Only: scan", "Dice 0.5", view)] * 2, regions=["pancreas", "tumour"])
    picture = rendered(figure)
    for panel in figure.axes[:4]:
        box = panel.get_window_extent()
        assert box.width == pytest.approx(box.height, rel=0.02)  # a cube of mm is a square
    for panel, plane in zip(figure.axes[1:4], view.planes.values(), strict=True):
        rows, columns = np.nonzero(plane.truth[0])
        found = marked(picture, panel, RED)
        expected = columns.min(), columns.max(), rows.min(), rows.max()
        assert found == pytest.approx(expected, abs=1.2)
    colours = [[marked(picture, panel, c) is not None for c in (RED, YELLOW)]
               for panel in figure.axes[:4]]  # fmt: skip
    assert colours == [*[[True, True]] * 3, [True, False]]  # the first sagittal slice of the gland
    texts = [[text.get_text() for text in panel.texts] for panel in figure.axes[:4]]
    letters = ["RLAP", "RLAP", "RLSI", "APSI"]
    assert ["".join(found[:4]) for found in texts] == letters
    assert figure.axes[1].get_title(loc="left").endswith("of 20")


def test_the_scores_of_a_case_say_what_was_missed_and_invented():
    row = {"volume/a": 10, "volume_error/a": -1.5, "dice/a": 0.8, "hd95/a": 4.25}
    row |= {"volume/b": 3, "volume_error/b": -3, "volume/c": 0, "volume_error/c": 2610}
    row |= {"volume/d": 0, "volume_error/d": 0}
    good, missed, invented, absent = describe_scores(row, "abcd").splitlines()
    assert good == "a: Dice 0.800, HD95 4.2 mm, 8.5 ml predicted, 10 ml true"
    assert "3 ml" in missed
    assert "2,610 ml" in invented
    assert "ml" not in absent


def measured(path, masks, affine):
    """A case whose prediction is the truth."""
    both = np.stack([masks, masks])
    row = {"case": "scan"}
    return MeasuredCase(row, str(path), tuple(STEP), affine, both.shape, pack_masks(both))


class Looks(torch.nn.Module):
    """Attends to what is bright, on two coarse grids."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.seen = None

    def attention_maps(self, x):
        self.seen = tuple(x.shape)
        return [torch.nn.functional.avg_pool3d(x, size) for size in (2, 4)]


@pytest.mark.parametrize("codes", ["RAS", "PIL"])
def test_attention_lies_on_what_was_attended_to(codes, tmp_path):
    """The network saw another grid, orientation and corner than the file's."""
    path, masks, affine = volume(tmp_path, codes)
    shape = (30, 32, 36)  # RAS at 1.5 mm, its corner inside the volume
    grid = np.diag([1.5, 1.5, 1.5, 1])
    grid[:3, 3] = np.array([1.5, 3.0, 1.5])
    centres = np.indices(shape).reshape(3, -1).T * 1.5 + grid[:3, 3]
    index = np.rint(centres / STEP).astype(int)
    bright = np.zeros(SHAPE)
    bright[GLAND] = 1
    inside = (index < SHAPE).all(axis=1)
    image = np.zeros(len(index), dtype=np.float32)
    image[inside] = bright[tuple(index[inside].T)]
    image = MetaTensor(torch.from_numpy(image.reshape(1, *shape)), affine=grid)
    case = measured(path, masks, affine)
    network = Looks()
    figure = draw_window_attention(network, image, case, roi_size=(24, 24, 32))
    assert network.seen == (1, 1, 24, 24, 32)
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles == ["scan", "grid 12 x 12 x 16", "grid 6 x 6 x 8"]
    for row in range(3):
        panel = figure.axes[3 * row + 1]
        picture, attention = (image.get_array() for image in panel.images[:: len(panel.images) - 1])
        assert attention.shape == tuple(side // 2 for side in picture.shape)
        fine = np.kron(attention, np.ones((2, 2)))
        assert np.corrcoef(fine.ravel(), np.asarray(picture).ravel())[0, 1] > 0.8
        contours = [line for line in panel.collections if len(line.get_paths())]
        x0, y0, x1, y1 = contours[0].get_paths()[0].get_extents().extents
        rows, columns = np.nonzero(np.asarray(picture) > 0.5)
        assert (x0, x1) == pytest.approx((columns.min(), columns.max()), abs=1.5)
        assert (y0, y1) == pytest.approx((rows.min(), rows.max()), abs=1.5)
    with pytest.raises(ValueError, match="MetaTensor"):
        draw_window_attention(network, image.as_tensor(), case, roi_size=(8, 8, 8))


def test_a_network_without_gates_has_no_figure(tmp_path):
    path, masks, affine = volume(tmp_path)
    network = Looks()
    network.attention_maps = lambda x: []
    case = measured(path, masks, affine)
    image = MetaTensor(torch.zeros(1, 8, 8, 8), affine=np.eye(4))
    assert draw_window_attention(network, image, case, roi_size=(8, 8, 8)) is None


DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "ct_totalsegmentator"


@pytest.mark.skipif(not DATA.exists(), reason="no real CT beside the project")
def test_a_real_ct_shows_the_patients_right_on_the_left():
    """The liver is on the right: its side of the abdomen has more soft tissue at its height."""
    label = nibabel.load(DATA / "example_ct_pancreas_derived.nii.gz")
    truth = np.asarray(label.dataobj)[None] > 0
    view = view_volume(DATA / "example_ct.nii.gz", truth, truth, affine=label.affine)
    organs = np.asarray(nibabel.load(DATA / "example_seg_fast_force_split.nii.gz").dataobj)
    liver = organs[None] == 5
    there = view_volume(DATA / "example_ct.nii.gz", liver, liver, affine=label.affine)
    for axis in (AXIAL, CORONAL):
        columns = np.nonzero(there.planes[axis].truth[0])[1]
        assert columns.mean() < there.planes[axis].picture.shape[1] / 2
    assert view.planes[AXIAL].truth[0].sum() > 20
