"""A hospital's way: CT series in Orthanc, segmentations stored beside them, both seen in OHIF."""

import base64
import fcntl
import gzip
import json
import os
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
from ct_dicom import write_dicom_series
from PIL import Image

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


class Browser:
    """Headless Chromium, driven by its DevTools protocol over a pipe."""

    def __init__(self, program, folder):
        (asked, self.ask), (self.answers, answered) = os.pipe(), os.pipe()

        def as_3_and_4():
            copies = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (asked, answered)]
            os.dup2(copies[0], 3)
            os.dup2(copies[1], 4)

        command = [program, "--headless=new", "--no-sandbox", "--window-size=1400,900"]
        command += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        command += [f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(
            [*command, "about:blank"],
            preexec_fn=as_3_and_4,
            close_fds=False,
            stderr=subprocess.DEVNULL,
        )
        self.number, self.rest, self.session = 0, b"", {}
        targets = self("Target.getTargets")["targetInfos"]
        (target,) = (each["targetId"] for each in targets if each["type"] == "page")
        session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.session = {"sessionId": session}

    def __call__(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params, **self.session}
        os.write(self.ask, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                self.rest += os.read(self.answers, 2**20)
            answer, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(answer)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def wait_for(self, text, seconds=120):
        """The middle of the innermost element with this text."""
        script = f"""(() => {{
            const found = [...document.querySelectorAll('*')].filter(
                each => each.innerText && each.innerText.includes({json.dumps(text)}));
            if (!found.length) return null;
            const box = found[found.length - 1].getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self("Runtime.evaluate", expression=script, returnByValue=True)["result"]
            if found.get("value"):
                return found["value"]
            time.sleep(1)
        raise AssertionError(f"the page does not show {text!r}")

    def click(self, text, times=1):
        x, y = self.wait_for(text)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self(
                    "Input.dispatchMouseEvent",
                    **{"type": kind, "x": x, "y": y, "button": "left", "clickCount": count},
                )

    def picture(self, path):
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot")["data"]))
        return np.asarray(Image.open(path).convert("RGB"))[100:780, 300:1000].astype(int)


def test_ohif_shows_a_segmentation_over_its_ct(hospital, tmp_path):
    """The viewer that the server brings, with the pixels of both."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium: apt-get install chromium")
    url, server, image, _ = hospital
    requests.post(f"{url}/instances", data=infer(server, image, output="dicom_seg"))
    (study,) = requests.get(f"{url}/dicom-web/studies").json()
    uid = study["0020000D"]["Value"][0]
    browser = Browser(chromium, tmp_path)
    try:
        browser("Page.navigate", url=f"{server.url}/ohif/viewer?StudyInstanceUIDs={uid}")
        browser.click("Confirm and Hide")
        browser.click("AIName", times=2)
        browser.click("Yes")  # to: do you want to open this segmentation?
        colour, end = 0, time.monotonic() + 120
        while colour < 200 and time.monotonic() < end:  # on to the slices that it is in
            wheel = {"type": "mouseWheel", "x": 700, "y": 450, "deltaX": 0, "deltaY": 100}
            browser("Input.dispatchMouseEvent", **wheel)
            time.sleep(1)
            shown = browser.picture(tmp_path / "ohif.png")
            # Of the segment: neither grey, as the CT, nor blue, as the texts.
            colour = (shown[..., 0] > shown[..., 2] + 60).sum()
        grey = shown[np.ptp(shown, axis=2) < 10]
        assert len(np.unique(grey)) > 60  # a CT, and not an empty page or a message
        assert colour >= 200
    finally:
        browser.process.kill()
        browser.process.wait()
