"""The app that MONAI Label serves, as far as it runs without MONAI Label."""

import asyncio
import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.packaging import label_folder
from pipeline.packaging.archive import MANIFEST, WEIGHTS, make_manifest, unpack
from pipeline.packaging.label_app.lib import labels, segments, values, weights
from pipeline.packaging.label_server import LabelServer


def refused(check, *arguments):
    try:
        check(*arguments)
    except values.Refused:
        return True
    return False


@pytest.mark.parametrize(
    ("value", "is_refused"),
    [
        *[(text, True) for text in ("../a", "a/../b", "/etc/passwd", "..", ".", "a\\b", "a\0b")],
        *[(text, True) for text in ("$__import__('os')", " $1", "@network", "%a.json::b", "a\nb")],
        *[({"device": text}, True) for text in ("$1", {"_target_": "os.system"}, ["$1"])],
        *[({"_target_": "os.system"}, True), ({"a/b": 1}, True), ({"a": [{"b": "../c"}]}, True)],
        *[(text, False) for text in ("ct_0001", "1.2.840.1", "a b", "Ä", "user@host", ".nrrd", "")],
        *[
            ({"label_info": [{"name": "T1/T2", "color": [1]}]}, False),
            ({"device": "cuda:0"}, False),
        ],
        *[({"label_info": each}, True) for each in (1, "a", ["a"], [{"name": 1}], [{"idx": "$1"}])],
        *[({"max_epochs": 3, "val_split": 0.2, "pretrained": True, "a": None}, False)],
    ],
)
def test_a_request_holds_no_path_and_nothing_that_monai_runs(value, is_refused):
    assert refused(values.check_value, value, "value") is is_refused


@pytest.mark.parametrize(
    ("check", "wrong", "right"),
    [
        (
            values.check_upload,
            ["a.json", "a.npy", "a.pt", "a.py", "", "..", "../a.png", "a.zip", "x" * 300 + ".png"],
            ["a.png", "A.JPG", "label.bin", "ct.nii.gz", "a b.nrrd"],
        ),
        (
            values.check_dicomweb,
            [
                *("../instances", "studies/../../system", "studies/%2e%2e/a", "studies/a\0"),
                *("", "/studies", "studies//a", "studies/./a", "tools/shutdown", "system"),
                *("studies/a\\b", "studies?a", "studies/a#b", "studies/%252e%252e/a"),
            ],
            ["studies", "studies/1.2/series/1.3/metadata", "instances"],
        ),
    ],
)
def test_only_images_come_up_and_only_dicomweb_goes_through(check, wrong, right):
    assert [text for text in wrong if not refused(check, text)] == []
    assert [text for text in right if refused(check, text)] == []


@pytest.mark.parametrize(
    ("head", "is_refused"),
    [
        (b"NRRD0004\ntype: short\ndata file: /etc/passwd\n\n", True),
        (b"NRRD0004\ntype: short\nDatafile: a.raw\n\n", True),
        (b"NRRD0004\ntype: short\nencoding: gzip\n\n\x00", False),
        (b"ObjectType = Image\nElementDataFile = /etc/passwd\n", True),
        (b"ObjectType = Image\r\nElementDataFile = LIST\r\n", True),
        (b"ObjectType = Image\r\nElementDataFile = LOCAL\r\n\x00", False),
        (b"NRRD0004\n" + b"# comment\n" * 9, True),  # the header goes on, where nobody looks
        (b"NDims = 3\nComment = " + b"x" * 99, True),
        (b"\x89PNG\r\n", False),
    ],
)
def test_a_volume_does_not_point_to_a_file_of_the_server(head, is_refused):
    assert refused(values.check_header, head, "a.nii.gz") is is_refused


def ask(gate, path="/info/", method="GET", client="127.0.0.1", **headers):
    """The status that the gate answers; 200 if it lets the request pass."""
    found = []

    async def send(message):
        found.append(message.get("status"))

    pairs = [
        (name.encode(), value.encode()) for name, value in {"host": "a.org", **headers}.items()
    ]
    scope = {"type": "http", "method": method, "path": path, "headers": pairs}
    scope["client"] = (client, 1)
    asyncio.run(gate(scope, None, send))
    return found[0]


