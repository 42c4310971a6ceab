"""Where an overlay that a user names is looked for."""

from pathlib import Path

import pytest

from pipeline.bundle.given import Given, find_overlay
from pipeline.errors import InputError


def test_an_overlay_is_here_or_in_the_bundle_and_never_in_doubt(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    configs, own = tmp_path / "configs", Path("own.json")
    with pytest.raises(InputError, match=r"own\.json"):
        find_overlay("own.json", configs)
    (configs / "own.json").write_text("{}")
    assert find_overlay("own.json", configs) == configs / "own.json"
    own.write_text("{}")
    for path in (own.resolve(), configs / "own.json"):
        assert find_overlay(str(path), configs) == path
    with pytest.raises(InputError) as error:
        find_overlay("own.json", configs)
    assert str(own.resolve()) in str(error.value)
    assert str(configs / "own.json") in str(error.value)
    monkeypatch.chdir(configs)
    assert find_overlay("own.json", configs).samefile(configs / "own.json")


def test_an_id_has_one_value(tmp_path):
    given = Given.read(tmp_path, [], ["threshold=0.4", "roi_size=[8,8]"])
    assert given.ids == {"threshold", "roi_size"}
    with pytest.raises(InputError, match=r"--set threshold=0\.6: threshold=0\.4 is given too"):
        Given.read(tmp_path, [], ["threshold=0.4", "threshold=0.6"])
