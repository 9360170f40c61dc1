"""Metrics of one case, against values worked out by hand, a brute force over all pairs of surface voxels, and MONAI."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from debride.evaluation.mask_metrics import METRICS, case_metrics
from debride.types import IGNORE, DataError


def one(prediction, reference, spacing=None, distances=True):
    (metrics,) = case_metrics(np.asarray(prediction), np.asarray(reference), 2, spacing, distances)
    return metrics


def surface_voxels(mask):
    """Coordinates of object voxels with a face neighbour outside the object or outside the image, by the definition."""
    found = []
    for voxel in itertools.product(*(range(n) for n in mask.shape)):
        if not mask[voxel]:
            continue
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            other = list(voxel)
            other[axis] += step
            if not 0 <= other[axis] < mask.shape[axis] or not mask[tuple(other)]:
                found.append(voxel)
                break
    return np.array(found, dtype=float).reshape(-1, mask.ndim)


def brute_force(p, r, spacing):
    """(Dice, IoU, Hausdorff, HD95, ASSD) of two binary masks, from all pairs of surface voxels."""
    both, either = (p & r).sum(), (p | r).sum()
    dice = 2 * both / (p.sum() + r.sum()) if either else math.nan
    iou = both / either if either else math.nan
    if not p.any() or not r.any():
        return dice, iou, math.nan, math.nan, math.nan
    pairs = cdist(surface_voxels(p) * spacing, surface_voxels(r) * spacing)
    forth, back = pairs.min(axis=1), pairs.min(axis=0)
    hd95 = max(np.percentile(forth, 95), np.percentile(back, 95))
    return dice, iou, max(forth.max(), back.max()), hd95, (forth.sum() + back.sum()) / (len(forth) + len(back))


def measured(metrics):
    return tuple(metrics.values[name] for name in ("dice", "iou", "hausdorff", "hd95", "assd"))


def labels(shape, classes, ignore=False):
    values = [*range(classes), IGNORE] if ignore else list(range(classes))
    return hnp.arrays(np.uint8, shape, elements=st.sampled_from(values))


@st.composite
def pairs(draw, ndim):
    shape = draw(hnp.array_shapes(min_dims=ndim, max_dims=ndim, min_side=1, max_side=7))
    classes = draw(st.integers(2, 4))
    spacing = draw(st.none() | st.tuples(*[st.floats(0.25, 8)] * ndim))
    return draw(labels(shape, classes)), draw(labels(shape, classes, ignore=True)), classes, spacing


@pytest.mark.parametrize("ndim", [2, 3])
def test_agrees_with_brute_force(ndim):
    @settings(max_examples=120, deadline=None)
    @given(pairs(ndim))
    def check(pair):
        prediction, reference, classes, spacing = pair
        labelled = reference != IGNORE
        for metrics in case_metrics(prediction, reference, classes, spacing):
            p, r = (prediction == metrics.class_id) & labelled, (reference == metrics.class_id) & labelled
            expected = brute_force(p, r, np.array(spacing or [1.0] * ndim))
            assert measured(metrics) == pytest.approx(expected, rel=1e-5, nan_ok=True)
            assert (metrics.predicted, metrics.reference, metrics.overlap) == (p.sum(), r.sum(), (p & r).sum())

    check()


def test_two_points_with_anisotropic_spacing():
    prediction, reference = np.zeros((2, 6, 7), np.uint8)
    prediction[1, 1], reference[4, 5] = 1, 1
    assert one(prediction, reference).values["hausdorff"] == pytest.approx(5.0)
    metrics = one(prediction, reference, spacing=(2.0, 0.5))
    assert metrics.unit == "mm"
    assert measured(metrics)[2:] == pytest.approx((math.sqrt(40),) * 3)


def test_shifted_square():
    prediction, reference = np.zeros((2, 9, 9), np.uint8)
    prediction[2:7, 2:7], reference[2:7, 3:8] = 1, 1
    metrics = one(prediction, reference)
    # Of the 16 contour pixels the 8 on the common rows are at distance 0 and the 8 on the two sides at 1, in both directions.
    assert measured(metrics) == pytest.approx((0.8, 20 / 30, 1.0, 1.0, 0.5))
    assert (metrics.predicted, metrics.reference, metrics.overlap, metrics.kind, metrics.unit) == (25, 25, 20, "both", "px")


def test_hd95_is_the_larger_directed_percentile():
    prediction = np.zeros((1, 21), np.uint8)
    prediction[0, 0] = 1
    metrics = one(prediction, np.ones((1, 21), np.uint8))
    # From the reference the distances are 0..20, from the prediction the single 0; pooled, the percentile would be 18.95.
    assert measured(metrics)[2:] == pytest.approx((20.0, 19.0, 210 / 22))


@pytest.mark.parametrize(
    ("prediction", "reference", "ratio"),
    [([[1, 1, 1]], [[1, 1, 0]], 1.5), ([[0, 0]], [[0, 1]], 0.0), ([[0, 1]], [[0, 0]], math.nan), ([[0]], [[0]], math.nan)],
)
def test_the_area_ratio_is_of_the_reference(prediction, reference, ratio):
    values = one(np.array(prediction, np.uint8), np.array(reference, np.uint8)).values
    assert values["area_ratio"] == pytest.approx(ratio, nan_ok=True)


def test_image_border_counts_as_outside():
    prediction = np.zeros((5, 5), np.uint8)
    prediction[2, 2] = 1
    metrics = one(prediction, np.ones((5, 5), np.uint8))
    ring = [2.0] * 4 + [math.sqrt(5)] * 8 + [math.sqrt(8)] * 4
    assert metrics.values["hausdorff"] == pytest.approx(math.sqrt(8))
    assert metrics.values["assd"] == pytest.approx((2.0 + sum(ring)) / 17)


@pytest.mark.parametrize(
    ("prediction", "reference", "kind", "dice"),
    [
        ([[0, 0]], [[0, 0]], "both-empty", math.nan),
        ([[0, 0]], [[0, 1]], "missed", 0.0),
        ([[1, 0]], [[0, 0]], "false-positive", 0.0),
        ([[1, 0]], [[0, 1]], "both", 0.0),
        ([[1, 1]], [[1, 1]], "both", 1.0),
        ([[1, 0]], [[IGNORE, 0]], "both-empty", math.nan),
        ([[1, 0]], [[IGNORE, IGNORE]], "both-empty", math.nan),
    ],
)
def test_empty_masks(prediction, reference, kind, dice):
    metrics = one(prediction, reference)
    assert metrics.kind == kind
    assert measured(metrics)[:2] == pytest.approx((dice, dice), nan_ok=True)
    assert all(math.isfinite(value) == (kind == "both") for value in measured(metrics)[2:])


@settings(max_examples=50, deadline=None)
@given(labels((6, 7), 3), labels((6, 7), 3), labels((6, 7), 3, ignore=True))
def test_ignored_pixels_do_not_matter(prediction, other, reference):
    changed = np.where(reference == IGNORE, other, prediction)
    assert repr(case_metrics(changed, reference, 3)) == repr(case_metrics(prediction, reference, 3))


def test_same_definitions_as_monai():
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    rng = np.random.default_rng(0)
    grid = np.indices((12, 16, 14))
    prediction, reference = (
        np.linalg.norm((grid.T - rng.uniform(5, 8, 3)) / rng.uniform(3, 6, 3), axis=-1).T + rng.normal(0, 0.1, grid.shape[1:])
        < 1
        for _ in range(2)
    )
    spacing = (3.0, 0.7, 1.1)
    metrics = one(prediction.astype(np.uint8), reference.astype(np.uint8), spacing)
    p, r = (torch.from_numpy(mask)[None, None] for mask in (prediction, reference))
    options = {"include_background": True, "spacing": spacing}
    assert metrics.values["hausdorff"] == pytest.approx(float(compute_hausdorff_distance(p, r, **options)), rel=1e-5)
    assert metrics.values["hd95"] == pytest.approx(float(compute_hausdorff_distance(p, r, percentile=95, **options)), rel=1e-5)
    assert metrics.values["assd"] == pytest.approx(
        float(compute_average_surface_distance(p, r, symmetric=True, **options)), rel=1e-5
    )


def test_memory_order_and_integer_type_do_not_matter():
    rng = np.random.default_rng(1)
    prediction, reference = rng.integers(0, 3, (2, 5, 8, 6))
    spacing = (5.0, 1.0, 0.5)
    expected = case_metrics(prediction, reference, 3, spacing)
    assert case_metrics(np.asfortranarray(prediction), np.asfortranarray(reference), 3, spacing) == expected
    assert case_metrics(prediction.astype(np.uint8), reference.astype(np.uint8), 3, spacing) == expected


def test_without_distances():
    mask = np.ones((3, 3), np.uint8)
    assert measured(one(mask, mask, distances=False)) == pytest.approx((1.0, 1.0, *[math.nan] * 3), nan_ok=True)


@pytest.mark.parametrize(("needs", "kinds"), [("masks", "bmf"), ("reference", "bm"), ("surfaces", "b")])
def test_a_metric_is_asked_for_where_it_can_be_defined(needs, kinds, monkeypatch):
    asked = []
    metric = replace(METRICS["dice"], name="new", of=lambda pair: asked.append(pair.sizes) or 1, needs=needs)
    monkeypatch.setitem(METRICS, "new", metric)
    values = [one([[p, 0]], [[r, 0]]).values["new"] for p, r in ((1, 1), (0, 1), (1, 0), (0, 0))]
    assert [not math.isnan(value) for value in values] == [kind in kinds for kind in "bmfn"]
    assert asked == [size for size, kind in (((1, 1), "b"), ((0, 1), "m"), ((1, 0), "f")) if kind in kinds]
    one([[1, 0]], [[1, 0]], distances=False)
    assert len(asked) == len(kinds) + (needs != "surfaces")


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, np.float32("inf")])
def test_what_is_not_finite_is_undefined(value, monkeypatch):
    monkeypatch.setitem(METRICS, "dice", replace(METRICS["dice"], of=lambda pair: value))
    metrics = one([[1, 0]], [[1, 0]])
    assert math.isnan(metrics.values["dice"]) and metrics.values["iou"] == 1


@pytest.mark.parametrize(
    ("prediction", "reference", "spacing", "where"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), None, "prediction"),
        (np.zeros((2, 2)), np.zeros((2, 2)), (1.0, 1.0, 1.0), "spacing"),
        (np.full((2, 2), 2), np.zeros((2, 2)), None, "prediction"),
        (np.full((2, 2), IGNORE), np.zeros((2, 2)), None, "prediction"),
        (np.zeros((2, 2)), np.full((2, 2), 2), None, "reference"),
        (np.zeros((2, 2)), np.full((2, 2), -1), None, "reference"),
    ],
)
def test_unusable_input_is_refused(prediction, reference, spacing, where):
    with pytest.raises(DataError) as caught:
        case_metrics(prediction.astype(int), reference.astype(int), 2, spacing)
    assert caught.value.where == where
