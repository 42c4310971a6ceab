"""What must hold before the numbers of two networks stand side by side."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..errors import InputError
from .evaluations import Evaluation

COMMON = "give --common to compare over what all share"


def comparable(
    evaluations: Sequence[Evaluation], *, common: bool = False
) -> tuple[list[Evaluation], list[str]]:
    """Make sure that all networks answered the same questions.

    Args:
        evaluations: of all networks, folds and seeds.
        common: instead of refusing networks with different folds, seeds or cases, keep what all
            networks share.

    Returns:
        The evaluations to compare, and lines that say what was left out.

    Raises:
        InputError: they are of different bundles, sections, units, datalists or truths, one stands
            there twice, or the networks differ in folds, seeds or cases.
    """
    evaluations = without_repeats(evaluations)
    notes: list[str] = []
    for each in evaluations:
        if each.tag("section") == "validation" and each.training is not None:
            held_out, own = (r.data.params.get("fold") for r in (each.training, each.run))
            if held_out != own:
                raise InputError(
                    f"{each} measured fold {own}, on which its network was trained: fold "
                    f"{held_out} was held out; evaluate that one"
                )
    same(evaluations, "bundle", lambda each: each.tag("bundle"), "--filter")
    same(
        evaluations,
        "section",
        lambda each: each.tag("section"),
        "--filter \"tags.pipeline.section = 'testing'\"",
    )
    measured = [each for each in evaluations if each.summary.get("units")]
    same(measured, "unit", units, "--filter, or evaluate again")
    if common:
        digests = {each.tag("datalist_sha256") for each in evaluations}
        if len(digests) > 1:
            notes.append(f"The evaluations have {len(digests)} different datalists.")
    else:
        same(evaluations, "datalist", lambda each: each.tag("datalist_sha256"), "--common")
    evaluations = shared_cells(evaluations, common, notes)
    evaluations = shared_cases(evaluations, common, notes)
    same_truth(evaluations)
    return evaluations, notes


def without_repeats(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """One evaluation per network, fold, seed and section: of one checkpoint the newest."""
    found: dict[tuple[str | None, ...], Evaluation] = {}
    for each in sorted(evaluations, key=lambda each: each.run.info.start_time):
        key = (each.network, *each.cell, each.tag("section"))
        other = found.get(key)
        if other is not None and (
            each.tag("checkpoint_sha256") is None
            or each.tag("checkpoint_sha256") != other.tag("checkpoint_sha256")
        ):
            raise InputError(
                f"{each.network} has two evaluations of fold {each.fold}, seed {each.seed}: "
                f"{other} and {each}; choose by --filter, --parent or --run, or tell them apart "
                "by --by"
            )
        found[key] = each
    return list(found.values())


def same(
    evaluations: Sequence[Evaluation], what: str, value: Callable[[Evaluation], object], fix: str
) -> None:
    """Refuse evaluations of two kinds, with one of each as the example."""
    first = {value(each): each for each in reversed(evaluations)}
    if len(first) > 1:
        (a, one), (b, other), *_ = sorted(first.items(), key=lambda entry: str(entry[0]))
        raise InputError(
            f"the evaluations have different {what}s: {short(a)} in {one}, {short(b)} in {other}; "
            f"choose by {fix}"
        )


def shared_cells(
    evaluations: Sequence[Evaluation], common: bool, notes: list[str]
) -> list[Evaluation]:
    """The folds and seeds that every network has."""
    cells: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for each in evaluations:
        cells[each.network].add(each.cell)
    every, shared = set.union(*cells.values()), set.intersection(*cells.values())
    lacking = {
        name: ", ".join(f"fold {f} seed {s}" for f, s in sorted(every - own, key=cell_order))
        for name, own in sorted(cells.items())
        if every - own
    }
    if lacking:
        said = "; ".join(f"{name} lacks {them}" for name, them in lacking.items())
        if not common:
            raise InputError(f"{said}; evaluate what is missing, or {COMMON}")
        if not shared:
            raise InputError(f"{said}: the networks share no fold and seed")
        kept = ", ".join(
            f"fold {fold} seed {seed}" for fold, seed in sorted(shared, key=cell_order)
        )
        notes.append(f"Only what all networks share is compared: {kept} ({said}).")
    return [each for each in evaluations if each.cell in shared]


def shared_cases(
    evaluations: Sequence[Evaluation], common: bool, notes: list[str]
) -> list[Evaluation]:
    """In every fold and seed, the cases that every network has."""
    by_cell: dict[tuple[str, str], list[Evaluation]] = defaultdict(list)
    for each in evaluations:
        by_cell[each.cell].append(each)
    dropped: set[str] = set()
    for (fold, seed), group in by_cell.items():
        every = set().union(*(each.cases.index for each in group))
        shared = set.intersection(*(set(each.cases.index) for each in group))
        if every != shared:
            lacking = "; ".join(
                f"{each.network} lacks {some(every - set(each.cases.index))}"
                for each in sorted(group, key=lambda each: each.network)
                if every - set(each.cases.index)
            )
            where = f"in fold {fold}, seed {seed}, the test cases differ: {lacking}"
            if not common:
                raise InputError(f"{where}; {COMMON}")
            if not shared:
                raise InputError(f"{where}; the networks share no case")
            dropped |= every - shared
        for each in group:
            each.cases = each.cases[each.cases.index.isin(shared)]
    if dropped:
        notes.append(f"Only cases that all networks share are compared; left out: {some(dropped)}.")
    return list(evaluations)


def same_truth(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations whose expert masks of a case are not of one size."""
    known: dict[tuple[str, str], tuple[float, Evaluation]] = {}
    for each in evaluations:
        for column in sizes(each.cases.columns):
            for case, value in each.cases[column].items():
                before, other = known.setdefault((case, column), (value, each))
                if not np.isclose(before, value, rtol=1e-6, equal_nan=True):
                    raise InputError(
                        f"the true {column} of {case} is {before:g} in {other} and {value:g} in "
                        f"{each}: the labels changed in between; evaluate again"
                    )


def units(evaluation: Evaluation) -> str:
    """What the distances of an evaluation are in, and what its NSD tolerates."""
    named = evaluation.summary["units"]
    return ", ".join(f"{kind} {named[kind]}" for kind in ("hd95", "nsd") if kind in named)


def sizes(columns: Iterable[str]) -> list[str]:
    """The columns with the true size of a region."""
    return [name for name in columns if name.startswith(("area/", "volume/"))]


def cell_order(cell: tuple[str, str]) -> tuple[tuple[int, str], ...]:
    """Folds and seeds in the order of their numbers."""
    return tuple((len(part), part) for part in cell)


def some(names: Iterable[str], most: int = 5) -> str:
    """``a, b, c and 4 more``."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def short(value: object) -> str:
    """A value, or the start of a digest."""
    text = str(value) if value is not None else "none"
    return text if len(text) < 60 else f"{text[:12]}..."


def repeats(evaluations: Sequence[Evaluation]) -> tuple[int, int]:
    """The fewest and the most evaluations that a network has of one case."""
    counts = Counter((each.network, case) for each in evaluations for case in each.cases.index)
    return min(counts.values()), max(counts.values())
