"""What a bias added to one class's score does to every class's overlap, for many biases at once.

A voxel goes to one class where its margin plus the bias is above 0, and else to another. So it is counted once, at the smallest
bias that takes it, and sums over biases give the sizes and overlaps of all classes at each of them. What lies in the class may
take the voxel on at a larger bias, and is counted there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from debride.calibration.moving import decide, distances, movers, rooms, slabs, within
from debride.types import IGNORE

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

SMALLEST = 1e-7
"""Probabilities below this count as this: float16 has no smaller ones."""

PIECE = 2**18
"""Voxels that are counted at once."""

EVERYTHING = slice(None)


@dataclass(frozen=True)
class _Change:
    """Where margins (V,) plus a bias are above 0, voxels are of class ids ``new`` (V,) and no longer of ``old`` (V,)."""

    margin: Floats
    old: Ids
    new: Ids


@dataclass(frozen=True, eq=False)
class Contested:
    """The voxels whose class a bias could change, of N cases.

    ``scores`` (V, K) are log-probabilities, or where ``parents`` (K,) say which region lies in which, rows (V, K + R) of
    ``moving.distances``. ``label`` (V,) are verified ids, ``case`` (V,) counts from 0. ``fixed`` (N, 3, K) counts the voxels
    that keep their class: as predicted, as in the reference, and those in both. ``chosen`` are the cases that ``dice`` speaks
    of, all where it is None. What it said is ``known`` from then on, for other choices of cases too.
    """

    scores: Floats
    label: Ids
    case: npt.NDArray[np.int32]
    fixed: Counts
    parents: tuple[int, ...] | None = None
    chosen: tuple[int, ...] | None = None
    known: dict[tuple[int, bytes, bytes], Doubles] = field(default_factory=dict, repr=False)

    @property
    def classes(self) -> int:
        """K."""
        return int(self.fixed.shape[2])

    def of(self, cases: Sequence[int]) -> Contested:
        """Those of some cases, in their order."""
        return replace(self, chosen=tuple(cases))

    def dice(self, biases: Sequence[float] | Floats, number: int, grid: Floats) -> Doubles:
        """Dice (N, G, K - 1) of the foreground classes with each bias of an ascending ``grid`` (G,) for class ``number`` and
        ``biases`` (K,) for the others; 1 where a class is in neither mask."""
        others = np.array(biases, np.float32)
        others[number] = 0
        key = number, others.tobytes(), grid.tobytes()
        if key not in self.known:
            predicted, reference, common = self.counts(others, number, grid)
            both = (predicted + reference)[:, :, 1:]
            self.known[key] = np.where(both > 0, 2 * common[:, :, 1:] / np.maximum(both, 1), 1.0)
        return self.known[key] if self.chosen is None else self.known[key][list(self.chosen)]

    def counts(self, biases: Sequence[float] | Floats, number: int, grid: Floats) -> tuple[Counts, Counts, Counts]:
        """Predicted, reference and common voxels (N, G, K) of all cases, as ``dice`` has its arguments."""
        shape = len(self.fixed), len(grid) + 1, self.classes
        predicted, common = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        reference = np.zeros((shape[0], 1, shape[2]), np.int64)
        own = np.asarray(biases, np.float32)
        for begin in range(0, len(self.label), PIECE):
            part = slice(begin, begin + PIECE)
            label, case = self.label[part], self.case[part].astype(np.int64)

            left, changes = self._changes(self.scores[part], own, number)
            _add(reference, case, 0, label)
            _add(predicted, case, 0, left)
            _add(common, case, 0, left, left == label)
            for change in changes:
                first = np.searchsorted(grid, -change.margin, side="right")
                for ids, sign in ((change.new, 1), (change.old, -1)):
                    _add(predicted, case, first, ids, sign=sign)
                    _add(common, case, first, ids, ids == label, sign)
        predicted, common = (sums.cumsum(axis=1)[:, :-1] for sums in (predicted, common))
        fixed = self.fixed[:, :, None]
        reference = np.broadcast_to(reference + fixed[:, 1], predicted.shape)
        return predicted + fixed[:, 0], reference, common + fixed[:, 2]

    def _changes(self, scores: Floats, biases: Floats, number: int) -> tuple[Ids, list[_Change]]:
        """The class ids (V,) without what a class takes, and what it takes, then those that lie in it."""
        if self.parents is None:
            rivals = scores + biases
            rivals[:, number] = -np.inf
            left = rivals.argmax(axis=1).astype(np.uint8)
            margin = scores[:, number] - np.take_along_axis(rivals, left[:, None], 1)[:, 0]
            return left, [_Change(_winning_draws(margin, number < left), left, np.full_like(left, number))]
        return self._changes_of_regions(self.parents, scores.T, biases, number)

    @staticmethod
    def _changes_of_regions(parents: Sequence[int], distance: Floats, biases: Floats, number: int) -> tuple[Ids, list[_Change]]:
        who = np.array(movers(parents))
        inside = distance + biases[who][:, None]
        inside[who == number] = -np.inf
        left = decide(inside, parents)
        inside[who == number] = np.inf
        last = decide(inside, parents)

        parent = parents[number]
        siblings = [other for other in range(1, len(parents)) if parents[other] == parent and other != number]
        margin = distance[number].copy()
        if siblings:
            rival, ahead = inside[siblings].max(axis=0), np.array(siblings)[inside[siblings].argmax(axis=0)]
            margin = _winning_draws(margin - np.maximum(rival, 0), (rival > 0) & (number < ahead))
        margin[~np.isin(last, [parent, *within(parents, number)])] = -np.inf
        changes = [_Change(margin, left, np.where(last == parent, last, np.uint8(number)))]
        margins = {number: margin}
        for row, (inner, outer) in enumerate(rooms(parents), len(parents)):
            if outer == number:
                around = parents[inner]
                margins[inner] = np.minimum(margins[around], distance[row])
                goes = np.isin(last, within(parents, inner))
                margins[inner] = np.where(goes, margins[inner], np.float32(-np.inf))
                changes.append(_Change(margins[inner], np.full_like(last, around), np.full_like(last, inner)))
        return left, changes


def _add(
    sums: Counts, case: Counts, bias: Counts | int, ids: Ids, kept: npt.NDArray[np.bool_] | slice = EVERYTHING, sign: int = 1
) -> None:
    """Counts voxels (V,) into sums (N, G + 1, K) by their case, the first bias, and class ids."""
    place = ((case * sums.shape[1] + bias) * sums.shape[2] + ids)[kept]
    sums += sign * np.bincount(place, minlength=sums.size).reshape(sums.shape)


def _winning_draws(margin: Floats, wins: npt.NDArray[np.bool_]) -> Floats:
    """Margins (V,) of which some are above 0 where they are 0: of equal scores the first class has the voxel."""
    return np.where(wins, np.nextafter(margin, np.float32(np.inf)), margin)


def contested_by_score(cases: Iterable[tuple[npt.NDArray[np.generic], Ids]], reach: float) -> Contested:
    """The voxels of cases, each probabilities (K, *S) and a label (*S), whose class log-odds up to ``reach`` could change."""

    def parts(probability: npt.NDArray[np.generic], label: Ids) -> Iterator[_Part]:
        for slab in slabs(label.shape):
            maps = probability[:, slab].astype(np.float32)
            close = (maps >= maps.max(axis=0) * np.exp(-np.float32(reach))).sum(axis=0) > 1
            yield np.log(np.maximum(maps, SMALLEST)), maps.argmax(axis=0).astype(np.uint8), close, label[slab]

    return _gathered((parts(*case) for case in cases), None)


def contested_by_distance(cases: Iterable[tuple[Ids, Ids, Sequence[float]]], parents: Sequence[int], reach: float) -> Contested:
    """The voxels of cases, each predicted ids (*S), a label (*S) and a spacing, within ``reach`` of an outline."""

    def parts(ids: Ids, label: Ids, spacing: Sequence[float]) -> Iterator[_Part]:
        inside = distances(ids, parents, spacing, 2 * reach + max(spacing))
        for slab in slabs(ids.shape):
            yield inside[:, slab], ids[slab], np.abs(inside[1:, slab]).min(axis=0) <= reach, label[slab]

    return _gathered((parts(*case) for case in cases), tuple(parents))


_Part = tuple[Floats, Ids, npt.NDArray[np.bool_], Ids]


def _gathered(cases: Iterable[Iterable[_Part]], parents: tuple[int, ...] | None) -> Contested:
    """Contested voxels of cases in parts: scores (K + R, *S), predicted ids (*S), which could change (*S), and labels (*S)."""
    scores, labels, numbers, fixed = [], [], [], []
    for number, parts in enumerate(cases):
        counted = None
        for maps, predicted, close, label in parts:
            classes = len(parents) if parents is not None else len(maps)
            near, far = (label != IGNORE) & close, (label != IGNORE) & ~close
            scores.append(maps[:, near].T.astype(np.float32, order="C"))
            labels.append(label[near])
            numbers.append(np.full(len(labels[-1]), number, np.int32))
            same = far & (predicted == label)
            kept = [
                np.bincount(ids[which], minlength=classes) for ids, which in ((predicted, far), (label, far), (label, same))
            ]
            counted = np.array(kept) + (0 if counted is None else counted)
        assert counted is not None, "an image has voxels"
        fixed.append(counted)
    return Contested(np.concatenate(scores), np.concatenate(labels), np.concatenate(numbers), np.array(fixed), parents)
