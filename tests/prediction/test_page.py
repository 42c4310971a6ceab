"""A report for eyes and for tables, beside its JSON."""

import gzip
import hashlib
import io
import json
import tarfile
from base64 import b64decode, b64encode
from itertools import pairwise

import numpy as np
import pytest
from browser import Browser
from nibabel import Nifti1Image
from PIL import Image
from small_cases import EYE, PANCREAS, ct, photograph, predict, report
from tables import read_csv

from pipeline.prediction import niivue
from pipeline.prediction.page import write_pages
from pipeline.prediction.tiles import TILE
from pipeline.prediction.view import Shown, draw_volume
from pipeline.transforms.regions import Regions

REGIONS = Regions({"pancreas": [1, 2], "tumour": [2]})
HOSTILE = "</script><img src=x onerror='document.title=1'>&#35; %2e\\ \"é\" #1?"


def table(folder):
    newest = sorted(folder.glob("report-*.csv"))[-1]
    return {row["name"]: row for row in read_csv(newest)}


def test_table_and_pictures_agree_with_the_report(eye, tmp_path):
    for seed, name in enumerate(("=1+1", "b"), start=1):
        photograph(tmp_path / f"im/{name}.png", seed=seed)
    (tmp_path / "im/c.png").write_text("hello")
    output = tmp_path / "out"
    options = ("--bundle", EYE, "--checkpoint", eye, "--output", output)
    predict(tmp_path / "im", *options, code=1)
    cases = {case["name"]: case for case in report(output)["cases"]}
    rows = table(output)
    assert rows.keys() == cases.keys() == {"=1+1", "b", "c"}
    for name, case in cases.items():
        row = rows[name]
        assert row["status"] == case["status"]
        assert row["error"] == case.get("error", "")
        assert row["input"] == case["input"]
        for region in ("optic_disc", "optic_cup"):
            size = case.get("area_px", {}).get(region, "")
            assert row[f"area_px/{region}"] == str(size)
        assert row["vertical_cdr"] == str(case.get("vertical_cdr", ""))
        assert row["outputs"] == "; ".join(case.get("outputs", []))
        if "view" in case:
            with Image.open(output / case["view"]["picture"]) as strip:
                assert strip.size == (TILE * len(case["view"]["tiles"]), TILE)
    # What is done keeps its picture in the next report; that of an image that changed is gone.
    (tmp_path / "im/b.png").write_text("hello")
    predict(tmp_path / "im", *options, code=1)
    again = {case["name"]: case for case in report(output)["cases"]}
    assert again["=1+1"]["view"] == cases["=1+1"]["view"]
    assert "view" not in again["b"]
    assert [path.name for path in (output / "report-files").iterdir()] == ["=1+1.jpg"]
    page = sorted(output.glob("report-*.html"))[-1].read_text(encoding="utf-8")
    data = page.split('id="report">')[1].split("</script>")[0]
    assert json.loads(data)["cases"] == report(output)["cases"]


def test_a_volume_is_seen_where_its_mask_is(tmp_path):
    """Three planes and the viewer's volume, of an oblong one whose axes are turned."""
    grey = np.zeros((20, 60, 300), np.uint8)
    mask = np.zeros_like(grey)
    mask[4:8, 10:30, 100:280] = 1
    # Its largest planes, one each.
    mask[8, 22, 100:280] = mask[6, 30, 100:280] = mask[9, 10:30, 205] = 1
    mask[5:7, 20:25, 200:210] = 2
    grey[mask == 2] = 255
    affine = np.array([[0, 0, -1.0, 90], [2.0, 0, 0, -20], [0, 1.5, 0, 5], [0, 0, 0, 1]])
    view = draw_volume(tmp_path, "a", Shown(grey, affine), mask, REGIONS)
    assert [each.partition(",")[0] for each in view["tiles"]] == [
        "whole axial slice 23 of 60",
        "enlarged axial slice 23 of 60",
        "enlarged coronal slice 14 of 20",  # the front comes first
        "enlarged sagittal slice 206 of 300",
    ]
    assert all(each.endswith("outlined: pancreas, tumour") for each in view["tiles"])
    text = (tmp_path / view["volume"]).read_text()
    given = json.loads(text.removeprefix("shownVolume = "))
    assert given["colours"] == {"1": "#ff2d2d", "2": "#ffe119"}
    image, small = (
        Nifti1Image.from_bytes(gzip.decompress(b64decode(given[key]))) for key in ("image", "mask")
    )
    assert max(small.shape) <= 128
    for found in (np.asarray(small.dataobj) == 2, np.asarray(image.dataobj) > 127):
        there = small.affine @ [*np.argwhere(found).mean(axis=0), 1]
        known = affine @ [*np.argwhere(mask == 2).mean(axis=0), 1]
        assert np.abs(there - known).max() < 1.1  # mm


