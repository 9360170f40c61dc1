"""Labels that are wrong in one way, with good predictions: they are counted and flagged, by evidence of arrays alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from debride.audit.evidence import Evidence, Ranking, agreement, plant, predicted_classes, rank, thin
from debride.audit.evidence.outline_gains import against_usual

Label = npt.NDArray[np.uint8]
N, SHAPE = 80, (40, 40)


def pictures() -> tuple[list[Label], list[npt.NDArray[np.float32]]]:
    """Labels with two objects, and predictions that differ from them by a fraction of a pixel."""
    labels, predictions = [], []
    rows, columns = np.indices(SHAPE)
    for at in range(N):
        rng = np.random.default_rng([at, 3])
        label = np.zeros(SHAPE, np.uint8)
        for value, (row, column) in enumerate(((13, 12), (25, 28)), start=1):
            row, column = row + rng.normal(0, 1.5), column + rng.normal(0, 1.5)
            high, wide = rng.uniform(4, 6.5, 2)
            label[((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 < 1] = value
        bent = np.indices(SHAPE) + np.stack([ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 5) * 10 for _ in SHAPE])
        soft = [
            ndimage.gaussian_filter(ndimage.map_coordinates((label == value).astype(float), bent, order=1), 0.7)
            for value in range(3)
        ]
        odds = np.stack(soft) ** 1.3 + 1e-3
        labels.append(label)
        predictions.append((odds / odds.sum(axis=0)).astype(np.float32))
    return labels, predictions


@cache
def audited(error: str, wrong: int) -> Ranking:
    """The ranking of the pictures, the first ``wrong`` of which lack an object, or are moved by five pixels."""
    labels, predictions = pictures()
    given, planted, reached = [], [], []
    for at, (label, probability) in enumerate(zip(labels, predictions, strict=True)):
        if at < wrong:
            label = np.where(label == 1 + at % 2, np.uint8(0), label) if error == "lacking" else np.roll(label, 5, axis=at % 2)
        predicted = predicted_classes(probability)
        said = Evidence(thin(label, probability, predicted))
        given.append(said.against(label))
        wrongs = plant(label, 3, np.random.default_rng(at)) if at % 2 else {}
        planted.append({kind: said.against(each) for kind, each in wrongs.items()})
        reached.append(agreement(label, probability, predicted))
    people = [str(at) for at in range(N)]
    return rank(*against_usual(given, planted), people, 0, None, float(np.median(reached)))


@pytest.mark.slow
@pytest.mark.parametrize(("error", "wrong"), [("lacking", 24), ("moved", 20)])
def test_errors_of_one_kind_are_counted_and_flagged(error: str, wrong: int) -> None:
    ranking = audited(error, wrong)
    low, high = ranking.interval
    assert set(ranking.order[:wrong].tolist()) == set(range(wrong))
    assert low <= wrong / N <= high and high - low < 0.35 and ranking.share == pytest.approx(wrong / N, abs=0.06)
    assert ranking.flagged[:wrong].mean() > 0.9 and ranking.flagged[wrong:].sum() <= 2
    kind = {"lacking": "missing", "moved": "shift"}[error]
    assert ranking.kinds[kind][1] > 0 and max(ranking.kinds, key=lambda name: ranking.kinds[name][0]) == kind


@pytest.mark.slow
def test_of_right_labels_none_is_flagged() -> None:
    ranking = audited("lacking", 0)
    assert not ranking.flagged.any() and ranking.interval[0] == 0 and ranking.interval[1] < 0.25
