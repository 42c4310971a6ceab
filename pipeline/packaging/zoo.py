"""What MONAI's model zoo asks of a bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ..errors import InputError
from .archive import sha256
from .card import SECTIONS

LARGE = 25 * 10**6  # bytes; the zoo takes no larger file
# MONAI Label tells the kind of a model by these parts of its folder's name.
MISLEADING = ("detection", "classification", "deepedit", "deepgrow")
NEEDED = (
    "LICENSE",
    "configs/metadata.json",
    "configs/inference.json",
    "configs/train.json",
    "docs/README.md",
    "docs/data_license.txt",
)
# The ids by which its tests and other programs find their way.
IDS = {
    "configs/inference.json": ("bundle_root", "device", "network_def", "inferer", "output_dir"),
    "configs/train.json": ("bundle_root", "device", "dataset_dir", "train", "validate"),
}


def check_name(name: str) -> None:
    """Refuse a name that MONAI's model zoo would not have, or that misleads MONAI Label.

    Raises:
        InputError: says which.
    """
    if not re.fullmatch(r"[a-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+", name):
        raise InputError(
            f"name {name!r}: give words joined by _, such as pancreas_ct_segmentation."
        )
    for word in MISLEADING:
        if word in name.lower():
            raise InputError(f"name {name!r}: MONAI Label takes {word!r} for the model's kind.")


def check_zoo(files: Mapping[str, bytes], name: str) -> None:
    """Check files, names, ids, version and card.

    Raises:
        InputError: says what is missing.
    """
    check_name(name)
    missing = [path for path in NEEDED if path not in files]
    if missing:
        raise InputError(f"{name}: it has no {', '.join(missing)}.")
    if "models/model.pt" not in files and "large_files.yml" not in files:
        raise InputError(f"{name}: it has neither models/model.pt nor large_files.yml.")
    for path, ids in IDS.items():
        config = json.loads(files[path])
        if missing := [each for each in ids if each not in config]:
            raise InputError(f"{name}: {path} has no {', '.join(missing)}.")
    metadata = json.loads(files["configs/metadata.json"])
    if not re.fullmatch(r"\d+\.\d+\.\d+", metadata["version"]):
        raise InputError(f"version {metadata['version']!r}: give three numbers, such as 0.2.0.")
    if metadata["version"] not in metadata["changelog"]:
        raise InputError(f"{name}: its changelog does not tell of {metadata['version']}.")
    headings = re.findall(r"(?m)^#{1,2} (.*)$", files["docs/README.md"].decode())
    if missing := [each for each in SECTIONS if each not in headings]:
        raise InputError(f"{name}: docs/README.md has no section {', '.join(missing)}.")


def too_large(files: Mapping[str, bytes]) -> list[str]:
    """The files that the zoo would not take for their size."""
    return [path for path, content in files.items() if len(content) > LARGE]


def large_files(files: Mapping[str, bytes], url: str) -> bytes:
    """``large_files.yml``: where files are that are too large for the zoo."""
    lines = ["large_files:"]
    for path, content in files.items():
        lines += [
            f'  - path: "{path}"',
            f'    url: "{url}"',
            f'    hash_val: "{sha256(content)}"',
            '    hash_type: "sha256"',
        ]
    return "\n".join(lines).encode() + b"\n"
