"""A group has its own calibration where that is surely better, and the common one elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.test_bias_fit import NAMES, PLAIN, Toy, toys

from debride.calibration.fitting import fit
from debride.calibration.group_biases import fit_by_group


def site(name: str, inside: float, count: int) -> list[Toy]:
    return [replace(case, id=f"{name}{case.id}", patient=f"{name}{case.patient}") for case in toys(inside, count)]


def test_sites_that_draw_otherwise_have_their_own() -> None:
    cases = [*site("a", 1.5, 4), *site("b", -1.5, 4), *site("c", 1.5, 2)]
    groups = ["a"] * 4 + ["b"] * 4 + ["c", None]
    common, own = fit_by_group(cases, groups, NAMES, PLAIN, "px")
    assert common.calibration == fit(cases, NAMES, PLAIN, "px").calibration
    assert set(own) == {"a", "b"}, "c has too few patients"
    for name, inside in (("a", 1.5), ("b", -1.5)):
        assert own[name].calibration.shifts == pytest.approx((0, inside, inside), abs=0.6)
        alone = fit([case for case, group in zip(cases, groups, strict=True) if group == name], NAMES, PLAIN, "px")
        assert own[name].calibration == alone.calibration


def test_sites_that_draw_alike_share_one() -> None:
    cases = [*site("a", 1.5, 3), *site("b", 1.5, 3)]
    common, own = fit_by_group(cases, ["a"] * 3 + ["b"] * 3, NAMES, PLAIN, "px")
    assert not own and common.calibration.changes
