import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.checks import check_datalist
from pipeline.errors import InputError

LABELS = {"0": "background", "1": "disc rim", "2": "cup"}


@pytest.fixture
def dataset(tmp_path):
    """Six sound cases: the datalist as an object, its folder, and a function that checks it."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    rng = np.random.default_rng(0)
    label = np.zeros((20, 30), np.uint8)
    label[4:16, 5:20], label[7:12, 8:15] = 1, 2
    content = {"name": "test", "labels": dict(LABELS), "training": [], "testing": []}
    for number in range(6):
        pixels = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{number}.png")
        label[number, 24:26] = 2  # the labels differ
        Image.fromarray(label).save(tmp_path / f"labels/{number}.png")
        case = {"image": f"images/{number}.png", "label": f"labels/{number}.png"}
        case["patient"] = f"p{number}"
        if number < 5:
            content["training"].append(case | {"fold": number})
        else:
            content["testing"].append(case)

    def check(**options):
        path = tmp_path / "datalist.json"
        path.write_text(json.dumps(content))
        return check_datalist(path, **options)

    return content, tmp_path, check


def test_sound_dataset_also_from_another_folder(dataset, tmp_path_factory):
    content, folder, check = dataset
    assert check() == []
    elsewhere = tmp_path_factory.mktemp("lists") / "datalist.json"
    elsewhere.write_text(json.dumps(content))
    assert check_datalist(elsewhere, folder) == []
    assert len(check_datalist(elsewhere)) == 12  # every file is missing there


@pytest.mark.parametrize(
    ("shares", "held"),
    [
        ({1: 127, 2: 128}, None),
        ({1: 255, 2: 128}, "add up to 1.50"),  # of a region, the cup included
        ({1: 1, 2: 0}, "from 0 to 255"),
        ({1: 127}, "the value 2"),
    ],
)
def test_soft_labels(dataset, shares, held):
    content, folder, check = dataset
    content["regions"] = {"disc": [1, 2], "cup": [2]}
    case = content["training"][0]
    case["soft_label"] = {str(value): f"{value}.png" for value in shares}
    for value, share in shares.items():
        Image.fromarray(np.full((20, 30), share, np.uint8)).save(folder / f"{value}.png")
    found = check()
    assert [problem.item for problem in found] == ([case["label"]] if held else [])
    assert not held or held in found[0].problem
    Image.fromarray(np.full((20, 31), 100, np.uint8)).save(folder / "1.png")
    assert held == "the value 2" or "31" in check()[0].problem
    case["soft_label"] = {"1": "../1.png"}
    assert check()[0].item == "training[0]"


def _paint(folder, value, number=1):
    path = folder / f"labels/{number}.png"
    label = np.array(Image.open(path))
    Image.fromarray(value(label)).save(path)


def _cut(folder):
    path = folder / "images/1.png"
    path.write_bytes(path.read_bytes()[:-200])


def _turn(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turned by 90 degrees
    with Image.open(folder / "images/1.png") as picture:
        picture.save(folder / "images/1.png", exif=exif)


def _uniform(folder):
    Image.new("RGB", (30, 20), "white").save(folder / "images/1.png")


def _twin(folder):
    Image.open(folder / "images/0.png").save(folder / "images/5.png", compress_level=0)


def _pages(folder):
    with Image.open(folder / "images/1.png") as picture:
        picture.save(
            folder / "images/1.png", save_all=True, append_images=[Image.new("RGB", (9, 9))]
        )


# What is done to the files, to label 1 or to an entry; the item; what the check says.
FILES = {
    "turned": (_turn, "images/1.png", "EXIF"),
    "pages": (_pages, "images/1.png", "holds 2 pictures"),
    "uniform": (_uniform, "images/1.png", "255"),
    "missing image": (lambda f: (f / "images/1.png").unlink(), "images/1.png", "missing file"),
    "a pipe": (
        lambda f: ((f / "images/1.png").unlink(), os.mkfifo(f / "images/1.png")),
        "images/1.png",
        "missing file",
    ),
    "missing label": (lambda f: (f / "labels/1.png").unlink(), "labels/1.png", "missing file"),
    "truncated": (_cut, "images/1.png", "cannot be read"),
    "no image": (lambda f: (f / "images/1.png").write_text("<"), "images/1.png", "cannot be read"),
    "twin": (_twin, "images/5.png", "images/0.png"),
}
LABEL_1 = {
    "size": (lambda label: label[:-2], "labels/1.png", "30 x 18 instead of 30 x 20"),
    "three channels": (lambda label: np.stack([label] * 3, -1), "labels/1.png", "3 channels"),
    "values": (lambda label: np.uint8(127) * label, "labels/1.png", "127, 254"),
}
ENTRIES = {
    "two folds": ("training", 1, {"patient": "p0"}, "p0", "fold 0 and fold 1"),
    "two spellings": ("training", 1, {"patient": " P0"}, "p0", "fold 0 and fold 1"),
    "misspelt": ("training", 1, {"patient_id": "p0"}, "training[1]", '"patient_id"'),
    "not a mask": ("training", 1, {"label": "images/1.png"}, "training[1]", 'also its "image"'),
    "leak": ("testing", 0, {"patient": "p0"}, "p0", "fold 0 and testing"),
    "listed twice": ("testing", 0, {"image": "images/0.png"}, "images/0.png", "images/0.png"),
    "escape": ("training", 1, {"image": "images/../../secret.png"}, "training[1]", "secret.png"),
    "absolute": ("training", 1, {"image": "/etc/passwd"}, "training[1]", "/etc/passwd"),
    "another's label": ("training", 1, {"label": "labels/0.png"}, "labels/0.png", "images/0.png"),
    "no fold": ("training", 1, {"fold": None}, "training[1]", '"fold" is None'),
    "no key": ("testing", 0, {"label": None}, "testing[0]", '"label" is None'),
}
LISTS = {
    "no labels": ({"labels": None}, "datalist.json", '"labels" is None'),
    "two names": ({"labels": LABELS | {"01": "rim"}}, "datalist.json", "'01': 'rim'"),
    "misspelt id": ({"ignore_lable": 2}, "datalist.json", 'write "ignore_label"'),
    "unread": ({"validation": [{"image": "a.png"}]}, "datalist.json", '"validation"'),
    "no case": ({"training": [], "testing": []}, "datalist.json", '"training"'),
}


def _spoil(fault, content, folder):
    if fault in FILES:
        spoil, *told = FILES[fault]
        spoil(folder)
    elif fault in LABEL_1:
        spoil, *told = LABEL_1[fault]
        _paint(folder, spoil)
    elif fault in ENTRIES:
        split, number, changes, *told = ENTRIES[fault]
        content[split][number].update(changes)
    else:
        changes, *told = LISTS[fault]
        content.update(changes)
    return told


@pytest.mark.parametrize("fault", [*FILES, *LABEL_1, *ENTRIES, *LISTS])
def test_each_fault_alone_is_named(dataset, fault):
    content, folder, check = dataset
    item, problem = _spoil(fault, content, folder)
    problems = check()
    assert any(p.item == item and problem in p.problem and p.fix for p in problems), problems
    assert {p.item for p in problems} == {item}


def test_pictures_have_the_channels_of_the_list(dataset):
    content, folder, check = dataset
    content["channel_names"] = ["grey"]
    for number in range(1, 6):
        path = folder / f"images/{number}.png"
        Image.open(path).convert("L").save(path)
    (problem,) = check()
    assert (problem.item, problem.blocks) == ("images/0.png", True)
    content["channel_names"] = ["red", "green", "blue"]
    assert check() == []


def test_faults_are_told_together(dataset):
    content, folder, check = dataset
    _spoil("leak", content, folder)
    _spoil("truncated", content, folder)
    (folder / "labels/3.png").unlink()
    assert {p.item for p in check()} == {"p0", "images/1.png", "labels/3.png"}


def test_a_case_without_a_sound_file_is_told_of_each(dataset):
    _, folder, check = dataset
    for name in ("images/1.png", "labels/1.png"):
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1")
    problems = check()
    assert [problem.item for problem in problems] == ["images/1.png", "labels/1.png"]
    assert all("Git LFS" in problem.problem for problem in problems)


def test_no_json_and_no_file(tmp_path):
    path = tmp_path / "datalist.json"
    with pytest.raises(FileNotFoundError, match=r"datalist\.json"):
        check_datalist(path)
    for text in ("{", "[]", "\xff"):
        path.write_text(text, encoding="latin-1")
        assert len(check_datalist(path)) == 1


BUNDLE = Path(__file__).parents[2] / "bundles/fundus_disc_cup_segmentation"


def test_a_bundle_reads_the_cases_as_its_training_does(dataset):
    content, folder, check = dataset
    assert check(bundle=BUNDLE) == []
    content["labels"]["3"] = "vessel"
    _paint(folder, lambda label: np.where(label == 0, 3, label).astype(np.uint8))
    assert check() == []
    (problem,) = check(bundle=BUNDLE)
    assert (problem.item, problem.blocks) == ("labels/1.png", True)
    assert "labels/1.png holds the values [3" in problem.problem
    content |= {"modality": "CT", "channel_names": ["CT"]}
    assert {each.problem.split()[0] for each in check(bundle=BUNDLE)} == {
        '"modality"',
        '"channel_names"',
        "is",  # in colour
    }


def test_what_a_bundle_segments_is_somewhere_in_the_data(dataset):
    content, folder, check = dataset
    for path in (folder / "labels").iterdir():
        Image.fromarray(np.array(Image.open(path)) // 2).save(path)
    del content["labels"]["2"]
    content["regions"] = {"disc": [1]}
    assert check() == []
    remark, problem = sorted(check(bundle=BUNDLE), key=lambda each: each.blocks)
    assert "optic_cup" in problem.problem
    assert (remark.blocks, remark.problem[:9]) == (False, '"regions"')


def test_a_region_that_parts_of_the_data_lack_is_remarked(dataset):
    """A training would refuse what no training label holds, and a fold's Dice leaves it out."""
    _, folder, check = dataset
    for number in range(6):
        path = folder / f"labels/{number}.png"
        label = np.array(Image.open(path))
        Image.fromarray(np.minimum(label, 1 + (number == 2))).save(path)
    (remark,) = check(bundle=BUNDLE)
    assert not remark.blocks
    assert "fold 0, fold 1, fold 3, fold 4, testing holds optic_cup" in remark.problem
    assert "fold 2 is refused" in remark.fix
    _paint(folder, lambda label: np.minimum(label, 1), number=2)
    named, problem = check(bundle=BUNDLE)
    assert "no label holds cup" in named.problem
    assert (problem.item, problem.blocks) == ("datalist.json", True)
    assert "optic_cup [2]" in problem.problem
    assert '--regions "{\'optic_disc\': [1, 2]}" --vertical_cdr "[]"' in problem.fix


def test_an_empty_label_may_be_intended(dataset):
    _, folder, check = dataset
    _paint(folder, lambda label: label * 0)
    (problem,) = check()
    assert (problem.item, problem.blocks) == ("labels/1.png", False)
    with pytest.raises(InputError, match=r"train\.json"):
        check(bundle=folder)
