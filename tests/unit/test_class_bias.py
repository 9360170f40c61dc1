"""Offsets of classes in words, fitted on verified images and read back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.test_class_offsets import planted

from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.class_offsets import FittedOffsets
from debride.calibration.correction import no_change
from debride.calibration.fitting import Gain
from debride.training import class_bias
from debride.training.class_bias import ClassRecord, class_words, fitted_classes, read_class_record
from debride.types import Case, DataError

NAMES = ("benign", "malign", "unclear", "normal")


def record(*offsets: float, patients: int = 3, needed: int | None = None) -> ClassRecord:
    """Three images."""
    return ClassRecord(
        task="classification",
        calibration=replace(no_change(NAMES[: len(offsets)], "px"), offsets=offsets),
        gain=Gain(0.031, 0.004, 0.058, needed),
        cases=("a", "b", "c"),
        patients=patients,
        before=0.5,
        after=0.75,
        checkpoint="last",
        weights="0" * 32,
        version="1",
    )


def test_a_class_that_is_named_more_often_was_named_too_seldom() -> None:
    own = record(0.0, 0.75).calibration
    probability = np.array([[0.6], [0.4]], np.float32)
    assert probability.argmax(0) == 0 and own.weighed(probability).argmax(0) == 1
    assert class_words(record(0.0, 0.75)) == [
        "Class malign is named too seldom: offset by +0.75 in log-odds.",
        "Expected gain in accuracy 3.1 points (0.4 to 5.8).",
        "Of 3 verified images 50.0 % were named rightly, and 75.0 % are now. The offsets were chosen on these.",
    ]
    assert class_words(record(0.0, -1.5))[0] == "Class malign is named too often: offset by -1.5 in log-odds."


def test_offsets_are_told_against_the_most_common_one() -> None:
    said = class_words(record(0.0, -2.0, -2.0, -2.0))
    assert said[0] == "Class benign is named too seldom: offset by +2 in log-odds." and said[1].startswith("Expected gain")


def test_images_that_decide_nothing() -> None:
    assert class_words(record(0.0, 0.0, patients=1)) == [
        "Nothing is changed: 3 verified images of 1 patient cannot decide. Verify images of two patients or more."
    ]
    (said,) = class_words(record(0.0, 0.0))
    assert said == "Nothing is changed: 3 verified images show no bias that is sure. More of them may show one."
    assert "3 verified images do not decide this; about 14 patients would." in class_words(record(0.0, 1.0, needed=14))


def test_what_is_fitted_is_what_is_read_back() -> None:
    probability, labels, patients = planted(3.0)
    names = zip(labels, patients, strict=True)
    cases = [Case(str(at), (Path("i.png"),), None, who, target=int(label)) for at, (label, who) in enumerate(names)]
    made = fitted_classes(probability, cases, NAMES[:3], CalibrationConfig(), checkpoint="last", weights="0")
    assert made.patients == 45 and len(made.cases) == 90 and made.before == (probability.argmax(1) == labels).mean()
    weighed = np.log(probability) + made.calibration.offsets
    assert made.after == (weighed.argmax(1) == labels).mean() > made.before + 0.1
    plain = json.loads(json.dumps(asdict(made)))
    assert read_class_record(plain, Path("f"), NAMES[:3]) == made
    with pytest.raises(DataError, match="is not for images of the classes malign, benign"):
        read_class_record(plain, Path("f"), NAMES[1::-1])


@pytest.mark.parametrize(("mean", "changes"), [(0.01, True), (0.0, False), (-0.1, False)])
def test_what_images_that_were_left_out_do_not_gain_by_is_not_done(
    mean: float, changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = FittedOffsets((0.0, 2.0), Gain(mean, -0.2, 0.2))
    monkeypatch.setattr(class_bias, "fit_class_offsets", lambda *_, **__: fitted)
    cases = [Case(name, (Path(name),), None, name, target=1) for name in ("a", "b")]
    probability = np.array([[0.6, 0.4], [0.7, 0.3]], np.float32)
    made = fitted_classes(probability, cases, NAMES[:2], CalibrationConfig(), checkpoint="last", weights="0")
    assert made.calibration.changes == changes and made.gain == fitted.gain
    assert made.after == (1.0 if changes else made.before)
