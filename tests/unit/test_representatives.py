"""The most ordinary cases, against cases made by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from debride.calibration.representatives import Described, choose, standardised


def case(name: str, value: float, patient: str = "", shows: tuple[int, ...] = (1,), kind: int = 0) -> Described:
    return Described(name, patient or name, {"number": [value]}, frozenset(shows), kind)


def ids(cases: list[Described], count: int) -> list[str]:
    return [each.id for each in choose(cases, count)]


LINE = [case(f"c{value}", value) for value in range(9)]
"""Nine cases in a row: c4 is in the middle."""


def test_the_nearest_to_the_middle_come_first() -> None:
    assert ids(LINE, 3) == ["c4", "c3", "c5"]
    assert [each.rank for each in choose(LINE, 3)] == [1, 2, 3]
    assert len(ids(LINE, 20)) == 9


def test_the_order_of_the_cases_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    cases = [
        Described(f"c{at:02d}", f"p{at // 3}", {"a": rng.random(4), "b": rng.random(2)}, frozenset({at % 4}))
        for at in range(40)
    ]
    expected = choose(cases, 6)
    for _ in range(5):
        assert choose([cases[at] for at in rng.permutation(40)], 6) == expected


def test_each_is_of_another_patient_as_long_as_there_are_others() -> None:
    cases = [case(f"c{value}", value, patient="one" if 3 <= value <= 5 else "") for value in range(9)]
    assert ids(cases, 3) == ["c4", "c2", "c6"]
    same = [case(f"c{value}", value, patient="one") for value in range(5)]
    assert ids(same, 2) == ["c2", "c1"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_class_is_shown_as_far_as_the_count_allows(count: int) -> None:
    cases = [*LINE, case("far", 30, shows=(2, 3)), case("farther", 40, shows=(2,)), case("other", 50, shows=(4,))]
    shown = {number for each in choose(cases, count) for one in cases if one.id == each.id for number in one.shows}
    assert len(shown) == {1: 2, 2: 3, 3: 4}[count]
    assert ("far" in ids(cases, count)) and ("other" in ids(cases, count)) == (count == 3)


def test_a_class_comes_before_another_patient() -> None:
    cases = [case("a", 4), case("b", 9, patient="p", shows=(2,)), case("c", 5, patient="p")]
    assert ids(cases, 2) == ["c", "b"]


def test_cases_are_compared_with_those_of_their_kind() -> None:
    near = [case(f"n{value}", value, shows=(0,), kind=0) for value in range(5)]
    far = [case(f"f{value}", 100 + value, shows=(1,), kind=1) for value in range(5)]
    assert sorted(ids([*near, *far], 2)) == ["f2", "n2"]
    assert {each.rank for each in choose([*near, *far], 2)} == {1}


def test_groups_weigh_the_same_and_tails_are_cut() -> None:
    rng = np.random.default_rng(1)
    groups: list[dict[str, npt.ArrayLike]]
    groups = [{"many": rng.random(50), "one": rng.random(1), "same": [3.0, 3.0]} for _ in range(300)]
    groups[0]["one"] = np.array([1e9])
    points = standardised(groups)
    assert points.shape == (300, 51)
    assert (points[:, :50] ** 2).sum(axis=1).mean() == pytest.approx(1)
    assert (points[:, 50] ** 2).mean() == pytest.approx(1)
    assert abs(points[0, 50]) < 3
