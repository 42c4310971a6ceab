"""What MONAI's model zoo demands of a bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from .archive import WEIGHTS, digest_bytes
from .card import SECTIONS

LARGE = 25 * 10**6  # bytes; the zoo takes no larger file
LARGE_FILES = "large_files.yml"  # where the larger ones are
# In a folder's name, these make MONAI Label assume another kind of model.
MISLEADING = ("detection", "classification", "deepedit", "deepgrow")
NEEDED = ("LICENSE", "configs/metadata.json", "docs/README.md", "docs/data_license.txt")
# The ids that the zoo's tests and other programs look up.
IDS = {
    "configs/inference.json": ("bundle_root", "device", "network_def", "inferer", "output_dir"),
    "configs/train.json": ("bundle_root", "device", "dataset_dir", "train", "validate"),
}


def default_name(bundle: Path) -> str:
    """Make a package's name from its bundle's folder: words joined by ``_``, as the zoo wants."""
    words = re.findall(r"[A-Za-z0-9]+", bundle.resolve().name)
    words = words if words and words[0][0].isalpha() else ["bundle", *words]
    words[0] = words[0][0].lower() + words[0][1:]
    return "_".join(words if len(words) > 1 else [*words, "segmentation"])


def check_name(name: str) -> None:
    """Refuse a name that the model zoo does not accept, or that misleads MONAI Label.

    Raises:
        InputError: names the word at fault, or the form to use.
    """
    if not re.fullmatch(r"[a-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+", name):
        raise InputError(f"name {name!r}: give words joined by _, such as spleen_ct_segmentation.")
    for word in MISLEADING:
        if word in name.lower():
            raise InputError(f"name {name!r}: {word!r} has a meaning in MONAI Label; give another.")


def check_zoo(files: Mapping[str, bytes], name: str) -> None:
    """Check files, names, ids, version and card against what the zoo demands.

    Raises:
        InputError: names what is missing.
    """
    check_name(name)

    def demand(where: str, names: tuple[str, ...], there: object) -> None:
        if missing := [each for each in names if each not in there]:
            raise InputError(f"{where} has no {', '.join(missing)}; package it again.")

    demand(name, (*NEEDED, *IDS), files)
    if LARGE_FILES not in files:
        demand(name, (WEIGHTS,), files)
    for path, ids in IDS.items():
        demand(f"{name}: {path}", ids, json.loads(files[path]))
    metadata = json.loads(files["configs/metadata.json"])
    version = metadata["version"]
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise InputError(f"version {version!r}: give three numbers, such as 0.2.0.")
    demand(f"{name}: the changelog", (version,), metadata["changelog"])
    headings = re.findall(r"(?m)^#{1,2} (.*)$", files["docs/README.md"].decode())
    demand(f"{name}: docs/README.md", SECTIONS, headings)


def make_large_files(weights: bytes, url: str) -> bytes:
    """Write ``large_files.yml``, which says where the weights are if the zoo does not take them."""
    return f"""large_files:
  - path: "{WEIGHTS}"
    url: "{url}"
    hash_val: "{digest_bytes(weights)}"
    hash_type: "sha256"
""".encode()
