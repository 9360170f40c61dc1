"""Label-quality scores against their definitions, one pixel at a time in plain Python, and against cleanlab."""

from __future__ import annotations

import itertools
import math
from dataclasses import astuple
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cleanlab.segmentation.rank import get_label_quality_scores
from scipy import ndimage

from debride.audit.evidence import outlines
from debride.audit.evidence.outlines import outline_biases
from debride.audit.evidence.scores import CaseScore, ClassScore, ThresholdSums, score_case
from debride.refine.confident import confidence_sums, corrected, thresholds
from debride.types import IGNORE, DataError

SIZES = [(17, 23), (7, 9, 11)]
CLASSES = [2, 4]


def case(
    size: tuple[int, ...], classes: int, seed: int = 0, dtype: Any = np.float32, ignored: bool = False
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Smooth probabilities (K, *S), sure of background in much of the image, and a label (*S) that differs from them."""
    draw = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(draw.standard_normal((classes, *size)), (0, *(2,) * len(size)))
    logit = 5 * field / field.std()
    logit[0] += 2
    likelihood = np.exp(logit - logit.max(axis=0))
    probability = (likelihood / likelihood.sum(axis=0)).astype(dtype)
    label = np.roll(probability, 1, axis=-1).argmax(axis=0).astype(np.uint8)
    if ignored:
        label[draw.random(size) < 0.1] = IGNORE
    return label, probability


def limits_of(label: npt.NDArray[np.uint8], probability: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    sums = ThresholdSums(len(probability))
    sums.add(label, probability)
    return sums.thresholds()


def slow_softmin(values: list[float]) -> float:
    weights = [math.exp((1 - value) / 0.1) for value in values]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights) if values else math.nan


def slow_bias(
    label: npt.NDArray[np.uint8], predicted: dict[tuple[int, ...], int], c: int, spacing: tuple[float, ...], part: int = 0
) -> float:
    """Mean signed distance of the outline of class c in the label from that in the prediction, by all pairs of pixels.

    ``part`` 1, 2 and 3 are the first fifth, the middle and the last fifth of a volume's slices.
    """
    known = [at for at in np.ndindex(*label.shape) if label[at] != IGNORE]
    given = {at: int(label[at]) for at in known}

    def outline(classes: dict[tuple[int, ...], int]) -> list[tuple[int, ...]]:
        found = []
        for at in known:
            near = [(*at[:a], at[a] + d, *at[a + 1 :]) for a, d in itertools.product(range(len(at)), (-1, 1))]
            if classes[at] == c and any(other in given and classes[other] != c for other in near):
                found.append(at)
        return found

    ours, theirs = outline(given), outline(predicted)
    slices = sorted({at[0] for at in ours}) if part else []
    if part:
        many = (slices[-1] + 1 - slices[0]) // 5 if slices and len(spacing) == 3 else 0
        ends = [slices[0], slices[0] + many, slices[-1] + 1 - many, slices[-1] + 1] if many else [0, 0, 0, 0]
        ours = [at for at in ours if ends[part - 1] <= at[0] < ends[part]]
    if not ours or not theirs:
        return math.nan
    total = 0.0
    for at in ours:
        nearest = min(
            math.dist([i * s for i, s in zip(at, spacing, strict=True)], [i * s for i, s in zip(to, spacing, strict=True)])
            for to in theirs
        )
        total += -nearest if predicted[at] == c else nearest
    return total / len(ours)


def slow_score(
    label: npt.NDArray[np.uint8],
    probability: npt.NDArray[Any],
    limits: npt.NDArray[np.float64],
    spacing: tuple[float, ...] | None,
) -> CaseScore:
    """All scores by loops over pixels in double precision."""
    classes = len(probability)
    pixels = {at: probability[(slice(None), *at)].astype(np.float64) for at in np.ndindex(*label.shape) if label[at] != IGNORE}
    predicted = {at: int(p.argmax()) for at, p in pixels.items()}
    asked = [at for at, p in pixels.items() if label[at] != 0 or p[0] <= 63 / 64]
    single = limits.astype(np.float32)
    confident = {}
    for at in asked:
        reached = [j for j in range(classes) if np.float32(pixels[at][j]) >= single[j]]
        confident[at] = max(reached, key=lambda j: pixels[at][j]) if reached else None
    found = []
    for c in range(1, classes):
        given, mask = {at for at in pixels if label[at] == c}, {at for at in pixels if predicted[at] == c}
        dices = []
        for level in range(32):
            drawn = {at for at in asked if pixels[at][c] >= (level + 0.5) / 32}
            dices.append(2 * len(drawn & mask) / (len(drawn) + len(mask)) if drawn or mask else 1.0)
        mean = sum(dices) / 32
        sure = given | {at for at in asked if confident[at] == c}
        off = [at for at in sure if confident[at] is not None and confident[at] != label[at]]
        found.append(
            ClassScore(
                class_id=c,
                given=len(given),
                predicted=len(mask),
                dice=2 * len(given & mask) / (len(given) + len(mask)) if given or mask else math.nan,
                expected=mean,
                spread=math.sqrt(sum((dice - mean) ** 2 for dice in dices) / 32),
                self_confidence=slow_softmin([pixels[at][label[at]] for at in given | mask]),
                confident=len(off) / len(sure) if sure else math.nan,
                **{
                    name: slow_bias(label, predicted, c, spacing or (1.0,) * label.ndim, part)
                    for part, name in enumerate(("bias", "bias_first", "bias_middle", "bias_last"))
                },
            )
        )
    excess = [
        -math.log(max(pixels[at][label[at]], 2**-24)) + sum(p * math.log(max(p, 2**-24)) for p in pixels[at]) for at in asked
    ]
    dice = [score.dice for score in found if not math.isnan(score.dice)]
    return CaseScore(
        softmin=slow_softmin([p[label[at]] for at, p in pixels.items()]),
        surprise=sum(excess) / len(excess) if excess else 0.0,
        dice=sum(dice) / len(dice) if dice else math.nan,
        classes=tuple(found),
        finest=spacing and min(spacing),
    )


def same(found: CaseScore, wanted: CaseScore) -> None:
    assert (found.softmin, found.surprise, found.dice) == pytest.approx(
        (wanted.softmin, wanted.surprise, wanted.dice), rel=2e-5, abs=2e-6, nan_ok=True
    )
    assert len(found.classes) == len(wanted.classes)
    for ours, theirs in zip(found.classes, wanted.classes, strict=True):
        assert astuple(ours)[:3] == astuple(theirs)[:3]
        assert astuple(ours) == pytest.approx(astuple(theirs), rel=2e-5, abs=2e-5, nan_ok=True)


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("size", SIZES)
def test_scores_are_those_of_the_definitions(size, classes, dtype, ignored):
    label, probability = case(size, classes, dtype=dtype, ignored=ignored)
    limits = limits_of(label, probability)
    assert ((label == 0) & (probability[0] > 63 / 64)).any() and ((label == 0) & (probability[0] < 63 / 64)).any()
    found = score_case(label, probability, limits)
    assert all(score.given and score.predicted for score in found.classes)
    assert any(0 < score.confident < 1 for score in found.classes)
    same(found, slow_score(label, probability, limits, None))


@pytest.mark.parametrize("size", SIZES)
def test_a_class_that_is_hardly_ever_given_much_has_a_small_threshold(size):
    label, probability = case(size, 4, seed=3)
    limits = np.array([0.97, 0.9, 0.05, np.inf])
    same(score_case(label, probability, limits), slow_score(label, probability, limits, None))


@pytest.mark.parametrize(
    ("size", "spacing"), [((17, 23), (0.7, 1.9)), ((7, 9, 11), (3.0, 0.8, 1.1)), ((7, 9, 11), (2.0, 2.0, 2.0))]
)
@pytest.mark.parametrize("pairs", [1 << 21, 0])
def test_biases_are_in_mm_by_pairs_and_by_a_distance_transform(size, spacing, pairs, monkeypatch):
    monkeypatch.setattr(outlines, "PAIRS", pairs)
    label, probability = case(size, 4, seed=1, ignored=True)
    limits = limits_of(label, probability)
    same(score_case(label, probability, limits, spacing), slow_score(label, probability, limits, spacing))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("size", SIZES)
def test_pieces_of_one_row_give_the_same(size, dtype, monkeypatch):
    label, probability = case(size, 4, dtype=dtype, ignored=True)
    whole = score_case(label, probability, limits_of(label, probability))
    monkeypatch.setattr(outlines, "PIECE", 2 * math.prod(size[1:]))
    same(score_case(label, probability, limits_of(label, probability)), whole)
    assert whole.classes[0].bias == score_case(label, probability, limits_of(label, probability)).classes[0].bias


def test_objects_far_from_the_first_rows_have_the_same_bias():
    label, predicted = np.zeros((2, 60, 20), np.uint8)
    label[50:59, 4:12] = 1
    predicted[48:57, 4:12] = 1
    probability = np.stack((predicted == 0, predicted == 1)).astype(np.float32)
    found = score_case(label, probability, np.array([1.0, 0.5])).classes[0]
    assert found.bias == pytest.approx(outline_biases(label, predicted, 2)[0, 0])
    assert found.bias == pytest.approx(slow_score(label, probability, np.array([1.0, 0.5]), None).classes[0].bias)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "spacing"), [((70, 16), (0.7, 1.9)), ((30, 7, 8), (3.0, 0.8, 1.1))])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("pairs", [1 << 21, 0])
def test_biases_of_many_pieces_and_of_outlines_near_and_far(size, spacing, ignored, pairs, monkeypatch):
    monkeypatch.setattr(outlines, "PIECE", 1)
    monkeypatch.setattr(outlines, "PAIRS", pairs)
    label, _ = case(size, 3, seed=2, ignored=ignored)
    predicted = np.roll(np.where(label == IGNORE, 0, label), 9, axis=0)
    predicted[label == IGNORE] = 0
    at = {place: int(predicted[place]) for place in np.ndindex(*size)}
    wanted = [slow_bias(label, at, class_id, spacing) for class_id in (1, 2)]
    smallest = min(spacing)
    assert all(abs(value) > 0.1 * smallest for value in wanted)
    assert outline_biases(label, predicted, 3, spacing)[:, 0] == pytest.approx(wanted, rel=1e-5)


def test_a_class_in_a_far_corner_of_the_prediction_alone():
    label, predicted = np.zeros((2, 40, 40), np.uint8)
    label[2:5, 2:5], predicted[30:35, 30:35], predicted[10:12, 10:12] = 1, 1, 2
    at = {place: int(predicted[place]) for place in np.ndindex(40, 40)}
    found = outline_biases(label, predicted, 4)[:, 0]
    assert found[0] == pytest.approx(slow_bias(label, at, 1, (1.0, 1.0))) and found[0] > 30
    assert all(map(math.isnan, found[1:]))


def test_bias_is_positive_outside_and_negative_inside():
    inner, outer = np.zeros((2, 20, 20), np.uint8)
    inner[8:12, 8:12] = 1
    outer[6:14, 6:14] = 1
    assert outline_biases(inner, outer, 2)[0, 0] == pytest.approx(-2)
    assert outline_biases(outer, inner, 2)[0, 0] > 2
    assert outline_biases(outer, outer, 2)[0, 0] == 0
    assert outline_biases(inner, outer, 2, (3.0, 3.0))[0, 0] == pytest.approx(-6)
    assert np.isnan(outline_biases(inner, outer, 2)[0, 1:]).all()


@pytest.mark.parametrize("piece", [1 << 18, 1])
def test_the_bias_of_the_first_and_last_slices_is_that_of_these_slices(piece, monkeypatch):
    monkeypatch.setattr(outlines, "PIECE", piece)
    label, predicted = np.zeros((2, 24, 30, 30), np.uint8)
    predicted[5:16, 10:20, 10:20] = 1
    for first, last, by in ((5, 7, 2), (7, 14, 0), (14, 16, -3)):  # eleven slices: two, seven and two
        label[first:last, 10 - by : 20 + by, 10 - by : 20 + by] = 1
    spacing = (50.0, 1.0, 1.0)  # so thick that the nearest outline lies in the same slice
    whole, first, middle, last = outline_biases(label, predicted, 2, spacing)[0]
    slices = [outline_biases(label[at : at + 1], predicted[at : at + 1], 2, spacing)[0, 0] for at in (5, 10, 15)]
    assert slices[0] > 1.5 and slices[1] == 0 and slices[2] < -2
    # The whole of an outermost slice is outline, and most of it is 0 away from the prediction's.
    assert first > 0.5 and last < -0.5 and abs(middle) < 0.5 and last < whole < first
    assert np.isnan(outline_biases(label[6:10], predicted[6:10], 2, spacing)[0, 1:]).all()  # four slices


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("classes", CLASSES)
def test_the_softmin_is_cleanlabs(classes, dtype):
    pairs = [case((40, 50), classes, seed, dtype) for seed in range(4)]
    labels, probability = np.stack([pair[0] for pair in pairs]).astype(int), np.stack([pair[1] for pair in pairs])
    theirs, _ = get_label_quality_scores(labels, probability, verbose=False)
    ours = [score_case(label, p, limits_of(label, p)).softmin for label, p in pairs]
    assert len(set(ours)) == 4
    np.testing.assert_allclose(ours, theirs, rtol=5e-7 if dtype is np.float32 else 2e-6)


def test_the_softmin_is_exact_where_many_pixels_are_just_sure():
    label, background = np.zeros((50, 60), np.uint8), np.random.default_rng(0).uniform(0.9845, 0.986, (50, 60))
    probability = np.stack((background, 1 - background)).astype(np.float32)
    found = score_case(label, probability, np.array([0.9, 0.9])).softmin
    assert found == pytest.approx(slow_softmin(probability[0].astype(float).reshape(-1).tolist()), rel=1e-7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_sums_and_confident_pixels_are_those_of_refine_confident(size, dtype):
    cases = [case(size, 4, seed, dtype, ignored=True) for seed in range(3)]
    ours, theirs = ThresholdSums(4), torch.zeros(2, 4, dtype=torch.float64)
    for label, probability in cases:
        ours.add(label, probability)
        theirs += confidence_sums(torch.from_numpy(probability).double()[None], torch.from_numpy(label).long()[None])
    np.testing.assert_allclose(ours.sums, theirs.numpy(), rtol=1e-6)
    np.testing.assert_allclose(ours.thresholds(), thresholds(theirs).numpy(), rtol=1e-6)
    for label, probability in cases:
        new = corrected(torch.from_numpy(probability).float()[None], torch.from_numpy(label).long()[None], thresholds(theirs))
        new = new[0].numpy()
        for score in score_case(label, probability, ours.thresholds()).classes:
            off = (new != label) & ((new == score.class_id) | (label == score.class_id))
            assert score.confident == pytest.approx(off.sum() / (off | (label == score.class_id)).sum())


def test_a_class_without_a_labelled_pixel_has_an_infinite_threshold():
    label, probability = case((17, 23), 4)
    label[label == 2] = 0
    assert np.isposinf(limits_of(label, probability)).tolist() == [False, False, True, False]


def test_absent_classes_and_empty_labels():
    label, probability = np.zeros((8, 9), np.uint8), np.zeros((3, 8, 9), np.float32)
    probability[0] = 1
    found = score_case(label, probability, limits_of(label, probability))
    assert (found.softmin, found.surprise) == pytest.approx((1, 0)) and math.isnan(found.dice)
    for score in found.classes:
        assert (score.given, score.predicted, score.expected, score.spread) == (0, 0, 1, 0)
        assert all(map(math.isnan, (score.dice, score.self_confidence, score.confident, score.bias)))
    probability[:, 3, 4] = (0.6, 0.4, 0)
    found = score_case(label, probability, np.array([0.9, 0.9, 0.9]))
    assert found.classes[0].expected == pytest.approx(19 / 32) and found.classes[1].expected == 1
    assert found.classes[0].spread == pytest.approx(math.sqrt(19 * 13) / 32)
    same(found, slow_score(label, probability, np.array([0.9, 0.9, 0.9]), None))


@pytest.mark.parametrize("size", SIZES)
def test_an_image_of_one_class_has_no_outline(size):
    label, probability = np.ones(size, np.uint8), np.zeros((2, *size), np.float32)
    probability[1] = 1
    found = score_case(label, probability, limits_of(label, probability))
    score = found.classes[0]
    assert (score.dice, score.expected, score.spread, score.confident) == (1, 1, 0, 0)
    assert math.isnan(score.bias) and found.softmin == pytest.approx(1)
    same(found, slow_score(label, probability, np.array([np.inf, 1]), None))


def test_a_label_of_nothing_but_ignored_pixels():
    label, probability = np.full((5, 6), IGNORE, np.uint8), case((5, 6), 2)[1]
    found = score_case(label, probability, limits_of(label, probability))
    assert math.isnan(found.softmin) and math.isnan(found.dice) and found.surprise == 0
    assert found.classes[0].given == found.classes[0].predicted == 0


def test_a_label_drawn_from_the_probabilities_is_no_surprise_and_a_wrong_one_is():
    draw = np.random.default_rng(0)
    foreground = ndimage.gaussian_filter(draw.random((200, 200)), 1)
    probability = np.stack((1 - foreground, foreground)).astype(np.float32)
    drawn = (draw.random((200, 200)) < foreground).astype(np.uint8)
    limits = np.array([0.5, 0.5])
    assert score_case(drawn, probability, limits).surprise == pytest.approx(0, abs=0.01)
    wrong = (foreground < 0.5).astype(np.uint8)
    assert score_case(wrong, probability, limits).surprise > 0.05


def test_a_worse_label_has_worse_scores():
    _, probability = case((60, 60), 2, seed=5)
    right = probability.argmax(axis=0).astype(np.uint8)
    wrong = ndimage.binary_dilation(right, iterations=3).astype(np.uint8)
    limits = limits_of(right, probability)
    good, bad = score_case(right, probability, limits), score_case(wrong, probability, limits)
    assert bad.softmin < good.softmin and bad.surprise > good.surprise and bad.dice < good.dice == 1
    one, other = bad.classes[0], good.classes[0]
    assert one.self_confidence < other.self_confidence and one.confident > other.confident and one.bias > other.bias == 0
    assert (one.expected, one.spread) == (other.expected, other.spread)


def test_what_does_not_fit_is_said():
    label, probability = case((17, 23), 2)
    with pytest.raises(DataError, match="shape"):
        score_case(label[:-1], probability, np.ones(2))
    with pytest.raises(DataError, match="shape"):
        score_case(label, probability, np.ones(3))
    label[3, 4] = 2
    with pytest.raises(DataError, match="class 2"):
        score_case(label, probability, np.ones(2))


def test_arrays_are_left_as_they_were_and_may_be_read_only():
    label, probability = case((17, 23), 2, dtype=np.float16, ignored=True)
    before = label.copy(), probability.copy()
    label.flags.writeable = probability.flags.writeable = False
    score_case(label, probability, limits_of(label, probability))
    assert (label == before[0]).all() and (probability == before[1]).all()
