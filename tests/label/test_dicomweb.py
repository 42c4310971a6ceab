"""A hospital's way: CT series in Orthanc, segmentations stored beside them, both seen in OHIF."""

import gzip
import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from io import BytesIO
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import requests
from browser import Browser
from ct_dicom import write_dicom_series

from .conftest import CT, dice, free_port, start, wait_for_training

highdicom = pytest.importorskip("highdicom")
SimpleITK = pytest.importorskip("SimpleITK")
PLUGINS = [Path(base, "share/orthanc/plugins") for base in ("/usr", "/usr/local")]


@contextmanager
def orthanc(folder):
    """The address of a new Orthanc server."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    names = ("libOrthancDicomWeb.so", "libOrthancGdcm.so")
    plugins = [str(path) for base in PLUGINS for name in names if (path := base / name).exists()]
    if not program or not any(names[0] in path for path in plugins):
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
    """Orthanc with CT series in eight orientations, and MONAI Label on top.

    Returns (Orthanc, server, UIDs of the series). The last patient has a copy in JPEG 2000.
    """
    folder = tmp_path_factory.mktemp("hospital")
    with orthanc(folder) as url:
        uids = []
        for n, flips in enumerate(product((1, -1), repeat=3)):
            image = nibabel.load(phantoms[CT] / f"images/ct_{n:04d}.nii.gz")
            turned = image.as_reoriented([(axis, flip) for axis, flip in enumerate(flips)])
            files = write_dicom_series(
                folder / f"dicom{n}",
                np.asarray(turned.dataobj),
                turned.affine,
                patient=f"patient {n}",
            )
            for path in files:
                requests.post(f"{url}/instances", data=path.read_bytes()).raise_for_status()
            uids.append(str(pydicom.dcmread(files[0]).SeriesInstanceUID))
        with start(environment, {CT: packages[CT]}, folder, f"{url}/dicom-web") as server:
            yield url, server, uids


def infer(server, uid, **params):
    answer = requests.post(
        f"{server.url}/infer/{CT}",
        params={"image": uid, **params},
        data={"params": json.dumps({"label_info": [{"name": "pancreas"}]})},
    )
    assert answer.status_code == 200, answer.text
    return answer.content


def submit(server, uid, content, info=({"name": "pancreas", "idx": 1},)):
    """Submit a label as 3D Slicer does."""
    answer = requests.put(
        f"{server.url}/datastore/label",
        params={"image": uid, "tag": "final"},
        data={"params": json.dumps({"label_info": list(info)})},
        files={"label": ("label.nii.gz", content)},
    )
    return answer.status_code


def read_segments(url):
    """The segmentations in Orthanc: the UID of the CT, and each segment's name, origin and type."""
    found = []
    for series in requests.get(f"{url}/series", params={"expand": ""}).json():
        if series["MainDicomTags"]["Modality"] == "SEG":
            (instance,) = series["Instances"]
            content = requests.get(f"{url}/instances/{instance}/file").content
            seg = pydicom.dcmread(BytesIO(content))
            found += [
                (
                    seg.ReferencedSeriesSequence[0].SeriesInstanceUID,
                    each.SegmentLabel,
                    each.SegmentAlgorithmType,
                    each.SegmentedPropertyTypeCodeSequence[0].CodeValue,
                )
                for each in seg.SegmentSequence
            ]
    return found


@pytest.mark.parametrize("n", range(8))
def test_a_segmentation_comes_back_from_orthanc_in_its_place(hospital, phantoms, segment, n):
    """In patient coordinates, as SimpleITK and highdicom read them, and in those of the truth."""
    url, server, uids = hospital
    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(infer(server, uids[n], output="image")))
    voxels = np.argwhere(np.asarray(mask.dataobj) == 1)
    expected = nibabel.affines.apply_affine(np.diag([-1, -1, 1, 1]) @ mask.affine, voxels)
    stored = requests.post(f"{url}/instances", data=infer(server, uids[n], output="dicom_seg"))
    stored.raise_for_status()
    content = requests.get(f"{url}/instances/{stored.json()['ID']}/file").content
    seg = highdicom.seg.segread(BytesIO(content))
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == uids[n]
    (found,) = seg.SegmentSequence
    assert (found.SegmentLabel, found.SegmentAlgorithmType) == ("pancreas", "AUTOMATIC")
    assert found.SegmentedPropertyTypeCodeSequence[0].CodeValue == "15776009"
    shared, places = seg.SharedFunctionalGroupsSequence[0], []
    for frame, own in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        transform = highdicom.spatial.PixelToReferenceTransformer(
            own.PlanePositionSequence[0].ImagePositionPatient,
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
        )
        if frame.any():
            places.append(transform(np.argwhere(frame)[:, ::-1]))
    rounded = [
        {tuple(p) for p in np.round(each, 1) + 0.0} for each in (np.concatenate(places), expected)
    ]
    assert rounded[0] == rounded[1]
    # SimpleITK's own reader, of the whole file as one volume.
    path = server.folder.parent / "read.dcm"
    path.write_bytes(content)
    volume = SimpleITK.ReadImage(str(path))
    inside = [
        volume.TransformPhysicalPointToIndex(place) for place in map(tuple, expected.tolist())
    ]
    assert all(volume[tuple(index)] for index in inside)
    # And the mask of the repository, from the volume before it became DICOM.
    source = phantoms[CT] / f"images/ct_{n:04d}.nii.gz"
    own = segment(CT, source, server.folder / f"model/{CT}/models/model.pt")
    index = nibabel.affines.apply_affine(
        np.linalg.inv(nibabel.load(source).affine) @ np.diag([-1, -1, 1, 1]), expected
    )
    again = np.zeros_like(own)
    again[tuple(np.rint(index).astype(int).T)] = 1
    assert own.any()
    assert dice(again, own, 1) > 0.98


