"""Whether a package is whole, runs by itself, and does what the repository does."""

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

from ..bundle.configs import Config, texts
from ..errors import InputError, one_line
from .archive import WEIGHTS, manifest, read_archive, unpack
from .code import FOLDER, PROJECT, TRAVELS_AS
from .configs import missing_ids
from .zoo import LARGE, check_zoo, too_large

SCHEMA = Path(__file__).with_name("metadata_schema.json")
ABSOLUTE = re.compile(r"/\w|~|[A-Za-z]:[\\/]|file:")
TIMEOUT = 1800  # s, for the largest network on a small machine


def verify(archive: Path) -> list[tuple[str, str]]:
    """Check an archive: its form, its manifest, and all that a package is checked for.

    Its inference is compared with the repository's if it has the repository's code.

    Returns:
        what was checked, each with its result.

    Raises:
        InputError: it must not be unpacked, was changed, or fails a check.
    """
    name, files = read_archive(archive)
    results = [("archive", f"{len(files)} files as the manifest says, none leads out of it")]
    if WEIGHTS not in files:
        check_files(files, name)
        return [*results, ("weights", "not in it: large_files.yml says where they are")]
    return results + check(files, name)


def check(
    files: Mapping[str, bytes], name: str, *, reference: tuple[dict[str, Any], Path] | None = None
) -> list[tuple[str, str]]:
    """Check the files of a package, in this process and in a fresh one.

    Args:
        files: content by path.
        name: the package's folder.
        reference: what its inference has to equal: the config of the repository's inference and
            its weights; by default the package's own, run by the code of the repository.

    Returns:
        what was checked, each with its result.

    Raises:
        InputError: names every check that failed.
    """
    results = check_files(files, name)
    with TemporaryDirectory() as folder:
        root, work = Path(folder, name), Path(folder, "work")
        unpack({**files, "manifest.json": manifest(files)}, root)
        work.mkdir()
        config = json.loads(files["configs/inference.json"])
        given = {"schema": str(SCHEMA), "output": str(work / "output"), **phantom(config, work)}
        if reference is None and has_our_code(files):
            reference = (repository_config(config), root / WEIGHTS)
        if reference is not None:
            given |= expected(*reference, Path(given["image"]), work)
        (work / "given.json").write_text(json.dumps(given))
        command = [sys.executable, "-P", str(Path(__file__).with_name("fresh.py"))]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        # -P keeps this project's folder off the path, and nothing is written beside the code.
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
        found = json.loads((work / "found.json").read_text())
    failed = [f"{title}: {text}" for title, (fine, text) in found.items() if not fine]
    if failed:
        raise InputError(f"the package {name} fails: {'; '.join(failed)}")
    size = sum(map(len, files.values()))
    results += [(title, text) for title, (_, text) in found.items()]
    return [*results, ("size", f"{size / 1e6:.1f} MB, weights {len(files[WEIGHTS]) / 1e6:.1f} MB")]


def check_files(files: Mapping[str, bytes], name: str) -> list[tuple[str, str]]:
    """What can be seen without running anything.

    Raises:
        InputError: says what is wrong, and where.
    """
    try:
        return _check_files(files, name)
    except InputError:
        raise
    except Exception as error:  # a config of another hand may hold anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(
            f"{name}: its configs are no bundle's ({reason}); package it again."
        ) from None


