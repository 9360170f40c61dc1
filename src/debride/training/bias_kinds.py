"""Records of calibrations of both kinds, for masks and for images with one class each, read and said in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from debride.calibration.bias_record import Record, read_record
from debride.calibration.bias_words import bias_in_words, expected, many_verified, table
from debride.training.class_bias import ClassRecord, class_gain, class_words, read_class_record, verified_images

AnyRecord = Record | ClassRecord

_READ: dict[str, Callable[[Any, Path, Sequence[str]], AnyRecord]] = {
    "segmentation": read_record,
    "classification": read_class_record,
}


def read_any(value: Any, where: Path, classes: Sequence[str], task: str) -> AnyRecord:
    """The record that a run for a ``task`` on these ``classes`` has, of plain JSON; DataError for any other."""
    return _READ[task](value, where, classes)


def in_words(record: AnyRecord) -> list[str]:
    """Lines on what was found, and what it is worth."""
    if isinstance(record, ClassRecord):
        return class_words(record)
    return [*bias_in_words(record), "", *table(record)]


def verified_by(record: AnyRecord) -> str:
    """How many cases were verified."""
    return verified_images(record) if isinstance(record, ClassRecord) else many_verified(record)


def gain_in_words(record: AnyRecord) -> str:
    """What is gained on other cases."""
    if isinstance(record, ClassRecord):
        return class_gain(record)
    return expected(record.gain, record.metric, record.calibration.unit)
