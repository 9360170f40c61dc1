"""What a bias added to one class's score does to every class's overlap, for many biases at once.

A voxel goes to one class where its margin plus the bias is above 0, and else to another. So it is counted once, at the smallest
bias that takes it, and sums over biases give the sizes and overlaps of all classes at each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from debride.calibration.outlines import decide, distances, path_to
from debride.types import IGNORE

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

SMALLEST = 1e-7
"""Probabilities below this count as this: float16 has no smaller ones."""


@dataclass(frozen=True, eq=False)
class Contested:
    """The voxels whose class a bias could change, of N cases.

    ``scores`` (V, K) are log-probabilities, or where ``parents`` (K,) say which region lies in which, distances into the region
    of each class. ``label`` (V,) are verified ids, ``case`` (V,) counts from 0. ``fixed`` (N, 3, K) counts the voxels that keep
    their class: as predicted, as in the reference, and those in both.
    """

    scores: Floats
    label: Ids
    case: npt.NDArray[np.int32]
    fixed: Counts
    parents: tuple[int, ...] | None = None

    def of(self, cases: Sequence[int]) -> Contested:
        """Those of some cases, in their order."""
        place = np.full(len(self.fixed), -1, np.int32)
        place[list(cases)] = np.arange(len(cases))
        own = place[self.case]
        kept = own >= 0
        return Contested(self.scores[kept], self.label[kept], own[kept], self.fixed[list(cases)], self.parents)

    def dice(self, biases: Sequence[float], number: int, grid: Floats) -> Doubles:
        """Dice (N, G, K - 1) of the foreground classes with each bias of an ascending ``grid`` (G,) for class ``number`` and
        ``biases`` (K,) for the others; 1 where a class is in neither mask."""
        predicted, reference, common = self.counts(biases, number, grid)
        both = (predicted + reference)[:, :, 1:]
        return np.where(both > 0, 2 * common[:, :, 1:] / np.maximum(both, 1), 1.0)

    def counts(self, biases: Sequence[float], number: int, grid: Floats) -> tuple[Counts, Counts, Counts]:
        """Predicted, reference and common voxels (N, G, K), as ``dice`` has its arguments."""
        margin, taken, left = self._margins(np.asarray(biases, np.float32), number)
        first = np.searchsorted(grid, -margin, side="right")
        shape = len(self.fixed), len(grid) + 1, self.scores.shape[1]

        def table(ids: Ids, chosen: npt.NDArray[np.bool_] | slice) -> Counts:
            place = (self.case[chosen].astype(np.int64) * shape[1] + first[chosen]) * shape[2] + ids[chosen]
            return np.bincount(place, minlength=shape[0] * shape[1] * shape[2]).reshape(shape)

        def either(on: Counts, off: Counts) -> Counts:
            """Those that each bias takes, and those that it leaves."""
            return (on.cumsum(axis=1) + off.sum(axis=1, keepdims=True) - off.cumsum(axis=1))[:, :-1]

        everything = slice(None)
        fixed = self.fixed[:, :, None]
        predicted = either(table(taken, everything), table(left, everything)) + fixed[:, 0]
        common = either(table(taken, taken == self.label), table(left, left == self.label)) + fixed[:, 2]
        reference = table(self.label, everything).sum(axis=1)[:, None] + fixed[:, 1]
        return predicted, np.broadcast_to(reference, predicted.shape), common

    def _margins(self, biases: Floats, number: int) -> tuple[Floats, Ids, Ids]:
        """Of each voxel (V,) by how much a class wins without its own bias, where it goes if so, and where it goes if not."""
        scores = self.scores + biases
        own = self.scores[:, number]
        if self.parents is None:
            scores[:, number] = -np.inf
            left = scores.argmax(axis=1)
            rival = np.take_along_axis(scores, left[:, None], 1)[:, 0]
            return own - rival, np.full(len(own), number, np.uint8), left.astype(np.uint8)
        parents, inside = self.parents, scores.T
        inside[number] = -np.inf
        left = decide(inside, parents)
        inside[number] = np.inf
        taken = decide(inside, parents)
        reached = np.isin(taken, [inner for inner in range(len(parents)) if number in path_to(parents, inner)])
        siblings = [other for other in range(1, len(parents)) if parents[other] == parents[number] and other != number]
        rival = np.maximum(inside[siblings].max(axis=0), 0) if siblings else np.float32(0)
        return np.where(reached, own - rival, -np.inf).astype(np.float32), taken, left


def contested_by_score(cases: Iterable[tuple[npt.NDArray[np.generic], Ids]], reach: float) -> Contested:
    """The voxels of cases, each probabilities (K, *S) and a label (*S), whose class log-odds of up to ``reach`` could change."""

    def parts(probability: npt.NDArray[np.generic]) -> tuple[Floats, Ids, npt.NDArray[np.bool_]]:
        maps = probability.reshape(len(probability), -1)
        largest = maps.max(axis=0).astype(np.float32)
        least = largest * np.exp(-np.float32(reach))
        close = (maps >= least).sum(axis=0) > 1
        return maps, maps.argmax(axis=0).astype(np.uint8), close

    gathered = _gathered((*parts(probability), label) for probability, label in cases)
    logs = np.log(np.maximum(gathered.scores, SMALLEST), dtype=np.float32)
    return Contested(logs, gathered.label, gathered.case, gathered.fixed)


def contested_by_distance(
    cases: Iterable[tuple[Ids, Ids, Sequence[float]]], parents: Sequence[int], reach: float
) -> Contested:
    """The voxels of cases, each predicted ids (*S), a label (*S) and a spacing, within ``reach`` of an outline."""

    def parts(ids: Ids, spacing: Sequence[float]) -> tuple[Floats, Ids, npt.NDArray[np.bool_]]:
        inside = distances(ids, parents, spacing, reach + max(spacing)).reshape(len(parents), -1)
        return inside, ids.ravel(), np.abs(inside[1:]).min(axis=0) <= reach

    gathered = _gathered((*parts(ids, spacing), label) for ids, label, spacing in cases)
    return Contested(gathered.scores, gathered.label, gathered.case, gathered.fixed, tuple(parents))


_Part = tuple[npt.NDArray[np.generic], Ids, npt.NDArray[np.bool_], Ids]


def _gathered(parts: Iterable[_Part]) -> Contested:
    """Contested voxels of scores (K, V), predicted ids (V,), which could change (V,), and labels (*S)."""
    scores, labels, cases, fixed = [], [], [], []
    for number, (maps, predicted, close, label) in enumerate(parts):
        reference, known = label.ravel(), label.ravel() != IGNORE
        near, far = known & close, known & ~close
        chosen = maps[:, near].T.astype(np.float32)
        scores.append(chosen)
        labels.append(reference[near])
        cases.append(np.full(len(chosen), number, np.int32))
        same = far & (predicted == reference)
        counted = ((predicted, far), (reference, far), (reference, same))
        fixed.append([np.bincount(ids[which], minlength=len(maps)) for ids, which in counted])
    return Contested(np.concatenate(scores), np.concatenate(labels), np.concatenate(cases), np.array(fixed))
