"""Which images a run takes, and what is said of those that it cannot."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image

from pipeline.bundle.cases import cases_digest, find_images, select_cases
from pipeline.bundle.listing import description_faults
from pipeline.errors import InputError


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A folder with a datalist of seven training cases in three folds and two testing cases."""
    root = tmp_path / "data"
    root.mkdir()
    lists: dict[str, list] = {"training": [], "testing": []}
    for number in range(9):
        case = {"image": f"{number}.png", "label": f"{number}_mask.png", "patient": number}
        for key in ("image", "label"):
            Image.new("L", (4, 3)).save(root / case[key])
        if number < 7:
            lists["training"].append({**case, "fold": number % 3})
        else:
            lists["testing"].append(case)
    (root / "datalist.json").write_text(json.dumps(lists))
    return root


def patients(dataset: Path, section: str, fold: int | str = 0) -> list[int]:
    cases = select_cases(str(dataset / "datalist.json"), str(dataset), section, fold=fold)
    assert all(case.keys() == {"image", "label"} for case in cases)
    assert all(Path(path).is_file() for case in cases for path in case.values())
    return [int(Path(case["image"]).stem) for case in cases]


def test_sections_and_folds_are_disjoint_and_complete(dataset):
    for fold in range(3):
        parts = [patients(dataset, each, fold) for each in ("training", "validation", "testing")]
        assert sorted(chain(*parts)) == list(range(9))
        assert parts[2] == [7, 8]
    validated = [patients(dataset, "validation", fold) for fold in range(3)]
    assert sorted(chain(*validated)) == list(range(7))


def test_fold_all_trains_on_everything(dataset, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    parts = [patients(dataset, each, "all") for each in ("training", "validation", "testing")]
    assert parts == [list(range(7)), [], [7, 8]]


def test_an_image_of_several_files_is_a_list_of_paths(dataset):
    path = dataset / "datalist.json"
    lists = json.loads(path.read_text())
    first = lists["testing"][0]
    first["image"] = ["7.png", "7_mask.png"]
    path.write_text(json.dumps(lists))
    cases = select_cases(str(path), "data", "testing")
    assert [case["image"] for case in cases] == [["data/7.png", "data/7_mask.png"], "data/8.png"]
    assert cases[0]["label"] == "data/7_mask.png"
    path.write_text(json.dumps(lists | {"channel_names": ["T1"]}))
    with pytest.raises(InputError, match=r"2 files.*T1"):
        select_cases(str(path), "data", "testing")
    first["image"][1] = "gone.png"
    path.write_text(json.dumps(lists))
    with pytest.raises(InputError, match="image data/gone"):
        select_cases(str(path), "data", "testing")


def test_headers_and_patients_are_checked_before_a_training(dataset):
    path = dataset / "datalist.json"
    Image.new("L", (5, 3)).save(dataset / "4_mask.png")
    with pytest.raises(InputError, match=r"4_mask\.png: it is not on the grid of 4\.png: 5 x 3"):
        select_cases(str(path), "data", "training")
    assert len(select_cases(str(path), "data", "validation")) == 3
    lists = json.loads(path.read_text())
    lists["testing"][0]["patient"] = 0
    path.write_text(json.dumps(lists))
    with pytest.raises(InputError, match="patient 0 is in fold 0 and testing"):
        select_cases(str(path), "data", "testing")


@pytest.mark.parametrize(
    ("content", "change", "words"),
    [
        (None, {"dataset_dir": "nowhere"}, ["dataset_dir nowhere", "--dataset_dir"]),
        (None, {"datalist": "none.json"}, ["none.json", "data phantom"]),
        (None, {"datalist": "data"}, ["data: ", "data phantom"]),
        (None, {"fold": 3}, ["fold 3", "[0, 1, 2]", "all"]),
        (None, {"section": "test"}, ["section test", "testing"]),
        ("{broken", {}, ["datalist.json", "JSON"]),
        ("[]", {}, ["datalist.json", "list"]),
        ('{"training": []}', {}, ["datalist.json", '"training"']),
        ('{"testing": ["0.png"]}', {}, ["datalist.json", '"training"', "section"]),
        ('{"training": "0.png"}', {}, ["datalist.json", '"training"']),
        ('{"training": ["0.png"]}', {}, ["datalist.json", "0.png"]),
        ('{"training": [{"image": "0.png", "fold": 0}]}', {}, ["datalist.json", "0.png", "label"]),
        (
            '{"training": [{"image": "gone.png", "label": "1.png", "fold": 1}, '
            '{"image": "0.png", "label": "0_mask.png", "fold": 0}]}',
            {},
            ["image data/gone.png", "datalist.json"],
        ),
        (
            '{"training": [{"image": "0.png", "label": "0_mask.png", "fold": 0}]}',
            {},
            ["datalist.json", "training", "fold 0"],
        ),
    ],
)
def test_a_fault_of_the_data_names_the_file_and_what_to_do(dataset, content, change, words):
    if content is not None:
        (dataset / "datalist.json").write_text(content)
    arguments = {
        "datalist": "data/datalist.json",
        "dataset_dir": "data",
        "section": "training",
        "fold": 0,
    } | change
    with pytest.raises(InputError) as error:
        select_cases(**arguments)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_every_process_has_a_case_to_validate(dataset, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert len(patients(dataset, "training")) == 4
    assert len(patients(dataset, "validation")) == 3
    with pytest.raises(InputError, match=r"2 cases .*testing .*3 processes"):
        patients(dataset, "testing")


def test_two_images_never_share_a_mask(tmp_path):
    for name in ("a.png", "b.jpg", ".c.png", "._a.png"):
        (tmp_path / name).touch()
    assert [Path(case["image"]).name for case in find_images(str(tmp_path))] == ["a.png", "b.jpg"]
    (tmp_path / "A.tif").touch()
    with pytest.raises(InputError, match=r"A\.tif and a\.png"):
        find_images(str(tmp_path))
    for name in ("x.nii", "x.nii.gz"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"x\.nii and x\.nii\.gz"):
        find_images(str(tmp_path), spatial_dims=3)


def test_other_cases_or_folds_have_another_digest(dataset):
    path = dataset / "datalist.json"
    first = cases_digest(str(path))
    lists = json.loads(path.read_text())
    path.write_text(json.dumps(lists | {"name": "x", "testing": []}, indent=4))
    assert cases_digest(str(path)) == first != ""
    assert first == "sha256 76c9a288081f"  # resumed trainings and recorded ones know it
    lists["training"][0]["fold"] += 1
    path.write_text(json.dumps(lists))
    assert cases_digest(str(path)) not in (first, "")
    assert cases_digest("nowhere.json") == ""


@pytest.mark.parametrize(
    ("said", "own", "fits"),
    [
        ({"channel_names": ["T2", "T1"]}, {"channel_names": ["T1", "T2"]}, False),
        ({"channel_names": ["t1", "t2"]}, {"channel_names": ["T1", "T2"]}, True),
        ({"channel_names": ["R", "G", "B"]}, {"channel_names": ["red", "green", "blue"]}, True),
        ({"channel_names": ["T1"]}, {"channel_names": ["MR"]}, True),
        ({"modality": "MR"}, {"modality": "CT"}, False),
        ({}, {"modality": "CT"}, True),
    ],
)
def test_a_dataset_has_the_channels_of_the_bundle_in_their_order(said, own, fits):
    assert (not list(description_faults(said, own))) == fits
