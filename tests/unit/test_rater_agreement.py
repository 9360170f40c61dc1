"""Agreement and bias of raters against slow versions, and the table that ranks them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from tests.several_raters import disc, random_labels, rows_of, slow_votes

from debride.audit.raters.rater_agreement import Agreement, boundary_bias, rater_table, rejected_labels
from debride.types import IGNORE, DataError


def slow_surface(mask):
    found = []
    for at in zip(*np.nonzero(mask), strict=True):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            other = list(at)
            other[axis] += step
            if 0 <= other[axis] < mask.shape[axis] and not mask[tuple(other)]:
                found.append(at)
                break
    return found


def slow_bias(one, other, spacing):
    def away(at, mask, surface):
        nearest = min(np.linalg.norm((np.array(at) - point) * spacing) for point in surface)
        return -nearest if mask[at] else nearest

    surfaces = slow_surface(one), slow_surface(other)
    if not all(surfaces):
        return float("nan")
    there = np.mean([away(at, other, surfaces[1]) for at in surfaces[0]])
    back = np.mean([away(at, one, surfaces[0]) for at in surfaces[1]])
    return (there - back) / 2


@pytest.mark.parametrize(("shape", "spacing"), [((12, 13), (1.0, 1.0)), ((12, 9), (0.5, 2.0)), ((5, 7, 6), (3.0, 1.0, 1.5))])
def test_the_bias_is_that_of_a_slow_version(shape, spacing):
    rng = np.random.default_rng(8)
    for _ in range(8):
        one, other = (disc(shape, rng.uniform(0, shape), rng.uniform(1, 4)) for _ in range(2))
        expected = slow_bias(one, other, spacing)
        assert boundary_bias(one, other, spacing) == pytest.approx(expected, abs=1e-4, nan_ok=True)
        assert boundary_bias(other, one, spacing) == pytest.approx(-expected, abs=1e-4, nan_ok=True)


def test_the_bias_of_a_square_moved_outwards_is_the_distance():
    square = np.zeros((40, 40), bool)
    square[12:25, 12:25] = True
    for distance in (1, 3):
        larger = np.zeros_like(square)
        larger[12 - distance : 25 + distance, 12 - distance : 25 + distance] = True
        assert boundary_bias(larger, square, None) == pytest.approx(distance, rel=0.1)
        assert boundary_bias(larger, square, (0.5, 0.5)) == pytest.approx(distance / 2, rel=0.1)
    assert boundary_bias(square, square, None) == 0
    assert boundary_bias(square, np.roll(square, 5, axis=1), None) == pytest.approx(0, abs=1e-6)
    assert np.isnan(boundary_bias(square, np.zeros_like(square), None))
    assert np.isnan(boundary_bias(square, np.ones_like(square), None))
    assert np.isnan(boundary_bias(np.zeros_like(square), np.zeros_like(square), None))


def slow_dice(one, other):
    total = one.sum() + other.sum()
    return 2 * (one & other).sum() / total if total else float("nan")


@pytest.mark.parametrize(("raters", "classes", "shape"), [(2, 2, (8, 9)), (3, 3, (9, 8)), (4, 4, (3, 6, 6)), (5, 2, (8, 8))])
def test_agreement_is_that_of_a_slow_version(raters, classes, shape):
    labels = random_labels(9 + raters, raters, shape, classes)
    labels[:, :2] = 0
    labels[1][labels[1] == classes - 1] = 0
    spacing = (2.0, 1.5, 1.0)[-len(shape) :]
    rows = {(row.rater, row.class_id): row for row in rows_of(labels, classes, spacing)}
    assert len(rows) == raters * (classes - 1)
    for j, class_id in itertools.product(range(raters), range(1, classes)):
        mask = np.zeros(shape, bool)
        strict, lenient = np.zeros(shape, bool), np.zeros(shape, bool)
        for at in np.ndindex(*shape):
            votes = slow_votes(np.delete(labels, j, axis=0), classes, at)
            if labels[j][at] == IGNORE or not max(votes):
                continue
            mask[at] = labels[j][at] == class_id
            lenient[at] = votes[class_id] == max(votes)
            strict[at] = lenient[at] and votes.count(max(votes)) == 1
        row = rows[f"r{j}", class_id]
        assert row.voxels == mask.sum() and row.voxels_others == (strict.sum() + lenient.sum()) / 2
        assert row.dice_to_others == pytest.approx((slow_dice(mask, strict) + slow_dice(mask, lenient)) / 2)
        assert row.volume_difference == pytest.approx(
            row.voxels / row.voxels_others - 1 if row.voxels_others else np.nan, nan_ok=True
        )
        biases = [slow_bias(mask, reference, spacing) for reference in (strict, lenient)]
        expected = np.nanmean(biases) if not np.isnan(biases).all() else np.nan
        assert row.bias == pytest.approx(expected, abs=1e-4, nan_ok=True)
        assert row.rejected == (row.dice_to_others < 0.5)
        pairs = []
        for i in range(raters):
            known = (labels[j] != IGNORE) & (labels[i] != IGNORE)
            if i != j:
                pairs.append(slow_dice((labels[j] == class_id) & known, (labels[i] == class_id) & known))
        assert row.dice_pairwise == pytest.approx(np.nanmean(pairs))
        assert (row.others, row.unit) == (raters - 1, "mm")


def test_three_raters_are_measured_alike_from_both_sides():
    """The majority of two others is where both agree, or where one does: either alone would shift every bias."""
    labels = np.stack([disc((40, 40), (20, 20), radius) for radius in (8, 10, 12)]).astype(np.uint8)
    biases = [row.bias for row in rows_of(labels, 2)]
    assert biases[0] == pytest.approx(-biases[2], abs=0.3)
    assert biases == pytest.approx([-3, 0, 3], abs=0.4)


def test_empty_labels():
    some, none = disc((20, 20), (10, 10), 4).astype(np.uint8), np.zeros((20, 20), np.uint8)
    empty = rows_of(np.stack([none] * 3), 2)
    assert all(np.isnan(row.dice_to_others) and np.isnan(row.bias) and not row.rejected and not row.voxels for row in empty)
    assert rejected_labels(empty) == (0, 0)
    alone = rows_of(np.stack([some, none, none]), 2)
    assert [row.rejected for row in alone] == [True, False, False]
    assert [row.dice_to_others for row in alone] == [0, 0.5, 0.5]
    missed = rows_of(np.stack([some, some, some, none]), 2)
    assert [row.rejected for row in missed] == [False, False, False, True]
    assert [row.dice_to_others for row in missed] == [1, 1, 1, 0]
    assert missed[0].unit == "px"


def row(image, rater, bias, dice=0.9, patient=None, class_id=1, unit="px"):
    return Agreement(
        image=image,
        patient=patient or image,
        split="train",
        rater=rater,
        class_id=class_id,
        others=2,
        voxels=10,
        voxels_others=10,
        volume_difference=0.0,
        dice_to_others=dice,
        dice_pairwise=dice,
        bias=bias,
        unit=unit,
        rejected=dice < 0.5,
    )


def test_the_table_ranks_raters_by_their_typical_displacement():
    nan = float("nan")
    rows = [row(f"i{i}", "far", 3 + 0.1 * (-1) ** i) for i in range(6)]
    rows += [row(f"i{i}", "good", 0.1 * (-1) ** i) for i in range(6)]
    rows += [row(f"i{i}", "sloppy", 1.5 * (-1) ** i, dice=0.4 if i == 0 else 0.8) for i in range(6)]
    rows += [row("i0", "never", nan, dice=0.0), row("i1", "never", nan, dice=nan)]
    table = rater_table(rows)
    assert [(line.rank, line.rater) for line in table] == [(1, "good"), (2, "sloppy"), (3, "far"), (4, "never")]
    _, sloppy, far, never = table
    assert far.bias == pytest.approx(3) and far.low < 3 < far.high and far.high - far.low < 0.3
    assert sloppy.bias == pytest.approx(0) and sloppy.spread == pytest.approx(1.5 * (6 / 5) ** 0.5)
    assert sloppy.typical == pytest.approx(1.5) and sloppy.dice == pytest.approx((0.4 + 5 * 0.8) / 6)
    assert (sloppy.rejected, sloppy.labels, sloppy.patients) == (1, 6, 6)
    assert (never.labels, never.rejected) == (1, 1) and np.isnan([never.bias, never.low, never.spread, never.typical]).all()
    assert rejected_labels(rows) == (2, 19)


def test_the_interval_is_over_patients():
    apart = [row(f"i{i}", "a", float(i % 4), patient=f"p{i}") for i in range(40)]
    together = [replace(each, patient=f"p{i % 4}") for i, each in enumerate(apart)]
    narrow, wide = rater_table(apart)[0], rater_table(together)[0]
    assert narrow.bias == wide.bias == 1.5
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low) > 0
    assert (narrow.high - narrow.low) / 2 == pytest.approx(1.96 * 1.118 / 40**0.5, rel=0.15)
    alone = rater_table([replace(each, patient="p") for each in apart])[0]
    assert np.isnan(alone.low) and np.isnan(alone.high) and alone.patients == 1


def test_a_label_counts_once_with_the_mean_over_its_classes():
    rows = [
        row("i", "a", 1.0, 0.2),
        row("i", "a", 3.0, 0.6, class_id=2),
        row("j", "a", 4.0, 0.9),
        row("j", "a", float("nan"), float("nan"), class_id=2),
    ]
    (line,) = rater_table(rows)
    assert (line.labels, line.bias, line.rejected, line.class_id) == (2, 3.0, 1, None)
    (second,) = rater_table(rows, 2)
    assert (second.labels, second.bias, second.class_id) == (1, 3.0, 2)
    assert rejected_labels(rows) == (1, 2)


def test_mm_and_pixels_are_not_mixed():
    with pytest.raises(DataError, match="some have a spacing"):
        rater_table([row("i", "a", 1.0), row("j", "a", 1.0, unit="mm")])
