import json
import stat
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.packaging import archive
from pipeline.packaging.archive import MANIFEST, make_manifest, read_archive, write_archive

FILES = {"configs/train.json": b"{}", "models/model.pt": bytes(range(256))}
names = st.text("abcdefgh_.", min_size=1, max_size=8).filter(lambda name: name.strip("."))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("archives")


@given(st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), st.binary()))
def test_what_is_written_is_read_and_again_gives_the_same_bytes(folder, files):
    files = {f"{place}/{name}": content for place, (name, content) in enumerate(files.items())}
    write_archive(folder / "one.zip", "top", files)
    top, read = read_archive(folder / "one.zip")
    assert (top, read.pop(MANIFEST)) == ("top", make_manifest(files))
    assert read == files
    write_archive(folder / "two.zip", "top", dict(reversed(read.items())))
    assert (folder / "one.zip").read_bytes() == (folder / "two.zip").read_bytes()


@given(st.integers(0, 255), st.integers(0, 10**6))
def test_no_changed_byte_is_read_as_something_else(folder, value, place):
    write_archive(folder / "good.zip", "top", FILES)
    good = (folder / "good.zip").read_bytes()
    place %= len(good)
    (folder / "bad.zip").write_bytes(good[:place] + bytes([value]) + good[place + 1 :])
    try:
        top, read = read_archive(folder / "bad.zip")
    except InputError:
        return
    assert (top, read) == read_archive(folder / "good.zip")


def entry(name, *, mode=stat.S_IFREG | 0o644):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def written(path, entries):
    """A zip with these entries, and a manifest that fits what of them is in ``top``."""
    with zipfile.ZipFile(path, "w") as zipped:
        for info, content in entries:
            zipped.writestr(info, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("info", "named"),
    [
        (entry("top/../../etc/passwd"), "leads out"),
        (entry("/etc/passwd"), "leads out"),
        (entry("top\\..\\evil"), "leads out"),
        (entry("C:/evil"), "leads out"),
        (entry("top/a\nb"), "leads out"),
        (entry("top/link", mode=stat.S_IFLNK | 0o777), "top/link"),
        (entry("top/pipe", mode=stat.S_IFIFO | 0o644), "top/pipe"),
        (entry("top/configs/train.json"), "twice"),
        (entry("TOP/configs/Train.json"), "twice"),
    ],
    ids=lambda value: getattr(value, "filename", None),
)
def test_an_archive_that_tricks_an_unpacking_program_is_refused(tmp_path, info, named):
    entries = [(entry(f"top/{name}"), content) for name, content in FILES.items()]
    entries.append((entry(f"top/{MANIFEST}"), make_manifest(FILES)))
    assert read_archive(written(tmp_path / "good.zip", entries))[0] == "top"
    with pytest.raises(InputError, match=named):
        read_archive(written(tmp_path / "bad.zip", [*entries, (info, b"x")]))


def test_what_would_fill_the_disk_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST", 10**6)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("top/zeros", bytes(10**7))
    assert (tmp_path / "bomb.zip").stat().st_size < 20_000
    with pytest.raises(InputError, match="1000000 bytes"):
        read_archive(tmp_path / "bomb.zip")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda files: files | {"models/model.pt": b"other"}, "models/model.pt was changed"),
        (lambda files: files | {"scripts/evil.py": b""}, "scripts/evil.py was added"),
        (lambda files: {k: v for k, v in files.items() if "pt" not in k}, "model.pt was missing"),
        (lambda files: {k: v for k, v in files.items() if k != MANIFEST}, "manifest.json"),
        (lambda files: files | {MANIFEST: b"{}"}, "manifest.json"),
        (lambda files: files | {MANIFEST: json.dumps({"files": [1]}).encode()}, "manifest.json"),
    ],
)
def test_what_differs_from_the_manifest_is_named(tmp_path, change, reason):
    files = change({**FILES, MANIFEST: make_manifest(FILES)})
    path = tmp_path / "changed.zip"
    with pytest.raises(InputError, match=reason):
        read_archive(written(path, [(entry(f"top/{n}"), c) for n, c in files.items()]))


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    for path, reason in ((tmp_path / "text.zip", "text.zip"), (tmp_path / "none.zip", "none.zip")):
        with pytest.raises(InputError, match=reason):
            read_archive(path)
    two = [(entry("one/a"), b""), (entry("two/a"), b"")]
    with pytest.raises(InputError, match=r"one.*two"):
        read_archive(written(tmp_path / "two.zip", two))
