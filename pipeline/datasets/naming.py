"""Give the values of label files a meaning: what a user says, or what a dataset says."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from ..errors import InputError
from ..files import some
from .label_values import BACKGROUND, IGNORE, OTHER, Held, LabelValues, Span, show_value

IGNORED = 255  # the value that ``ignore`` gets in an index mask
_FEW = 20  # values; labels with more of them are probably not index masks
_COUNTS = 2  # different numbers of values in the labels; with more they may number objects
_COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
_NUMBERS = re.compile(r"(?P<low>-?\d+(\.\d+)?)(-(?P<high>\d+(\.\d+)?))?")


def read_spans(options: Iterable[str]) -> list[Span]:
    """Read the options ``VALUE=NAME``, ``LOW-HIGH=NAME``, ``#RRGGBB=NAME`` and ``other=NAME``.

    Raises:
        InputError: an option says something else, or two say something of one value.
    """
    spans: list[Span] = []
    others: list[Span] = []
    for text in options:
        value, _, name = (part.strip() for part in text.partition("="))
        if value == OTHER and name and not others:
            others = [Span(-math.inf, math.inf, coloured, name) for coloured in (False, True)]
            continue
        numbers = _NUMBERS.fullmatch(value)
        if not name or not (numbers or _COLOUR.fullmatch(value)):
            raise InputError(
                f"--values {text}: give VALUE=NAME, such as 255=vessel, 128-255=vessel, "
                "'#ff0000=vessel' or other=background."
            )
        if numbers:
            low = float(numbers["low"])
            span = Span(low, float(numbers["high"] or low), False, name)
            if span.high < low:
                raise InputError(f"--values {text}: {span.high:g} is below {low:g}; turn them.")
        else:
            span = Span(int(value[1:], 16), int(value[1:], 16), True, name)
        for other in spans:
            if other.coloured == span.coloured and max(other.low, span.low) <= min(
                other.high, span.high
            ):
                raise InputError(f"--values {text}: {other}={other.name} names it already.")
        spans.append(span)
    return spans + others


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
    coloured = any(span.coloured and span.low >= 0 for span in spans) or any(
        each.coloured and any(value % 0x10101 for value in each.values) for each in held.values()
    )
    found = {value for each in held.values() for value in each.values if not each.coloured}
    if not coloured:
        found |= {int(value) & 255 for each in held.values() for value in each.values}
    plain = not spans and not coloured and len(found) <= _FEW
    if plain and sorted(found | {0}) == list(range(len(found | {0}))):
        _refuse_numbered(held)
        spans = [Span(value, value, False, f"label_{value:g}") for value in sorted(found - {0})]
    index = _number_names(spans)
    values = {BACKGROUND: 0, IGNORE: IGNORED} | index
    spans = [*spans, *(Span(0, 0, each, BACKGROUND) for each in (False, True))]
    spans.sort(key=lambda span: span.low == -math.inf)  # what is other comes last
    ends = [(span, values.get(span.name, values.get(span.name.lower(), 0))) for span in spans]
    ignored = IGNORED if any(value == IGNORED for _, value in ends) else None
    named = LabelValues(
        {0: BACKGROUND} | {number: name for name, number in index.items()}, ends, coloured, ignored
    )
    _refuse_unnamed(named, held)
    if not index:
        raise InputError("the labels hold nothing but background; give --values VALUE=NAME.")
    return named


def _refuse_numbered(held: Mapping[str, Held]) -> None:
    """Refuse values that probably number the objects of each image, such as cells, from 1 on."""
    counts = {len(each.values - {0}) for each in held.values()}
    if len(counts - {0}) > _COUNTS and all(
        each.values | {0} == set(range(len(each.values | {0}))) for each in held.values()
    ):
        last = some([str(count) for count in sorted(counts - {0})])
        raise InputError(
            f"the labels hold 1 to {last}: if they number objects of one kind, such as cells, give "
            "--values 1-65535=NAME; if each is a class, name them, such as --values 1=NAME "
            "--values 2=NAME."
        )


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
    fix = "name those that count and add --values other=background"
    if len(shown) <= _FEW:
        quote = "'" if any(coloured for coloured, _ in where) else ""
        fix = "give " + " ".join(f"--values {quote}{text}=NAME{quote}" for text in shown)
    if len(shown) > 1 and not any(coloured for coloured, _ in where):
        fix += (
            "; where they are JPEGs or soft at their edges, give ranges: --values 0-127=background "
            "--values 128-255=NAME; where they number objects, --values 1-65535=NAME"
        )
    raise InputError(
        f"the labels hold values without a name: {some(counts, shown=_FEW)}, such as "
        f"{where[min(where)][0]}; {fix}; NAME may be {BACKGROUND} or {IGNORE}."
    )
