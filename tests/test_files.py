"""A file is replaced whole, whatever happens to its writers."""

import json

import pytest

from pipeline.errors import InputError
from pipeline.files import read_json, replacing, write_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_as_an_editor_saved_it(encoding, tmp_path):
    content = {"patient": "Jürgen", "fold": 0}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert read_json(path) == content
    path.write_bytes(path.read_bytes()[:-5] + b"\xff")
    with pytest.raises(InputError, match=r"datalist\.json: it is not JSON"):
        read_json(path)


@pytest.mark.parametrize("alone", [False, True])
def test_an_error_leaves_the_old_file_and_nothing_else(alone, tmp_path):
    path = tmp_path / "folder" / "a.txt"
    write_json(path, {"a": path}, alone=alone)
    before = path.read_text()

    def fail() -> None:
        with replacing(path, alone=alone) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]


def test_writers_at_once_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path, sync=True) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def test_a_lone_writer_removes_what_a_killed_one_left(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path, alone=True) as temporary:
        left = temporary
        temporary.write_text("new")
    left.write_text("half")
    with replacing(path, alone=True) as temporary:
        temporary.write_text("newer")
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path):
    path = tmp_path / ("a" * 250 + ".json")
    write_json(path, {})
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_has_vanished_is_not_made_again(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_json(tmp_path / "gone" / "a.json", {}, make_folder=False)
    assert not (tmp_path / "gone").exists()
