"""A planted bias is found and taken out, and where nothing speaks for one nothing is changed."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.fitting import Fitted, fit
from debride.types import IGNORE

Ids = npt.NDArray[np.uint8]
NAMES = ("background", "wall", "cavity")
PLAIN = CalibrationConfig()


@dataclass(frozen=True)
class Toy:
    """A verified case with the probabilities that it is given."""

    id: str
    patient: str
    probability: npt.NDArray[np.float32]
    label: Ids
    spacing: tuple[float, ...] | None = (1.0, 1.0)
    hard: bool = False

    def read(self) -> tuple[npt.NDArray[np.float32], Ids, tuple[float, ...] | None]:
        return self.probability, self.label, self.spacing


def rings(seed: int, inside: float = 0.0, shape: tuple[int, ...] = (64, 64), spacing: tuple[float, ...] = (1.0, 1.0)) -> Ids:
    """A cavity in a wall whose outlines both lie ``inside`` by so much, in the unit of the spacing."""
    rng = np.random.default_rng(seed)
    centre = (np.array(shape) * spacing / 2 + rng.uniform(-3, 3, len(shape))).reshape(-1, *[1] * len(shape))
    places = np.indices(shape) * np.array(spacing).reshape(-1, *[1] * len(shape))
    away = np.sqrt(((places - centre) ** 2).sum(0)) + inside
    thick = rng.uniform(5, 7)
    radius = rng.uniform(8, 12)
    return np.select([away < radius, away < radius + thick], [2, 1], 0).astype(np.uint8)


def soft(ids: Ids, classes: int = 3, width: float = 1.0) -> npt.NDArray[np.float32]:
    """Probabilities of which ``ids`` are about the likeliest."""
    maps = np.stack([ndimage.gaussian_filter((ids == number).astype(np.float32), width) for number in range(classes)]) + 1e-4
    return (maps / maps.sum(0)).astype(np.float32)


def certain(ids: Ids, classes: int = 3) -> npt.NDArray[np.float32]:
    """Probabilities of 1 of a mask."""
    return (ids == np.arange(classes).reshape(-1, *[1] * ids.ndim)).astype(np.float32)


def toys(inside: float, count: int = 5, *, hard: bool = True, spacing: tuple[float, ...] = (1.0, 1.0)) -> list[Toy]:
    """Cases whose predictions lie ``inside`` their verified outlines."""
    given = [rings(seed, inside, spacing=spacing) for seed in range(count)]
    maps = map(certain if hard else soft, given)
    return [
        Toy(f"case{seed}", f"patient{seed}", each, rings(seed, spacing=spacing), spacing, hard)
        for seed, each in enumerate(maps)
    ]


def assert_nothing(fitted: Fitted) -> None:
    assert fitted.kind == "none"
    assert not fitted.calibration.changes
    np.testing.assert_array_equal(fitted.after, fitted.before)


@pytest.mark.parametrize("inside", [1.0, 2.0, -1.0])
def test_a_planted_shift_is_found(inside: float) -> None:
    fitted = fit(toys(inside), NAMES, PLAIN, "px")
    assert fitted.kind == "shift" and fitted.calibration.offsets == (0, 0, 0)
    assert fitted.calibration.parents == (0, 0, 1)
    assert fitted.calibration.shifts == pytest.approx((0, inside, inside), abs=0.6)
    assert (fitted.after > fitted.before).all() and fitted.after.min() > 0.95
    assert fitted.gain.low > 0 and fitted.gain.needed is None
    assert fitted.gain.mean == pytest.approx((fitted.expected - fitted.before).mean())


def test_a_shift_is_in_mm_where_there_is_a_spacing() -> None:
    fitted = fit(toys(1.5, spacing=(0.75, 0.75)), NAMES, PLAIN, "mm")
    assert fitted.calibration.shifts == pytest.approx((0, 1.5, 1.5), abs=0.5)
    in_pixels = fit(toys(1.5, spacing=(0.75, 0.75)), NAMES, PLAIN, "px")
    assert in_pixels.calibration.shifts == pytest.approx((0, 2, 2), abs=0.6)


def test_what_is_applied_has_the_dice_that_was_fitted() -> None:
    for hard in (True, False):
        cases = toys(1.5, hard=hard)
        fitted = fit(cases, NAMES, PLAIN, "px")
        assert fitted.calibration.changes
        for case, dice in zip(cases, fitted.after, strict=True):
            ids = fitted.calibration.apply(case.probability, case.spacing)
            for number in (1, 2):
                ours, theirs = ids == number, case.label == number
                assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) == pytest.approx(dice[number - 1], abs=2e-3)


def test_a_planted_offset_is_found() -> None:
    """Small blobs that are too unlikely to be taken anywhere: no shift brings them back."""
    cases = []
    for case in toys(0, hard=False):
        odds = np.log(case.probability) - np.array([0, 2.5, 0], np.float32).reshape(3, 1, 1)
        maps = np.exp(odds) / np.exp(odds).sum(0)
        cases.append(replace(case, probability=maps))
    fitted = fit(cases, NAMES, PLAIN, "px")
    assert fitted.kind in ("offset", "both")
    assert fitted.calibration.offsets[1] - fitted.calibration.offsets[2] == pytest.approx(2.5, abs=0.8)
    assert fitted.after.min() > 0.95 > fitted.before.min()
    masks = [replace(case, hard=True) for case in cases]
    assert fit(masks, NAMES, PLAIN, "px").calibration.offsets == (0, 0, 0), "masks have no log-probabilities"
    only_shifts = fit(cases, NAMES, CalibrationConfig(offsets=False), "px")
    assert only_shifts.calibration.offsets == (0, 0, 0) and only_shifts.kind in ("shift", "none")


def test_right_predictions_stay() -> None:
    assert_nothing(fit(toys(0), NAMES, PLAIN, "px"))


def test_one_patient_decides_nothing() -> None:
    cases = [replace(case, patient="one") for case in toys(2.0)]
    fitted = fit(cases, NAMES, PLAIN, "px")
    assert_nothing(fitted)
    assert (fitted.patients, fitted.gain.mean, fitted.gain.low, fitted.gain.high) == (1, 0, -1, 1)
    assert_nothing(fit(cases[:1], NAMES, PLAIN, "px"))


def test_many_images_of_a_patient_do_not_outvote_the_others() -> None:
    """Nine images of one patient lie inside, one image of each of two patients outside."""
    inside = [replace(case, patient="often") for case in toys(2.0, 9)]
    outside = [replace(case, id=case.id + "b") for case in toys(-2.0, 2)]
    assert_nothing(fit([*inside, *outside], NAMES, PLAIN, "px"))
    assert fit([*inside, *outside, *toys(-2.0, 8)[2:]], NAMES, PLAIN, "px").calibration.shifts[1] < 0


def test_errors_both_ways_do_not_decide() -> None:
    fitted = fit([*toys(1.5, 3), *(replace(case, patient=case.patient + "b") for case in toys(-1.5, 3))], NAMES, PLAIN, "px")
    assert_nothing(fitted)
    assert fitted.gain.low <= 0


def test_each_patient_is_judged_by_what_the_others_speak_for() -> None:
    """Slowly: leaves each out and fits anew."""
    cases = [*toys(1.0, 4), *(replace(case, patient="own", id="own") for case in toys(-1.0, 1))]
    fitted = fit(cases, NAMES, PLAIN, "px")
    gains = []
    for patient, fold in zip(sorted({case.patient for case in cases}), fitted.folds, strict=True):
        others = fit([case for case in cases if case.patient != patient], NAMES, PLAIN, "px").calibration
        assert fold == others
        own = next(case for case in cases if case.patient == patient)
        alone = [own, replace(own, id="copy")]
        before = fit(alone, NAMES, PLAIN, "px").before[0]
        moved = replace(own, probability=certain(others.apply(own.probability, own.spacing)))
        gains.append((fit([moved], NAMES, PLAIN, "px").before[0] - before).mean())
    assert fitted.gain.mean == pytest.approx(np.mean(gains))
    reach = 2.7764 * np.std(gains, ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    assert (fitted.gain.low, fitted.gain.high) == pytest.approx((np.mean(gains) - reach, np.mean(gains) + reach), abs=1e-4)


@pytest.mark.parametrize("hard", [True, False])
def test_absent_classes_and_cases_without_labels_change_nothing_of_the_others(hard: bool) -> None:
    names = (*NAMES, "nowhere")
    cases = toys(1.0, hard=hard)
    with_absent = [
        replace(case, probability=np.concatenate([case.probability, np.zeros_like(case.probability[:1])])) for case in cases
    ]
    unknown = replace(with_absent[0], id="unknown", patient="unknown", label=np.full((64, 64), IGNORE, np.uint8))
    fitted = fit([*with_absent, unknown], names, PLAIN, "px")
    assert fitted.calibration.shifts[3] == fitted.calibration.offsets[3] == 0
    assert (fitted.before[-1] == 1).all() and (fitted.after[:, 2] == 1).all()
    assert fitted.calibration.shifts[1] == pytest.approx(1, abs=0.6) or fitted.calibration.offsets[1] > 0


def test_images_of_one_class_alone() -> None:
    empty = np.zeros((20, 20), np.uint8)
    cases = [Toy(str(seed), str(seed), certain(empty), empty, None, True) for seed in range(3)]
    fitted = fit(cases, NAMES, PLAIN, "px")
    assert_nothing(fitted)
    assert (fitted.gain.mean, fitted.gain.low, fitted.gain.high) == (0, 0, 0)


def test_the_patients_that_would_decide_are_counted() -> None:
    """Slowly: by what is gained on each patient where the others choose what is best on average."""
    cases = [toys(inside, row + 1)[row] for row, inside in enumerate((1.5, 1.5, 1.5, 0, -1))]
    fitted = fit(cases, NAMES, PLAIN, "px")
    assert_nothing(fitted)
    gains = []
    for case in cases:
        others = [other for other in cases if other is not case]
        own = fit(others, NAMES, CalibrationConfig(confidence=0.5), "px").calibration
        moved = replace(case, probability=certain(own.apply(case.probability, None)))
        after, before = (fit([each], NAMES, PLAIN, "px").before.mean() for each in (moved, case))
        gains.append(after - before)
    assert np.mean(gains) > 0
    needed = (1.2816 * np.std(gains, ddof=1) / np.mean(gains)) ** 2
    assert fitted.gain.needed == pytest.approx(needed + 1.5, abs=0.6) and fitted.gain.needed > 5
    assert fit(toys(0), NAMES, PLAIN, "px").gain.needed is None, "nothing is to be gained"


def test_memory_is_that_of_one_case_and_of_what_is_contested() -> None:
    """4 (K + R + 2) bytes a voxel, ids and masks, and slabs; one array (K, *S) in float64 would be 24 more."""
    shape = (96, 160, 160)
    places = np.indices(shape, np.float32)
    away = np.sqrt(((places - np.array(shape, np.float32).reshape(3, 1, 1, 1) / 2) ** 2).sum(0))
    del places
    label = np.select([away < 20, away < 30], [2, 1], 0).astype(np.uint8)
    maps = certain(label).astype(np.float16)
    del away
    cases = [Toy(str(number), str(number), maps, label, (1.0, 1.0, 1.0), True) for number in range(2)]
    tracemalloc.start()
    fit(cases, NAMES, PLAIN, "mm")
    peak = tracemalloc.get_traced_memory()[1] / label.size
    tracemalloc.stop()
    assert 10 < peak < 4 * (3 + 1 + 2) + 4 + 16
