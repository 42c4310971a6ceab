"""The promises of `predict`, kept through the real command line."""

import json
import os
import shutil
import subprocess
import threading
from importlib.util import find_spec
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from commands import refusal
from ct_dicom import write_dicom_series
from picture_dicom import write_picture
from PIL import Image
from small_cases import (
    EYE,
    PANCREAS,
    ct,
    ct_volume,
    masks_of_the_bundle,
    photograph,
    predict,
    report,
    statuses,
)

from pipeline.datasets.dicom.series import write_nifti
from pipeline.prediction import runner
from pipeline.prediction.case import _measure
from pipeline.transforms.regions import Regions


def test_photographs_get_the_masks_of_the_bundle_and_their_ratio(eye, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    runtime = "openvino" if find_spec("openvino") else "torch"
    photograph(tmp_path / "im/œil de l'été 1.png")
    photograph(tmp_path / "im/b.c.tif", size=(31, 70), seed=1)
    with Image.open(tmp_path / "im/b.c.tif") as picture:
        write_picture(tmp_path / "im/d.dcm", np.asarray(picture))
    output = tmp_path / "out put"
    options = ("--bundle", EYE, "--checkpoint", eye, "--runtime", runtime)
    predict(tmp_path / "im", *options, "--output", output)
    known = masks_of_the_bundle(EYE, eye, tmp_path / "im", tmp_path / "bundle")
    cases = report(output)["cases"]
    assert [case["name"] for case in cases] == ["b.c", "d", "œil de l'été 1"]
    assert cases[1]["area_px"] == cases[0]["area_px"]
    for case in cases:
        assert case["runtime"] == runtime
        assert case["outputs"] == [f"{case['name']}_seg.png"]
        mask = np.asarray(Image.open(output / case["outputs"][0]))
        assert np.array_equal(mask, np.asarray(Image.open(known / case["outputs"][0])))
        cup, disc = mask == 2, mask >= 1
        assert case["area_px"] == {"optic_disc": disc.sum(), "optic_cup": cup.sum()}
        heights = [np.ptp(np.flatnonzero(each.any(axis=1))) + 1 for each in (cup, disc)]
        assert case["vertical_cdr"] == pytest.approx(heights[0] / heights[1], abs=1e-4)


def test_a_bundle_that_names_no_disc_and_cup_reports_no_ratio(eye, tmp_path):
    """A slice in a volume's file is a picture, too."""
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    grey = Image.open(photograph(folder / "1.png")).convert("L")
    grey.save(folder / "1.png")
    affine = np.array([[0, 2, 0, 5], [-3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    for name, array in ((("s"), np.asarray(grey).T[..., None]), ("v", np.zeros((4, 4, 4)))):
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    options = ("--bundle", EYE, "--checkpoint", eye, "--output", output)
    predict(folder, *options, "--set", "vertical_cdr=[]")
    cases, left_out = (report(output)[key] for key in ("cases", "left_out"))
    assert [case["outputs"] for case in cases] == [
        ["1_seg.png"],
        ["s_seg.png", "s_seg.nii.gz"],
    ]
    assert cases[0]["area_px"] == cases[1]["area_px"]
    assert all("vertical_cdr" not in case for case in cases)
    assert "v.nii.gz" in str(left_out)
    own = nibabel.load(output / "s_seg.nii.gz")
    assert np.array_equal(own.dataobj[..., 0].T, Image.open(output / "1_seg.png"))
    assert np.array_equal(own.affine, affine)


def test_a_disc_without_a_cup_has_no_ratio():
    regions = Regions({"disc": [1, 2], "cup": [2]})
    model = SimpleNamespace(config={"vertical_cdr": ["disc", "cup"]})
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    measured = _measure(mask, None, model, regions)
    assert measured == {"area_px": {"disc": 100, "cup": 0}, "vertical_cdr": None}
    mask[8:12, 8:12] = 2
    assert _measure(mask, None, model, regions)["vertical_cdr"] == 0.4


def test_the_training_says_its_bundle_and_an_evaluation_the_postprocessing(eye, tmp_path, capsys):
    run, image = shutil.copytree(eye, tmp_path / "run"), photograph(tmp_path / "1.png")

    def area(output, *options, bundle=EYE):
        config = json.loads((eye / "config.json").read_text()) | {"bundle_folder": str(bundle)}
        (run / "config.json").write_text(json.dumps(config))
        predict(image, "--checkpoint", run, "--output", tmp_path / output, *options)
        return report(tmp_path / output)["cases"][0]["area_px"]["optic_disc"]

    usual = area("usual")
    chosen = {"threshold": 0.45, "components": {}, "dice": 0.9}
    (run / "postprocessing.json").write_text(json.dumps(chosen))
    assert area("chosen") > usual
    chosen.pop("dice")
    assert report(tmp_path / "chosen")["settings"]["chosen"] == chosen
    one = '{"optic_disc": 1, "optic_cup": 1}'
    assert area("set", "--set", "threshold=0.5", "--set", f"components={one}") == usual
    for bundle in ("", tmp_path / "gone"):
        with pytest.raises(AssertionError):
            area("none", bundle=bundle)
        error = capsys.readouterr().err
        assert error.startswith(f"error: checkpoint {run / 'model.pt'}: ")
        assert ("bundle_folder" in error) == (not bundle)
        assert str(bundle) in error
        assert "--bundle" in error


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1)], ids=["sform", "qform", "both"])
def test_a_volume_gets_the_mask_of_the_bundle_on_its_own_affine(codes, pancreas, tmp_path):
    image = nibabel.Nifti1Image(*ct_volume())
    image.set_sform(image.affine, code=codes[0])
    image.set_qform(image.affine, code=codes[1])
    image.header["descrip"] = b"a patient's name"
    (tmp_path / "ct").mkdir()
    nibabel.save(image, tmp_path / "ct/one.nii.gz")
    output = tmp_path / "out"
    options = ("--bundle", PANCREAS, "--checkpoint", pancreas, "--output", output)
    predict(tmp_path / "ct/one.nii.gz", *options)

    source = nibabel.load(tmp_path / "ct/one.nii.gz")
    mask = nibabel.load(output / "one_seg.nii.gz")
    assert np.array_equal(mask.affine, source.affine)  # bit by bit
    assert np.array_equal(mask.header.get_zooms(), source.header.get_zooms())
    assert mask.get_data_dtype() == np.uint8
    assert b"patient" not in mask.header.binaryblock
    known = masks_of_the_bundle(PANCREAS, pancreas, tmp_path / "ct", tmp_path / "bundle")
    voxels = np.asarray(mask.dataobj)
    assert np.array_equal(voxels, nibabel.load(known / "one_seg.nii.gz").dataobj)
    (case,) = report(output)["cases"]
    ml = np.prod(source.header.get_zooms()) / 1000
    assert case["volume_ml"] == {
        "pancreas": pytest.approx((voxels > 0).sum() * ml, rel=1e-4),
        "tumour": pytest.approx((voxels == 2).sum() * ml, rel=1e-4),
    }
    assert 0 < case["volume_ml"]["tumour"] < case["volume_ml"]["pancreas"]


def test_the_preprocessing_says_whether_the_values_are_hounsfield_units(pancreas, tmp_path, capsys):
    image = nibabel.Nifti1Image(ct_volume()[0].astype(np.float32) + 1000, ct_volume()[1])
    nibabel.save(image, tmp_path / "mr.nii.gz")
    options = ("--bundle", PANCREAS, "--checkpoint", pancreas, "--output", tmp_path / "out")
    predict(tmp_path / "mr.nii.gz", *options, code=1)
    assert "--modality" in capsys.readouterr().out
    predict(tmp_path / "mr.nii.gz", *options, "--set", "modality=MR")
    assert statuses(tmp_path / "out") == {"mr": "done"}


def test_dicom_gets_the_mask_of_its_nifti_and_a_segmentation(pancreas, tmp_path):
    import pydicom

    hu, _ = ct_volume()
    affine = np.diag([-4.0, -4, 5, 1])  # which NIfTI and DICOM both hold exactly
    write_dicom_series(tmp_path / "in/a/dicom", hu, affine, patient="p1")
    write_dicom_series(tmp_path / "in/a/dicom", hu[::-1], affine, patient="p1", number=2)
    write_dicom_series(tmp_path / "in/b", hu, affine, patient="p2", description="other")
    scouts = write_dicom_series(tmp_path / "in/b", hu[..., :1], affine, patient="p2", number=7)
    header = pydicom.dcmread(scouts[0])
    header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    header.save_as(scouts[0])
    write_nifti(tmp_path / "in/same.nii", hu, affine)
    output = tmp_path / "in/out"  # below the input
    options = ("--bundle", PANCREAS, "--checkpoint", pancreas, "--output", output)
    predict(tmp_path / "in", *options)
    predict(tmp_path / "in", *options)
    names = ("p1_1", "p1_2", "p2", "same")
    assert statuses(output) == dict.fromkeys(names, "skipped")

    same = nibabel.load(output / "same_seg.nii.gz")
    of_series = nibabel.load(output / "p2_seg.nii.gz")
    assert np.allclose(of_series.affine, same.affine, atol=1e-4)
    assert np.array_equal(of_series.dataobj, same.dataobj)
    segmentation = pydicom.dcmread(output / "p2_seg.dcm")
    mask = np.asarray(same.dataobj)
    assert segmentation.Modality == "SEG"
    # The pancreas has the tumour inside it.
    assert segmentation.pixel_array.sum() == (mask > 0).sum() + (mask == 2).sum()
    assert {"p1_1_seg.dcm", "p1_2_seg.dcm"} <= {path.name for path in output.iterdir()}


def test_a_series_that_no_segmentation_can_refer_to_gets_its_nifti_and_a_note(
    pancreas, tmp_path, capsys
):
    import pydicom

    hu, _ = ct_volume()
    for path in write_dicom_series(tmp_path / "in", hu, np.diag([-4.0, -4, 5, 1]), patient="p"):
        header = pydicom.dcmread(path)
        del header.FrameOfReferenceUID
        header.save_as(path)
    options = ("--bundle", PANCREAS, "--checkpoint", pancreas, "--output", tmp_path / "out")
    predict(tmp_path / "in", *options)
    assert "no DICOM SEG" in capsys.readouterr().out
    (case,) = report(tmp_path / "out")["cases"]
    assert (case["status"], case["outputs"]) == ("done", ["p_seg.nii.gz"])
    assert "FrameOfReferenceUID" in case["note"]
    predict(tmp_path / "in", *options)
    assert statuses(tmp_path / "out") == {"p": "skipped"}


def test_a_mask_of_another_checkpoint_does_not_outlive_a_failure(eye, tmp_path):
    one, two = photograph(tmp_path / "im/1.png"), photograph(tmp_path / "im/2.png", seed=2)
    output, whole = tmp_path / "out", two.read_bytes()
    options = (one, two, "--bundle", EYE, "--checkpoint", eye, "--output", output)
    other = (*options, "--set", "roi_size=[48, 48]")
    predict(*options)
    two.write_bytes(whole[:50])
    predict(*other, "--overwrite", code=1)
    assert statuses(output) == {"1": "done", "2": "failed"}
    assert not (output / "2_seg.png").exists()
    two.write_bytes(whole)
    predict(*other)
    assert statuses(output) == {"1": "skipped", "2": "done"}


def test_a_mask_that_is_still_right_outlives_a_failure(eye, tmp_path, monkeypatch):
    def fails(*arguments):
        raise ValueError("no memory")

    image, output = photograph(tmp_path / "1.png"), tmp_path / "out"
    options = (image, "--bundle", EYE, "--checkpoint", eye, "--output", output)
    predict(*options)
    mask = (output / "1_seg.png").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.prediction.runner.segment", fails)
        predict(*options, "--overwrite", code=1)
        assert (output / "1_seg.png").read_bytes() == mask
        predict(*options, code=1)  # tried again, and not taken for somebody else's
        assert "no memory" in report(output)["cases"][0]["error"]
    predict(*options)
    assert statuses(output) == {"1": "done"}
    assert (output / "1_seg.png").read_bytes() == mask


def test_the_next_image_is_read_beside_the_network(eye, tmp_path, monkeypatch, capsys):
    events = {f"{number}": threading.Event() for number in range(4)}
    open_now, most = set(), []
    prepare, segment, write = runner.prepare, runner.segment, runner.write

    def read(case, *more):
        open_now.add(case.name)
        most.append(len(open_now))
        events[case.name].set()
        return prepare(case, *more)

    def run(case, *more):
        following = events.get(f"{int(case.name) + 1}")
        assert following is None or following.wait(60)
        if case.name == "1":
            open_now.remove("1")
            raise ArithmeticError("odd")
        return segment(case, *more)

    def keep(case, *more):
        measured = write(case, *more)
        open_now.remove(case.name)
        return measured

    for name, function in (("prepare", read), ("segment", run), ("write", keep)):
        monkeypatch.setattr(runner, name, function)
    for name in events:
        photograph(tmp_path / f"in/{name}.png")
    options = ("--bundle", EYE, "--checkpoint", eye, "--output", tmp_path / "out")
    predict(tmp_path / "in", *options, code=1)
    said = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:5]]
    assert said == [["done", "0"], ["failed", "1"], ["done", "2"], ["done", "3"]]
    assert max(most) in (2, 3)


