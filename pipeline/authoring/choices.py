"""From a fingerprint and a device to the ids of a bundle, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import geometry, rules
from .memory import Device

# Measured: see docs/own_data.md.
_CPU_PATCH, _GPU_PATCH = {2: 192**2, 3: 100_000}, {2: 512**2, 3: 128**3}  # voxels
_CPU_IMAGE = 8 * _CPU_PATCH[3]  # voxels of a median volume
_STEPS = {("cpu", 2): 2500, ("cpu", 3): 2500, ("gpu", 2): 5000, ("gpu", 3): 25_000}


@dataclass(frozen=True)
class Choice:
    """A top-level id, its value, and why."""

    id: str
    value: Any
    because: str


def choose(found: Mapping[str, Any], device: Device) -> list[Choice]:
    """Choose the ids of a bundle.

    Args:
        found: a fingerprint.
        device: that it is made for.
    """
    dims, modality, regions = found["spatial_dims"], found["modality"], found["regions"]
    values = {int(value) for value in found["labels"]}
    inside = {value for each in regions.values() for value in each}
    background = sorted(values - inside - {found["ignore_label"]} | {0})
    return [
        Choice("regions", regions, "the datalist, or --regions"),
        Choice("background", background, "the other values of its labels"),
        Choice("ignore_label", found["ignore_label"], "the datalist"),
        Choice("modality", modality, "the datalist"),
        Choice("channel_names", found["channel_names"], "the datalist"),
        *(choose_volumes(found, device) if dims == 3 else choose_pictures(found, device)),
        Choice("threshold", 0.5, "the likelier of inside and outside"),
        choose_parts(found),
    ]


def choose_parts(found: Mapping[str, Any]) -> Choice:
    """How many parts of each region are kept."""
    parts = {n: each.get("parts", {}) for n, each in found["regions_measured"].items()}
    kept = rules.choose_components(parts)
    texts = [
        f"{name}: "
        + ", ".join(
            f"{count} of {sum(each.values())} labels in {n}" for n, count in list(each.items())[:3]
        )
        for name, each in parts.items()
    ]
    return Choice("components", kept, "parts of the labels: " + "; ".join(texts[:4]))


def choose_volumes(found: Mapping[str, Any], device: Device) -> list[Choice]:
    """The ids that only a bundle for volumes has, and the sizes of its network."""
    modality, facts = found["modality"], found["intensity"]
    own = geometry.choose_spacing(
        found["spacing"]["median"], found["spacing"]["p10"], found["cropped_size"]["median"]
    )

    def size_at(spacing: list[float]) -> list[float]:
        pairs = zip(
            found["cropped_size"]["median"], found["spacing"]["median"], spacing, strict=True
        )
        return [max(1, round(n * old / new)) for n, old, new in pairs]

    spacing, why = own, "median; the 10th percentile of an axis with far longer voxels"
    if device.gigabytes is None:
        spacing = geometry.coarsen(own, size_at(own), voxels=_CPU_IMAGE, thickness=thinnest(found))
        if spacing != own:
            why = f"coarser than {own}, for a CPU: the median image has few patches then"
    size = size_at(spacing)
    width = 8 if device.gigabytes is None else 32 if device.gigabytes >= 10 else 16
    room = device.voxels(width, 3)
    most = _CPU_PATCH[3] if room is None else min(_GPU_PATCH[3], room // 2)
    patch = geometry.choose_patch(size, spacing, most)
    strides = geometry.choose_strides(patch, spacing)
    patch = geometry.fit_patch(patch, size, strides)
    window = rules.choose_window(modality, facts["foreground"])
    above = rules.choose_foreground(
        modality, minimum_is_0=facts["minimum_is_0"], zero_share=facts["zero_share"]
    )
    image = " x ".join(map(str, size))
    return [
        Choice("spacing", spacing, why),
        Choice("hu_window", window, "percentiles 0.5 and 99.5 of the labelled voxels of CT"),
        Choice("percentiles", rules.choose_percentiles(modality, 3), "each image by itself"),
        Choice("foreground_above", above, "what is at or below it around the body is cut off"),
        Choice("roi_size", patch, "as the patch"),
        Choice("patch_size", patch, f"{device.source}; the median image is {image}"),
        Choice("margin", geometry.choose_margin(patch), "a twelfth of the patch's shortest axis"),
        Choice("rotate", geometry.choose_rotation(patch, spacing), "about each axis, degrees"),
        Choice("warp", geometry.choose_warp(patch, spacing), "3.5 % of the patch, mm"),
        Choice(
            "flip", rules.choose_flip(modality, 3, list(found["regions"])), "organs have a side"
        ),
        *choose_network(width, strides),
        *choose_length(found, device, patch=patch, room=room, cpu=2, most=8),
        Choice("lr", 0.004 if width == 8 else 0.002, "higher for a narrow network"),
    ]


def choose_pictures(found: Mapping[str, Any], device: Device) -> list[Choice]:
    """The ids that only a bundle for pictures has, and the sizes of its network."""
    longest = max(found["size"]["median"])
    usual = 256 if device.gigabytes is None else 512
    side = geometry.choose_picture_size(longest, thinnest(found), usual=usual)
    width = 16
    room = device.voxels(width, 2)
    most = _CPU_PATCH[2] if room is None else min(_GPU_PATCH[2], room // 2)
    patch = geometry.choose_patch([max(side // 2, min(side, 256))] * 2, [1, 1], most)
    strides = geometry.choose_strides(patch, [1, 1])
    patch = geometry.fit_patch(patch, [side, side], strides)
    regions = found["regions"]
    extents = [
        each["extent"]["median"] for each in found["regions_measured"].values() if "extent" in each
    ]
    nested = rules.is_nested(regions)
    return [
        Choice("percentiles", rules.choose_percentiles(found["modality"], 2), "exposures differ"),
        Choice("vertical_cdr", [], "a measure of optic disc and cup"),
        Choice("roi_size", [side, side], f"longest side {longest} px; {device.source}"),
        Choice("patch_size", patch, "half the picture, as far as the device takes it"),
        Choice("focus", rules.choose_focus(extents, patch[0] / side), "where the regions are"),
        Choice("flip", rules.choose_flip(found["modality"], 2, list(regions)), "what has a side"),
        Choice("radial_prob", 0.7 if nested else 0.0, "the first region contains another, or not"),
        *choose_network(width, strides),
        *choose_length(found, device, patch=patch, room=room, cpu=2, most=8),
    ]


def choose_network(width: int, strides: list[list[int]]) -> list[Choice]:
    """Widths and strides."""
    plain = [step[0] if len(set(step)) == 1 else step for step in strides]
    return [
        Choice("channels", rules.choose_widths(width, len(strides) + 1), "doubled at each level"),
        Choice("strides", plain, "down to 4 voxels; axes of long voxels later"),
    ]


def choose_length(
    found: Mapping[str, Any], device: Device, *, patch: list[int], room: int | None, **batch: int
) -> list[Choice]:
    """How many patches a step and how many steps a training has."""
    folds = max(1, len(found["folds"]))
    cases = max(1, found["cases"] - found["cases"] // folds if folds > 1 else found["cases"])
    size = rules.choose_batch(room, patch, cases, **batch)
    kind = "cpu" if device.gigabytes is None else "gpu"
    steps = _STEPS[kind, found["spatial_dims"]]
    epochs = rules.choose_epochs(steps, cases, size)
    return [
        Choice("batch_size", size, f"{device.source}; {cases} cases to train on"),
        Choice("epochs", epochs, f"about {steps} steps"),
        Choice("warmup_epochs", max(1, round(epochs / 20)), "a twentieth of the epochs"),
        Choice("val_interval", rules.choose_interval(epochs), "20 to 25 validations"),
    ]


def thinnest(found: Mapping[str, Any]) -> float:
    """Median thickness of the thinnest region, mm or px."""
    regions = found["regions_measured"].values()
    return min(each["thickness"]["median"] for each in regions if "thickness" in each)