def test_the_gate_asks_for_host_origin_and_password(monkeypatch):
    pytest.importorskip("fastapi")
    from pipeline.packaging.label_app.lib import gate

    monkeypatch.setattr(gate, "DELAY", 0)
    passed = []

    async def behind(scope, receive, send):
        passed.append([name for name, _ in scope["headers"]])
        await send({"status": 200})

    def make(password="", origins=(), anywhere=False):
        account = gate.Account("anna", password, token="t")
        return gate.Gate(behind, account=account, origins=origins, anywhere=anywhere)

    near = make()
    assert [ask(near, host=host) for host in ("127.0.0.1:8000", "localhost", "[::1]:8000")] == [
        200
    ] * 3
    assert ask(near) == ask(near, host="127.0.0.1.evil.org") == 403
    assert ask(near, host="localhost:80", origin="http://localhost:80") == 200
    for origin in ("http://localhost:81", "https://evil.org", "null"):
        assert ask(near, host="localhost:80", origin=origin) == 403
    assert ask(make(origins=["https://a.org"]), origin="https://a.org") == 200
    clients = ("::1", "::ffff:127.0.0.1", "10.0.0.1", "fe80::1", "testclient")
    assert [ask(near, host="localhost", client=c) for c in clients] == [200, 200, 403, 403, 403]

    far = make("a long password", anywhere=True)
    basic = lambda text: "Basic " + base64.b64encode(text.encode()).decode()  # noqa: E731
    right = ("Bearer t", basic("anna:a long password"))
    wrong = ("", "Bearer x", "Bearer", basic("anna:"), basic("ben:a long password"), "Basic §", "x")
    passed.clear()
    assert [ask(far, client="10.0.0.1", authorization=each) for each in right] == [200, 200]
    assert passed == [[b"host"]] * 2  # the proxy does not hand the password on
    assert [ask(far, authorization=each) for each in wrong] == [401] * len(wrong)
    assert ask(far) == ask(far, "/auth/token/valid") == 401
    assert ask(far, "/auth/") == 200


@pytest.mark.parametrize(
    "options",
    [
        {"host": "0.0.0.0"},
        {"host": "::", "user": "anna"},
        {"password": "a long password"},
        {"user": "an:na", "password": "a long password"},
        {"user": "anna", "password": "short"},
        {"origins": ["*"]},
        {"origins": ["https://a.org/page"]},
    ],
    ids=str,
)
def test_no_server_is_open_to_others_by_mistake(options, tmp_path):
    with pytest.raises(InputError, match=r"LABEL_|origin"):
        LabelServer(tmp_path, tmp_path, "", ["a"], log=tmp_path / "log", **options)


@pytest.fixture
def model(tmp_path):
    """The folder of a served model, and the files of its package."""
    files = {WEIGHTS: b"packaged", "scripts/__init__.py": b"", "configs/train.json": b"{}"}
    files[MANIFEST] = make_manifest(files)
    unpack(files, tmp_path / "model/eye")
    return tmp_path / "model/eye", files


def retrain(folder, content):
    weights.begin(folder, {"training": 4, "validation": 1})
    (folder / WEIGHTS).write_bytes(content)
    weights.settle(folder)


def test_a_retraining_is_undone_and_old_ones_are_pruned(model):
    folder, _ = model
    for n in range(6):
        (folder / f"runs/{n}").mkdir(parents=True)
        os.utime(folder / f"runs/{n}", (n, n))
        retrain(folder, b"retrained %d" % n)
    retrain(folder, b"retrained 5")  # no better, so nothing was replaced
    assert len(weights.read_history(folder)) == 6
    assert [path.name for path in sorted((folder / "runs").iterdir())] == ["3", "4", "5"]
    found = []
    for _ in range(4):
        assert "time" not in label_folder.restore(folder.parents[1], "eye")
        found.append((folder / WEIGHTS).read_bytes())
    assert found == [b"retrained 4", b"retrained 3", b"retrained 2", b"packaged"]
    with pytest.raises(ValueError, match="nothing to undo"):
        label_folder.restore(folder.parents[1], "eye")
    with pytest.raises(InputError, match="eye"):
        label_folder.restore(folder.parents[1], "../model/eye2")