def test_what_is_done_is_kept_and_what_is_not_is_done(eye, tmp_path):
    one, two = photograph(tmp_path / "im/a/1.png"), photograph(tmp_path / "im/b/1.png", seed=2)
    output = tmp_path / "out"
    options = ("--bundle", EYE, "--checkpoint", eye, "--output", output)
    predict(one, two, one.parent, *options)
    assert statuses(output) == {"a_1": "done", "b_1": "done"}
    times = {path.name: path.stat().st_mtime_ns for path in output.glob("*_seg.png")}

    photograph(two, seed=3)
    os.remove(output / "a_1_seg.png")
    three = photograph(tmp_path / "im/c.png")
    predict(one, two, three, *options)
    assert statuses(output) == {"a_1": "done", "b_1": "done", "c": "done"}
    assert (output / "b_1_seg.png").stat().st_mtime_ns > times["b_1_seg.png"]
    predict(one, two, three, *options)
    assert set(statuses(output).values()) == {"skipped"}
    whole = two.read_bytes()
    two.write_bytes(whole[:50])
    predict(one, two, three, *options, code=1)
    assert not (output / "b_1_seg.png").exists()  # it was no mask of the image that is there now
    two.write_bytes(whole)
    predict(one, two, three, *options)
    assert statuses(output) == {"a_1": "skipped", "b_1": "done", "c": "skipped"}
    assert all(case["area_px"] for case in report(output)["cases"])
    predict(one, two, three, *options, "--overwrite")
    assert set(statuses(output).values()) == {"done"}
    assert len(list(output.glob("report-*.json"))) == 6
    assert [path.suffix for path in (output / ".predict").iterdir() if path.stem != "lock"] == [
        ".json"
    ] * 3


