"""Cost efficiency, against the tables of the papers that define it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from debride.bench.papers.cost_efficiency import increase_efficiency, overhead_efficiency

META_DCSEG = ((89.23, 2.8, 7.2), (90.34, 3.2, 7.8), (90.56, 4.5, 9.6), (90.62, 6.8, 12.4))
"""Table 6: mIoU, minutes of an epoch, GB; with 1, 2, 5 and 10 % of trusted cases."""

DCD = ((1, 94.3, 0.7, 5.3), (2, 95.1, 0.9, 6.9), (4, 95.5, 1.3, 9.4), (6, 95.7, 2.1, 11.2))
"""Table 2: %, accuracy, minutes of an epoch, GB."""


def test_metadcsegs_table_does_not_follow_from_its_equation() -> None:
    base = META_DCSEG[0]
    found = [overhead_efficiency(m - base[0], t / base[1], g / base[2]) for m, t, g in META_DCSEG[1:]]
    assert found == pytest.approx([4.662, 1.164, 0.4368], rel=1e-3)  # 111 / 23.81, 133 / 114.3, 139 / 318.3
    printed = (3.70, 0.93, 0.37)
    assert [value / ours for value, ours in zip(printed, found, strict=True)] == pytest.approx([0.794, 0.799, 0.847], abs=1e-3)


def test_dcds_table_is_of_differences_between_its_rows() -> None:
    found = [
        increase_efficiency(*(new - old for new, old in zip((a, t, m, share), before, strict=True)))
        for (share, a, t, m), before in (((after), (b[1], b[2], b[3], b[0])) for b, after in pairwise(DCD))
    ]
    assert [round(value, 2) for value in found] == [2.50, 0.20, 0.07]


def test_dcds_table_is_not_of_changes_relative_to_the_baseline() -> None:
    share, accuracy, time, memory = DCD[0]
    found = [increase_efficiency(a - accuracy, t / time - 1, m / memory - 1, s / share - 1) for s, a, t, m in DCD[1:]]
    assert found == pytest.approx([9.275, 0.603, 0.1258], rel=1e-3)