def test_a_killed_training_is_recorded_at_the_next_start(model):
    folder, files = model
    script = (
        "import sys, time; from pathlib import Path; from lib import weights;"
        "weights.begin(Path(sys.argv[1]), {'training': 4, 'validation': 1});"
        "print('begun', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(folder)]
    training = subprocess.Popen(command, cwd=label_folder.APP, stdout=subprocess.PIPE, text=True)
    assert training.stdout.readline() == "begun\n"
    for act in (
        lambda: label_folder.restore(folder.parents[1], "eye"),
        lambda: label_folder.check_model(folder, files, Path("eye.zip")),
    ):
        with pytest.raises(ValueError, match="a training of it runs"):
            act()
    training.kill()
    training.wait()
    (folder / WEIGHTS).write_bytes(b"retrained")
    label_folder.check_model(folder, files, Path("eye.zip"))
    assert len(weights.read_history(folder)) == 1
    weights.restore(folder)
    assert (folder / WEIGHTS).read_bytes() == b"packaged"


def test_a_second_start_compares_what_is_served(model):
    folder, files = model
    retrain(folder, b"retrained")
    (folder / "scripts/__pycache__").mkdir()
    label_folder.check_model(folder, files, Path("eye.zip"))
    assert not (folder / "scripts/__pycache__").exists()
    for name, content in {
        WEIGHTS: b"other",
        MANIFEST: b"{}",
        "scripts/__init__.py": b"import os",
        "scripts/os.py": b"",
        "sitecustomize.py": b"",
        "models/model.pt.deleted": b"",
    }.items():
        path = folder / name
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=re.escape(path.name if name != MANIFEST else "version")
        ):
            label_folder.check_model(folder, files, Path("eye.zip"))
        path.write_bytes(before) if before is not None else path.unlink()
    (folder / "configs/train.json").unlink()
    with pytest.raises(InputError, match="missing"):
        label_folder.check_model(folder, files, Path("eye.zip"))


def test_two_images_of_one_name_are_named(tmp_path):
    for name in ("a.png", "a.b.JPG", "notes.txt", "b.nii.gz", "datastore_v2.json"):
        (tmp_path / name).touch()
    label_folder.check_studies(tmp_path)
    (tmp_path / "b.JPEG").touch()
    with pytest.raises(InputError, match=r"b\.JPEG and b\.nii\.gz"):
        label_folder.check_studies(tmp_path)


def test_the_server_ends_with_what_it_started_when_its_parent_is_killed(tmp_path):
    lib = Path(label_folder.APP)
    child = (
        "import subprocess, sys, time; from lib.parent import watch_parent;"
        "watch_parent(); training = subprocess.Popen([sys.executable, '-c', 'import time;"
        "time.sleep(60)']); print(training.pid, flush=True); time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], cwd={str(lib)!r},"
        "stdin=subprocess.PIPE, start_new_session=True,"
        "env={**os.environ, 'LABEL_ENDS_WITH_STDIN': '1'}); time.sleep(60)"
    )
    started = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    training = int(started.stdout.readline())
    started.send_signal(signal.SIGKILL)
    started.wait()
    end = time.monotonic() + 10
    while Path(f"/proc/{training}/cmdline").exists() and time.monotonic() < end:
        if not Path(f"/proc/{training}/cmdline").read_bytes():
            break  # it has ended, and nobody asked for its status
        time.sleep(0.1)
    assert time.monotonic() < end


LABELS = labels.LabelSet(
    "pancreas_ct",
    "0.1.0",
    {"pancreas": 1, "tumour": 2},
    {
        "pancreas": {"category": "AnatomicalStructure", "type": "Pancreas", "colour": [1, 2, 3]},
        "tumour": {
            "category": "MorphologicallyAbnormalStructure",
            "type": "Neoplasm",
            "region": "Pancreas",
        },
    },
)
OTHER = labels.LabelSet("liver_ct", "1", {"liver": 1}, {})


@pytest.mark.parametrize(
    ("found", "info", "predicted", "names"),
    [
        ([2], [{"name": "pancreas"}], True, {2: "tumour"}),
        ([2], [{"name": "pancreas", "idx": 1}, {"name": "tumour", "idx": 2}], False, {2: "tumour"}),
        ([1], [{"name": "tumour", "idx": 1}], False, {1: "tumour"}),
        ([2], [{"name": "pancreas"}, {"name": "tumour"}], False, {2: "tumour"}),
        ([1, 2], [], False, {1: "pancreas", 2: "tumour"}),
        ([1, 5], [{"color": [1]}], False, {1: "pancreas", 5: "label 5"}),
    ],
)
def test_the_values_of_a_mask_have_their_names(found, info, predicted, names):
    assert labels.name_values(found, info, LABELS, predicted=predicted) == names


