"""What looking through a data set gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from debride.api.result import Result, Row

if TYPE_CHECKING:
    from debride.data.check import Problem
    from debride.data.dicom.first_segments import FirstSegments
    from debride.types import Dataset, Region


@dataclass(frozen=True, repr=False)
class CheckResult(Result):
    """What was found of the data set in the folder ``out``: it is sound where there are no ``problems``.

    Each problem names the ``file``, the ``problem`` and the ``remedy``. ``dataset`` is the data set as far as it could be
    opened, None where it could not. ``note`` says what a training will ask for, ``checksums`` is the list that was written,
    if any, and ``segments`` what was proposed of labels of DICOM. ``voxels`` has those of each region by name, over all labels;
    it is empty where there are none. ``whole`` says that pixels were read, and not headers alone.
    """

    problems: tuple[Problem, ...]
    dataset: Dataset | None
    note: str | None = None
    checksums: Path | None = None
    voxels: Mapping[str, int] = field(default_factory=dict)
    whole: bool = True
    segments: FirstSegments | None = None

    def said(self) -> Sequence[str]:
        """The number of problems, or what a sound data set holds, and the voxels of regions."""
        note = [f"Note: {self.note}"] if self.note else []
        if self.voxels:
            note.append(f"Voxels of regions: {', '.join(f'{name} {number}' for name, number in self.voxels.items())}.")
        if not self.whole:
            note.append("Headers alone were read; with `depth` all, pixels are read too.")
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
    regions = [f"{region.name} ({_held(dataset, region)})" for region in dataset.regions]
    classes += f"; regions {', '.join(regions)}" if regions else ""
    said = f"{dataset.format}, {kind.images(dataset)}, classes {classes}; {kind.counts(dataset)}; {patients} patients"
    return f"{'; '.join([said, *about_words(dataset)])}."


def _held(dataset: Dataset, region: Region) -> str:
    """The classes of a region, in words."""
    return " + ".join(dataset.classes[id] for id in region.classes)
