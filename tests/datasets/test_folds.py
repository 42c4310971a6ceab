from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.folds import deal, divide
from pipeline.errors import InputError


@given(st.sets(st.text(min_size=1), max_size=60), st.integers(0, 99))
def test_folds_are_balanced_complete_and_independent_of_order(patients, seed):
    dealt = deal(sorted(patients), [1] * 5, seed=seed)
    assert dealt == deal(sorted(patients, reverse=True), [1] * 5, seed=seed)
    assert dealt.keys() == patients
    sizes = Counter(dealt.values())
    counts = [sizes[fold] for fold in range(5)]
    assert max(counts) - min(counts) <= 1


def test_what_is_rare_and_who_has_many_cases_are_spread():
    patients = [f"p{number}" for number in range(40) for _ in range(1 + 4 * (number < 5))]
    holds = {f"p{number}": ["tumour"] for number in range(10, 15)}
    dealt = divide(patients, holds=holds)
    sizes = Counter(dealt[patient] for patient in patients)
    assert max(sizes.values()) - min(sizes.values()) <= 1
    assert {dealt[f"p{number}"] for number in range(5)} == set(range(5))
    assert {dealt[patient] for patient in holds} == set(range(5))


@pytest.mark.parametrize(("testing", "count"), [(0.2, 10), (7, 7), (0, 0)])
def test_testing_is_a_share_or_a_number(testing, count):
    patients = [f"p{number}" for number in range(50)]
    dealt = divide(patients, testing=testing, holds={each: ["organ"] for each in patients})
    counts = Counter(dealt.values())
    assert counts.pop(None, 0) == count
    assert sorted(counts) == list(range(5))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_all_may_be_for_testing():
    assert divide(["a", "b", "b"], testing=3) == {"a": None, "b": None}


def test_too_few_patients():
    assert sorted(divide(["a", "b", "b"]).values()) == [0, 1]
    for options in (
        {"folds": 3},
        {"folds": 1},
        {"testing": 4},
        {"testing": -1},
        {"testing": 3, "folds": 2},
    ):
        with pytest.raises(InputError, match=list(options)[-1]):
            divide(["a", "b", "b"], **options)
