"""What no single module can promise: versions, layers, JSON and pages that fit each other."""

import ast
import json
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline import __version__
from pipeline.bundle.configs import is_plain
from pipeline.bundle.ids import IDS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONFIGS = sorted((ROOT / "bundles").glob("*/configs"))
FUNDUS = ROOT / "bundles/fundus_disc_cup_segmentation/configs"  # what docs/train.md is about
BUNDLE = FUNDUS.parent.name
PANCREAS = ROOT / "bundles/pancreas_ct_segmentation/configs"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bundles/*/docs/*.md")])

# From the top down: a part imports itself and what is in a lower row.
LAYERS = [
    ["__main__"],
    ["cli"],
    ["doctor"],
    ["authoring", "comparison", "experiments", "packaging", "prediction"],
    ["evaluation", "tracking"],
    ["datasets", "engines"],
    ["bundle"],
    ["networks", "transforms"],
    ["folders", "walk"],
    ["files"],
    ["errors", "lazy"],
    ["__init__", "__version__"],  # which is in it
]
# These travel inside a packaged bundle, under another name, to where little else is installed.
TRAVELLERS = ("bundle", "engines", "tracking", "networks", "transforms", "files", "errors", "lazy")
INSTALLED_THERE = {"torch", "monai", "ignite", "numpy", *sys.stdlib_module_names}


def name_of(path):
    return str(path.relative_to(ROOT))


def imports(path):
    """Each import of a module: (full dotted name, is it relative, is it made on loading)."""
    package = path.relative_to(ROOT).parts[:-1]

    def visit(node, on_loading):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False, on_loading) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{start}.{a.name}", node.level > 0, on_loading) for a in node.names)
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        for child in ast.iter_child_nodes(node):
            yield from visit(child, on_loading and not lazy)

    return list(visit(ast.parse(path.read_text()), True))


@pytest.mark.parametrize("path", sorted((ROOT / "pipeline").rglob("*.py")), ids=name_of)
def test_imports_go_down_only(path):
    part = path.relative_to(ROOT / "pipeline").parts[0].removesuffix(".py")
    layer = next(row for row, parts in enumerate(LAYERS) if part in parts)
    travels = part in TRAVELLERS and path.name != "cli.py"
    reachable = {part, *(name for row in LAYERS[layer + 1 :] for name in row)}
    for name, relative, on_loading in imports(path):
        top, *rest = name.split(".")
        if top == "pipeline":
            assert rest[0] in reachable, f"{part} imports {name}, which is not below it"
            assert relative or not travels, f"{name}: {part} needs a relative import"
        elif travels and on_loading:
            assert top in INSTALLED_THERE, f"{name}: import it inside a function"
        assert top != "mlflow" or not on_loading, f"{name}: import it inside a function"


def module_files(name):
    """The file of a dotted name, and that of each package on the way to it."""
    path = ROOT
    for part in name.split("."):
        if (path / f"{part}.py").is_file():
            yield path / f"{part}.py"
        path = path / part


def test_no_file_of_code_is_too_long_to_have_one_idea():
    lengths = {path: path.read_text().count("\n") for path in (ROOT / "pipeline").rglob("*.py")}
    assert not {name_of(path): n for path, n in lengths.items() if n > 300}


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        path: {file for name, *_ in imports(path) for file in module_files(name)} - {path}
        for path in (ROOT / "pipeline").rglob("*.py")
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def test_the_exact_versions_are_within_the_declared_ones():
    declared = PROJECT["project"]["dependencies"] + [
        line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines
    ]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {}
    for requirement in map(Requirement, (line for line in lines if not line.startswith("#"))):
        (pin,) = requirement.specifier
        # A local version, such as 2.13.0+cpu, is on no package index.
        assert (pin.operator, "+" in pin.version) == ("==", False), str(requirement)
        assert pins.setdefault(canonicalize_name(requirement.name), pin.version) == pin.version
    for requirement in map(Requirement, declared):
        name = canonicalize_name(requirement.name)
        if name != PROJECT["project"]["name"]:
            assert requirement.specifier.contains(pins[name]), f"{requirement}, not {pins[name]}"


def test_a_release_has_one_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    git = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD"]
    tags = subprocess.run(git, capture_output=True, text=True).stdout.split()
    assert all(tag == f"v{__version__}" for tag in tags if tag.startswith("v"))
    assert callable(pkgutil.resolve_name(PROJECT["project"]["scripts"][PROJECT["project"]["name"]]))


def test_a_wheel_works_without_a_clone(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:  # all Python: to unpack it is to install it
        archive.extractall(tmp_path / "there")
    copy = [sys.executable, "-m", "pipeline", "bundle", "copy", BUNDLE, "--output", "mine"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "there")}
    subprocess.run(copy, cwd=tmp_path, env=environment, check=True, capture_output=True)
    shipped = ROOT / "bundles" / BUNDLE
    files = {path.relative_to(shipped) for path in shipped.rglob("*") if path.is_file()}
    assert files == {
        path.relative_to(tmp_path / "mine")
        for path in (tmp_path / "mine").rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert json.loads((tmp_path / "mine/plans/networks.json").read_text())["bundle"] == "mine"
    cards = tmp_path / "there/pipeline/shipped/data"
    assert {path.parent.name for path in cards.glob("*/card.json")} == {
        path.parent.name for path in (ROOT / "data").glob("*/card.json")
    }


