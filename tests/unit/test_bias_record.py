"""What is kept of a calibration: read back as it was written, and refused where it was changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from debride.calibration.bias_record import Record, plain_record, read_calibration, read_record, record_of
from debride.calibration.correction import Calibration
from debride.calibration.fitting import Fitted, Gain
from debride.types import DataError

CLASSES = ("background", "wall", "cavity")


def calibration(offsets: tuple[float, ...] = (0.0, 1.25, 0.0), shifts: tuple[float, ...] = (0.0, 0.5, 0.0)) -> Calibration:
    return Calibration(classes=CLASSES, offsets=offsets, shifts=shifts, parents=(0, 0, 1), unit="mm")


def record() -> Record:
    before, after, expected = (np.array(dice) for dice in ([[0.5, 0.2], [0.7, 0.4], [0.3, 0.3]],) * 3)
    after, expected = after + 0.2, expected + 0.1
    folds = (calibration(offsets=(0.0, 0.5, 0.0)), calibration(shifts=(0.0, 0.25, 0.0)))
    fitted = Fitted(calibration(), "both", Gain(0.1, 0.05, 0.15), ("a", "b", "c"), 2, before, after, expected, folds)
    return record_of(fitted, ["p", "p", "q"], version="1", checkpoint="last", weights="0" * 32)


def test_a_record_says_what_was_fitted() -> None:
    made = record()
    assert made.offset_ranges == ((0, 0), (0.5, 1.25), (0, 0))
    assert made.shift_ranges == ((0, 0), (0.25, 0.5), (0, 0))
    # of the two patients, p has two cases
    assert made.before == pytest.approx((((0.5 + 0.7) / 2 + 0.3) / 2, ((0.2 + 0.4) / 2 + 0.3) / 2))
    assert np.subtract(made.after, made.before) == pytest.approx([0.2, 0.2])
    assert np.subtract(made.expected, made.before) == pytest.approx([0.1, 0.1])


def test_a_record_comes_back_as_it_was() -> None:
    made = record()
    text = json.dumps(plain_record(made))
    assert read_record(json.loads(text), "file", CLASSES) == made
    assert read_calibration(json.loads(text)["calibration"], "file") == made.calibration


def changes() -> dict[str, Callable[[dict[str, Any]], object]]:
    def of(*path: Any, to: Any) -> Callable[[dict[str, Any]], object]:
        def change(plain: dict[str, Any]) -> None:
            inside: Any = plain
            for name in path[:-1]:
                inside = inside[name]
            inside[path[-1]] = to

        return change

    return {
        "an infinite offset": of("calibration", "offsets", 1, to=float("inf")),
        "a number that is none": of("calibration", "shifts", 1, to="0.5"),
        "a huge shift": of("calibration", "shifts", 1, to=1e9),
        "a background that moves": of("calibration", "offsets", 0, to=1.0),
        "an offset too few": of("calibration", "offsets", to=[0.0, 1.0]),
        "a class too many": of("calibration", "classes", to=["background", "wall", "cavity", "fat"]),
        "a class twice": of("calibration", "classes", to=["background", "wall", "wall"]),
        "one class": lambda plain: [
            plain["calibration"].__setitem__(name, plain["calibration"][name][:1])
            for name in ("classes", "offsets", "shifts", "parents")
        ],
        "a parent that is no class": of("calibration", "parents", to=[0, 0, 3]),
        "a parent below 0": of("calibration", "parents", to=[0, 0, -1]),
        "parents in a circle": of("calibration", "parents", to=[0, 2, 1]),
        "a class in itself": of("calibration", "parents", to=[0, 1, 1]),
        "a background in a class": of("calibration", "parents", to=[1, 0, 1]),
        "another unit": of("calibration", "unit", to="cm"),
        "another kind": of("kind", to="none"),
        "no kind": of("kind", to="rotation"),
        "no gain": lambda plain: plain.pop("gain"),
        "a gain of NaN": of("gain", "mean", to=float("nan")),
        "cases needed below 0": of("gain", "needed", to=-1),
        "a Dice above 1": of("before", 0, to=1.5),
        "a Dice too many": of("expected", to=[0.5, 0.5, 0.5]),
        "no case": of("cases", to=[]),
        "more patients than cases": of("patients", to=4),
        "ranges of one class": of("shift_ranges", to=[[0.0, 0.0]]),
        "a range of three": of("shift_ranges", 1, to=[0.0, 0.0, 1.0]),
        "weights of no run": of("checkpoint", to="../../last"),
        "no version": lambda plain: plain.pop("version"),
    }


@pytest.mark.parametrize("name", changes())
def test_a_record_that_was_changed_is_refused(name: str) -> None:
    plain = json.loads(json.dumps(plain_record(record())))
    changed = copy.deepcopy(plain)
    changes()[name](changed)
    assert changed != plain
    with pytest.raises(DataError) as caught:
        read_record(changed, "calibration.json")
    assert caught.value.where == "calibration.json" and "Calibrate anew" in caught.value.remedy


@pytest.mark.parametrize("value", [None, [], 3, "text", {}, {"calibration": {}}])
def test_what_is_no_record_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="Calibrate anew"):
        read_record(value, "calibration.json")


def test_a_record_of_other_classes_is_refused() -> None:
    plain = json.loads(json.dumps(plain_record(record())))
    with pytest.raises(DataError, match="is for the classes background, wall, cavity, not for background, cavity, wall"):
        read_record(plain, "calibration.json", ("background", "cavity", "wall"))
