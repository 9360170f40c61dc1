"""``predictions.csv``: a line per image with its likeliest class and the probabilities of all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.escapes import unshielded
from debride.files import read_text, write_csv
from debride.types import DataError

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.floating[Any]]

FILE = "predictions.csv"
"""The name of the file of predictions in a folder."""

_TOLERANCE = 1e-3
"""How far from 1 the probabilities of a case may sum up, as they are rounded in a file."""


def write_predictions(file: Path, ids: Iterable[str], probability: Iterable[Numbers], classes: Sequence[str]) -> None:
    """Writes a line per case with its likeliest class and the probabilities of all, atomically.

    ``probability`` is an array (N, K), or an iterable of batches (B, K) in the order of ``ids``, of which one is in memory at a
    time. Numbers are written with as few digits as give back the same float32.
    """
    rows = (row for batch in probability for row in np.atleast_2d(np.asarray(batch, dtype=np.float32)))

    def lines() -> Iterator[list[str]]:
        for case, row in zip(ids, rows, strict=True):
            assert len(row) == len(classes), (case, len(row), len(classes))
            yield [case, classes[int(row.argmax())], *map(str, row)]

    write_csv(file, _columns(classes), lines())


def read_predictions(file: Path, classes: Sequence[str]) -> tuple[list[str], Floats]:
    """The case ids and probabilities (N, K) of a file of predictions, in its order; further columns are passed over.

    Raises DataError naming the line: for a column that is missing, given twice or of a class that does not exist; for a case
    that is given twice; for an unknown class, or one that is not the likeliest; for probabilities that are not numbers in
    [0, 1] or do not sum up to 1. And if the file is empty or cannot be read.
    """
    lines = _lines(file)
    header = next(lines, (0, []))[1]
    place = _places(file, header, classes)
    lines_of: dict[str, int] = {}
    rows = []
    for number, row in lines:
        where = f"{file}:{number}"
        if len(row) != len(header):
            raise DataError(where, f"has {len(row)} values for {len(header)} columns", "Write one value per column.")
        case, name, *texts = (row[at] for at in place)
        if not case:
            raise DataError(where, "has no case", "Write the id of the case that this line predicts.")
        if case in lines_of:
            raise DataError(where, f"predicts case {case}, as line {lines_of[case]} does", "Keep one of the two lines.")
        lines_of[case] = number
        rows.append(_probabilities(where, name, texts, classes))
    if not rows:
        raise DataError(file, "holds no prediction", "Write a line for each case.")
    return list(lines_of), np.array(rows)


def _columns(classes: Sequence[str]) -> list[str]:
    return ["case", "class", *(f"probability_{name}" for name in classes)]


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the values of each line of a CSV file that is not blank."""
    reader = csv.reader(io.StringIO(read_text(file), newline=""))
    try:
        for row in reader:
            if row:
                yield reader.line_num, [unshielded(cell) for cell in row]
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num}", f"is not valid CSV ({error})", "Correct this line.") from None


def _places(file: Path, header: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Where in a line the values of ``_columns`` are."""
    columns = _columns(classes)
    if not header:
        raise DataError(file, "is empty", f"Write a line of column names ({', '.join(columns)}), then one for each case.")
    for name in columns:
        if header.count(name) != 1:
            problem = f"has the column {name} twice" if name in header else f"lacks the column {name}"
            raise DataError(f"{file}:1", problem, f"Write the columns {', '.join(columns)}, each once.")
    if strange := [name for name in header if name.startswith("probability_") and name not in columns]:
        remedy = f"Use the data set's classes: {', '.join(classes)}."
        raise DataError(f"{file}:1", f"has the column {strange[0]} of an unknown class", remedy)
    return [header.index(name) for name in columns]


def _probabilities(where: str, name: str, texts: Sequence[str], classes: Sequence[str]) -> list[float]:
    """The probabilities of one line, whose likeliest class is said to be ``name``."""
    if name not in classes:
        raise DataError(where, f"predicts the unknown class {name!r}", f"Use the data set's classes: {', '.join(classes)}.")
    values = []
    for text, class_name in zip(texts, classes, strict=True):
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not isfinite(value) or not 0 <= value <= 1:
            raise DataError(where, f"has {text!r} as the probability of {class_name}", "Write a number from 0 to 1.")
        values.append(value)
    if abs(sum(values) - 1) > _TOLERANCE:
        raise DataError(where, f"has probabilities that sum up to {sum(values):.6g}", "Write probabilities that sum up to 1.")
    if values[classes.index(name)] < max(values):
        remedy = f"Write {classes[values.index(max(values))]}, or correct the probabilities."
        raise DataError(where, f"predicts {name}, which is not the likeliest class", remedy)
    return values