def test_images_of_docker_hold_both_environments():
    text = (ROOT / "Dockerfile").read_text()
    python = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert f"FROM python:{python}-slim AS training" in text
    assert "-c constraints.txt" in text
    assert "-r label-requirements.txt" in text
    extras = re.search(r"'\.\[(.*?)\]'", text)[1].split(",")
    assert set(extras) <= PROJECT["project"]["optional-dependencies"].keys()


def test_conda_installs_the_same():
    python, pip, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert (pip, packages) == ("pip", {"pip": ["-c constraints.txt", "-e .[dev]"]})
    version = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert python == f"python={version}"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + version.replace(".", "")
    assert f"command -v python{version} " in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "bundles").rglob("*.json")), ids=name_of)
def test_what_a_json_names_is_there(path):
    for name in re.findall(r"\bpipeline(?:\.\w+)+", path.read_text()):
        assert callable(pkgutil.resolve_name(name))


@pytest.mark.parametrize("configs", CONFIGS, ids=name_of)
def test_training_and_inference_see_the_same_image_and_network(configs):
    train, infer = (
        json.loads((configs / f"{name}.json").read_text()) for name in ("train", "inference")
    )
    both = train.keys() & infer.keys()
    # Inference takes a folder of images, training a dataset with its datalist.
    plain = {name for name in both if is_plain(train[name])} - {"dataset_dir"}
    assert {"roi_size", "channels"} <= plain
    for name in plain | {"network_def", "network", "preprocessing"}:
        assert infer[name] == train[name], name


@pytest.mark.parametrize("configs", CONFIGS, ids=name_of)
def test_evaluation_and_inference_make_a_mask_by_the_same_steps(configs):
    evaluate, infer = (
        json.loads((configs / f"{name}.json").read_text()) for name in ("evaluate", "inference")
    )
    steps = evaluate["validate#postprocessing"]["transforms"]
    # Inference goes on to one mask, and to a file.
    more = infer["postprocessing"]["transforms"][len(steps) :]
    assert infer["postprocessing"]["transforms"] == steps + more
    names = [step["_target_"].split(".")[-1] for step in more]
    assert names == ["RegionsToLabeld", "SaveImaged"]
    for name in evaluate.keys() & infer.keys() - {"runtime"}:
        assert evaluate[name] == infer[name] or not is_plain(evaluate[name]), name


@pytest.mark.parametrize("configs", CONFIGS, ids=name_of)
def test_the_reference_has_every_id_that_a_user_sets(configs):
    train = json.loads((configs / "train.json").read_text())
    meanings = json.loads((ROOT / "docs/reference/meanings.json").read_text())
    plain = {name for name, value in train.items() if is_plain(value)}
    # A null without a rule waits for an overlay.
    waiting = {name for name in plain if train[name] is None and not IDS[name].rule}
    assert plain - waiting <= meanings.keys()


@pytest.mark.parametrize(
    ("page", "configs"), [("docs/train.md", FUNDUS), ("docs/pancreas.md", PANCREAS)]
)
def test_a_bundles_page_lists_every_overlay(page, configs):
    overlays = (ROOT / page).read_text().split("\n## Overlays\n")[1].split("\n## ")[0]
    for path in configs.rglob("*.json"):
        if path.name not in ("train.json", "inference.json", "metadata.json"):
            assert f"\n| `{path.relative_to(configs)}` | " in overlays


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', text):
        target = "".join(link).partition("#")[0]
        if target and "://" not in target:
            assert (page.parent / target).exists(), target
