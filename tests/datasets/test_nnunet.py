import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from pipeline.bundle.listing import read_datalist
from pipeline.datasets.describing import Options
from pipeline.datasets.importing import write_sources
from pipeline.datasets.nnunet import plan_nnunet
from pipeline.errors import InputError

CASES = ["a", "b", "c", "d"]


def _dataset(root, *, ending=".nii.gz", channels=("T1", "T2"), files=2, **changes):
    """Four cases of an organ, a part inside it, and voxels that nobody looked at."""
    labels = {"background": 0, "organ": [1, 2], "part": 2, "ignore": 3}
    names = {str(number): name for number, name in enumerate(channels)}
    content = {"channel_names": names, "labels": labels, "file_ending": ending} | changes
    rng = np.random.default_rng(0)
    for split, cases in (("Tr", CASES), ("Ts", ["e"])):
        for folder in ("images", "labels"):
            (root / f"{folder}{split}").mkdir(parents=True)
        for case in cases:
            label = np.zeros((9, 8, 6), np.uint8)
            label[2:6, 2:6, 2:4], label[3, 3, 2], label[0] = 1, 2, 3
            image = rng.normal(100, 30, label.shape).astype(np.float32)
            paths = [root / f"images{split}/{case}_{n:04d}{ending}" for n in range(files)]
            for path in [*paths, root / f"labels{split}/{case}{ending}"]:
                voxels = label if path.parent.name.startswith("labels") else image
                _save(path, voxels)
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def _save(path, voxels):
    if path.suffix == ".png":
        picture = voxels[..., 2]
        if path.parent.name.startswith("images"):
            picture = np.stack([picture.astype(np.uint8)] * 3, -1)
        Image.fromarray(picture).save(path)
    elif path.suffix == ".nrrd":
        sitk = pytest.importorskip("SimpleITK")
        image = sitk.GetImageFromArray(voxels.T)
        image.SetSpacing((0.7, 0.8, 2.5))
        image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
        sitk.WriteImage(image, str(path))
    else:
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 2, 1])), path)


def _write(source, output, **options):
    return write_sources(plan_nnunet(source, Options(**options)), output)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_channels_regions_splits_and_test_cases_are_kept(tmp_path, ending):
    source = _dataset(tmp_path / "raw/Dataset007_Organ", ending=ending)
    splits = [{"train": ["a", "c"], "val": ["b", "d"]}, {"train": ["b", "d"], "val": ["a", "c"]}]
    (source / "splits_final.json").write_text(json.dumps(splits))
    datalist = _write(tmp_path / "raw", tmp_path / "out")
    content = read_datalist(datalist)
    assert content["name"] == "Dataset007_Organ"
    assert (content["modality"], content["channel_names"]) == ("MR", ["T1", "T2"])
    assert content["regions"] == {"organ": [1, 2], "part": [2]}
    assert content["labels"]["2"] == "part"
    assert content["ignore_label"] == 3
    assert {c["patient"]: c["fold"] for c in content["training"]} == {
        "a": 1,
        "b": 0,
        "c": 1,
        "d": 0,
    }
    assert [case["patient"] for case in content["testing"]] == ["e"]
    assert content["testing"][0]["image"] == ["images/e_0000.nii.gz", "images/e_0001.nii.gz"]
    label = nibabel.load(tmp_path / "out/labels/a.nii.gz")
    assert np.unique(label.dataobj).tolist() == [0, 1, 2, 3]
    if ending == ".nrrd":  # LPS in ITK, RAS in NIfTI
        expected = np.array([[0, -0.8, 0], [-0.7, 0, 0], [0, 0, -2.5]])
        assert np.allclose(label.affine[:3, :3], expected)


