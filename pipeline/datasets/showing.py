"""Show what an import found and decided, before anything is written."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .importing import Dataset
from .pairing import Pairs
from .sources import TESTING

_SHOWN = 5  # pairs


def show_pairs(pairs: Pairs) -> None:
    """Show the rule and the first pairs that it makes."""
    console = Console(stderr=True)
    rules = dict.fromkeys(map(str, pairs.rules))
    console.print(Text(f"rule: {'; '.join(rules)}"))
    table = Table("case", "image", "label")
    for name, files in list(pairs.files.items())[:_SHOWN]:
        shown = (", ".join(path.name if path else "none" for path in each) for each in files)
        table.add_row(*map(Text, (name, *shown)))
    console.print(table)
    if (more := len(pairs.files) - _SHOWN) > 0:
        console.print(f"and {more} more pairs")
    for path in pairs.unpaired:
        console.print(Text(f"left out {path}, which has no partner", style="yellow"))
    for path, reason in pairs.left_out:
        console.print(Text(f"left out {path}: {reason}", style="yellow"))


def show_dataset(dataset: Dataset) -> None:
    """Show modality, channels, labels, regions, patients and folds, and what is to be noted."""
    console = Console(stderr=True)
    about, values = dataset.about, dataset.values
    count = len(dataset.sources)
    patients = len(set(dataset.patients.values()))
    parts = Counter(dataset.parts.values())
    testing = parts.pop(TESTING, 0)
    folds = ", ".join(f"{parts[fold]}" for fold in sorted(parts))
    inside = Counter(
        value for source in dataset.sources for value in values.names_in(dataset.held[source.name])
    )
    read: dict[int, dict[str, None]] = {index: {} for _, index in values.spans}
    for span, index in values.spans:
        read[index][str(span)] = None  # what is other stands for numbers and for colours
    table = Table("what", "is", show_header=False)
    table.add_row("cases", Text(f"{count}, from {patients} patients"))
    table.add_row(
        "modality", Text(f"{about['modality']}; channels {', '.join(about['channel_names'])}")
    )
    for value, name in sorted(values.names.items()):
        if value:
            source = " or ".join(read[value])
            table.add_row(
                f"label {value}", Text(f"{name}, from {source}, in {inside[value]} of {count}")
            )
    if values.ignore_label is not None:
        source = " or ".join(read[values.ignore_label])
        table.add_row("not counted", Text(f"{values.ignore_label}, from {source}"))
    for name, inner in about["regions"].items():
        table.add_row("region", Text(f"{name}: {', '.join(map(str, inner))}"))
    table.add_row("folds", Text(f"{folds or 0} cases; {testing} for testing"))
    console.print(table)
    for note in dataset.notes:
        console.print(Text(note, style="yellow"))
