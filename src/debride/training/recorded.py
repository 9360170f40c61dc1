"""``metrics.jsonl``: what a training says of each of its epochs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from debride.files import read_jsonl, refuse_no_file
from debride.records import read_as
from debride.settings import Bounds
from debride.strict import parse_json
from debride.types import DataError

Epoch = Annotated[int, Bounds(least=1)]

LONGEST_LINE = 1 << 20
"""Bytes of a record: a longer line is none."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What ``metrics.jsonl`` holds of an epoch that others read; ``stopped_early`` where it was the last by ``patience``."""

    epoch: Epoch
    train: Mapping[str, float]
    val: Mapping[str, Any] | None = None
    best: Mapping[str, float | None]
    seconds: Annotated[float, Bounds(least=0)]
    stopped_early: bool = False


def read_metrics(file: Path, epochs: int) -> list[dict[str, Any]]:
    """The records of the first ``epochs`` in ``metrics.jsonl``, as plain values; DataError where one is missing or is none."""
    rows: list[dict[str, Any]] = read_jsonl(file, undefined=True)
    remedy = "Restore it, or train again in another folder."
    for number, row in enumerate(rows, start=1):
        if read_as(Recorded, row, f"{file}:{number}", remedy).epoch != number:
            raise DataError(f"{file}:{number}", f"is not the record of epoch {number}", remedy)
    if len(rows) < epochs:
        raise DataError(file, f"ends after epoch {len(rows)}, the training after epoch {epochs}", remedy)
    return rows[:epochs]


def recorded_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The records in a ``metrics.jsonl`` that may be growing, one in memory at a time; none where there is no file.

    A last line without its end is left out. DataError for a line that is no record of its epoch.
    """
    remedy = "Restore it, or train again."
    if not file.exists():
        return
    refuse_no_file(file)
    with file.open("rb") as opened:
        for number in itertools.count(1):
            line = opened.readline(LONGEST_LINE)
            if not line.endswith(b"\n"):
                if len(line) == LONGEST_LINE:
                    raise DataError(f"{file}:{number}", "is too long for a record", remedy)
                return
            text = line.decode("utf-8", errors="replace")
            row: dict[str, Any] = parse_json(text, file, line=number, undefined=True)
            if read_as(Recorded, row, f"{file}:{number}", remedy).epoch != number:
                raise DataError(f"{file}:{number}", f"is not the record of epoch {number}", remedy)
            yield row
