"""Majority and STAPLE against slow versions, and on labels that are empty, equal, or missing in part."""

import numpy as np
import pytest
from tests.several_raters import disc, random_labels, slow_votes

from debride.audit.raters.consensus import MARGIN, binary_staple, joint_box, majority, staple
from debride.types import IGNORE


@pytest.mark.parametrize("shape", [(9, 11), (3, 6, 5)])
@pytest.mark.parametrize(("raters", "classes"), [(1, 2), (2, 3), (4, 2), (5, 4)])
def test_the_majority_counts_votes_and_leaves_ties_to_the_lowest_id(shape, raters, classes):
    labels = random_labels(1, raters, shape, classes)
    found = majority(labels, classes)
    for at in np.ndindex(*shape):
        votes = slow_votes(labels, classes, at)
        assert found[at] == (votes.index(max(votes)) if max(votes) else IGNORE)
    assert (found == IGNORE).any() == (raters < 3)


def test_the_majority_is_the_same_in_pieces(monkeypatch):
    labels = random_labels(2, 3, (20, 7), 3)
    whole = majority(labels, 3)
    monkeypatch.setattr("debride.audit.raters.consensus._AT_ONCE", 20)
    assert np.array_equal(majority(labels, 3), whole)


def slow_staple(masks, iterations=3000):
    """Expectation maximisation for masks (R, N) in plain loops, with the prior of the mean share."""
    raters, size = masks.shape
    prior = sum(sum(map(int, mask)) for mask in masks) / masks.size
    p, q = [0.99999] * raters, [0.99999] * raters
    weight = [0.0] * size
    for _ in range(iterations):
        for i in range(size):
            a, b = prior, 1 - prior
            for j in range(raters):
                a *= p[j] if masks[j, i] else 1 - p[j]
                b *= 1 - q[j] if masks[j, i] else q[j]
            weight[i] = a / (a + b)
        total = sum(weight)
        before = p + q
        p = [sum(w for w, m in zip(weight, masks[j], strict=True) if m) / total for j in range(raters)]
        q = [sum(1 - w for w, m in zip(weight, masks[j], strict=True) if not m) / (size - total) for j in range(raters)]
        if max(abs(x - y) for x, y in zip(before, p + q, strict=True)) < 1e-12:
            break
    return np.array(weight), p, q


@pytest.mark.parametrize("errors", [(0.02, 0.1, 0.2), (0.05, 0.05, 0.3, 0.1)])
def test_staple_is_that_of_a_slow_version(errors):
    rng = np.random.default_rng(3)
    truth = disc((12, 14), (6, 6), 4)
    masks = np.stack([truth ^ (rng.random(truth.shape) < error) for error in errors])
    probability, sensitivity, specificity = binary_staple(masks)
    weight, p, q = slow_staple(masks.reshape(len(masks), -1))
    assert probability.dtype == np.float64
    assert np.allclose(probability.ravel(), weight, rtol=0, atol=1e-3)
    assert np.allclose(sensitivity, p, rtol=0, atol=1e-3) and np.allclose(specificity, q, rtol=0, atol=1e-3)
    assert np.abs(probability - masks.mean(axis=0)).max() > 0.01


def test_staple_where_some_have_no_label_follows_from_where_all_have():
    rng = np.random.default_rng(4)
    truth = disc((16, 16), (8, 8), 5)
    masks = np.stack([truth ^ (rng.random(truth.shape) < error) for error in (0.05, 0.1, 0.25)])
    known = np.ones_like(masks)
    known[0, :3] = known[1, 2:5] = False
    known[:, 15] = False
    probability, p, q = binary_staple(masks & known, known)
    everyone = known.all(axis=0)
    part, p_part, q_part = binary_staple(masks[:, everyone].reshape(3, 1, -1))
    assert np.array_equal(probability[everyone], part.ravel())
    assert np.array_equal(p, p_part) and np.array_equal(q, q_part)
    prior = masks[:, everyone].mean()
    for at in zip(*np.nonzero(~everyone), strict=True):
        a, b = prior, 1 - prior
        for j in range(3):
            if known[j][at]:
                a *= p[j] if masks[j][at] else 1 - p[j]
                b *= 1 - q[j] if masks[j][at] else q[j]
        assert probability[at] == pytest.approx(a / (a + b) if known[:, at[0], at[1]].any() else 0, abs=1e-5)


