"""Spatial Correction: distances, biases and moved outlines against loops over pixels and against the public code."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import Training, batch_of, small_network
from tests.two_networks import random_labels

from debride.geometry.signed_distance import moved_score, outline_bias, signed_distance
from debride.losses.region import batch_dice
from debride.methods.base import Swept
from debride.methods.spatial_correction import SpatialCorrection, moved_classes, with_missing
from debride.state import LabelState
from debride.types import IGNORE, DataError

ROW, COLUMN = np.mgrid[:14, :14].astype(float)


def slow_distance(mask: Any) -> Any:
    """The distance of each pixel to the nearest one on the other side, negative inside."""
    found = np.zeros(mask.shape)
    for place in np.ndindex(*mask.shape):
        others = [math.dist(place, other) for other in np.ndindex(*mask.shape) if mask[other] != mask[place]]
        found[place] = min(others, default=math.inf) * (-1 if mask[place] else 1)
    return found


@pytest.mark.parametrize("size", [(9, 11), (5, 6, 4)])
def test_signed_distances_equal_the_slow_version(size: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).random(size) < 0.8
    np.testing.assert_allclose(signed_distance(mask), slow_distance(mask), rtol=1e-6)
    assert np.isinf(signed_distance(np.zeros(size, bool))).all() and np.isinf(signed_distance(np.ones(size, bool))).all()


@pytest.mark.parametrize("size", [(9, 11), (5, 6, 4)])
def test_the_bias_equals_the_slow_version(size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    predicted, true, valid = (rng.random(size) < share for share in (0.6, 0.7, 0.8))
    distance, values = slow_distance(predicted), []
    for place in np.ndindex(*size):
        beside = [other for other in np.ndindex(*size) if math.dist(place, other) == 1 and true[other]]
        if not true[place] and beside and valid[place]:
            values.append(distance[place] - 1)
    found, counts = outline_bias(predicted, true, valid)
    assert found == pytest.approx(np.mean(values), rel=1e-6) and counts == 1


def test_the_bias_of_objects_that_are_missing() -> None:
    none, some, everything = np.zeros((4, 4), bool), np.eye(4, dtype=bool), np.ones((4, 4), bool)
    assert outline_bias(none, some, everything) == (1.0, 1)
    assert outline_bias(some, none, everything) == (-1.0, 1)
    assert outline_bias(none, none, everything) == (0.0, 0)
    assert outline_bias(everything, some, everything) == (0.0, 0)
    assert outline_bias(some, some, none) == (0.0, 0)
    assert outline_bias(some, some, everything) == (0.0, 1)


@pytest.mark.parametrize("bias", [2.3, 1.0, -1.4, -3.0])
@pytest.mark.parametrize("size", [(9, 11), (5, 6, 4)])
def test_moved_scores_equal_the_slow_version(size: tuple[int, ...], bias: float) -> None:
    score = np.random.default_rng(2).normal(size=size).astype(np.float32)
    distance, largest = slow_distance(score > 0), 0.0
    for place in np.ndindex(*size):
        if 0 < distance[place] <= bias or 0 > distance[place] >= bias:
            largest = max(largest, abs(float(score[place])))
    found = moved_score(score, bias)
    assert largest
    for place in np.ndindex(*size):
        change = math.copysign(largest, bias) * math.exp(-(distance[place] ** 2) / (2 * bias**2))
        assert found[place] == pytest.approx(float(score[place]) + change, abs=1e-5)


def test_scores_without_an_outline_stay_as_they_are() -> None:
    score = np.ones((4, 5), np.float32)
    assert np.array_equal(moved_score(score, 2.0), score) and np.array_equal(moved_score(-score, 2.0), -score)
    score[0, 0] = -1
    assert np.array_equal(moved_score(score, 0.5), score)


def score_of(row: float, column: float, radius: float, slope: float) -> Any:
    wave = 0.4 * np.sin(1.7 * ROW + 0.9 * COLUMN)
    return (slope * (radius - np.sqrt((ROW - row) ** 2 + 1.3 * (COLUMN - column) ** 2)) + wave).astype(np.float32)


def disc(row: float, column: float, radius: float) -> Any:
    return (ROW - row) ** 2 + 1.3 * (COLUMN - column) ** 2 < radius * radius


GROWN = (
    [(score_of(6.2, 6.9, 2.6, 1.1), disc(6, 7, 4.8)), (score_of(7.1, 6.4, 3.1, 0.9), disc(7, 6.5, 5.2))],
    1.500738269,
    [
        [0, 0, 0, 248, 504, 1016, 1020, 1020, 504, 496, 496, 0, 0, 0],
        [0, 0, 256, 1008, 2032, 4080, 4092, 8188, 8184, 4088, 4088, 4088, 992, 448],
        [0] * 14,
    ],
)
SHRUNK = (
    [
        (score_of(6.2, 6.9, 5.0, 1.1), disc(6, 7, 2.9)),
        (score_of(7.1, 6.4, 5.3, 0.9), disc(7, 6.5, 3.0)),
        (score_of(7.1, 6.4, 5.3, 0.9), disc(7, 6.5, 0.0)),
    ],
    -1.883798271,
    [[0, 0, 0, 0, 0, 224, 224, 112, 96, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 448, 960, 992, 992, 992, 960, 0, 0, 0], [0] * 14],
)
"""Scores and labels of clean cases, the bias with a gamma of 0.8, and corrected labels, a number for each row of pixels."""


class Cases(Training):
    """A training whose network says what a list of scores says, of trusted cases and then of others."""

    def __init__(self, evaluated: list[Any], trained: list[Any], epochs: int = 10) -> None:
        super().__init__(epochs=epochs)
        self.scores = [score for score, _ in evaluated] + trained
        self.labels = [label for _, label in evaluated] + [score > 0 for score in trained]
        self.trusted, self.cases = np.arange(len(evaluated)), len(self.scores)
        self.own, self.asked_for = np.arange(self.cases), list[list[int]]()

    def sweep(self, rows: Any, network: Any = None) -> Any:
        self.asked_for.append(rows.tolist())
        for row in rows.tolist():
            score = torch.from_numpy(self.scores[row])
            probability = torch.stack((-score / 2, score / 2)).softmax(dim=0)[None]
            label = torch.from_numpy(np.asarray(self.labels[row]).astype(np.int64))[None]
            yield Swept(np.array([row]), probability[:, :1], label, probability)


def corrected_by(training: Cases, **config: Any) -> tuple[SpatialCorrection, LabelState]:
    method = SpatialCorrection(SpatialCorrection.Config(**config), small_network, 2)
    training.store = LabelState(method.fields(), [(14, 14)] * training.cases, None)
    training.epoch = 5
    method.start_epoch(training)  # type: ignore[arg-type]
    return method, training.store


@pytest.mark.parametrize(("evaluated", "bias", "labels"), [GROWN, SHRUNK])
def test_a_correction_is_that_of_the_public_code(evaluated: Any, bias: float, labels: list[list[int]]) -> None:
    """github.com/michaelofsbu/SpatialCorrection at 49aae60, ``Cleaner`` of utils/LabelClean.py with a sigma of 0.8: what it
    logged as the bias of the scores of ``evaluated``, and the labels that it wrote for three others."""
    trained = [score_of(6.4, 7.2, 3.0, 1.0), score_of(7.6, 5.9, 4.4, 0.8), score_of(0, 0, -9, 1.0)]
    training = Cases(evaluated, trained)
    _, store = corrected_by(training, keep_missing=False)
    assert training.logged == {"bias_1": pytest.approx(bias, rel=1e-6)}
    found = store.read("corrected", range(len(evaluated), training.cases)).long()
    rows = [[int("".join(str(int(v)) for v in row), 2) for row in label] for label in found]
    assert rows == labels
    given = torch.from_numpy(np.stack([label for _, label in evaluated])).float()
    assert torch.equal(store.read("corrected", range(len(evaluated))), given)


def test_the_moved_label_and_the_doubt_follow_from_the_store() -> None:
    training = Cases(GROWN[0], [score_of(6.4, 7.2, 3.0, 1.0)])
    training.labels[2] = np.where(ROW == 5, IGNORE, training.labels[2])
    method, store = corrected_by(training)
    label = store.read("corrected", [2])[0]
    assert (label[5] == IGNORE).all() and not (label[torch.arange(14) != 5] == IGNORE).any()
    given = torch.from_numpy(training.labels[2])
    known = given != IGNORE
    both, total = ((label == 1) & (given == 1) & known).sum(), (label == 1).sum() + (given == 1).sum()
    doubt = method.doubt(training)  # type: ignore[arg-type]
    assert doubt.tolist() == [0, 0, pytest.approx(float(1 - 2 * both / total))]
    swept = next(training.sweep(np.array([2])))
    assert torch.equal(method.cleansed(swept, store)[0], label.long()) and method.relabels(method.config)


def test_a_class_that_is_not_predicted_keeps_its_given_label() -> None:
    given = torch.tensor([[[0, 1, 2, IGNORE]], [[1, 1, 0, 2]]])
    predicted = torch.tensor([[[0, 2, 2, 0]], [[0, 0, 0, 1]]])
    moved = torch.tensor([[[2, 2, 2, 0]], [[0, 0, 1, 1]]])
    found = with_missing(moved, given, predicted, 3)
    assert found.tolist() == [[[2, 1, 2, 0]], [[0, 0, 1, 2]]]


def test_a_small_bias_leaves_the_outlines_that_are_predicted() -> None:
    score = score_of(6.4, 7.2, 3.0, 1.0)
    training = Cases([(score, score > 0)], [score_of(7.6, 5.9, 4.4, 0.8)])
    training.labels[1] = np.zeros((14, 14))
    _, store = corrected_by(training)
    assert training.logged == {"bias_1": 0.0}
    assert torch.equal(store.read("corrected", [1])[0] == 1, torch.from_numpy(training.scores[1] > 0))


def test_of_several_classes_the_largest_moved_score_decides() -> None:
    """Logits of three classes in a row of pixels: class 1 grows into the background and into class 2, which it may take."""
    score = np.array([[0, 0, 0, 0, 0, 0, 0], [-4, -2, -1, 2, 2, -1, -2], [-9, -9, -9, -9, -1, 1, 2]], np.float32)[:, None]
    assert moved_classes(score, np.zeros(3)).tolist() == [[0, 0, 0, 1, 1, 2, 2]]
    grown = moved_classes(score, np.array([0.0, 2.0, 0.0]))
    margin = score[1] - np.maximum(score[0], score[2])
    expected = score.copy()
    expected[1] += moved_score(margin, 2.0) - margin
    assert grown.tolist() == expected.argmax(axis=0).tolist() == [[0, 1, 1, 1, 1, 1, 2]]


@pytest.mark.parametrize(
    ("config", "epochs", "times"),
    [
        ({}, 8, {4, 6}),
        ({"corrections": 1}, 10, {5}),
        ({"warm_up": 0.3, "every": 0.3}, 10, {3, 6}),
        ({"warm_up": 0.9, "every": 0.5}, 4, {3}),
        ({}, 1, {0}),
    ],
)
def test_labels_are_corrected_when_it_is_time(config: Any, epochs: int, times: set[int]) -> None:
    training = Cases(GROWN[0], [score_of(6.4, 7.2, 3.0, 1.0)], epochs)
    method = SpatialCorrection(SpatialCorrection.Config(**config), small_network, 2)
    training.store = LabelState(method.fields(), [(14, 14)] * 3, None)
    done = set()
    for epoch in range(epochs):
        training.epoch, before = epoch, len(training.asked_for)
        method.start_epoch(training)  # type: ignore[arg-type]
        done |= {epoch} if len(training.asked_for) > before else set()
    assert done == times
    assert all(rows in ([0, 1], [2]) for rows in training.asked_for)


def test_the_loss_is_cross_entropy_to_given_then_to_corrected_labels() -> None:
    label, training = random_labels(3, 7, 9, classes=3), Training(epochs=10)
    corrected = (label + 1) % 3
    batch = batch_of(label)
    batch.fields["corrected"] = corrected
    method = SpatialCorrection(SpatialCorrection.Config(), small_network, 3)
    for epoch, target in ((4, label), (5, corrected.where(label != IGNORE, IGNORE))):
        training.epoch = epoch
        terms = method.loss(batch, training)  # type: ignore[arg-type]
        found = terms["cross_entropy"].item()
        logits = method.network(batch.image)
        expected = torch.nn.functional.cross_entropy(logits, target, ignore_index=IGNORE).item()
        assert found == pytest.approx(expected, rel=1e-6)
        dice = batch_dice(logits.softmax(dim=1), target).mean().item()
        assert terms["dice"].item() == pytest.approx(dice, rel=1e-6)
    method = SpatialCorrection(SpatialCorrection.Config(dice=False), small_network, 3)
    assert set(method.loss(batch, training)) == {"cross_entropy"}  # type: ignore[arg-type]


def test_a_restart_goes_back_to_the_initial_weights() -> None:
    training = Cases(GROWN[0], [score_of(6.4, 7.2, 3.0, 1.0)])
    method = SpatialCorrection(SpatialCorrection.Config(restart=True), small_network, 2)
    training.store = LabelState(method.fields(), [(14, 14)] * 3, None)
    began = {name: value.clone() for name, value in method.network.state_dict().items()}
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.add_(1)
    for training.epoch in (4, 5):
        method.start_epoch(training)  # type: ignore[arg-type]
        same = all(torch.equal(value, began[name]) for name, value in method.network.state_dict().items())
        assert same == (training.epoch == 5)


def test_trusted_cases_are_not_trained_on(tmp_path: Path) -> None:
    training = Cases(GROWN[0], [score_of(6.4, 7.2, 3.0, 1.0)])
    method = SpatialCorrection(SpatialCorrection.Config(), small_network, 2)
    (phase,) = method.plan(training)  # type: ignore[arg-type]
    assert phase.streams[0].cases is not None and phase.streams[0].cases.tolist() == [2]
    training.trusted = np.arange(3)
    with pytest.raises(DataError, match="names every training case"):
        method.plan(training)  # type: ignore[arg-type]
