"""The parts of the benchmark of audits: errors that are what they are called, and figures by hand."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.audit.errors import kinds_of, wrong_label
from benchmarks.audit.measure import looked_at
from benchmarks.audit.rivals import issues_of_all, thinned
from benchmarks.audit.table import put_tables, share_table, weighted_precision

from debride.evaluation.detection import average_precision
from debride.noise.strength import label_dice


def two_objects(shape: tuple[int, ...]) -> np.ndarray:
    """Objects of two classes, of which the second is smaller and beside the first."""
    label = np.zeros(shape, np.uint8)
    middle = (slice(6, -6),) if len(shape) == 3 else ()
    label[(*middle, slice(12, 32), slice(10, 28))] = 1
    label[(*middle, slice(36, 50), slice(30, 46))] = 2
    return label


@pytest.mark.parametrize("shape", [(64, 64), (20, 64, 64)])
def test_each_kind_is_what_it_is_called(shape: tuple[int, ...]) -> None:
    label, other = two_objects(shape), np.roll(two_objects(shape), 9, axis=-1)
    sizes = {}
    for kind in kinds_of(len(shape), 3):
        wrong = wrong_label(kind, label, 3, other, np.random.default_rng(1))
        assert wrong is not None and wrong.dtype == np.uint8, kind
        assert (label_dice(label, wrong, 3) or 0.0) <= 0.98, kind
        sizes[kind] = np.count_nonzero(wrong) - np.count_nonzero(label)
    assert sizes["extra"] > 0 and sizes["outward"] > 0 and sizes["swap"] == 0
    assert sizes["missing object"] < 0 and sizes["missing class"] < 0 and sizes["inward"] < 0
    assert sizes["empty"] == -np.count_nonzero(label)
    assert ("gap" in sizes) == ("stray" in sizes) == (len(shape) == 3)


def test_what_is_no_error_of_a_kind_is_none() -> None:
    rng, empty = np.random.default_rng(0), np.zeros((32, 32), np.uint8)
    one = empty.copy()
    one[10:20, 10:20] = 1
    assert wrong_label("missing object", one, 2, empty, rng) is None, "that would be an empty label"
    assert wrong_label("flip", empty, 2, one, rng) is None
    assert wrong_label("other case", one, 2, one, rng) is None
    thin = empty.copy()
    thin[5:25, 15] = 1
    assert wrong_label("inward", thin, 2, empty, rng) is None, "that would be a missing object"


def test_precision_of_a_resample_is_that_of_its_cases() -> None:
    rng = np.random.default_rng(0)
    score, wrong = rng.integers(0, 6, 30).astype(float), rng.random(30) < 0.3
    weight = rng.integers(0, 3, (4, 30))
    for times, value in zip(weight, weighted_precision(score, wrong, weight), strict=True):
        assert value == pytest.approx(average_precision(np.repeat(score, times), np.repeat(wrong, times)))


def test_cases_are_looked_at_until_nine_tenths_are_found() -> None:
    wrong = np.array([True] * 9 + [False] * 5 + [True])
    assert looked_at(-np.arange(15.0), wrong) == 9
    assert looked_at(np.arange(15.0), wrong) == 14
    assert looked_at(np.zeros(15), np.zeros(15, bool)) is None


def test_cleanlab_sees_all_cases_together() -> None:
    label = np.zeros((8, 8), np.uint8)
    label[2:6, 2:6] = 1
    probability = np.where(np.stack([label == 0, label == 1]), 0.9, 0.1).astype(np.float32)
    wrong = label.copy()
    wrong[2:6, 2:4] = 0
    assert issues_of_all([thinned(label, probability), thinned(wrong, probability)]) == [0.0, 8 / 64]


def test_the_share_table_counts_intervals_that_hold_the_truth() -> None:
    findings = {"all": 4, "right": 3, "errors": 10, "found": 2, "until": None}
    row = {"set": "x", "share": 0.1, "cases": 100, "wrong": 10, "kinds": {"outward": 6, "inward": 3, "flip": 1}}
    row |= {"share_wrong": 0.1, "flagged": 4, "flagged_wrong": 3, "flagged_said": 3.2, "findings": findings}
    rows = [
        row | {"share_wrong_interval": limits, "kind_shares": {"boundary": [0.1, 0.05, 0.2]}}
        for limits in ([0.0, 0.2], [0.2, 0.3])
    ]
    line = share_table(rows)[-1]
    assert "| 1 of 2 | 15 points | 2 of 4 | 0 of 2 |" in line and line.endswith("| 75 % | 80 % |")


def test_a_page_keeps_the_text_around_its_tables() -> None:
    page = "A.\n<!-- table acdc -->\nold\n<!-- end -->\nB.\n<!-- table lidc -->\n<!-- end -->\n"
    assert put_tables(page, {"acdc": ["new"]}) == (
        "A.\n<!-- table acdc -->\nnew\n<!-- end -->\nB.\n<!-- table lidc -->\nNo row yet.\n<!-- end -->\n"
    )
