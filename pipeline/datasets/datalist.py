"""The datalist: one JSON file that says which image has which label, patient and fold."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

#: What the index masks of the optic nerve head hold; the whole disc is rim and cup together.
DISC_CUP_LABELS = {"0": "background", "1": "disc rim", "2": "cup"}

#: What those of the pancreas hold, as in the Medical Segmentation Decathlon.
PANCREAS_LABELS = {"0": "background", "1": "pancreas", "2": "tumour"}


def read_datalist(path: str | Path) -> dict[str, Any]:
    """Read a datalist and make sure that it has the shape the rest of the code relies on.

    Args:
        path: JSON file with ``labels``, ``training`` and, where there is one, ``testing``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or a part that every datalist has is absent or of a wrong kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no datalist at {path}: give the path of a datalist.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bad JSON, or bytes that are not UTF-8
        raise ValueError(f"{path} is not JSON ({error}): write it anew") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}: a datalist is a JSON object")
    labels = content.get("labels")
    named = isinstance(labels, dict) and all(
        value.isdecimal() and isinstance(name, str) for value, name in labels.items()
    )
    if not named or "0" not in labels:
        raise ValueError(
            f'{path}: "labels" is {labels!r}: map each mask value to a name, '
            'such as {"0": "background", "1": "disc rim"}'
        )
    for split in ("training", "testing"):
        if not isinstance(content.setdefault(split, []), list):
            raise ValueError(f'{path}: "{split}" is not a list of cases')
    if not content["training"] and not content["testing"]:
        raise ValueError(f'{path} lists no case: fill "training" or "testing"')
    return content


def write_datalist(
    path: Path, *, name: str, labels: dict[str, str], training: list, testing: list
) -> None:
    """Write a datalist, one case per line so that a difference between two is readable."""

    def lines(cases: Iterable[dict]) -> str:
        rows = ",\n".join("    " + json.dumps(case) for case in cases)
        return f"[\n{rows}\n  ]" if rows else "[]"

    path.write_text(
        f'{{\n  "name": {json.dumps(name)},\n  "labels": {json.dumps(labels)},\n'
        f'  "training": {lines(training)},\n  "testing": {lines(testing)}\n}}\n',
        encoding="utf-8",
    )


def case_paths(name: str, *, suffix: str = ".png") -> dict[str, str]:
    """The entry of the case ``name`` in the layout that every prepared folder has."""
    return {"image": f"images/{name}{suffix}", "label": f"labels/{name}{suffix}", "patient": name}


def assign_folds(patients: Sequence[str], *, folds: int = 5, seed: int = 0) -> dict[str, int]:
    """Deal patients to folds whose sizes differ by one at most: ``{patient: fold}``.

    The order of ``patients`` does not matter. `random.Random.shuffle` is the same on every machine.
    """
    order = sorted(set(patients))
    random.Random(seed).shuffle(order)
    return {patient: place % folds for place, patient in enumerate(order)}
