"""What speaks against the outlines of a label: what smoother ones would gain, and how far they lie from where they usually lie.

Networks and people have a bias: their outlines lie somewhat too far out or in. A label is judged by how far its outline lies
outside the prediction's in comparison with the other labels of the data set, class by class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import edt
import numpy as np
import numpy.typing as npt
from scipy import stats

from debride.audit.evidence.boxes import box_of, widened
from debride.audit.evidence.outlines import edges

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
Numbers = Mapping[str, float]

TAPS = (1, 4, 6, 4, 1)
"""A label is smoothed by these weights, whose deviation is one pixel: what wavers from pixel to pixel changes."""

FARTHEST = 24
"""A pixel of an outline counts as at most so many of the finest steps away."""

OFFSET = re.compile(r"offset \d+")
"""The entries of the evidence that have how far a class's outline lies outside that predicted."""


def smoothing_gain(ids: Label, logs: Floats) -> float:
    """How much likelier a 2D label (H, W) becomes by smoothing, in nats, by log likelihoods (K, H, W): the sum over the pixels
    that change for the better. Where network and label waver together nothing is gained."""
    shares = {value: _smoothed(ids == value) for value in np.flatnonzero(np.bincount(ids.reshape(-1))).tolist() if value}
    most = np.full(ids.shape, sum(TAPS) ** 2, np.uint16)  # of the background: what the classes leave
    for share in shares.values():
        most -= share
    smooth = np.zeros_like(ids)
    for value, share in shares.items():
        smooth[share > most] = value
        np.maximum(most, share, out=most)
    at = np.nonzero(smooth != ids)
    gains = logs[(smooth[at], *at)] - logs[(ids[at], *at)]
    return float(gains.sum(where=gains > 0, dtype=np.float64))


def _smoothed(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint16]:
    """A mask (H, W) smoothed by ``TAPS`` along each axis, in 256ths; its outermost pixels go on beyond its edge."""
    reach = len(TAPS) // 2
    values = mask.astype(np.uint16)
    for axis in range(2):
        lines = np.moveaxis(values, axis, 0)
        wide = np.concatenate([lines[:1]] * reach + [lines] + [lines[-1:]] * reach)
        smooth = np.zeros_like(lines)
        for at, weight in enumerate(TAPS):
            smooth += np.uint16(weight) * wide[at : at + len(lines)]
        values = np.moveaxis(smooth, 0, axis)
    return values


class Offsets:
    """How far outlines of any label of a case lie outside those of its prediction (*S), in mm (pixels without a spacing)."""

    def __init__(self, predicted: Label, classes: int, spacing: Sequence[float] | None) -> None:
        self._steps = np.asarray(spacing or (1.0,) * predicted.ndim, np.float64)
        self._predicted, self._classes = predicted, classes
        self._boxes = {
            value: widened(box_of((predicted == value).view(np.uint8)), self._margin(), predicted.shape)
            for value in range(1, classes)
            if (predicted == value).any()
        }
        self._away = {value: self._map(value) for value in self._boxes}

    def of(self, ids: Label) -> dict[str, float]:
        """The median over the outline of each foreground class that a label (*S) and the prediction have, as "offset CLASS"."""
        if not ids.any():
            return {}
        box = widened(box_of(ids), (1,) * ids.ndim, ids.shape)
        part = ids[box]
        at = np.nonzero(edges(part) & (part > 0))
        given, places = part[at], [own + axis.start for own, axis in zip(at, box, strict=True)]
        found = {}
        for value in self._away.keys() & set(given.tolist()):
            own = given == value
            found[f"offset {value}"] = float(np.median(self._distances(value, [axis[own] for axis in places])))
        return dict(sorted(found.items()))

    def _margin(self) -> list[int]:
        return [int(FARTHEST * self._steps.min() / step) + 1 for step in self._steps]

    def _map(self, value: int) -> Floats:
        """The signed distances around a class that is predicted: 0 along its outline, positive outside."""
        mask = self._predicted[self._boxes[value]] == value
        distance = edt.edt(mask.view(np.uint8) + np.uint8(1), anisotropy=tuple(self._steps), parallel=1)  # of both sides
        return np.asarray(np.where(mask, np.float32(self._steps.min()) - distance, distance), np.float32)

    def _distances(self, value: int, places: Sequence[npt.NDArray[np.intp]]) -> Reals:
        """The signed distances (n,) of pixels, at most ``FARTHEST`` steps; beyond the map they are as far."""
        box, far = self._boxes[value], FARTHEST * float(self._steps.min())
        there = np.all([(at >= axis.start) & (at < axis.stop) for at, axis in zip(places, box, strict=True)], axis=0)
        distance = np.full(len(there), far)
        distance[there] = self._away[value][tuple(at[there] - axis.start for at, axis in zip(places, box, strict=True))]
        return np.asarray(np.clip(distance, -far, far), np.float64)


def against_usual(
    given: Sequence[Numbers], planted: Sequence[Mapping[str, Numbers]]
) -> tuple[list[dict[str, float]], list[dict[str, dict[str, float]]]]:
    """The evidence of N labels, and of those with planted errors, with the deviations from the set's own bias in place of its
    offsets: "outward" and "inward", of the class that deviates most, in spreads of the given labels' offsets.

    Without an offset anywhere, as without predictions, nothing changes. The bias of a class is the median of the given labels'
    offsets, their spread the deviation that goes with the median distance from it.
    """
    names = sorted({name for numbers in given for name in numbers if OFFSET.fullmatch(name)})
    usual = {name: _centre(np.array([numbers[name] for numbers in given if name in numbers])) for name in names}

    def judged(numbers: Numbers) -> dict[str, float]:
        if not usual:
            return dict(numbers)
        away = [(numbers[name] - centre) / spread for name, (centre, spread) in usual.items() if name in numbers]
        kept = {name: value for name, value in numbers.items() if not OFFSET.fullmatch(name)}
        return {**kept, "outward": max(0.0, *away, 0.0), "inward": max(0.0, *(-each for each in away), 0.0)}

    return [judged(numbers) for numbers in given], [
        {kind: judged(numbers) for kind, numbers in errors.items()} for errors in planted
    ]


def _centre(values: Reals) -> tuple[float, float]:
    """The median, and the deviation that normally distributed values with this median distance from it have; 1 for 0."""
    centre = float(np.median(values))
    return centre, float(stats.median_abs_deviation(values, scale="normal")) or 1.0
