"""From a fingerprint and a device to the ids of a bundle, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import times
from . import geometry, rules
from .memory import Device

# Voxels of a patch at most, by dimensions.
_CPU_PATCH, _GPU_PATCH = {2: 192**2, 3: 100_000}, {2: 512**2, 3: 128**3}
_CPU_IMAGE = 8 * _CPU_PATCH[3]  # voxels of a median volume
_STEPS = {("cpu", 2): 2500, ("cpu", 3): 2500, ("gpu", 2): 5000, ("gpu", 3): 25_000}
_FINE = 8  # px: a network that finds regions as thin needs a level less
_LARGE = 10  # GB from which a network for volumes has twice the widths


@dataclass(frozen=True)
class Choice:
    """A top-level id, its value, and why."""

    id: str
    value: Any
    because: str


def choose(
    found: Mapping[str, Any], device: Device, shipped: Mapping[str, Any] | None = None
) -> list[Choice]:
    """Choose the ids of a bundle, which becomes a copy of one with the ids ``shipped``."""
    regions, ignored = found["regions"], found["ignore_label"]
    inside = {value for each in regions.values() for value in each}
    background = sorted({int(value) for value in found["labels"]} - inside - {ignored} | {0})
    more = choose_volumes if found["spatial_dims"] == 3 else choose_pictures
    ids = [
        Choice("regions", regions, "what the datalist, or --regions, names"),
        Choice("background", background, "label values in no region"),
        Choice("ignore_label", ignored, "the datalist's"),
        Choice("modality", found["modality"], "the datalist's"),
        Choice("channel_names", found["channel_names"], "the datalist's"),
        *more(found, device),
        Choice("threshold", 0.5, "what is likelier inside than outside"),
        choose_components(found),
    ]
    if len(found["folds"]) == 1:
        ids.append(Choice("fold", "all", "the datalist has one fold: nothing is validated"))
    if found["spatial_dims"] == 2:
        ratio = (shipped or {}).get("vertical_cdr", [])
        ratio = ratio if set(ratio) <= regions.keys() else []
        near = found["modality"] == "photograph" and any(c.id == "focus" and c.value for c in ids)
        given = shipped if shipped and near else {}
        compact = "compact regions" if near else "only for photographs of compact regions, which"
        field, scales = given.get("field_prob", 0.0), given.get("scales", [])
        ids += [
            Choice("vertical_cdr", ratio, f"{'' if ratio else 'no '}two regions have such a ratio"),
            Choice("field_prob", field, f"{compact} may lie at the edge of a field"),
            Choice("scales", scales, f"{compact} may be seen from near or far"),
        ]
    return ids


def choose_volumes(found: Mapping[str, Any], device: Device) -> list[Choice]:
    """Choose the ids that volumes need, and the sizes of their network."""
    modality, facts, median = found["modality"], found["intensity"], found["spacing"]["median"]
    above = rules.choose_foreground(
        modality, minimum_is_0=facts["minimum_is_0"], zero_share=facts["zero_share"]
    )
    cropped = found["cropped_size" if above > rules.NOTHING else "size"]["median"]
    spacing = geometry.choose_spacing(median, found["spacing"]["p10"], cropped)
    why = "the median"
    if spacing != [round(s, 3) for s in median]:
        why = f"the median, {times(median)}, but the 10th percentile along the coarse axis"
    size = geometry.resize(cropped, median, spacing)
    if device.gigabytes is None:
        coarse = geometry.coarsen(spacing, size, voxels=_CPU_IMAGE, thickness=thinnest(found))
        if coarse != spacing:
            why = f"coarser than {times(spacing)}, which would be slow on a CPU"
            spacing, size = coarse, geometry.resize(cropped, median, coarse)
    width = 8 if device.gigabytes is None else 32 if device.gigabytes >= _LARGE else 16
    room = device.voxels(width, 3, len(found["regions"]))
    most = _CPU_PATCH[3] if room is None else min(_GPU_PATCH[3], room // 2)
    patch = geometry.choose_patch(size, spacing, most)
    strides = geometry.choose_strides(patch, spacing)
    patch = geometry.fit_patch(patch, size, strides)
    window = rules.choose_window(modality, facts["foreground"])
    percentiles = rules.choose_percentiles(modality, 3)
    labelled = "percentiles 0.5 and 99.5 of the labelled voxels"
    border = "the empty border is cut off" if above > rules.NOTHING else "no empty border to cut"
    image = f"the median image has {times(size)} voxels"
    return [
        Choice("spacing", spacing, why),
        Choice("hu_window", window, labelled if window else "not a CT"),
        Choice("percentiles", percentiles, "each image by itself" if percentiles else "a CT"),
        Choice("foreground_above", above, border),
        Choice("patch_size", patch, f"at most {most:,} voxels; {image}"),
        Choice("roi_size", patch, "the patch"),
        Choice("margin", geometry.choose_margin(patch), "a twelfth of the patch's shortest axis"),
        Choice("rotate", geometry.choose_rotation(patch), "degrees; less out of a flat patch"),
        Choice(
            "warp", geometry.choose_warp(patch, spacing), "mm; 3.5 % of the patch's shortest axis"
        ),
        Choice("flip", rules.choose_flip(modality, 3, list(found["regions"])), "organs have sides"),
        *choose_network(width, strides, device),
        Choice("lr", 0.004 if width < 16 else 0.002, "higher for a narrow network"),
        *choose_length(found, device, patch=patch, room=room),
    ]


def choose_pictures(found: Mapping[str, Any], device: Device) -> list[Choice]:
    """Choose the ids that pictures need, and the sizes of their network."""
    regions, modality = found["regions"], found["modality"]
    longest, width = max(found["size"]["median"]), 16
    usual = 256 if device.gigabytes is None else 512
    side = geometry.choose_picture_size(longest, thinnest(found), usual=usual)
    room = device.voxels(width, 2, len(regions))
    most = _CPU_PATCH[2] if room is None else min(_GPU_PATCH[2], room // 2)
    half = max(side // 2, min(side, 256))
    patch = geometry.choose_patch([half, half], [1, 1], most)
    fine = thinnest(found) * side / longest < _FINE
    strides = geometry.choose_strides(patch, [1, 1], levels=geometry.LEVELS - fine)
    patch = geometry.fit_patch(patch, [side, side], strides)
    shapes = [each for each in found["regions_measured"].values() if each["cases"]]
    focus = rules.choose_focus([each["extent"]["median"] for each in shapes], patch[0] / side)
    where = "around the regions, which fit into a patch" if focus else "all over the picture"
    radial = 0.7 if rules.is_nested(regions) else 0.0
    nested = "the first region holds another" if radial else "no region inside the first"
    thin = f"the thinnest region is {round(thinnest(found), 1):g} px of {longest:g}"
    return [
        Choice("percentiles", rules.choose_percentiles(modality, 2), "exposures differ"),
        Choice("roi_size", [side, side], thin),
        Choice("patch_size", patch, f"half of it, from 256 px on; at most {most:,} pixels"),
        Choice("focus", focus, where),
        Choice("flip", rules.choose_flip(modality, 2, list(regions)), "of each axis"),
        Choice("radial_prob", radial, nested),
        *choose_network(width, strides, device),
        *choose_length(found, device, patch=patch, room=room),
    ]


def choose_network(width: int, strides: list[list[int]], device: Device) -> list[Choice]:
    """Choose widths and strides."""
    plain = [step[0] if len(set(step)) == 1 else step for step in strides]
    widths = rules.choose_widths(width, len(strides) + 1)
    volume = "down to 4 voxels or more; axes of long voxels later"
    return [
        Choice("channels", widths, device.source),
        Choice("strides", plain, "down to 4 pixels or more" if len(strides[0]) == 2 else volume),
    ]


def choose_length(
    found: Mapping[str, Any], device: Device, *, patch: list[int], room: int | None
) -> list[Choice]:
    """Choose how many patches a step has, and how many steps the training."""
    folds = len(found["folds"])
    cases = found["cases"] - (found["cases"] // folds if folds > 1 else 0)
    batch = rules.choose_batch(room, patch, cases)
    kind = "gpu" if device.gigabytes else "cpu"
    steps = _STEPS[kind, found["spatial_dims"]]
    epochs = rules.choose_epochs(steps, cases, batch)
    fits = "what fits, 8 at most" if device.gigabytes else "more would only make a step longer"
    return [
        Choice("batch_size", batch, fits),
        Choice("epochs", epochs, f"about {steps:,} steps; {cases} cases to train on"),
        Choice("warmup_epochs", max(1, round(epochs / 20)), "a twentieth of the epochs"),
        Choice("val_interval", rules.choose_interval(epochs), "20 to 25 validations"),
    ]


def choose_components(found: Mapping[str, Any]) -> Choice:
    """Choose how many parts of each region are kept."""
    parts = {n: each["parts"] for n, each in found["regions_measured"].items() if each["cases"]}
    shown = []
    for name, each in list(parts.items())[:4]:
        least, most = min(map(int, each)), max(map(int, each))
        shown.append(f"{name} {least}" if least == most else f"{name} {least} to {most}")
    kept = rules.choose_components(parts)
    return Choice("components", kept, f"parts in the labels: {'; '.join(shown)}")


def thinnest(found: Mapping[str, Any]) -> float:
    """Find the median thickness of the thinnest region, mm or px."""
    shapes = found["regions_measured"].values()
    return min(each["thickness"]["median"] for each in shapes if each["cases"])
