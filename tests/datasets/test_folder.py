import nibabel
import numpy as np
import pytest
from PIL import Image

from pipeline.bundle.listing import read_datalist
from pipeline.cli import main
from pipeline.datasets.checks import check_datalist
from pipeline.datasets.describing import Options, note_patients
from pipeline.datasets.folder import plan_folder
from pipeline.datasets.images import read_image_grid, write_volume
from pipeline.datasets.importing import write_sources
from pipeline.datasets.label_values import read_label
from pipeline.datasets.pairing import pair_images
from pipeline.datasets.sources import _is_index
from pipeline.errors import InputError

SHAPE = (12, 16)


def _touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_linked_folders_are_read_once(tmp_path):
    _touch(tmp_path / "there", "a.png", "b.png")
    for kind in ("i", "l"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "linked").symlink_to(tmp_path / "there")
        (tmp_path / kind / "twice").symlink_to(tmp_path / "there")
    pairs = pair_images([str(tmp_path / "i")], str(tmp_path / "l"))
    assert list(pairs.files) == ["linked/a", "linked/b"]
    assert [path.name for path, _ in pairs.left_out] == ["twice", "twice"]


@pytest.mark.parametrize(
    ("images", "labels", "cases"),
    [
        (["1.png", "11.jpg"], ["1.png", "11.png"], ["1", "11"]),
        (["a.png", "ab.png"], ["a_mask.png", "ab_mask.png"], ["a", "ab"]),
        (["a (1).png", "a (2).png"], ["seg-a (1).bmp", "seg-a (2).bmp"], ["a (1)", "a (2)"]),
        (["img_1.tif", "img_2.tif"], ["gt_1_x.tif", "gt_2_x.tif"], ["_1", "_2"]),
        (["x_0000.nrrd", "y_0000.nrrd"], ["x.nii.gz", "y.nii.gz"], ["x", "y"]),
        (["ISIC_0000.jpg", "ISIC_0001.jpg"], ["ISIC_0000_seg.png", "ISIC_0001_seg.png"], None),
        (["Gr\u00f6\u00dfe.png"], ["Gro\u0308\u00dfe.png"], ["Gr\u00f6\u00dfe"]),  # of a Mac
        (["p1/t1.nii", "p2/t1.nii"], ["p1/seg.nii", "p2/seg.nii"], ["p1/", "p2/"]),
    ],
)
def test_one_rule_pairs_all(tmp_path, images, labels, cases):
    _touch(tmp_path / "i", *images, "Thumbs.db")
    _touch(tmp_path / "l", *labels, "._a_mask.png")
    (tmp_path / "l/dead.png").symlink_to("gone")
    pairs = pair_images([str(tmp_path / "i")], str(tmp_path / "l"))
    left_out = {path.name: reason for path, reason in pairs.left_out}
    assert left_out.keys() == {"._a_mask.png", "dead.png", "Thumbs.db"}
    assert all(left_out.values())
    found = [
        (image.relative_to(tmp_path / "i"), label.relative_to(tmp_path / "l"))
        for (image,), (label,) in pairs.files.values()
    ]
    assert [tuple(map(str, pair)) for pair in found] == [*zip(images, labels, strict=True)]
    assert pairs.unpaired == []
    assert cases is None or list(pairs.files) == cases


@pytest.mark.parametrize(
    ("image", "rare"), [("a{:02d}", "a13_mask"), ("a_{:04d}", "a_0000"), ("a_{:04d}", "a_0013")]
)
def test_a_rare_mask_is_paired_with_its_own_image(tmp_path, image, rare):
    _touch(tmp_path, *(f"i/{image.format(n)}.png" for n in range(20)), f"l/{rare}.png")
    pairs = pair_images([str(tmp_path / "i")], str(tmp_path / "l"), skip_incomplete=True)
    assert list(pairs.files) == [rare.removesuffix("_mask")]


