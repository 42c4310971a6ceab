"""What the values of label files mean, and the index masks that the files become."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError
from ..files import some
from .images import read_pixels

if TYPE_CHECKING:
    import numpy as np

BACKGROUND, IGNORE = "background", "ignore"
IGNORED = 255  # the value that ``ignore`` gets in an index mask
_FEW = 20  # values; labels with more of them are probably not index masks

_COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
_NUMBERS = re.compile(r"(?P<low>-?\d+(\.\d+)?)(-(?P<high>\d+(\.\d+)?))?")


class Label(NamedTuple):
    """The pixels of a label file, (H, W) or (X, Y, Z); colours are numbers, 0xRRGGBB."""

    pixels: np.ndarray
    coloured: bool


class Held(NamedTuple):
    """The values that a label file holds."""

    values: frozenset[float]
    coloured: bool


class Span(NamedTuple):
    """Some values of label files, both ends included, and what they mean."""

    low: float
    high: float
    coloured: bool
    name: str

    def __str__(self) -> str:
        """How the command line gives them."""
        return show_value(self.low, self.coloured) + (
            f"-{self.high:g}" if self.high != self.low else ""
        )


@dataclass(frozen=True)
class LabelValues:
    """The meaning of the values.

    Attributes:
        names: of the values of the index masks; 0 is the background.
        spans: what becomes of the values of the files, the first that fits.
        coloured: whether files with three channels hold colours, rather than grey.
        ignore_label: the value of an index mask that is not counted, or None.
        regions: what is segmented, where the labels say it.
    """

    names: Mapping[int, str]
    spans: Sequence[tuple[Span, int]]
    coloured: bool = False
    ignore_label: int | None = None
    regions: Mapping[str, Sequence[int]] | None = None

    def find_value(self, value: float, *, coloured: bool) -> int | None:
        """The value of an index mask for one of a file; None if it has no meaning."""
        coloured, value = self._as_read(value, coloured=coloured)
        return next(
            (
                index
                for span, index in self.spans
                if span.coloured == coloured and span.low <= value <= span.high
            ),
            None,
        )

    def names_in(self, held: Held) -> set[int]:
        """The values that the index mask of a file holds; the others do not count."""
        found = {self.find_value(value, coloured=held.coloured) for value in held.values}
        return {value for value in found if value in self.names}

    def keeps(self, held: Held) -> bool:
        """Tell whether the file is an index mask already."""
        return not held.coloured and all(
            self.find_value(value, coloured=False) == value for value in held.values
        )

    def to_index(self, label: Label) -> np.ndarray:
        """Make the index mask of a file, uint8."""
        import numpy as np

        pixels, coloured = label
        if coloured and not self.coloured:
            pixels, coloured = pixels & 255, False
        index = np.zeros(pixels.shape, np.uint8)
        for span, value in reversed(self.spans):
            if span.coloured == coloured:
                index[(pixels >= span.low) & (pixels <= span.high)] = value
        return index

    def _as_read(self, value: float, *, coloured: bool) -> tuple[bool, float]:
        return (False, int(value) & 255) if coloured and not self.coloured else (coloured, value)


def read_label(path: Path) -> Label:
    """Read a label file: a grey, RGB or palette picture, or a volume.

    Raises:
        InputError: it cannot be read, or has another number of channels.
    """
    import numpy as np

    pixels = read_pixels(path)
    coloured = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if coloured:
        red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
        pixels = red << 16 | green << 8 | blue
    if pixels.dtype.kind not in "biuf" or pixels.ndim > 3:
        raise InputError(f"{path}: it is {pixels.dtype} {pixels.shape}; give one number per pixel.")
    return Label(pixels.astype(np.uint8) if pixels.dtype.kind == "b" else pixels, coloured)


def find_held(label: Label) -> Held:
    """Find the values in a label."""
    import numpy as np

    pixels = label.pixels
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize < 4:  # faster than to sort them
        present = np.zeros(np.iinfo(pixels.dtype).max + 1, bool)
        present[pixels] = True
        return Held(frozenset(np.flatnonzero(present).tolist()), label.coloured)
    return Held(frozenset(np.unique(pixels).tolist()), label.coloured)


def show_value(value: float, coloured: bool) -> str:
    """Write a value as the command line does."""
    return f"#{int(value):06x}" if coloured else f"{value:g}"


def read_spans(options: Iterable[str]) -> list[Span]:
    """Read the options ``VALUE=NAME``, ``LOW-HIGH=NAME`` and ``#RRGGBB=NAME``.

    Raises:
        InputError: an option says something else, or two say something of one value.
    """
    spans: list[Span] = []
    for text in options:
        value, _, name = (part.strip() for part in text.partition("="))
        numbers = _NUMBERS.fullmatch(value)
        if not name or not (numbers or _COLOUR.fullmatch(value)):
            raise InputError(
                f"--values {text}: give VALUE=NAME, such as 255=vessel, 128-255=vessel or "
                "'#ff0000=vessel'."
            )
        if numbers:
            low = float(numbers["low"])
            span = Span(low, float(numbers["high"] or low), False, name)
        else:
            span = Span(int(value[1:], 16), int(value[1:], 16), True, name)
        for other in spans:
            if other.coloured == span.coloured and max(other.low, span.low) <= min(
                other.high, span.high
            ):
                raise InputError(f"--values {text}: {other}={other.name} says so already.")
        spans.append(span)
    return spans


def name_values(spans: Sequence[Span], held: Mapping[str, Held]) -> LabelValues:
    """Decide what becomes of the values of all label files.

    A whole number from 1 to 254 with a name of its own stays as it is; other names get the smallest
    free numbers. What is called ``background`` becomes 0, as 0 and black do if they have no other
    name, and what is called ``ignore`` 255. Without names, the values have to be 0 to n.

    Args:
        spans: what the user says of the values.
        held: the values in each label file, by what an error calls the file.

    Raises:
        InputError: a value has no meaning, or nothing but background has one.
    """
    coloured = any(span.coloured for span in spans) or any(
        each.coloured and any(value % 0x10101 for value in each.values) for each in held.values()
    )
    found = {value for each in held.values() for value in each.values if not each.coloured}
    if not coloured:
        found |= {int(value) & 255 for each in held.values() for value in each.values}
    plain = not spans and not coloured and len(found) <= _FEW
    if plain and sorted(found | {0}) == list(range(len(found | {0}))):
        spans = [Span(value, value, False, f"label_{value:g}") for value in sorted(found - {0})]
    index = _number_names(spans)
    values = {BACKGROUND: 0, IGNORE: IGNORED} | index
    ends = [(span, values.get(span.name, values.get(span.name.lower(), 0))) for span in spans]
    ends += [(Span(0, 0, kind, BACKGROUND), 0) for kind in (False, True)]
    ignored = IGNORED if any(value == IGNORED for _, value in ends) else None
    named = LabelValues(
        {0: BACKGROUND} | {number: name for name, number in index.items()}, ends, coloured, ignored
    )
    _refuse_unnamed(named, held)
    if not index:
        raise InputError("the labels hold nothing but background; give --values VALUE=NAME.")
    return named


def _number_names(spans: Sequence[Span]) -> dict[str, int]:
    """Give each name the value that it has in index masks."""
    named: dict[str, list[Span]] = {}
    for span in spans:
        if span.name.lower() not in (BACKGROUND, IGNORE):
            named.setdefault(span.name, []).append(span)
    kept = {
        name: int(span.low)
        for name, (span, *others) in named.items()
        if not others and not span.coloured and span.low == span.high
        if span.low in range(1, IGNORED)
    }
    free = iter(sorted(set(range(1, IGNORED)) - set(kept.values())))
    if len(named) >= IGNORED:
        raise InputError(f"--values has {len(named)} names; give {IGNORED - 1} at most.")
    return {name: kept[name] if name in kept else next(free) for name in named}


def known_values(
    names: Mapping[int, str],
    held: Mapping[str, Held],
    *,
    ignore_label: int | None = None,
    regions: Mapping[str, Sequence[int]] | None = None,
) -> LabelValues:
    """The same where a dataset says what the values mean, and files stay as they are.

    Raises:
        InputError: a label file holds another value.
    """
    ignored = [] if ignore_label is None else [ignore_label]
    spans = [
        (Span(value, value, False, names.get(value, IGNORE)), value)
        for value in sorted({0, *names, *ignored})
    ]
    known = LabelValues(names, spans, ignore_label=ignore_label, regions=regions)
    for where, each in held.items():
        strange = [v for v in sorted(each.values) if known.find_value(v, coloured=False) is None]
        if each.coloured or strange:
            shown = "colours" if each.coloured else some([f"{value:g}" for value in strange])
            raise InputError(
                f"{where}: it holds {shown}, and the dataset names {sorted(known.names)}; correct "
                "the label, or the labels in dataset.json."
            )
    return known


def _refuse_unnamed(named: LabelValues, held: Mapping[str, Held]) -> None:
    """Refuse values without a meaning, with the options that would give them one."""
    where: dict[tuple[bool, float], list[str]] = {}
    for file, each in held.items():
        for value in each.values:
            if named.find_value(value, coloured=each.coloured) is None:
                where.setdefault(named._as_read(value, coloured=each.coloured), []).append(file)
    if not where:
        return
    shown = [show_value(value, coloured) for coloured, value in sorted(where)]
    counts = [
        f"{text} (in {len(where[key])} of {len(held)})"
        for text, key in zip(shown, sorted(where), strict=True)
    ]
    if len(shown) > _FEW:
        fix = (
            "such files are JPEGs or soft at their edges: give ranges, such as "
            "--values 0-127=background --values 128-255=NAME"
        )
    else:
        quote = "'" if any(coloured for coloured, _ in where) else ""
        fix = "give " + " ".join(f"--values {quote}{text}=NAME{quote}" for text in shown)
    raise InputError(
        f"the labels hold values without a name: {some(counts, shown=_FEW)}; {fix}; "
        f"NAME may be {BACKGROUND} or {IGNORE}."
    )
