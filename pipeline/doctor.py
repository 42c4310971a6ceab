"""``python -m pipeline doctor``: what this machine has, what is missing, and the command for it."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import one_line

PROJECT = "attention-unet-pipeline"
Row = tuple[str, str, str]  # what, what was found, what to do; nothing to do if it is in order


def doctor() -> None:
    """Show what this machine has, what is missing, and the command for it.

    Exit status 1 if something that every training needs is missing or broken.
    """
    table, broken = Table("what", "found", "to do"), False
    for needed, row in check():
        broken |= needed and bool(row[2])
        table.add_row(*map(Text, row), style="red" if needed and row[2] else None)
    Console().print(table)
    if broken:
        raise typer.Exit(1)


def check() -> Iterator[tuple[bool, Row]]:
    """Yield whether every training needs it, and a row, for each thing."""
    try:
        about = metadata.metadata(PROJECT)
    except metadata.PackageNotFoundError:
        clone = str(Path(__file__).parents[1])
        yield True, (PROJECT, "not installed", install("-e", clone))
        return
    yield False, (PROJECT, about["Version"], "")
    yield True, check_python(about["Requires-Python"])
    for extra in ("", *(about.get_all("Provides-Extra") or ())):
        missing = dict(find_missing(extra))
        what = f"extra {extra}" if extra else "required packages"
        fix = install(*sorted(missing)) if missing else ""
        yield not extra, (what, ", ".join(sorted(missing.values())) or "complete", fix)
    yield True, check_torch()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield False, ("memory", f"{memory:.0f} GB, {os.cpu_count()} CPU cores", "")
    free = shutil.disk_usage(".").free / 1e9
    yield False, ("disk", f"{free:.0f} GB free here", "free some space" if free < 2 else "")
    yield True, check_store()


def check_python(wanted: str) -> Row:
    from packaging.specifiers import SpecifierSet  # comes with pytorch-ignite

    version = platform.python_version()
    fits = SpecifierSet(wanted).contains(version, prereleases=True)
    return "Python", version, "" if fits else f"make an environment with Python {wanted}"


def find_missing(extra: str) -> Iterator[tuple[str, str]]:
    """Yield each requirement of an extra that is not fulfilled, and why."""
    from packaging.requirements import Requirement

    for each in map(Requirement, metadata.requires(PROJECT) or ()):
        if not (each.marker.evaluate({"extra": extra}) if each.marker else not extra):
            continue
        if each.name == PROJECT:  # an extra may hold others
            for inner in each.extras:
                yield from find_missing(inner)
            continue
        wanted = f"{each.name}{each.specifier}"
        try:
            version = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            yield wanted, f"{each.name} is missing"
        else:
            if not each.specifier.contains(version, prereleases=True):
                yield wanted, f"{each.name} {version} is not {each.specifier}"


def install(*requirements: str) -> str:
    """The command that installs packages."""
    return shlex.join(("pip", "install", *requirements))


def check_torch() -> Row:
    """The device that a training takes by default."""
    try:
        import torch

        from .engines.inferer import has_bfloat16
    except Exception as error:  # a broken installation raises about anything
        return "torch", one_line(error), install("--force-reinstall", "torch")
    kind, name = "cpu", f"CPU, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        count, kind = torch.cuda.device_count(), "cuda"
        name = f"{count} x {card.name}, {card.total_memory / 1e9:.0f} GB"
    elif torch.backends.mps.is_available():
        name = f"{name}; MPS is not used"
    kept = "bfloat16" if has_bfloat16(kind) else "float32: no bfloat16 in hardware"
    found = f"{torch.__version__}, {name}, {kept}"
    if kind == "cpu" and shutil.which("nvidia-smi"):
        return "torch", f"{found}; a GPU is there", "install a torch for CUDA, see pytorch.org"
    return "torch", found, ""


def check_store() -> Row:
    """The MLflow store that a training writes to where its bundle names none."""
    what = "MLflow store"
    source = "MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else "MLflow's default"
    try:
        from .tracking.store import connect, sqlite_file, store_uri, without_password

        uri = store_uri(None)
        found = f"{without_password(uri)} ({source})"
        if (file := sqlite_file(uri)) and not file.exists():
            return what, f"{found}: the first training makes it", ""
        connect(uri)
    except ModuleNotFoundError:
        found = "not installed; without it give --log_to_mlflow False"
        return what, found, install("mlflow>=3.17,<4")
    except ValueError as error:
        return what, str(error), "set MLFLOW_TRACKING_URI, or give --tracking_uri"
    return what, found, ""