def test_pictures_in_colour_are_one_file_of_three_channels(tmp_path):
    source = _dataset(tmp_path / "in", ending=".png", channels=("R", "G", "B"), files=1)
    content = read_datalist(_write(source, tmp_path / "out"))
    assert (content["modality"], content["channel_names"]) == ("photograph", ["R", "G", "B"])
    assert content["training"][0]["image"] == "images/a.png"
    assert np.unique(Image.open(tmp_path / "out/labels/a.png")).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": {"background": 0, "a": [1, 2], "b": [2, 3]}}, "holds|overlap"),
        ({"labels": {"background": 1, "a": 0}}, "background"),
        ({"labels": {"background": 0, "a": "1"}}, "a '1'"),
        ({"labels": {"background": 0, "a": True}}, "a True"),
        ({"file_ending": ".b2nd"}, "b2nd"),
        ({"channel_names": {"1": "T1"}}, "channels"),
        ({"channel_names": {"0": "T1", "1": "noNorm"}}, "--modality"),
        ({"channel_names": {"0": "T1"}}, "2 channels"),
        ({"dataset": {"a": {"images": ["x.nii.gz"], "label": "y.nii.gz"}}}, r"x\.nii\.gz"),
        ({"dataset": {"a": {"images": "x.nii.gz", "label": "y.nii.gz"}}}, "a list of paths"),
        ({"dataset": {"a": {"images": ["x.nii.gz"]}}}, '"label" as a path'),
        ({"dataset": [{"images": ["x.nii.gz"], "label": "y.nii.gz"}]}, '"dataset" is a list'),
    ],
)
def test_a_faulty_description_is_refused(tmp_path, change, reason):
    with pytest.raises(InputError, match=reason):
        plan_nnunet(_dataset(tmp_path / "in", **change), Options())


def test_a_scaling_that_is_not_taken_over_is_noted(tmp_path):
    source = _dataset(tmp_path / "in", channels=("noNorm", "CT"))
    (source / "imagesTr/a_0000.nii.gz").rename(source / "imagesTr/a.nii.gz")  # without its channel
    first, *others = plan_nnunet(source, Options(modality="MR"), skip_incomplete=True).notes
    assert first.startswith("CT: scaled as MR is")
    assert any(each.startswith("noNorm is not heeded") for each in others)
    (unused,) = (each for each in others if "of no case" in each)
    assert unused.startswith("left out 1 files")
    assert unused.endswith("imagesTr/a.nii.gz")


def test_splits_that_are_not_folds_are_refused(tmp_path):
    source = _dataset(tmp_path / "in")
    path = tmp_path / "splits.json"
    path.write_text(json.dumps([{"train": ["a"], "val": ["b", "c"]}, {"train": [], "val": ["c"]}]))
    with pytest.raises(InputError, match=r"splits\.json.*a in 0, c in 2, d in 0"):
        plan_nnunet(source, Options(), splits=path)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"folds": 3}, "--folds 3.*splits"),
        ({"testing": 0.5}, r"--testing 0\.5"),
        ({"patient": "([ac]|.)"}, ""),
        ({"patient": "([ac]?)"}, "nothing in b"),
    ],
)
def test_options_and_splits_do_not_contradict(tmp_path, given, reason):
    source = _dataset(tmp_path / "in")
    splits = [{"val": ["a", "b"]}, {"val": ["c", "d", "z"]}]
    (source / "splits_final.json").write_text(json.dumps(splits))
    if not reason:
        dataset = plan_nnunet(source, Options(**given))
        assert dataset.patients["a"] == "a"
        (note,) = dataset.notes
        assert note.endswith("not there: z")
        return
    with pytest.raises(InputError, match=reason):
        plan_nnunet(source, Options(**given))


def test_a_patient_in_two_parts_of_the_dataset_is_refused(tmp_path):
    source = _dataset(tmp_path / "in")
    for path in [*source.glob("*Tr/*"), *source.glob("*Ts/*")]:  # visits: p-1 trains, p-2 tests
        name = {"a": "p-1", "b": "q-1", "e": "p-2"}.get(path.name[0], path.name[0])
        path.rename(path.with_name(name + path.name[1:]))
    (note,) = plan_nnunet(source, Options()).notes
    assert "if p-1 and p-2 are of one" in note
    with pytest.raises(InputError, match=r"patient p: .*fold . and testing"):
        plan_nnunet(source, Options(patient=r"^(\w)"))
