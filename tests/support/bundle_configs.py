"""The bundles of this project, for tests of what all of them promise."""

from __future__ import annotations

from pathlib import Path

# By name: a user's own bundles lie beside them.
BUNDLES = [
    Path(__file__).parents[2] / "bundles" / name
    for name in ("fundus_disc_cup_segmentation", "pancreas_ct_segmentation")
]


def declared_configs() -> list[list[Path]]:
    """``train.json`` and ``inference.json`` of each bundle, and the former with each overlay."""
    found = []
    for configs in [bundle / "configs" for bundle in BUNDLES]:
        train, inference = configs / "train.json", configs / "inference.json"
        overlays = {*configs.rglob("*.json")} - {train, inference, configs / "metadata.json"}
        found += [[path] for path in (train, inference) if path.exists()]
        found += [[train, path] for path in sorted(overlays)]
    return found
