"""Every command on a page fits the real command line, and the reference follows from the code."""

import ast
import contextlib
import inspect
import itertools
import json
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import monai.bundle
import pytest
import typer

from pipeline.bundle.ids import IDS, row
from pipeline.cli import app

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.ipynb"))
MADE = {path.with_suffix(".md") for path in TUTORIALS}  # by `make docs`
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bundles/*/docs/*.md")})
PAGES = [page for page in PAGES if page not in MADE] + TUTORIALS
FUNDUS = ROOT / "bundles/fundus_disc_cup_segmentation"
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PROGRAM = typer.main.get_command(app)
# Programs of others, whose options are theirs.
OTHERS = {"source", "curl", "caddy", "docker", "export", "mlflow", "pre-commit"}
OTHERS |= {"ls", "head", "tail"}  # of the tutorials
# What is put into a folder when a command does not say which.
OUTPUTS = {"compare": "comparison"}


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(page):
    """The code that a page shows, as one text for each language."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        return [each.removeprefix("%%bash\n") for each in code if each.startswith("%%bash")]
    text = page.read_text()
    indented = re.findall(r"^    (python .*)$", text, re.M)
    return re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S) + indented


def commands(page):
    """The commands of a page as lists of words, with the variables that it sets."""
    variables = {}
    for line in "\n".join(blocks(page)).replace("\\\n", " ").splitlines():
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        for _, group in itertools.groupby(words, key=lambda word: word in ("&&", "|")):
            group = [word for word in group if word != "2>&1"]
            if group[0] not in ("&&", "|"):
                yield group


def place(text, page):
    """A path of a page in this repository: a bundle that a page makes is like one that ships."""
    path = Path(text)
    if path.parts[0] in ("configs", "models"):  # the pages of a bundle, run in its folder
        return page.parents[1] / path if page.parents[1].parent.name == "bundles" else FUNDUS / path
    if path.parts[-2] == "configs" and not (ROOT / path).parent.exists():
        return FUNDUS / "configs" / path.name
    return ROOT / path


def check_pipeline(words):
    """Read the words as the command line does; return the names of the command."""
    command, names = PROGRAM, []
    while hasattr(command, "commands"):
        if names == ["package"] and words[0] not in command.commands:
            words = ["build", *words]
        assert words[0] in command.commands, words
        names.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    context = command.make_context(" ".join(names), list(words))
    return " ".join(names), context.params


def check_bundle_run(words, page):
    given = {}
    for key, value in zip(words[::2], words[1::2], strict=True):
        assert key.startswith("--"), key
        given[key[2:]] = value
    files = given.pop("config_file")
    files = ast.literal_eval(files) if files.startswith("[") else [files]
    known = set()
    for file in files:
        if Path(file).name == "best.json":  # an overlay that a search writes
            continue
        known |= json.loads(place(file, page).read_text()).keys()
    for key, value in given.items():
        name = key.split("#")[0]
        assert name in known, f"no id {name} in {files}"
        with contextlib.suppress(SyntaxError, ValueError):
            value = ast.literal_eval(value)
        made = isinstance(value, str) and value.startswith("$")
        if (rule := row(key).rule) and not made:
            assert rule.holds(value), f"--{key} {value}: {rule.fix}"
    return files, given


def check_bundle_verb(verb, words):
    parameters = inspect.signature(getattr(monai.bundle, verb)).parameters
    options = [word[2:] for word in words if word.startswith("--")]
    assert set(options) <= parameters.keys(), options


def check(words, page):
    """Check a command; return the folder or file that it makes, if it says one."""
    if words[0] == "torchrun":
        words = ["python", *words[words.index("-m") :]]
    if words[:3] == ["python", "-m", "pipeline"]:
        names, params = check_pipeline(words[3:])
        told = params.get("output") or OUTPUTS.get(names)
        return None if params.get("overwrite") or params.get("dry_run") else told
    if words[:4] == ["python", "-m", "monai.bundle", "run"]:
        files, given = check_bundle_run(words[4:], page)
        return None if "resume" in str(files) or "resume" in given else given.get("output_dir")
    if words[:3] == ["python", "-m", "monai.bundle"]:
        return check_bundle_verb(words[3], words[4:])
    words = words[1:] if words[0].startswith("PYTHON=") else words
    if words[0].endswith(".sh") or (words[0] == "python" and words[1].endswith(".py")):
        code = (ROOT / words[words[0] == "python"]).read_text()
        options = [word for word in words if word.startswith("--")]
        assert all(each in code or each[2:].replace("-", "_") in code for each in options), words
    elif words[0] == "make":
        for target in words[1:]:
            name = target.split("=")[0]
            made = name.startswith("data/phantoms/") and name.endswith("/datalist.json")
            assert made or re.search(rf"^{re.escape(name)}\s*[?:]", MAKEFILE, re.M), target
    elif words[0] == "pip":
        for extra in re.findall(r"\.\[(.*?)\]", " ".join(words)):
            assert set(extra.split(",")) <= EXTRAS.keys(), extra
    else:
        assert words[0] in OTHERS or words[2:3] == ["pytest"], words
    return None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_are_those_of_the_program(page):
    # After `make demo`, too: a folder is made once.
    made = {"data/phantoms/fundus"}
    for words in commands(page):
        target = check(words, page)
        assert target is None or str(target) not in made, f"made before: {words}"
        made.add(str(target))


def test_each_command_and_overlay_of_a_page_is_run_by_a_test_or_a_tutorial():
    tests = [path for path in ROOT.glob("tests/**/*.py") if path != Path(__file__)]
    text = "\n".join(path.read_text() for path in [*tests, *TUTORIALS, ROOT / "Makefile"])
    run = " ".join(re.sub(r"[\"',()\[\]]", " ", text).split())
    for page in PAGES:
        for words in commands(page):
            if words[:3] == ["python", "-m", "pipeline"]:
                names, _ = check_pipeline(words[3:])
                assert names.removesuffix(" build") in run, names
            if words[:4] == ["python", "-m", "monai.bundle", "run"]:
                for file in check_bundle_run(words[4:], page)[0]:
                    assert Path(file).stem in run, file


def test_the_reference_is_what_the_code_says():
    generate = runpy.run_path(str(ROOT / "docs/reference/generate.py"))
    assert generate["MEANINGS"].keys() >= {n for n, i in IDS.items() if i.role in generate["SHOWN"]}
    for name, write in generate["PAGES"].items():
        page = ROOT / "docs/reference" / name
        assert page.read_text() == write(), f"run: python {name_of(page.parent)}/generate.py"


def test_the_site_has_every_page_in_its_order():
    nav = json.dumps(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    pages = {str(p.relative_to(ROOT / "docs")) for p in [*ROOT.glob("docs/**/*.md"), *MADE]}
    assert set(re.findall(r'"([\w/]+\.md)"', nav)) == pages


def test_tests_that_a_page_names_exist():
    known = {path.stem for path in ROOT.glob("tests/**/*.py")}
    for path in ROOT.glob("tests/**/*.py"):
        known |= set(re.findall(r"def (test_\w+)", path.read_text()))
    texts = [page.read_text() for page in PAGES]
    assert {each for text in texts for each in re.findall(r"\btest_\w+\b(?!\.\.\.)", text)} <= known