def _check_files(files: Mapping[str, bytes], name: str) -> list[tuple[str, str]]:
    check_zoo(files, name)
    metadata = json.loads(files["configs/metadata.json"])
    formats = metadata["network_data_format"]
    first = [next(iter(formats[side])) for side in ("inputs", "outputs")]
    models = [path for path in files if re.fullmatch(r"models/.*\.(pt|ts)", path)]
    faults = {
        f"{name}: MONAI Label wants the first input `image` and output `pred`, not {first}": first
        != ["image", "pred"],
        f"{name}: MONAI Label may serve any of {models}; leave {WEIGHTS} alone": models
        not in ([WEIGHTS], []),
        f"{name}: train.json lacks {missing_ids(json.loads(files['configs/train.json']))}, which "
        "MONAI Label sets": bool(missing_ids(json.loads(files["configs/train.json"]))),
    }
    for fault, is_there in faults.items():
        if is_there:
            raise InputError(fault)
    names = {k: v for k, v in formats["outputs"]["pred"]["channel_def"].items() if k != "0"}
    for path, content in files.items():
        for trace in traces(path, content):
            raise InputError(f"{name}: {path} names a place on a machine, {trace}; remove it.")
    zoo = f"{name} {metadata['version']}: files, ids, changelog, card"
    if large := too_large(files):
        zoo += f"; {', '.join(large)}: above its {LARGE / 1e6:.0f} MB, goes with --weights-url"
    return [
        ("model zoo", zoo),
        ("labels", ", ".join(f"{value} {label}" for value, label in sorted(names.items()))),
        ("paths", "no file names a place on this or another machine"),
    ]


def traces(path: str, content: bytes) -> Iterator[str]:
    """Parts of a file that tell of the machine it was made on."""
    places = {str(Path.home()), str(Path.cwd()), str(FOLDER.parent)}
    # A host may be called as any word is: "train".
    if re.search(r"[\d.-]", host := socket.gethostname()):
        places.add(host)
    known = [place.encode() for place in places if len(place) > 3]
    for part in parts(content):
        for place in known:
            if re.search(rb"(?<!\w)" + re.escape(place) + rb"\b", part):
                yield place.decode()
    if path.endswith(".json"):
        yield from (text for text in texts(json.loads(content)) if ABSOLUTE.match(text))


def parts(content: bytes) -> Iterator[bytes]:
    """A file, and what is in it if it is a zip, as those of PyTorch are."""
    yield content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            for entry in inner.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    yield inner.read(entry)


def phantom(config: Mapping[str, Any], work: Path) -> dict[str, str]:
    """An image and its mask, drawn: a photograph or a CT."""
    import numpy as np

    (work / "images").mkdir()
    if len(Config(config).built("roi_size")) == 2:
        from PIL import Image

        from ..datasets.phantoms.fundus import fundus_phantom

        paths = {"image": work / "images/phantom.png", "label": work / "label.png"}
        for path, picture in zip(paths.values(), fundus_phantom(0), strict=True):
            Image.fromarray(picture).save(path)
        return {key: str(path) for key, path in paths.items()}
    import nibabel

    from ..datasets.phantoms.ct import ct_phantom

    paths = {"image": work / "images/phantom.nii.gz", "label": work / "label.nii.gz"}
    image, label, affine = ct_phantom(0, size=(72, 60, 40), field_of_view=330.0)
    for path, array in zip(paths.values(), (image, label), strict=True):
        nibabel.save(nibabel.Nifti1Image(np.asarray(array), affine), path)
    return {key: str(path) for key, path in paths.items()}


def has_our_code(files: Mapping[str, bytes]) -> bool:
    """Whether every module of the package is as it is here."""
    modules = {path for path in files if path.startswith(f"{TRAVELS_AS}/")}
    here = {path: FOLDER / path.removeprefix(f"{TRAVELS_AS}/") for path in modules}
    return all(file.is_file() and file.read_bytes() == files[path] for path, file in here.items())


def repository_config(config: Any) -> Any:
    """A package's config whose components come from the repository."""
    return json.loads(re.sub(rf"\b{TRAVELS_AS}\.(?=[a-z])", f"{PROJECT}.", json.dumps(config)))


def expected(config: Mapping[str, Any], weights: Path, image: Path, work: Path) -> dict[str, str]:
    """What the repository's network and inference give, in files."""
    import numpy as np
    import torch

    from ..bundle.predictor import Predictor

    predictor = Predictor({**config, "device": "cpu"}, weights)
    np.save(work / "mask.npy", predictor(str(image)))
    network = Config(config).built("network_def")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    channels = Config(config).built("network_def#in_channels")
    size = Config(config).built("roi_size")
    given = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = network.eval()(given)
    torch.save({"input": given, "logits": logits}, work / "logits.pt")
    return {"mask": str(work / "mask.npy"), "logits": str(work / "logits.pt")}
