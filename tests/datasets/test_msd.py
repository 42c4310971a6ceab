import json
import shutil

import numpy as np
import pytest

from pipeline.bundle.listing import read_datalist
from pipeline.datasets.checks import check_datalist
from pipeline.datasets.describing import Options
from pipeline.datasets.importing import write_sources
from pipeline.datasets.msd import plan_msd
from pipeline.errors import InputError

nibabel = pytest.importorskip("nibabel")
AFFINE = np.diag([-0.8, 0.8, 2.5, 1])


def _task(root, numbers, *, modality=None, suffix=".nii.gz", **changes):
    """A task of the Decathlon: an organ with a tumour, which every third case lacks."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    modality = modality or {"0": "CT"}
    labels = {"0": "background", "1": "organ", "2": "tumour (any)"}
    content = {"name": "Organ", "modality": modality, "labels": labels, "training": []}
    for number in numbers:
        label = np.zeros((12, 12, 6), np.uint8)
        label[3:9, 3:9, 2:5], label[5:7, 5:7, 3] = 1, 1 if number % 3 == 0 else 2
        label[2, number % 12, 2] = 1
        image = np.where(label > 0, 100 - 20 * label.astype(np.int16), -100).astype(np.int16)
        image[0] = -1000 + number
        image = np.stack([image + channel for channel in range(len(modality))], -1)
        name = f"organ_{number:03d}.nii.gz"
        for folder, voxels in (("imagesTr", image.squeeze()), ("labelsTr", label)):
            path = root / folder / name.replace(".nii.gz", suffix)
            nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), path)
            (path.parent / f"._{path.name}").write_bytes(b"Mac OS X")
        content["training"].append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    content |= {"test": ["./imagesTs/organ_999.nii.gz"]} | changes
    (root / "dataset.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_task_becomes_a_sound_dataset(tmp_path, suffix):
    source = _task(tmp_path / "in/Task99/Task99", range(1, 13), suffix=suffix)
    dataset = plan_msd(tmp_path / "in", Options(regions=["organ=organ,2"]))
    assert dataset.notes == ["left out 1 images for testing, which have no labels"]
    datalist = write_sources(dataset, tmp_path / "out")
    assert check_datalist(datalist) == []
    content = read_datalist(datalist)
    assert content["name"] == "Organ"
    assert (content["modality"], content["channel_names"]) == ("CT", ["CT"])
    assert content["regions"] == {"organ": [1, 2], "tumour_any": [2]}
    assert [case["patient"] for case in content["training"]][:2] == ["organ_001", "organ_002"]
    folds = [case["fold"] for case in content["training"]]
    assert sorted(map(folds.count, range(5))) == [2, 2, 2, 3, 3]
    assert {fold for n, fold in enumerate(folds, 1) if n % 3} == set(range(5))  # with a tumour
    for kind in ("image", "label"):
        before = nibabel.load(source / f"{kind}sTr/organ_001{suffix}")
        after = nibabel.load(tmp_path / f"out/{kind}s/organ_001.nii.gz")
        assert np.array_equal(before.dataobj, after.dataobj)
    datalist.unlink()
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_sources(dataset, tmp_path / "out")
    write_sources(dataset, tmp_path / "out", overwrite=True)
    assert len(list((source / "imagesTr").glob("organ*"))) == 12  # links; the source stays whole


def test_channels_in_one_file_are_split(tmp_path):
    source = _task(tmp_path / "in", [1, 2], modality={"0": "FLAIR", "1": "T1w"})
    dataset = plan_msd(source, Options(modality="MRI", testing=1))
    content = read_datalist(write_sources(dataset, tmp_path / "out"))
    assert (content["modality"], content["channel_names"]) == ("MR", ["FLAIR", "T1w"])
    assert content["regions"] == {"organ": [1], "tumour_any": [2]}
    (case,), (tested,) = content["training"], content["testing"]
    assert {case["patient"], tested["patient"]} == {"organ_001", "organ_002"}
    name = case["patient"]
    assert case["image"] == [f"images/{name}_{number:04d}.nii.gz" for number in range(2)]
    first, second = (nibabel.load(tmp_path / "out" / path) for path in case["image"])
    assert np.array_equal(np.asarray(first.dataobj) + 1, second.dataobj)
    assert np.allclose(first.affine, AFFINE)


def _resized(source):
    path = source / "labelsTr/organ_002.nii.gz"
    nibabel.save(nibabel.load(path).slicer[1:], path)


def _tripled(source):
    path = source / "labelsTr/organ_002.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj) * 3, AFFINE), path)


FAULTS = {
    "no label": (lambda s: (s / "labelsTr/organ_002.nii.gz").unlink(), "organ_002.*skip-incompl"),
    "other grid": (_resized, r"organ_002\.nii\.gz.*11 x 12 x 6 instead of 12 x 12 x 6"),
    "values": (_tripled, r"labelsTr/organ_002\.nii\.gz.*holds 3, 6"),
    "broken": (
        lambda s: (s / "imagesTr/organ_001.nii.gz").write_bytes(b"<html>"),
        r"imagesTr/organ_001\.nii\.gz: it is a web page",
    ),
    "no json": (lambda s: (s / "dataset.json").unlink(), "no dataset.json"),
    "nnU-Net": (
        lambda s: (s / "dataset.json").write_text('{"channel_names": {"0": "CT"}}'),
        "prepare nnunet",
    ),
}


def _entry(**changes):
    return {"training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"} | changes]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": {"0": "background", "1": "organ", "01": "tumour"}}, "one value"),
        ({"labels": {"0": "background", "1": "organ", "2": None}}, "'2': None.*a name"),
        ({"labels": {"0": "background", "1": ["organ"], "2": "tumour"}}, "a name"),
        (_entry(label=None), "'label': None"),
        (_entry(image=["imagesTr/a.nii.gz"]), '"image" as a path'),
        ({"training": ["imagesTr/a.nii.gz"]}, "lists 'imagesTr"),
        (_entry(image="imagesTr\\a.nii.gz"), r"write / instead of \\"),
        ({"modality": {"0": "CT", "1": "PET"}}, "2 names.*dataset.json"),
    ],
)
def test_a_faulty_description_is_refused(tmp_path, change, reason):
    source = _task(tmp_path / "in", [1, 2])
    content = json.loads((source / "dataset.json").read_text())
    (source / "dataset.json").write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=reason):
        plan_msd(source, Options(modality="CT"))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_task_is_refused(tmp_path, fault):
    spoil, reason = FAULTS[fault]
    source = _task(tmp_path / "in", [1, 2, 3])
    spoil(source)
    with pytest.raises(InputError, match=reason):
        plan_msd(source, Options())
    if fault == "no label":
        dataset = plan_msd(source, Options(), skip_incomplete=True)
        assert [each.name for each in dataset.sources] == ["organ_001", "organ_003"]


def test_files_and_numbers_that_do_not_fit_the_description_are_noted(tmp_path):
    source = _task(tmp_path / "in", [1, 2], numTraining=3)
    shutil.copy(source / "imagesTr/organ_001.nii.gz", source / "imagesTr/organ_004.nii.gz")
    number, file, _ = plan_msd(source, Options()).notes
    assert "3 cases" in number
    assert "left out 1 files" in file
    assert "organ_004" in file
