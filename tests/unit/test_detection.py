"""AUROC and average precision against counts over pairs and thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from debride.evaluation.detection import auroc, average_precision

ELEMENTS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


@given(ELEMENTS)
def test_auroc_counts_pairs(elements: list[tuple[int, bool]]) -> None:
    wrong = [score for score, is_wrong in elements if is_wrong]
    right = [score for score, is_wrong in elements if not is_wrong]
    found = auroc(np.array([e[0] for e in elements], float), np.array([e[1] for e in elements]))
    if not wrong or not right:
        assert np.isnan(found)
        return
    pairs = sum((a > b) + 0.5 * (a == b) for a in wrong for b in right)
    assert found == pytest.approx(pairs / (len(wrong) * len(right)))


@given(ELEMENTS)
def test_average_precision_steps_through_thresholds(elements: list[tuple[int, bool]]) -> None:
    found = average_precision(np.array([e[0] for e in elements], float), np.array([e[1] for e in elements]))
    positives = sum(is_wrong for _, is_wrong in elements)
    if not positives:
        assert np.isnan(found)
        return
    area, recall = 0.0, 0.0
    for threshold in sorted({score for score, _ in elements}, reverse=True):
        passed = [is_wrong for score, is_wrong in elements if score >= threshold]
        area += (sum(passed) / positives - recall) * sum(passed) / len(passed)
        recall = sum(passed) / positives
    assert found == pytest.approx(area)