def test_a_label_gets_the_values_of_its_model(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "mask.nii.gz"

    def submit(values, info, sets=(OTHER, LABELS)):
        image = sitk.GetImageFromArray(np.array([[[0, *values]]], np.uint8))
        image.SetSpacing((2, 3, 4))
        sitk.WriteImage(image, str(path))
        segments.renumber(path, info, sets)
        read = sitk.ReadImage(str(path))
        assert read.GetSpacing() == (2, 3, 4)
        return sitk.GetArrayFromImage(read).ravel()[1:].tolist()

    assert submit([1, 1], [{"name": "Tumour", "idx": 1}]) == [2, 2]
    assert submit([1, 2], [{"name": "tumour", "idx": 1}, {"name": "pancreas", "idx": 2}]) == [2, 1]
    assert submit([1, 2], [{"name": "pancreas"}, {"name": "tumour"}]) == [1, 2]
    assert submit([1, 7], []) == [1, 7]
    with pytest.raises(ValueError, match="liver"):
        submit([1, 2], [{"name": "liver"}, {"name": "pancreas"}], [LABELS])
    image = sitk.ReadImage(str(path))
    image.SetOrigin((1, 0, 0))
    sitk.WriteImage(image, str(tmp_path / "moved.nii.gz"))
    segments.check_grid(path, path)
    with pytest.raises(ValueError, match="origin"):
        segments.check_grid(path, tmp_path / "moved.nii.gz")


@pytest.mark.skipif(
    not shutil.which("itkimage2segimage", path=Path(sys.executable).parent), reason="no dcmqi"
)
@pytest.mark.parametrize("flips", [*product((1, -1), repeat=3)], ids=str)
def test_a_segmentation_lies_where_its_mask_does_and_comes_back(flips, tmp_path, monkeypatch):
    """Eight orientations, read by highdicom and by this app."""
    sitk, highdicom = pytest.importorskip("SimpleITK"), pytest.importorskip("highdicom")
    from ct_dicom import write_dicom_series

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    affine = np.diag([*(flip * size for flip, size in zip(flips, (2, 3, 4), strict=True)), 1.0])
    affine[:3, 3] = (-7, 11, 5)
    write_dicom_series(tmp_path / "ct", np.zeros((12, 10, 8), np.int16), affine)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    image = reader.Execute()
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    mask = np.zeros((8, 10, 12), np.uint8)
    mask[2:4, 3:7, 4:9] = 1
    mask[3, 4:6, 5:7] = 2
    volume = sitk.GetImageFromArray(mask)
    volume.CopyInformation(image)
    sitk.WriteImage(volume, str(tmp_path / "mask.nii.gz"))
    names = {1: "pancreas", 2: "tumour"}
    path = segments.write_segmentation(
        tmp_path / "ct", tmp_path / "mask.nii.gz", names, LABELS, "SEMIAUTOMATIC"
    )
    content = highdicom.seg.segread(path)
    Path(path).unlink()
    described = content.SegmentSequence
    codes = [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in described]
    assert codes == ["15776009", "108369006"]
    assert described[1].AnatomicRegionSequence[0].CodeValue == "15776009"
    assert {s.SegmentAlgorithmType for s in described} == {"SEMIAUTOMATIC"}
    places, shared = {1: set(), 2: set()}, content.SharedFunctionalGroupsSequence[0]
    frames = zip(content.pixel_array, content.PerFrameFunctionalGroupsSequence, strict=True)
    for frame, own in frames:
        transform = highdicom.spatial.PixelToReferenceTransformer(
            own.PlanePositionSequence[0].ImagePositionPatient,
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
        )
        number = int(own.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        places[number] |= {tuple(p) for p in transform(np.argwhere(frame)[:, ::-1]).round(2) + 0.0}
    for value, found in places.items():
        index = np.argwhere(mask == value)[:, ::-1].tolist()
        expected = np.array([image.TransformIndexToPhysicalPoint(each) for each in index])
        assert found == {tuple(p) for p in expected.round(2) + 0.0}
    content.save_as(tmp_path / "seg.dcm")
    frame = str(content.FrameOfReferenceUID)
    read = segments.read_segmentation(
        tmp_path / "seg.dcm", tmp_path / "ct.nii.gz", frame, [OTHER, LABELS]
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), mask)
    np.testing.assert_allclose(read.GetOrigin(), image.GetOrigin(), atol=1e-4)
    for where, known in (("1.2.3", LABELS), (frame, OTHER)):
        with pytest.raises(ValueError, match=r"frame of reference|none of which"):
            segments.read_segmentation(tmp_path / "seg.dcm", tmp_path / "ct.nii.gz", where, [known])
