"""A bias in words: which way it goes, how sure it is, and what is said where nothing is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tests.unit.test_bias_record import calibration, record

from debride.calibration.bias_record import Record
from debride.calibration.bias_words import bias_in_words, table
from debride.calibration.fitting import Gain

NOTHING = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
ZEROS = (0.0, 0.0, 0.0)


def with_numbers(**values: Any) -> Record:
    """Three cases of three patients, and no range but where it is given."""
    own = calibration(values.pop("offsets", ZEROS), values.pop("shifts", ZEROS))
    ranges = {
        "offset_ranges": tuple((value, value) for value in own.offsets),
        "shift_ranges": tuple((value, value) for value in own.shifts),
    }
    return replace(record(), **{"calibration": own, "patients": 3, **ranges, **values})


def test_outlines_that_are_moved_outwards_lay_inside() -> None:
    """The mask that a shift makes larger is of a network that learnt labels that were too small."""
    own = calibration(ZEROS, (0.0, 0.9, 0.0))
    small = np.zeros((9, 9), np.uint8)
    small[3:6, 3:6] = 1
    assert (own.move(small, (1.0, 1.0)) == 1).sum() > 9
    said = with_numbers(shifts=own.shifts, kind="shift", gain=Gain(0.061, 0.03, 0.092))
    assert bias_in_words(said) == ["Labels of class wall lie 0.9 mm inside.", "Expected gain 6.1 Dice (3.0 to 9.2)."]
    out = with_numbers(shifts=(0.0, -0.9, 0.0), kind="shift", shift_ranges=((0.0, 0.0), (-1.25, -0.5), (0.0, 0.0)))
    assert bias_in_words(out)[0] == "Labels of class wall lie 0.9 mm (0.5 to 1.25) outside."


def test_a_range_that_goes_both_ways() -> None:
    said = with_numbers(shifts=(0.0, 0.5, 0.0), kind="shift", shift_ranges=((0.0, 0.0), (-0.25, 1.0), (0.0, 0.0)))
    assert bias_in_words(said)[0] == "Labels of class wall lie 0.5 mm (-0.25 to 1) inside."


def test_a_class_with_more_of_it_was_found_too_seldom() -> None:
    own = calibration((0.0, 1.25, 0.0), ZEROS)
    probability = np.array([[0.6], [0.4], [0.0]], np.float32)
    assert probability.argmax(0) == 0 and own.weighed(probability).argmax(0) == 1
    said = with_numbers(offsets=own.offsets, kind="offset")
    assert bias_in_words(said)[0] == "Predictions of class wall are offset by +1.25 in log-odds: it is found too seldom."
    said = with_numbers(offsets=(0.0, 0.0, -0.5), kind="offset", offset_ranges=((0.0, 0.0), (0.0, 0.0), (-0.75, 0.0)))
    assert bias_in_words(said)[0] == (
        "Predictions of class cavity are offset by -0.5 (-0.75 to 0) in log-odds: it is found too often."
    )


def test_after_an_offset_outlines_are_not_those_of_labels() -> None:
    """An offset of any class moves the outlines of all."""
    said = bias_in_words(with_numbers(offsets=(0.0, 0.0, 1.0), shifts=(0.0, 0.5, -0.25)))
    assert "class cavity are offset by +1 in" in said[0]
    assert said[1:3] == [
        "After that outlines of class wall lie 0.5 mm inside.",
        "After that outlines of class cavity lie 0.25 mm outside.",
    ]


def test_nothing_is_changed() -> None:
    few = with_numbers(kind="none", gain=Gain(0.02, -0.03, 0.07, 14))
    assert bias_in_words(few) == ["Nothing is changed: 3 verified cases do not decide; about 14 would."]
    of_patients = replace(few, patients=2)
    assert bias_in_words(of_patients) == [
        "Nothing is changed: 3 verified cases of 2 patients do not decide; about 14 patients would."
    ]
    none = with_numbers(kind="none", gain=Gain(0.0, 0.0, 0.0))
    assert bias_in_words(none) == ["Nothing is changed: 3 verified cases show no bias that would be worth it."]
    one = with_numbers(kind="none", gain=Gain(0.0, -1.0, 1.0), cases=("a",), patients=1)
    assert bias_in_words(one) == ["Nothing is changed: 1 verified case cannot decide. Verify cases of two patients or more."]


def test_a_gain_that_is_not_sure_says_how_many_cases_would_be() -> None:
    said = bias_in_words(with_numbers(shifts=(0.0, 0.5, 0.0), kind="shift", gain=Gain(0.02, -0.01, 0.05, 9)))
    assert said[1:] == ["Expected gain 2.0 Dice (-1.0 to 5.0).", "3 verified cases do not decide this; about 9 would."]


def test_no_interval_leaves_what_dice_can_be() -> None:
    said = bias_in_words(with_numbers(shifts=(0.0, 0.5, 0.0), kind="shift", gain=Gain(0.5, -2.1, 3.1)))
    assert said[1] == "Expected gain 50.0 Dice (-100.0 to 100.0)."


def test_the_table_has_a_line_for_each_foreground_class() -> None:
    lines = table(with_numbers(offsets=(0.0, 1.25, 0.0), shifts=(0.0, 0.0, -0.5)))
    assert [line.split() for line in lines] == [
        ["class", "offset", "shift", "(mm)", "Dice", "with", "it", "expected"],
        ["wall", "+1.25", "0", "45.0", "65.0", "55.0"],
        ["cavity", "0", "-0.5", "30.0", "50.0", "40.0"],
    ]
    assert len({len(line) for line in lines}) == 1