def test_names_with_brackets_are_names_and_endings_have_any_case(tmp_path):
    _touch(tmp_path / "x [1]", "a.JPG", "b.jpg", "a_m.PNG", "b_m.png")
    pairs = pair_images([str(tmp_path / "x [1]/*.jpg")], str(tmp_path / "x [1]/*_m.png"))
    assert list(pairs.files) == ["a", "b"]
    assert pairs.files == pair_images([str(tmp_path / "x [1]")], f"{tmp_path}/x [1]/*.PNG").files


def test_channels_are_files_of_one_folder_or_patterns(tmp_path):
    _touch(tmp_path / "i", *(f"{case}_{n:04d}.png" for case in "ab" for n in range(2)))
    _touch(tmp_path / "l", "a.png", "b.png")
    (first, second), _ = pair_images([str(tmp_path / "i")], str(tmp_path / "l")).files["b"]
    assert (first.name, second.name) == ("b_0000.png", "b_0001.png")
    _touch(tmp_path, *(f"c/{case}/{kind}.nii.gz" for case in "ab" for kind in ("t1", "t2", "seg")))
    places = [str(tmp_path / f"c/*/{kind}.nii.gz") for kind in ("t1", "t2", "seg")]
    files = pair_images(places[:2], places[2]).files
    assert [[path.name for path in images] for images, _ in files.values()] == [
        ["t1.nii.gz", "t2.nii.gz"]
    ] * 2


def test_files_without_a_partner_are_named(tmp_path):
    _touch(tmp_path, "i/a.png", "i/b.png", "i/c.png", "l/a_m.png", "l/c_m.png", "l/d_m.png")
    places = [str(tmp_path / "i")], str(tmp_path / "l")
    with pytest.raises(InputError, match=r"2 of 6 .*NAME_m.*b\.png.*d_m\.png.*--skip-incomplete"):
        pair_images(*places)
    pairs = pair_images(*places, skip_incomplete=True)
    assert list(pairs.files) == ["a", "c"]
    assert [path.name for path in pairs.unpaired] == ["b.png", "d_m.png"]
    with pytest.raises(InputError, match="both image and label"):
        pair_images(places[0], places[0][0])
    pairs = pair_images([str(tmp_path)], str(tmp_path / "l"), skip_incomplete=True)
    assert [each[0][0].parent.name for each in pairs.files.values()] == ["i", "i"]
    with pytest.raises(InputError, match=r"--images .*nowhere"):
        pair_images([str(tmp_path / "nowhere")], places[1])