def test_what_people_submit_is_told_from_predictions_and_learned(hospital):
    url, server, uids = hospital
    datastore = lambda: requests.get(f"{server.url}/datastore/").json()["completed"]  # noqa: E731
    assert datastore() == 0  # predictions, which are in Orthanc from the test before
    masks = [infer(server, uid, output="image") for uid in uids[:4]]
    before = read_segments(url)
    assert [submit(server, uid, mask) for uid, mask in zip(uids[:3], masks, strict=False)] == [
        200
    ] * 3
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(masks[3]))
    empty = gzip.compress(image.__class__(np.zeros(image.shape, np.uint8), image.affine).to_bytes())
    assert submit(server, uids[3], empty) == 200
    assert submit(server, uids[4], masks[0]) == 400  # another grid
    assert submit(server, "1.2.3", masks[0]) == 404
    assert submit(server, uids[5], masks[0], [{"name": "../pancreas"}]) == 400
    new = read_segments(url)
    for each in before:
        new.remove(each)
    assert sorted(new) == sorted((uid, "pancreas", "SEMIAUTOMATIC", "15776009") for uid in uids[:3])
    assert datastore() == 4
    options = {"max_epochs": 1, "val_split": 0.25}
    requests.post(f"{server.url}/train/{CT}", json=options).raise_for_status()
    task = wait_for_training(server)
    assert task["status"] == "DONE", "\n".join(task["details"])
    assert "'left_out': []" in task["details"][-1] or '"left_out": []' in task["details"][-1]
    (cache,) = (server.folder / "dicom").iterdir()
    for uid, mask in zip(uids, [*masks[:3], empty], strict=False):
        # Cut to its slices in Orthanc, and back on the grid of its CT.
        label = nibabel.load(cache / f"labels/final/{uid}.nii.gz")
        sent = nibabel.Nifti1Image.from_bytes(gzip.decompress(mask))
        np.testing.assert_array_equal(label.dataobj, sent.dataobj)
        np.testing.assert_allclose(label.affine, sent.affine, atol=1e-3)


def test_a_series_in_jpeg_2000_is_segmented(hospital):
    url, server, uids = hospital
    if not any(Path(base, "libOrthancGdcm.so").exists() for base in PLUGINS):
        pytest.skip("no JPEG 2000 in Orthanc: apt-get install orthanc-gdcm")
    (series,) = requests.post(
        f"{url}/tools/find", json={"Level": "Series", "Query": {"SeriesInstanceUID": uids[7]}}
    ).json()
    change = {"Replace": {"SeriesDescription": "J2K"}, "Transcode": "1.2.840.10008.1.2.4.90"}
    made = requests.post(f"{url}/series/{series}/modify", json=change).json()["ID"]
    copy = requests.get(f"{url}/series/{made}").json()
    time.sleep(10)  # until the server looks for new series again
    uid = copy["MainDicomTags"]["SeriesInstanceUID"]
    both = [
        nibabel.Nifti1Image.from_bytes(gzip.decompress(infer(server, each, output="image")))
        for each in (uids[7], uid)
    ]
    np.testing.assert_array_equal(*(each.dataobj for each in both))


@pytest.mark.parametrize(
    "path", ["../instances", "studies/../../system", "tools/lookup", "%2e%2e/system"]
)
def test_the_proxy_leads_to_dicomweb_alone(hospital, path):
    _, server, _ = hospital
    asked = requests.Request("GET", server.url).prepare()
    asked.url = f"{server.url}/proxy/dicom/{path}"  # as it is
    assert requests.Session().send(asked).status_code == 400
    assert requests.get(f"{server.url}/proxy/dicom/studies").status_code == 200


def test_ohif_shows_a_segmentation_over_its_ct(hospital, tmp_path):
    """The viewer that the server brings, with the pixels of both."""
    url, server, (image, *_) = hospital
    content = infer(server, image, output="dicom_seg")
    requests.post(f"{url}/instances", data=content).raise_for_status()
    uid = pydicom.dcmread(BytesIO(content)).StudyInstanceUID
    colour = greys = 0
    for attempt in range(3):  # the viewer's own start may fail to draw anything
        with Browser(tmp_path / str(attempt)) as browser:
            browser("Page.navigate", url=f"{server.url}/ohif/viewer?StudyInstanceUIDs={uid}")
            browser.click("Confirm and Hide")
            browser.click(f"{CT} segmentation", times=2)
            browser.click("Yes")  # to: do you want to open this segmentation?
            end = time.monotonic() + 90
            # On to the slices that it is in.
            while (colour < 200 or greys <= 60) and time.monotonic() < end:
                wheel = {"type": "mouseWheel", "x": 700, "y": 450, "deltaX": 0, "deltaY": 100}
                browser("Input.dispatchMouseEvent", **wheel)
                time.sleep(1)
                shown = browser.picture()[100:780, 300:1000]
                # Of the segment: neither grey, as the CT, nor blue, as the texts.
                colour = (shown[..., 0] > shown[..., 2] + 60).sum()
                greys = len(np.unique(shown[np.ptp(shown, axis=2) < 10]))
        if colour >= 200 and greys > 60:
            break
    assert greys > 60  # a CT, and not an empty page or a message
    assert colour >= 200