def test_nothing_is_mixed_up_or_overwritten(eye, tmp_path, capsys):
    one, two = photograph(tmp_path / "a/1.png"), photograph(tmp_path / "b/1.png", seed=2)
    output = tmp_path / "out"
    options = ("--bundle", EYE, "--checkpoint", eye, "--output", output)
    predict(one, *options)
    before = (output / "1_seg.png").read_bytes()
    predict(two, *options, code=1)
    assert str(one) in capsys.readouterr().out
    predict(one, *options, "--set", "roi_size=[48, 48]", code=1)
    assert f"error: {output}: it holds 1 " in capsys.readouterr().err
    predict(two.rename(tmp_path / "b/2.png"), *options, "--set", "roi_size=[48, 48]", code=1)
    assert f"error: {output}: it holds 1 " in capsys.readouterr().err
    (output / "own_seg.png").write_text("drawn by hand")
    predict(photograph(tmp_path / "own.png"), *options, code=1)
    predict(tmp_path / "own.png", *options, code=1)
    assert f"{output / 'own_seg.png'} " in capsys.readouterr().out
    assert (output / "own_seg.png").read_text() == "drawn by hand"
    assert (output / "1_seg.png").read_bytes() == before
    predict(output, *options, code=1)
    assert f"--output {output}" in capsys.readouterr().err