def test_staple_without_a_place_that_all_labelled_is_the_share_of_votes():
    masks = np.array([[1, 0, 0, 0], [0, 0, 1, 0]], bool)
    known = np.array([[1, 1, 0, 0], [0, 0, 1, 0]], bool)
    probability, p, q = binary_staple(masks, known)
    assert probability.tolist() == [1, 0, 1, 0]
    assert np.isnan(p).all() and np.isnan(q).all()


def test_staple_of_one_rater_of_equal_ones_and_of_nothing_is_what_they_say():
    label = (disc((20, 20), (9, 9), 5) * 1 + disc((20, 20), (9, 9), 2)).astype(np.uint8)
    for labels in (label[None], np.stack([label] * 3), np.zeros((3, 20, 20), np.uint8), np.ones((2, 20, 20), np.uint8)):
        found = staple(labels, 3)
        assert np.array_equal(found.label, labels[0])
        given = np.array([(labels == class_id).any() for class_id in (1, 2)])
        assert np.array_equal(np.isnan(found.sensitivity), np.broadcast_to(~given, (len(labels), 2)))
        assert (found.sensitivity[:, given] == 1).all() and (found.specificity[:, given] == 1).all()


def test_an_empty_label_does_not_take_the_object_of_the_others():
    label = disc((20, 20), (9, 9), 5).astype(np.uint8)
    found = staple(np.stack([label, np.zeros_like(label), label]), 2)
    assert np.array_equal(found.label, label)
    assert np.allclose(found.sensitivity[:, 0], [1, 0, 1], atol=1e-3)


def test_staple_takes_the_class_of_the_largest_probability():
    labels = random_labels(5, 4, (15, 16), 4, ignore=0)
    labels[:, :4] = labels[:, :, :2] = 0
    labels[0, 0, 0] = IGNORE
    labels[:, 14, 15] = IGNORE
    found = staple(labels, 4)
    best, chosen = np.full(labels.shape[1:], 0.5 - 1e-9), np.zeros(labels.shape[1:], np.uint8)
    for class_id in (1, 2, 3):
        box = joint_box(labels == class_id, MARGIN)
        inside = labels[(slice(None), *box)]
        probability, p, _ = binary_staple(inside == class_id, inside != IGNORE)
        assert np.array_equal(found.sensitivity[:, class_id - 1], p)
        for at in np.ndindex(*probability.shape):
            there = tuple(i + b.start for i, b in zip(at, box, strict=True))
            if probability[at] > best[there]:
                best[there], chosen[there] = probability[at], class_id
    chosen[14, 15] = IGNORE
    assert np.array_equal(found.label, chosen)
    assert len(np.unique(chosen)) == 5


def test_what_lies_far_away_changes_nothing():
    small = random_labels(6, 3, (12, 12), 2, ignore=0)
    wide = np.pad(small, ((0, 0), (MARGIN, 300), (MARGIN, 300)))
    found = staple(wide, 2).label[MARGIN : MARGIN + 12, MARGIN : MARGIN + 12]
    assert np.array_equal(
        found, staple(np.pad(small, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))), 2).label[MARGIN:-MARGIN, MARGIN:-MARGIN]
    )


def test_staple_never_fails_on_small_masks():
    rng = np.random.default_rng(7)
    for _ in range(200):
        masks = rng.random((rng.integers(2, 5), 4, 4)) < rng.random()
        probability, p, q = binary_staple(masks)
        assert ((probability >= 0) & (probability <= 1)).all(), masks
        assert not np.isnan(p).any() and not np.isnan(q).any(), masks
