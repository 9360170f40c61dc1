"""A calibration chosen on verified cases, with what it is worth: the gain on cases that it was not chosen on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy import stats

from debride.calibration.ascent import ascend, dice_with, lower_bound, patient_means
from debride.calibration.calibration_config import CalibrationConfig, Metric
from debride.calibration.correction import Calibration, Number, no_change
from debride.calibration.moving import nesting, slabs
from debride.calibration.scan import Contested, Doubles, Floats, Ids, contested_by_distance, contested_by_score
from debride.records import Count

Kind = Literal["none", "offset", "shift", "both"]

OFFSETS = np.arange(-4, 5.01, 0.25, dtype=np.float32)
"""Offsets of log-probabilities that are tried."""

SHIFTS = np.arange(-8, 8.01, 0.25, dtype=np.float32)
"""Shifts of outlines that are tried, in units of the finest spacing."""

ON_AVERAGE = 0.5
"""The confidence with which what gains on average is chosen: where nothing is surely gained it tells how many would decide."""

SHARES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""How far it is gone, under another metric than Dice, in the direction that was found under Dice."""

Measure = Callable[[Ids, Ids, tuple[float, ...]], Doubles]
"""How well predicted ids (*S) agree with a label (*S) of a spacing: (K - 1,), higher is better."""


class Verified(Protocol):
    """A verified case. A prediction that is ``hard``, from a mask, has no log-probabilities that could be offset."""

    @property
    def id(self) -> str:
        """What it is called."""

    @property
    def patient(self) -> str:
        """Whose it is."""

    @property
    def hard(self) -> bool:
        """Whether its prediction is a mask."""

    def read(self) -> tuple[npt.NDArray[Any], Ids, tuple[float, ...] | None]:
        """Probabilities (K, *S) that sum to one, the verified label (*S), and the spacing in mm, None where there is none; read
        anew each time."""


@dataclass(frozen=True)
class Gain:
    """What is expected on other cases, in Dice from -1 to 1 or in the metric wanted: the mean over patients, each left out in
    turn, and its 95 % interval. ``needed`` is how many patients like these would decide, where these do not; None where nothing
    can be gained."""

    mean: Number
    low: Number
    high: Number
    needed: Count | None = None


@dataclass(frozen=True)
class Fitted:
    """A calibration, of which ``kind``, and what it is worth. ``before`` and ``after`` are Dice (N, K - 1) of each verified
    case; ``after`` is too good, as the calibration was chosen on these. ``expected`` is what each has by the calibration of
    ``folds`` that was chosen without its patient, of whom there is one for each, in order of their names. The ``gain`` is in
    the ``metric``."""

    calibration: Calibration
    kind: Kind
    gain: Gain
    cases: tuple[str, ...]
    patients: int
    before: Doubles
    after: Doubles
    expected: Doubles
    folds: tuple[Calibration, ...]
    metric: Metric = "dice"


def fit(
    cases: Sequence[Verified],
    classes: Sequence[str],
    config: CalibrationConfig,
    unit: Literal["mm", "px"],
    measure: Measure | None = None,
) -> Fitted:
    """Chooses offsets, shifts, or shifts after offsets: whichever has the surest gain in mean Dice over the foreground classes.

    Where ``measure`` is given, which ``config.metric`` other than Dice needs, each is found under Dice, and how far to go in
    its direction is chosen by the surest gain under that.

    A patient counts once, and a single one decides nothing. Of each case the voxels stay in memory whose class could change,
    which take 4 (K + R) + 5 bytes each, for up to three choices of offsets and for scores, where R is ``moving.rooms``.
    Beside them are one case and what ``moving.distances`` takes for it.
    """
    fitting = _Fitting(cases, classes, config, unit, measure)
    kind, calibration = fitting.chosen(range(len(cases)), config.confidence)
    gain, expected, folds = fitting.left_out(config.confidence)
    if kind == "none":
        gain = replace(gain, needed=fitting.left_out(ON_AVERAGE)[0].needed)
    return Fitted(
        calibration,
        kind,
        gain,
        tuple(case.id for case in cases),
        len(set(fitting.patients)),
        fitting.dice(fitting.none),
        fitting.dice(calibration),
        expected,
        folds,
        config.metric,
    )