def bad_volumes(folder):
    """Files that cannot be segmented, each with what is to be said of it."""
    hu, affine = ct_volume()
    whole = ct(folder / "truncated.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "no nifti.nii").write_bytes(b"hello")

    def save(name, voxels):
        nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / name)

    nan = hu.astype(np.float32)
    nan[3, 4, 5] = np.nan
    save("nan.nii.gz", nan)
    save("one slice.nii.gz", hu[..., :1])
    save("4d.nii.gz", np.stack([hu, hu], axis=-1))
    rgb = np.zeros(hu.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    save("rgb.nii.gz", rgb)
    save("not hu.nii.gz", (hu + 1000).astype(np.uint16))
    blank = nibabel.Nifti1Image(hu, np.eye(4))
    blank.set_sform(np.diag([0.0, 1, 1, 1]), code=1)
    nibabel.save(blank, folder / "größe 0 \N{PILE OF POO}.nii.gz")
    write_dicom_series(folder / "empty", hu, affine, patient="empty")
    for file in sorted((folder / "empty").iterdir())[1:]:
        file.unlink()
    return {
        "truncated": "cut off",
        "no nifti": "cannot be read",
        "nan": "holds 1 voxels",
        "one slice": "has 1 slice",
        "4d": "is 4D: 22 x 20 x 18 x 2",
        "rgb": "RGB",
        "not hu": "Hounsfield units: 0 to ",
        "größe 0 \N{PILE OF POO}": "0 x 1 x 1 mm",
        "empty": "two or more",
    }


def test_bad_volumes_are_told_in_a_line_each_and_the_others_done(pancreas, tmp_path, capsys):
    folder = tmp_path / "in put é"
    expected = bad_volumes(folder) | {"nothing": "nothing", "note": "note.txt"}
    ct(folder / "z good.nii.gz")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "note.txt").write_text("hello")
    output = tmp_path / "out"
    inputs = (tmp_path / "nothing", folder, tmp_path / "note.txt")
    options = ("--bundle", PANCREAS, "--checkpoint", pancreas, "--output", output)
    predict(*inputs, *options, code=1)
    said = capsys.readouterr()
    lines = {line.split("  ")[1]: line for line in said.out.splitlines() if line[:6] == "failed"}
    cases = {case["name"]: case for case in report(output)["cases"]}
    assert cases.keys() - lines.keys() == {"z good"}
    assert cases["z good"]["status"] == "done"
    lines["note"], cases["note"] = lines["note.txt"], cases["note.txt"]
    for name, words in expected.items():
        assert words in lines[name], name
        assert words in cases[name]["error"]
        assert cases[name]["status"] == "failed"
        assert str(tmp_path) in lines[name]  # the file
    (error,) = said.err.strip().splitlines()
    assert error.startswith(f"error: {len(expected)} of {len(expected) + 1} failed: ")
    assert [path.name for path in output.glob("[!.]*") if "report" not in path.name] == [
        "z good_seg.nii.gz"
    ]

    # What failed is tried again.
    ct(folder / "nan.nii.gz")
    predict(folder / "nan.nii.gz", *options)
    assert statuses(output) == {"nan": "done"}


