"""New folders: all of it or nothing, and no file that was not made there is replaced."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.folders import new_folder


def test_a_failure_leaves_what_was_there(tmp_path):
    output = tmp_path / "out"
    with new_folder(output) as stage:
        (stage / "datalist.json").write_text("old")
    with pytest.raises(FileExistsError, match="--overwrite"), new_folder(output):
        pass
    with pytest.raises(TypeError), new_folder(output, overwrite=True) as stage:
        (stage / "datalist.json").write_text(None)
    assert (output / "datalist.json").read_text() == "old"
    with new_folder(output, overwrite=True) as stage:
        (stage / "datalist.json").write_text("new")
    assert (output / "datalist.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _write(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def _files(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".made.json")
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


_NAMES = st.sets(st.builds("{}/{}.png".format, st.sampled_from("ab"), st.sampled_from("xyz")))


@given(first=_NAMES, own=_NAMES, second=_NAMES)
def test_overwrite_replaces_only_what_was_made(tmp_path_factory, first, own, second):
    output = tmp_path_factory.mktemp("data") / "out"
    own = own - first
    with new_folder(output) as stage:
        _write(stage, first)
    _write(output, own)
    before = _files(output)
    if own & second:
        with (
            pytest.raises(FileExistsError, match=str(output)),
            new_folder(output, overwrite=True) as stage,
        ):
            _write(stage, second)
        assert _files(output) == before
        return
    with new_folder(output, overwrite=True) as stage:
        _write(stage, second)
    assert _files(output).keys() == own | second
    assert all(_files(output)[name] == before[name] for name in own)


def test_a_folder_of_another_origin_is_never_overwritten(tmp_path):
    _write(tmp_path / "mine", ["images/a.png", "datalist.json"])
    with (
        pytest.raises(FileExistsError, match=r"datalist\.json, images"),
        new_folder(tmp_path / "mine", overwrite=True),
    ):
        pass


def test_what_cannot_be_replaced_changes_nothing(tmp_path):
    output = tmp_path / "out"
    with new_folder(output) as stage:
        _write(stage, ["images/a.png", "images/b.png", "datalist.json"])
    (output / "images/a.png").unlink()
    _write(output, ["images/a.png/now_a_folder.txt"])
    before = _files(output)
    with (
        pytest.raises(FileExistsError, match=r"images/a\.png"),
        new_folder(output, overwrite=True) as stage,
    ):
        _write(stage, ["images/a.png", "datalist.json"])
    assert _files(output) == before
    (output / ".made.json").write_text("")
    with (
        pytest.raises(ValueError, match=r"made\.json"),
        new_folder(output, overwrite=True),
    ):
        pass


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second disk")
def test_a_folder_may_be_a_link_to_another_disk_but_not_lie_on_two(tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "out").symlink_to(other)
        for names in (["images/a.png", "images/b.png"], ["images/a.png"]):
            with new_folder(tmp_path / "out", overwrite=True) as stage:
                _write(stage, names)
            assert _files(Path(other)).keys() == set(names)
        with new_folder(tmp_path / "two") as stage:
            _write(stage, ["images/a.png"])
        (tmp_path / "two/labels").symlink_to(other)
        with (
            pytest.raises(FileExistsError, match="labels"),
            new_folder(tmp_path / "two", overwrite=True),
        ):
            pass


def test_no_source_may_lie_in_the_new_folder(tmp_path):
    for source in (tmp_path / "out", tmp_path / "out/images"):
        with (
            pytest.raises(ValueError, match=str(tmp_path / "out")),
            new_folder(tmp_path / "out", sources=[source], overwrite=True),
        ):
            pass


def test_what_a_killed_command_left_half_done_is_no_obstacle(tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    for name in (".part-1234", "..made.json.12ab34cd.tmp"):
        (output / name).write_text("half")
    with new_folder(output) as stage:
        _write(stage, ["a.png"])
    assert (output / "a.png").is_file()
