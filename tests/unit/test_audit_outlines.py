"""What speaks against outlines: what smoother ones gain, and how far they lie from where the data set's usually lie."""

import numpy as np
import pytest
from scipy import ndimage

from debride.audit.evidence import Evidence, against_usual, predicted_classes, thin
from debride.audit.evidence.outline_gains import FARTHEST, Offsets, smoothing_gain


def disc(radius, size=48, centre=(24, 24)):
    away = np.hypot(*(np.indices((size, size)) - np.reshape(centre, (2, 1, 1))))
    return (away <= radius).astype(np.uint8)


def logs_of(label, classes=2, sure=0.9):
    p = np.full((classes, *label.shape), (1 - sure) / (classes - 1))
    np.put_along_axis(p, label[None].astype(int), sure, 0)
    return np.log(p).astype(np.float32)


def test_the_gain_of_smoothing_is_that_of_the_pixels_that_change_for_the_better():
    rng = np.random.default_rng(0)
    label = disc(12)
    label[24:40, 20:28] = 2
    rim = ndimage.binary_dilation(label > 0) ^ ndimage.binary_erosion(label > 0)
    label[rim & (rng.random(label.shape) < 0.3)] = 0
    p = rng.dirichlet((1, 1, 1), label.shape).transpose(2, 0, 1)
    logs = np.log(p).astype(np.float32)
    taps = np.array([1, 4, 6, 4, 1]) / 16
    shares = []
    for value in range(3):
        share = (label == value).astype(float)
        for axis in range(2):
            share = ndimage.correlate1d(share, taps, axis, mode="nearest")
        shares.append(share)
    smooth = np.argmax(np.round(shares, 9), axis=0)
    gains = [logs[(smooth[at], *at)] - logs[(label[at], *at)] for at in zip(*np.nonzero(smooth != label), strict=True)]
    assert len(gains) > 10
    assert smoothing_gain(label, logs) == pytest.approx(sum(each for each in gains if each > 0), rel=1e-5)


def test_what_wavers_gains_by_smoothing_only_where_the_prediction_does_not():
    rng = np.random.default_rng(1)
    right = disc(15)
    rim = ndimage.binary_dilation(right, iterations=1) ^ (right > 0)
    ragged = right | (rim & (rng.random(right.shape) < 0.5)).astype(np.uint8)
    assert smoothing_gain(ragged, logs_of(right)) > 5 * max(1, smoothing_gain(right, logs_of(right)))
    assert smoothing_gain(ragged, logs_of(ragged)) == 0
    assert smoothing_gain(np.zeros((9, 9), np.uint8), logs_of(np.zeros((9, 9), np.uint8))) == 0


@pytest.mark.parametrize("spacing", [None, (0.5, 0.5)])
def test_offsets_are_signed_and_in_units_of_the_spacing(spacing):
    step = spacing[0] if spacing else 1.0
    offsets = Offsets(disc(10), 2, spacing)
    assert offsets.of(disc(10)) == {"offset 1": 0.0}
    assert offsets.of(disc(13))["offset 1"] == pytest.approx(3 * step, abs=0.3 * step)
    assert offsets.of(disc(7))["offset 1"] == pytest.approx(-3 * step, abs=0.3 * step)
    assert offsets.of(disc(2, centre=(3, 3)))["offset 1"] <= FARTHEST * step
    assert offsets.of(np.zeros((48, 48), np.uint8)) == Offsets(np.zeros((48, 48), np.uint8), 2, spacing).of(disc(9)) == {}


def test_an_outline_far_from_all_that_is_predicted_is_as_far_as_can_be():
    predicted = np.zeros((200, 200), np.uint8)
    predicted[5:10, 5:10] = 1
    label = np.zeros_like(predicted)
    label[150:170, 150:170] = 1
    assert Offsets(predicted, 2, None).of(label) == {"offset 1": FARTHEST}


def test_offsets_of_volumes_and_several_classes():
    predicted = np.zeros((12, 30, 30), np.uint8)
    predicted[3:9, 5:15, 5:15], predicted[3:9, 20:28, 20:28] = 1, 2
    label = np.zeros_like(predicted)
    label[3:9, 3:17, 3:17] = 1
    assert set(Offsets(predicted, 4, (5.0, 1.0, 1.0)).of(label)) == {"offset 1"}
    assert Offsets(predicted, 4, (5.0, 1.0, 1.0)).of(predicted) == {"offset 1": 0.0, "offset 2": 0.0}


def test_a_label_is_judged_by_the_bias_of_the_data_set():
    given = [{"piece": 1.0, "offset 1": value} for value in (1.9, 2.0, 2.0, 2.1, 2.2, 5.0)] + [{"piece": 1.0}]
    planted = [{"boundary": {"piece": 2.0, "offset 1": 0.0, "offset 3": 9.0}}] + [{}] * 6
    own, wrong = against_usual(given, planted)
    spread = 1.4826 * 0.1
    assert [each["outward"] for each in own] == pytest.approx(
        [0, 0, 0, 0.05 / spread, 0.15 / spread, 2.95 / spread, 0], abs=0.4
    )
    assert own[1]["inward"] == pytest.approx(0.05 / spread, abs=0.4) and own[6] == {"piece": 1.0, "outward": 0.0, "inward": 0.0}
    assert wrong[0]["boundary"]["inward"] == pytest.approx(2.05 / spread, abs=3) and wrong[0]["boundary"]["outward"] == 0.0
    assert set(wrong[0]["boundary"]) == {"piece", "outward", "inward"} and wrong[1:] == [{}] * 6
    assert against_usual([{}, {}], [{"flip": {}}, {}]) == ([{}, {}], [{"flip": {}}, {}])


def test_every_label_of_a_case_has_its_own_outline_evidence():
    right = disc(12)
    p = np.exp(logs_of(right))
    evidence = Evidence(thin(right, p, predicted_classes(p)))
    wide = evidence.against(disc(15))
    assert wide["offset 1"] == pytest.approx(3, abs=0.3) and evidence.against(right)["offset 1"] == 0
    assert wide["smooth"] == pytest.approx(smoothing_gain(disc(15), np.log(p)), rel=1e-4)