def test_bad_photographs_too(eye, tmp_path, capsys):
    cut = photograph(tmp_path / "im/cut.png")
    cut.write_bytes(cut.read_bytes()[:1000])
    (tmp_path / "im/text.jpg").write_text("hello")
    Image.new("RGB", (40, 30), "white").save(tmp_path / "im/white.bmp")
    pages = [Image.open(photograph(tmp_path / "pages/a.png")), Image.new("RGB", (9, 9))]
    pages[0].save(tmp_path / "im/pages.tif", save_all=True, append_images=pages[1:])
    photograph(tmp_path / "im/good.jpeg")
    mask = Image.fromarray(np.eye(40, dtype=np.uint8))
    mask.save(tmp_path / "im/mask.png")
    photograph(tmp_path / "im/line.png", size=(9000, 2))
    predict(
        tmp_path / "im", "--bundle", EYE, "--checkpoint", eye, "--output", tmp_path / "o", code=1
    )
    failed = dict.fromkeys(("cut", "text", "white", "pages"), "failed")
    done = dict.fromkeys(("good", "mask", "line"), "done")
    assert statuses(tmp_path / "o") == {**failed, **done}
    notes = {
        each["name"]: each["note"] for each in report(tmp_path / "o")["cases"] if "note" in each
    }
    assert notes.keys() == {"mask"}
    assert "0, 1" in notes["mask"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed")]
    assert all(str(tmp_path / "im") in line for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bundle", "nowhere"], "nowhere/configs/inference.json"),
        (["--checkpoint", "nowhere.pt"], "checkpoint nowhere.pt"),
        (["--set", "roi_siez=[9,9]"], "did you mean roi_size?"),
        (["--set", "roi_size"], "id=value"),
        (["--set", "ckpt_path=other.pt"], "--checkpoint"),
        (["--set", "dataset_dir=images"], "INPUT"),
        (["--set", "roi_size=2"], "roi_size is 2"),
        (
            ["--set", "postprocessing#transforms#99#threshold=1"],
            "transforms#99#threshold",
        ),
        (["--config", "no.json"], "config no.json"),
        (["--set", "channels=[4, 16]"], "checkpoint"),
        (["--set", "inferer#_target_=pipeline.Nothing"], "inferer of "),
        (["--output", "a file"], "a file"),
        (["--output", "a file/in it"], "a file/in it"),
    ],
)
def test_a_fault_in_the_arguments_ends_with_one_line(
    options, message, eye, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    image = photograph(tmp_path / "1.png")
    given = ["--bundle", EYE, "--checkpoint", eye, "--output", "out"]
    assert message in refusal(capsys, "predict", image, *given, *options)
    assert not list(tmp_path.rglob("*_seg*"))


def test_what_a_transform_raises_is_told_without_the_words_of_monai(eye, tmp_path, capsys):
    image = photograph(tmp_path / "1.png")
    options = ("--bundle", EYE, "--checkpoint", eye, "--output", tmp_path / "o")
    predict(image, *options, "--set", "preprocessing#transforms#3#mode=sideways", code=1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line[:6] == "failed"]
    assert line.startswith(f"failed  1  {image}: ")
    assert "sideways" in line
    assert "applying transform" not in line


def test_overlays_and_overrides_come_after_the_training(eye, tmp_path):
    (tmp_path / "own.json").write_text('{"roi_size": [64, 64], "channels": [4, 16]}')
    image = photograph(tmp_path / "1.png")
    options = ("--bundle", EYE, "--checkpoint", eye / "model.pt", "--output", tmp_path / "o")
    more = ("--config", tmp_path / "own.json", "--set", "channels=[4, 8]", "--set", "amp=false")
    predict(image, *options, *more)
    settings = report(tmp_path / "o")["settings"]
    assert settings["set"] == ["channels=[4, 8]", "amp=false"]
    assert settings["training"] == str(eye / "config.json")
    plain = tmp_path / "plain"
    predict(image, *options[:4], "--output", plain)
    masks = [np.asarray(Image.open(folder / "1_seg.png")) for folder in (tmp_path / "o", plain)]
    assert not np.array_equal(*masks)


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(pancreas, tmp_path, capsys):
    """On a real file system that has room for about half of the masks."""
    for number in range(5):
        ct(tmp_path / f"in/{number}.nii.gz", seed=number, shape=(48, 48, 40))
    options = (tmp_path / "in", "--bundle", PANCREAS, "--checkpoint", pancreas)
    predict(*options, "--output", tmp_path / "large")
    masks = sorted((tmp_path / "large").glob("*.nii.gz"))
    pages = 2 * (masks[0].stat().st_size // 4096 + 2) + 6  # 4 KiB each; a record and more per case
    output = tmp_path / "small"
    output.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * pages}k", "tmpfs", str(output)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        predict(*options, "--output", output, code=1)
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "No space left on device" in line
        whole = sorted(output.glob("*.nii.gz"))
        assert 0 < len(whole) < len(masks)
        for path, mask in zip(whole, masks, strict=False):
            assert np.array_equal(nibabel.load(path).dataobj, nibabel.load(mask).dataobj)
        assert {path.suffix for path in (output / ".predict").iterdir()} <= {"", ".json"}
        json.loads(next(output.glob("report-*.json")).read_text())
        more = ["mount", "-o", f"remount,size={400 * pages}k", str(output)]
        subprocess.run(more, check=True)
        predict(*options, "--output", output)
        assert len(list(output.glob("*.nii.gz"))) == len(masks)
    finally:
        subprocess.run(["umount", str(output)], check=True)
