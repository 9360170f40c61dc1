"""What a scan counts is what applying each bias to whole arrays gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from tests.biases import FOREST, Ids, random_regions

from debride.calibration import scan
from debride.calibration.correction import Calibration
from debride.calibration.moving import moved
from debride.calibration.scan import Contested, contested_by_distance, contested_by_score
from debride.types import IGNORE

GRID = np.arange(-3, 3.1, 0.37, dtype=np.float32)
SHAPES = [(14, 17), (8, 9, 7)]


def slow_counts(predictions: Sequence[Ids], labels: Sequence[Ids], classes: int) -> npt.NDArray[np.int64]:
    """Predicted, reference and common voxels (3, N, K) by masks."""
    counts = np.zeros((3, len(labels), classes), np.int64)
    for case, (ids, label) in enumerate(zip(predictions, labels, strict=True)):
        for number in range(classes):
            ours, theirs = (ids == number) & (label != IGNORE), label == number
            counts[:, case, number] = ours.sum(), theirs.sum(), (ours & theirs).sum()
    return counts


def assert_counts(
    contested: Contested, biases: npt.NDArray[np.float32], number: int, expected: Sequence[npt.NDArray[np.int64]]
) -> None:
    """What is counted for each bias of the grid is ``expected`` (G of (3, N, K)), and Dice follows from it."""
    counted = np.stack(contested.counts(biases, number, GRID))
    wanted = np.stack(expected, axis=2)
    np.testing.assert_array_equal(counted, wanted)
    sizes = (wanted[0] + wanted[1])[..., 1:]
    slow = np.ones(sizes.shape)
    slow[sizes > 0] = 2 * wanted[2][..., 1:][sizes > 0] / sizes[sizes > 0]
    np.testing.assert_allclose(contested.dice(biases, number, GRID), slow)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_scores(shape: tuple[int, ...], classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "PIECE", 50)
    rng = np.random.default_rng(classes)
    labels = [random_regions(rng, shape, (0,) * classes, ignored=True) for _ in range(3)]
    maps = [rng.dirichlet(np.ones(classes) * 0.15, shape).astype(np.float32) for _ in labels]
    maps = [np.moveaxis(each, -1, 0) for each in maps]
    contested = contested_by_score(zip(maps, labels, strict=True), 2 * float(np.abs(GRID).max()))
    assert len(contested.label) < sum((label != IGNORE).sum() for label in labels), "some are beyond doubt"
    for number in range(1, classes):
        biases = rng.choice(GRID, classes)
        biases[0] = 0
        expected = []
        for bias in GRID:
            biases[number] = bias
            ids = [(np.log(np.maximum(each, 1e-7)) + biases.reshape(-1, *[1] * len(shape))).argmax(0) for each in maps]
            expected.append(slow_counts(ids, labels, classes))
        assert_counts(contested, biases, number, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parents", [parents for forest in FOREST.values() for parents in forest])
def test_distances(shape: tuple[int, ...], parents: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "PIECE", 100)
    rng = np.random.default_rng(sum(parents))
    spacing = (1.5, 1.0, 0.8)[: len(shape)]
    for seed in range(4):
        labels = [random_regions(rng, shape, parents, ignored=seed > 1) for _ in range(3)]
        masks = [random_regions(rng, shape, parents) for _ in labels]
        contested = contested_by_distance(
            ((mask, label, spacing) for mask, label in zip(masks, labels, strict=True)), parents, 3.1
        )
        biases = rng.uniform(-3, 3, len(parents)).astype(np.float32)
        biases[0] = 0
        for number in range(1, len(parents)):
            expected = []
            for bias in GRID:
                biases[number] = bias
                ids = [moved(mask, biases.tolist(), parents, spacing) for mask in masks]
                expected.append(slow_counts(ids, labels, len(parents)))
            assert_counts(contested, biases, number, expected)


@pytest.mark.parametrize("parents", [None, (0, 0, 0)])
def test_equal_scores_go_to_the_first_class(parents: tuple[int, ...] | None) -> None:
    scores = np.array([[0, 1, 2], [0, 2, 1], [1, 1, 1], [0, 1, 1], [0, -1, -1]], np.float32)
    fixed = np.zeros((1, 3, 3), np.int64)
    contested = Contested(scores, np.zeros(5, np.uint8), np.zeros(5, np.int32), fixed, parents)
    for number in (1, 2):
        grid = np.arange(-2, 2.1, 1, dtype=np.float32)
        predicted = contested.counts(np.zeros(3), number, grid)[0][0]
        for bias, counted in zip(grid, predicted, strict=True):
            biased = scores.copy()
            if parents:
                biased[:, 0] = 0
            biased[:, number] += bias
            np.testing.assert_array_equal(counted, np.bincount(biased.argmax(1), minlength=3))


def test_cases_of_some() -> None:
    rng = np.random.default_rng(3)
    labels = [random_regions(rng, (12, 12), (0, 0, 1), ignored=True) for _ in range(4)]
    masks = [random_regions(rng, (12, 12), (0, 0, 1)) for _ in labels]
    contested = contested_by_distance(
        ((mask, label, (1, 1)) for mask, label in zip(masks, labels, strict=True)), (0, 0, 1), 3.1
    )
    for biases in np.array([[0, 0.6, -0.3], [0, 0.6, 0.8], [0, -2, 0.8]], np.float32):
        alone = contested_by_distance([(masks[2], labels[2], (1, 1)), (masks[0], labels[0], (1, 1))], (0, 0, 1), 3.1)
        for number in (1, 2):
            for grid in (GRID, GRID[:3]):
                np.testing.assert_array_equal(contested.of([2, 0]).dice(biases, number, grid), alone.dice(biases, number, grid))
                np.testing.assert_array_equal(
                    contested.of([3, 1, 2]).of([2, 0]).dice(biases, number, grid), alone.dice(biases, number, grid)
                )


def test_a_case_without_labels_counts_nothing() -> None:
    label = np.full((6, 6), IGNORE, np.uint8)
    mask = random_regions(np.random.default_rng(0), (6, 6), (0, 0))
    for contested in (
        contested_by_distance([(mask, label, (1.0, 1.0))], (0, 0), 3.1),
        contested_by_score([(np.full((2, 6, 6), 0.5, np.float32), label)], 9),
    ):
        assert np.stack(contested.counts(np.zeros(2), 1, GRID)).sum() == 0
        assert (contested.dice(np.zeros(2), 1, GRID) == 1).all()


def test_what_is_applied_is_what_was_counted() -> None:
    """Offsets on probabilities as ``Calibration`` takes them, which multiplies, against log-probabilities."""
    rng = np.random.default_rng(5)
    label = random_regions(rng, (20, 20), (0, 0, 0))
    maps = np.moveaxis(rng.dirichlet(np.ones(3), (20, 20)), -1, 0).astype(np.float32)
    contested = contested_by_score([(maps, label)], 9)
    for bias in GRID:
        offsets = (0.0, float(bias), -0.6)
        calibration = Calibration(classes=("a", "b", "c"), offsets=offsets, shifts=(0.0,) * 3, parents=(0,) * 3, unit="px")
        counts = contested.counts(offsets, 1, np.array([bias], np.float32))
        np.testing.assert_array_equal(np.stack(counts)[:, :, 0], slow_counts([calibration.apply(maps, None)], [label], 3))
