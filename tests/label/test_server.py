"""What annotators and administrators do with the server, by its own HTTP interface."""

import gzip
import io
import pickle
import shutil
import sqlite3
import zipfile

import nibabel
import numpy as np
import pytest
import requests
import torch
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter

from pipeline.bundle.predictor import Predictor
from pipeline.bundle.quality import read_calibration
from pipeline.packaging.label_folder import restore

from .conftest import CT, EYE, MR, SECOND, dice, start, wait_for_training

LABELS = {EYE: {"disc_rim": 1, "optic_cup": 2}, CT: {"pancreas": 1}}
LABELS[MR] = {"anterior": 3, "posterior": 7}
STEMS = {EYE: "phantom_0011", CT: "ct_0011"}


@pytest.fixture(scope="module")
def server(environment, packages, phantoms, tmp_path_factory):
    """Both bundles and a second version of one, with a folder of photographs and CTs."""
    folder = tmp_path_factory.mktemp("server")
    for data in phantoms.values():
        shutil.copytree(data / "images", folder / "studies", dirs_exist_ok=True)
    photograph = Image.open(phantoms[EYE] / "images/phantom_0010.png")
    photograph.save(folder / "studies/photograph.JPG", quality=92)
    # Both channels in the only file that an image has there.
    channels = gaussian_filter(np.random.default_rng(0).normal(size=(40, 36, 30, 2)), (3, 3, 3, 0))
    mr = nibabel.Nifti1Image((1e4 * channels).astype(np.int16), np.diag([-2, -2, 3, 1]))
    nibabel.save(mr, folder / "studies/mr.nii.gz")
    with start(environment, packages, folder, folder / "studies") as running:
        yield running


def infer(server, name, image):
    """The answer to a request as 3D Slicer makes it: mask and what the server says of it."""
    answer = requests.post(f"{server.url}/infer/{name}", params={"image": image, "output": "image"})
    assert answer.status_code == 200, answer.text
    if "png" in answer.headers["content-type"]:
        return Image.open(io.BytesIO(answer.content))
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.content))


def weights(server, name):
    return server.folder / "model" / name / "models/model.pt"


def test_it_lists_the_labels_and_versions_of_all_packages(server):
    info = requests.get(f"{server.url}/info/").json()
    models = info["models"]
    for name, dimension in ((EYE, 2), (CT, 3), (MR, 3)):
        assert models[name]["labels"] == LABELS[name]
        assert (models[name]["type"], models[name]["dimension"]) == ("segmentation", dimension)
        assert models[name]["config"]["model_filename"] == ["model.pt"]
    assert (models[EYE]["version"], models[SECOND]["version"]) == ("0.1.0", "0.2.0")
    assert info["trainers"].keys() == models.keys() == {EYE, CT, SECOND, MR}


@pytest.mark.parametrize("stem", ["ct_0001", "ct_0009"])  # two that were learned
def test_a_ct_gets_the_mask_of_the_repository_on_its_own_grid(server, phantoms, segment, stem):
    image = nibabel.load(phantoms[CT] / f"images/{stem}.nii.gz")
    codes, zooms = nibabel.aff2axcodes(image.affine), image.header.get_zooms()
    assert codes != ("R", "A", "S")
    assert zooms[0] != zooms[2]
    found = infer(server, CT, stem)
    assert found.shape == image.shape
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-4)
    mask = np.asarray(found.dataobj)
    expected = segment(CT, phantoms[CT] / f"images/{stem}.nii.gz", weights(server, CT))
    assert set(np.unique(mask)) == {0, 1}
    assert dice(mask, expected, 1) > 0.99
    truth = np.asarray(nibabel.load(phantoms[CT] / f"labels/{stem}.nii.gz").dataobj)
    assert dice(mask, truth > 0, 1) > 0.4