def _save(folder, label, *, name="a", kind="png", mode=None):
    """A grey photograph and its label."""
    noise = np.random.default_rng(len(name)).integers(0, 255, SHAPE, np.uint8)
    for part, picture in (("images", Image.fromarray(noise)), ("labels", label)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        if isinstance(picture, np.ndarray):
            picture = Image.fromarray(picture)
        picture.save(folder / part / f"{name}.{kind if part == 'labels' else 'png'}")


def _index(*values):
    """A mask with a row of each value."""
    mask = np.zeros(SHAPE, np.uint8)
    for row, value in enumerate(values, start=1):
        mask[row] = value
    return mask


def _write(folder, *values, **options):
    places = [str(folder / "images")], [str(folder / "labels")]
    said = Options(**{"modality": "X-ray"} | options)
    _, dataset = plan_folder(*places, said, name="test", values=values)
    datalist = write_sources(dataset, folder / "out")
    assert [each for each in check_datalist(datalist) if each.blocks] == []
    mask = Image.open(folder / "out/labels/a.png")
    return read_datalist(datalist), mask


def _palette(mask):
    picture = Image.fromarray(mask).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.putdata(mask.ravel())
    return picture


RED, BLUE = (255, 0, 0), (0, 0, 255)
COLOURS = np.zeros((*SHAPE, 3), np.uint8)
COLOURS[1], COLOURS[2] = RED, BLUE
MASKS = {
    "0 and 1": (_index(1), (), "png"),
    "255": (_index(255), ("255=vessel",), "png"),
    "grey, saved in RGB": (np.stack([_index(255)] * 3, -1), ("255=vessel",), "png"),
    "one bit": (Image.fromarray(_index(255)).convert("1"), ("1=vessel",), "png"),
    "16 bits": (_index(1).astype(np.uint16) * 900, ("900=vessel",), "png"),
    "palette": (_palette(_index(1)), ("1=vessel",), "png"),
    "JPEG": (_index(255), ("128-255=vessel", "0-127=background"), "jpg"),
    "black": (255 - _index(255), ("0=vessel", "255=background"), "png"),
    "other": (_index(7, 9)[:, ::-1], ("7=vessel", "other=background"), "png"),
    "BMP": (_index(1), ("1=vessel",), "bmp"),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_any_kind_become_index_masks(tmp_path, name):
    mask, values, kind = MASKS[name]
    _save(tmp_path, mask, kind=kind)
    content, written = _write(tmp_path, *values)
    expected = "vessel" if values else "label_1"
    assert (content["regions"], content["channel_names"]) == (
        {expected: [7 if name == "other" else 1]},
        ["grey"],
    )
    assert content["modality"] == "X-ray"
    assert written.mode == "L"
    value = content["regions"][expected][0]
    assert np.array_equal(written, _index(value))


def test_several_values_colours_and_what_is_ignored(tmp_path):
    _save(tmp_path / "grey", _index(50, 100, 200, 250))
    given = ("200=cup", "100=rim", "50=ignore", "250=background")
    content, written = _write(tmp_path / "grey", *given, regions=["disc=rim,cup", "rim="])
    assert content["labels"] == {"0": "background", "100": "rim", "200": "cup"}
    assert content["regions"] == {"disc": [100, 200], "cup": [200]}
    assert content["ignore_label"] == 255
    assert np.array_equal(written, _index(255, 100, 200, 0))
    _save(tmp_path / "colours", COLOURS)
    _save(tmp_path / "colours", COLOURS * 0, name="empty")
    content, written = _write(tmp_path / "colours", "#ff0000=tumour", "#0000FF=cyst")
    assert content["regions"] == {"tumour": [1], "cyst": [2]}
    assert np.array_equal(written, _index(1, 2))


@pytest.mark.parametrize(
    ("mask", "values", "reason"),
    [
        (_index(255), (), r"255 \(in 1 of 1\), such as .*a\.png; give --values 255"),
        (_index(1, 3), (), "--values 1=NAME --values 3=NAME"),
        (_index(1, 2), ("1=a",), "give --values 2=NAME"),
        (COLOURS, (), "--values '#0000ff=NAME' --values '#ff0000=NAME'"),
        (np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint8).reshape(SHAPE), (), "128-255=NAME"),
        (_index(), (), "nothing but background"),
        (_index(3, 252, 255), ("255=a",), "--values 128-255=NAME"),
        (_index(1), ("1",), "--values 1: "),
        (_index(1, 2), ("1=Cup", "2=cup"), "Cup and cup would be"),
        (_index(1), ("red=a",), "--values red=a: "),
        (_index(1), ("1=a", "0-5=b"), "--values 0-5=b: 1=a names it already"),
        (_index(200), ("255-128=a", "0=background"), "--values 255-128=a: 128 is below 255"),
        (np.dstack([COLOURS, _index(1)]), (), "transparent"),
        (_index(1)[1:], (), r"labels/a\.png.*16 x 11 instead of 16 x 12"),
    ],
)
def test_what_cannot_be_read_without_doubt_is_refused(tmp_path, mask, values, reason):
    _save(tmp_path, mask)
    with pytest.raises(InputError, match=reason):
        _write(tmp_path, *values)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"regions": ["disc=cup"]}, r"--region disc=cup.*label_1"),
        ({"regions": ["label_1="]}, "regions"),
        ({"regions": ["a=1", "a=label_1"]}, "a=label_1: a is given twice"),
        ({"regions": ["label_2="]}, "no region label_2 to leave out.*label_1"),
        ({"patient": "(x)"}, "nothing in a"),
        ({"patient": "a"}, "no group"),
        ({"patient": "(b)?"}, "nothing in a"),
        ({"patient": "(b*)"}, "nothing in a"),
        ({"patient": "("}, "regular expression"),
        ({"modality": "sketch"}, "sketch"),
        ({"channels": ["T1", "T2"]}, "--channels"),
        ({"folds": 9}, "--folds 9"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, reason):
    _save(tmp_path, _index(1))
    _save(tmp_path, _index(1), name="ab")
    with pytest.raises(InputError, match=reason):
        _write(tmp_path, **options)


