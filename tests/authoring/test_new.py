"""A bundle made for a dataset: what is measured, written and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.authoring.cases import measure_case, measure_region
from pipeline.authoring.choices import choose
from pipeline.authoring.fingerprint import take_fingerprint
from pipeline.authoring.memory import Device
from pipeline.authoring.new import make_bundle
from pipeline.authoring.write import file_text
from pipeline.bundle.configs import Config
from pipeline.errors import InputError
from pipeline.experiments.plan import read_plan
from pipeline.packaging.card import SECTIONS

from ..support.small_cases import BUNDLES, EYE, PANCREAS, ct_volume

# Ids of a bundle that are not chosen from the images.
PLACE = {"dataset_dir", "datalist", "experiment_name", "run_name"}
LABELLED = {"regions", "background", "ignore_label", "modality", "channel_names", "components"}
SHARED = {"percentiles", "roi_size", "patch_size", "flip", "channels", "strides", "threshold"}
LENGTH = {"batch_size", "epochs", "warmup_epochs", "val_interval"}
PICTURES = {"focus", "radial_prob", "field_prob", "vertical_cdr", "scales"}
VOLUMES = {"spacing", "hu_window", "foreground_above", "margin", "rotate", "warp", "lr"}


def describe(folder: Path, suffix: str, **about) -> Path:
    """Write the datalist of ten cases."""
    cases = [
        {"image": f"images/{n}{suffix}", "label": f"labels/{n}{suffix}", "patient": str(n)}
        for n in range(10)
    ]
    content = {
        "name": "ten",
        **about,
        "training": [c | {"fold": n % 5} for n, c in enumerate(cases)],
    }
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    """Photographs with a disc of 40 px, and a cup in it."""
    folder = tmp_path_factory.mktemp("eyes")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    across, down = np.meshgrid(np.arange(120), np.arange(100))
    for n in range(10):
        noise = np.random.default_rng(n).integers(0, 255, (100, 120, 3), np.uint8)
        far = np.hypot(across - 60, down - 50)
        mask = (far < 20).astype(np.uint8) + (far < 10)
        Image.fromarray(noise).save(folder / f"images/{n}.png")
        Image.fromarray(mask).save(folder / f"labels/{n}.png")
    shipped = json.loads((EYE / "configs/train.json").read_text())
    return describe(
        folder,
        ".png",
        modality="photograph",
        channel_names=["red", "green", "blue"],
        labels={"0": "background", "1": "disc_rim", "2": "optic_cup"},
        regions=shipped["regions"],
    )


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    """CTs of a body with an organ, on oblique and turned axes."""
    import nibabel

    folder = tmp_path_factory.mktemp("bodies")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for n in range(10):
        hu, affine = ct_volume(n)
        mask = np.zeros(hu.shape, np.uint8)
        mask[8:14, 8:13, 6:10] = 1
        hu[mask > 0] = 100
        for name, array in (("images", hu), ("labels", mask)):
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / name / f"{n}.nii.gz")
    return describe(
        folder,
        ".nii.gz",
        modality="CT",
        channel_names=["CT"],
        labels={"0": "background", "1": "pancreas"},
        regions={"pancreas": [1]},
    )


@pytest.mark.parametrize(
    ("dataset", "shipped", "chosen"), [("eyes", EYE, PICTURES), ("bodies", PANCREAS, VOLUMES)]
)
def test_a_new_bundle_differs_from_the_shipped_one_in_named_ids_only(
    dataset, shipped, chosen, request, tmp_path
):
    made = tmp_path / "own"
    make_bundle(request.getfixturevalue(dataset), output=made, memory=16)
    allowed = PLACE | LABELLED | SHARED | LENGTH | chosen
    for name in ("train", "inference", "evaluate"):
        old, new = (
            json.loads((each / f"configs/{name}.json").read_text()) for each in (shipped, made)
        )
        assert list(old) == list(new)
        assert {key for key in old if old[key] != new[key]} <= allowed, name
        texts = [(each / f"configs/{name}.json").read_text() for each in (shipped, made)]
        assert len({len(text.splitlines()) for text in texts}) == 1
    for path in (made / "configs").rglob("*.*"):
        name = path.relative_to(made)
        if name.name not in ("train.json", "inference.json", "evaluate.json", "metadata.json"):
            assert path.read_text() == (shipped / name).read_text(), name
    names = {path.name for path in (made / "configs").iterdir()}
    assert not {"article.json", "demo.json", "small_images.json", "tumour.json"} & names
    assert {"multi_gpu.json", "resume.json", "networks"} <= names
    card = (made / "docs/README.md").read_text()
    assert all(f"# {section}\n" in card for section in SECTIONS)
    metadata = [json.loads((b / "configs/metadata.json").read_text()) for b in (shipped, made)]
    assert metadata[0].keys() == metadata[1].keys()
    plan = read_plan(made / "plans/networks.json")
    assert (plan.folds, plan.bundle) == ([0, 1, 2, 3, 4], str(made))


def test_it_is_measured_in_the_image_and_its_body(bodies, tmp_path):
    make_bundle(bodies, output=tmp_path / "own", memory=16)
    found = json.loads((tmp_path / "own/docs/fingerprint.json").read_text())
    assert found["size"]["median"] == [22, 20, 18]
    assert all(c < n for c, n in zip(found["cropped_size"]["max"], [22, 20, 18], strict=True))
    assert found["spacing"]["median"] == [4.1, 3.9, 5.3]
    assert found["intensity"]["foreground"] == [100, 100, 100]
    organ = found["regions_measured"]["pancreas"]
    assert organ["amount"]["median"] == pytest.approx(6 * 5 * 4 * 4.1 * 3.9 * 5.3 / 1000, rel=1e-3)
    assert (organ["cases"], organ["parts"]) == (10, {"1": 10})


def test_the_channels_of_one_file_are_measured_as_those_of_several(tmp_path):
    import nibabel

    voxels = np.random.default_rng(0).normal(0, 1, (6, 5, 4, 2)).astype(np.float32)
    mask = (voxels[..., 0] > 0).astype(np.uint8)
    affine = np.diag([-1.0, 2, 3, 1])
    arrays = {"both": voxels, "a": voxels[..., 0], "b": voxels[..., 1], "mask": mask}
    paths = {name: tmp_path / f"{name}.nii.gz" for name in arrays}
    for name, array in arrays.items():
        nibabel.save(nibabel.Nifti1Image(array, affine), paths[name])
    options = {"channels": 2, "modality": "MR", "threshold": None, "spatial_dims": 3}
    one, two = (
        measure_case(images, paths["mask"], regions={"r": [1]}, **options)
        for images in ([paths["both"]], [paths["a"], paths["b"]])
    )
    assert (one.size, one.spacing) == ([6, 5, 4], [1, 2, 3])
    np.testing.assert_array_equal(one.foreground, two.foreground)
    np.testing.assert_array_equal(np.sort(one.foreground), np.sort(voxels[mask > 0].ravel()))
    with pytest.raises(InputError, match="2 channels, not 1"):
        measure_case(
            [paths["both"]], paths["mask"], regions={"r": [1]}, **options | {"channels": 1}
        )


def test_the_thickness_of_a_strip_is_its_width_and_diagonal_voxels_are_connected():
    strip = np.zeros((64, 64), bool)
    strip[20:30, 2:62] = True
    found = measure_region(strip, [1, 1])
    assert found.thickness == pytest.approx(10, rel=0.15)
    assert (found.parts, found.extent) == (1, [10 / 64, 60 / 64])
    assert found.amount == pytest.approx(600 / 4096)
    assert measure_region(np.eye(8, dtype=bool), [1, 1]).parts == 1
    assert measure_region(np.diag([1, 0, 1, 0]).astype(bool), [1, 1]).parts == 2


def test_with_one_fold_all_cases_are_trained_on(bodies, tmp_path, capsys):
    content = json.loads((bodies / "datalist.json").read_text())
    one = [case | {"fold": 0} for case in content["training"]]
    (bodies / "one.json").write_text(json.dumps(content | {"training": one}))
    make_bundle(bodies / "one.json", output=tmp_path / "own")
    told = capsys.readouterr().out
    assert "--fold all --section training" in told
    assert "experiment run" not in told
    ids = Config.read(tmp_path / "own/configs/train.json").content
    assert (ids["fold"], ids["datalist"]) == ("all", "$@dataset_dir + '/one.json'")
    plan = read_plan(tmp_path / "own/plans/networks.json")
    assert (plan.folds, plan.evaluate.section) == (["all"], "testing")


def test_fewer_regions_leave_the_other_labels_to_the_background(eyes, tmp_path, capsys):
    make_bundle(eyes, output=tmp_path / "own", regions='{"cup": [2]}', dry_run=True)
    assert not (tmp_path / "own").exists()
    make_bundle(eyes, output=tmp_path / "own", regions='{"cup": [2]}', memory=16)
    ids = Config.read(tmp_path / "own/configs/train.json").content
    assert (ids["regions"], ids["background"]) == ({"cup": [2]}, [0, 1])
    assert (ids["vertical_cdr"], ids["radial_prob"]) == ([], 0)
    assert "configs/train.json" in capsys.readouterr().out


def test_thin_regions_need_a_level_less(eyes):
    found, device = take_fingerprint(eyes / "datalist.json"), Device(16, "test")
    wide = {each.id: each.value for each in choose(found, device)}
    found["regions_measured"]["optic_cup"]["thickness"]["median"] = 1
    thin = {each.id: each.value for each in choose(found, device)}
    assert len(thin["strides"]) == len(wide["strides"]) - 1 == len(thin["channels"]) - 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"regions": "{cup: 2}"}, "--regions"),
        ({"regions": '{"cup": [7]}'}, r"--regions .*7"),
        ({"memory": 0}, "--memory 0"),
        ({"output": Path("a b")}, "--output"),
    ],
)
def test_what_does_not_fit_is_named(eyes, options, match, tmp_path):
    with pytest.raises(InputError, match=match):
        make_bundle(eyes, **{"output": tmp_path / "own"} | options)


def test_nothing_is_overwritten_and_a_datalist_must_say_what_it_is(eyes, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/notes.txt").touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        make_bundle(eyes, output=tmp_path / "own")
    content = json.loads((eyes / "datalist.json").read_text())
    for name in ("modality", "channel_names", "regions"):
        bare = tmp_path / f"{name}.json"
        bare.write_text(json.dumps({k: v for k, v in content.items() if k != name}))
        with pytest.raises(InputError, match=f'"{name}"'):
            make_bundle(bare, output=tmp_path / "new")


@pytest.mark.parametrize("path", sorted(BUNDLES.glob("*/configs/**/*.json")), ids=str)
def test_files_are_laid_out_as_those_that_ship(path):
    text = path.read_text()
    assert file_text(json.loads(text)) == text
