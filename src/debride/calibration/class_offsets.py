"""Offsets of classes for images with one class each, by verified images: a class named too seldom is named more often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.calibration.ascent import ROUNDS, lower_bound, patient_means, surest
from debride.calibration.fitting import OFFSETS, Gain, gain_of
from debride.calibration.scan import SMALLEST

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class FittedOffsets:
    """Offsets (K,) of log-probabilities, that of class 0 being 0, and what they are worth on other images, from -1 to 1."""

    offsets: tuple[float, ...]
    gain: Gain


def fit_class_offsets(
    probability: npt.NDArray[Any], labels: Ids, patients: Sequence[str], *, confidence: float = 0.9, recall: bool = False
) -> FittedOffsets:
    """Offsets for probabilities (N, K) of images with verified class ids (N,), by the rule of ``ascent``: the surest gain in
    accuracy, or in the mean ``recall`` of the classes that are among the labels.

    For accuracy a patient counts once; for recall a class does. A single patient decides nothing.
    """
    scores = np.log(np.maximum(probability, SMALLEST), dtype=np.float32)
    whose = np.asarray(patients, str)
    none = _right(scores, labels, np.zeros(scores.shape[1], np.float32))
    gains = np.zeros(len(labels))
    for patient in np.unique(whose):
        own = whose == patient
        offsets = _chosen(scores[~own], labels[~own], whose[~own], confidence, recall)
        gains[own] = (_right(scores, labels, offsets) - none)[own]
    fitted = _chosen(scores, labels, whose, confidence, recall)
    return FittedOffsets(tuple(fitted.tolist()), gain_of(_of_patients(gains, labels, whose, recall), confidence))


def _chosen(scores: Floats, labels: Ids, patients: npt.NDArray[np.str_], confidence: float, recall: bool) -> Floats:
    """The surest offsets (K,), class by class; none that are not surely better than none."""
    offsets = np.zeros(scores.shape[1], np.float32)
    if not len(scores):
        return offsets
    before = _right(scores, labels, offsets)
    for _ in range(ROUNDS):
        old = offsets.copy()
        for number in range(1, len(offsets)):
            tried = np.repeat(offsets[None], len(OFFSETS), axis=0)
            tried[:, number] = OFFSETS
            gains = np.stack([_right(scores, labels, each) - before for each in tried], axis=1)
            offsets[number] = OFFSETS[surest(_of_patients(gains, labels, patients, recall), OFFSETS, confidence)]
        if (offsets == old).all():
            break
    bound = lower_bound(_of_patients(_right(scores, labels, offsets) - before, labels, patients, recall), confidence)
    return offsets if bound > 0 else np.zeros_like(offsets)


def _right(scores: Floats, labels: Ids, offsets: Floats) -> Doubles:
    """1 for each image (N,) that is named as its label, else 0."""
    right: Doubles = ((scores + offsets).argmax(axis=1) == labels).astype(np.float64)
    return right


def _of_patients(values: Doubles, labels: Ids, patients: npt.NDArray[np.str_], recall: bool) -> Doubles:
    """Values (N, ...) as those of patients (P, ...), whose mean is that over patients, or over classes."""
    if not recall:
        return patient_means(values, patients.tolist())
    known, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    _, person = np.unique(patients, return_inverse=True)
    weights = (person.max() + 1) / (len(known) * counts[place])
    sums = np.zeros((person.max() + 1, *values.shape[1:]))
    np.add.at(sums, person, values * weights.reshape(-1, *[1] * (values.ndim - 1)))
    return sums