def test_volumes_of_other_formats_and_patients(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    affine = np.array([[0, 2, 0, -9], [-1, 0, 0, 5], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    turn = np.array([[2, 1], [0, -1], [1, -1]])  # of the axes of labels
    for name in ("p1 a", "p1 b", "p2 a", "p2 b"):
        voxels = np.random.default_rng(0).normal(0, 1, (7, 6, 5)).astype(np.float32)
        label = (voxels > 1).astype(np.int16) * 700
        for kind, array in (("image", voxels), ("label", label)):
            path = tmp_path / f"{name} {kind}.nii"
            volume = nibabel.Nifti1Image(array, affine)
            nibabel.save(volume.as_reoriented(turn) if kind == "label" else volume, path)
            sitk.WriteImage(sitk.ReadImage(str(path)), str(path.with_suffix(".mha")))
    places = [str(tmp_path / "* image.mha")], [str(tmp_path / "* label.mha")]
    with pytest.raises(InputError, match="--modality"):
        plan_folder(*places, Options(), name="x", values=["700=organ"])
    options = Options(modality="mri", patient=r"^(\w+) ", testing=0.5)
    _, dataset = plan_folder(*places, options, name="x", values=["700=organ"])
    content = read_datalist(write_sources(dataset, tmp_path / "out"))
    assert (content["modality"], content["channel_names"]) == ("MR", ["MR"])
    patients = [{case["patient"] for case in content[part]} for part in ("training", "testing")]
    assert sorted(map(list, patients)) == [["p1"], ["p2"]]
    image, mask = (
        nibabel.load(tmp_path / f"out/{kind}s/p1_a.nii.gz") for kind in ("image", "label")
    )
    assert np.array_equal(image.dataobj, voxels)
    assert np.allclose(image.affine, affine, atol=1e-5)
    assert mask.get_data_dtype() == np.uint8
    assert np.array_equal(mask.dataobj, label // 700)
    assert np.array_equal(mask.affine, image.affine)
    # Labels that need no other values, and masks of one structure, are turned too.
    index = nibabel.Nifti1Image((label > 0).astype(np.uint8), affine).as_reoriented(turn)
    nibabel.save(index, tmp_path / "index.nii.gz")
    for named in ("", "organ="):
        given = [places[0][0].replace("*", "p2 [b]")], [f"{named}{tmp_path / 'inde[x].nii.gz'}"]
        _, dataset = plan_folder(*given, Options(modality="MR"), name="x")
        write_sources(dataset, tmp_path / f"out {named}")
        (path,) = (tmp_path / f"out {named}/labels").iterdir()
        mask = nibabel.load(path)
        assert np.array_equal(mask.dataobj, label // 700)
        assert np.allclose(mask.affine, affine, atol=1e-5)


def test_numbers_of_objects_are_no_classes(tmp_path):
    for count in (1, 2, 3):
        _save(tmp_path, _index(*range(1, count + 1)), name="a" * count)
    with pytest.raises(InputError, match="--values 1-65535=NAME"):
        _write(tmp_path)
    content, written = _write(tmp_path, "1-65535=cell")
    assert content["regions"] == {"cell": [1]}
    assert np.array_equal(written, _index(1))


@pytest.mark.parametrize(
    ("keys", "pattern"),
    [
        (["p1/a", "p1/b", "p2/a"], "'^([^/]+)/'"),
        (["p1_a", "p1_b", "p2_a"], "'^([^_]+)_'"),
        (["case_1", "case_2"], None),
        (["p1/", "p2/"], None),
        (["train/p1", "test/p1", "test/p2", "test/p3"], "'/([^/]+)$'"),
    ],
)
def test_cases_that_may_be_of_one_patient_are_noted(keys, pattern):
    notes = note_patients(keys)
    assert len(notes) == bool(pattern)
    assert all(pattern in note for note in notes)


def test_masks_of_each_structure_are_joined(tmp_path):
    body, left, more, right = (np.zeros(SHAPE, np.uint8) for _ in range(4))
    body[1:8], left[2], more[4], right[10] = 1, 255, 7, 1
    masks = {"body": [body] * 2, "left": [left] * 2, "more": [None, more], "right": [right, None]}
    for name in "ab":
        _save(tmp_path, body, name=name)
    for kind, files in masks.items():
        (tmp_path / kind).mkdir()
        for name, mask in zip("ab", files, strict=True):
            if mask is not None:
                Image.fromarray(mask).save(tmp_path / kind / f"{name}_{kind}.png")
    places = [f"{kind.replace('more', 'left')}={tmp_path / kind}" for kind in masks]
    given = [str(tmp_path / "images")], places, Options(modality="X-ray")
    with pytest.raises(InputError, match=r"--missing-is-empty"):
        plan_folder(*given, name="x")
    pairs, dataset = plan_folder(*given, name="x", missing_is_empty=True)
    names = [path and path.name for path in pairs.files["b"][1]]
    assert names == ["b_body.png", "b_left.png", "b_more.png", None]
    content = read_datalist(write_sources(dataset, tmp_path / "out"))
    assert content["regions"] == {"body": [1, 3], "left": [3], "right": [2]}
    masks = [np.asarray(Image.open(tmp_path / f"out/labels/{name}.png")) for name in "ab"]
    assert np.array_equal(masks[0], body + 2 * (left > 0) + 2 * right)
    assert np.array_equal(masks[1], body + 2 * (left > 0) + 2 * (more > 0))
    with pytest.raises(InputError, match="--labels NAME=FOLDER"):
        plan_folder(given[0], [str(tmp_path / "body"), str(tmp_path / "left")], given[2], name="x")
    with pytest.raises(InputError, match="--labels ignore="):
        plan_folder(given[0], [f"ignore={tmp_path / 'body'}"], given[2], name="x")
    Image.fromarray(body + 6 * (left > 0).astype(np.uint8)).save(tmp_path / "left/a_left.png")
    with pytest.raises(InputError, match="0-127=background"):
        plan_folder(*given, name="x", missing_is_empty=True)


def test_what_is_doubtful_is_noted(tmp_path):
    _save(tmp_path, _index(1))
    _save(tmp_path, _index(), name="empty")
    places = [str(tmp_path / "images")], [str(tmp_path / "labels")]
    given = {"name": "x", "values": ["1=vessel", "2=lesion"]}
    _, dataset = plan_folder(*places, Options(testing=1, modality="X-ray"), **given)
    assert [note.split()[:4] for note in dataset.notes] == [
        ["no", "label", "holds", "lesion,"],
        ["there", "is", "one", "fold,"],
        ["1", "labels", "hold", "nothing"],
    ]


def test_flat_volumes_become_pictures(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for folder, array in (("images", _index(9, 300 % 256)), ("labels", _index(1))):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / folder / "a.mhd"))
    content, written = _write(tmp_path, modality="ultrasound")
    assert content["training"][0]["image"] == "images/a.png"
    assert content["modality"] == "ultrasound"
    assert np.array_equal(written, _index(1))
    assert np.array_equal(Image.open(tmp_path / "out/images/a.png"), _index(9, 300 % 256))


def test_the_command_shows_first_and_refuses_in_one_line(tmp_path, capsys):
    _save(tmp_path, _index(255), name="photo")
    arguments = ["data", "prepare", "folder", "--output", str(tmp_path / "out"), "--dry-run"]
    arguments += ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: the labels hold values")
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--values", "255=vessel", "--modality", "X-ray"])
    assert (end.value.code or 0) == 0
    shown = capsys.readouterr().err
    assert "photo.png" in shown
    assert "vessel" in shown
    assert not (tmp_path / "out").exists()


def test_three_slices_are_not_colours_and_colours_of_16_bits_are_those_of_8(tmp_path):
    volume = np.stack([_index(1, 2), _index(1), _index(2)], axis=-1)
    for name, dtype in (("a.nii.gz", np.uint8), ("b.nii.gz", np.int64)):
        nibabel.save(
            nibabel.Nifti1Image(volume.astype(dtype), np.eye(4), dtype=dtype), tmp_path / name
        )
        pixels, coloured = read_label(tmp_path / name)
        assert (pixels.tolist(), coloured) == (volume.tolist(), False)
        assert _is_index(tmp_path / name, read_image_grid(tmp_path / name), ".nii.gz")
    sitk = pytest.importorskip("SimpleITK")
    for factor in (257, 256):
        deep = sitk.GetImageFromArray(COLOURS.astype(np.uint16) * factor, isVector=True)
        sitk.WriteImage(deep, str(tmp_path / f"{factor}.png"))
    _save(tmp_path / "x", COLOURS)
    expected = read_label(tmp_path / "x/labels/a.png")
    assert np.array_equal(read_label(tmp_path / "257.png").pixels, expected.pixels)
    with pytest.raises(InputError, match="8 bits"):
        read_label(tmp_path / "256.png")


@pytest.mark.parametrize("ends", [(0, 255), (-(2**31), 2**31 - 1), (0, 2**31), (-(2**40), 1)])
def test_numbers_of_64_bits_keep_their_values(tmp_path, ends):
    volume = np.array([*ends, 0, 1]).reshape(2, 2, 1)
    write_volume(tmp_path / "a.nii.gz", volume, np.eye(4))
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj), volume)


def test_segments_of_slicer_are_told_by_their_names(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    image = np.random.default_rng(0).normal(0, 1, (5, 7, 6)).astype(np.float32)  # (Z, Y, X)
    for name, numbers in (("a", (1, 2)), ("b", (2, 1))):  # which stand for liver and spleen
        layers = np.zeros((3, 4, 5, 2), np.uint8)  # less than the image, from (1, 2, 1) on
        layers[0, ..., 0], layers[2, ..., 0] = numbers
        layers[0, :2, :, 1] = 1  # a tumour in the liver
        segments = sitk.GetImageFromArray(layers, isVector=True)
        whole = sitk.GetImageFromArray(image)
        for volume in (whole, segments):
            volume.SetSpacing((1, 2, 3))
        segments.SetOrigin((1, 4, 3))
        places = [("liver", 0, numbers[0]), ("spleen", 0, numbers[1]), ("tumour", 1, 1)]
        for n, (segment, layer, value) in enumerate([*places, ("fat", 0, 9)]):
            segments.SetMetaData(f"Segment{n}_Name", segment)
            segments.SetMetaData(f"Segment{n}_Layer", str(layer))
            segments.SetMetaData(f"Segment{n}_LabelValue", str(value))
        for folder, volume in (("images", whole), ("labels", segments)):
            (tmp_path / folder).mkdir(exist_ok=True)
            sitk.WriteImage(volume, str(tmp_path / folder / f"{name}.nrrd"))
    places = [str(tmp_path / "images")], [str(tmp_path / "labels")]
    _, dataset = plan_folder(*places, Options(modality="MR"), name="x")
    assert "no voxel lies in fat, so it is not a region" in dataset.notes
    content = read_datalist(write_sources(dataset, tmp_path / "out"))
    assert content["regions"] == {"liver": [1, 3], "spleen": [2], "tumour": [3]}
    expected = np.zeros((6, 7, 5), np.uint8)
    expected[1:, 2:6, 1], expected[1:, 2:6, 3], expected[1:, 2:4, 1] = 1, 2, 3
    for name in "ab":
        assert np.array_equal(
            nibabel.load(tmp_path / f"out/labels/{name}.nii.gz").dataobj, expected
        )
    with pytest.raises(InputError, match="--values"):
        plan_folder(*places, Options(modality="MR"), name="x", values=["1=liver"])
