import ast
import json
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.packaging import code
from pipeline.packaging.code import FOLDER, collect_modules, rename_project

ROOT = Path(__file__).parents[2]
BUNDLES = sorted(path.parent for path in (ROOT / "bundles").glob("*/configs"))
SHARED = ("__init__", "errors", "lazy")
NETWORK = ("__init__", "attention_unet", "folding", "gates", "padding", "recompute")
TRAIN = [json.loads((bundle / "configs/train.json").read_text()) for bundle in BUNDLES]


def test_what_travels_is_what_is_needed_and_nothing_above_it():
    files = collect_modules(TRAIN)
    assert {name.split("/")[1] for name in files} == {
        *("__init__.py", "errors.py", "files.py", "lazy.py"),
        *("bundle", "engines", "networks", "tracking", "transforms"),
    }
    for name, content in files.items():
        assert (FOLDER / name.removeprefix("scripts/")).read_bytes() == content
    networks = collect_modules(["pipeline.networks.AttentionUnet"])
    assert networks.keys() == {
        f"scripts/{name}.py" for name in (*SHARED, *(f"networks/{n}" for n in NETWORK))
    }


def test_renaming_reaches_every_component_and_no_other_word():
    config = {"a": [{"_target_": "pipeline.networks.X"}], "b": "$pipeline.engines.f(@c)"}
    assert rename_project(config) == {
        "a": [{"_target_": "scripts.networks.X"}],
        "b": "$scripts.engines.f(@c)",
    }
    for text in ("a pipeline. It", "my_pipeline.x", 3, None, "subpipeline.y"):
        assert rename_project(text) == text


def test_a_name_that_leads_nowhere_is_refused():
    with pytest.raises(InputError, match=r"pipeline\.nowhere\.Net"):
        collect_modules([{"_target_": "pipeline.nowhere.Net"}])


def test_imports_are_followed_but_for_type_checkers(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "FOLDER", tmp_path)
    for name in ("__init__", "errors", "late", "types"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "part.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from .errors import x\n"
        "if TYPE_CHECKING:\n    from .types import y\nelse:\n    from . import errors\n"
        "def f():\n    from . import late\n"
    )
    assert sorted(collect_modules(["pipeline.part.f"])) == [
        f"scripts/{name}.py" for name in ("__init__", "errors", "late", "part")
    ]


@pytest.mark.parametrize("part", ["engines", "networks", "transforms"])
def test_nothing_that_answers_requests_imports_code_while_it_runs(part):
    """Between the requests of two bundles ``scripts`` changes: a late import gets the other's."""
    for path in sorted((FOLDER / part).glob("*.py")):
        if path.name == "predictor.py":  # a server has its own
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                late = [n for n in ast.walk(function) if isinstance(n, ast.ImportFrom) and n.level]
                assert not late, f"{path}: {function.name} imports {ast.unparse(late[0])}"
