"""The bias of runs on images with one class each: offsets of classes, chosen on verified images, kept, and said in words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from debride.calibration.bias_record import Share, read_calibration
from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.class_offsets import fit_class_offsets
from debride.calibration.correction import Calibration, no_change
from debride.calibration.fitting import Gain
from debride.records import read_as
from debride.settings import Bounds
from debride.types import Case, DataError
from debride.version import __version__

REMEDY = "Calibrate anew by `debride calibrate`, or predict with `raw`."


def _not_weights(which: str) -> str:
    return "" if which in ("best", "last") or which.isdecimal() else "which is neither best, last nor an epoch's number"


@dataclass(frozen=True, kw_only=True)
class ClassRecord:
    """A calibration of offsets alone, of a run's ``weights`` (their hash, and by which name they were chosen), and the gain in
    accuracy that is expected of it.

    ``cases`` are the verified images of so many ``patients``. The share that is named rightly was ``before``, and is ``after``.
    """

    task: Literal["classification"]
    calibration: Calibration
    gain: Gain
    cases: tuple[str, ...]
    patients: Annotated[int, Bounds(least=1)]
    before: Share
    after: Share
    checkpoint: Annotated[str, _not_weights]
    weights: str
    version: str


def fitted_classes(
    probability: npt.NDArray[np.float32],
    cases: Sequence[Case],
    classes: Sequence[str],
    config: CalibrationConfig,
    *,
    checkpoint: str,
    weights: str,
) -> ClassRecord:
    """What is fitted on probabilities (N, K) of verified images."""
    labels, patients = np.array([case.target for case in cases]), [case.patient for case in cases]
    fitted = fit_class_offsets(probability, labels, patients, confidence=config.confidence)
    own = no_change(classes, "px")
    if fitted.gain.mean > 0:  # as ``calibration.refuted`` has it for masks
        own = replace(own, offsets=fitted.offsets)
    return ClassRecord(
        task="classification",
        calibration=own,
        gain=fitted.gain,
        cases=tuple(case.id for case in cases),
        patients=len(set(patients)),
        before=float((probability.argmax(axis=1) == labels).mean()),
        after=float((own.weighed(probability.T).argmax(axis=0) == labels).mean()),
        checkpoint=checkpoint,
        weights=weights,
        version=__version__,
    )


def refuse_mask_settings(config: CalibrationConfig) -> None:
    """Raises DataError for settings that say something of masks alone."""
    usual = CalibrationConfig()
    for name in ("offsets", "shifts", "metric"):
        if getattr(config, name) != getattr(usual, name):
            raise DataError(f"`{name}`", "is for masks", "Leave it out: images with one class each have offsets alone.")


def read_class_record(value: Any, where: Path, classes: Sequence[str]) -> ClassRecord:
    """The record of plain JSON. DataError for what is none, that contradicts itself, or is not of these ``classes``."""
    record = read_as(ClassRecord, value, where, REMEDY)
    own = read_calibration(value["calibration"], where)
    if any(own.shifts) or own.classes != tuple(classes) or not record.patients <= len(record.cases):
        raise DataError(where, f"is not for images of the classes {', '.join(classes)}", REMEDY)
    return record


def class_words(record: ClassRecord) -> list[str]:
    """Sentences on the classes that are named too seldom or too often, and on what it is worth to take that out.

    Offsets are told against the one that most classes have, for only their differences count.
    """
    own, images = record.calibration, verified_images(record)
    common = statistics.mode(own.offsets)
    said = [
        f"Class {name} is named too {'seldom' if offset > common else 'often'}: offset by {offset - common:+.3g} in log-odds."
        for name, offset in zip(own.classes, own.offsets, strict=True)
        if offset != common
    ]
    if record.patients < 2:
        return [f"Nothing is changed: {images} cannot decide. Verify images of two patients or more."]
    if not own.changes:
        return [f"Nothing is changed: {images} show no bias that is sure. More of them may show one."]
    right = f"Of {images} {100 * record.before:.1f} % were named rightly, and {100 * record.after:.1f} % are now."
    decide = f"{images} do not decide this; about {record.gain.needed} patients would."
    return [*said, class_gain(record), *([decide] if record.gain.needed else []), f"{right} The offsets were chosen on these."]


def class_gain(record: ClassRecord) -> str:
    """The accuracy that is gained on other images, in points, with its interval."""
    gain = record.gain
    low, high = 100 * max(gain.low, -1), 100 * min(gain.high, 1)
    return f"Expected gain in accuracy {100 * gain.mean:.1f} points ({low:.1f} to {high:.1f})."


def verified_images(record: ClassRecord) -> str:
    """How many images were verified, and of how many patients where that is another number."""
    images = f"{len(record.cases)} verified image{'s' if len(record.cases) > 1 else ''}"
    of = f" of {record.patients} patient{'s' if record.patients > 1 else ''}"
    return images + (of if record.patients < len(record.cases) else "")
