import json
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.datalist import assign_folds, read_datalist, write_datalist
from pipeline.files import new_folder


@given(st.sets(st.text(min_size=1), max_size=60), st.integers(2, 7), st.integers(0, 99))
def test_folds_are_balanced_complete_and_independent_of_order(patients, folds, seed):
    dealt = assign_folds(sorted(patients), folds=folds, seed=seed)
    assert dealt == assign_folds(sorted(patients, reverse=True), folds=folds, seed=seed)
    assert dealt.keys() == patients
    sizes = Counter(dealt.values())
    counts = [sizes[fold] for fold in range(folds)]
    assert max(counts) - min(counts) <= 1


def test_round_trip(tmp_path):
    training = [{"image": "images/ä.png", "label": "labels/ä.png", "patient": "ä", "fold": 0}]
    content = {"name": "n", "labels": {"0": "background"}, "training": training, "testing": []}
    write_datalist(tmp_path / "datalist.json", **content)
    assert read_datalist(tmp_path / "datalist.json") == content
    assert json.loads((tmp_path / "datalist.json").read_text()) == content


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
            pytest.raises(FileExistsError, match="not made here"),
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
        pytest.raises(FileExistsError, match=r"datalist\.json, images, which was not made here"),
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
        pytest.raises(FileExistsError, match=r"images/a\.png, which was not made"),
        new_folder(output, overwrite=True) as stage,
    ):
        _write(stage, ["images/a.png", "datalist.json"])
    assert _files(output) == before
    (output / ".made.json").write_text("")
    with (
        pytest.raises(ValueError, match=r"made\.json is broken"),
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
            pytest.raises(FileExistsError, match="labels is on another disk"),
            new_folder(tmp_path / "two", overwrite=True),
        ):
            pass


def test_no_source_may_lie_in_the_new_folder(tmp_path):
    for source in (tmp_path / "out", tmp_path / "out/images"):
        with (
            pytest.raises(ValueError, match="lies in the folder to make"),
            new_folder(tmp_path / "out", sources=[source], overwrite=True),
        ):
            pass
