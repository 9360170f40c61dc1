"""How far outlines of a label lie outside those of a prediction: distances between outline pixels, in pieces of a volume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import edt
import numpy as np
import numpy.typing as npt

from debride.types import IGNORE

Reals = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

PIECE = 1 << 18
"""Pixels that are worked on at a time, or one slice of axis 0 where that has more."""

PAIRS = 1 << 19
"""Up to so many pairs of outline pixels are compared one by one; for more a distance transform is made."""

REACH = 3
"""An outline is looked for up to so many of the smallest steps away first, one less in 3D."""


FIFTHS = 5
"""The slices of an object in a volume are looked at in so many parts."""


def outline_biases(label: Labels, predicted: Labels, classes: int, spacing: Sequence[float] | None = None) -> Reals:
    """How far each foreground class's outline in a label (*S) lies outside that in a prediction (*S): (C, 4), in units of
    ``spacing``, along the whole outline, and along that in the first fifth, the middle and the last fifth of its slices.

    The mean over the label's outline of the distance to the nearest pixel of the prediction's, negative inside the prediction:
    0 where the two are equal. An outline is made of the pixels that have a neighbour of another class along an axis; neither
    the image's edge nor a pixel without a label counts as one. NaN where label or prediction has no outline of the class.
    Slices are those of axis 0 of a volume; their parts are NaN in 2D, and for an outline of fewer than ``FIFTHS`` slices.
    """
    steps, unknown = np.asarray(spacing or (1,) * label.ndim, np.float64), bool(label.size) and label.max() == IGNORE
    shifts, lengths = _surroundings(tuple(steps.tolist()))
    slices = len(label) if label.ndim == 3 else 1
    count, total = np.zeros((2, slices, classes))
    other_count = np.zeros(classes)
    lost: list[tuple[npt.NDArray[Any], ...]] = []
    targets: list[tuple[Labels, Places]] = []
    for rows in row_pieces(label.shape, 8 * REACH):
        first, last = max(0, rows.start - REACH - 1), rows.stop + REACH + 1
        maps = _outlines(label[first:last], predicted[first:last], unknown)
        row = maps[0, 0].size
        start = (rows.start - first + REACH) * row
        inner = slice(start, start + (rows.stop - rows.start) * row)
        label_outline, predicted_outline, under = maps.reshape(3, -1)
        own, target = (np.flatnonzero(outline[inner] != 0) + start for outline in (label_outline, predicted_outline))
        given, goal_classes = label_outline.take(own), predicted_outline.take(target)
        flat = shifts @ np.array(maps.strides[1:])
        sign = np.where(under.take(own) == given, -1.0, 1.0)
        parts = [
            _nearest(given[part], own[part], predicted_outline, flat, lengths) for part in row_pieces((own.size, flat.size))
        ]
        distance = np.concatenate([np.zeros(0), *parts])
        far = np.flatnonzero(np.isinf(distance))
        distance[far] = 0
        part, bins = _slice_of(own - start, row, rows.start, slices) * classes + given, slices * classes
        count += np.bincount(part, minlength=bins).reshape(count.shape)
        other_count += np.bincount(goal_classes, minlength=classes)
        total += np.bincount(part, distance * sign, minlength=bins).reshape(total.shape)
        lost.append((given[far], sign[far], own[far] + first * row))
        targets.append((goal_classes, target + first * row))
    wide = tuple(size + 2 * REACH for size in label.shape)
    ids = {class_id for classes_there, _, _ in lost for class_id in classes_there.tolist()}
    for class_id in ids & set(np.flatnonzero(other_count).tolist()):
        signs, places = (
            np.concatenate([classes_there[at][classes_there[0] == class_id] for classes_there in lost]) for at in (1, 2)
        )
        goal_places = np.concatenate([at[classes_there == class_id] for classes_there, at in targets])
        points, goals = (np.stack(np.unravel_index(at, wide), axis=1) for at in (places, goal_places))
        at = points[:, 0] - REACH if slices > 1 else np.zeros(len(points), np.intp)
        total[:, class_id] += np.bincount(at, signs * _distances(points, goals, steps), minlength=slices)
    count[:, other_count == 0] = 0
    sums = np.array([_in_parts(values, count) for values in (total, count)])[:, :, 1:]  # (2, 4, C)
    biases: Reals = np.divide(sums[0], sums[1], out=np.full(sums[0].shape, np.nan), where=sums[1] > 0).T
    return biases


def _slice_of(at: Places, row: int, first: int, slices: int) -> Places:
    """The slice (n,) of flat places (n,) in slices of ``row`` pixels, of which the first is ``first``; 0 in 2D."""
    return at // row + first if slices > 1 else np.zeros(len(at), np.intp)


def _in_parts(values: Reals, count: Reals) -> Reals:
    """Sums (4, classes) of values (slices, classes): over all slices, and over the first fifth, the middle and the last fifth
    of those in which a class has an outline, by the ``count`` of its pixels; 0 where there are fewer than ``FIFTHS``."""
    sums = np.zeros((4, values.shape[1]))
    sums[0] = values.sum(axis=0)
    for class_id in np.flatnonzero(count.any(axis=0)):
        first, last = np.flatnonzero(count[:, class_id])[[0, -1]]
        many = (last + 1 - first) // FIFTHS
        if many:
            ends = np.cumsum([first, many, last + 1 - first - 2 * many, many])
            sums[1:, class_id] = [values[a:b, class_id].sum() for a, b in pairwise(ends)]
    return sums


def row_pieces(shape: tuple[int, ...], least: int = 1) -> Iterator[slice]:
    """Slices of axis 0 of about ``PIECE`` pixels, and of at least so many."""
    step = max(least, PIECE // max(1, int(np.prod(shape[1:]))))
    return (slice(start, min(shape[0], start + step)) for start in range(0, shape[0], step))


def edges(
    values: Labels, axes: Iterable[int] | None = None, known: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.bool_]:
    """The pixels that have a neighbour of another value along some ``axes`` (all by default), both of them ``known``."""
    edge = np.zeros(values.shape, bool)
    for axis in range(values.ndim) if axes is None else axes:
        before = (slice(None),) * axis + (slice(None, -1),)
        after = (slice(None),) * axis + (slice(1, None),)
        differs = values[before] != values[after]
        if known is not None:
            differs &= known[before] & known[after]
        edge[before] |= differs
        edge[after] |= differs
    return edge


def _outlines(label: Labels, predicted: Labels, unknown: bool) -> Labels:
    """A label's outlines, a prediction's (their classes, 0 elsewhere) and the prediction, with a rim of ``REACH`` zeros."""
    known = np.broadcast_to(label != IGNORE, (2, *label.shape)) if unknown else None
    both = np.stack((label, predicted))
    edge = edges(both, range(1, both.ndim), known)
    maps = np.zeros((3, *(size + 2 * REACH for size in label.shape)), np.uint8)
    inner = maps[(slice(None), *(slice(REACH, -REACH),) * label.ndim)]
    np.multiply(both, edge.view(np.uint8), out=inner[:2])
    inner[2] = predicted
    return maps


@lru_cache(maxsize=64)
def _surroundings(steps: tuple[float, ...]) -> tuple[Places, Reals]:
    """The ways (m, axes) in pixels to all places near one, the shortest first, and their lengths (1 + m,), see ``_nearest``."""
    reach = REACH if len(steps) < 3 else REACH - 1
    ways = np.indices((2 * reach + 1,) * len(steps)).reshape(len(steps), -1).T - reach
    length = np.sqrt(np.square(ways * steps).sum(axis=1))
    order = np.argsort(length, kind="stable")
    order = order[length[order] <= reach * min(steps)]
    return ways[order], np.append(length[order], np.inf)[::-1]


def _nearest(given: Labels, own: Places, outline: Labels, ways: Places, lengths: Reals) -> Reals:
    """The distance (n,) from flat places (n,) to the nearest in ``seen`` of the class given there, infinite where none is near.

    ``ways`` (m,) are flat, the shortest first, and ``lengths`` (1 + m,) theirs in reverse order after an infinite one.
    """
    reached = (outline.take(own + ways[:, None]) == given).view(np.uint8)
    reached *= np.arange(len(ways), 0, -1, dtype=np.uint8)[:, None]
    return np.asarray(lengths.take(reached.max(axis=0)), np.float64)


def _distances(points: Places, targets: Places, steps: Reals) -> Reals:
    """The distance (n,) of each of the pixels (n, axes) to the nearest of others (m, axes), in units of ``steps`` (axes,)."""
    if len(points) * len(targets) <= PAIRS:
        square = np.zeros((len(points), len(targets)), np.float32)
        for axis, step in enumerate(steps):
            away = np.subtract.outer(*((places[:, axis] * step).astype(np.float32) for places in (points, targets)))
            square += np.square(away, out=away)
        return np.asarray(np.sqrt(square.min(axis=1)), np.float64)
    low = np.minimum(points.min(axis=0), targets.min(axis=0))
    field = np.ones(np.maximum(points.max(axis=0), targets.max(axis=0)) - low + 1, np.uint8)
    field[tuple((targets - low).T)] = 0
    distance = edt.edt(field, anisotropy=tuple(steps), black_border=False, parallel=1)
    return np.asarray(distance[tuple((points - low).T)], np.float64)
