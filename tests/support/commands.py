"""The commands of the project, run in the process of a test."""

import pytest

from pipeline.cli import main


def command(*words: object) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    return end.value.code or 0


def refusal(capsys, *words: object) -> str:
    """The one line with which a command refuses."""
    assert command(*words) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line
