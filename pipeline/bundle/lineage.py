"""What data weights come from, for the card of a package: recorded while it is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line
from ..files import read_json
from .cases import cases_digest
from .listing import read_datalist
from .trained import BUNDLE, find_weights, read_config

# In the config of a training: its data, then those of the training that it started from, ...
TRAINED_ON = "trained_on"
MEASURED_ON = "measured_on"  # in that of an evaluation: its data
DIGEST = "datalist_digest"
_SAID = ("name", "subjects", "licence")  # what a datalist may say, as a text


def describe_data(datalist: str | Path | None, cases: Mapping[str, int]) -> dict[str, Any]:
    """What a datalist says of its dataset, and how many cases of it were used.

    Args:
        datalist: the file, if there is one.
        cases: how many, by what they were used for.

    Returns:
        ``{"name", "subjects", "licence"}``, as far as they are known, and ``cases``.
    """
    try:
        said = read_datalist(datalist) if datalist else {}
    except InputError:  # that is for `select_cases` to say
        said = {}
    known = {name: said[name] for name in _SAID if isinstance(said.get(name), str)}
    return {name: one_line(ValueError(text), 200) for name, text in known.items()} | dict(cases)


def describe_training(
    bundle: Mapping[str, Any],
    datalist: str | Path | None,
    cases: Mapping[str, int],
    before: Path | None = None,
) -> dict[str, Any]:
    """What the config of a training does not say of its weights: bundle, cases and lineage.

    Args:
        bundle: see `running_bundle`.
        datalist: of the training, if there is one.
        cases: how many, for training and for validation.
        before: the config of a training that is resumed, which need not be told again from which
            weights it started.
    """
    lineage = [describe_data(datalist, cases)]
    if before is not None and before.is_file():
        lineage += read_lineage(read_json(before))[1:]
    elif bundle.get("pretrained"):
        weights = find_weights(bundle["pretrained"], option="pretrained", fix="give a model.pt.")
        lineage += read_lineage(read_config(weights, option="pretrained")) or [{}]
    said = {BUNDLE: bundle.get("folder"), DIGEST: datalist and cases_digest(str(datalist))}
    return {name: value for name, value in said.items() if value} | {TRAINED_ON: lineage}


def read_lineage(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lineage that a training's config has; empty if it has none."""
    found = config.get(TRAINED_ON)
    known = isinstance(found, list) and all(isinstance(each, dict) for each in found)
    return found if known else []
