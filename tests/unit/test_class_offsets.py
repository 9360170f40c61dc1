"""Offsets of classes: a planted bias is found, and nothing is changed where nothing speaks for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from debride.calibration.class_offsets import fit_class_offsets

Planted = tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], list[str]]


def planted(offset: float, images: int = 90, classes: int = 3, seed: int = 0, per_patient: int = 2) -> Planted:
    """Probabilities in which class 1 has ``offset`` too little log-probability; the labels, and who each image is of."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    odds = rng.normal(0, 1, (images, classes)) + 2.5 * np.eye(classes)[labels]
    odds[:, 1] -= offset
    probability = np.exp(odds) / np.exp(odds).sum(1, keepdims=True)
    return probability.astype(np.float32), labels, [f"p{at // per_patient:03d}" for at in range(images)]


def accuracy(probability: npt.NDArray[Any], labels: npt.NDArray[Any], offsets: Any, recall: bool = False) -> float:
    right = (np.log(probability) + np.array(offsets)).argmax(1) == labels
    return float(np.mean([right[labels == number].mean() for number in np.unique(labels)]) if recall else right.mean())


@pytest.mark.parametrize("recall", [False, True])
def test_a_planted_bias_is_found(recall: bool) -> None:
    probability, labels, patients = planted(3.0)
    fitted = fit_class_offsets(probability, labels, patients, recall=recall)
    assert fitted.offsets[0] == 0 and fitted.offsets[1] - np.mean(fitted.offsets[2]) == pytest.approx(3, abs=1.2)
    others, right, _ = planted(3.0, 2000, seed=1)
    gained = accuracy(others, right, fitted.offsets, recall) - accuracy(others, right, (0, 0, 0), recall)
    assert gained > 0.1 and fitted.gain.low < gained < fitted.gain.high


def test_right_probabilities_stay_or_lose_little() -> None:
    for seed in range(5):
        probability, labels, patients = planted(0.0, 60, seed=seed)
        fitted = fit_class_offsets(probability, labels, patients)
        others, right, _ = planted(0.0, 2000, seed=100 + seed)
        assert accuracy(others, right, fitted.offsets) > accuracy(others, right, (0, 0, 0)) - 0.03


def test_one_patient_decides_nothing() -> None:
    probability, labels, _ = planted(3.0)
    fitted = fit_class_offsets(probability, labels, ["one"] * len(labels))
    assert fitted.offsets == (0, 0, 0) and (fitted.gain.low, fitted.gain.high) == (-1, 1)


def test_a_class_counts_once_for_recall() -> None:
    """Class 1 is rare: taking it more often loses accuracy and gains recall."""
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.1).astype(int)
    odds = rng.normal(0, 1, 400) + np.where(labels, 1.0, -1.0) - 2
    probability = np.stack([1 / (1 + np.exp(odds)), 1 / (1 + np.exp(-odds))], axis=1)
    patients = [str(at) for at in range(400)]
    by_recall = fit_class_offsets(probability, labels, patients, recall=True).offsets[1]
    assert by_recall > 1 and by_recall > fit_class_offsets(probability, labels, patients).offsets[1]


@pytest.mark.parametrize("recall", [False, True])
def test_each_patient_is_left_out(recall: bool) -> None:
    """Slowly: each patient's share of what is gained on it by what the others speak for."""
    probability, labels, patients = planted(2.5, 24, per_patient=3)
    whose = np.array(patients)
    gains = []
    for patient in np.unique(whose):
        rest, own = whose != patient, whose == patient
        offsets = np.array(fit_class_offsets(probability[rest], labels[rest], whose[rest].tolist(), recall=recall).offsets)
        after, before = ((np.log(probability[own]) + each).argmax(1) == labels[own] for each in (offsets, 0 * offsets))
        change = after.astype(float) - before
        weight = len(np.unique(whose)) / (3 * np.bincount(labels)[labels[own]]) if recall else 1 / own.sum()
        gains.append((change * weight).sum())
    assert fit_class_offsets(probability, labels, patients, recall=recall).gain.mean == pytest.approx(np.mean(gains))
