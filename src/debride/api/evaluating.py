"""Predictions measured against reference labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.api.checked import splits_of
from debride.api.datasets import Folder, opened, processes
from debride.api.result import Result, Row, table
from debride.types import GROUPS, DataError, Dataset, Split

TEXTS = ("case", "patient", "class", "rater", "kind", "unit", *GROUPS)
"""Columns of cases.csv that hold no numbers; of classes two more."""


@dataclass(frozen=True, repr=False)
class EvaluateResult(Result):
    """Measures of predictions: cases.csv by case, summary.json and summary.md over all; ``left_out`` could not be read."""

    left_out: tuple[DataError, ...] = ()

    @property
    def summary(self) -> dict[str, Any]:
        """What summary.json holds."""
        from debride.files import read_json

        read: dict[str, Any] = read_json(self.out / "summary.json", undefined=True)
        return read

    @property
    def markdown(self) -> str:
        """What summary.md holds: a table of the measures over all cases."""
        from debride.files import read_text

        return read_text(self.out / "summary.md")

    def said(self) -> Sequence[str]:
        """The measures over all cases."""
        means = ((name.removeprefix("mean_"), value) for name, value in self.summary.items() if isinstance(value, float))
        return [", ".join(f"{name} {value:.3f}" for name, value in means), *self.without(self.left_out)]

    def rows(self) -> Sequence[Row]:
        """A row for each case, of masks for each case and class."""
        file = self.out / "cases.csv"
        rows = table(file)
        names = [*rows[0]] if rows else []
        texts = TEXTS if "class_id" in names else (*TEXTS, "true", "predicted")
        return table(file, [name for name in names if name not in texts])

    def pictures(self) -> Sequence[tuple[str, bytes]]:
        """Of classes the table of confusions."""
        picture = self.out / "confusion.png"
        return [("Confusions", picture.read_bytes())] if picture.is_file() else []


def evaluate(
    predictions: Folder,
    dataset: Dataset | Folder,
    out: Folder,
    *,
    splits: Split | Sequence[Split] = ("test",),
    resume: bool = False,
    keep_going: bool = False,
    jobs: int | None = None,
) -> EvaluateResult:
    """Measures ``predictions`` against the labels of a data set, and writes tables to the folder ``out``.

    Masks are named by their cases; classes are a table, predictions.csv. Cases of ``splits`` are measured. ``resume`` goes on
    with an evaluation that was cut off, and ``keep_going`` leaves out masks that cannot be read. ``jobs`` processes share the
    work (None: one for each core). Raises DataError for a prediction that is missing or does not fit its case.
    """
    from debride.evaluation.evaluations import EVALUATIONS

    out, jobs = Path(out), processes(jobs)
    dataset, left_out = opened(dataset, jobs), list[DataError]()
    leave_out = left_out.append if keep_going else None
    measure = EVALUATIONS[dataset.task]
    measure(Path(predictions), dataset, out, splits=splits_of(splits), leave_out=leave_out, resume=resume, jobs=jobs)
    return EvaluateResult(out, tuple(left_out))
