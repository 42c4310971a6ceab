"""Divide patients into folds and a test split, balanced in size and in what their labels hold."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..errors import InputError

FOLDS = 5


def divide(
    patients: Sequence[str],
    *,
    testing: float = 0,
    folds: int | None = None,
    holds: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, int | None]:
    """Keep patients for testing and assign the others to folds.

    Args:
        patients: see `deal`.
        testing: share of the cases below 1, or about how many of them; 0 for none. If it is the
            number of cases, no folds are made.
        folds: their number; by default five, or one for each patient where there are fewer.
        holds: see `deal`.

    Returns:
        ``{patient: fold}``; None is the test split.

    Raises:
        InputError: there are too few patients for the folds, or for testing.
    """
    share = testing if testing < 1 else testing / len(patients)
    if not 0 <= share <= 1:
        raise InputError(
            f"--testing {testing:g}: give a share below 1, or a number of cases, at most "
            f"{len(patients)}."
        )
    if share == 1 and folds is None:
        return dict.fromkeys(patients)
    dealt = deal(patients, [1 - share, share], holds=holds) if share else {}
    trained = [patient for patient in patients if not dealt.get(patient)]
    count = len(set(trained))
    if folds is not None and not 2 <= folds <= count:
        raise InputError(
            f"--folds {folds}: give 2 or more, and at most {count}, the number of patients who "
            "are not kept for testing."
        )
    number = folds or min(FOLDS, count)
    assigned = deal(trained, [1] * number, holds=holds)
    return {patient: assigned.get(patient) for patient in dict.fromkeys(patients)}


def deal(
    patients: Iterable[str],
    shares: Sequence[float],
    *,
    seed: int = 0,
    holds: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, int]:
    """Deal patients to parts, such as folds, those who hold something rare first.

    This is the iterative stratification of Sechidis et al., "On the Stratification of Multi-Label
    Data", ECML PKDD 2011, with whole patients, and with the part that lags behind its share found
    as in D'Hondt's method. The order of ``patients`` does not matter. `random.Random.shuffle` is
    the same on every machine.

    Args:
        patients: of the cases; one who is there more often counts as so many cases.
        shares: of the parts, which are equal for folds.
        seed: of the order in which they are dealt.
        holds: what the labels of a patient hold, such as regions, once for each case; each of
            these is spread over the parts as evenly as the patients allow.

    Returns:
        ``{patient: part}``.
    """
    sizes = Counter(patients)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    held = {patient: Counter((holds or {}).get(patient, ())) for patient in order}
    dealt: dict[str, int] = {}
    counts: list[Counter[Any]] = [Counter() for _ in shares]

    def place(group: Collection[str], what: Any) -> None:
        for patient in sorted(group, key=lambda each: -sizes[each]):  # stable: the shuffled order
            part = min(
                (number for number, share in enumerate(shares) if share),
                key=lambda number: [
                    (counts[number][key] + size) / shares[number]
                    for key, size in ((what, held[patient][what]), (None, sizes[patient]))
                ],
            )
            dealt[patient] = part
            counts[part].update(held[patient])
            counts[part][None] += sizes[patient]

    rest = list(order)
    while rest:
        totals = Counter(what for patient in rest for what in held[patient])
        rarest = min(totals, key=lambda what: (totals[what], str(what)), default=None)
        place([each for each in rest if rarest is None or rarest in held[each]], rarest)
        rest = [each for each in rest if each not in dealt]
    return dealt
