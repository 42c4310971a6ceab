import os
import subprocess
import sys

import pytest
from PIL import Image

from pipeline.cli import main


def run(*arguments):
    """Exit status of a command."""
    with pytest.raises(SystemExit) as exit:
        main([str(argument) for argument in arguments])
    return exit.value.code or 0


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
    assert run("data", "phantom", tmp_path / "p", "--count", 10, "--seed", 3) == 0
    assert run("data", "check", tmp_path / "p/datalist.json") == 0
    assert "10 cases, no problem" in capsys.readouterr().out
    Image.new("L", (9, 9)).save(tmp_path / "p/labels/phantom_0002.png")
    (tmp_path / "p/images/phantom_0001.png").unlink()
    assert run("data", "check", tmp_path / "p/datalist.json") == 1
    out = capsys.readouterr().out
    for text in ("phantom_0002.png", "is empty", "phantom_0001.png", "missing file"):
        assert text in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "check", "nowhere.json"], "no datalist at nowhere.json"),
        (["data", "prepare", "drishti-gs", "nowhere"], "no folder nowhere"),
        (["data", "prepare", "msd", "nowhere", "--output", "out"], "nowhere"),
        (["data", "prepare", "nnunet", "nowhere", "--output", "out"], "nowhere"),
        (["data", "prepare", "nih-pancreas", "nowhere"], "nowhere"),
        (["package", "restore", "moon"], "moon"),
        (["data", "phantom", "out", "--count", "3"], "count is 3"),
        (["data", "fetch", "drishti-gs"], "asks for a registration"),
        (["data", "fetch", "moon"], "no dataset card moon"),
    ],
)
def test_what_the_user_can_put_right_is_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert os.listdir(tmp_path) == []
    with pytest.raises((ValueError, OSError)):
        main(["--debug", *arguments])