def choose(
    cases: Sequence[Verified],
    classes: Sequence[str],
    config: CalibrationConfig,
    unit: Literal["mm", "px"],
    *,
    parents: Sequence[int] | None = None,
) -> tuple[Kind, Calibration]:
    """What ``fit`` chooses, without what it is worth. ``parents`` (K,) say which class lies in which, if labels need not."""
    return _Fitting(cases, classes, config, unit, parents=parents).chosen(range(len(cases)), config.confidence)


class _Fitting:
    """Verified cases, and their contested voxels once these were needed."""

    def __init__(
        self,
        cases: Sequence[Verified],
        classes: Sequence[str],
        config: CalibrationConfig,
        unit: Literal["mm", "px"],
        measure: Measure | None = None,
        parents: Sequence[int] | None = None,
    ) -> None:
        assert (measure is None) == (config.metric == "dice")
        self.cases, self.config, self.measure = cases, config, measure
        self.patients = [case.patient for case in cases]
        finest: list[float] = []

        def labels() -> Iterator[Ids]:
            for case in cases:
                _, label, spacing = case.read()
                finest.append(min(self._steps(label, spacing, unit)))
                yield label

        nested = nesting(labels(), len(classes))
        self.parents = tuple(parents) if parents is not None else nested
        self.none = no_change(classes, unit, self.parents)
        self.grid = (SHIFTS * np.median(finest)).astype(np.float32)
        self._scores: Contested | None = None
        self._distances: dict[tuple[float, ...], Contested] = {}
        self._measured: dict[tuple[int, Calibration], float] = {}

    @staticmethod
    def _steps(label: Ids, spacing: tuple[float, ...] | None, unit: str) -> tuple[float, ...]:
        return (1.0,) * label.ndim if unit == "px" or spacing is None else spacing

    def scores(self) -> Contested:
        """The voxels that offsets could change."""
        if self._scores is None:
            reach = float(OFFSETS[-1] - OFFSETS[0])
            self._scores = contested_by_score(((case.read()[:2]) for case in self.cases), reach)
        return self._scores

    def distances(self, offsets: tuple[float, ...]) -> Contested:
        """The voxels that shifts could change after some offsets."""
        if offsets not in self._distances:
            weighing = self._with(offsets, self.none.shifts)

            def read() -> Iterator[tuple[Ids, Ids, tuple[float, ...]]]:
                for case in self.cases:
                    probability, label, spacing = case.read()
                    parts = (weighing.weighed(probability[:, slab]).argmax(0) for slab in slabs(label.shape))
                    ids = np.concatenate([part.astype(np.uint8) for part in parts])
                    del probability
                    yield ids, label, self._steps(label, spacing, self.none.unit)

            for old in [key for key in self._distances if any(key)][:-1]:
                del self._distances[old]
            self._distances[offsets] = contested_by_distance(read(), self.parents, float(self.grid[-1]))
        return self._distances[offsets]

    def chosen(self, rows: Sequence[int], level: float) -> tuple[Kind, Calibration]:
        """The calibration that the cases in some rows speak for, with a confidence of ``level``."""
        patients, zeros = [self.patients[row] for row in rows], self.none.offsets
        plain = self.distances(zeros).of(rows)
        before = dice_with(plain, zeros)
        kind: Kind = "none"
        best, calibration = 0.0, self.none

        def consider(
            name: Kind, contested: Contested, biases: Floats, offsets: Sequence[float], shifts: Sequence[float]
        ) -> None:
            nonlocal kind, best, calibration
            found = self._with(offsets, shifts)
            tried = [(found, dice_with(contested, biases) - before)]
            if self.measure and found.changes:
                shares = [self._with(np.multiply(share, offsets), np.multiply(share, shifts)) for share in SHARES]
                tried = [(each, self.measured(each, rows) - self.measured(self.none, rows)) for each in shares]
            for each, gains in tried:
                if (bound := float(lower_bound(patient_means(gains, patients), level))) > best:
                    kind, best, calibration = name, bound, each

        offsets = zeros
        if self.config.offsets and not any(case.hard for case in self.cases):
            scores = self.scores().of(rows)
            biases = ascend(scores, patients, before, OFFSETS, level)
            offsets = tuple(biases.tolist())
            consider("offset", scores, biases, offsets, zeros)
        if self.config.shifts:
            biases = ascend(plain, patients, before, self.grid, level)
            consider("shift", plain, biases, zeros, biases.tolist())
            if any(offsets):
                weighed = self.distances(offsets).of(rows)
                biases = ascend(weighed, patients, before, self.grid, level)
                consider("both", weighed, biases, offsets, biases.tolist())
        return kind, calibration

    def left_out(self, level: float) -> tuple[Gain, Doubles, tuple[Calibration, ...]]:
        """What is gained on each patient by what the others speak for, with the Dice (N, K - 1) and each of these
        calibrations."""
        before, folds = self.dice(self.none), []
        expected, gains = before.copy(), np.zeros(len(self.cases))
        for patient in sorted(set(self.patients)):
            own = [row for row, whose in enumerate(self.patients) if whose == patient]
            others = [row for row, whose in enumerate(self.patients) if whose != patient]
            folds.append(self.chosen(others, level)[1] if others else self.none)
            expected[own] = self.dice(folds[-1])[own]
            gains[own] = (expected - before)[own].mean(axis=1)
            if self.measure:
                gains[own] = self.measured(folds[-1], own) - self.measured(self.none, own)
        return gain_of(patient_means(gains, self.patients), self.config.confidence), expected, tuple(folds)

    def dice(self, calibration: Calibration) -> Doubles:
        """Dice (N, K - 1) of all cases with a calibration."""
        contested, shifts = self.distances(calibration.offsets), np.array(calibration.shifts, np.float32)
        return contested.dice(shifts, 1, shifts[1:2])[:, 0]

    def measured(self, calibration: Calibration, rows: Sequence[int]) -> Doubles:
        """The mean (R,) over classes of the metric of the cases in some rows with a calibration."""
        assert self.measure is not None
        for row in rows:
            if (row, calibration) not in self._measured:
                probability, label, spacing = self.cases[row].read()
                steps = self._steps(label, spacing, self.none.unit)
                ids = calibration.apply(probability, steps)
                self._measured[row, calibration] = float(self.measure(ids, label, steps).mean())
        return np.array([self._measured[row, calibration] for row in rows])

    def _with(self, offsets: Sequence[float] | Doubles, shifts: Sequence[float] | Doubles) -> Calibration:
        own, moves = (tuple(map(float, values)) for values in (offsets, shifts))
        return replace(self.none, offsets=own, shifts=moves)


def gain_of(gains: Doubles, confidence: float) -> Gain:
    """What gains (P,) on patients, each left out in turn, say: their mean and its interval.

    The interval allows for what the folds have in common (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366).
    """
    many = len(gains)
    if many < 2:
        return Gain(0.0, -1.0, 1.0)
    mean, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(many))
    reach = error * float(np.sqrt(1 + many / (many - 1)) * stats.t.ppf(0.975, many - 1))
    needed = None
    if mean > 0 and lower_bound(gains, confidence) <= 0:
        needed = int(np.ceil((stats.norm.ppf(confidence) * error / mean) ** 2 * len(gains))) + 1
        needed = max(needed, len(gains) + 1)
    return Gain(mean, mean - reach, mean + reach, needed)
