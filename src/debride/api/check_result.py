"""What looking through a data set gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from debride.api.result import Result, Row

if TYPE_CHECKING:
    from debride.data.check import Problem
    from debride.types import Dataset


@dataclass(frozen=True, repr=False)
class CheckResult(Result):
    """What was found of the data set in the folder ``out``: it is sound where there are no ``problems``.

    Each problem names the ``file``, the ``problem`` and the ``remedy``. ``dataset`` is the data set as far as it could be
    opened, None where it could not. ``note`` says what a training will ask for, and ``checksums`` is the list that was written,
    if any.
    """

    problems: tuple[Problem, ...]
    dataset: Dataset | None
    note: str | None = None
    checksums: Path | None = None

    def said(self) -> Sequence[str]:
        """The number of problems, or what a sound data set holds."""
        note = [f"Note: {self.note}"] if self.note else []
        if self.problems or self.dataset is None:
            return [f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''} found.", *note]
        return [f"no problems. {described(self.dataset)}", *note]

    def rows(self) -> Sequence[Row]:
        """A row for each problem."""
        return [asdict(problem) for problem in self.problems]


def described(dataset: Dataset) -> str:
    """What a data set holds, in a sentence."""
    from debride.data.formats.about_cases import about_words
    from debride.data.label_kinds import LABEL_KINDS

    patients = len({case.patient for case in dataset.cases})
    kind, classes = LABEL_KINDS[dataset.task], ", ".join(dataset.classes)
    said = f"{dataset.format}, {kind.images(dataset)}, classes {classes}; {kind.counts(dataset)}; {patients} patients"
    return f"{'; '.join([said, *about_words(dataset)])}."
