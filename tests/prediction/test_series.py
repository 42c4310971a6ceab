"""Which DICOM series of a folder become cases, and how they are named."""

import numpy as np
import pytest
from commands import command, refusal
from ct_dicom import write_dicom_series

from pipeline.errors import InputError
from pipeline.prediction.inputs import find_inputs

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


@pytest.fixture
def clinic(tmp_path):
    """Two patients: p with two phases, one image of a bolus and a scout; q with one phase."""
    pytest.importorskip("pydicom")
    hu = np.random.default_rng(0).integers(-120, 120, (6, 6, 3))
    folder = tmp_path / "in"
    phases = {"p": {"Arterial": 3, "Venous": 4}, "q": {"Venous": 4}}
    for patient, numbers in phases.items():
        for description, number in numbers.items():
            about = {"patient": patient, "description": description, "number": number}
            write_dicom_series(folder / patient / description, hu, AFFINE, **about)
    write_dicom_series(folder / "p/bolus", hu[..., :1], AFFINE, patient="p", number=2)
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_dicom_series(folder / "p/scout", hu, AFFINE, patient="p", number=1, **scout)
    return folder


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (None, ["p_3", "p_4", "q"]),
        ("4", ["p", "q"]),
        ("venous", ["p", "q"]),
        ("Arterial", ["p"]),
        ("2", ["p"]),
    ],
)
def test_all_cts_of_a_patient_are_cases_or_those_that_are_chosen(chosen, names, clinic, tmp_path):
    cases, left_out = find_inputs([clinic], volumes=True, output=tmp_path / "out", chosen=chosen)
    assert [case.name for case in cases] == names
    assert len(cases) + len(left_out) == 5
    assert all(reason for _, reason in left_out)
    # Where the one image of a bolus is chosen, it fails.
    assert [bool(case.problem) for case in cases] == [chosen == "2"] * len(names)


def test_a_series_that_is_not_there_is_told_with_those_that_are(clinic, tmp_path, capsys):
    (case,), _ = find_inputs([clinic], volumes=True, output=tmp_path / "out", chosen="9")
    assert "no series 9" in case.problem
    assert '4 "Venous"' in case.problem
    with pytest.raises(InputError, match="--series"):
        find_inputs([clinic], volumes=False, output=tmp_path / "out", chosen="4")
    prepare = ("data", "prepare", "dicom", clinic)
    assert '4 "Venous"' in refusal(capsys, *prepare, "--output", "out", "--series", "9")
    options = ("--output", tmp_path / "out", "--series", "venous", "--dry-run")
    assert command(*prepare, *options) == 0
    told = capsys.readouterr()
    assert [line.split(":")[0] for line in told.out.splitlines()] == [
        "images/p.nii.gz",
        "images/q.nii.gz",
    ]
    assert told.err.count("left out") == 3
