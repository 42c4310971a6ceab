import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from pipeline.datasets.archives import extract
from pipeline.datasets.download import CARDS, fetch_archive, load_card

pytest.importorskip("pypdl")


def _zip(names, size=0):
    """A zip of random bytes, which do not shrink."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, np.random.default_rng(0).bytes(size))
    return buffer.getvalue()


class _Server(ThreadingHTTPServer):
    """Serves one file with Range and ETag, and breaks off as often as it is told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body, self.breaks, self.break_after, self.etag = b"", 0, 0, '"1"'
        self.asked: list[tuple[int, int]] = []

    def handle_error(self, request, client_address):
        """A client that goes away is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server = self.server
        if self.path != "/data.zip":
            return self.send_error(404)
        start, end = 0, len(server.body) - 1
        if span := self.headers.get("Range"):
            first, last = span.removeprefix("bytes=").split("-")
            start, end = int(first), int(last or end)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(server.body)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start + 1))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        if self.command == "HEAD":
            return None
        if end > start:
            server.asked.append((start, end))
            if server.breaks:
                server.breaks -= 1
                end = start + server.break_after - 1
        self.wfile.write(server.body[start : end + 1])
        self.close_connection = True
        return None


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("pipeline.datasets.download.RETRIES", 0)  # pypdl waits before each
    server = _Server()
    server.body = _zip(["Training/a.bin", "b.bin"], 3_000_000)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def card(server, tmp_path):
    def write(**changes):
        content = {
            "name": "Test",
            "homepage": "h",
            "licence": "CC0",
            "citation": "c",
            "filename": "data.zip",
            "url": f"http://127.0.0.1:{server.server_port}/data.zip",
            "sha256": hashlib.sha256(server.body).hexdigest(),
        }
        path = tmp_path / "card.json"
        path.write_text(json.dumps(content | changes))
        return path

    return write


@pytest.mark.parametrize(("etag", "pinned"), [('"1"', False), ('"1"', True), ("", True)])
def test_resume_after_a_cut(server, card, tmp_path, etag, pinned):
    server.etag, server.breaks, server.break_after = etag, 9, 1_200_000
    path = card() if pinned else card(sha256=None)
    with pytest.raises(ConnectionError, match=r"data\.zip"):
        fetch_archive(path, tmp_path / "out")
    assert not (tmp_path / "out/data.zip").exists()
    assert not (tmp_path / "out/files").exists()
    before = len(server.asked)
    server.breaks = 0
    files, digest = fetch_archive(path, tmp_path / "out")
    assert digest == hashlib.sha256(server.body).hexdigest()
    assert [start > 0 for start, _ in server.asked[before:]] == [True]  # only what was missing
    assert (files / "Training/a.bin").stat().st_size == 3_000_000
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "data.zip",
        "data.zip.sha256",
        "files",
    ]


def test_a_file_that_changed_in_between_is_not_glued(server, card, tmp_path):
    server.breaks, server.break_after = 9, 1_200_000
    path = card(sha256=None)
    with pytest.raises(ConnectionError):
        fetch_archive(path, tmp_path / "out")
    server.breaks, server.etag, server.body = 0, '"2"', _zip(["new.bin"], 5_000_000)
    assert fetch_archive(path, tmp_path / "out")[1] == hashlib.sha256(server.body).hexdigest()


def test_wrong_checksum_leaves_nothing_under_the_final_name(server, card, tmp_path):
    for kind in ({"sha256": "0" * 64}, {"sha256": None, "md5": "0" * 32}, {"size": 7}):
        with pytest.raises(ValueError, match=r"data\.zip\.part"):
            fetch_archive(card(**kind), tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []


def test_unknown_address_says_why(card, server, tmp_path):
    with pytest.raises(ConnectionError, match="404"):
        fetch_archive(card(url=f"http://127.0.0.1:{server.server_port}/gone.zip"), tmp_path / "out")


def test_first_digest_is_kept_where_none_is_published(server, card, tmp_path):
    path = card(sha256=None)
    _, digest = fetch_archive(path, tmp_path / "out")
    asked = len(server.asked)
    with pytest.raises(FileExistsError, match="--overwrite"):
        fetch_archive(path, tmp_path / "out")
    assert fetch_archive(path, tmp_path / "out", overwrite=True)[1] == digest
    assert len(server.asked) == asked  # the archive was there
    (tmp_path / "out/data.zip").write_bytes(_zip(["other"]))
    with pytest.raises(ValueError, match=r"data\.zip\.sha256"):
        fetch_archive(path, tmp_path / "out", overwrite=True)


def test_registration_is_explained_and_a_given_archive_is_used(tmp_path):
    with pytest.raises(PermissionError, match=r"cvit\.iiit\.ac\.in.*--archive Drishti-GS1_files"):
        fetch_archive("drishti-gs", tmp_path / "out")
    archive = tmp_path / "mine.zip"
    archive.write_bytes(b"<html>log in first</html>")
    with pytest.raises(ValueError, match=r"mine\.zip"):
        fetch_archive("drishti-gs", tmp_path / "out", archive=archive)
    archive.write_bytes(_zip(["Training/Images/a.png"]))  # the wrong one's digest was not kept
    files, _ = fetch_archive("drishti-gs", tmp_path / "out", archive=archive)
    assert (files / "Training/Images/a.png").is_file()
    assert archive.is_file()


def test_cards():
    cards = [load_card(path) for path in CARDS.glob("*/card.json")]
    assert cards
    for card in cards:
        assert card.citation
        assert card.licence
        assert card.sha256 or card.md5 or "TOFU" in card.checksum_note
        assert card.needs_registration or card.url
    with pytest.raises(FileNotFoundError, match="drishti-gs"):
        load_card("nothing")


def _tar(path, name, *, link=""):
    with tarfile.open(path, "w") as file:
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        file.addfile(member)


def test_archives_that_leave_their_folder_are_refused(tmp_path):
    for name in ("../evil", "a/../../evil", "/evil", "..\\evil", "C:/evil"):
        (tmp_path / "a.zip").write_bytes(_zip(["good", name]))
        with pytest.raises(ValueError, match=r"evil"):
            extract(tmp_path / "a.zip", tmp_path / "out")
    for member in ({"name": "../evil"}, {"name": "link", "link": "/etc"}):
        _tar(tmp_path / "a.tar", **member)
        with pytest.raises(ValueError, match=r"a\.tar"):
            extract(tmp_path / "a.tar", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "a.zip"]


def test_broken_and_unknown_archives(tmp_path, monkeypatch):
    whole = _zip(["a"], 10_000)
    broken = bytearray(whole)
    broken[500] ^= 255
    for content in (bytes(broken), whole[:5000], b"<html>login</html>", b""):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.zip"):
            extract(tmp_path / "a.zip", tmp_path / "out")
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07\x01\x00")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="libarchive-tools"):
        extract(tmp_path / "a.rar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for a RAR program is a shell script")
def test_rar_goes_through_an_installed_program(tmp_path, monkeypatch):
    """Only the calls are tested: a script stands in for the program."""
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07\x01\x00")
    tool = tmp_path / "bin/bsdtar"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nif [ "$1" = -tf ]; then echo "$NAME"; else echo x > good; fi\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NAME", "../evil")
    with pytest.raises(ValueError, match=r"\.\./evil"):
        extract(tmp_path / "a.rar", tmp_path / "out")
    monkeypatch.setenv("NAME", "good")
    extract(tmp_path / "a.rar", tmp_path / "out")
    assert (tmp_path / "out/good").is_file()
    tool.write_text("#!/bin/sh\necho damaged >&2; exit 1\n")
    with pytest.raises(ValueError, match=r"bsdtar cannot read .*a\.rar: damaged"):
        extract(tmp_path / "a.rar", tmp_path / "out2")
