"""A hospital's way: CT series in Orthanc, segmentations stored beside them, both seen in OHIF."""

import gzip
import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import requests
from PIL import Image

from pipeline.datasets._ct_dicom import write_dicom_series

from .conftest import CT, dice, free_port, start

highdicom = pytest.importorskip("highdicom")
PLUGIN = "libOrthancDicomWeb.so"
STEM = "ct_0010"


@contextmanager
def orthanc(folder):
    """The address of a new Orthanc server."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    places = [Path(base, "share/orthanc/plugins", PLUGIN) for base in ("/usr", "/usr/local")]
    plugins = [str(path) for path in places if path.exists()]
    if not program or not plugins:
        pytest.skip("no Orthanc with DICOMweb: apt-get install orthanc orthanc-dicomweb")
    port = free_port()
    config = {
        "HttpPort": port,
        "DicomPort": free_port(),
        "AuthenticationEnabled": False,
        "RemoteAccessAllowed": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": plugins,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                requests.get(f"{url}/system").raise_for_status()
                break
            except requests.ConnectionError:
                assert process.poll() is None, (folder / "orthanc.log").read_text()
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def hospital(environment, packages, phantoms, tmp_path_factory):
    """Orthanc with one CT series, and MONAI Label on top: (Orthanc, server, UID, files)."""
    folder = tmp_path_factory.mktemp("hospital")
    with orthanc(folder) as url:
        image = nibabel.load(phantoms[CT] / f"images/{STEM}.nii.gz")
        files = write_dicom_series(folder / "dicom", np.asarray(image.dataobj), image.affine)
        for path in files:
            requests.post(f"{url}/instances", data=path.read_bytes()).raise_for_status()
        (series,) = requests.get(f"{url}/dicom-web/series").json()
        uid = series["0020000E"]["Value"][0]
        with start(environment, {CT: packages[CT]}, folder, f"{url}/dicom-web") as server:
            yield url, server, uid, files


def infer(server, uid, **params):
    answer = requests.post(
        f"{server.url}/infer/{CT}",
        params={"image": uid, **params},
        data={"params": json.dumps({"label_info": [{"name": "pancreas"}]})},
    )
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_segmentation_comes_back_from_orthanc_voxel_for_voxel(hospital, phantoms, segment):
    url, server, uid, files = hospital
    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(infer(server, uid, output="image")))
    mask = np.asarray(mask.dataobj)
    stored = requests.post(f"{url}/instances", data=infer(server, uid, output="dicom_seg"))
    stored.raise_for_status()
    content = requests.get(f"{url}/instances/{stored.json()['ID']}/file").content
    seg = highdicom.seg.segread(BytesIO(content))
    sources = [pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in files]
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == uid
    assert [each.SegmentLabel for each in seg.SegmentSequence] == ["pancreas"]
    read = seg.get_pixels_by_source_instance(
        sources,
        combine_segments=True,
        assert_missing_frames_are_empty=True,
        ignore_spatial_locations=True,
    )
    # The repository's mask has the axes of the series: columns, rows, slices.
    path = phantoms[CT] / f"images/{STEM}.nii.gz"
    weights = server.folder / f"model/{CT}/models/model.pt"
    expected = segment(CT, path, weights)
    assert expected.any()
    read = read.transpose(2, 1, 0)
    assert dice(read, expected, 1) > 0.99
    # And the server's, whose slices may run the other way.
    assert any(np.array_equal(read, turned) for turned in (mask, mask[:, :, ::-1]))


def test_what_an_annotator_submits_is_a_segmentation_in_orthanc(hospital, tmp_path):
    url, server, uid, _ = hospital
    before = len(requests.get(f"{url}/dicom-web/series", params={"Modality": "SEG"}).json())
    answer = requests.put(
        f"{server.url}/datastore/label",
        params={"image": uid, "tag": "final"},
        data={"params": json.dumps({"label_info": [{"name": "pancreas"}]})},
        files={"label": ("label.nii.gz", infer(server, uid, output="image"))},
    )
    assert answer.status_code == 200, answer.text
    found = requests.get(f"{url}/dicom-web/series", params={"Modality": "SEG"}).json()
    assert len(found) == before + 1


def test_ohif_shows_the_study(hospital, tmp_path):
    """Chromium renders the viewer that the server brings, with the CT's pixels in it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium: apt-get install chromium")
    url, server, _, _ = hospital
    (study,) = requests.get(f"{url}/dicom-web/studies").json()
    uid = study["0020000D"]["Value"][0]
    picture = tmp_path / "ohif.png"
    command = [chromium, "--headless=new", "--no-sandbox", "--window-size=1400,900"]
    command += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=60000"]
    address = f"{server.url}/ohif/viewer?StudyInstanceUIDs={uid}"
    subprocess.run([*command, f"--screenshot={picture}", address], timeout=300, check=True)
    grey = np.asarray(Image.open(picture).convert("L"))[200:800, 400:1100]
    assert len(np.unique(grey)) > 60  # a CT, and not an empty page or a message
