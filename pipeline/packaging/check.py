"""Check that a package is complete, runs by itself, and gives the results of the repository."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ..bundle.configs import Config, texts
from ..bundle.predictor import Predictor
from ..bundle.trained import without_ensemble
from ..errors import InputError, one_line
from ..files import read_json, write_json
from ..networks.weights import load_weights
from .archive import MANIFEST, WEIGHTS, make_manifest, read_archive, unpack
from .code import FOLDER, PROJECT, TRAVELS_AS
from .configs import find_missing_ids
from .phantom import draw_phantom
from .zoo import LARGE, LARGE_FILES, check_zoo

SCHEMA = Path(__file__).with_name("metadata_schema.json")
ABSOLUTE = re.compile(r"/\w|~|[A-Za-z]:[\\/]|file:")
TIMEOUT = 1800  # s, for the largest network on a small machine
Results = list[tuple[str, str]]  # what was checked, each with its result


def verify_archive(archive: Path) -> Results:
    """Check an archive: its form, its manifest, and all that ``check_package`` checks.

    Raises:
        InputError: it is dangerous to unpack, was changed, or fails a check.
    """
    name, files = read_archive(archive)
    results = [("archive", f"{len(files)} files, as in the manifest; safe to unpack")]
    if WEIGHTS not in files:
        check_files(files, name)
        return [*results, ("weights", f"not in the archive; {LARGE_FILES} says where they are")]
    return results + check_package(files, name)


def check_package(
    files: Mapping[str, bytes], name: str, *, reference: tuple[dict[str, Any], Path] | None = None
) -> Results:
    """Check the files of a package, in this process and in a fresh one.

    Args:
        files: content by path.
        name: the package's folder.
        reference: the inference config of the repository, and the weights, whose results the
            package must give. By default the package's own, if its code is the repository's.

    Raises:
        InputError: names every check that failed.
    """
    results = check_files(files, name)
    with TemporaryDirectory() as folder:
        root, work = Path(folder, name), Path(folder, "work")
        unpack({**files, MANIFEST: make_manifest(files)}, root)
        work.mkdir()
        config = json.loads(files["configs/inference.json"])
        given = {
            "schema": str(SCHEMA),
            "images": str(work / "images"),
            "output": str(work / "output"),
            **draw_phantom(config, work),
        }
        if reference is None and has_our_code(files):
            ours = re.sub(rf"\b{TRAVELS_AS}\.(?=[a-z])", f"{PROJECT}.", json.dumps(config))
            reference = (json.loads(ours), root / WEIGHTS)
        if reference is not None:
            given |= compute_reference(*reference, given["image"], work)
        write_json(work / "given.json", given)
        command = [sys.executable, "-P", str(Path(__file__).with_name("fresh.py"))]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        # -P keeps this project's folder off the path; no bytecode is written beside the code.
        done = subprocess.run(
            [*command, str(root), str(work)],
            cwd=work,
            env={**environ, "PYTHONDONTWRITEBYTECODE": "1", "MLFLOW_TRACKING_URI": ""},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        if not (work / "found.json").is_file():
            raise InputError(f"{name}: its code ended the interpreter: {done.stderr[-500:]}")
        found = read_json(work / "found.json")
    failed = [f"{title}: {text}" for title, (passed, text) in found.items() if not passed]
    if failed:
        raise InputError(f"the package {name} fails: {'; '.join(failed)}")
    size = sum(map(len, files.values()))
    results += [(title, text) for title, (_, text) in found.items()]
    return [*results, ("size", f"{size / 1e6:.1f} MB, weights {len(files[WEIGHTS]) / 1e6:.1f} MB")]


def check_files(files: Mapping[str, bytes], name: str) -> Results:
    """Check what can be seen without running anything.

    Raises:
        InputError: names the file at fault, and what is wrong in it.
    """
    try:
        check_zoo(files, name)
        metadata = json.loads(files["configs/metadata.json"])
        check_for_monai_label(files, metadata["network_data_format"], name)
        labels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        named = sorted(f"{value} {label}" for value, label in labels.items() if value != "0")
        for path, content in files.items():
            for place in find_machine_paths(path, content):
                raise InputError(f"{name}: {path} has a path of this machine, {place}; remove it.")
    except InputError:
        raise
    except Exception as error:  # a stranger's config may hold anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(
            f"{name}: its configs are not those of a bundle ({reason}); package it again."
        ) from None
    zoo = f"{name} {metadata['version']}: files, ids, changelog, card"
    if large := [path for path, content in files.items() if len(content) > LARGE]:
        zoo += f"; {', '.join(large)}: larger than {LARGE / 1e6:.0f} MB, needs --weights-url"
    return [
        ("model zoo", zoo),
        ("labels", ", ".join(named)),
        ("paths", "no file has a path of this or another machine"),
    ]


def check_for_monai_label(
    files: Mapping[str, bytes], formats: Mapping[str, Any], name: str
) -> None:
    """Refuse a package that MONAI Label could not serve or train.

    Raises:
        InputError: names the first reason.
    """
    first = [next(iter(formats[side])) for side in ("inputs", "outputs")]
    models = [path for path in files if re.fullmatch(r"models/.*\.(pt|ts)", path)]
    missing = find_missing_ids(json.loads(files["configs/train.json"]))
    if first != ["image", "pred"]:
        fault = f"needs `image` as the first input and `pred` as the first output, not {first}"
    elif models not in ([WEIGHTS], []):
        fault = f"may serve any of {models}; keep {WEIGHTS} only"
    elif missing:
        fault = f"sets {', '.join(missing)}, which are not in train.json; add them"
    else:
        return
    raise InputError(f"{name}: MONAI Label {fault}.")


def find_machine_paths(path: str, content: bytes) -> Iterator[str]:
    """Parts of a file that name the machine it was made on, or a place on one."""
    places = {str(Path.home()), str(Path.cwd()), str(FOLDER.parent)}
    # A host may have the name of any word, such as "train".
    if re.search(r"[\d.-]", host := socket.gethostname()):
        places.add(host)
    known = [place.encode() for place in places if len(place) > 3]
    for part in read_parts(content):
        for place in known:
            if re.search(rb"(?<!\w)" + re.escape(place) + rb"\b", part):
                yield place.decode()
    if path.endswith(".json"):
        yield from (text for text in texts(json.loads(content)) if ABSOLUTE.match(text))


def read_parts(content: bytes) -> Iterator[bytes]:
    """A file, and its compressed entries if it is a zip, as PyTorch's files are."""
    yield content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            for entry in inner.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    yield inner.read(entry)


def has_our_code(files: Mapping[str, bytes]) -> bool:
    """Whether every module of the package is the same in this repository."""
    modules = [path for path in files if path.startswith(f"{TRAVELS_AS}/")]
    here = {path: FOLDER / path.removeprefix(f"{TRAVELS_AS}/") for path in modules}
    return all(file.is_file() and file.read_bytes() == files[path] for path, file in here.items())


def compute_reference(
    config: Mapping[str, Any], weights: Path, image: str | list[str], work: Path
) -> dict[str, str]:
    """Write the mask and logits that the repository computes; returns their paths."""
    paths = {"mask": str(work / "mask.npy"), "logits": str(work / "logits.pt")}
    np.save(paths["mask"], Predictor({**config, "device": "cpu"}, weights)(image))
    network, size = (Config(config).built(name) for name in ("network_def", "roi_size"))
    member = without_ensemble(config)
    channels = Config(member).built("network_def#in_channels")
    load_weights(network, weights, option="weights", fix="package it again")
    given = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = network.eval()(given)
    torch.save({"input": given, "logits": logits}, paths["logits"])
    return paths
