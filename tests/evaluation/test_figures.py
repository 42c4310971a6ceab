"""Figures hold the right colours in the right places."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from drawn import marked, rendered
from matplotlib.colors import to_rgb
from monai.data import MetaTensor
from monai.transforms import SaveImage
from picture_dicom import write_picture
from PIL import Image

from pipeline.evaluation.figures.colours import RED, YELLOW
from pipeline.evaluation.figures.display import as_picture, view_case
from pipeline.evaluation.figures.photographs import Example, draw_comparison, draw_overlays
from pipeline.evaluation.figures.view import view_photograph
from pipeline.evaluation.figures.volumes import draw_attention

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
REGIONS = ["optic_disc", "optic_cup"]
HEIGHT, WIDTH = 120, 160
PHOTOGRAPH = np.full((HEIGHT, WIDTH, 3), 60, dtype=np.uint8)


def masks(left, top):
    """A disc of 40 px with a cup of 20 px in its upper left corner, (2, H, W)."""
    found = np.zeros((2, HEIGHT, WIDTH), dtype=bool)
    found[0, top : top + 40, left : left + 40] = True
    found[1, top : top + 20, left : left + 20] = True
    return found


@pytest.mark.parametrize("column", [0, 1], ids=["whole", "crop"])
def test_contours_lie_around_their_regions(column):
    found = masks(left=90, top=30)
    figure = draw_overlays([("case", PHOTOGRAPH, found, found, (1, 1))], regions=REGIONS)
    picture, panel = rendered(figure), figure.axes[column]
    # The cup's contour covers the disc's where they coincide: above and on the left.
    assert marked(picture, panel, RED)[1::2] == pytest.approx((129.5, 69.5), abs=1.5)
    yellow = marked(picture, panel, YELLOW)
    assert yellow == pytest.approx((89.5, 109.5, 29.5, 49.5), abs=1.5)


def test_the_comparison_shows_each_network_in_its_column():
    truth, none = masks(60, 40), np.zeros((2, HEIGHT, WIDTH), dtype=bool)
    examples = [
        Example("1", PHOTOGRAPH, truth, {"A": truth, "B": truth}, {"A": (1, 1), "B": (0.9, 0.8)}),
        Example("2", PHOTOGRAPH, truth, {"A": none, "B": truth}, {"A": (0, 0), "B": (1, 1)}),
        Example("3", PHOTOGRAPH, None, {"A": truth, "B": none}, {"A": (0, 0), "B": (0, 0)}),
    ]
    figure = draw_comparison(examples, regions=REGIONS)
    picture = rendered(figure)
    panels = np.array(figure.axes).reshape(3, 4)
    shown = [[marked(picture, panel, RED) is not None for panel in row] for row in panels]
    # A missed disc still shows the expert's.
    assert shown == [*[[False, True, True, True]] * 2, [False, False, True, False]]
    labels = [[panel.get_xlabel() for panel in row[2:]] for row in panels]
    assert labels[0] == ["Dice: disc 1.000, cup 1.000", "Dice: disc 0.900, cup 0.800"]
    assert labels[1] == ["Dice: disc 0.000, cup 0.000", "Dice: disc 1.000, cup 1.000"]
    assert [row[0].get_xlabel() for row in panels] == ["1", "2", "3"]


def test_attention_covers_the_photograph():
    alpha = np.zeros((4, 8))
    alpha[0, 7] = 1  # upper right
    plane = view_photograph(np.full((HEIGHT, WIDTH), 0.5))
    figure = draw_attention([plane], [[alpha], [alpha]], heads=["grid 8 x 4", ""], title="eye")
    panel = figure.axes[1]
    assert panel.get_title() == "grid 8 x 4"
    drawn = rendered(figure)
    edges = panel.get_window_extent()
    top = drawn.shape[0] - round(edges.y1) + 4
    bottom = drawn.shape[0] - round(edges.y0) - 4
    left, right = round(edges.x0) + 4, round(edges.x1) - 4
    corners = [drawn[y, x].sum() for y, x in ((top, left), (bottom, left), (bottom, right))]
    assert drawn[top, right].sum() > 2 * max(corners)
    assert tuple(figure.axes[-1].get_ylim()) == (0, 1)


def test_colours_follow_the_order_of_the_regions():
    found = masks(60, 40)
    names = ["left_vein", "tumour"]
    figure = draw_overlays([("case", PHOTOGRAPH, found, found, (1, 1))], regions=names)
    lines = figure.legends[0].get_lines()
    assert [line.get_color() for line in lines] == [RED, RED, YELLOW, YELLOW]
    assert figure.axes[1].get_title(loc="left") == "Dice: left vein 1.000, tumour 1.000"
    figure = draw_overlays([("case", PHOTOGRAPH, found, found, (1, np.nan))], regions=names)
    assert figure.axes[1].get_title(loc="left") == "Dice: left vein 1.000"  # no label holds one


def test_twelve_regions_are_told_apart():
    names = [f"organ_{number}" for number in range(12)]
    found = np.zeros((12, HEIGHT, WIDTH), dtype=bool)
    figure = draw_overlays([("case", PHOTOGRAPH, found, found, [1] * 12)], regions=names)
    legend = figure.legends[0]
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [*(name.replace("_", " ") for name in names), "predicted", "expert"]
    colours = np.array([to_rgb(line.get_color()) for line in legend.get_lines()[:12]])
    apart = np.linalg.norm(colours[:, None] - colours, axis=-1) + 9 * np.eye(12)
    assert apart.min() > 0.3
    figure.draw_without_rendering()
    edges = legend.get_window_extent()
    assert edges.x0 >= 0
    assert edges.x1 <= figure.bbox.x1
    panel = figure.axes[1]
    assert edges.y1 <= panel.get_window_extent().y0
    assert panel.get_title(loc="left") == "Dice: mean 1.000, lowest 0 1.000"


def test_the_first_channel_is_shown_in_its_window_or_by_its_percentiles(tmp_path):
    grid, affine = np.indices((10, 8, 6)), np.diag([-1.0, -1.0, 1.0, 1.0])  # LPS
    volume = np.stack([100 * grid[0] - 400, 7 * grid[1]], axis=-1).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / "mr.nii.gz")
    none = np.zeros((1, 10, 8, 6), dtype=bool)
    shown, *_ = view_case(tmp_path / "mr.nii.gz", none, none, affine=affine)
    assert shown[3, :, 0] == pytest.approx(np.linspace(0, 1, 10))
    assert np.ptp(shown, axis=(0, 2)).max() == 0
    shown, *_ = view_case(tmp_path / "mr.nii.gz", none, none, affine=affine, window=(-100, 200))
    assert shown[3, :, 0] == pytest.approx(np.clip((np.arange(10) - 3) / 3, 0, 1))


@pytest.mark.parametrize("kind", ["grey", "grey16", "palette"])
def test_any_picture_is_shown_as_it_is_seen(kind, tmp_path):
    index = np.tile(np.arange(WIDTH) // 80, (HEIGHT, 1)).astype(np.uint8)  # left 0, right 1
    picture = Image.fromarray(index * 200 if kind == "grey" else index)
    if kind == "grey16":
        picture = Image.fromarray(index.astype(np.uint16) * 60_000)
    if kind == "palette":
        picture.putpalette([0, 0, 255, 255, 0, 0])
    picture.save(tmp_path / "picture.png")
    none = np.zeros((1, WIDTH, HEIGHT), dtype=bool)
    shown, *_ = view_case(tmp_path / "picture.png", none, none, affine=np.eye(4))
    sides = [shown[5, 5].tolist(), shown[5, -5].tolist()]
    assert sides == ([[0, 0, 1], [1, 0, 0]] if kind == "palette" else [[0, 0, 0], [1, 1, 1]])


def test_a_volume_is_shown_as_radiologists_see_it(tmp_path):
    """Whatever the file's orientation, the patient's right is left and the front is up."""
    volume = torch.full((1, 8, 10, 6), -1000.0)
    truth = np.zeros((1, 8, 10, 6), dtype=bool)
    truth[0, 6:, 7:, 4] = True  # RAS: right of the image centre is the patient's right side
    volume[torch.from_numpy(truth)] = 200
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    save = SaveImage(tmp_path, output_postfix="", separate_folder=False, print_log=False)
    meta = {"filename_or_obj": "scan.nii.gz"}
    save(MetaTensor(volume, affine=affine, meta=meta))
    picture, predicted, true = view_case(tmp_path / "scan.nii.gz", ~truth, truth, affine=affine)
    assert picture.shape == (10, 8, 3)
    assert true[0, :3, :2].all()  # front (top), patient's right (left)
    assert true.sum() == 6
    assert np.array_equal(predicted, ~true)
    assert np.array_equal(picture[..., 0] > 0.5, true[0])
    black, _, same = view_case(None, ~truth, truth, affine=affine)
    assert np.array_equal(same, true)
    assert (black.shape, black.max()) == ((10, 8, 3), 0)


def test_a_picture_of_any_format_is_drawn_as_it_is_trained(tmp_path):
    row, column = np.mgrid[:24, :32].astype(np.uint8)
    pixels = np.stack([column * 7, row * 9, 255 - column * 5], axis=-1)
    picture = Image.fromarray(pixels)
    for name, mode in (("a.png", "RGB"), ("a.tif", "RGB"), ("a.webp", "RGB"), ("c.jpg", "CMYK")):
        picture.convert(mode).save(tmp_path / name, lossless=True, quality=100)
    picture.quantize(256).save(tmp_path / "p.png")
    Image.fromarray(np.dstack([pixels, row * 0 + 255])).save(tmp_path / "rgba.png")
    tifffile.imwrite(tmp_path / "deep.tif", pixels.astype(np.uint16) * 16, photometric="rgb")
    write_picture(tmp_path / "photo.dcm", pixels)
    none = np.zeros((2, 32, 24), dtype=bool)
    for path in tmp_path.iterdir():
        drawn, *_ = view_case(path, none, none, affine=np.eye(4))
        assert np.abs(drawn * 255 - pixels).mean() < 6, path


def test_a_mask_of_another_grid_is_refused(tmp_path):
    path = tmp_path / "photograph.png"
    Image.linear_gradient("L").resize((WIDTH, HEIGHT)).save(path)
    mask = np.zeros((2, HEIGHT, WIDTH), dtype=bool)  # (H, W) instead of (W, H)
    with pytest.raises(ValueError, match=r"\(160, 120\).*\(120, 160\)"):
        view_case(path, mask, mask, affine=np.eye(4))


@pytest.mark.skipif(not (DATA / "drishti_gs1").exists(), reason="no Drishti-GS1 beside the project")
def test_a_real_photograph_and_its_disc_stand_upright():
    """The disc is the brightest part, so a mask read and drawn in the wrong order misses it."""
    root = DATA / "drishti_gs1" / "Drishti-GS1_files" / "Training"
    path = sorted(root.glob("Images/*.png"))[0]
    soft = Image.open(root / "GT" / path.stem / "SoftMap" / f"{path.stem}_ODsegSoftmap.png")
    disc = (np.asarray(soft) >= 191).T[None]  # (1, W, H), MONAI's order
    picture, _, true = view_case(path, disc, disc, affine=np.eye(4))
    photograph = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(np.rint(picture * 255).astype(np.uint8), photograph)
    assert picture[true[0]].mean() > 2 * picture[~true[0]].mean()


def test_a_normalised_image_fills_the_grey_scale():
    picture = as_picture(np.random.default_rng(0).normal(size=(3, 20, 30)))
    assert picture.shape == (30, 20, 3)
    assert (picture.min(), picture.max()) == (0, 1)