def test_an_mr_of_two_channels_gets_its_exclusive_classes_by_their_values(server, segment):
    image = server.folder.parent / "studies/mr.nii.gz"
    found = infer(server, MR, "mr")
    assert found.shape == nibabel.load(image).shape[:3]
    np.testing.assert_allclose(found.affine, nibabel.load(image).affine, atol=1e-4)
    mask, expected = np.asarray(found.dataobj), segment(MR, image, weights(server, MR))
    assert set(np.unique(mask)) == {0, 3, 7}
    for value in LABELS[MR].values():
        assert dice(mask, expected, value) > 0.99


@pytest.mark.parametrize("suffix", ["png", "JPG"])
def test_a_photograph_gets_the_mask_of_the_repository(server, phantoms, segment, suffix):
    stem, case = ("photograph", "phantom_0010") if suffix == "JPG" else ("phantom_0011",) * 2
    image = server.folder.parent / "studies" / f"{stem}.{suffix}"
    found = infer(server, EYE, stem)
    assert (found.format, found.mode, found.size) == ("PNG", "L", Image.open(image).size)
    mask = np.asarray(found)
    expected = segment(EYE, image, weights(server, EYE))
    truth = np.asarray(Image.open(phantoms[EYE] / f"labels/{case}.png"))
    assert set(np.unique(mask)) == {0, 1, 2}
    for value in (1, 2):
        assert dice(mask, expected, value) > 0.99
        assert dice(mask, truth, value) > 0.5


@pytest.mark.parametrize("name", [EYE, CT])
def test_other_weights_would_be_noticed(server, phantoms, segment, name, tmp_path):
    """The two tests above fail for a network whose weights were not loaded."""
    torch.manual_seed(0)
    state = torch.load(weights(server, name), weights_only=True)
    for value in state.values():
        if value.is_floating_point():
            value.copy_(torch.randn_like(value).abs() * 0.1)
    torch.save(state, tmp_path / "random.pt")
    (image,) = (phantoms[name] / "images").glob(f"{STEMS[name]}.*")
    loaded, others = (
        segment(name, image, w) for w in (weights(server, name), tmp_path / "random.pt")
    )
    assert max(dice(loaded, others, value) for value in LABELS[name].values()) < 0.4


