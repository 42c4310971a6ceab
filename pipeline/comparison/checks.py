"""What must be true before two networks are compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..files import some
from .evaluations import Evaluation


def check_comparable(
    evaluations: Sequence[Evaluation], *, common: bool = False
) -> tuple[list[Evaluation], list[str]]:
    """Check that all networks answered the same questions.

    Args:
        evaluations: of all networks, folds and seeds.
        common: if networks differ in folds, seeds or cases, keep what all of them share.

    Returns:
        The evaluations to compare, and lines that say what was left out.

    Raises:
        InputError: the evaluations differ in bundle, section, units, datalist or truth, two are
            of the same network, fold and seed, or the networks differ in folds, seeds or cases.
    """
    evaluations = drop_repeats(evaluations)
    notes: list[str] = []
    for each in evaluations:
        if each.tag("section") == "validation" and each.training is not None:
            held_out, own = (r.data.params.get("fold") for r in (each.training, each.run))
            if held_out != own:
                raise InputError(
                    f"{each} measured fold {own}, which its network was trained on: evaluate "
                    f"fold {held_out} instead"
                )
    section = "--filter \"tags.pipeline.section = 'testing'\""
    require_same(evaluations, "bundle", lambda each: each.tag("bundle"), "--filter")
    require_same(evaluations, "section", lambda each: each.tag("section"), section)
    for key in sorted({key for each in evaluations for key in each.units}):
        require_same(
            [each for each in evaluations if key in each.units],
            f"unit of {key}",
            lambda each, key=key: each.units[key],
            "--filter, or evaluate again",
        )
    if not common:
        require_same(evaluations, "datalist", lambda each: each.tag("datalist_sha256"), "--common")
    elif (count := len({each.tag("datalist_sha256") for each in evaluations})) > 1:
        notes.append(f"The evaluations have {count} different datalists.")
    notes += note_settings(evaluations)
    evaluations = keep_shared_cells(evaluations, common, notes)
    keep_shared_cases(evaluations, common, notes)
    require_same_truth(evaluations)
    return evaluations, notes


def note_settings(evaluations: Sequence[Evaluation]) -> list[str]:
    """Say where evaluations differ in how masks were made from probabilities."""
    lines = []
    for name in ("threshold", "components"):
        found: dict[str, list[str]] = defaultdict(list)
        for each in evaluations:
            if name in each.summary:
                found[str(each.summary[name])].append(each.network)
        if len(found) > 1:
            by = "; ".join(f"{value} in {some(sorted(set(own)))}" for value, own in found.items())
            lines.append(f"The evaluations differ in {name}: {by}.")
    return lines


def drop_repeats(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Keep one evaluation per network, fold, seed and section: the newest of one checkpoint."""
    found: dict[tuple[str | None, ...], Evaluation] = {}
    for each in sorted(evaluations, key=lambda each: each.run.info.start_time):
        key = (each.network, *each.cell, each.tag("section"))
        other, checkpoint = found.get(key), each.tag("checkpoint_sha256")
        if other and (checkpoint is None or checkpoint != other.tag("checkpoint_sha256")):
            raise InputError(
                f"{each.network} has two evaluations of fold {each.fold}, seed {each.seed}: "
                f"{other} and {each}; choose one with --filter, --parent or --run, or tell them "
                "apart with --by"
            )
        found[key] = each
    return list(found.values())


def require_same(
    evaluations: Sequence[Evaluation], what: str, value: Callable[[Evaluation], object], fix: str
) -> None:
    """Refuse evaluations with different values, and name an example of two of them."""
    first = {value(each): each for each in reversed(evaluations)}
    if len(first) > 1:
        (a, one), (b, other), *_ = sorted(first.items(), key=lambda entry: str(entry[0]))
        raise InputError(
            f"the {what} differs: {str(a)[:40]} in {one}, {str(b)[:40]} in {other}; choose with "
            f"{fix}"
        )


def keep_shared_cells(
    evaluations: list[Evaluation], common: bool, notes: list[str]
) -> list[Evaluation]:
    """Keep the folds and seeds that every network has; an ensemble answers for all of its own."""
    cells: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for each in evaluations:
        if not each.is_ensemble:
            cells[each.network].add(each.cell)
    if not cells:
        return evaluations
    shared, lacking = find_shared(cells, format_cells, common)
    if lacking:
        kept = format_cells(shared)
        notes.append(f"Only what all networks share is compared: {kept} ({lacking}).")
    return [each for each in evaluations if each.is_ensemble or each.cell in shared]


def keep_shared_cases(evaluations: Sequence[Evaluation], common: bool, notes: list[str]) -> None:
    """Keep, in every fold and seed, the cases that every network has."""
    by_cell: dict[tuple[str, str], list[Evaluation]] = defaultdict(list)
    ensembles = [each for each in evaluations if each.is_ensemble]
    for cell in {each.cell for each in evaluations}:
        own = [each for each in evaluations if each.cell == cell and not each.is_ensemble]
        by_cell[cell] = own + ensembles  # which answer for every fold and seed
    dropped: set[str] = set()
    for cell, group in by_cell.items():
        cases = {each.network: set(each.cases.index) for each in group}
        shared, _ = find_shared(
            cases, lambda names: some(sorted(names)), common, f"{format_cells([cell])}: "
        )
        dropped |= set.union(*cases.values()) - shared
        for each in group:
            each.cases = each.cases[each.cases.index.isin(shared)]
    if dropped:
        left_out = some(sorted(dropped))
        notes.append(f"Only cases that all networks share are compared; left out: {left_out}.")


def find_shared(
    sets: Mapping[str, set], describe: Callable[[set], str], common: bool, where: str = ""
) -> tuple[set, str]:
    """What all networks have, and what some lack; the latter is refused without ``common``."""
    every, shared = set.union(*sets.values()), set.intersection(*sets.values())
    lacking = "; ".join(
        f"{name} lacks {describe(every - own)}" for name, own in sorted(sets.items()) if every - own
    )
    if lacking and not common:
        raise InputError(
            f"{where}{lacking}; evaluate what is missing, or give --common to compare what all "
            "networks share"
        )
    if not shared:
        raise InputError(f"{where}{lacking}; the networks share nothing")
    return shared, lacking


def require_same_truth(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations whose expert masks of a case differ in size."""
    known: dict[tuple[str, str], tuple[float, Evaluation]] = {}
    for each in evaluations:
        for column in (c for c in each.cases.columns if c.startswith(("area/", "volume/"))):
            for case, value in each.cases[column].items():
                before, other = known.setdefault((case, column), (value, each))
                if not np.isclose(before, value, rtol=1e-6, equal_nan=True):
                    raise InputError(
                        f"the true {column} of {case} is {before:g} in {other} and {value:g} in "
                        f"{each}: the labels changed in between; evaluate again"
                    )


def cell_order(cell: tuple[str, str]) -> tuple[tuple[int, str], ...]:
    """Sort key that puts folds and seeds in the order of their numbers."""
    return tuple((len(part), part) for part in cell)


def format_cells(cells: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"fold {fold} seed {seed}" for fold, seed in sorted(cells, key=cell_order))


def count_repeats(evaluations: Sequence[Evaluation]) -> tuple[int, int]:
    """The smallest and the largest number of evaluations that a network has of a case."""
    counts = Counter((each.network, case) for each in evaluations for case in each.cases.index)
    return min(counts.values()), max(counts.values())
