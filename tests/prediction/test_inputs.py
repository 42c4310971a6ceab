"""Every case of a command has a name of its own, whatever else is beside it."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_dicom import write_picture

from pipeline.errors import InputError
from pipeline.prediction.input_case import InputCase
from pipeline.prediction.inputs import find_inputs
from pipeline.prediction.names import name_cases, normalize_name

PARTS = st.sampled_from(["a", "A", "b", "a_b", "ct", "é", "e\u0301", "x.y", "\udcff"])
FILES = st.builds(
    lambda folders, stem, ending: Path("/", *folders, stem + ending),
    st.lists(PARTS, max_size=3),
    PARTS,
    st.sampled_from([".nii.gz", ".nii", ".png", ".PNG", ".jpg"]),
)


def names_of(paths):
    return {case.path: case.name for case in name_cases([InputCase(path) for path in paths])}


@given(st.lists(FILES, unique=True, max_size=12), st.randoms())
def test_names_are_distinct_on_any_file_system_and_do_not_depend_on_the_order(paths, random):
    names = names_of(paths)
    assert len({normalize_name(name) for name in names.values()}) == len(paths)
    for name in names.values():
        name.encode()
        assert "/" not in name
    random.shuffle(paths)
    assert names_of(paths) == names


def test_a_name_is_as_short_as_can_be():
    paths = ["/x/p1/ct.nii.gz", "/x/p2/ct.nii.gz", "/x/p2/mr.nii.gz", "/x/p2/a.png", "/x/p2/a.jpg"]
    cases = name_cases([InputCase(Path(path)) for path in paths])
    assert [case.name for case in cases] == ["p1_ct", "p2_ct", "mr", "a_png", "a_jpg"]


def test_files_are_found_once_and_outputs_never(tmp_path):
    for name in ("a.png", "sub/b.JPG", "sub/.hidden.png", ".git/c.png", "out/a_seg.png", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    inputs = [tmp_path, tmp_path / "a.png", tmp_path / "sub/../a.png"]
    cases, left_out = find_inputs(inputs, volumes=False, output=tmp_path / "out")
    assert [case.path.name for case in cases] == ["a.png", "b.JPG"]
    names = [str(path.relative_to(tmp_path)) for path, _ in left_out]
    assert names == [".git", "sub/.hidden.png", "out", "d.txt"]
    # Below a folder of outputs there may well be inputs.
    cases, _ = find_inputs([tmp_path / "sub"], volumes=False, output=tmp_path)
    assert [case.path.name for case in cases] == ["b.JPG"]
    write_picture(tmp_path / "dicom/IM1", np.eye(9, dtype=np.uint8))
    write_picture(tmp_path / "dicom/b.dcm", np.eye(9, dtype=np.uint8), modality="CT")
    cases, left_out = find_inputs(
        [tmp_path / "dicom"], volumes=False, output=tmp_path / "o", modality="photograph"
    )
    assert [case.name for case in cases] == ["IM1"]
    assert [(path.name, "CT" in reason) for path, reason in left_out] == [("b.dcm", True)]
    (tmp_path / "dicom/study.zip").write_bytes(b"PK\x03\x04")
    _, left_out = find_inputs([tmp_path / "dicom"], volumes=False, output=tmp_path / "o")
    assert "ZIP" in dict(left_out)[tmp_path / "dicom/study.zip"]
    os.mkfifo(tmp_path / "pipe.png")  # which would be waited for
    with pytest.raises(InputError, match="neither a file"):
        find_inputs([tmp_path / "pipe.png"], volumes=False, output=tmp_path / "out")
    with pytest.raises(InputError, match="nowhere"):
        find_inputs([tmp_path / "nowhere"], volumes=False, output=tmp_path / "out")