def test_two_versions_of_a_bundle_each_run_their_own_code(server):
    """The second one's code changes the values of rim and cup for each other."""
    masks = [np.asarray(infer(server, name, "phantom_0003")) for name in (EYE, SECOND) * 2]
    np.testing.assert_array_equal(masks[0], masks[2])
    np.testing.assert_array_equal(masks[1], np.array([0, 2, 1])[masks[0]])
    np.testing.assert_array_equal(masks[3], masks[1])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (EYE, ("cut.png", lambda content: content[: len(content) // 2])),
        (EYE, ("text.png", lambda content: b"no picture")),
        (CT, ("cut.nii.gz", lambda content: content[: len(content) // 2])),
        (CT, ("empty.nii.gz", lambda content: b"")),
    ],
    ids=["half a PNG", "a text", "half a NIfTI", "an empty file"],
)
def test_a_broken_image_is_an_error_and_the_server_lives(server, phantoms, name, file):
    (image,) = (phantoms[name] / "images").glob(f"{STEMS[name]}.*")
    upload = {"file": (file[0], file[1](image.read_bytes()))}
    answer = requests.post(f"{server.url}/infer/{name}", params={"output": "image"}, files=upload)
    assert answer.status_code == 500
    detail = answer.json()["detail"]
    assert f"{file[0][-4:]}: it" in detail  # the file, and what is wrong with it
    assert np.asarray(infer(server, EYE, "phantom_0003")).any()


class Pickle:
    """Writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", [".png", ".nii.gz", ".bin"])
@pytest.mark.parametrize("name", [EYE, CT])
def test_no_pickle_is_read_as_an_image(server, name, suffix, tmp_path):
    """MONAI tries NumPy's reader on what no other reader knows."""
    upload = {"file": (f"image{suffix}", pickle.dumps(Pickle(tmp_path / "ran")))}
    answer = requests.post(f"{server.url}/infer/{name}", files=upload)
    assert answer.status_code == 500
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("PUT", "/datastore/?image=../evil", {"files": {"file": ("a.png", b"x")}}, 400),
        ("PUT", "/datastore/image?image=a", {"files": {"file": ("a.json", b"{}")}}, 400),
        ("PUT", "/datastore/image?image=phantom_0001", {"files": {"file": ("a.png", b"x")}}, 409),
        (
            "PUT",
            "/datastore/label?image=phantom_0001&tag=../../..",
            {"files": {"label": ("a.png", b"x")}},
            400,
        ),
        ("PUT", "/session/?uncompress=true", {"files": {"files": ("a.png", b"x")}}, 400),
        ("PUT", f"/model/{EYE}", {"files": {"file": ("a.png", b"x")}}, 403),
        ("DELETE", "/datastore/?id=phantom_0001", {}, 403),
        ("DELETE", "/datastore/image?id=phantom_0001", {}, 403),
        ("POST", f"/infer/{EYE}", {"data": {"params": '{"image": "/etc/passwd"}'}}, 400),
        ("POST", f"/infer/{EYE}", {"data": {"params": '{"result_extension": "$1"}'}}, 400),
        ("POST", f"/infer/{EYE}?image=nosuch", {}, 404),
        ("POST", f"/train/{EYE}", {"json": {"device": "$1"}}, 400),
        ("POST", f"/train/{EYE}", {"json": {"max_epochs": {"_target_": "print"}}}, 400),
        ("POST", f"/train/{EYE}", {"json": {}}, 400),  # no label
        ("POST", f"/batch/infer/{EYE}", {"json": {"label_tag": "../a"}}, 400),
        ("POST", "/reload", {}, 404),
        ("GET", "/info/", {"headers": {"Origin": "https://evil.org"}}, 403),
        ("GET", "/info/", {"headers": {"Host": "evil.org"}}, 403),
    ],
)
def test_the_gate_is_in_front_of_every_endpoint(server, method, path, options, status):
    answer = requests.request(method, f"{server.url}{path}", **options)
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (status, False)


def test_a_batch_segments_all_it_can_and_names_the_rest(server):
    answer = requests.post(f"{server.url}/batch/infer/{EYE}?images=all", json={})
    assert answer.status_code == 200, answer.text
    task = wait_for_training(server, "batch/infer")
    objects = requests.get(f"{server.url}/datastore/?output=all").json()["objects"]
    done = {name for name, each in objects.items() if "original" in each["labels"]}
    assert done == {name for name in objects if name.startswith("ph")}
    assert task["status"] == "ERROR"
    assert f"{len(objects) - len(done)} of {len(objects)} images failed" in task["details"][-1]


def test_it_proposes_the_next_image(server, packages, phantoms, tmp_path):
    for _ in range(3):
        sample = requests.post(f"{server.url}/activelearning/random", json={}).json()
        assert (server.folder.parent / "studies" / sample["name"]).is_file()
    infer(server, EYE, "phantom_0011"), infer(server, CT, "ct_0001")
    objects = requests.get(f"{server.url}/datastore/?output=all").json()["objects"]
    open_ = {
        n: each["image"]["info"] for n, each in objects.items() if "final" not in each["labels"]
    }
    known = {name: info["trust"] for name, info in open_.items() if "trust" in info}
    assert known.keys() >= {"phantom_0011", "ct_0001"}
    assert all(0 < value <= 1 for value in known.values())
    with zipfile.ZipFile(packages[EYE].archive) as archive:
        archive.extractall(tmp_path)
    (served,) = tmp_path.glob("*/models/model.pt")
    calibration = read_calibration([served])
    image = phantoms[EYE] / "images/phantom_0011.png"
    features = Predictor(packages[EYE].config, served).segment(str(image)).features
    expected = calibration.estimate(features)
    url = f"{server.url}/infer/{EYE}?image=phantom_0011&output=json"
    quality = requests.post(url).json()["quality"]
    assert quality["check"] == expected["check"]
    for name, each in expected["dice"].items():
        assert quality["dice"][name] == pytest.approx(each, abs=0.002)
    lowest = min(each["expected"] for each in quality["dice"].values())
    assert known["phantom_0011"] == pytest.approx(lowest)
    sample = requests.post(f"{server.url}/activelearning/doubt", json={}).json()
    assert sample["id"] == min(known, key=known.get)


@pytest.mark.parametrize("name", [EYE, CT])
def test_a_training_learns_what_annotators_submit(server, phantoms, segment, name, tmp_path):
    """Here, that the marked structure is larger than the model was taught."""
    value = LABELS[name][list(LABELS[name])[-1]]
    images = sorted((phantoms[name] / "images").iterdir())[:6]
    corrected = {}
    for image in images:
        stem = image.name.split(".")[0]
        (label,) = (phantoms[name] / "labels").glob(f"{stem}.*")
        path = tmp_path / label.name
        if name == EYE:
            mask = np.asarray(Image.open(label))
            corrected[stem] = np.where(mask > 0, value, 0).astype(np.uint8)
            Image.fromarray(corrected[stem]).save(path)
        else:
            read = nibabel.load(label)
            mask = np.asarray(read.dataobj) > 0
            corrected[stem] = binary_dilation(mask, iterations=1).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(corrected[stem], read.affine), path)
        answer = requests.put(
            f"{server.url}/datastore/label",
            params={"image": stem, "tag": "final"},
            files={"label": (path.name, path.read_bytes())},
        )
        assert answer.status_code == 200, answer.text
    before = {stem: array(infer(server, name, stem)) for stem in corrected}
    old = weights(server, name).read_bytes()
    options = {"max_epochs": 12, "val_split": 0.05}
    answer = requests.post(f"{server.url}/train/{name}", json=options)
    assert answer.status_code == 400, "6 labels leave no validation case"
    options = {"max_epochs": 12, "val_split": 0.34}
    answer = requests.post(f"{server.url}/train/{name}", json=options)
    assert answer.status_code == 200, answer.text
    task = wait_for_training(server)
    assert task["status"] == "DONE", "\n".join(task["details"])
    for stem in corrected:
        requests.delete(f"{server.url}/datastore/label", params={"id": stem, "tag": "final"})

    assert weights(server, name).read_bytes() != old
    files = {path.name for path in weights(server, name).parent.glob("*")}
    assert files - {"model_quality.json"} == {"model.pt"}
    after = {stem: array(infer(server, name, stem)) for stem in corrected}
    scores = [
        np.mean([dice(masks[stem], corrected[stem], value) for stem in corrected])
        for masks in (before, after)
    ]
    assert scores[1] > scores[0] + 0.02
    stem, image = next(iter(corrected)), images[0]
    assert dice(after[stem], segment(name, image, weights(server, name)), value) > 0.99

    with sqlite3.connect(server.folder / "mlflow.db") as store:
        runs = store.execute(
            "select runs.run_uuid, runs.status from runs join experiments using (experiment_id)"
            " where experiments.name = ?",
            (name,),
        ).fetchall()
        ((run_id, status),) = runs
        assert status == "FINISHED"
        metrics = store.execute("select distinct key from metrics where run_uuid = ?", (run_id,))
        assert {"loss", "dice"} <= {key.rpartition("/")[2] for (key,) in metrics}

    restore(server.folder, name)
    assert weights(server, name).read_bytes() == old
    assert np.array_equal(array(infer(server, name, stem)), before[stem])


def array(mask):
    return np.asarray(mask.dataobj if hasattr(mask, "dataobj") else mask)
