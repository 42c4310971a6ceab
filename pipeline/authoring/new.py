"""The command ``bundle new``: measure, choose, show, write, and say what comes next."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..files import read_json
from ..folders import check_free
from ..transforms.regions import Regions
from .choices import choose
from .fingerprint import read_complete, take_fingerprint
from .memory import find_device
from .write import nearest, write_bundle


def make_bundle(
    dataset: Path,
    *,
    output: Path | None = None,
    memory: float | None = None,
    title: str = "",
    regions: str = "",
    dry_run: bool = False,
    overwrite: bool = False,
) -> None:
    """Make a bundle for a dataset; see the options of the command.

    Raises:
        InputError: an option or the dataset does not do.
        FileExistsError: ``output`` has content and ``overwrite`` is off.
    """
    datalist = dataset / "datalist.json" if dataset.is_dir() else dataset
    if memory is not None and not memory >= 1:
        raise InputError(f"--memory {memory:g}: give 1 or more, in GB.")
    given = read_regions(regions) if regions else None
    about = read_complete(datalist, given)  # before long work
    output = output or Path("bundles") / folder_name(about.get("name") or datalist.parent.name)
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", output.resolve().name):
        raise InputError(
            f"--output {output}: the experiment gets the name of this folder; use only letters, "
            "digits and _ . + -."
        )
    if not dry_run:
        check_free(output, overwrite=overwrite)
    found = take_fingerprint(datalist, regions=given)
    configs = [nearest(found) / f"configs/{name}.json" for name in ("inference", "train")]
    shipped = {name: value for path in configs for name, value in read_json(path).items()}
    choices = choose(found, find_device(memory), shipped)
    title = title or output.resolve().name.replace("_", " ").capitalize()
    show(found, choices)
    if not dry_run:
        write_bundle(
            output,
            datalist=datalist,
            found=found,
            choices=choices,
            title=title,
            overwrite=overwrite,
        )
        show_next(output, found)


def folder_name(dataset: str) -> str:
    """The name of a dataset as a folder's."""
    return re.sub(r"[^a-z0-9]+", "_", dataset.lower()).strip("_") or "own"


def read_regions(text: str) -> dict[str, list[int]]:
    """Read the option --regions, a JSON object."""
    try:
        content = json.loads(text)
    except ValueError:
        raise InputError(
            f'--regions {text}: it is not JSON; write it as \'{{"liver": [1], "tumour": [2]}}\'.'
        ) from None
    tree = Regions(content)
    return dict(zip(tree.names, tree.values, strict=True))


def show(found: dict[str, Any], choices: list[Any]) -> None:
    """Print what was measured and what was chosen."""
    console = Console()
    if found["measured"] < found["cases"]:
        console.print(f"measured {found['measured']} of {found['cases']} cases, evenly spaced")
    table = Table("id", "value", "because", title=Text(f"{found['dataset']}: the settings and why"))
    for each in choices:
        table.add_row(each.id, Text(json.dumps(each.value)), Text(each.because))
    console.print(table)


def show_next(output: Path, found: dict[str, Any]) -> None:
    """Print the commands that come next, to be copied word by word."""
    configs, name = f"{output}/configs", output.resolve().name
    run = f"runs/{name}"
    cases, more = "the validation cases", ""
    plan = f"""
Train and evaluate three networks on {len(found["folds"])} folds:
python -m pipeline experiment run {output}/plans/networks.json
"""
    if len(found["folds"]) == 1:  # nothing is validated
        cases, more, plan = "the cases that it was trained on", " --fold all --section training", ""
    print(
        f"""
wrote {output}

Train:
python -m monai.bundle run --config_file {configs}/train.json --output_dir {run}

Evaluate on {cases}, and show all on one page:
python -m monai.bundle run --config_file "['{configs}/train.json','{configs}/evaluate.json']" \\
    --ckpt_path {run}/model.pt{more}
python -m pipeline report {run}
{plan}
Segment new images:
python -m pipeline predict --bundle {output} --checkpoint {run} IMAGES --output {run}/predictions

Package:
python -m pipeline package {output} --checkpoint {run}/model.pt --output {name}.zip"""
    )
