from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debride.data.splits import split_by_patient
from debride.types import DataError, Split

PATIENTS = st.lists(st.sampled_from([f"p{i}" for i in range(12)]), min_size=3, max_size=40).filter(lambda x: len(set(x)) >= 3)
FRACTIONS: dict[Split, float] = {"train": 0.6, "val": 0.2, "test": 0.2}


@given(patients=PATIENTS, seed=st.integers(0, 5))
def test_a_patient_is_in_one_split_and_no_split_is_empty(patients: list[str], seed: int) -> None:
    splits = split_by_patient(patients, FRACTIONS, seed)
    assert len(splits) == len(patients)
    assert len(set(zip(patients, splits, strict=True))) == len(set(patients))
    assert set(splits) == {"train", "val", "test"}


@given(patients=PATIENTS, seed=st.integers(0, 5))
def test_the_order_of_the_cases_does_not_matter(patients: list[str], seed: int) -> None:
    shuffled = random.Random(seed).sample(patients, len(patients))
    one = dict(zip(patients, split_by_patient(patients, FRACTIONS, seed), strict=True))
    other = dict(zip(shuffled, split_by_patient(shuffled, FRACTIONS, seed), strict=True))
    assert one == other


@pytest.mark.parametrize(("n", "expected"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (10, (6, 2, 2)), (100, (60, 20, 20))])
def test_numbers_of_patients(n: int, expected: tuple[int, int, int]) -> None:
    splits = split_by_patient([f"p{i}" for i in range(n)], FRACTIONS, 0)
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == expected


def test_a_fraction_of_zero_receives_nobody_and_seeds_differ() -> None:
    patients = [f"p{i}" for i in range(20)]
    draws = {tuple(split_by_patient(patients, {"train": 0.75, "val": 0.25, "test": 0.0}, seed)) for seed in range(5)}
    assert all(draw.count("val") == 5 and "test" not in draw for draw in draws)
    assert len(draws) == 5


@pytest.mark.parametrize("fractions", [{"train": 1.2, "val": -0.2}, {"train": 0.5, "val": 0.2}])
def test_impossible_fractions(fractions: dict[Split, float]) -> None:
    with pytest.raises(DataError, match="fractions"):
        split_by_patient(["a", "b", "c"], fractions, 0)


def test_fewer_patients_than_splits() -> None:
    with pytest.raises(DataError, match=r"2 patient\(s\)"):
        split_by_patient(["a", "a", "b"], FRACTIONS, 0)