def test_a_case_is_done_even_if_its_picture_cannot_be_drawn(pancreas, tmp_path, monkeypatch):
    def fails(*arguments):
        raise MemoryError("too large")

    monkeypatch.setattr("pipeline.prediction.view.draw_tile", fails)
    options = ("--bundle", PANCREAS, "--checkpoint", pancreas, "--output", tmp_path / "out")
    predict(ct(tmp_path / "a.nii.gz"), *options)
    (case,) = report(tmp_path / "out")["cases"]
    assert case["status"] == "done"
    assert case["view"] == {"error": "MemoryError: too large"}


def test_the_viewer_is_what_npm_gives_or_is_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NIIVUE")
    archive = tmp_path / "niivue.tgz"
    with tarfile.open(archive, "w:gz") as made:
        entry = tarfile.TarInfo(f"package/{niivue.FILE}")
        entry.size = 6
        made.addfile(entry, io.BytesIO(b"viewer"))
    monkeypatch.setattr(niivue, "URL", (tmp_path / "nowhere").as_uri())
    assert "NIIVUE" in niivue.bring_viewer(tmp_path / "out")
    monkeypatch.setattr(niivue, "URL", archive.as_uri())
    assert "SHA-512" in niivue.bring_viewer(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    digest = b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    monkeypatch.setattr(niivue, "SHA512", digest)
    assert niivue.bring_viewer(tmp_path / "out") == ""
    archive.unlink()
    assert niivue.bring_viewer(tmp_path / "two") == ""  # from the cache
    text = (tmp_path / "two" / niivue.VIEWER).read_text()
    assert text.endswith("viewer")
    assert "BSD 2-Clause" in text


@pytest.fixture
def page(tmp_path):
    """99 cases of 100: two to check, one failed, one with a volume, names that are hostile."""
    sizes = {"volume_ml": {"pancreas": 12.3456, "tumour": 0.5}}
    cases = [{"name": f"case {n:02}", "status": "done", "input": "i", **sizes} for n in range(95)]

    def doubt(name, dice):
        why = f"the tumour's expected Dice is {dice}, below 0.8"
        found = {"tumour": {"expected": dice, "low": 0.1, "high": 0.9}}
        quality = {"check": True, "reasons": [why], "dice": found}
        return {"name": name, "status": "skipped", "input": "i", **sizes, "quality": quality}

    mask = np.zeros((16, 16, 16), np.uint8)
    mask[4:12, 4:12, 4:12] = 1
    shown = Shown(
        np.arange(16**3, dtype=np.uint16).reshape(mask.shape).view("u1")[..., ::2], np.eye(4)
    )
    view = draw_volume(tmp_path, HOSTILE.replace("/", ""), shown, mask, REGIONS)
    wide = {"name": "case 95", "status": "done", "input": "i", "note": 99 * "n", "error": 99 * "e"}
    wide["quality"] = {"check": False, "reasons": [99 * "w"]}
    cases += [
        {"name": HOSTILE, "status": "failed", "input": HOSTILE, "error": f"bad {HOSTILE}"},
        {**doubt("zz", 0.4), "view": view, "outputs": [f"{HOSTILE.replace('/', '')}_seg.nii.gz"]},
        {**wide, "volume_ml": {"r" * 99: 1.0}},
        doubt("aa", 0.5),
    ]
    path = tmp_path / "report-1.json"
    write_pages(path, {"cases": cases, "counts": {"done": 96, "failed": 1}, "total": 100})
    return path.with_suffix(".html")


def test_the_page_in_a_browser(page, tmp_path):
    names = "[...document.querySelectorAll('article h2')].map(each => each.textContent)"
    with Browser(tmp_path / "profile") as browser:
        browser("Page.navigate", url=page.as_uri())
        browser.wait("document.documentElement?.dataset.ready")
        first = browser.run(names)
        assert first[:4] == ["zz", "aa", HOSTILE, "case 00"]
        assert len(first) == 40
        assert browser.run("document.title") == "Predictions"
        assert "1 of 100" in browser.run("document.getElementById('unfinished').textContent")
        # The picture of a hostile name is there, and described.
        browser.wait("document.images[0].complete")
        image = browser.run("[document.images[0].naturalWidth, document.images[0].alt]")
        assert image[0] == 4 * TILE
        assert image[1].startswith("zz: whole axial slice")
        link = browser.run("document.querySelector('article p.path a').href")
        assert link.startswith(page.parent.as_uri())
        assert link.endswith("_seg.nii.gz")
        assert not set(' "<>\\#?') & set(link)

        click = "[...document.querySelectorAll('button')].find(e => e.textContent == {!r}).click()"
        browser.run(click.format("Next"))
        assert browser.run(names)[0] == "case 37"
        for kind, count in {"To check 2": 2, "Failed 1": 1, "Skipped 2": 2, "Done 96": 40}.items():
            browser.run(click.format(kind))
            assert len(browser.run(names)) == count, kind
        wanted = (
            "const box = document.getElementById('search'); box.value = 'CASE 9'; box.oninput()"
        )
        browser.run(wanted)
        assert browser.run(names) == [f"case {n}" for n in range(90, 96)]

        sizes = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        browser("Emulation.setDeviceMetricsOverride", **sizes)
        assert "case 95" in browser.run(names)  # with long words
        assert browser.run("document.documentElement.scrollWidth") <= 390
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        browser("Emulation.setEmulatedMedia", features=dark)
        assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 26)"

        # Without NiiVue the page says so, and Escape leads back.
        browser.run("box.value = 'zz'; box.oninput()")
        browser.run(click.format("All 99"))
        browser.run("document.querySelector('article button').click()")
        browser.wait("document.getElementById('hint').textContent.includes('niivue')")
        for kind in ("keyDown", "keyUp"):
            browser("Input.dispatchKeyEvent", type=kind, key="Escape", windowsVirtualKeyCode=27)
        assert browser.wait("!document.getElementById('viewer').open")


