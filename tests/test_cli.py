import os
import subprocess
import sys
from importlib import metadata

import pytest
from commands import command, refusal
from PIL import Image

from pipeline import __version__, doctor
from pipeline.cli import main


def test_help_is_instant():
    code = (
        "import sys, pipeline.cli\n"
        "heavy = {'torch', 'monai', 'numpy', 'scipy', 'matplotlib', 'PIL', 'mlflow'}\n"
        "print(*(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_from_phantoms_to_a_report_of_problems(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert command("data", "phantom", tmp_path / "p", "--count", 10, "--seed", 3) == 0
    assert command("data", "check", tmp_path / "p") == 0  # the folder, or its datalist
    assert "10 cases, no problem" in capsys.readouterr().out
    Image.new("L", (9, 9)).save(tmp_path / "p/labels/phantom_0002.png")
    (tmp_path / "p/images/phantom_0001.png").unlink()
    assert command("data", "check", tmp_path / "p/datalist.json") == 1
    out = capsys.readouterr().out
    for text in ("phantom_0002.png", "is empty", "phantom_0001.png", "missing file"):
        assert text in out


def test_the_doctor_names_what_is_missing_and_the_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(doctor, "check_store", lambda: ("MLflow store", "none", ""))
    assert command("doctor") == 0
    needs = ["numpy>=1", "absent-a>=2", 'absent-b; extra == "data"', "numpy<1; extra == 'export'"]
    monkeypatch.setattr(metadata, "requires", lambda name: needs)
    found = {row[0]: row[1:] for _, row in doctor.check()}
    assert found["required packages"][0] == "absent-a is missing"
    assert found["extra data"][0] == "absent-b is missing"
    assert found["required packages"][1] == "pip install 'absent-a>=2'"
    assert "is not <1" in found["extra export"][0]
    assert found["extra tracking"] == ("complete", "")
    capsys.readouterr()
    assert command("doctor") == 1
    assert "absent-a is missing" in capsys.readouterr().out


def test_the_version_is_told(capsys):
    assert command("--version") == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("source", [("msd", "in"), ("folder", "--images", "in", "--labels", "in")])
def test_a_full_output_folder_is_refused_before_the_files_are_read(
    tmp_path, capsys, monkeypatch, source
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert command("data", "prepare", *source, "--output", ".") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert command("data", "prepare", *source, "--output", ".", "--dry-run") == 1
    assert "--overwrite" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "check", "nowhere.json"], "no datalist at nowhere.json"),
        (["data", "prepare", "drishti-gs", "nowhere"], "no folder nowhere"),
        (["data", "prepare", "msd", "nowhere", "--output", "out"], "nowhere"),
        (["data", "prepare", "nnunet", "nowhere", "--output", "out"], "nowhere"),
        (["data", "prepare", "nih-pancreas", "nowhere"], "nowhere"),
        (["data", "prepare", "dicom", "nowhere", "--modality", "CT"], "nowhere"),
        (["package", "restore", "moon"], "moon"),
        (["data", "phantom", "out", "--count", "3"], "count is 3"),
        (["data", "fetch", "drishti-gs"], "asks for a registration"),
        (["data", "fetch", "moon"], "no dataset card moon"),
        (["bundle", "copy", "fundus"], "fundus_disc_cup_segmentation"),
        (["report", "nowhere"], "nowhere: it has no history.csv"),
    ],
)
def test_what_the_user_can_put_right_is_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, *arguments)
    assert os.listdir(tmp_path) == []
    with pytest.raises((ValueError, OSError)):
        main(["--debug", *arguments])
