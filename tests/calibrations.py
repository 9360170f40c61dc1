"""Calibrations that a test writes into a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from debride.calibration.bias_record import FILE, Record, plain_record
from debride.calibration.correction import Calibration, no_change
from debride.calibration.fitting import Gain
from debride.files import content_hash
from debride.training.checkpoint import weights_file
from debride.training.class_bias import ClassRecord


def write_calibration(
    run: Path,
    offsets: Sequence[float] = (0, 0, 0),
    shifts: Sequence[float] = (0, 0, 0),
    parents: tuple[int, ...] = (0, 0, 0),
    unit: Literal["mm", "px"] = "px",
    cases: tuple[str, ...] = ("case000", "case001", "case002"),
) -> Calibration:
    """A calibration of the run's last weights in its calibration.json."""
    own = Calibration(
        classes=tuple(json.loads((run / "run.json").read_text())["classes"]),
        offsets=tuple(map(float, offsets)),
        shifts=tuple(map(float, shifts)),
        parents=parents,
        unit=unit,
    )
    record = Record(
        calibration=own,
        kind="both" if own.changes else "none",
        gain=Gain(0.1, 0.05, 0.15),
        cases=cases,
        patients=len(cases),
        offset_ranges=tuple((offset, offset) for offset in own.offsets),
        shift_ranges=tuple((shift, shift) for shift in own.shifts),
        before=(0.5,) * (len(own.classes) - 1),
        after=(0.6,) * (len(own.classes) - 1),
        expected=(0.6,) * (len(own.classes) - 1),
        checkpoint="last",
        weights=content_hash([weights_file(run, "last")]),
        version="1",
    )
    (run / FILE).write_text(json.dumps(plain_record(record)))
    return own


def write_class_calibration(run: Path, offsets: Sequence[float] = (0, 0, 0)) -> None:
    """Offsets of the last weights of a run on images with one class each in its calibration.json."""
    classes = json.loads((run / "run.json").read_text())["classes"]
    record = ClassRecord(
        task="classification",
        calibration=replace(no_change(classes, "px"), offsets=tuple(map(float, offsets))),
        gain=Gain(0.1, 0.05, 0.15),
        cases=("train_00000", "train_00001"),
        patients=2,
        before=0.5,
        after=0.6,
        checkpoint="last",
        weights=content_hash([weights_file(run, "last")]),
        version="1",
    )
    (run / FILE).write_text(json.dumps(asdict(record)))