@pytest.mark.slow
def test_a_volume_turns_in_the_browser(page, tmp_path, monkeypatch):
    monkeypatch.delenv("NIIVUE")
    if problem := niivue.bring_viewer(page.parent):
        pytest.skip(problem)
    with Browser(tmp_path / "profile") as browser:
        browser("Page.navigate", url=page.as_uri())
        browser.wait("document.documentElement?.dataset.ready")
        browser.run("document.querySelector('article button').click()")
        browser.wait("document.getElementById('hint').textContent != 'Loading'", 300)
        assert (
            browser.run("turned.volumes.map(each => Array.from(each.hdr.dims).slice(1, 4))")
            == [[16] * 3] * 2
        )
        where = "document.querySelector('canvas').getBoundingClientRect().toJSON()"
        box = {key: round(value) for key, value in browser.run(where).items()}

        def look(act):
            browser.run(act)
            browser.run("new Promise(done => setTimeout(done, 500))")
            seen = browser.picture()
            return seen[box["top"] : box["bottom"], box["left"] : box["right"]]

        press = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: %r}))"
        pictures = [look("chooseView('Axial')"), look(press % "ArrowUp")]
        pictures += [look("chooseView('3D')"), look(press % "ArrowLeft")]
        red = [((each[..., 0] > each[..., 2] + 40).sum(), each.max()) for each in pictures]
        assert min(red)[0] > 100, red  # the mask
        for one, other in pairwise(pictures):
            assert (one != other).any()
